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

from raysearch.testing import Faults, Holdings, LocalArchive, make_cube
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


@pytest.mark.parametrize(("fault", "status"), [("403", 403), ("404", 404), ("429", 429), ("500", 500), ("503", 503)])
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
    archive.set_faults(Faults(bandwidth=40_000))
    answer = requests.get(address, headers={"Range": "bytes=0-99999"}, timeout=2.2)  # of silence: the whole takes 2.5 s
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


@pytest.fixture(scope="module")
def _writable():
    with LocalArchive(Holdings(writable=("runs",))) as archive:
        yield archive


@pytest.fixture
def writable(_writable):
    _writable.reset()
    return _writable


def test_obstore_writes(writable):
    runs = S3Store(
        "runs",
        endpoint=writable.services["s3"],
        skip_signature=True,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    put = obstore.put(runs, "obstore/a", b"one", mode="create", use_multipart=False)
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(runs, "obstore/a", b"two", mode="create", use_multipart=False)
    obstore.put(runs, "obstore/a", b"three", mode={"e_tag": put["e_tag"]}, use_multipart=False)
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.put(runs, "obstore/a", b"four", mode={"e_tag": put["e_tag"]}, use_multipart=False)
    assert bytes(obstore.get(runs, "obstore/a").bytes()) == b"three"
    obstore.delete(runs, ["obstore/a", "obstore/never"])
    assert obstore.list(runs, "obstore").collect() == []


def test_s3fs_writes(writable):
    files = s3fs.S3FileSystem(
        key="who", secret="x", endpoint_url=writable.services["s3"], client_kwargs={"region_name": "us-east-1"},
        skip_instance_cache=True, use_listings_cache=False,
    )  # fmt: skip
    for name in ("a b", "ü+", "c/d"):
        files.pipe_file(f"runs/s3fs/{name}", name.encode())
    assert sorted(files.find("runs/s3fs")) == ["runs/s3fs/a b", "runs/s3fs/c/d", "runs/s3fs/ü+"]
    assert files.cat_file("runs/s3fs/ü+") == "ü+".encode()
    with pytest.raises(OSError, match="pre-conditions"):
        files.pipe_file("runs/s3fs/a b", b"", mode="create")
    files.rm(["runs/s3fs/a b", "runs/s3fs/ü+"])
    assert files.find("runs/s3fs") == ["runs/s3fs/c/d"]


def put(archive, key, content=b"content", bucket="runs", **headers):
    return requests.put(f"{archive.url}/{bucket}/{key}", data=content, headers=headers, timeout=10)


def test_what_s3_refuses_to_write(writable, archive):
    assert put(writable, "a", **{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}).status_code == 400
    assert put(writable, "a", **{"Content-Encoding": "aws-chunked"}).status_code == 501
    assert put(writable, "a", **{"If-Match": '"x"'}).status_code == 404
    assert put(writable, "a?uploads").status_code == 501
    assert put(writable, "a", bucket="nobodys").status_code == 404
    assert put(archive, "a", bucket="stpubdata").status_code == 405
    assert requests.delete(f"{archive.url}/stpubdata/a", timeout=10).status_code == 405
    assert requests.post(f"{archive.url}/stpubdata?delete", data="", timeout=10).status_code == 405
    assert requests.get(f"{writable.url}/runs/a", timeout=10).status_code == 404


@pytest.mark.parametrize(("fault", "stands"), [("reset", False), ("truncate", False), ("lost", True)])
def test_a_write_that_breaks_off(writable, fault, stands):
    writable.set_faults(Faults(keys={f"broken/{fault}": fault}, strikes=1))
    with pytest.raises(requests.ConnectionError):
        put(writable, f"broken/{fault}")
    assert requests.get(f"{writable.url}/runs/broken/{fault}", timeout=10).ok == stands


@pytest.mark.parametrize(("fault", "status"), [("403", 403), ("503", 503), ("expired", 400)])
def test_a_write_that_is_refused(writable, fault, status):
    writable.set_faults(Faults(chance={fault: 1.0}))
    assert put(writable, "refused").status_code == status
    assert requests.delete(f"{writable.url}/runs/refused", timeout=10).status_code == status
    assert requests.get(f"{writable.url}/runs?list-type=2&prefix=refused", timeout=10).status_code == status
    writable.set_faults(Faults())
    assert requests.get(f"{writable.url}/runs/refused", timeout=10).status_code == 404


def test_a_listing_tells_when_it_was_written(writable):
    put(writable, "dated/a")
    now = time.time()
    assert (
        f"<LastModified>{time.strftime('%Y-%m-%dT%H', time.gmtime(now))}" in requests.get(f"{writable.url}/runs", timeout=10).text
    )


def asked(address, **headers):
    return requests.get(address, headers={"Range": "bytes=100-199", **headers}, timeout=10, allow_redirects=False)


@pytest.mark.parametrize(
    ("fault", "status", "length"), [("416", 416, None), ("short", 206, 50), ("whole", 200, "all"), ("drip", 206, 100)]
)
def test_answers_that_were_not_asked_for(archive, key, address, content, fault, status, length):
    archive.set_faults(Faults(keys={key: fault}))
    with requests.get(address, headers={"Range": "bytes=100-199"}, timeout=10, stream=True) as answer:
        assert answer.status_code == status
        told = answer.headers["Content-Range"].rpartition("/")[2] if status != 200 else str(len(content))
        assert told == str(len(content))
        if length is not None:
            assert int(answer.headers["Content-Length"]) == (len(content) if length == "all" else length)


def test_more_is_promised_than_comes(archive, key, address):
    archive.set_faults(Faults(keys={key: "long"}))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        asked(address)


def test_nothing_comes(archive, key, address):
    archive.set_faults(Faults(keys={key: "silent"}))
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(address, timeout=0.3)


def test_who_asks_too_often_is_told_when_to_come_back(archive, key, address):
    archive.set_faults(Faults(keys={key: "429"}))
    assert asked(address).headers["Retry-After"] == "1"


@pytest.mark.parametrize("fault", ["redirect", "elsewhere", "loop"])
def test_redirects(archive, key, address, content, fault):
    archive.set_faults(Faults(keys={key: fault}))
    there = asked(address).headers["Location"]
    assert there.startswith("http://localhost:" if fault == "elsewhere" else archive.url)
    if fault == "loop":
        with pytest.raises(requests.exceptions.TooManyRedirects):
            requests.get(address, timeout=10)
    else:
        assert requests.get(address, headers={"Range": "bytes=100-199"}, timeout=10).content == content[100:200]


def test_an_object_is_replaced_after_some_requests_by_one_that_holds_the_same_elsewhere(archive, key, address, content):
    archive.set_faults(Faults(keys={key: "replaced"}, after=2))
    first, second, third = (asked(address) for _ in range(3))
    assert first.headers["ETag"] == second.headers["ETag"] != third.headers["ETag"]
    assert first.headers["Last-Modified"] != third.headers["Last-Modified"]
    assert asked(address, **{"If-Match": first.headers["ETag"]}).status_code == 412
    assert asked(address, **{"If-Match": third.headers["ETag"]}).status_code == 206
    new = requests.get(address, timeout=10).content
    assert len(new) == len(content) + 2880
    assert new[-2880:] == content[-2880:]
