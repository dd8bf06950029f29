"""Every backend gives the same bytes, the same counts and the same errors."""

from __future__ import annotations

import asyncio
import gc
import pickle
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysearch.errors import ConfigError, ProductForbidden, ProductNotFound, ReadError, StoreUnavailable
from raysearch.masking import masked
from raysearch.model import Store, Usage
from raysearch.read import backend
from raysearch.read import store as store_module
from raysearch.read.addresses import AT_ONCE, is_astray
from raysearch.read.store import StoreConfig, open_store

DATA = bytes(range(256)) * 40
WIRED = ["obstore", "s3fs", "http"]
BACKENDS = [*WIRED, "local", "memory"]


@dataclass
class Rig:
    """One backend and a way to put files where it finds them."""

    name: str
    config: StoreConfig
    root: str
    put: Callable[[str, bytes], None] = field(repr=False)  # holds the files
    loopback: Any = field(repr=False)

    def uri(self, path: str) -> str:
        return self.root + path

    def fault(self, path: str, *faults: str) -> str:
        self.put(path, DATA)
        self.loopback.faults["bucket/" + path] = list(faults)
        return self.uri(path)

    def run(self, action: Callable[[Store, Usage], Coroutine[Any, Any, Any]]) -> tuple[Any, Usage]:
        return run(self.config, action)

    def fails(self, uri: str, error: type[Exception], match: str | None = None) -> tuple[str, Usage]:
        usage = Usage()

        async def main() -> None:
            store = open_store(self.config)
            try:
                await store.get_ranges(uri, [(0, 10)], usage)
            finally:
                await store.close()

        with pytest.raises(error, match=match) as caught:
            asyncio.run(main())
        return str(caught.value), usage


def run(config: StoreConfig, action: Callable[[Store, Usage], Coroutine[Any, Any, Any]]) -> tuple[Any, Usage]:
    usage = Usage()

    async def main() -> Any:
        store = open_store(config)
        try:
            return await action(store, usage)
        finally:
            await store.close()

    return asyncio.run(main()), usage


def make_rig(name: str, loopback: Any, folder: Path) -> Rig:
    config = StoreConfig(s3_endpoint=loopback.url, read_timeout_s=0.5, retries=2, retry_s=5.0)
    if name == "local":
        return Rig(name, config, f"{folder}/", lambda path, data: none((folder / path).write_bytes(data)), loopback)
    if name == "memory":
        files: dict[str, bytes] = {}
        return Rig(
            name, replace(config, memory=files), "memory://", lambda path, data: files.update({"memory://" + path: data}), loopback
        )
    root = f"{loopback.url}/bucket/" if name == "http" else "s3://bucket/"
    client = "s3fs" if name == "s3fs" else "obstore"
    return Rig(
        name, replace(config, s3_client=client), root, lambda path, data: loopback.files.update({"bucket/" + path: data}), loopback
    )


def none(value: object) -> None:
    """Drop a value."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(params=BACKENDS)
def rig(request: pytest.FixtureRequest, loopback: Any, tmp_path: Path) -> Rig:
    rig = make_rig(request.param, loopback, tmp_path)
    rig.put("cube.fits", DATA)
    return rig


@pytest.fixture(params=WIRED)
def wired(request: pytest.FixtureRequest, loopback: Any, tmp_path: Path) -> Rig:
    return make_rig(request.param, loopback, tmp_path)


# --- what every backend does -------------------------------------------------------------------------------------------------


def test_ranges_come_in_the_order_asked_and_are_charged(rig: Rig) -> None:
    ranges = [(5000, 5100), (0, 64), (63, 65)]
    got, usage = rig.run(lambda store, usage: store.get_ranges(rig.uri("cube.fits"), ranges, usage))
    assert got == [DATA[a:b] for a, b in ranges]
    assert all(type(body) is bytes for body in got)
    assert (usage.requests, usage.bytes_read) == (3, 166)


def test_ranges_tell_how_large_the_whole_file_is(rig: Rig) -> None:
    _, usage = rig.run(lambda store, usage: store.get_ranges(rig.uri("cube.fits"), [(5000, 5100), (0, 64)], usage))
    assert usage.sizes == {rig.uri("cube.fits"): len(DATA)}
    _, usage = rig.run(lambda store, usage: store.get(rig.uri("cube.fits"), usage))
    assert usage.sizes == {rig.uri("cube.fits"): len(DATA)}


def test_one_get_for_each_range_and_nothing_else(wired: Rig) -> None:
    wired.put("cube.fits", DATA)
    wired.run(lambda store, usage: store.get_ranges(wired.uri("cube.fits"), [(0, 10), (10, 20), (900, 905)], usage))
    assert sorted(wired.loopback.log) == [
        ("GET", "bucket/cube.fits", "bytes=0-9"),
        ("GET", "bucket/cube.fits", "bytes=10-19"),
        ("GET", "bucket/cube.fits", "bytes=900-904"),
    ]


def test_a_range_beyond_the_end_gives_what_there_is(rig: Rig) -> None:
    ranges = [(10_200, 99_999), (10_239, 10_241), (10_240, 10_241), (50_000, 50_001)]
    got, _ = rig.run(lambda store, usage: store.get_ranges(rig.uri("cube.fits"), ranges, usage))
    assert got == [DATA[10_200:], DATA[-1:], b"", b""]


def test_an_empty_range_costs_no_request(rig: Rig) -> None:
    got, usage = rig.run(lambda store, usage: store.get_ranges(rig.uri("cube.fits"), [(7, 7)], usage))
    assert (got, usage) == ([b""], Usage())


def test_an_empty_file_is_empty(rig: Rig) -> None:
    rig.put("empty.fits", b"")
    got, _ = rig.run(lambda store, usage: store.get_ranges(rig.uri("empty.fits"), [(0, 100)], usage))
    assert got == [b""]


def test_the_whole_file_comes_in_one_request(rig: Rig) -> None:
    got, usage = rig.run(lambda store, usage: store.get(rig.uri("cube.fits"), usage))
    assert got == DATA
    assert (usage.requests, usage.bytes_read) == (1, len(DATA))


def test_a_missing_product_is_not_found_at_once(rig: Rig) -> None:
    message, usage = rig.fails(rig.uri("missing.fits"), ProductNotFound)
    assert "missing.fits" in message
    assert usage == Usage(requests=1)


@pytest.mark.parametrize("span", [(10, 5), (-1, 5)])
def test_a_reversed_or_negative_range_is_refused(rig: Rig, span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no range of bytes"):
        rig.run(lambda store, usage: store.get_ranges(rig.uri("cube.fits"), [span], usage))


def test_the_store_opens_again_after_close_and_in_another_event_loop(rig: Rig) -> None:
    store = open_store(rig.config)

    async def read() -> list[bytes]:
        try:
            return await store.get_ranges(rig.uri("cube.fits"), [(i, i + 1) for i in range(40)], Usage())
        finally:
            await store.close()

    assert asyncio.run(read()) == asyncio.run(read()) == [DATA[i : i + 1] for i in range(40)]


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_connections_of_an_event_loop_that_ended_are_left_behind(wired: Rig) -> None:
    wired.put("cube.fits", DATA)
    store = open_store(wired.config)
    assert asyncio.run(store.get_ranges(wired.uri("cube.fits"), [(0, 4)], Usage())) == [DATA[:4]]

    async def again() -> list[bytes]:
        try:
            return await store.get_ranges(wired.uri("cube.fits"), [(0, 4)], Usage())
        finally:
            await store.close()

    assert asyncio.run(again()) == [DATA[:4]]
    gc.collect()  # what the first loop left open complains here, not in another test


def test_names_with_blanks_and_signs_are_found(rig: Rig) -> None:
    name = "a b~c+d=e.fits"
    rig.put(name, DATA)
    got, _ = rig.run(lambda store, usage: store.get_ranges(rig.uri(name), [(0, 3)], usage))
    assert got == [DATA[:3]]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(st.tuples(st.integers(0, 11_000), st.integers(0, 3000)).map(lambda r: (r[0], r[0] + r[1])), max_size=6))
def test_any_ranges_equal_slices(rig: Rig, ranges: list[tuple[int, int]]) -> None:
    got, usage = rig.run(lambda store, usage: store.get_ranges(rig.uri("cube.fits"), ranges, usage))
    assert got == [DATA[a:b] for a, b in ranges]
    asked = [a for a, b in ranges if b > a]
    # A 416 is believed where the file's size is known; else the file is asked for without a range.
    again = usage.requests - len(asked)
    assert 0 <= again <= sum(a >= len(DATA) for a in asked)
    assert usage.bytes_read == sum(map(len, got)) + again * len(DATA)


# --- what every backend with a wire does -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["401", "403"])
def test_denied_access_is_final(wired: Rig, status: str) -> None:
    message, usage = wired.fails(wired.fault("private.fits", "!" + status), ProductForbidden, status)
    assert "private.fits" in message
    assert usage.requests == 1


@pytest.mark.parametrize("status", ["400", "409"])
def test_other_refusals_are_final(wired: Rig, status: str) -> None:
    _, usage = wired.fails(wired.fault("odd.fits", "!" + status), ReadError, f"odd.fits: the server answered {status}")
    assert usage.requests == 1


@pytest.mark.parametrize("fault", ["429", "500", "503", "504", "reset", "cut-body", "stall", "stall-body"])
def test_a_passing_fault_is_retried_and_charged(wired: Rig, fault: str) -> None:
    uri = wired.fault("cube.fits", fault)
    got, usage = wired.run(lambda store, usage: store.get_ranges(uri, [(0, 100)], usage))
    assert got == [DATA[:100]]
    assert len(wired.loopback.log) == 2
    assert usage.requests == 2 or unseen(wired, fault)
    assert usage.bytes_read >= 100


def unseen(wired: Rig, fault: str) -> bool:
    """Whether the client tries again on its own, unseen: aiohttp below s3fs, on a connection that the server closed."""
    return wired.name == "s3fs" and fault == "reset"


@pytest.mark.parametrize("fault", ["429", "503", "reset", "cut-body", "stall", "stall-body"])
def test_a_lasting_fault_ends_within_the_budget(wired: Rig, fault: str) -> None:
    message, usage = wired.fails(wired.fault("cube.fits", "!" + fault), StoreUnavailable, "gave up after 3 attempts")
    assert "cube.fits" in message
    assert StoreUnavailable.transient
    requests = len(wired.loopback.log)
    assert 3 <= requests <= 6
    assert usage.requests == requests or unseen(wired, fault)


def test_no_attempt_begins_after_the_retry_time(wired: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    wired.config = replace(wired.config, retries=1000, retry_s=10.0)
    # A clock by which each request takes 3 s, and no pauses: the fourth ends after 12 s, and no fifth begins.
    monkeypatch.setattr(store_module, "time", SimpleNamespace(monotonic=lambda: 3.0 * len(wired.loopback.log)))
    monkeypatch.setattr(store_module, "_pause", lambda _: 0.0)
    _, usage = wired.fails(wired.fault("cube.fits", "!503"), StoreUnavailable, "4 attempts in 12.0 s")
    assert usage.requests == 4


def test_a_server_nobody_runs_is_unavailable(wired: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9"
    wired.config = replace(wired.config, s3_endpoint=nowhere)
    uri = f"{nowhere}/cube.fits" if wired.name == "http" else "s3://bucket/cube.fits"
    try:
        raise LookupError("what a caller is busy with must not hide why")
    except LookupError:
        _, usage = wired.fails(uri, StoreUnavailable, "the connection failed: it was refused")
    assert usage.requests == 3


def test_a_server_that_ignores_ranges_is_cut_to_them(wired: Rig) -> None:
    uri = wired.fault("cube.fits", "!ignore-range")
    got, usage = wired.run(lambda store, usage: store.get_ranges(uri, [(100, 120)], usage))
    assert got == [DATA[100:120]]
    assert usage.bytes_read >= 120
    assert usage.requests == len(wired.loopback.log)


def test_one_failed_range_stops_the_others(wired: Rig) -> None:
    wired.put("cube.fits", DATA)
    uri = wired.fault("cube.fits", "404", "!stall")
    began = time.monotonic()
    _, usage = wired.run(lambda store, usage: expect_not_found(store.get_ranges(uri, [(0, 1), (5, 6), (9, 10)], usage)))
    assert usage.requests <= 3
    assert time.monotonic() - began < 10


async def expect_not_found(reading: Coroutine[Any, Any, Any]) -> None:
    with pytest.raises(ProductNotFound):
        await reading


def test_no_more_requests_are_under_way_than_allowed(wired: Rig) -> None:
    wired.put("cube.fits", DATA)
    wired.config = replace(wired.config, max_concurrent=3)
    wired.run(lambda store, usage: store.get_ranges(wired.uri("cube.fits"), [(i, i + 5) for i in range(30)], usage))
    assert 1 <= wired.loopback.most <= 3


# --- S3 ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["obstore", "s3fs"])
def s3(request: pytest.FixtureRequest, loopback: Any, tmp_path: Path) -> Rig:
    rig = make_rig(request.param, loopback, tmp_path)
    rig.put("cube.fits", DATA)
    return rig


def read_some(rig: Rig) -> tuple[Any, Usage]:
    return rig.run(lambda store, usage: store.get_ranges("s3://bucket/cube.fits", [(0, 4)], usage))


def test_requests_are_unsigned_even_where_credentials_lie_about(s3: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    read_some(s3)
    assert "Authorization" not in s3.loopback.headers[0]


@pytest.mark.parametrize("where", ["environment", "file"])
def test_signed_requests_carry_the_users_credentials_and_messages_do_not(
    s3: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    else:
        (tmp_path / "credentials").write_text("[me]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "me")
    s3.config = replace(s3.config, s3_signed=True)
    read_some(s3)
    assert "AKIDEXAMPLE/" in s3.loopback.headers[0]["Authorization"]
    for fault in ("!403", "!503", "!reset"):
        message, _ = s3.fails(s3.fault("cube.fits", fault), ReadError)
        assert "AKID" not in message
        assert "wJal" not in message


def test_signing_without_credentials_says_what_to_set(s3: Rig) -> None:
    s3.config = replace(s3.config, s3_signed=True)
    with pytest.raises(ConfigError, match="AWS_PROFILE"):
        read_some(s3)


def test_the_endpoint_may_come_from_the_environment(s3: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.loopback.url)
    s3.config = replace(s3.config, s3_endpoint="")
    assert read_some(s3)[0] == [DATA[:4]]


def test_a_bucket_in_another_region_says_so(s3: Rig) -> None:
    s3.fails(s3.fault("cube.fits", "!301"), ReadError, "set services.s3_region")


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3:///key"])
def test_an_address_without_bucket_or_key_is_refused(s3: Rig, uri: str) -> None:
    s3.fails(uri, ReadError, "s3://bucket/key")


def test_a_key_that_obstore_cannot_ask_for_says_so(loopback: Any, tmp_path: Path) -> None:
    make_rig("obstore", loopback, tmp_path).fails("s3://bucket/a//b", ReadError, "no usable S3 key")


# --- HTTP --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def http(loopback: Any, tmp_path: Path) -> Rig:
    return make_rig("http", loopback, tmp_path)


@pytest.mark.parametrize(
    "query", ["uri=mast:JWST/product/jw01_s3d.fits", "X-Amz-Signature=a%2Fb%3D&response=x%20y", "a=1&a=2&center=1.5,-2d"]
)
def test_queries_are_sent_as_they_stand(http: Rig, query: str) -> None:
    http.put(f"file?{query}", DATA)
    got, _ = http.run(lambda store, usage: store.get_ranges(http.uri(f"file?{query}"), [(0, 9)], usage))
    assert got == [DATA[:9]]


def test_redirects_are_followed_and_charged(http: Rig) -> None:
    http.put("cube.fits", DATA)
    http.loopback.redirects["bucket/old.fits"] = http.uri("cube.fits")
    got, usage = http.run(lambda store, usage: store.get_ranges(http.uri("old.fits"), [(5, 9)], usage))
    assert got == [DATA[5:9]]
    assert (usage.requests, usage.bytes_read) == (2, 4)


def test_reading_stops_where_a_server_that_ignores_ranges_sends_a_big_file(http: Rig) -> None:
    big = bytes(30_000_000)
    uri = http.fault("big.fits", "!ignore-range")
    http.put("big.fits", big)
    got, usage = http.run(lambda store, usage: store.get_ranges(uri, [(0, 1000)], usage))
    assert got == [big[:1000]]
    assert 1000 <= usage.bytes_read < 20_000_000


def test_a_server_that_speaks_no_tls_is_an_error_of_reading(http: Rig) -> None:
    http.fails(http.loopback.url.replace("http:", "https:") + "/x", ReadError)


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://host/x", "s3://bucket/key", "javascript:1"])
def test_a_redirect_to_no_http_address_is_not_followed(http: Rig, there: str) -> None:
    http.loopback.redirects["bucket/old.fits"] = there
    error, usage = http.fails(http.uri("old.fits"), ReadError)
    assert "where we do not go" in error
    assert usage.requests == 1


def test_nothing_outside_leads_inside() -> None:
    for there in (
        "http://127.0.0.1/x",
        "https://localhost/x",
        "http://169.254.169.254/latest",
        "//10.0.0.1/x",
        "http://[::1]/",
        "http://",
    ):
        assert is_astray("https://irsa.ipac.caltech.edu/ibe/x", there)
    for there in ("https://archive.org/x", "//archive.org/x", "y.fits", "/y.fits", "?gzip=false"):
        assert not is_astray("https://irsa.ipac.caltech.edu/ibe/x", there)
    assert not is_astray("http://127.0.0.1:9000/x", "http://localhost/x"), "who is inside may lead inside"


@pytest.mark.parametrize(
    "uri", ["http://[::1/x", "http://127.0.0.1:99999/x", f"http://{'a' * 70}.invalid/x", "http://\N{SNOWMAN}..invalid/"]
)
def test_what_is_no_address_is_an_error_of_reading(http: Rig, uri: str) -> None:
    http.fails(uri, ReadError)


def test_a_host_that_takes_few_at_a_time_is_asked_no_more_and_keeps_nobody_else_waiting(
    http: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AT_ONCE["irsa.ipac.caltech.edu"] == 4
    monkeypatch.setitem(AT_ONCE, "127.0.0.1", 2)
    http.config = replace(http.config, max_concurrent=3)
    http.put("cube.fits", DATA)
    slow = http.fault("slow.fits", "!stall")
    elsewhere = http.uri("cube.fits").replace("127.0.0.1", "localhost")

    async def read(store: Store, usage: Usage) -> Any:
        await store.get_ranges(http.uri("cube.fits"), [(i, i + 5) for i in range(20)], usage)
        most = http.loopback.most
        stuck = asyncio.create_task(store.get_ranges(slow, [(i, i + 5) for i in range(6)], usage))
        await asyncio.sleep(0.05)
        await store.get_ranges(elsewhere, [(i, i + 5) for i in range(20)], usage)
        waiting = sum("slow" in path for _, path, _ in http.loopback.log)
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        return most, waiting

    assert http.run(read)[0] == (2, 2)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        ("/data/a@b.fits", "/data/a@b.fits"),
        ("https://me:secret@host/x.fits", "https://host/x.fits"),
        ("https://host/f?uri=mast:JWST/product/x.fits", "https://host/f?uri=mast:JWST/product/x.fits"),
        ("https://me:secret@[::1/x?token=abc", "https://[::1/x?token=***"),
        ("https://host/f?uri=mast:x&token=abc&X-Amz-Signature=ff", "https://host/f?uri=mast:x&token=***&X-Amz-Signature=***"),
    ],
)
def test_messages_show_addresses_without_secrets(uri: str, shown: str) -> None:
    assert masked(uri) == shown


# --- files -------------------------------------------------------------------------------------------------------------------


def test_file_addresses_and_home_folders_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b.fits").write_bytes(DATA)
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in (
        f"file://{tmp_path}/a%20b.fits",
        f"file://localhost{tmp_path}/a%20b.fits",
        "~/a b.fits",
        str(tmp_path / "a b.fits"),
    ):
        got, _ = run(StoreConfig(), lambda store, usage, uri=uri: store.get_ranges(uri, [(0, 2)], usage))
        assert got == [DATA[:2]]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    cases = {
        str(tmp_path): "a folder, not a file",
        str(tmp_path / "pipe"): "a device or pipe, not a file",
        f"file://elsewhere{tmp_path}": "names the machine 'elsewhere'",
        "gs://bucket/key": "no store for gs://",
    }
    for uri, message in cases.items():
        with pytest.raises(ReadError, match=message):
            run(StoreConfig(), lambda store, usage, uri=uri: store.get_ranges(uri, [(0, 2)], usage))


def test_an_unreadable_file_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.fits").write_bytes(DATA)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ProductForbidden, match=r"x\.fits"):
        run(StoreConfig(), lambda store, usage: store.get_ranges(str(tmp_path / "x.fits"), [(0, 2)], usage))


# --- the configuration -------------------------------------------------------------------------------------------------------


def test_the_configuration_travels() -> None:
    config = StoreConfig(s3_endpoint="http://127.0.0.1:1", memory={"memory://a": b"x"})
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    assert again.memory == {"memory://a": b"x"}


@pytest.mark.parametrize("wrong", [{"s3_client": "boto"}, {"read_timeout_s": 0}, {"max_concurrent": 0}, {"retries": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        StoreConfig(**wrong)


def test_a_petabyte_of_a_small_file_is_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "x.fits").write_bytes(DATA)
    store, usage = open_store(StoreConfig()), Usage()
    assert asyncio.run(store.get_ranges(str(tmp_path / "x.fits"), [(5, 2**50), (2**50, 2**51)], usage)) == [DATA[5:], b""]
    assert usage.bytes_read == len(DATA) - 5


def test_a_file_without_end_is_not_taken_in(http: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "LARGEST_WHOLE", 100)
    http.put("cube.fits", DATA[:101])
    with pytest.raises(ReadError, match="more than 100 bytes"):
        http.run(lambda store, usage: store.get(http.uri("cube.fits"), usage))


def test_an_address_whose_signature_was_masked_is_not_asked_for() -> None:
    with pytest.raises(ProductForbidden, match="its signature was left out"):
        asyncio.run(open_store(StoreConfig()).get("https://host/x.fits?X-Amz-Signature=***", Usage()))
