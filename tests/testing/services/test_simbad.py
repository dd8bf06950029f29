"""SIMBAD's TAP, asked by pyvo and by astroquery, both unmodified."""

import io
import warnings
from urllib.parse import parse_qs

import numpy as np
import pytest
import pyvo
import requests
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse_single_table
from astropy.table import Table
from astropy.utils.data import get_pkg_data_filename
from astroquery.simbad import SimbadClass
from pyvo.dal.exceptions import DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError

from raysearch.testing import Faults
from raysearch.testing.services.simbad import BASIC

FAULTS = [
    ("error", DALQueryError), ("429", DALServiceError), ("500", DALServiceError), ("503", DALServiceError),
    ("504", DALServiceError), ("truncated", DALFormatError), ("half", DALFormatError), ("html", DALFormatError),
]  # fmt: skip
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


def test_pages_by_key_are_complete(archive, tap, holdings):
    archive.set_faults(Faults(simbad_limit=7))
    seen, last = [], 0
    while True:
        query = f"SELECT TOP 7 oid, main_id FROM basic WHERE oid > {last} ORDER BY oid"
        rows = tap.run_sync(query, maxrec=1000).to_table()
        seen += list(rows["main_id"])
        if not len(rows):
            break
        last = rows["oid"][-1]
    assert seen == [row["main_id"] for row in holdings.targets]


def test_hard_limit(tap):
    assert tap.hardlimit == 2_000_000
    assert tap.capabilities[0].executionduration.hard == 60


@pytest.mark.parametrize("binary", [False, True])
def test_upload_matched_within_a_radius(archive, tap, holdings, binary):
    mine = Table(
        {"my_id": ["first", "nowhere"], "ra": [holdings.targets[1]["ra"], 200.0], "dec": [holdings.targets[1]["dec"], 0.0]}
    )
    content = io.BytesIO()
    mine.write(content, format="votable", tabledata_format="binary2" if binary else "tabledata")
    content.seek(0)
    query = (
        "SELECT mine.my_id, basic.main_id FROM basic JOIN TAP_UPLOAD.mine AS mine "
        "ON 1 = CONTAINS(POINT('ICRS', basic.ra, basic.dec), CIRCLE('ICRS', mine.ra, mine.dec, 0.0005)) ORDER BY basic.main_id"
    )
    rows = tap.run_sync(query, uploads={"mine": content if binary else mine}).to_table()
    assert list(rows["main_id"]) == ["Synthetic YSO 02", "Synthetic YSO 02 B"]
    assert list(rows["my_id"]) == ["first", "first"]
    sent = archive.log()[-1]
    assert "UPLOAD=mine" in sent.form
    assert sent.form.endswith("+bytes")
    with pytest.raises(DALQueryError, match="unknown table"):
        tap.run_sync(query)


def test_upload_matched_by_identifier(tap):
    mine = Table({"wanted": ["Synthetic YSO 05", "Nobody"]})
    query = "SELECT wanted, oidref FROM TAP_UPLOAD.mine LEFT JOIN ident ON mine.wanted = ident.id ORDER BY wanted"
    rows = tap.run_sync(query, uploads={"mine": mine}).to_table()
    assert list(rows["wanted"]) == ["Nobody", "Synthetic YSO 05"]
    assert rows["oidref"].mask.tolist() == [True, False]


def test_wrong_uploads_are_refused(archive, tap):
    form = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:t"}
    for files in ({}, {"t": b"no table"}):
        answer = requests.post(archive.services["simbad"] + "/sync", data=form, files=files, timeout=10)
        assert (answer.status_code, 'value="ERROR"' in answer.text) == (400, True)
    form["UPLOAD"] = "t] (x); --,param:t"
    assert requests.post(archive.services["simbad"] + "/sync", data=form, files={"t": b""}, timeout=10).status_code == 400
    with pytest.raises(DALQueryError, match="list"):
        tap.run_sync("SELECT * FROM TAP_UPLOAD.t", uploads={"t": Table({"x": np.zeros((2, 2))})})
    too_many = Table({"x": np.zeros(200_001, np.int32)})
    with pytest.raises(DALQueryError, match="at most 200000"):
        tap.run_sync("SELECT COUNT(*) FROM TAP_UPLOAD.t", uploads={"t": too_many})


def test_other_languages_are_refused(archive):
    form = {"REQUEST": "doQuery", "LANG": "PQL", "QUERY": "SELECT oid FROM basic"}
    assert requests.post(archive.services["simbad"] + "/sync", data=form, timeout=10).status_code == 400
    for wrong in ({"LANG": "ADQL"}, {"QUERY": "SELECT oid FROM basic", "MAXREC": "-1"}):
        assert requests.get(archive.services["simbad"] + "/sync", params=wrong, timeout=10).status_code == 400


def test_columns_are_those_of_the_real_basic():
    recorded = parse_single_table(
        get_pkg_data_filename("data/simbad_basic_columns.xml", package="astroquery.simbad.tests")
    ).to_table()
    named = {row["column_name"]: row["datatype"] for row in recorded}
    assert BASIC.keys() == named.keys()
    kinds = {"BIGINT", "DOUBLE", "REAL", "SMALLINT", "INTEGER"}
    for name, kind in named.items():
        assert BASIC[name].kind == kind or {BASIC[name].kind, kind} & kinds == set(), name


def test_wrong_queries_are_refused_with_a_reason(tap):
    for query, reason in (("SELECT nope FROM basic", "nope"), ("DELETE FROM basic", "only SELECT"), ("SELECT FROM", "syntax")):
        with pytest.raises(DALQueryError, match=reason):
            tap.run_sync(query)
    assert len(tap.run_sync("SELECT oid FROM basic")) == 38


@pytest.mark.parametrize(("fault", "error"), FAULTS)
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
    rows = simbad.query_objects(["Synthetic YSO 04", "Nobody", "Synthetic star 01"])
    assert list(rows["main_id"]) == ["Synthetic YSO 04", "", "Synthetic star 01"]
    near = simbad.query_region(SkyCoord(rows["ra"][0], rows["dec"][0], unit="deg"), radius="1 arcsec")
    assert list(near["main_id"]) == ["Synthetic YSO 04"]
    with pytest.raises(ValueError, match="maximum number of records"):
        simbad.query_tap("SELECT oid FROM basic", maxrec=2_000_001)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not simbad.query_object("Nobody")
    assert "NoResultsWarning" in {w.category.__name__ for w in caught}
    sent = [entry.form for entry in archive.log() if entry.form]
    assert "MAXREC=1000000" in sent[0]
    assert parse_qs(sent[1])["QUERY"][0] == (
        'SELECT basic."main_id", basic."ra", basic."dec", basic."coo_err_maj", basic."coo_err_min", basic."coo_err_angle", '
        'basic."coo_wavelength", basic."coo_bibcode", ident."id" AS "matched_id" FROM basic JOIN ident '
        'ON basic."oid" = ident."oidref" WHERE id = \'Synthetic YSO 03\''
    )


def test_other_names_are_in_simbad_too(survey_archive, surveys):
    with requests.Session() as session:
        tap = pyvo.dal.TAPService(survey_archive.services["simbad"], session=session)
        names = tap.run_sync(
            "SELECT id FROM ident JOIN basic ON oid = oidref WHERE main_id = 'Synthetic YSO 01' ORDER BY id"
        ).to_table()
    assert list(names["id"]) == sorted(["Synthetic YSO 01", *surveys.targets[0]["ids"]])


def test_empty_and_hang(archive, tap):
    archive.set_faults(Faults(simbad="empty"))
    assert len(tap.run_sync("SELECT oid FROM basic")) == 0
    archive.set_faults(Faults(simbad="429"))
    assert requests.post(archive.services["simbad"] + "/sync", data={}, timeout=10).headers["Retry-After"] == "1"


def test_delay_holds_every_answer(archive):
    archive.set_faults(Faults(delay=(0.2, 0.2)))
    for address in (archive.services["simbad"] + "/capabilities", archive.url + "/api/v0.1/path_lookup/?uri=x"):
        assert requests.get(address, timeout=10).elapsed.total_seconds() >= 0.2  # a lower bound holds on a busy machine too
