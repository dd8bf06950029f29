"""Targets from SIMBAD."""

from importlib.resources import files

import pytest

from raysearch.archives import http
from raysearch.archives.answers import Answers
from raysearch.archives.simbad import _COLUMNS, _redshift, query_around, query_names, query_targets
from raysearch.archives.tap import query
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError
from raysearch.model import Target
from raysearch.testing import Faults, Holdings, LocalArchive, target_row

YOUNG = (
    target_row("V* T Tau", 65.4976, 19.5351, "TT*", rvz_redshift=6.4e-5, ids=("HD 284419", "NAME T Tauri")),
    target_row("Haro 6-5", 65.0, 26.9, "Y*O"),
    target_row("nowhere", None, None, "Y*O"),
    target_row("odd z", 1.0, -2.0, "Y*?", rvz_redshift=-99.0),
    target_row("M  31", 10.6847, 41.2688, "G", rvz_redshift=-0.001, ids=("NGC 224", "NAME Barnard's Galaxy, not")),
)


@pytest.fixture(scope="module")
def archive():
    with LocalArchive(Holdings(targets=YOUNG)) as running:
        yield running


@pytest.fixture(autouse=True)
def _sound(archive, monkeypatch):
    monkeypatch.setitem(http.QUOTAS, "SIMBAD", http.Quota(4))  # as fast as it goes
    archive.reset()


def test_targets_sorted_with_simbads_redshift_or_the_default(archive):
    targets, queries = query_targets("otype='Y*O..'", url=archive.services["simbad"], redshift=0.5)
    assert targets == [
        Target("Haro 6-5", 65.0, 26.9, 0.5),
        Target("V* T Tau", 65.4976, 19.5351, 6.4e-5),
        Target("odd z", 1.0, -2.0, 0.5),
    ]
    assert [q.service for q in queries] == ["SIMBAD"]
    assert queries[0].rows == 4, "the object without coordinates is counted as a row"


def test_only_the_columns_needed_are_asked_for(archive):
    _, queries = query_targets("otype='G'", url=archive.services["simbad"])
    assert (
        queries[0].text
        == "SELECT main_id, oid, ra, dec, rvz_redshift, rvz_radvel, rvz_type FROM basic WHERE otype='G' ORDER BY oid"
    )


def test_no_such_objects(archive):
    assert query_targets("otype='WD*'", url=archive.services["simbad"])[0] == []


def test_a_blueshift_is_kept(archive):
    assert query_targets("otype='G'", url=archive.services["simbad"])[0][0].redshift == -0.001


def test_simbads_own_limit_costs_no_targets(archive):
    archive.set_faults(Faults(simbad_limit=2))
    targets, queries = query_targets("otype='Y*O..'", url=archive.services["simbad"])
    assert [t.name for t in targets] == ["Haro 6-5", "V* T Tau", "odd z"]
    assert (queries[0].rows, queries[0].counted) == (4, 4)


@pytest.mark.parametrize("fault", ["error", "truncated", "html", "empty"])
def test_faults_are_told(archive, hasty, fault):
    archive.set_faults(Faults(simbad=fault))
    words = {"error": "SIMBAD refused the query", "empty": "SIMBAD gives no number"}
    with pytest.raises(ArchiveError, match=words.get(fault, "SIMBAD gave an answer that cannot be read")):
        query_targets("otype='Y*O..'", url=archive.services["simbad"], patience=hasty)


@pytest.mark.parametrize("fault", ["429", "500", "503", "504", "half", "hang"])
def test_silence_and_overload_are_transient(archive, impatient, fault):
    archive.set_faults(Faults(simbad=fault))
    with pytest.raises(ArchiveUnavailable, match="SIMBAD gave no answer"):
        query_targets("otype='Y*O..'", url=archive.services["simbad"], patience=impatient)


def test_two_overloads_are_outlasted(archive, hasty):
    archive.set_faults(Faults(simbad="503", strikes=2))
    assert len(query_targets("otype='Y*O..'", url=archive.services["simbad"], patience=hasty)[0]) == 3


def test_conditions_that_cannot_be_one_send_nothing(archive):
    for condition in ("", "  ", "otype='Y*O.."):
        with pytest.raises(ConfigError, match="SIMBAD condition"):
            query_targets(condition, url=archive.services["simbad"])
    assert archive.log() == []


def test_another_service_at_the_address_is_told(serve, hasty):
    table = (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        '<INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="id" datatype="long"/>'
        "<DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    with pytest.raises(ArchiveError, match="lacks the columns dec, main_id, oid, ra, rvz_radvel, rvz_redshift, rvz_type"):
        query_targets("1=1", url=serve(serve.reply(table)).url, patience=hasty)


def test_names_are_found_and_those_that_are_not_are_named(archive):
    names = ["HD 284419", "NGC 224", "Giga Cluster", "nowhere", " NAME T Tauri ", "NGC 224", ""]
    targets, missing, queries = query_names(names, url=archive.services["simbad"], redshift=0.5)
    assert targets == [Target("M  31", 10.6847, 41.2688, -0.001), Target("V* T Tau", 65.4976, 19.5351, 6.4e-5)]
    assert missing == ["Giga Cluster", "nowhere"], "an object without coordinates is not found either"
    assert [(q.rows, q.counted) for q in queries] == [(4, 4)]
    assert len([r for r in archive.log() if r.path.endswith("/sync")]) == 2, "one question and its count, however many names"


def test_names_with_quotes_are_data_not_adql(archive):
    targets, missing, _ = query_names(["NAME Barnard's Galaxy, not", "'; DROP TABLE basic"], url=archive.services["simbad"])
    assert [t.name for t in targets] == ["M  31"]
    assert missing == ["'; DROP TABLE basic"]


def test_no_names_ask_nothing(archive):
    assert query_names([" ", ""], url=archive.services["simbad"]) == ([], [], [])
    assert query_around([], 0.1, url=archive.services["simbad"]) == ([], [])
    assert archive.log() == []


def test_more_names_than_simbad_gives_rows_at_once(archive):
    archive.set_faults(Faults(simbad_limit=2))
    targets, missing, _ = query_names(["HD 284419", "NGC 224", "Haro 6-5", "odd z", "?"], url=archive.services["simbad"])
    assert len(targets) == 4
    assert missing == ["?"]


def test_objects_around_positions(archive):
    positions = [(65.5, 19.53), (65.4976, 19.5351), (200.0, 0.0), (65.0, 26.9)]
    targets, queries = query_around(positions, 0.01, url=archive.services["simbad"])
    assert [t.name for t in targets] == ["Haro 6-5", "V* T Tau"]
    assert queries[0].rows == 3


def test_kept_answers_are_reused_offline(archive, tmp_path):
    def ask(mode):
        options = {"url": archive.services["simbad"], "answers": Answers(tmp_path, mode)}
        around = query_around([(65.5, 19.53)], 0.01, **options)
        return query_targets("otype='Y*O..'", **options), query_names(["NGC 224", "?"], **options), around

    asked = ask("reuse")
    archive.set_faults(Faults(simbad="hang"))
    again = ask("offline")
    assert [a[0] for a in again] == [a[0] for a in asked]
    assert again[1][1] == ["?"]
    assert all(q.reused for answer in again for q in answer[-1])
    with pytest.raises(ArchiveError, match="offline"):
        query_names(["NGC 225"], url=archive.services["simbad"], answers=Answers(tmp_path, "offline"))


def row(redshift=None, velocity=None, kind=None):
    return {"rvz_redshift": redshift, "rvz_radvel": velocity, "rvz_type": kind}


def test_the_redshift_counts_before_the_velocity():
    assert _redshift(row(0.5, 1000.0, "v"), 9.0) == 0.5
    assert _redshift(row(), 9.0) == 9.0


@pytest.mark.parametrize("kind", ["v", "z", None, " "])
def test_a_velocity_alone_is_translated_as_simbad_does(kind):
    # M 31 in SIMBAD: V = -300 km/s, z = -0.001000, cz = -299.85 km/s
    z = _redshift(row(None, -300.0, kind), 9.0)
    assert z == pytest.approx(-0.0010002, abs=1e-7)
    assert z * 299_792.458 == pytest.approx(-299.85, abs=0.005)
    assert _redshift(row(None, 0.6 * 299_792.458, kind), 9.0) == pytest.approx(1.0)


def test_cz_is_c_times_z():
    assert _redshift(row(None, 299_792.458, "c"), 9.0) == pytest.approx(1.0)


@pytest.mark.parametrize("velocity", [3e5, -3e5, 299_792.458])
def test_a_velocity_that_cannot_be_one_gives_the_default(velocity):
    assert _redshift(row(-1.5, velocity, "v"), 9.0) == 9.0
    assert _redshift(row(None, -3e5, "c"), 9.0) == 9.0


def test_velocities_come_from_simbads_own_columns(archive):
    with LocalArchive(Holdings(targets=(target_row("cloud", 1.0, 2.0, rvz_radvel=-300.0, rvz_type="v"),))) as small:
        targets, _ = query_targets("otype='Y*O'", url=small.services["simbad"])
    assert targets[0].redshift == pytest.approx(-0.0010002, abs=1e-7)


def test_the_columns_are_among_those_simbad_describes(serve, hasty):
    """SIMBAD's own description of `basic`, recorded by astroquery."""
    recorded = files("astroquery.simbad.tests") / "data" / "simbad_basic_columns.xml"
    if not recorded.is_file():
        pytest.skip("this astroquery comes without recorded answers")
    count = (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        '<INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="n" datatype="long"/>'
        "<DATA><TABLEDATA><TR><TD>67</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    service = serve(serve.reply(recorded.read_text()), serve.reply(count))
    table, _ = query("SIMBAD", service.url, "SELECT * FROM TAP_SCHEMA.columns WHERE table_name = 'basic'", patience=hasty)
    described = {row["column_name"]: row for row in table.to_pylist()}
    assert set(_COLUMNS) <= described.keys()
    assert (described["rvz_radvel"]["unit"], described["rvz_redshift"]["unit"]) == ("km.s-1", "")
