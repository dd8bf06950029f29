"""Where MAST's products can be read: the bulk lookup and the key rules."""

import json
import threading
from importlib.resources import files
from types import SimpleNamespace

import pytest

from raysearch.archives import http
from raysearch.archives.answers import Answers
from raysearch.archives.cloud import cloud_key, download_url, look_up, places
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.testing import CubeSpec, Faults, Holdings, LocalArchive, product

PATHS = [
    "/jwst/public/jw01373/L3/t/o031/jw01373-o031_t007_miri_ch1-short_s3d.fits",
    "/hst/public/u9o4/u9o40504m/u9o40504m_c3m.fits",
    "/mast/galex/data/GR6/pipe/AIS_71-nd-int.fits.gz",
    "/ps1/rings.v3.skycell/1334/061/rings.v3.skycell.1334.061.stk.r.unconv.fits",
    "/hlsp_local/public/hlsp/tica/tess/hlsp_tica_s0072-cam1-ccd1_tess_v01_ffis.fits",
    "/tess/public/tid/s0001/tess2018206045859-s0001-0000000025155310-0120-s_lc.fits",
]


def uris(n):
    return [f"mast:JWST/product/f{i}.fits" for i in range(n)]


def known(asked, reply, but=()):
    return reply(json.dumps({u: {"status_code": 200, "path": "/jwst/" + u[18:]} for u in asked.query["uri"] if u not in but}))


def test_keys_are_those_of_astroquery(monkeypatch):
    from astroquery.mast import utils

    answer = {path: {"path": path} for path in PATHS}
    monkeypatch.setattr(utils, "_simple_request", lambda *_: SimpleNamespace(json=lambda: answer))
    assert [cloud_key(path) for path in PATHS] == utils.mast_relative_path(PATHS)


def test_a_recorded_answer(serve, hasty):
    recorded = (files("astroquery.mast.tests") / "data" / "mast_relative_path.json").read_text()
    service = serve(serve.reply(recorded))
    found, query = look_up(["mast:HST/product/u9o40504m_c3m.fits", "mast:HST/product/does_not_exist.fits"], service.url, hasty)
    assert found == {"mast:HST/product/u9o40504m_c3m.fits": "s3://stpubdata/hst/public/u9o4/u9o40504m/u9o40504m_c3m.fits"}
    assert (query.service, query.rows, query.url) == ("MAST path_lookup", 1, service.url + "/api/v0.1/path_lookup/")


def test_five_thousand_in_a_hundred_requests(serve, hasty):
    service = serve(lambda asked: known(asked, serve.reply))
    found, query = look_up(uris(5000), service.url, hasty)
    assert found == {uri: f"s3://stpubdata/jwst/{uri[18:]}" for uri in uris(5000)}
    assert len(service.asked) == 100
    assert query.text == "paths of 5000 products, 100 requests"


def test_no_product_is_asked_for_twice(serve, hasty):
    service = serve(lambda asked: known(asked, serve.reply))
    look_up([*uris(3), *uris(3)], service.url, hasty)
    assert service.asked[0].query["uri"] == uris(3)


def test_nothing_to_ask(serve, hasty):
    service = serve(lambda asked: known(asked, serve.reply))
    assert look_up([], service.url, hasty)[0] == {}
    assert service.asked == []


@pytest.mark.parametrize(
    "entry", [None, {}, {"status_code": 404, "path": None}, {"path": ""}, {"path": 7}, "odd", 404, []], ids=repr
)
def test_an_odd_entry_concerns_its_product_alone(serve, hasty, entry):
    one, two, three = uris(3)
    answer = {one: {"status_code": 200, "path": "/a"}, two: entry, three: {"status_code": 200, "path": "/c"}}
    found, _ = look_up([one, two, three], serve(serve.reply(json.dumps(answer))).url, hasty)
    assert found == {one: "s3://stpubdata/a", three: "s3://stpubdata/c"}


def test_an_absent_entry_concerns_its_product_alone(serve, hasty):
    service = serve(lambda asked: known(asked, serve.reply, but={uris(3)[1]}))
    assert set(look_up(uris(3), service.url, hasty)[0]) == {uris(3)[0], uris(3)[2]}


@pytest.mark.parametrize("bad", [0, 60, 119])
def test_a_product_for_which_a_whole_request_is_refused_stands_alone(serve, hasty, bad):
    poison = uris(120)[bad]
    service = serve(lambda a: serve.reply("no", status=403) if poison in a.query["uri"] else known(a, serve.reply))
    assert set(look_up(uris(120), service.url, hasty)[0]) == set(uris(120)) - {poison}


def test_a_service_that_refuses_everything_is_not_asked_for_everything(serve, hasty):
    service = serve(serve.reply("<html>", status=404))
    with pytest.raises(ArchiveError, match=r"refuses every product \(404"):
        look_up(uris(5000), service.url, hasty)
    assert len(service.asked) < 100


@pytest.mark.parametrize("manner", ["hang", "half"])
def test_a_service_that_does_not_answer(serve, impatient, manner):
    with pytest.raises(ArchiveUnavailable, match="MAST path_lookup gave no answer"):
        look_up(uris(120), serve(serve.reply("{}" * 100, manner=manner)).url, impatient)


def test_a_service_that_fails_half_way_costs_those_products_their_cloud_place_alone(serve, hasty):
    first = set(uris(50))
    service = serve(lambda a: known(a, serve.reply) if first >= set(a.query["uri"]) else serve.reply(status=503))
    found, query = look_up(uris(120), service.url, hasty)
    assert set(found) == first
    assert "no answer about 70 of them" in query.text


@pytest.mark.parametrize("body", ["<html>maintenance</html>", "[]", "null", "7"])
def test_what_is_no_answer(serve, hasty, body):
    with pytest.raises(ArchiveError, match="MAST path_lookup did not answer"):
        look_up(uris(1), serve(serve.reply(body)).url, hasty)


def test_the_download_address_keeps_colon_and_slashes():
    assert download_url("mast:JWST/product/a.fits") == "https://mast.stsci.edu/api/v0.1/Download/file?uri=mast:JWST/product/a.fits"
    assert download_url("mast:X/a b&c+d.fits", "http://h") == "http://h/api/v0.1/Download/file?uri=mast:X/a%20b%26c%2Bd.fits"


@pytest.mark.parametrize(
    "key", ["jwst/public/a.fits", "panstarrs/ps1/public/rings.fits", "mast/hlsp/tica/a.fits", "galex/GR6/a.fits.gz"]
)
def test_a_key_where_a_path_was_expected_is_left_as_it_is(serve, hasty, key):
    # the lookup's other shape, for those who ask it with use_cloud_path
    service = serve(serve.reply(json.dumps({uris(1)[0]: {"status_code": 200, "path": key}})))
    assert look_up(uris(1), service.url, hasty)[0] == {uris(1)[0]: f"s3://stpubdata/{key}"}


def test_requests_run_at_once_and_no_more_than_allowed(serve, hasty):
    lock, under_way = threading.Lock(), []
    most = 0
    several = threading.Event()  # at once: the first is asked alone

    def answer(asked):
        nonlocal most
        with lock:
            under_way.append(asked)
            most = max(most, len(under_way))
        if most >= 4:
            several.set()
        if asked is not service.asked[0]:
            several.wait(60)
        with lock:
            under_way.pop()
        return known(asked, serve.reply)

    service = serve(answer)
    look_up(uris(3000), service.url, hasty)
    assert 4 <= most <= http.QUOTAS["MAST path_lookup"].at_once == 8


def test_the_cloud_first_then_mast_itself(serve, hasty):
    service = serve(lambda asked: known(asked, serve.reply, but={uris(2)[1]}))
    where, queries = places([*uris(2), uris(1)[0]], service.url, hasty)
    download = [f"{service.url}/api/v0.1/Download/file?uri={uri}" for uri in uris(2)]
    assert where == [("s3://stpubdata/jwst/f0.fits", download[0]), (download[1],), ("s3://stpubdata/jwst/f0.fits", download[0])]
    assert [q.rows for q in queries] == [1]
    assert places([], service.url) == ([], [])


def test_what_was_looked_up_is_kept(serve, hasty, tmp_path):
    service = serve(lambda asked: known(asked, serve.reply, but={uris(120)[7]}))
    found, _ = look_up(uris(120), service.url, hasty, Answers(tmp_path))
    again, query = look_up(uris(120)[::-1], service.url, hasty, Answers(tmp_path, "offline"))
    assert again == found
    assert query.reused
    assert len(service.asked) == 3
    look_up([*uris(119), "mast:another"], service.url, hasty, Answers(tmp_path))
    assert len(service.asked) == 6, "another list is another question"


def test_a_lookup_that_fails_half_way_is_not_kept(serve, hasty, tmp_path):
    first = set(uris(50))
    service = serve(lambda a: known(a, serve.reply) if first >= set(a.query["uri"]) else serve.reply(status=503))
    look_up(uris(120), service.url, hasty, Answers(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_slow_lookups_are_told_as_one(serve, hasty, told):
    service = serve(lambda asked: (told.wait(), known(asked, serve.reply))[1])
    with http.on_waiting(told):
        look_up(uris(500), service.url, hasty)
    assert {line.partition(", ")[0] for line in told.lines} == {"waiting for MAST path_lookup's answer about 500 products"}


@pytest.fixture(scope="module")
def archive():
    specs = [CubeSpec(name=f"jw01000-o{n:03d}_t001_miri_ch1-short") for n in range(60)]
    with LocalArchive(Holdings(products=tuple(product(spec, body="one") for spec in specs), bodies={"one": b"SIMPLE"})) as running:
        yield running


FAULTS = {
    None: "60 found",
    "absent": "60 found",
    "null": "none found",
    "403": "refuses every product",
    "404": "refuses every product",
    "503": "gave no answer",
    "hang": "gave no answer",
    "html": "not answer in JSON",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_lookup(archive, hasty, impatient, fault):
    archive.reset()
    archive.set_faults(Faults(lookup=fault))
    wanted = [f"mast:JWST/product/jw01000-o{n:03d}_t001_miri_ch1-short_s3d.fits" for n in range(60)] + ["mast:JWST/product/nowhere"]
    if FAULTS[fault].endswith("found"):
        found, _ = look_up(wanted, archive.services["mast"], hasty)
        assert f"{len(found) or 'none'} found" == FAULTS[fault]
    else:
        with pytest.raises(ArchiveError, match=FAULTS[fault]):
            look_up(wanted, archive.services["mast"], impatient)
