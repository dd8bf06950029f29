"""MAST, asked by astroquery, unmodified but for its three addresses."""

import json
from pathlib import Path

import pytest
import requests
from astropy.coordinates import SkyCoord
from astropy.utils.data import get_pkg_data_filename
from astroquery.exceptions import InputWarning, InvalidQueryError, NoResultsWarning, RemoteServiceError
from astroquery.mast import ObservationsClass
from astroquery.mast import utils as mast_utils

from raysearch.testing import Faults, Holdings, LocalArchive, Product, cloud_key

CUBES = {"obs_collection": "JWST", "dataproduct_type": "cube", "dataRights": "PUBLIC", "calib_level": [0, 1, 2, 3, 4]}


@pytest.fixture
def mast(archive):
    observations = ObservationsClass()
    portal = observations._portal_api_connection
    portal.MAST_REQUEST_URL = archive.services["mast"] + "/api/v0/invoke"
    portal.COLUMNS_CONFIG_URL = archive.services["mast"] + "/portal/Mashup/Mashup.asmx/columnsconfig"
    portal.MAST_DOWNLOAD_URL = archive.services["mast"] + "/api/v0.1/Download/file"
    portal._column_configs = {}
    return observations


def test_the_jets_query_gives_public_cubes_only(mast, holdings):
    rows = mast.query_criteria(**CUBES)
    assert set(rows["obs_id"]) == holdings.expected.keys()
    assert mast.query_criteria_count(**CUBES) == 24
    assert mast.query_criteria_count(obs_collection=["JWST", "HST"]) == 27
    row = rows[rows["obs_id"] == holdings.observations[0]["obs_id"]][0]
    assert row["em_min"] == pytest.approx(24_400)
    assert row["calib_level"] == 3
    assert str(row["s_region"]).startswith("POLYGON ICRS  ")
    assert rows["dataURL"].mask.sum() == 1


def test_pages(archive, mast):
    archive.reset()
    whole = mast.query_criteria(**CUBES, pagesize=50)
    paged = mast.query_criteria(**CUBES, pagesize=7)
    assert list(paged["obs_id"]) == list(whole["obs_id"])
    assert sum(entry.path == "/api/v0/invoke" for entry in archive.log()) == 1 + 4
    assert len(mast.query_criteria(**CUBES, pagesize=7, page=4)) == 3


def test_wildcards_ranges_and_separators(mast):
    assert set(mast.query_criteria(filters="CH4*")["filters"]) == {"CH4-SHORT", "CH4-LONG"}
    assert set(mast.query_criteria(filters="f100lp")["filters"]) == {"F100LP;G140H"}
    assert mast.query_criteria(em_min=[4000, 6000])["em_min"].max() < 6000
    assert mast.query_criteria_count(obs_id="*shortmediumlong*") == 1
    with pytest.raises(InvalidQueryError, match="em_min"):
        mast.query_criteria(emmin=3)


def test_cone(mast, holdings):
    row = holdings.observations[0]
    with pytest.warns(InputWarning, match="ICRS"):
        found = mast.query_criteria(coordinates=f"{row['s_ra']} {row['s_dec']}", radius="3 arcsec", dataproduct_type="cube")
    assert set(found["target_name"]) == {"Synthetic YSO 01"}


def test_nothing_found(mast):
    with pytest.warns(NoResultsWarning):
        assert len(mast.query_criteria(obs_collection="GALEX")) == 0
    assert mast.query_criteria_count(obs_collection="GALEX") == 0


def test_still_executing(archive, mast):
    archive.set_faults(Faults(executing=2))
    assert mast.query_criteria_count(**CUBES) == 24
    assert sum(entry.path == "/api/v0/invoke" for entry in archive.log()) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error", RemoteServiceError),
        ("500", requests.HTTPError),
        ("504", requests.HTTPError),
        ("html", requests.exceptions.JSONDecodeError),
    ],
)
def test_faults_reach_the_client(archive, mast, fault, error):
    archive.set_faults(Faults(mast=fault, strikes=1))
    with pytest.raises(error):
        mast.query_criteria(**CUBES)
    assert len(mast.query_criteria(**CUBES)) == 24


def test_wrong_requests_are_errors_not_crashes(archive):
    for request in ({"service": "Mast.Nope", "params": {}}, {"service": "Mast.Caom.Filtered", "params": {}}):
        answer = requests.post(archive.url + "/api/v0/invoke", data={"request": json.dumps(request)}, timeout=10)
        assert answer.json()["status"] == "ERROR"


def test_products_and_download(archive, mast, holdings, tmp_path):
    rows = mast.query_criteria(obs_id=holdings.observations[0]["obs_id"])
    products = mast.get_product_list(rows)
    assert list(products["productFilename"]) == [holdings.observations[0]["dataURL"].rsplit("/", 1)[-1]]
    status, *_ = mast.download_file(products["dataURI"][0], local_path=tmp_path / "cube.fits")
    assert status == "COMPLETE"
    assert (tmp_path / "cube.fits").stat().st_size == products["size"][0]


def test_path_lookup_knows_most_and_says_which_not(archive, holdings):
    uris = [row["dataURL"] for row in holdings.observations if row["dataURL"]]
    answer = requests.get(archive.url + "/api/v0.1/path_lookup/", params={"uri": uris}, timeout=10).json()
    assert answer.keys() == set(uris)
    located = {p.uri for p in holdings.products if p.located}
    for uri, entry in answer.items():
        key = f"/{cloud_key(uri.rsplit('/', 1)[-1])}" if uri in located else None
        assert entry == {"status_code": 200 if key else 404, "path": key}
    archive.set_faults(Faults(lookup="absent"))
    assert requests.get(archive.url + "/api/v0.1/path_lookup/", params={"uri": uris}, timeout=10).json().keys() == located & set(
        uris
    )


def test_download_gives_ranges_and_404(archive, holdings):
    address = archive.url + "/api/v0.1/Download/file?uri="
    whole = requests.get(address + holdings.products[0].uri, timeout=10)
    part = requests.get(address + holdings.products[0].uri, headers={"Range": "bytes=31680-31759"}, timeout=10)
    assert (whole.status_code, part.status_code) == (200, 206)
    assert part.content == whole.content[31680:31760]
    nowhere = {row["dataURL"] for row in holdings.observations if row["dataURL"]} - {p.uri for p in holdings.products}
    assert requests.get(address + nowhere.pop(), timeout=10).status_code == 404
    archive.set_faults(Faults(keys={holdings.products[0].uri: "403"}))
    assert requests.get(address + holdings.products[0].uri, timeout=10).status_code == 403


def test_key_rule_is_the_observed_one():
    name = "jw01373-o031_t007_miri_ch1-shortmediumlong_s3d.fits"
    assert cloud_key(name) == f"jwst/public/jw01373/L3/t/o031/{name}"
    with pytest.raises(ValueError, match="not the name of a level-3"):
        cloud_key("hst_u9o40504m.fits")


def test_lookup_in_the_cloud_s_own_words(archive, holdings):
    """Newer clients say `use_cloud_path`, and take what comes as the key."""
    uris = [p.uri for p in holdings.products][:40]
    ask = {"uri": uris, "use_cloud_path": "true"}
    answer = requests.get(archive.url + "/api/v0.1/path_lookup/", params=ask, timeout=10).json()
    located = {p.uri: p.key for p in holdings.products if p.located}
    assert {uri: entry["path"] for uri, entry in answer.items()} == {uri: located.get(uri) for uri in uris}


def redirected(archive, monkeypatch):
    """Send astroquery's hard-coded lookup here."""

    def ask(url, params):
        return requests.get(url.replace("https://mast.stsci.edu", archive.services["mast"]), params=params, timeout=10)

    monkeypatch.setattr(mast_utils, "_simple_request", ask)


def test_astroquery_s_lookup(archive, holdings, monkeypatch):
    redirected(archive, monkeypatch)
    uris = [p.uri for p in holdings.products]
    paths = mast_utils.mast_relative_path(uris, verbose=False)
    assert paths == [p.key if p.located else None for p in holdings.products]
    archive.set_faults(Faults(lookup="null"))
    assert set(mast_utils.mast_relative_path(uris, verbose=False)) == {None}
    archive.set_faults(Faults(lookup="absent"))
    with pytest.raises(TypeError):  # one absent key loses the whole call
        mast_utils.mast_relative_path(uris, verbose=False)


def test_keys_that_clients_rewrite(tmp_path, monkeypatch):
    keys = ("mast/hlsp/x/hlsp_x.fits", "panstarrs/ps1/public/rings/y.fits", "galex/GR6/z.fits", "hst/public/u9o4/u.fits")
    products = tuple(Product(f"mast:{key.rsplit('/', 1)[-1]}", key, "body") for key in keys)
    with LocalArchive(Holdings(products=products, bodies={"body": b"x"})) as archive:
        redirected(archive, monkeypatch)
        assert mast_utils.mast_relative_path([p.uri for p in products]) == list(keys)


@pytest.mark.parametrize("fault", ["403", "404", "503", "html"])
def test_lookup_refused(archive, fault):
    archive.set_faults(Faults(lookup=fault, strikes=1))
    answers = [requests.get(archive.url + "/api/v0.1/path_lookup/?uri=x", timeout=10) for _ in range(2)]
    assert [a.status_code for a in answers] == [200 if fault == "html" else int(fault), 200]
    assert answers[0].headers["Content-Type"].startswith("text/html")


def test_a_missing_page_is_seen_only_by_counting(archive, mast):
    archive.set_faults(Faults(mast="page"))
    assert len(mast.query_criteria(**CUBES, pagesize=7)) == 7  # the client says nothing
    assert mast.query_criteria_count(**CUBES) == 24


def test_chosen_columns(archive):
    request = {"service": "Mast.Caom.Filtered", "params": {"columns": "obs_id, em_min", "filters": []}, "format": "json"}
    answer = requests.post(archive.url + "/api/v0/invoke", data={"request": json.dumps(request)}, timeout=10).json()
    assert [field["name"] for field in answer["fields"]] == ["obs_id", "em_min"]
    assert all(row.keys() == {"obs_id", "em_min"} for row in answer["data"])
    request["params"]["columns"] = "nope"
    answer = requests.post(archive.url + "/api/v0/invoke", data={"request": json.dumps(request)}, timeout=10).json()
    assert answer["status"] == "ERROR"


def test_a_cone_meets_footprints_not_only_their_centres(archive, mast, holdings):
    row = holdings.observations[0]
    corner = SkyCoord(*(float(part) for part in row["s_region"].split()[2:4]), unit="deg")
    apart = corner.separation(SkyCoord(row["s_ra"], row["s_dec"], unit="deg"))
    assert apart.arcsec > 1
    assert row["obs_id"] in mast.query_criteria(coordinates=corner, radius=apart / 4, dataproduct_type="cube")["obs_id"]


def recorded(name):
    return json.loads(Path(get_pkg_data_filename(f"data/{name}.json", package="astroquery.mast.tests")).read_text())


def test_columns_are_filtered_as_the_recorded_ones(archive):
    def continuous(entry):
        kind = entry.get("vot.datatype", entry.get("type"))
        return kind in ("double", "float", "numeric") or bool(entry.get("treatNumeric"))

    address = archive.url + "/portal/Mashup/Mashup.asmx/columnsconfig"
    ours, real = requests.post(address, data={"colConfigId": "Mast.Caom.Cone"}, timeout=10).json(), recorded("columnsconfig")
    common = ours.keys() & real.keys()
    assert len(common) >= 26
    for name in common:
        assert continuous(ours[name]) == continuous(real[name]), name
        assert ours[name].get("separator") == real[name].get("separator"), name


def test_replies_have_the_shape_of_the_recorded_ones(archive, holdings):
    def ask(service, **params):
        request = {"service": service, "params": params, "format": "json", "pagesize": 50000, "page": 1}
        return requests.post(archive.url + "/api/v0/invoke", data={"request": json.dumps(request)}, timeout=10).json()

    rows, real = ask("Mast.Caom.Filtered", columns="*", filters=[]), recorded("advSearch")
    kinds = {field["name"]: field["type"] for field in rows["fields"]}
    assert {field["name"]: field["type"] for field in real["fields"]}.items() <= kinds.items()
    assert rows["paging"].keys() == real["paging"].keys()
    products, real = ask("Mast.Caom.Products", obsid=str(holdings.observations[0]["obsid"])), recorded("products")
    kinds = {field["name"]: field["type"] for field in products["fields"]}
    assert {field["name"]: field["type"] for field in real["fields"] if field["name"] != "_selected_"}.items() <= kinds.items()
    lookup = requests.get(archive.url + "/api/v0.1/path_lookup/?uri=x", timeout=10).json()
    assert lookup["x"] == recorded("mast_relative_path")["mast:HST/product/does_not_exist.fits"]
