"""SIA2: what is asked, when an answer is whole, and what becomes of one that is not."""

import json

import pytest
from vo_answers import SIA2_CAPABILITIES, recorded, refusal, votable

from raysearch.archives.answers import Answers
from raysearch.archives.irsa import Irsa
from raysearch.archives.sia import Request, Sia2, circles
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError
from raysearch.model import Archive
from raysearch.sky.footprint import contains, parse_s_region
from raysearch.testing import Faults


def row(number, **columns):
    return {
        "obs_id": f"obs-{number}",
        "s_ra": 10.0,
        "s_dec": 20.0,
        "em_min": 1e-6,
        "em_max": 2e-6,
        "t_min": 60000.0 + number,
        "t_max": 60000.5 + number,
        "calib_level": 2,
        "access_url": f"https://archive.org/{number}.fits",
        "access_format": "image/fits",
        **columns,
    }


@pytest.fixture
def scripted(serve):
    """Return a function that starts a SIA2 service of rows, which sends `limit` of them at most, flagged or not."""

    def start(rows, limit=1_000_000, flagged=True, **options):
        def answer(asked):
            if asked.path == "/sia/capabilities":
                return serve.reply(SIA2_CAPABILITIES.format(url=service.url + "/elsewhere/query"))
            assert asked.path == "/elsewhere/query"
            found = [r for r in rows if fits(r, asked.query)]
            cut = min(limit, int(asked.query["MAXREC"][0]))
            status = "OVERFLOW" if flagged and len(found) > cut else "OK"
            return serve.reply(
                votable(found[:cut], status=status, names=list(rows[0]) if rows else ("obs_id", "access_url"), **options)
            )

        service = serve(answer)
        return service

    return start


def fits(r, query):
    spans = {"TIME": ("t_min", "t_max"), "BAND": ("em_min", "em_max")}
    for name, (low, high) in spans.items():
        for value in query.get(name, []):
            begin, end = map(float, value.split())
            if not (r[low] <= end and r[high] >= begin):
                return False
    if "CALIB" in query and str(r["calib_level"]) not in query["CALIB"]:
        return False
    return "POS" not in query or any(float(pos.split()[1]) == r["s_ra"] for pos in query["POS"])


def sent(service):
    return [asked.query for asked in service.asked if "MAXREC" in asked.query]


def test_it_is_an_archive_and_asks_where_the_capabilities_say(scripted, hasty):
    service = scripted([row(2), row(1)])
    archive: Archive = Sia2(service.url + "/sia/", collection="things", patience=hasty)
    table, queries = archive.observations()
    assert table["obs_id"].to_pylist() == ["obs-1", "obs-2"]
    assert [asked.path for asked in service.asked] == ["/sia/capabilities", "/elsewhere/query"]
    (query,) = queries
    assert (query.service, query.url, query.rows) == ("SIA2", service.url + "/sia", 2)
    assert query.text == "COLLECTION=things&MAXREC=1000000"


def test_everything_asked_is_sent_under_the_standards_names(scripted, hasty):
    service = scripted([row(1)])
    Sia2(
        service.url + "/sia",
        collection=("a", "b"),
        product_type="cube",
        calib_level=(2, 3),
        instrument="FIFI-LS",
        facility="SOFIA",
        data_format="cube/fits",
        wavelength_um=(4.9, 28.0),
        positions=((10.0, -20.5), (11.0, 3.0)),
        radius_deg=0.5,
        time=(60310.0, 60676.0),
        patience=hasty,
        maxrec=77,
    ).observations()
    (query,) = sent(service)
    assert {name: values for name, values in query.items() if name != "BAND"} == {
        "COLLECTION": ["a", "b"],
        "DPTYPE": ["cube"],
        "INSTRUMENT": ["FIFI-LS"],
        "FACILITY": ["SOFIA"],
        "FORMAT": ["cube/fits"],
        "CALIB": ["2", "3"],
        "POS": ["CIRCLE 10.0 -20.5 0.5", "CIRCLE 11.0 3.0 0.5"],
        "TIME": ["60310.0 60676.0"],
        "MAXREC": ["77"],
    }
    assert [float(end) for end in query["BAND"][0].split()] == pytest.approx([4.9e-6, 28e-6])


def test_a_position_without_a_radius_is_the_smallest_circle(scripted, hasty):
    service = scripted([row(1)])
    Sia2(service.url + "/sia", positions=((10.0, 20.0),), patience=hasty).observations()
    assert sent(service)[0]["POS"] == ["CIRCLE 10.0 20.0 1e-06"]


def test_where_there_are_no_positions_nothing_is_asked(scripted, hasty):
    service = scripted([row(1)])
    table, queries = Sia2(service.url + "/sia", positions=[], patience=hasty).observations()
    assert (table.num_rows, queries, service.asked) == (0, [], [])


def test_many_positions_go_in_several_requests_of_which_each_product_comes_once(scripted, hasty):
    service = scripted([row(1), row(2, s_ra=199.0)])
    positions = [(float(ra), 0.0) for ra in range(200)] + [(10.0, 1.0)]
    table, queries = Sia2(service.url + "/sia", positions=positions, patience=hasty).observations()
    assert table["obs_id"].to_pylist() == ["obs-1", "obs-2"]
    assert len(queries) == 4
    assert sum(len(query["POS"]) for query in sent(service)) == 201
    assert [asked.path for asked in service.asked].count("/sia/capabilities") == 1
    assert max(len(str(query)) for query in sent(service)) < 5000


@pytest.mark.parametrize("flagged", [True, False])
def test_a_cut_answer_is_asked_for_in_parts(scripted, hasty, flagged):
    rows = [row(n) for n in range(50)]
    service = scripted(rows, limit=8, flagged=flagged)
    archive = Sia2(service.url + "/sia", time=(60000.0, 60050.0), patience=hasty, maxrec=8)
    table, (query,) = archive.observations()
    assert sorted(table["obs_id"].to_pylist()) == sorted(r["obs_id"] for r in rows)
    assert query.text == "TIME=60000.0+60050.0&MAXREC=8"
    assert len(sent(service)) > 10


@pytest.mark.parametrize(
    "limits",
    [{"positions": [(10.0, 0.0), (11.0, 0.0)]}, {"calib_level": (2, 3)}, {"wavelength_um": (1.0, 8.0)}],
    ids=lambda limits: next(iter(limits)),
)
def test_what_was_limited_is_divided(scripted, hasty, limits):
    one = row(1, s_ra=10.0, calib_level=2, em_min=1e-6, em_max=2e-6)
    other = row(2, s_ra=11.0, calib_level=3, em_min=6e-6, em_max=7e-6)
    service = scripted([one, other], limit=1)
    table, _ = Sia2(service.url + "/sia", patience=hasty, **limits).observations()
    assert table["obs_id"].to_pylist() == ["obs-1", "obs-2"]


@pytest.mark.parametrize("limits", [{}, {"time": (60000.0, 60010.0)}, {"positions": [(10.0, 0.0)]}])
def test_a_cut_answer_that_cannot_be_divided_is_an_error_that_says_so(scripted, hasty, limits):
    same = [row(1, access_url=f"https://archive.org/{n}.fits") for n in range(9)]
    service = scripted(same, limit=4)
    with pytest.raises(ArchiveError, match="SIA2 gave 4 rows and has more, how many it does not say: narrow what is asked"):
        Sia2(service.url + "/sia", patience=hasty, **limits).observations()


def test_as_many_rows_as_were_asked_for_is_no_whole_answer(scripted, hasty):
    service = scripted([row(n) for n in range(4)], flagged=False)
    with pytest.raises(ArchiveError, match="gave 4 rows and has more"):
        Sia2(service.url + "/sia", patience=hasty, maxrec=4).observations()
    assert Sia2(service.url + "/sia", patience=hasty, maxrec=5).observations()[0].num_rows == 4


def test_nothing_is_an_answer(scripted, hasty):
    table, queries = Sia2(scripted([]).url + "/sia", patience=hasty).observations()
    assert table.num_rows == 0
    assert queries[0].rows == 0
    assert {"obs_id", "s_region", "em_min"} <= set(table.column_names)


def test_units_are_converted_at_the_door(scripted, hasty):
    service = scripted([row(1, em_min=5.0, em_max=6.0)], units={"em_min": "um", "em_max": "um", "t_min": "d"})
    table, _ = Sia2(service.url + "/sia", patience=hasty).observations()
    assert table["em_min"].to_pylist() == pytest.approx([5e-6])
    assert table["em_max"].to_pylist() == pytest.approx([6e-6])


def test_a_service_that_gives_energies_is_told_apart(scripted, hasty):
    service = scripted([row(1)], units={"em_min": "keV"})
    with pytest.raises(ArchiveError, match="em_min is in 'keV'"):
        Sia2(service.url + "/sia", patience=hasty).observations()


def test_places_are_the_cloud_then_the_service(scripted, hasty):
    cloud = json.dumps({"aws": {"bucket_name": "bucket", "key": "a/1.fits"}})
    rows = [
        row(1, cloud_access=cloud),
        row(2, cloud_access="{broken"),
        row(3, access_url=None),
        row(4, access_url="file:///etc/passwd"),
    ]
    archive = Sia2(scripted(rows).url + "/sia", patience=hasty)
    table, _ = archive.observations()
    assert archive.locate(table) == (
        [("s3://bucket/a/1.fits", "https://archive.org/1.fits"), ("https://archive.org/2.fits",), (), ()],
        [],
    )


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ((refusal("UsageFault: BAD_REQUEST: dec value 95"), 400), ArchiveError, "SIA2 refused the query: .*dec value 95"),
        ((refusal("UsageFault: of old services"), 200), ArchiveError, "SIA2 refused the query: .*of old services"),
        (("<html>Sorry</html>", 200), ArchiveError, "cannot be read .* is http://127.0.0.1.* the right address"),
        (("<html>Gone</html>", 404), ArchiveError, "refused the request.*404"),
        ((votable([row(1)])[:700], 200), ArchiveError, "cannot be read"),
        (("", 503), ArchiveUnavailable, "gave no answer after 3 requests: HTTP status 503"),
    ],
)
def test_a_services_faults_are_told_in_its_own_words(serve, hasty, reply, error, words):
    def answer(asked):
        if asked.path.endswith("/capabilities"):
            return serve.reply(SIA2_CAPABILITIES.format(url=service.url + "/query"))
        return serve.reply(*reply)

    service = serve(answer)
    with pytest.raises(error, match=words):
        Sia2(service.url, patience=hasty).observations()


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (("", 503), ArchiveUnavailable, "gave no answer after 3 requests"),
        (("", 404), ArchiveError, "SIA2 refused the request"),
        (("<html/>", 200), ArchiveError, "is http://127.0.0.1.* the right address"),
    ],
)
def test_without_capabilities_there_is_no_answer(serve, hasty, reply, error, words):
    service = serve(serve.reply(*reply))
    with pytest.raises(error, match=words):
        Sia2(service.url, patience=hasty).observations()


@pytest.mark.parametrize("there", ["file:///etc/passwd", "http://[::1", "gopher://old.org/sia"])
def test_capabilities_that_lead_nowhere_are_not_followed(serve, hasty, there):
    service = serve(serve.reply(SIA2_CAPABILITIES.format(url=there)))
    with pytest.raises(ArchiveError, match="where we do not go"):
        Sia2(service.url, patience=hasty).observations()
    assert len(service.asked) == 1


def test_a_silent_service_is_asked_for_its_capabilities_once(serve, hasty):
    service = serve(serve.reply("", 503))
    with pytest.raises(ArchiveUnavailable):
        Sia2(service.url, positions=[(float(ra), 0.0) for ra in range(300)], patience=hasty).observations()
    assert len(service.asked) == hasty.attempts


@pytest.mark.parametrize(
    "wrong",
    [{"wavelength_um": (2.0, 1.0)}, {"time": (1.0,)}, {"calib_level": (7,)}, {"positions": [(10.0, 95.0)]}, {"radius_deg": 100.0}],
)
def test_what_sia2_does_not_know_is_not_asked(serve, hasty, wrong):
    service = serve(serve.reply(SIA2_CAPABILITIES))
    with pytest.raises(ConfigError):
        Sia2(service.url, **({"positions": [(1.0, 2.0)]} | wrong), patience=hasty).observations()
    assert not service.asked


def test_answers_are_kept_with_all_their_parts(scripted, hasty, tmp_path):
    service = scripted([row(n) for n in range(20)], limit=8)
    asked = {"time": (60000.0, 60020.0), "patience": hasty}
    first, _ = Sia2(service.url + "/sia", answers=Answers(tmp_path), **asked).observations()
    before = len(service.asked)
    again, (query,) = Sia2(service.url + "/sia", answers=Answers(tmp_path, mode="offline"), **asked).observations()
    assert len(service.asked) == before
    assert query.reused
    assert again.equals(first)


def test_halves_meet():
    whole = Request((), (), (), 0.0, (1e-6, 3e-6), (60000.0, 60010.0), 10)
    assert [part.time_mjd for part in whole.parts()] == [(60000.0, 60005.0), (60005.0, 60010.0)]
    assert [part.band_m for part in Request((), (), (), 0.0, (1e-6, 3e-6), None, 10).parts()] == [(1e-6, 2e-6), (2e-6, 3e-6)]
    assert Request((), (), (), 0.0, None, (60000.0, float("inf")), 10).parts() == []
    assert Request((), (), (), 0.0, None, (60000.0, 60000.0), 10).parts() == []


def test_a_real_answer_of_cadc(serve, hasty):
    answer = recorded("dal", "tests", "data", "sia2", "dataset.xml")
    capabilities = recorded("dal", "tests", "data", "sia2", "capabilities.xml")

    def reply(asked):
        if asked.path.endswith("/capabilities"):
            return serve.reply(capabilities.replace("https://example.com", service.url))
        return serve.reply(answer)

    service = serve(reply)
    table, _ = Sia2(service.url + "/sia", patience=hasty).observations()
    assert service.asked[-1].path == "/sia/v2query"
    (found,) = table.to_pylist()
    assert found["obs_id"] == "TEST-DATASET"
    assert found["s_region"].startswith("polygon 252.33")
    assert (found["t_min"], found["t_obs_release"]) == (pytest.approx(58612.307037), 51544.0)
    assert found["em_min"] == pytest.approx(1.17e-6)


def test_circles_hold_their_positions():
    one = parse_s_region(circles([(10.0, 20.0)], 0.0))
    assert contains(one, [10.0, 10.001], [20.0, 20.0]).tolist() == [True, False]
    two = parse_s_region(circles([(10.0, 20.0), (359.0, -3e-7)], 0.5))
    assert contains(two, [10.4, 359.4, 180.0], [20.0, 0.0, 0.0]).tolist() == [True, True, False]


class TestIrsa:
    """Against the local archive."""

    def test_spherex(self, survey_archive, hasty):
        archive: Archive = Irsa(survey_archive.services["irsa"], collection="spherex_qr2")
        table, (query,) = archive.observations()
        assert query.service == "IRSA"
        assert table["obs_id"].to_pylist()[:2] == ["2025W51_1A_0001_1/D1", "2025W51_1A_0001_1/D4"]
        assert table["archive_obs_id"].to_pylist()[:2] == ["2025W51_1A_0001_1", "2025W51_1A_0001_1"]
        assert table["t_obs_release"].to_pylist()[0] == pytest.approx(61067.828356, abs=1e-6)  # 2026-01-27 19:52:50
        places, _ = archive.locate(table)
        for url, (cloud, own) in zip(table["access_url"].to_pylist(), places, strict=True):
            assert own == url
            assert cloud == url.replace(survey_archive.url + "/ibe/data/spherex/", "s3://nasa-irsa-spherex/")

    def test_sofia_cubes(self, survey_archive):
        archive = Irsa(
            survey_archive.services["irsa"], facility="SOFIA", product_type="cube", calib_level=(3,), data_format="cube/fits"
        )
        table, _ = archive.observations()
        assert table["obs_id"].to_pylist() == [f"F0500_FI_IFS_06000{i}_RED_WXY_10{i}" for i in range(3)]
        assert [len(places) for places in archive.locate(table)[0]] == [1, 1, 1]

    def test_around_the_stars(self, survey_archive, stars):
        table, _ = Irsa(survey_archive.services["irsa"], collection="spherex_qr2", positions=stars).observations()
        assert table.num_rows == 5

    def test_limited_service(self, survey_archive, stars):
        survey_archive.set_faults(Faults(irsa_limit=2))
        table, _ = Irsa(
            survey_archive.services["irsa"], collection="spherex_qr2", positions=stars, time=(61020.0, 61040.0)
        ).observations()
        assert table.num_rows == 5
        with pytest.raises(ArchiveError, match="gave 2 rows and has more"):
            Irsa(survey_archive.services["irsa"], collection="spherex_qr2").observations()

    @pytest.mark.parametrize("fault", ["error", "html", "truncated", "half", "hang", "503"])
    def test_faults(self, survey_archive, impatient, fault):
        survey_archive.set_faults(Faults(irsa=fault))
        with pytest.raises(ArchiveError, match="IRSA"):
            Irsa(survey_archive.services["irsa"], collection="spherex_qr2", patience=impatient).observations()

    @pytest.mark.parametrize("fault", ["404", "elsewhere"])
    def test_capabilities(self, survey_archive, hasty, fault):
        survey_archive.set_faults(Faults(capabilities=fault))
        with pytest.raises(ArchiveError, match="IRSA"):
            Irsa(survey_archive.services["irsa"], collection="spherex_qr2", patience=hasty).observations()
