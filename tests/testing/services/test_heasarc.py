"""The registry and HEASARC, asked by pyvo and astroquery, both unmodified."""

import gzip

import pytest
import pyvo
import requests
from astropy.coordinates import SkyCoord
from astroquery.heasarc import HeasarcClass
from pyvo import registry
from pyvo.dal.adhoc import DatalinkResults
from pyvo.dal.exceptions import DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError

from raysearch.testing import Faults


@pytest.fixture
def chosen(survey_archive):
    before = registry.regtap.get_RegTAP_service_url()
    registry.choose_RegTAP_service(survey_archive.services["registry"])
    yield
    registry.choose_RegTAP_service(before)


@pytest.fixture
def sia(survey_archive):
    return pyvo.dal.SIAService(survey_archive.services["heasarc"] + "/xamin/vo/sia?table=chanmaster&")


@pytest.fixture
def heasarc(survey_archive):
    client = HeasarcClass()
    client.VO_URL = survey_archive.services["heasarc"] + "/xamin/vo"
    return client


def test_registry_finds_image_services(chosen, survey_archive):
    found = registry.search(servicetype="sia", keywords=["chandra heasarc"])
    assert [r.ivoid for r in found] == ["ivo://nasa.heasarc/chanmaster"]
    assert found[0].access_url == survey_archive.services["heasarc"] + "/xamin/vo/sia?table=chanmaster&"
    assert len(registry.search(servicetype="sia", keywords=["heasarc"])) == 2
    assert [r.short_name for r in registry.search(servicetype="tap", keywords=["simbad"])] == ["SIMBAD TAP"]
    assert len(registry.search(servicetype="sia", keywords=["nothing of the kind"])) == 0
    assert [r.ivoid for r in registry.search(servicetype="sia2")] == ["ivo://irsa.ipac/sia"]
    assert [r.ivoid for r in registry.search(ivoid="ivo://irsa.ipac/tap")] == ["ivo://irsa.ipac/tap"]


def test_registry_faults(chosen, survey_archive):
    survey_archive.set_faults(Faults(registry="503", strikes=1))
    with pytest.raises(DALServiceError):
        registry.search(servicetype="sia", keywords=["chandra"])
    assert len(registry.search(servicetype="sia", keywords=["chandra"])) == 1


def test_found_service_gives_images(chosen, surveys, survey_archive):
    service = registry.search(servicetype="sia", keywords=["chandra heasarc"])[0].get_service("sia1")
    star = surveys.targets[0]
    images = service.search(pos=SkyCoord(star["ra"], star["dec"], unit="deg"), size=0.1, format="image/fits")
    assert [image["obsid"] for image in images] == ["1990"]
    assert "&&POS=" in survey_archive.log()[-1].path or "table=chanmaster&POS=" in survey_archive.log()[-1].path
    assert images[0].getdataurl().startswith(survey_archive.url + "/FTP/chandra/data/byobsid/0/1990/primary/acisf01990")
    assert images[0].title == "Synthetic YSO 01 1990"
    assert images[0].format == "image/fits"
    assert gzip.decompress(requests.get(images[0].getdataurl(), timeout=10).content).startswith(b"SIMPLE")


def test_two_ampersands_are_one(survey_archive, surveys):
    star = surveys.targets[0]
    address = f"{survey_archive.services['heasarc']}/xamin/vo/sia?table=chanmaster&&POS={star['ra']},{star['dec']}&SIZE=0.1&VERB=2"
    assert requests.get(address, timeout=10).text.count("<TR>") == 1


def test_sia_needs_a_position(survey_archive):
    for wrong in ("table=chanmaster", "table=chanmaster&POS=a,b", "table=nope&POS=1,2", "table=chanmaster&POS=1,95"):
        answer = requests.get(f"{survey_archive.services['heasarc']}/xamin/vo/sia?{wrong}", timeout=10)
        assert 'value="ERROR"' in answer.text


def test_doubled_slashes_in_addresses(sia, surveys, survey_archive):
    star = surveys.targets[1]
    url = sia.search(pos=(star["ra"], star["dec"]), size=0.1)[0].getdataurl()
    assert "byobsid/8//15158" in url
    clean = url.replace("//15158", "/15158")
    assert requests.get(url, timeout=10).content == requests.get(clean, timeout=10).content
    key = clean.partition("/FTP/")[2]
    assert requests.head(f"{survey_archive.services['s3']}/nasa-heasarc/{key}", timeout=10).status_code == 200


@pytest.mark.parametrize("older", [False, True])
def test_datalink(sia, surveys, survey_archive, older):
    star = surveys.targets[0]
    if older:
        survey_archive.set_faults(Faults(datalink="older"))
    image = sia.search(pos=(star["ra"], star["dec"]), size=0.1)[0]
    links = DatalinkResults.from_result_url(image["datalink"]).to_table()
    assert len(links) == 2
    assert set(links["description"]) == {"Center Image", "Full Image"}
    assert set(links["ID"]) == {"1:chandra.obs.img"}
    assert (set(links["semantics"]) == {"#this"}) is not older


def test_files_by_range(sia, surveys, survey_archive):
    star = surveys.targets[0]
    url = sia.search(pos=(star["ra"], star["dec"]), size=0.1)[0].getdataurl()
    part = requests.get(url, headers={"Range": "bytes=0-1"}, timeout=10)
    assert (part.status_code, part.content) == (206, b"\x1f\x8b")
    survey_archive.set_faults(Faults(keys={url.removeprefix(survey_archive.url + "/"): "404"}))
    assert requests.get(url, timeout=10).status_code == 404


def test_cone_and_locate_data(heasarc, surveys, survey_archive):
    star = surveys.targets[0]
    rows = heasarc.query_region(SkyCoord(star["ra"], star["dec"], unit="deg"), catalog="chanmaster")
    assert list(rows["obsid"]) == ["1990"]
    assert heasarc.get_default_radius("chanmaster").value == 21
    links = heasarc.locate_data(rows)
    assert list(links["access_url"]) == [survey_archive.url + "/FTP/chandra/data/byobsid/0/1990/"]
    assert list(links["aws"]) == ["s3://nasa-heasarc/chandra/data/byobsid/0/1990/"]
    everything = heasarc.query_region(catalog="chanmaster", spatial="all-sky", columns="*")
    assert list(heasarc.locate_data(everything)["ID"]) == ["1", "2", "3"]
    sent = [entry for entry in survey_archive.log() if entry.path == "/xamin/vo/datalink/chanmaster"]
    assert [entry.form for entry in sent] == ["ID=1", "ID=1&ID=2&ID=3&ID=4"]
    assert "/xamin/vo/tap/tables?detail=min" in [entry.path for entry in survey_archive.log()]


def test_catalogs(heasarc):
    assert {"chanmaster", "rosmaster"} <= set(heasarc.list_catalogs(master=True)["name"])
    assert "exposure" in heasarc.list_columns("chanmaster")["name"]


def test_box_and_offset(heasarc, surveys):
    star = surveys.targets[0]
    at = SkyCoord(star["ra"], star["dec"], unit="deg")
    assert len(heasarc.query_region(at, catalog="chanmaster", spatial="box", width="0.2 deg")) == 1
    rows = heasarc.query_region(at, catalog="chanmaster", radius="0.2 deg", add_offset=True)
    assert rows["search_offset"][0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("error", DALQueryError), ("503", DALServiceError), ("truncated", DALFormatError), ("half", DALFormatError)],
)
def test_faults_reach_the_client(sia, surveys, survey_archive, fault, error):
    survey_archive.set_faults(Faults(heasarc=fault, strikes=1))
    at = (surveys.targets[0]["ra"], surveys.targets[0]["dec"])
    with pytest.raises(error):
        sia.search(pos=at, size=0.1)
    assert len(sia.search(pos=at, size=0.1)) == 1


def test_limit_and_empty_links(sia, heasarc, surveys, survey_archive):
    survey_archive.set_faults(Faults(heasarc_limit=2, datalink="empty"))
    with pytest.warns(DALOverflowWarning):
        assert len(heasarc.query_tap("SELECT obsid FROM chanmaster")) == 2
    url = survey_archive.services["heasarc"] + "/xamin/vo/datalink/chanmaster?ID=1"
    assert len(DatalinkResults.from_result_url(url)) == 0
