"""Wavelengths equal those of astropy with SIP off, on whole images and on cutouts."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import FormatError
from raysearch.read.fits import Hdu, Header
from raysearch.read.service import in_memory
from raysearch.read.wavetable import WaveTable, wave_extension

SIP = ((-0.359, 8.9e-5, 1.6e-6), (-1.108, 6.3e-5, 6.7e-6))


def image_header(x0: int = 0, y0: int = 0, **changes: object) -> fits.Header:
    header = fits.Header({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 10.0, "CRVAL2": 41.0, "CDELT1": 1.0})
    header.update({"CDELT2": 1.0, "PC1_1": 0.0017, "PC2_2": -0.0017, "CRPIX1": 1020.5 - x0, "CRPIX2": 1020.5 - y0, "WCSAXESW": 2})
    for name, terms in zip("AB", SIP, strict=True):
        header.update({f"{name}_ORDER": 2, f"{name}_0_0": terms[0], f"{name}_1_0": terms[1], f"{name}_2_0": terms[2]})
    for axis, start, index in ((1, x0, "X"), (2, y0, "Y")):
        header.update({f"CTYPE{axis}W": "WAVE-TAB", f"CUNIT{axis}W": "um", f"CRPIX{axis}W": 1 - start, f"CRVAL{axis}W": 1})
        header.update({f"CDELT{axis}W": 1, f"PS{axis}_0W": "WCS-WAVE", f"PS{axis}_1W": "VALUES", f"PS{axis}_2W": index})
        header[f"PV{axis}_3W"] = axis
    header.update(changes)
    return header


def table_hdu(x: list[int], y: list[int], values: np.ndarray) -> fits.BinTableHDU:
    nx, ny = len(x), len(y)
    columns = [
        fits.Column("X", f"{nx}J", dim=f"({nx})", array=np.array([x])),
        fits.Column("Y", f"{ny}J", dim=f"({ny})", array=np.array([y])),
        fits.Column("VALUES", f"{2 * nx * ny}E", dim=f"(2,{nx},{ny})", array=values[None].astype("f4")),
    ]
    return fits.BinTableHDU.from_columns(columns, name="WCS-WAVE")


def file_of(header: fits.Header, table: fits.BinTableHDU) -> tuple[WaveTable, fits.HDUList]:
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((4, 4), "f4"), header, name="IMAGE"), table]).writeto(stream)
    file = in_memory(stream.getvalue())

    async def read() -> WaveTable:
        hdus: list[Hdu] = [hdu async for hdu in file.hdus()]
        assert wave_extension(hdus[1].header) == "WCS-WAVE"
        data = await file.read(hdus[2].data_offset, hdus[2].data_offset + hdus[2].data_size)
        return WaveTable.from_table(hdus[1].header, hdus[2], data)

    return asyncio.run(read()), fits.open(io.BytesIO(stream.getvalue()))


def astropy_at(hdus: fits.HDUList, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wcs = WCS(hdus["IMAGE"].header, fobj=hdus, key="W")
    wcs.sip = None
    wave, band = wcs.all_pix2world(x, y, 0)
    assert str(wcs.wcs.cunit[0]) == "um"
    return wave, band


@pytest.mark.real
@pytest.mark.parametrize("detector", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize(("x0", "y0"), [(0, 0), (1292, 863)])
def test_real_tables_give_what_astropy_gives_without_sip(real_data: Path, detector: int, x0: int, y0: int) -> None:
    table = json.loads((real_data / "spherex" / "qr2_wcs_wave_tables.json").read_text())["tables"][f"D{detector}"]
    values = np.stack([table["wavelength_um"], table["bandwidth_um"]], axis=-1)
    waves, hdus = file_of(image_header(x0, y0), table_hdu(table["x"], table["y"], values))
    assert waves.image_shape == (2040, 2040)
    rng = np.random.default_rng(detector)
    x, y = rng.uniform(-0.5, 2039.5, (2, 300))
    x[:6], y[:6] = (0, 2039, 0, 2039, -20, 1000), (0, 0, 2039, 2039, 30, 2060)  # corners, and a little outside
    expected = np.transpose(astropy_at(hdus, x - x0, y - y0))
    np.testing.assert_allclose([waves.at(a, b) for a, b in zip(x, y, strict=True)], expected, rtol=0, atol=1e-7)


NODES = st.lists(st.integers(1, 400), min_size=2, max_size=6, unique=True).map(sorted)


@settings(max_examples=40)
@given(x=NODES, y=NODES, seed=st.integers(0, 10**6))
def test_any_grid_gives_what_astropy_gives(x: list[int], y: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    waves, hdus = file_of(image_header(), table_hdu(x, y, rng.uniform(0.5, 5, (len(y), len(x), 2))))
    at = rng.uniform([x[0] - 1, y[0] - 1], [x[-1] - 1, y[-1] - 1], (20, 2))
    expected = np.transpose(astropy_at(hdus, *at.T))
    np.testing.assert_allclose([waves.at(*place) for place in at], expected, rtol=0, atol=1e-6)


def test_far_outside_there_is_no_wavelength() -> None:
    waves = WaveTable(np.array([1.0, 11.0]), np.array([1.0, 101.0]), np.ones((2, 2, 2)))
    assert waves.at(-5.0, 0.0) == (1.0, 1.0)
    assert np.isnan(waves.at(-5.2, 0.0)).all()
    assert np.isnan(waves.at(0.0, 151.0)).all()


def test_units_are_converted() -> None:
    values = np.full((2, 2, 2), 2000.0)
    waves, _ = file_of(image_header(CUNIT1W="nm", CUNIT2W="nm"), table_hdu([1, 9], [1, 9], values))
    assert waves.at(3, 3) == pytest.approx((2.0, 2.0))


def header_of(**changes: object) -> Header:
    return Header(image_header(**changes).tostring())


def test_an_image_without_a_spectral_wcs_needs_no_table() -> None:
    assert wave_extension(header_of(CTYPE1W="LINEAR")) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"PS2_0W": "OTHER"}, "do not name one table"),
        ({"PS1_1W": ""}, "do not name one table"),
        ({"PV1_3W": 2}, "only a table whose first axis"),
        ({"PC1_2W": 0.1}, "PC1_2W is not 0"),
    ],
)
def test_what_is_not_understood_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(FormatError, match=told):
        wave_extension(header_of(**changes))


@pytest.mark.parametrize("last", [np.inf, 1e30, np.nan])
def test_points_that_are_no_pixels_are_refused(last: float) -> None:
    columns = [
        fits.Column("X", "2D", array=np.array([[1.0, last]])),
        fits.Column("Y", "2D", array=np.array([[1.0, 9.0]])),
        fits.Column("VALUES", "8E", array=np.ones((1, 8))),
    ]
    with pytest.raises(FormatError, match="its points are no pixels"):
        file_of(image_header(), fits.BinTableHDU.from_columns(columns, name="WCS-WAVE"))


@pytest.mark.parametrize(("x", "n", "told"), [([1, 9], 3, "are not two for each"), ([9, 1], 2, "do not increase")])
def test_a_table_that_contradicts_itself_is_refused(x: list[int], n: int, told: str) -> None:
    columns = [
        fits.Column("X", "2J", array=np.array([x])),
        fits.Column("Y", "2J", array=np.array([[1, 9]])),
        fits.Column("VALUES", f"{4 * n}E", array=np.ones((1, 4 * n))),
    ]
    with pytest.raises(FormatError, match=told):
        file_of(image_header(), fits.BinTableHDU.from_columns(columns, name="WCS-WAVE"))
