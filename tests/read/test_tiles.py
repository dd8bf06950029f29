"""Boxes of compressed images equal what astropy unpacks, and cost the tiles they touch."""

from __future__ import annotations

import asyncio
import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import FormatError, TruncatedFile
from raysearch.read.boxes import Box
from raysearch.read.fits import FitsFile, Hdu, Span
from raysearch.read.service import in_memory
from raysearch.read.tiles import TiledPlane

RNG = np.random.default_rng(4)
FLAGS = ((RNG.random((50, 64)) < 0.5).astype("i4") << 21) | (RNG.random((50, 64)) < 0.05)


def written(array: np.ndarray = FLAGS, tile: tuple[int, int] = (1, 64), kind: str = "RICE_1") -> bytes:
    header = fits.Header({"EXTTYPE": "MASK", "MSKN0021": "SOURCE", "CRPIX1": 3.5, "ZODIAC": 1})
    hdu = fits.CompImageHDU(array, header, name="FLAGS", compression_type=kind, tile_shape=tile)
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    return stream.getvalue()


def opened(data: bytes) -> tuple[FitsFile, Hdu]:
    file = in_memory(data)

    async def second() -> Hdu:
        return [hdu async for hdu in file.hdus()][1]

    return file, asyncio.run(second())


def load(data: bytes, box: Box) -> tuple[np.ndarray, list[Span]]:
    file, hdu = opened(data)

    async def run() -> tuple[np.ndarray, list[Span]]:
        plane = TiledPlane(hdu)
        return await plane.load(file, box), await plane.spans(file, box)

    return asyncio.run(run())


WRITTEN = {
    (tile, kind): written(tile=tile, kind=kind) for tile in ((1, 64), (7, 9), (50, 64), (3, 64)) for kind in ("RICE_1", "GZIP_1")
}


@settings(max_examples=50)
@given(st.sampled_from(sorted(WRITTEN)), st.integers(0, 63), st.integers(0, 49), st.integers(1, 64), st.integers(1, 50))
def test_a_box_is_what_astropy_unpacks(how: tuple[tuple[int, int], str], x0: int, y0: int, wide: int, high: int) -> None:
    box = Box(x0, y0, min(64, x0 + wide), min(50, y0 + high))
    got, spans = load(WRITTEN[how], box)
    np.testing.assert_array_equal(got, FLAGS[box.y0 : box.y1, box.x0 : box.x1])
    assert got.dtype == np.dtype("i4")
    assert got.dtype.isnative
    assert not got.flags.writeable
    (tall, broad), _ = how
    touched = len({(y // tall, x // broad) for y in range(box.y0, box.y1) for x in range(box.x0, box.x1)})
    assert len(spans) == touched


def test_a_tile_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tile=(50, 64), kind="GZIP_1")
    at = data.index(b"\x1f\x8b")
    bomb = gzip.compress(bytes(10**5), mtime=0)
    _, hdu = opened(data)
    place = int.from_bytes(data[hdu.data_offset + 4 : hdu.data_offset + 8], "big")
    assert (at, len(bomb) < hdu.end - at) == (hdu.data_offset + 8 + place, True)
    size = len(bomb).to_bytes(4, "big")
    changed = data[: hdu.data_offset] + size + data[hdu.data_offset + 4 : at] + bomb + data[at + len(bomb) :]
    monkeypatch.setattr(fits, "open", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(FormatError, match="a tile unpacks to more than its 3,200 pixels"):
        load(changed, Box(0, 0, 3, 3))


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
def test_other_integers(dtype: str) -> None:
    array = RNG.integers(0, 100, (20, 30)).astype(dtype)
    got, _ = load(written(array, (1, 30)), Box(2, 3, 9, 8))
    np.testing.assert_array_equal(got, array[3:8, 2:9])


def test_the_header_is_that_of_an_image() -> None:
    _, hdu = opened(written())
    header = fits.Header.fromstring(TiledPlane(hdu).header)
    assert (header["XTENSION"], header["BITPIX"], header["NAXIS1"], header["NAXIS2"]) == ("IMAGE", 32, 64, 50)
    assert (header["MSKN0021"], header["CRPIX1"], header["EXTNAME"], header["ZODIAC"]) == ("SOURCE", 3.5, "FLAGS", 1)
    assert not [key for key in header if key.startswith(("TFORM", "TTYPE", "ZTILE", "ZCMP", "ZIMAGE", "ZVAL", "END"))]


def test_compressed_floats_are_refused() -> None:
    _, hdu = opened(written(RNG.normal(0, 1, (8, 8)).astype("f4"), (1, 8)))
    with pytest.raises(FormatError, match="funpack"):
        TiledPlane(hdu)


def test_damaged_tiles_are_told() -> None:
    data = written()
    _, hdu = opened(data)
    lying = bytearray(data)
    lying[hdu.data_offset : hdu.data_offset + 8] = np.array([5, 10**6], ">i4").tobytes()
    with pytest.raises(FormatError, match="FLAGS is damaged: tiles are said to lie outside"):
        load(bytes(lying), Box(0, 0, 4, 1))
    with pytest.raises(TruncatedFile, match="table of FLAGS's tiles"):
        load(data[: hdu.data_offset + 100], Box(0, 30, 4, 40))


def test_a_file_that_ends_within_the_tiles_is_told() -> None:
    data = written()
    _, hdu = opened(data)
    with pytest.raises(TruncatedFile, match="ends in the tiles of FLAGS, of rows 0-49"):
        load(data[: hdu.data_offset + hdu.shape[0] * 8 + 60], Box(0, 0, 64, 50))


def test_tiles_that_cannot_be_unpacked_are_told() -> None:
    data = written()
    _, hdu = opened(data)
    first = hdu.data_offset + hdu.shape[0] * 8
    with pytest.raises(FormatError, match="FLAGS is damaged: its tiles cannot be unpacked"):
        load(data[:first] + b"\xff" * 4000 + data[first + 4000 :], Box(0, 0, 64, 9))
