"""SPHEREx's images by IRSA's TAP service."""

import re

import numpy as np
import pytest
from vo_answers import refusal, votable

from raysearch.archives.answers import Answers
from raysearch.archives.irsa import IrsaSpherex
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Archive
from raysearch.sky.footprint import contains, parse_s_region
from raysearch.sky.match import match
from raysearch.testing import Faults
from raysearch.testing.services import regions

URI = "ibe/data/spherex/qr2/level2/2025W51_1A/l2b-v21-2025-354/3/level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits"
PLANE = {
    "uri": URI,
    "obs_publisher_did": "ivo://irsa.ipac/spherex_qr2?2025W51_1A_0684_2/D3",
    "energy_bandpassname": "SPHEREx-D3",
    "poly": None,
    "provenance_version": "6.5.4",
    "em_min": 1.6301e-6,
    "em_max": 2.4346e-6,
    "t_min": 61027.214984,
    "t_max": 61027.216317,
    "time_bounds_lower": 61027.214984,
}


@pytest.fixture
def scripted(serve):
    """Return a function that starts IRSA's TAP with one image, whose polygon is in one form or another."""

    def start(**columns):
        def answer(asked):
            counting = "COUNT(*)" in asked.form["QUERY"][0]
            return serve.reply(votable([{"n": 1}] if counting else [PLANE | columns]))

        return serve(answer)

    return start


def sent(service):
    return [query for asked in service.asked for query in asked.form["QUERY"] if "COUNT(*)" not in query]


def test_what_is_asked(scripted, hasty):
    service = scripted()
    archive: Archive = IrsaSpherex(
        service.url,
        positions=[(10.5, -3e-7)],
        bands=("SPHEREx-D3", "it's"),
        wavelength_um=(1.5, 2.0),
        time=(61000.0, 61100.0),
        release="qr3",
        patience=hasty,
    )
    _, (query,) = archive.observations()
    (adql,) = sent(service)
    assert query.text == adql
    assert service.asked[0].path == "/TAP/sync"
    for part in (
        "FROM spherex.artifact AS a JOIN spherex.plane AS p ON a.planeid = p.planeid",
        "1 = CONTAINS(POINT('ICRS', 10.5, -3e-07), p.poly)",
        "a.uri LIKE 'ibe/data/spherex/qr3/level2/%'",
        "p.energy_bandpassname IN ('SPHEREx-D3', 'it''s')",
        "p.time_bounds_lower <= 61100.0 AND p.time_bounds_upper >= 61000.0",
        "ORDER BY time_bounds_lower",
    ):
        assert part in adql
    assert "http" not in adql  # the address of the files is joined here, so that it can be another


def test_a_radius_asks_for_what_it_meets(scripted, hasty):
    service = scripted()
    IrsaSpherex(service.url, positions=[(10.5, 20.0)], radius_deg=0.1, patience=hasty).observations()
    assert "1 = INTERSECTS(CIRCLE('ICRS', 10.5, 20.0, 0.1), p.poly)" in sent(service)[0]


def test_an_image_of_two_positions_comes_once(scripted, hasty):
    service = scripted()
    table, queries = IrsaSpherex(service.url, positions=[(10.5, 20.0), (10.6, 20.1)], patience=hasty).observations()
    assert len(queries) == 3  # the circle of both, whose answer has no polygon, and each alone
    (row,) = table.to_pylist()
    assert row["obs_id"] == "2025W51_1A_0684_2/D3"
    assert (row["obs_collection"], row["instrument_name"], row["dataproduct_type"]) == ("spherex_qr2", "SPHEREx", "image")
    assert (row["em_min"], row["t_max"]) == (1.6301e-6, 61027.216317)
    assert contains(parse_s_region(row["s_region"]), [10.5, 10.6, 10.7], [20.0, 20.1, 20.2]).tolist() == [True, True, False]


def scattered(seed, ra, dec, count, reach_deg):
    """Return positions within about `reach_deg` of a place, wherever on the sky: right ascensions from 0 to 360."""
    centre, rng = np.array(regions.vector(ra, dec)), np.random.default_rng(seed)
    x, y, z = (centre + rng.uniform(-1, 1, (count, 3)) * np.radians(reach_deg) / np.sqrt(3)).T
    return [(float(a % 360), float(d)) for a, d in np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))]).T]


def images_about(seed, fields):
    """Return planes of large and small images, each somewhere about one of the fields, most beside some of its positions."""
    rng = np.random.default_rng(seed)
    planes = []
    for i in range(120):
        side = (3.5, 0.3)[i % 2]
        [(ra, dec)] = scattered(rng, *fields[i % len(fields)], 1, side)
        name = f"2026W01_1A_{i:04d}_1"
        did = f"ivo://irsa.ipac/spherex_qr2?{name}/D3"
        poly = regions.box(ra, dec, side, side).replace("POLYGON", "POLYGON ICRS")
        planes.append(PLANE | {"uri": f"{name}.fits", "obs_publisher_did": did, "poly": poly, "time_bounds_lower": 61000.0 + i})
    return planes


@pytest.fixture
def answering(serve):
    """Return a function that starts IRSA's TAP with these planes, whose polygons it may `hide`."""

    def start(planes, *, hide=False):
        def answer(asked):
            adql = asked.form["QUERY"][0]
            shape, numbers = re.search(r"(POINT|CIRCLE)\('ICRS', ([^)]*)\), p.poly\)", adql).groups()
            region = regions.parse(f"{shape} {numbers}")
            found = [plane for plane in planes if regions.intersect(region, regions.parse(plane["poly"]))]
            if "COUNT(*)" in adql:
                return serve.reply(votable([{"n": len(found)}]))
            rows = [plane | ({"poly": "AAAB"} if hide else {}) for plane in found]
            return serve.reply(votable(rows, names=tuple(PLANE)))

        return serve(answer)

    return start


def pairs(table, positions, radius_deg):
    found = match(*zip(*positions, strict=True), [parse_s_region(text) for text in table["s_region"].to_pylist()], radius_deg)
    names = table["obs_id"].to_pylist()
    return {(names[row], target) for row, target in zip(found.footprint.tolist(), found.target.tolist(), strict=True)}


def pairs_one_by_one(planes, positions, radius_deg):
    """Return what asking about each position by itself finds."""
    return {
        (plane["obs_publisher_did"].partition("?")[2], target)
        for target, (ra, dec) in enumerate(positions)
        for plane in planes
        if regions.intersect(regions.parse(f"CIRCLE {ra!r} {dec!r} {radius_deg!r}"), regions.parse(plane["poly"]))
    }


class TestPositionsTogether:
    @pytest.mark.parametrize("radius_deg", [0.0, 0.05])
    @pytest.mark.parametrize("fields", [((83.0, -5.0), (269.0, 66.5)), ((0.0, 12.0), (30.0, 89.95))], ids=["plain", "seams"])
    def test_a_query_a_field(self, answering, fields, radius_deg):
        planes = images_about(1, fields)
        positions = [place for i, field in enumerate(fields) for place in scattered(i, *field, 150, 0.4)]
        service = answering(planes)
        table, queries = IrsaSpherex(service.url, positions=positions, radius_deg=radius_deg).observations()
        assert len(fields) <= len(queries) <= 8
        assert all(query.rows == query.counted for query in queries)
        assert len(service.asked) == 2 * len(queries)
        found = pairs(table, positions, radius_deg)
        assert found == pairs_one_by_one(planes, positions, radius_deg)
        assert 0 < len({name for name, _ in found}) <= table.num_rows == len(set(table["obs_id"].to_pylist()))

    def test_an_image_beside_the_outermost(self, answering):
        plane = PLANE | {"poly": regions.box(10.34, 0.0, 0.02, 0.02)}
        positions = [(10.0, 0.0), (10.3, 0.0)]
        for radius_deg, number in ((0.029, 0), (0.031, 1), (0.331, 2)):
            table, _ = IrsaSpherex(answering([plane]).url, positions=positions, radius_deg=radius_deg).observations()
            assert (table.num_rows, len(pairs(table, positions, radius_deg))) == (min(number, 1), number)

    def test_polygons_that_say_nothing_are_asked_about_one_by_one(self, answering):
        fields = ((0.0, 12.0), (30.0, 89.95))
        planes = images_about(2, fields)
        positions = [place for i, field in enumerate(fields) for place in scattered(i, *field, 8, 0.2)]
        table, queries = IrsaSpherex(answering(planes, hide=True).url, positions=positions).observations()
        assert ["POINT" in query.text for query in queries] == [False] * 2 + [True] * len(positions)
        assert pairs(table, positions, 0.0) == pairs_one_by_one(planes, positions, 0.0)
        assert table.num_rows == len({name for name, _ in pairs(table, positions, 0.0)})  # none that only the circle met

    def test_one_polygon_that_says_nothing_is_enough(self, serve, hasty):
        drawn, other = PLANE | {"poly": "POLYGON ICRS 10 19 11 19 11 21 10 21"}, PLANE | {"uri": "other", "poly": "AAAB"}
        other["obs_publisher_did"] = "ivo://irsa.ipac/spherex_qr2?other/D3"

        def answer(asked):
            adql = asked.form["QUERY"][0]
            rows = [drawn] if "POINT('ICRS', 10.5" in adql else [drawn, other]
            return serve.reply(votable([{"n": len(rows)}] if "COUNT(*)" in adql else rows))

        table, _ = IrsaSpherex(serve(answer).url, positions=[(10.5, 20.0), (10.6, 20.0)], patience=hasty).observations()
        assert table["s_region"].to_pylist() == [drawn["poly"], "CIRCLE ICRS 10.6 20.0 1e-06"]

    def test_a_service_that_refuses_circles_is_asked_about_points(self, serve, hasty):
        drawn = PLANE | {"poly": "POLYGON ICRS 10 19 11 19 11 21 10 21"}

        def answer(asked):
            adql = asked.form["QUERY"][0]
            if "CIRCLE" in adql:
                return serve.reply(refusal("INTERSECTS is not supported"), 400)
            return serve.reply(votable([{"n": 1}] if "COUNT(*)" in adql else [drawn]))

        service = serve(answer)
        table, queries = IrsaSpherex(service.url, positions=[(10.5, 20.0), (10.6, 20.0)], patience=hasty).observations()
        assert (table.num_rows, len(queries)) == (1, 2)
        with pytest.raises(ArchiveError, match="not supported"):  # nothing else to ask about with a radius
            IrsaSpherex(service.url, positions=[(10.5, 20.0)], radius_deg=0.1, patience=hasty).observations()

    def test_nothing_there(self, answering):
        table, queries = IrsaSpherex(answering([]).url, positions=[(10.5, 20.0), (10.6, 20.1)]).observations()
        assert (table.num_rows, len(queries)) == (0, 1)


@pytest.mark.parametrize(
    ("poly", "region"),
    [
        ("POLYGON ICRS 10 19 11 19 11 21 10 21", "POLYGON ICRS 10 19 11 19 11 21 10 21"),
        ("polygon 10 19 11 19 11 21", "polygon 10 19 11 19 11 21"),
        ("{(0.18 , 0.33),(0.19 , 0.33),(0.19 , 0.36)}", "CIRCLE ICRS 10.5 20.0 1e-06"),
        ("AAAB", "CIRCLE ICRS 10.5 20.0 1e-06"),
        (None, "CIRCLE ICRS 10.5 20.0 1e-06"),
    ],
)
def test_polygons_in_the_forms_of_their_databases(scripted, hasty, poly, region):
    table, _ = IrsaSpherex(scripted(poly=poly).url, positions=[(10.5, 20.0)], patience=hasty).observations()
    assert table["s_region"].to_pylist() == [region]


def test_polygons_as_arrays(serve, hasty):
    text = votable([PLANE | {"poly": "10 19 11 19 11 21"}]).replace(
        'name="poly" datatype="char" arraysize="*"', 'name="poly" datatype="double" arraysize="*" xtype="polygon"'
    )
    service = serve(lambda asked: serve.reply(votable([{"n": 1}]) if "COUNT" in asked.form["QUERY"][0] else text))
    table, _ = IrsaSpherex(service.url, positions=[(10.5, 20.0)], patience=hasty).observations()
    assert table["s_region"].to_pylist() == ["POLYGON ICRS 10.0 19.0 11.0 19.0 11.0 21.0"]


def test_files_are_where_the_search_says(scripted, hasty):
    archive = IrsaSpherex(scripted().url, positions=[(10.5, 20.0)], base_url="https://irsa.ipac.caltech.edu", patience=hasty)
    table, _ = archive.observations()
    ((cloud, own),) = archive.locate(table)[0]
    assert own == f"https://irsa.ipac.caltech.edu/{URI}"
    assert cloud == "s3://nasa-irsa-spherex/" + URI.removeprefix("ibe/data/spherex/")


def test_a_release_is_a_name():
    with pytest.raises(ConfigError, match='not "qr2/\' OR 1"'):
        IrsaSpherex("https://irsa.ipac.caltech.edu", positions=[], release="qr2/' OR 1")


def test_no_positions_no_images(serve):
    service = serve(serve.reply("", 500))
    table, queries = IrsaSpherex(service.url, positions=[]).observations()
    assert (table.num_rows, queries, service.asked) == (0, [], [])


class TestLocalArchive:
    def test_images_of_the_stars(self, survey_archive, stars):
        archive = IrsaSpherex(survey_archive.services["irsa"], positions=stars)
        table, queries = archive.observations()
        assert [text[-4:] for text in table["obs_id"].to_pylist()] == ["1/D1", "1/D4", "1/D3", "1/D5", "1/D6"]
        assert len(queries) == len(stars)
        assert all(query.counted == query.rows for query in queries)
        for row, places in zip(table.to_pylist(), archive.locate(table)[0], strict=True):
            assert contains(parse_s_region(row["s_region"]), *zip(*stars, strict=True)).any()
            assert places == (
                row["access_url"].replace(f"{survey_archive.url}/ibe/data/spherex/", "s3://nasa-irsa-spherex/"),
                row["access_url"],
            )

    def test_positions_together(self, survey_archive, stars):
        url = survey_archive.services["irsa"]
        beside = [(ra + step, dec + step) for ra, dec in stars for step in (-0.2, -0.04, 0.0, 0.04, 0.2)]
        table, queries = IrsaSpherex(url, positions=beside).observations()
        assert len(queries) <= 2 * len(stars)
        alone = [IrsaSpherex(url, positions=[place]).observations()[0] for place in beside]
        assert pairs(table, beside, 0.0) == {(name, i) for i, one in enumerate(alone) for name in one["obs_id"].to_pylist()}

    def test_bands_and_times(self, survey_archive, stars):
        url = survey_archive.services["irsa"]
        found = IrsaSpherex(url, positions=stars, bands=["SPHEREx-D1", "SPHEREx-D4"]).observations()[0]
        assert set(found["energy_bandpassname"].to_pylist()) == {"SPHEREx-D1", "SPHEREx-D4"}
        assert IrsaSpherex(url, positions=stars, time=(60000.0, 60001.0)).observations()[0].num_rows == 0
        assert IrsaSpherex(url, positions=stars, wavelength_um=(4.0, 4.2)).observations()[0].num_rows == 1

    def test_beside_an_image(self, survey_archive, stars):
        url = survey_archive.services["irsa"]
        aside = [(stars[0][0], stars[0][1] + 0.12)]
        assert IrsaSpherex(url, positions=aside).observations()[0].num_rows == 0
        assert IrsaSpherex(url, positions=aside, radius_deg=0.1).observations()[0].num_rows == 2

    def test_limited_service(self, survey_archive, stars):
        survey_archive.set_faults(Faults(irsa_limit=1))
        table, _ = IrsaSpherex(survey_archive.services["irsa"], positions=stars[2:]).observations()
        assert table.num_rows == 1

    def test_kept_answers(self, survey_archive, stars, tmp_path):
        url = survey_archive.services["irsa"]
        first, _ = IrsaSpherex(url, positions=stars, answers=Answers(tmp_path)).observations()
        survey_archive.reset()
        again, queries = IrsaSpherex(url, positions=stars, answers=Answers(tmp_path, mode="offline")).observations()
        assert again.equals(first)
        assert not survey_archive.log()
        assert all(query.reused for query in queries)

    @pytest.mark.parametrize("fault", ["error", "html", "truncated", "503"])
    def test_faults(self, survey_archive, stars, hasty, fault):
        survey_archive.set_faults(Faults(irsa=fault))
        with pytest.raises(ArchiveError, match="IRSA"):
            IrsaSpherex(survey_archive.services["irsa"], positions=stars, patience=hasty).observations()
