"""What is read of one product is of one version of it; an answer that is not what was asked for is none."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from raysearch.errors import ProductReplaced, ReadError, StoreUnavailable
from raysearch.model import Line, Observation, Pixels, Usage
from raysearch.read import backend
from raysearch.read import store as store_module
from raysearch.read.cube import CubeReader
from raysearch.read.fits import FitsFile
from raysearch.read.frame import Kept
from raysearch.read.maps import Maps
from raysearch.read.meanings import Answer, TransientError, checked, refusal
from raysearch.read.places import MOST_READS, of_one_version
from raysearch.read.store import StoreConfig, open_store
from raysearch.testing import CubeSpec, make_cube

OLD, NEW = bytes(range(256)) * 40, bytes(reversed(range(256))) * 40
WIRED = ["obstore", "s3fs", "http"]
ALL = [*WIRED, "local", "memory"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FIRST_PAUSE_S", 0.01)


class Place:
    """One file, as a client finds it, and how to put another in its place."""

    def __init__(self, client: str, loopback: Any, folder: Path) -> None:
        self.client, self.loopback, self._path = client, loopback, folder / "x.fits"
        self._memory: dict[str, bytes] = {}
        s3 = "s3fs" if client == "s3fs" else "obstore"
        self.config = StoreConfig(
            s3_endpoint=loopback.url, s3_client=s3, read_timeout_s=2.0, retries=2, retry_s=5.0, memory=self._memory
        )
        self.uri = {
            "http": f"{loopback.url}/bucket/x.fits", "local": str(self._path), "memory": "memory://x.fits",
        }.get(client, "s3://bucket/x.fits")  # fmt: skip
        self.put(OLD)

    def put(self, data: bytes) -> None:
        self.loopback.files["bucket/x.fits"] = self._memory["memory://x.fits"] = data
        self._path.with_name("new").write_bytes(data)
        self._path.with_name("new").replace(self._path)

    def run(self, action: Callable[[Any], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            store = open_store(self.config)
            try:
                return await action(store)
            finally:
                await store.close()

        return asyncio.run(main())


@pytest.fixture(params=ALL)
def place(request: pytest.FixtureRequest, loopback: Any, tmp_path: Path) -> Place:
    return Place(request.param, loopback, tmp_path)


@pytest.fixture(params=WIRED)
def wired(request: pytest.FixtureRequest, loopback: Any, tmp_path: Path) -> Place:
    return Place(request.param, loopback, tmp_path)


@pytest.fixture(params=["obstore", "s3fs"])
def s3(request: pytest.FixtureRequest, loopback: Any, tmp_path: Path) -> Place:
    return Place(request.param, loopback, tmp_path)


def test_a_file_that_is_replaced_between_two_reads_is_not_mixed(place: Place) -> None:
    usage = Usage()

    async def twice(store: Any) -> None:
        assert await store.get_ranges(place.uri, [(0, 5)], usage) == [OLD[:5]]
        place.put(NEW)
        with pytest.raises(ProductReplaced, match=r"x\.fits: was replaced while it was read"):
            await store.get_ranges(place.uri, [(5, 10)], usage)
        assert await store.get_ranges(place.uri, [(0, 5)], Usage()) == [NEW[:5]]

    place.run(twice)


def test_ranges_of_two_versions_asked_for_at_the_same_time_are_not_mixed(wired: Place) -> None:
    wired.loopback.versions["bucket/x.fits"] = [OLD, NEW]

    async def both(store: Any) -> None:
        with pytest.raises(ProductReplaced):
            await store.get_ranges(wired.uri, [(0, 5), (5, 10)], Usage())

    wired.run(both)


@pytest.mark.parametrize("tags", ['"{}"', 'W/"{}"', ""])
@pytest.mark.parametrize("preconditions", [True, False])
def test_strong_and_weak_tags_and_dates_tell_versions_apart(wired: Place, tags: str, preconditions: bool) -> None:
    wired.loopback.tags, wired.loopback.preconditions = tags, preconditions
    test_a_file_that_is_replaced_between_two_reads_is_not_mixed(wired)


def test_s3_is_asked_for_the_version_that_is_known_and_http_is_not(wired: Place) -> None:
    usage = Usage()

    async def twice(store: Any) -> None:
        for _ in range(2):
            await store.get_ranges(wired.uri, [(0, 5)], usage)

    wired.run(twice)
    sent = [{name.lower(): value for name, value in headers.items()} for headers in wired.loopback.headers]
    assert "if-match" not in sent[0]
    assert (sent[1].get("if-match") == usage.versions[wired.uri]) is (wired.client != "http")


def test_a_weak_tag_is_compared_and_not_asked_for(s3: Place) -> None:
    s3.loopback.tags = 'W/"{}"'
    usage = Usage()

    async def twice(store: Any) -> None:
        for _ in range(2):
            assert await store.get_ranges(s3.uri, [(0, 5)], usage) == [OLD[:5]]

    s3.run(twice)
    assert not any("if-match" in map(str.lower, headers) for headers in s3.loopback.headers)


def test_another_size_is_another_version() -> None:
    usage = Usage()
    assert checked("u", (0, 5), Answer(b"abcde", 100), usage) == b"abcde"
    with pytest.raises(ProductReplaced):
        checked("u", (0, 5), Answer(b"abcde", 101), usage)


# --- answers that are not what was asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["short", "longer", "beside", "416"])
def test_what_was_not_asked_for_is_asked_for_again(wired: Place, fault: str) -> None:
    wired.loopback.faults["bucket/x.fits"] = ["", fault]
    usage = Usage()

    async def read(store: Any) -> list[bytes]:
        await store.get_ranges(wired.uri, [(0, 1)], usage)
        return await store.get_ranges(wired.uri, [(100, 200)], usage)

    assert wired.run(read) == [OLD[100:200]]
    assert usage.retries == {"127.0.0.1" if wired.client == "http" else "bucket": 1}
    assert usage.requests == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [("short", "50 bytes of the 100 at 100-199"), ("longer", "10[14] bytes of the 100"), ("416", "0 bytes of the 100")],
)
def test_what_is_never_what_was_asked_for_is_given_up(wired: Place, fault: str, said: str) -> None:
    wired.loopback.faults["bucket/x.fits"] = ["", "!" + fault]
    usage = Usage()

    async def read(store: Any) -> None:
        await store.get_ranges(wired.uri, [(0, 1)], usage)
        with pytest.raises(StoreUnavailable, match=rf"{said}.*gave up after 3 attempts.*127\.0\.0\.1:\d+ may be down.*--since"):
            await store.get_ranges(wired.uri, [(100, 200)], usage)

    wired.run(read)


def test_a_first_range_that_is_refused_is_no_empty_file(wired: Place) -> None:
    wired.loopback.faults["bucket/x.fits"] = ["416"]
    assert wired.run(lambda store: store.get_ranges(wired.uri, [(0, 10)], Usage())) == [OLD[:10]]


@pytest.mark.parametrize(
    ("answer", "span", "body"),
    [
        (Answer(b"ab", None, "", (3, 5)), (3, 9), b"ab"),  # bytes 3-4/*: the file ends there
        (Answer(b"ab"), (3, 9), b"ab"),
        (Answer(b"", 7), (9, 12), b""),
        (Answer(b"ab", 5, "", (3, 5)), (3, 9), b"ab"),
        (Answer(b"whole"), None, b"whole"),
    ],
)
def test_answers_that_are_what_was_asked_for(answer: Answer, span: tuple[int, int] | None, body: bytes) -> None:
    assert checked("u", span, answer, Usage()) == body


@pytest.mark.parametrize(
    "answer", [Answer(b"abc", None, "", (3, 5)), Answer(b"ab", 9, "", (4, 6)), Answer(b"ab", 9), Answer(b"abcdefghi")]
)
def test_answers_that_are_not(answer: Answer) -> None:
    with pytest.raises(TransientError):
        checked("u", (3, 9), answer, Usage())


@pytest.mark.parametrize("client", ["s3fs", "http"])  # obstore does not hand on the headers of a refusal
def test_who_asks_to_be_left_alone_for_long_is(loopback: Any, tmp_path: Path, client: str) -> None:
    place = Place(client, loopback, tmp_path)
    loopback.retry_after, loopback.faults["bucket/x.fits"] = "1000", ["!429"]
    usage = Usage()

    async def read(store: Any) -> None:
        with pytest.raises(StoreUnavailable, match=r"1 attempt in .*asked to be left alone for 1000 s"):
            await store.get_ranges(place.uri, [(0, 10)], usage)

    place.run(read)
    assert (usage.requests, usage.retries) == (1, {})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("", 0), ("soon", 0), ("-3", 0), ("9" * 30, 999_999_999), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after(header: str, seconds: float) -> None:
    assert refusal("u", 503, header).wait_s == seconds  # type: ignore[attr-defined]


def test_a_date_to_come_back_at() -> None:
    assert refusal("u", 429, "Wed, 21 Oct 2099 07:28:00 GMT").wait_s > 1e9  # type: ignore[attr-defined]


def test_no_client_takes_in_more_than_it_may(wired: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "LARGEST_WHOLE", 10_000)

    async def read(store: Any) -> None:
        with pytest.raises(ReadError, match="more than 10,000 bytes"):
            await store.get(wired.uri, Usage())

    wired.run(read)


def test_a_redirect_of_the_s3_service_is_followed(s3: Place) -> None:
    s3.loopback.redirects["bucket/x.fits"] = f"{s3.loopback.url}/elsewhere"
    s3.loopback.files["elsewhere"] = NEW
    assert s3.run(lambda store: store.get_ranges(s3.uri, [(0, 10)], Usage())) == [NEW[:10]]


def test_redirects_in_a_circle_end(wired: Place) -> None:
    wired.loopback.redirects["bucket/x.fits"] = f"{wired.loopback.url}/bucket/x.fits"

    async def read(store: Any) -> None:
        with pytest.raises(ReadError, match="redirects"):
            await store.get_ranges(wired.uri, [(0, 10)], Usage())

    wired.run(read)


# --- readers -------------------------------------------------------------------------------------------------------------------


def cube(value: float) -> bytes:
    """Return a cube of noise about a value, whose planes lie elsewhere in the file for another one."""
    spec = CubeSpec(name="x", planes=60, ny=20, nx=20, wave_start_um=5.3, wave_step_um=0.0013, seed=int(value))
    data = make_cube(spec)
    end = data.index(b"END" + b" " * 77)
    return data[:end] + b" " * 2880 * int(value) + data[end:]


def read_cube(place: Place) -> tuple[Pixels, Usage]:
    reader = CubeReader(place.config, (Line("[Fe II] 5.340", 5.340),), 5)
    usage = Usage()

    async def main() -> Pixels:
        try:
            return await reader.read(Observation("x", (place.uri,)), usage)
        finally:
            await reader.close()

    return asyncio.run(main()), usage


def test_a_cube_that_is_replaced_is_read_again_from_its_beginning(wired: Place) -> None:
    first, second = cube(0), cube(1)
    wired.put(second)
    undisturbed, _ = read_cube(wired)
    wired.loopback.versions["bucket/x.fits"] = [first]
    pixels, usage = read_cube(wired)
    assert np.array_equal(pixels.windows[0].sci, undisturbed.windows[0].sci, equal_nan=True)
    assert (pixels.ranges, pixels.header) == (undisturbed.ranges, undisturbed.header)
    assert usage.sizes[wired.uri] == len(second)


def test_a_cube_that_is_never_the_same_fails_in_the_end(wired: Place) -> None:
    first, second = cube(0), cube(1)
    wired.put(second)
    wired.loopback.versions["bucket/x.fits"] = [first, second] * 20
    with pytest.raises(ProductReplaced, match=rf"was replaced while it was read, {MOST_READS} times in a row.*--since"):
        read_cube(wired)


def test_the_next_place_is_no_cure_for_a_replaced_product(wired: Place) -> None:
    """Its first place would be tried in vain, and the search end with another product than the table names."""
    tries = []

    async def read() -> None:
        tries.append(1)
        raise ProductReplaced("x: was replaced")

    with pytest.raises(ProductReplaced):
        asyncio.run(of_one_version(Usage(), read))
    assert len(tries) == MOST_READS


def test_what_is_known_of_a_calibration_product_is_forgotten_when_it_is_replaced(wired: Place) -> None:
    first, second = image(0), image(1)
    kept: Kept[Any, Any] = Kept()

    async def both(store: Any) -> list[float]:
        values = []
        for content in (first, second):
            wired.put(content)
            usage = Usage()

            def open_file(uri: str, usage: Usage = usage) -> FitsFile:
                return FitsFile(lambda spans: store.get_ranges(uri, spans, usage))

            async def read(usage: Usage = usage, open_file: Any = open_file) -> list[float]:
                return await Maps(wired.uri, open_file, kept, usage.versions).at(1, "IMAGE", (40, 30), [(7.0, 9.0)])

            values += await of_one_version(usage, read)
        return values

    assert wired.run(both) == [0.0, 1.0]


def image(value: int) -> bytes:
    """Return a map of one value, with a longer header for a greater one."""
    header = fits.Header([("EXTNAME", "IMAGE"), *(("COMMENT", "x") for _ in range(40 * value))])
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full((40, 30), float(value), ">f4"), header)])
    out = io.BytesIO()
    hdus.writeto(out)
    return out.getvalue()
