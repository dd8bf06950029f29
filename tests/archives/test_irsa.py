"""SPHEREx's images by IRSA's TAP service."""

import pytest
from vo_answers import votable

from raysearch.archives.answers import Answers
from raysearch.archives.irsa import IrsaSpherex
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Archive
from raysearch.sky.footprint import contains, parse_s_region
from raysearch.testing import Faults

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
    assert len(queries) == 2
    (row,) = table.to_pylist()
    assert row["obs_id"] == "2025W51_1A_0684_2/D3"
    assert (row["obs_collection"], row["instrument_name"], row["dataproduct_type"]) == ("spherex_qr2", "SPHEREx", "image")
    assert (row["em_min"], row["t_max"]) == (1.6301e-6, 61027.216317)
    assert contains(parse_s_region(row["s_region"]), [10.5, 10.6, 10.7], [20.0, 20.1, 20.2]).tolist() == [True, True, False]


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
