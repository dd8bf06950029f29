"""The point spread function is that of the zone around the place, whatever the header of older files says."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from astropy.io import fits

from raysearch.errors import FormatError, TruncatedFile
from raysearch.model import Usage
from raysearch.read.fits import FitsFile, Hdu, Span
from raysearch.read.zones import Zones, mislabelled, zone_centres

ZONES = 4
SHAPE = (80, 40)
"""Rows and columns: the zones are 10 wide and 20 high."""


def cube(wrong: bool = False) -> fits.ImageHDU:
    """Return planes that hold their own number, x running first; by a wrong header y does."""
    hdu = fits.ImageHDU(np.repeat(np.arange(ZONES**2, dtype="f4"), 9).reshape(-1, 3, 3), name="PSF")
    hdu.header["OVERSAMP"] = 10
    for i in range(ZONES**2):
        ix, iy = (i // ZONES, i % ZONES) if wrong else (i % ZONES, i // ZONES)
        hdu.header[f"XCTR_{i + 1}"] = SHAPE[1] / ZONES * (ix + 0.5) - 0.5
        hdu.header[f"YCTR_{i + 1}"] = SHAPE[0] / ZONES * (iy + 0.5) - 0.5
    return hdu


def table(columns: int = 21, rows: int = 21, **changes: np.ndarray) -> fits.BinTableHDU:
    """Return rows whose functions hold their own number, as the third release has them."""
    i = np.arange(columns * rows)
    wide, high = SHAPE[1] / columns, SHAPE[0] / rows
    values = {
        "BINX": ("J", i % columns),
        "BINY": ("J", i // columns),
        "XCENTER": ("E", (i % columns + 0.5) * wide - 0.5),
        "YCENTER": ("E", (i // columns + 0.5) * high - 0.5),
        "XWIDTH": ("E", np.full(i.size, wide)),
        "YWIDTH": ("E", np.full(i.size, high)),
        "EPSF": ("9D", np.repeat(i, 9).reshape(-1, 9)),
    }
    made = [
        fits.Column(name, form, array=changes.get(name, array))
        for name, (form, array) in values.items()
        if name not in changes or changes[name] is not None
    ]
    hdu = fits.BinTableHDU.from_columns(made, name="EPSF")
    hdu.header["OVSMPX"] = 5
    return hdu


def opened(extension: fits.ImageHDU | fits.BinTableHDU, usage: Usage, size: int = 10**9) -> tuple[FitsFile, Hdu]:
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), extension]).writeto(stream)
    data = stream.getvalue()[:size]

    async def fetch(spans: list[Span]) -> list[bytes]:
        usage.requests += len(spans)
        usage.bytes_read += sum(end - start for start, end in spans)
        return [data[start:end] for start, end in spans]

    async def second() -> tuple[FitsFile, Hdu]:
        head = FitsFile(fetch)
        hdu = [hdu async for hdu in head.hdus()][1]
        usage.requests = usage.bytes_read = 0
        return FitsFile(fetch), hdu

    return asyncio.run(second())


@pytest.mark.parametrize(
    ("version", "wrong"),
    [("6.5.5", True), ("6.4", True), ("6.5.4+psffix1", False), ("6.5.6", False), ("6.5.10", False), ("7.0.5", False), ("", False)],
)
def test_which_headers_are_wrong(version: str, wrong: bool) -> None:
    assert mislabelled(version) is wrong


@pytest.mark.parametrize(("version", "wrong"), [("6.5.4", True), ("6.5.4+psffix1", False), ("6.5.10", False)])
def test_the_plane_is_that_of_the_zone(version: str, wrong: bool) -> None:
    usage = Usage()
    for x, y, plane in ((0, 0, 0), (39, 0, 3), (0, 79, 12), (12, 50, 9), (39.4, 79.4, 15), (-6, 100, 12)):
        file, hdu = opened(cube(wrong), usage)
        psf = asyncio.run(Zones(hdu, version, SHAPE).load(file, x, y))
        assert (psf.values == plane).all(), (x, y)
        assert (psf.values.shape, psf.oversampling, psf.effective) == ((3, 3), 10, False)
        assert psf.values.dtype == np.dtype("f4")
        assert (usage.requests, usage.bytes_read) == (1, 36)


@pytest.mark.parametrize(("columns", "rows", "whole"), [(21, 21, False), (11, 41, False), (7, 63, True)])
def test_the_row_is_that_of_the_zone(columns: int, rows: int, whole: bool) -> None:
    usage = Usage()
    for x, y in ((0.0, 0.0), (39.0, 0.0), (20.2, 41.3), (39.4, 79.4), (-8.0, 90.0)):
        file, hdu = opened(table(columns, rows), usage)
        psf = asyncio.run(Zones(hdu, "7.0.5", SHAPE).load(file, x, y))
        i = min(max(int((x + 0.5) / SHAPE[1] * columns), 0), columns - 1)
        j = min(max(int((y + 0.5) / SHAPE[0] * rows), 0), rows - 1)
        assert (psf.values == i + columns * j).all(), (x, y)
        assert (psf.values.shape, psf.oversampling, psf.effective) == ((3, 3), 5, True)
        assert usage.requests <= (3 if whole else 1)


def test_a_table_of_another_order_is_searched() -> None:
    usage = Usage()
    hdu = table(21, 21)
    hdu.data = hdu.data[::-1].copy()
    file, found = opened(hdu, usage)
    psf = asyncio.run(Zones(found, "7.0.5", SHAPE).load(file, 3.0, 70.0))
    assert (psf.values == 1 + 21 * 18).all()


@pytest.mark.parametrize("reversed_rows", [False, True])
@pytest.mark.parametrize("effective", [False, True])
def test_places_of_one_zone_share_one_array(effective: bool, reversed_rows: bool) -> None:
    usage, made = Usage(), table() if effective else cube()
    if effective and reversed_rows:
        made.data = made.data[::-1].copy()
    file, hdu = opened(made, usage)
    zones = Zones(hdu, "7.0.5", SHAPE)
    first, same, other = (asyncio.run(zones.load(file, x, y)).values for x, y in ((3.0, 7.0), (3.1, 7.1), (20.0, 50.0)))
    assert first is same
    assert (first != other).all()


def test_what_has_no_known_form_is_refused() -> None:
    _, hdu = opened(fits.ImageHDU(np.zeros((3, 3), "f4"), name="PSF"), Usage())
    with pytest.raises(FormatError, match="no PSF in a form that is known"):
        Zones(hdu, "8.0", SHAPE)


def test_centres_that_are_missing_or_no_grid_are_refused() -> None:
    hdu = cube()
    del hdu.header["YCTR_7"]
    with pytest.raises(FormatError, match="where all of its 16 zones lie"):
        zone_centres(opened(hdu, Usage())[1], "6.5.6")
    hdu = cube()
    hdu.header["XCTR_7"] = 5.0
    with pytest.raises(FormatError, match="no grid of"):
        zone_centres(opened(hdu, Usage())[1], "6.5.4")


def test_a_column_that_is_missing_is_named() -> None:
    file, hdu = opened(table(XWIDTH=None), Usage())  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="EPSF has no column XWIDTH"):
        asyncio.run(Zones(hdu, "7.0.5", SHAPE).load(file, 3, 3))


def test_a_file_that_ends_early_says_so() -> None:
    _, hdu = opened(cube(), Usage())
    file, _ = opened(cube(), Usage(), hdu.data_offset + 50)
    with pytest.raises(TruncatedFile, match="inside of PSF"):
        asyncio.run(Zones(hdu, "6.5.6", SHAPE).load(file, 39, 79))
