"""SIMBAD's TAP, asked by pyvo and by astroquery, both unmodified."""

import warnings

import pytest
import pyvo
import requests
from astroquery.simbad import SimbadClass
from pyvo.dal.exceptions import DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError

from raysearch.testing import Faults
from raysearch.testing.simbad import to_sqlite

YOUNG = {"Y*O", "Y*?", "Or*", "TT*", "TT?", "Ae*", "Ae?", "out", "HH"}


@pytest.fixture
def tap(archive):
    with requests.Session() as session:
        yield pyvo.dal.TAPService(archive.services["simbad"], session=session)


def test_hierarchical_type_finds_all_beneath(tap, holdings):
    rows = tap.run_sync("SELECT * FROM basic WHERE otype='Y*O..'", maxrec=1000000).to_table()
    expected = {row["main_id"] for row in holdings.targets if row["otype"] in YOUNG}
    assert set(rows["main_id"]) == expected
    assert len(expected) == 32
    assert len(rows.colnames) == 67


def test_subtree_and_exact_type_differ(tap):
    count = {w: len(tap.run_sync(f"SELECT oid FROM basic WHERE {w}")) for w in ("otype='TT*..'", "otype='TT*'", "otype='nope..'")}
    assert count["otype='TT*..'"] > count["otype='TT*'"] > 0
    assert count["otype='nope..'"] == 0


def test_columns_types_and_nulls(tap, holdings):
    rows = tap.run_sync(
        """SELECT main_id, basic."ra", "dec", rvz_redshift FROM basic WHERE otype = 'Y*O..' ORDER BY main_id"""
    ).to_table()
    assert [rows[c].dtype.kind for c in rows.colnames] == ["O", "f", "f", "f"]
    assert list(rows["main_id"]) == sorted(rows["main_id"])
    by_name = {row["main_id"]: row for row in holdings.targets}
    for row in rows:
        ours = by_name[row["main_id"]]
        for column in ("ra", "dec", "rvz_redshift"):
            assert (row[column] == ours.get(column)) if ours.get(column) is not None else row[column].mask


def test_count_and_top(tap):
    assert tap.run_sync("SELECT COUNT(*) FROM basic WHERE otype='Y*O..'").to_table()[0][0] == 32
    assert tap.run_sync("SELECT COUNT(*) AS n FROM basic").to_table()["n"][0] == 38
    assert len(tap.run_sync("SELECT TOP 5 main_id FROM basic ORDER BY ra")) == 5


def test_cone(tap, holdings):
    star = holdings.targets[1]
    query = (
        f"SELECT main_id FROM basic WHERE CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {star['ra']}, {star['dec']}, 0.0005)) = 1"
    )
    assert set(tap.run_sync(query)["main_id"]) == {"Synthetic YSO 02", "Synthetic YSO 02 B"}


def test_truncated_at_maxrec_says_so_only_in_the_document(archive, tap):
    assert (
        len(tap.run_sync("SELECT main_id FROM basic", maxrec=7)) == 7
    )  # pyvo does not warn here: warnings are errors in this suite
    form = {"REQUEST": "doQuery", "LANG": "ADQL", "MAXREC": "7", "QUERY": "SELECT main_id FROM basic"}
    text = requests.post(archive.services["simbad"] + "/sync", data=form, timeout=10).text
    assert text.index("OVERFLOW") > text.index("</TABLE>")
    assert "OVERFLOW" not in requests.post(archive.services["simbad"] + "/sync", data={**form, "MAXREC": "38"}, timeout=10).text


def test_service_limit_below_maxrec_overflows(archive, tap):
    archive.set_faults(Faults(simbad_limit=3))
    with pytest.warns(DALOverflowWarning, match="truncated at 3 records"):
        assert len(tap.run_sync("SELECT main_id FROM basic", maxrec=1000)) == 3


def test_wrong_queries_are_refused_with_a_reason(tap):
    for query, reason in (("SELECT nope FROM basic", "nope"), ("DELETE FROM basic", "only SELECT"), ("SELECT FROM", "syntax")):
        with pytest.raises(DALQueryError, match=reason):
            tap.run_sync(query)
    assert len(tap.run_sync("SELECT oid FROM basic")) == 38


@pytest.mark.parametrize(("fault", "error"), [("error", DALQueryError), ("503", DALServiceError), ("truncated", DALFormatError)])
def test_faults_reach_the_client(archive, tap, fault, error):
    archive.set_faults(Faults(simbad=fault, strikes=1))
    with pytest.raises(error):
        tap.run_sync("SELECT main_id FROM basic")
    assert len(tap.run_sync("SELECT main_id FROM basic")) == 38


def test_hang(archive):
    archive.set_faults(Faults(simbad="hang"))
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(archive.services["simbad"] + "/sync", data={"QUERY": "SELECT 1"}, timeout=0.3)


def test_astroquery(archive):
    class Redirected(SimbadClass):
        @property
        def tap(self):
            return pyvo.dal.TAPService(archive.services["simbad"], session=self._session)

    simbad = Redirected()
    assert len(simbad.query_tap("SELECT * FROM basic WHERE otype='Y*O..'", maxrec=1000000)) == 32
    assert simbad.query_object("Synthetic YSO 03")["matched_id"][0] == "Synthetic YSO 03"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not simbad.query_object("Nobody")
    assert "NoResultsWarning" in {w.category.__name__ for w in caught}
    sent = [entry.form for entry in archive.log() if entry.form]
    assert "MAXREC=1000000" in sent[0]


def test_adql_in_sqlite_words():
    assert to_sqlite("select top 3 ra from basic where ra > 1") == "SELECT  ra from basic where ra > 1 LIMIT 3"
    assert (
        to_sqlite("SELECT ra FROM basic WHERE basic.otype = 'Ae*..'") == "SELECT ra FROM basic WHERE basic.otype IN ('Ae*', 'Ae?')"
    )
    with pytest.raises(ValueError, match="only SELECT"):
        to_sqlite("DROP TABLE basic")
