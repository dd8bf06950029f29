"""Observations from MAST: whole, in our units, and where their products are."""

import json
from datetime import UTC, datetime
from importlib.resources import files
from urllib.parse import parse_qs

import pyarrow as pa
import pytest

from raysearch.archives import http
from raysearch.archives.answers import Answers
from raysearch.archives.mast import OBSERVED, OWN, Mast, proprietary
from raysearch.archives.obscore import OBSCORE
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError
from raysearch.model import Archive
from raysearch.testing import CubeSpec, Faults, Holdings, LocalArchive, demo_holdings, observation_row

DATA = files("astroquery.mast.tests") / "data"
COLUMNS = (DATA / "columnsconfig.json").read_text()
FIELDS = {"obs_id": "string", "dataURL": "string", "em_min": "float", "em_max": "float", "calib_level": "int", "s_region": "string"}


def cubes(url, **options):
    return Mast(url, collection="JWST", product_type="cube", **options)


@pytest.fixture(scope="module")
def archive():
    with LocalArchive(demo_holdings(observations=20)) as running:
        yield running


@pytest.fixture(autouse=True)
def _sound(archive):
    archive.reset()


@pytest.fixture
def scripted(serve):
    """Return a function that starts a MAST with these rows, which may say it has more."""

    def start(rows, count=None):
        def answer(asked):
            if asked.path.endswith("columnsconfig"):
                return serve.reply(COLUMNS)
            counting = json.loads(asked.form["request"][0])["params"]["columns"] == "COUNT_BIG(*)"
            data = [{"n": len(rows) if count is None else count}] if counting else rows
            fields = {"n": "int"} if counting else FIELDS
            told = [{"name": name, "type": kind} for name, kind in fields.items()]
            return serve.reply(json.dumps({"status": "COMPLETE", "msg": "", "fields": told, "data": data}))

        return serve(answer)

    return start


def row(obs_id, url, **values):
    return {"obs_id": obs_id, "dataURL": url, "em_min": 4900.0, "em_max": 28700.0, "calib_level": 3, **values}


def test_it_is_an_archive():
    mast: Archive = cubes("https://mast.stsci.edu")
    assert mast.locate(pa.table({"dataURL": pa.array([], pa.string())})) == ([], [])


def test_what_is_sent(archive):
    cubes(archive.services["mast"], criteria={"instrument_name": "MIRI/IFU", "em_min": [4000, 6000]}).observations()
    columns, count, rows = archive.log()
    assert [r.path for r in (columns, count, rows)] == ["/portal/Mashup/Mashup.asmx/columnsconfig", *["/api/v0/invoke"] * 2]
    sent = [json.loads(parse_qs(r.form)["request"][0]) for r in (count, rows)]
    assert [s["params"]["columns"] for s in sent] == ["COUNT_BIG(*)", ",".join((*OBSERVED, *OWN))]
    assert sent[0]["params"]["filters"] == sent[1]["params"]["filters"], "what is counted is what is asked for"
    assert {f["paramName"]: f["values"] for f in sent[1]["params"]["filters"]} == {
        "dataproduct_type": ["cube"],
        "obs_collection": ["JWST"],
        "dataRights": ["PUBLIC"],
        "calib_level": ["0", "1", "2", "3", "4"],
        "instrument_name": ["MIRI/IFU"],
        "em_min": [{"min": 4000, "max": 6000}],
    }
    assert sent[1]["pagesize"] == 50_000


def test_all_rows_in_one_set_of_units(archive):
    holdings = demo_holdings(observations=20)
    asked = {"dataproduct_type": "cube", "dataRights": "PUBLIC", "obs_collection": "JWST"}
    cube_rows = [r for r in holdings.observations if asked.items() <= r.items()]
    table, queries = cubes(archive.services["mast"]).observations()
    assert table["obs_id"].to_pylist() == sorted(r["obs_id"] for r in cube_rows)
    assert [q.rows for q in queries] == [len(cube_rows)]
    by_id = {r["obs_id"]: r for r in cube_rows}
    for got in table.to_pylist():
        sent = by_id[got["obs_id"]]
        assert got["em_min"] == pytest.approx(sent["em_min"] * 1e-9)
        assert got["em_max"] == pytest.approx(sent["em_max"] * 1e-9)
        assert (got["s_region"], got["dataURL"], got["calib_level"]) == (sent["s_region"], sent["dataURL"], sent["calib_level"])


def test_known_columns_have_their_types_and_the_archives_own_follow(archive):
    table, _ = cubes(archive.services["mast"]).observations()
    assert tuple(table.column_names[: len(OBSERVED)]) == OBSERVED
    assert all(table.schema.field(name).type == OBSCORE.field(name).type for name in OBSERVED)
    assert "proposal_pi" in table.column_names
    assert "jpegURL" not in table.column_names, "what nobody reads is not sent"


def test_private_data_and_levels_are_asked_for_on_request():
    spec = CubeSpec()
    rows = (
        observation_row(spec, 1, obs_id="public"),
        observation_row(spec, 2, obs_id="private", dataRights="EXCLUSIVE_ACCESS"),
        observation_row(spec, 3, obs_id="raw", calib_level=1),
        observation_row(spec, 4, obs_id="image", dataproduct_type="image"),
        observation_row(spec, 5, obs_id="hst", obs_collection="HST"),
    )
    with LocalArchive(Holdings(observations=rows)) as small:
        url = small.services["mast"]
        assert cubes(url).observations()[0]["obs_id"].to_pylist() == ["public", "raw"]
        assert cubes(url, public_only=False).observations()[0]["obs_id"].to_pylist() == ["private", "public", "raw"]
        assert cubes(url, calib_level=(3,)).observations()[0]["obs_id"].to_pylist() == ["public"]
        assert cubes(url, criteria={"em_min": [1, 2]}).observations()[0].num_rows == 0


def test_no_rows_is_an_answer_with_all_columns(archive):
    table, queries = Mast(archive.services["mast"], collection="NONE", product_type="cube").observations()
    assert table.num_rows == 0
    assert set(OBSERVED) <= set(table.column_names)
    assert queries[0].rows == 0


def test_every_page_is_read(archive, monkeypatch):
    whole = cubes(archive.services["mast"]).observations()[0]
    monkeypatch.setattr("raysearch.archives.mast.PAGE_ROWS", 3)
    assert cubes(archive.services["mast"]).observations()[0].equals(whole)


def test_pages_without_rows_are_an_error(archive, monkeypatch):
    monkeypatch.setattr("raysearch.archives.mast.PAGE_ROWS", 3)
    archive.set_faults(Faults(mast="page"))
    with pytest.raises(ArchiveError, match=r"MAST gave 3 of \d+ rows, \d+ are missing, asked twice"):
        cubes(archive.services["mast"]).observations()


def test_a_query_still_executing_is_waited_for(archive, monkeypatch):
    monkeypatch.setattr("raysearch.archives.mast._EXECUTING_PAUSE_S", 0.01)
    archive.set_faults(Faults(executing=2))
    assert cubes(archive.services["mast"]).observations()[0].num_rows > 0
    assert sum(request.path == "/api/v0/invoke" for request in archive.log()) == 6


def test_a_query_that_never_ends_is_given_up(archive, impatient):
    archive.set_faults(Faults(executing=1000))
    with pytest.raises(ArchiveUnavailable, match="had not finished"):
        cubes(archive.services["mast"], patience=impatient).observations()


@pytest.mark.parametrize(
    ("fault", "words"), [("error", "MAST refused the query: The query failed"), ("html", "not answer in JSON")]
)
def test_refusals_are_told(archive, fault, words):
    archive.set_faults(Faults(mast=fault))
    with pytest.raises(ArchiveError, match=words):
        cubes(archive.services["mast"]).observations()


@pytest.mark.parametrize("fault", ["500", "503", "504", "hang"])
def test_silence_and_overload_are_transient(archive, impatient, fault):
    archive.set_faults(Faults(mast=fault))
    with pytest.raises(ArchiveUnavailable, match="MAST gave no answer"):
        cubes(archive.services["mast"], patience=impatient).observations()


def test_fewer_rows_than_counted_is_an_error(scripted):
    service = scripted([row("a", "mast:a")], count=3)
    with pytest.raises(ArchiveError, match="1 of 3 rows, 2 are missing, asked twice"):
        cubes(service.url).observations()
    assert len(service.asked) == 5


@pytest.mark.parametrize(
    ("criteria", "words"),
    [({"instrument": "MIRI"}, "Did you mean 'instrument_name'"), ({"em_min": [5000]}, "em_min is continuous")],
)
def test_a_criterion_mast_would_drop_is_an_error(archive, criteria, words):
    # astroquery warns, drops the filter, and so asks for more than the user wants
    with pytest.raises(ConfigError, match=words):
        cubes(archive.services["mast"], criteria=criteria).observations()


def test_exact_duplicates_collapse_and_namesakes_are_told_apart(scripted):
    rows = [row("b", "mast:b"), row("a", "mast:a"), row("b", "mast:b"), row("c", "mast:c1"), row("c", "mast:c2")]
    table, queries = cubes(scripted(rows).url).observations()
    assert table["obs_id"].to_pylist() == ["a", "b", "c mast:c1", "c mast:c2"]
    assert queries[0].rows == 5


def test_masked_values_are_null(scripted):
    table, _ = cubes(scripted([row("a", None, em_min=None, s_region=None, calib_level=None)]).url).observations()
    assert {name: table[name].to_pylist() for name in FIELDS} == {
        "obs_id": ["a"], "dataURL": [None], "em_min": [None], "em_max": [2.87e-05], "calib_level": [None], "s_region": [None],
    }  # fmt: skip


def test_a_row_without_obs_id_is_an_error(scripted):
    with pytest.raises(ArchiveError, match="1 rows without an obs_id"):
        cubes(scripted([row(None, "mast:a")]).url).observations()


@pytest.mark.parametrize("body", ["[]", "{}", '{"status": "COMPLETE"}', '{"status": "COMPLETE", "fields": [], "data": []}'])
def test_json_of_another_shape_is_an_error(serve, body):
    service = serve(lambda asked: serve.reply(COLUMNS if asked.path.endswith("columnsconfig") else body))
    with pytest.raises(ArchiveError, match="MAST"):
        cubes(service.url).observations()


def test_a_recorded_answer(serve):
    recorded = (DATA / "caom.json").read_text()

    def answer(asked):
        if asked.path.endswith("columnsconfig"):
            return serve.reply(COLUMNS)
        counting = "COUNT_BIG" in asked.form["request"][0]
        count = {"status": "COMPLETE", "msg": "", "fields": [{"name": "n", "type": "int"}], "data": [{"n": 19}]}
        return serve.reply(json.dumps(count) if counting else recorded)

    table, queries = Mast(serve(answer).url, collection="HST", product_type="image").observations()
    assert queries[0].rows == table.num_rows == 19
    one = next(r for r in table.to_pylist() if r["obs_id"] == "U27XCS01T")
    assert one["em_min"] == pytest.approx(713.51001e-9)
    assert one["s_region"].startswith("POLYGON GSC1  23.17474785")
    assert one["dataURL"] is None


@pytest.mark.parametrize("url", ["/etc/passwd", "file:///etc/passwd", "memory://x", "http://169.254.169.254/latest"])
def test_an_archive_names_no_file_of_this_machine(url):
    assert cubes("http://nowhere").locate(pa.table({"dataURL": [url]})) == ([()], [])


def test_places_in_order_of_preference(archive):
    url = archive.services["mast"]
    table, _ = cubes(url).observations()
    table = table.filter(pa.compute.is_valid(table["dataURL"]))
    places, queries = cubes(url).locate(table)
    assert len(places) == table.num_rows
    assert len(queries) == 1
    known = {p.uri: p for p in demo_holdings(observations=20).products}
    for uri, where in zip(table["dataURL"].to_pylist(), places, strict=True):
        product = known.get(uri)
        cloud = (f"s3://stpubdata/{product.key}",) if product and product.located else ()
        assert where == (*cloud, f"{url}/api/v0.1/Download/file?uri={uri}")


def test_products_that_the_lookup_does_not_know_have_the_download_alone(archive):
    url = archive.services["mast"]
    table = pa.table({"dataURL": ["mast:JWST/product/nowhere.fits", None, "", "https://archive.stsci.edu/a.fits"]})
    for fault in (None, "absent"):
        archive.set_faults(Faults(lookup=fault))
        places, _ = cubes(url).locate(table)
        assert places == [
            (f"{url}/api/v0.1/Download/file?uri=mast:JWST/product/nowhere.fits",), (), (), ("https://archive.stsci.edu/a.fits",),
        ]  # fmt: skip


@pytest.mark.parametrize("fault", ["503", "hang"])
def test_a_lookup_that_is_down_is_not_taken_for_nowhere(archive, impatient, fault):
    archive.set_faults(Faults(lookup=fault))
    with pytest.raises(ArchiveUnavailable, match="MAST path_lookup"):
        cubes(archive.services["mast"], patience=impatient).locate(pa.table({"dataURL": ["mast:JWST/product/a.fits"]}))


# What is asked for.

SPEC = CubeSpec()


def held(*rows):
    return Holdings(
        observations=tuple(observation_row(SPEC, n, **{"obs_id": f"o{n}", **columns}) for n, columns in enumerate(rows))
    )


def ids(url, **options):
    return cubes(url, **options).observations()[0]["obs_id"].to_pylist()


def test_any_of_several_texts_and_wildcards():
    rows = [{"filters": f, "instrument_name": i, "proposal_id": p} for f, i, p in (
        ("CH1-SHORT", "MIRI/IFU", "1290"), ("CH1-LONG", "MIRI/IFU", "1373"), ("CH4-LONG", "MIRI/IFU", "1290"),
        ("F100LP;G140H", "NIRSPEC/IFU", "2727"), ("F170LP;G235H", "NIRSPEC/IFU", "1290"),
    )]  # fmt: skip
    with LocalArchive(held(*rows)) as small:
        url = small.services["mast"]
        assert ids(url) == ["o0", "o1", "o2", "o3", "o4"]
        assert ids(url, instrument="NIRSPEC/IFU") == ["o3", "o4"]
        assert ids(url, filters="CH1*") == ["o0", "o1"]
        assert ids(url, filters=("CH1*", "CH4*", "G140H")) == ["o0", "o1", "o2", "o3"], "astroquery takes one wildcard"
        assert ids(url, filters=("CH4*", "CH1-SHORT"), instrument=("MIRI*", "NIR*")) == ["o0", "o2"]
        assert ids(url, proposal=("1290", "2727"), instrument="NIRSPEC*") == ["o3", "o4"]
        assert Mast(url, collection="J*").observations()[0].num_rows == 5


def test_an_answer_in_several_questions_names_them_all_and_has_no_row_twice(archive):
    url = archive.services["mast"]
    table, queries = cubes(url, filters=("CH1*", "*SHORT")).observations()
    assert len(queries) == 2
    assert all(q.rows == q.counted for q in queries)
    assert table.num_rows == len(set(table["obs_id"].to_pylist())) < sum(q.rows for q in queries)


def test_observations_that_reach_into_a_wavelength_range():
    ends = ((4900, 5700), (5700, 6600), (6500, 7600), (4000, 20_000), (None, None))
    with LocalArchive(held(*({"em_min": low, "em_max": high} for low, high in ends))) as small:
        url = small.services["mast"]
        assert ids(url, wavelength_um=(5.8, 6.4)) == ["o1", "o3"]
        assert ids(url, wavelength_um=(5.7, 5.7)) == ["o0", "o1", "o3"], "ends belong to a range"
        assert ids(url, wavelength_um=(6.55, 30.0)) == ["o1", "o2", "o3"]
        assert ids(url, wavelength_um=(0.5, 1.0)) == []


def test_observations_that_reach_into_a_time_range():
    with LocalArchive(held(*({"t_min": t, "t_max": t + 1.0} for t in (60_000.0, 60_010.0, 60_020.0)))) as small:
        assert ids(small.services["mast"], time=(60_000.5, 60_010.5)) == ["o0", "o1"]


def test_only_what_is_around_positions():
    with LocalArchive(held(*({"s_ra": ra, "s_dec": 10.0, "s_region": None} for ra in (10.0, 10.1, 50.0, 200.0)))) as small:
        table, queries = cubes(small.services["mast"], positions=[(10.0, 10.0), (200.0, 10.0)]).observations()
        assert table["obs_id"].to_pylist() == ["o0", "o1", "o3"]
        assert [json.loads(q.text)["params"]["position"] for q in queries] == ["10.0, 10.0, 0.2", "200.0, 10.0, 0.2"]
        assert [(q.rows, q.counted) for q in queries] == [(2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("rights", "release", "told"),
    [
        ("PUBLIC", 62_000.0, ""),
        ("PUBLIC", None, ""),
        (None, None, ""),
        (None, 60_000.0, ""),
        (None, 61_400.5, "proprietary until 2027-01-01"),
        ("EXCLUSIVE_ACCESS", 61_400.5, "proprietary until 2027-01-01"),
        ("EXCLUSIVE_ACCESS", 60_000.0, "proprietary: the archive says EXCLUSIVE_ACCESS, and no date of its release"),
        ("RESTRICTED", None, "proprietary: the archive says RESTRICTED, and no date of its release"),
        ("RESTRICTED", float("nan"), "proprietary: the archive says RESTRICTED, and no date of its release"),
    ],
)
def test_why_private_data_cannot_be_had(rights, release, told):
    # MJD 61406 is 1 January 2027 (51544 is 1 January 2000)
    assert proprietary(rights, release and release + 5.5, datetime(2026, 11, 21, tzinfo=UTC)) == told


# Whether it is whole.


@pytest.fixture
def paged(serve, monkeypatch):
    """Return a function that starts a MAST of six rows in pages of two; `alter` changes what a page answers, by its turn."""
    monkeypatch.setattr("raysearch.archives.mast.PAGE_ROWS", 2)
    rows = [row(f"o{n}", f"mast:o{n}") for n in range(6)]

    def start(alter=lambda answer, page, turn: answer):
        turns = []

        def answer(asked):
            if asked.path.endswith("columnsconfig"):
                return serve.reply(COLUMNS)
            sent = json.loads(asked.form["request"][0])
            page = sent["page"]
            if sent["params"]["columns"] == "COUNT_BIG(*)":
                turns.append(0)
                whole = {"status": "COMPLETE", "fields": [{"name": "n", "type": "int"}], "data": [{"n": 6}]}
                return serve.reply(json.dumps(alter(whole, "count", len(turns))))
            told = [{"name": name, "type": kind} for name, kind in FIELDS.items()]
            paging = {"page": page, "pageSize": 2, "pagesFiltered": 3, "rows": 2, "rowsFiltered": 6, "rowsTotal": 6}
            whole = {"status": "COMPLETE", "fields": told, "data": rows[2 * page - 2 : 2 * page], "paging": paging}
            return serve.reply(json.dumps(alter(whole, page, len(turns))))

        return serve(answer)

    return start


def test_pages_are_put_together(paged):
    table, queries = cubes(paged().url).observations()
    assert table["obs_id"].to_pylist() == [f"o{n}" for n in range(6)]
    assert (queries[0].rows, queries[0].counted) == (6, 6)


def _missing(answer, page, turn):
    return {**answer, "data": []} if page == 2 else answer


def _twice(answer, page, turn):
    return {**answer, "data": [row(f"o{n}", f"mast:o{n}") for n in (0, 1)]} if page == 2 else answer


def _shifted(answer, page, turn):
    # sorted anew between pages: one row comes twice, another never, and the number is right
    return {**answer, "data": [row("o1", "mast:o1"), row("o2", "mast:o2")]} if page == 2 else answer


def _recounted(answer, page, turn):
    return {**answer, "paging": {**answer["paging"], "rowsFiltered": 7}} if page == 3 else answer


def _more(answer, page, turn):
    return {**answer, "data": [{"n": 4}]} if page == "count" else answer


FLAWS = {
    _missing: "gave 4 of 6 rows, 2 are missing",
    _twice: "gave 2 rows on two pages, and as many are missing",
    _shifted: "gave 1 rows on two pages",
    _recounted: "counted 6 and then 6 and then 7 rows",
    _more: "gave 6 rows, but counts 4",
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_pages_that_do_not_fit_together_are_asked_for_once_more(paged, flaw):
    service = paged(lambda answer, page, turn: flaw(answer, page, turn) if turn == 1 else answer)
    assert cubes(service.url).observations()[0].num_rows == 6


@pytest.mark.parametrize("flaw", FLAWS)
def test_pages_that_never_fit_together_are_an_error(paged, flaw):
    service = paged(flaw)
    with pytest.raises(ArchiveError, match=f"MAST {FLAWS[flaw]}.*asked twice"):
        cubes(service.url).observations()
    assert len(service.asked) <= 1 + 2 * 4


def test_pages_without_end_are_not_read_for_ever(paged):
    def endless(answer, page, turn):
        return answer if page == "count" else {**answer, "paging": {**answer["paging"], "pagesFiltered": 10**9}}

    service = paged(endless)
    assert cubes(service.url).observations()[0].num_rows == 6
    assert len(service.asked) <= 6


def test_an_error_on_a_later_page_is_an_error(paged):
    service = paged(lambda answer, page, turn: {"status": "ERROR", "msg": "out of memory"} if page == 2 else answer)
    with pytest.raises(ArchiveError, match="MAST refused the query: out of memory"):
        cubes(service.url).observations()


# Kept answers.


def test_kept_answers_need_no_request(archive, tmp_path):
    url = archive.services["mast"]
    asked = cubes(url, answers=Answers(tmp_path))
    table, _ = asked.observations()
    places, _ = asked.locate(table)
    archive.reset()
    archive.set_faults(Faults(mast="hang", lookup="hang"))
    kept = cubes(url, answers=Answers(tmp_path, "offline"))
    again, queries = kept.observations()
    assert again.equals(table)
    assert kept.locate(table)[0] == places
    assert archive.log() == []
    assert queries[0].reused
    assert (queries[0].rows, queries[0].counted) == (table.num_rows, table.num_rows)
    with pytest.raises(ArchiveError, match=r"offline.*NIRSPEC"):
        cubes(url, instrument="NIRSPEC", answers=Answers(tmp_path, "offline")).observations()


def test_what_mast_is_waited_for_is_told(archive, told, monkeypatch):
    monkeypatch.setattr("raysearch.archives.mast._EXECUTING_PAUSE_S", 1.0)
    archive.set_faults(Faults(executing=1))
    with http.on_waiting(told):
        cubes(archive.services["mast"]).observations()
    assert told.lines[0].startswith(
        "waiting for MAST's answer to dataproduct_type = cube, obs_collection = JWST, dataRights = PUBLIC"
    )
