"""S3, read by obstore and s3fs, both unmodified, and by plain requests where the wire matters."""

import asyncio
import time

import obstore
import pytest
import requests
import s3fs
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import S3Store

from raysearch.testing import Faults, make_cube
from raysearch.testing.services.objects import parse_range


@pytest.fixture
def store(archive):
    return S3Store(
        "stpubdata",
        endpoint=archive.services["s3"],
        skip_signature=True,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


@pytest.fixture
def key(holdings):
    return holdings.products[0].key


@pytest.fixture
def content(holdings):
    return make_cube(holdings.bodies[holdings.products[0].body])


@pytest.fixture
def address(archive, key):
    return f"{archive.url}/stpubdata/{key}"


def test_obstore(archive, store, key, content):
    assert bytes(obstore.get(store, key).bytes()) == content
    assert bytes(obstore.get_range(store, key, start=40_320, end=40_420)) == content[40_320:40_420]

    async def two_ranges():
        return await obstore.get_ranges_async(store, key, starts=[0, 10**6], ends=[80, 10**6 + 5], coalesce=0)

    pieces = asyncio.run(two_ranges())
    assert [bytes(p) for p in pieces] == [content[:80], content[10**6 : 10**6 + 5]]
    assert obstore.head(store, key)["size"] == len(content)
    counts = archive.counts()["s3"]
    assert counts == {"requests": 5, "bytes": len(content) + 100 + 85}
    assert [entry.range for entry in archive.log()][:2] == ["", "bytes=40320-40419"]


def test_obstore_lists_all(store, holdings):
    names = {meta["path"] for page in obstore.list(store, "jwst/public") for meta in page}
    assert names == {p.key for p in holdings.products if p.in_cloud}


def test_obstore_missing(store):
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "jwst/public/nope")


def test_s3fs(archive, key, content):
    fs = s3fs.S3FileSystem(anon=True, endpoint_url=archive.services["s3"], skip_instance_cache=True)
    assert fs.info(f"stpubdata/{key}")["size"] == len(content)
    assert fs.cat_file(f"stpubdata/{key}", start=40_320, end=40_420) == content[40_320:40_420]
    assert f"stpubdata/{key}" in fs.ls("stpubdata/" + key.rsplit("/", 1)[0])
    with fs.open(f"stpubdata/{key}", "rb") as file:
        assert file.read(80) == content[:80]
    with pytest.raises(FileNotFoundError):
        fs.info("stpubdata/jwst/public/nope")


def test_head_and_errors_on_the_wire(archive, address, content):
    head = requests.head(address, timeout=10)
    assert head.headers["Content-Length"] == str(len(content))
    assert {"ETag", "Last-Modified", "Accept-Ranges"} <= head.headers.keys()
    part = requests.get(address, headers={"Range": "bytes=0-9"}, timeout=10)
    assert (part.status_code, part.headers["Content-Range"]) == (206, f"bytes 0-9/{len(content)}")
    assert part.headers["ETag"] == head.headers["ETag"]
    beyond = requests.get(address, headers={"Range": f"bytes={len(content)}-"}, timeout=10)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(content)}")
    missing = requests.get(archive.url + "/stpubdata/nope", timeout=10)
    assert (missing.status_code, "<Code>NoSuchKey</Code>" in missing.text) == (404, True)
    assert "<Code>NoSuchBucket</Code>" in requests.get(archive.url + "/elsewhere/nope", timeout=10).text


def test_listing_continues_and_folds(archive, holdings):
    keys = sorted(p.key for p in holdings.products if p.in_cloud)
    found, token = [], ""
    while True:
        ask = {
            "list-type": "2",
            "prefix": "jwst/public/jw09001/",
            "max-keys": "5",
            **({"continuation-token": token} if token else {}),
        }
        text = requests.get(archive.url + "/stpubdata", params=ask, timeout=10).text
        page = [part.split("</Key>")[0] for part in text.split("<Key>")[1:]]
        assert len(page) <= 5
        found += page
        if "<IsTruncated>false" in text:
            break
        token = text.split("<NextContinuationToken>")[1].split("<")[0]
    assert found == keys
    folded = requests.get(archive.url + "/stpubdata", params={"list-type": "2", "delimiter": "/"}, timeout=10).text
    assert "<CommonPrefixes><Prefix>jwst/</Prefix></CommonPrefixes>" in folded
    assert "<Contents>" not in folded
    assert "<KeyCount>0<" in requests.get(archive.url + "/stpubdata", params={"prefix": "k"}, timeout=10).text


def test_listing_of_folders_continues_after_the_last_one(archive, holdings):
    folders = sorted({p.key.rsplit("/", 1)[0] + "/" for p in holdings.products if p.in_cloud})
    found, ask = [], {"list-type": "2", "prefix": "jwst/public/jw09001/L3/t/", "delimiter": "/", "max-keys": "4"}
    for _ in folders:
        text = requests.get(archive.url + "/stpubdata", params=ask, timeout=10).text
        found += [part.split("</Prefix>")[0] for part in text.split("<CommonPrefixes><Prefix>")[1:]]
        if "<IsTruncated>false" in text:
            break
        ask["continuation-token"] = text.split("<NextContinuationToken>")[1].split("<")[0]
    assert found == folders


def test_listing_of_one_folder(store, holdings):
    key = sorted(p.key for p in holdings.products if p.in_cloud)[5]
    assert [meta["path"] for page in obstore.list(store, key.rsplit("/", 1)[0]) for meta in page] == [key]


@pytest.mark.parametrize(("fault", "status"), [("403", 403), ("404", 404), ("503", 503)])
def test_refusals_of_one_key(archive, holdings, address, fault, status):
    archive.set_faults(Faults(keys={holdings.products[0].key: fault}, strikes=2))
    assert [requests.get(address, timeout=10).status_code for _ in range(3)] == [status, status, 200]
    assert requests.get(f"{archive.url}/stpubdata/{holdings.products[1].key}", timeout=10).status_code == 200


@pytest.mark.parametrize("fault", ["reset", "truncate"])
def test_broken_bodies_are_seen_as_broken(archive, key, address, content, fault):
    archive.set_faults(Faults(keys={key: fault}))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        requests.get(address, timeout=10)
    assert archive.counts()["s3"]["bytes"] == len(content) // 2


def test_stall(archive, key, address):
    archive.set_faults(Faults(keys={key: "stall"}))
    with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
        requests.get(address, timeout=0.3)


def test_503_by_chance_is_reproducible(archive, address):
    faults = Faults(chance={"503": 0.5}, seed=3)
    rounds = []
    for _ in range(2):
        archive.set_faults(faults)
        rounds.append([requests.head(address, timeout=10).status_code for _ in range(20)])
    assert rounds[0] == rounds[1]
    assert set(rounds[0]) == {200, 503}


def test_delay_and_bandwidth_slow_an_answer_down(archive, address, content):
    archive.set_faults(Faults(delay=(0.2, 0.2), bandwidth=len(content) / 0.3))
    assert requests.head(address, timeout=10).elapsed.total_seconds() >= 0.2
    started = time.monotonic()
    assert requests.get(address, timeout=10).content == content
    assert time.monotonic() - started >= 0.49  # a lower bound: it holds on a busy machine too


def test_small_ranges_are_paced_too(archive, address, content):
    archive.set_faults(Faults(bandwidth=100_000 / 0.3))
    started = time.monotonic()
    assert requests.get(address, headers={"Range": "bytes=40320-140319"}, timeout=10).content == content[40_320:140_320]
    assert time.monotonic() - started >= 0.29


def test_a_slow_line_trickles(archive, address):
    archive.set_faults(Faults(bandwidth=80_000))
    answer = requests.get(address, headers={"Range": "bytes=0-99999"}, timeout=0.9)  # of silence: the whole takes 1.25 s
    assert len(answer.content) == 100_000


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_ranges_are_slices(first, last, size):
    content = bytes(i % 256 for i in range(size))
    span = parse_range(f"bytes={first}-{last}", size)
    if last < first:
        assert span == (0, size)
    elif first >= size:
        assert span is None
    else:
        assert span is not None
        assert content[slice(*span)] == content[first : last + 1]
    assert parse_range(f"bytes=-{last}", size) == ((max(0, size - last), size) if last else None)


@pytest.mark.parametrize("text", ["", "bytes=-", "bytes=a-b", "items=0-3", "bytes=0-1,3-4"])
def test_what_is_no_range_is_the_whole_file(text):
    assert parse_range(text, 10) == (0, 10)
