"""IRSA, asked by astroquery and pyvo, both unmodified: SIA2 and TAP."""

import json

import numpy as np
import pytest
import pyvo
import requests
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time
from astroquery.ipac.irsa import IrsaClass
from pyvo.dal.exceptions import DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError

from raysearch.testing import Faults

FRAMES = (
    "SELECT a.uri, p.obs_publisher_did, p.time_bounds_lower, '{origin}/' || a.uri AS address FROM spherex.artifact a "
    "JOIN spherex.plane p ON a.planeid = p.planeid WHERE 1 = CONTAINS(POINT('ICRS', {ra}, {dec}), p.poly) "
    "ORDER BY p.time_bounds_lower"
)


@pytest.fixture
def irsa(survey_archive):
    client = IrsaClass()
    client.sia_url = survey_archive.services["irsa"] + "/SIA"
    client.tap_url = survey_archive.services["irsa"] + "/TAP"
    yield client
    client._session.close()


def test_capabilities_send_the_client_to_another_path(irsa, survey_archive):
    rows = irsa.query_sia(facility="SOFIA", data_type="cube", calib_level=3, format="cube/fits")
    assert len(rows) == 3
    assert len(rows.colnames) == 51
    paths = [entry.path for entry in survey_archive.log()]
    assert paths[0] == "/SIA/capabilities"
    assert paths[1].startswith("/SIA2/query?")
    assert "format=cube/fits" in paths[1]  # as typed: a name the client does not know


def test_columns_are_those_of_real_answers(irsa, real_data):
    with (real_data / "spherex" / "sia2_rows.csv").open() as file:
        real = file.readline().strip().split(",")
    assert irsa.query_sia(collection="spherex_qr2").colnames == real


def test_positions(irsa, surveys):
    ra, dec = surveys.targets[0]["ra"], surveys.targets[0]["dec"]
    at = SkyCoord(ra, dec, unit="deg")
    found = {
        "circle": irsa.query_sia(pos=(at, 1 * u.arcmin), collection="spherex_qr2"),
        "range": irsa.query_sia(pos=(ra - 0.01, ra + 0.01, dec - 0.01, dec + 0.01), collection="spherex_qr2"),
        "polygon": irsa.query_sia(pos=(ra, dec, ra + 0.1, dec, ra, dec + 0.1), collection="spherex_qr2"),
    }
    for name, rows in found.items():
        assert set(rows["energy_bandpassname"]) == {"SPHEREx-D1", "SPHEREx-D4"}, name
    assert len(irsa.query_sia(pos=(at.directional_offset_by(0 * u.deg, 30 * u.arcmin), 20 * u.arcmin))) == 0
    without_footprint = surveys.targets[2]
    at = SkyCoord(without_footprint["ra"], without_footprint["dec"], unit="deg")
    assert "" in irsa.query_sia(pos=(at, 1 * u.arcmin))["s_region"]


def test_bands_and_times(irsa):
    rows = irsa.query_sia(collection="spherex_qr2", band=(4.0e-6, 4.2e-6))
    assert set(rows["energy_bandpassname"]) == {"SPHEREx-D5"}
    assert len(irsa.query_sia(collection="spherex_qr2", band=[(4.0e-6, 4.2e-6), (0.8e-6, 0.9e-6)])) == 2  # lists are alternatives
    assert len(irsa.query_sia(band=157.741e-6)) == 5
    days = (Time(61040, format="mjd"), Time(61041, format="mjd"))
    assert set(irsa.query_sia(time=days)["target_name"]) == {"SPS_9"}


def test_names_of_parameters_in_any_case(survey_archive):
    address = survey_archive.services["irsa"] + "/SIA2/query"
    text = [
        requests.get(address, params=p, timeout=10).text for p in ({"collection": "spherex_qr2"}, {"COLLECTION": "SPHEREX_QR2"})
    ]
    assert text[0] == text[1]
    assert text[0].count("<TR>") == 6


def test_where_it_is_in_the_cloud_is_json_or_nothing(irsa, survey_archive):
    rows = irsa.query_sia(collection="spherex_qr2")
    said = [json.loads(text)["aws"] for text in rows["cloud_access"] if text]
    assert len(said) == len(rows) - 1
    for aws in said:
        answer = requests.head(f"{survey_archive.services['s3']}/{aws['bucket_name']}/{aws['key']}", timeout=10)
        assert answer.status_code == (404 if "0002_1D5" in aws["key"] else 200)
    assert set(irsa.query_sia(facility="SOFIA")["cloud_access"]) == {""}


def test_files_by_range_and_head(irsa, survey_archive):
    url = irsa.query_sia(collection="spherex_qr2")["access_url"][0]
    assert url.startswith(survey_archive.url + "/ibe/data/spherex/qr2/level2/")
    part = requests.get(url, headers={"Range": "bytes=0-79"}, timeout=10)
    assert (part.status_code, part.content[:6]) == (206, b"SIMPLE")
    assert int(requests.head(url, timeout=10).headers["Content-Length"]) % 2880 == 0
    assert requests.get(survey_archive.url + "/ibe/data/nope.fits", timeout=10).status_code == 404
    survey_archive.set_faults(Faults(keys={url.removeprefix(survey_archive.url + "/"): "503"}, strikes=1))
    assert [requests.head(url, timeout=10).status_code for _ in range(2)] == [503, 200]


def test_overflow(irsa, survey_archive):
    assert len(irsa.query_sia(maxrec=4)) == 4  # silent in the client: there are as many as it asked for
    survey_archive.set_faults(Faults(irsa_limit=3))
    with pytest.warns(DALOverflowWarning, match="truncated at 3"):
        assert len(irsa.query_sia(maxrec=100)) == 3
    with pytest.warns(DALOverflowWarning):
        assert len(irsa.query_sia()) == 3


def test_wrong_positions_are_refused(irsa, survey_archive):
    with pytest.raises(DALQueryError, match="dec value 95 lies outside"):
        irsa.query_sia(POS="CIRCLE 10 95 1")
    for wrong in ("SIA2/query?POS=SPLINE+1+2", "SIA2/query?BAND=5+4", "SIA2/query?RESPONSEFORMAT=CSV", "SIA2/query?MAXREC=many",
                  "TAP/sync?QUERY=SELECT+planeid+FROM+spherex.plane&FORMAT=csv"):  # fmt: skip
        assert requests.get(f"{survey_archive.services['irsa']}/{wrong}", timeout=10).status_code == 400


@pytest.mark.parametrize(("fault", "error"), [("404", DALServiceError), ("elsewhere", DALFormatError)])
def test_capabilities_fail(survey_archive, fault, error):
    survey_archive.set_faults(Faults(capabilities=fault))
    with pytest.raises(error):
        pyvo.dal.SIA2Service(survey_archive.services["irsa"] + "/SIA").search(collection="spherex_qr2")


@pytest.mark.parametrize(("fault", "error"), [("error", DALQueryError), ("503", DALServiceError), ("truncated", DALFormatError),
                                              ("half", DALFormatError), ("html", DALFormatError)])  # fmt: skip
def test_faults_reach_the_client(irsa, survey_archive, fault, error):
    survey_archive.set_faults(Faults(irsa=fault, strikes=1))
    with pytest.raises(error):
        irsa.query_sia(facility="SOFIA")
    assert len(irsa.query_sia(facility="SOFIA")) == 5


def test_empty(irsa, survey_archive):
    survey_archive.set_faults(Faults(irsa="empty"))
    assert len(irsa.query_sia()) == 0
    assert len(irsa.query_tap("SELECT * FROM spherex.plane")) == 0


def test_frames_by_tap(irsa, surveys):
    star = surveys.targets[1]
    rows = irsa.query_tap(FRAMES.replace("{ra}", str(star["ra"])).replace("{dec}", str(star["dec"]))).to_table()
    assert [did.rsplit("?", 1)[1] for did in rows["obs_publisher_did"]] == ["2025W51_1A_0002_1/D3", "2025W51_1A_0002_1/D5"]
    assert np.all(np.diff(rows["time_bounds_lower"]) >= 0)
    for uri, address in zip(rows["uri"], rows["address"], strict=True):
        assert address.endswith("/" + uri)
        assert uri.startswith("ibe/data/spherex/qr2/level2/")
        assert requests.head(address, timeout=10).status_code == 200


def test_collections(irsa):
    assert list(irsa.list_collections()["collection"]) == ["sofia_fifi", "spherex_qr2"]
    assert list(irsa.list_collections(servicetype="SIA")["collection"]) == ["sofia_fifi", "spherex_qr2"]


def test_counts_by_service(irsa, survey_archive):
    irsa.query_sia(facility="SOFIA")
    counts = survey_archive.counts()
    assert counts["irsa"]["requests"] == 2
    assert counts["irsa"]["bytes"] > 1000
    assert counts["mast"] == {"requests": 0, "bytes": 0}
