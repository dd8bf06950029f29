"""Boxes lie where they should, and their bytes are those of the pixels."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import FormatError, TruncatedFile
from raysearch.read import boxes
from raysearch.read.boxes import Box, PlainPlane, box_about
from raysearch.read.fits import FitsFile, Hdu, Span
from raysearch.read.plan import join
from raysearch.read.service import in_memory

FLOATS = st.floats(-500, 500, allow_nan=False)
SIDES = st.integers(1, 80)


def plane_of(array: np.ndarray, **cards: float) -> tuple[FitsFile, Hdu]:
    hdu = fits.ImageHDU(array, name="IMAGE")
    hdu.header.update(cards)
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    file = in_memory(stream.getvalue())

    async def second() -> Hdu:
        return [found async for found in file.hdus()][1]

    return file, asyncio.run(second())


@given(x=FLOATS, y=FLOATS, side=SIDES)
def test_a_box_is_centred_as_well_as_whole_pixels_allow(x: float, y: float, side: int) -> None:
    box = box_about(x, y, side)
    assert box.shape == (side, side)
    assert abs((box.x0 + box.x1 - 1) / 2 - x) <= 0.501
    assert abs((box.y0 + box.y1 - 1) / 2 - y) <= 0.501


@given(x=st.integers(-50, 50), y=st.integers(-50, 50), side=SIDES)
def test_rounding_errors_do_not_move_a_box(x: int, y: int, side: int) -> None:
    assert box_about(x + 1e-6, y - 1e-6, side) == box_about(x - 1e-6, y + 1e-6, side) == box_about(x, y, side)


@given(x=FLOATS, y=FLOATS, side=SIDES, ny=st.integers(1, 300), nx=st.integers(1, 300))
def test_clipping_keeps_the_pixels_of_both_and_no_others(x: float, y: float, side: int, ny: int, nx: int) -> None:
    box = box_about(x, y, side)
    clipped = box.clipped(Box(0, 0, nx, ny))
    inside = {(i, j) for i in range(box.x0, box.x1) for j in (box.y0, box.y1 - 1) if 0 <= i < nx and 0 <= j < ny}
    if clipped is None:
        assert not inside
        return
    assert 0 <= clipped.x0 < clipped.x1 <= nx
    assert 0 <= clipped.y0 < clipped.y1 <= ny
    assert clipped.x0 == max(box.x0, 0)
    assert clipped.y1 == min(box.y1, ny)
    assert all(clipped.x0 <= i < clipped.x1 and clipped.y0 <= j < clipped.y1 for i, j in inside)
    moved = clipped.seen_from(3, 4)
    assert (moved.x0 + 3, moved.y0 + 4, moved.shape) == (clipped.x0, clipped.y0, clipped.shape)


ARRAY = np.arange(40 * 30, dtype="f4").reshape(40, 30)


@settings(max_examples=60)
@given(
    x0=st.integers(0, 29),
    y0=st.integers(0, 39),
    wide=st.integers(1, 30),
    high=st.integers(1, 40),
    cost=st.sampled_from([0, 40, 10**6]),
)
def test_spans_hold_the_pixels_whole_rows_or_strips(x0: int, y0: int, wide: int, high: int, cost: int) -> None:
    file, hdu = plane_of(ARRAY)
    box = Box(x0, y0, min(30, x0 + wide), min(40, y0 + high))
    asked: list[Span] = []

    async def run() -> np.ndarray:
        plane = PlainPlane(hdu)
        asked.extend(await plane.spans(file, box))
        return await plane.load(file, box)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "REQUEST_COST", cost)
        got = asyncio.run(run())
    np.testing.assert_array_equal(got, ARRAY[box.y0 : box.y1, box.x0 : box.x1])
    assert got.dtype == np.dtype("f4")
    assert got.dtype.isnative
    assert not got.flags.writeable
    whole = (30 - box.shape[1]) * 4 <= cost
    assert len(asked) == (1 if whole else box.shape[0])
    assert sum(end - start for start, end in asked) == box.shape[0] * (30 if whole else box.shape[1]) * 4


def test_overlapping_rows_are_fetched_once() -> None:
    file, hdu = plane_of(ARRAY)

    async def spans() -> list[Span]:
        plane = PlainPlane(hdu)
        return [span for y in (5, 10, 12) for span in await plane.spans(file, Box(0, y, 9, y + 9))]

    ((start, end),) = join(asyncio.run(spans()))
    assert end - start == 16 * 30 * 4


def test_integers_stay_integers_unless_scaled() -> None:
    file, hdu = plane_of(np.arange(12, dtype="i4").reshape(3, 4))
    got = asyncio.run(PlainPlane(hdu).load(file, Box(1, 1, 3, 3)))
    assert got.dtype == np.dtype("i4")
    file, hdu = plane_of(np.arange(12, dtype="i2").reshape(3, 4), BSCALE=0.5, BZERO=1.0)
    scaled = asyncio.run(PlainPlane(hdu).load(file, Box(1, 1, 3, 3)))
    assert scaled.dtype == np.dtype("f4")
    np.testing.assert_array_equal(scaled, np.arange(12).reshape(3, 4)[1:3, 1:3] * 0.5 + 1.0)


def test_a_file_that_ends_early_says_so() -> None:
    file, hdu = plane_of(ARRAY)
    short = in_memory(asyncio.run(file.read(0, hdu.data_offset + 2000)))
    with pytest.raises(TruncatedFile, match="bytes of IMAGE in rows 15-19 are there"):
        asyncio.run(PlainPlane(hdu).load(short, Box(0, 15, 5, 20)))


def test_what_is_no_image_is_refused() -> None:
    _, hdu = plane_of(np.zeros((2, 3, 4), "f4"))
    with pytest.raises(FormatError, match="no image of two axes"):
        PlainPlane(hdu)
