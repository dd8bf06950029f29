"""Wavelength axes in every form that cubes come with."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from raysearch.errors import FormatError
from raysearch.read.fits import Hdu, Header, parse_hdu
from raysearch.read.wave import TableColumn, column_values, table_column, wavelengths

LINEAR = {"CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": 17.7, "CRPIX3": 1.0, "CDELT3": 0.006}
TAB = {"CTYPE3": "WAVE-TAB", "CUNIT3": "um", "CRVAL3": 1.0, "CRPIX3": 1.0, "PS3_0": "WCS-TABLE", "PS3_1": "wavelength"}


def header(values: dict[str, Any], **changes: Any) -> Header:
    cards = fits.Header()
    for key, value in {**values, **changes}.items():
        if value is not None:
            cards[key] = value
    return Header(cards.tostring())


def test_a_linear_axis_is_a_straight_line() -> None:
    np.testing.assert_array_equal(wavelengths(header(LINEAR), 5), 17.7 + np.arange(5) * 0.006)
    np.testing.assert_allclose(wavelengths(header(LINEAR, CRPIX3=3.5), 3), 17.7 + np.array([-2.5, -1.5, -0.5]) * 0.006)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"CDELT3": 0.5}, 0.5),
        ({"CDELT3": 0.5, "PC3_3": 2.0}, 1.0),
        ({"CD3_3": 0.25}, 0.25),
        ({"CD3_3": 0.25, "CDELT3": 1.0}, 0.25),
        ({"CDELT3": -0.5}, -0.5),
    ],
)
def test_the_step_may_be_written_in_several_ways(step: dict[str, float], expected: float) -> None:
    axis = wavelengths(header(LINEAR, CDELT3=None, **step) if "CDELT3" not in step else header(LINEAR, **step), 10)
    np.testing.assert_allclose(np.diff(axis), expected)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("um", 1),
        ("m", 1e6),
        ("Angstrom", 1e-4),
        ("ANGSTROM", 1e-4),
        ("nm", 1e-3),
        ("micron", 1),
        ("MICRON", 1),
        ("cm", 1e4),
        ("mm", 1e3),
    ],
)
def test_every_unit_of_length_becomes_micrometres(unit: str, factor: float) -> None:
    np.testing.assert_allclose(wavelengths(header(LINEAR, CUNIT3=unit), 4), (17.7 + np.arange(4) * 0.006) * factor, rtol=1e-14)


def test_an_axis_in_air_becomes_one_in_vacuum() -> None:
    # H beta, [O III], H alpha, [S II] in air and in vacuum, as the SDSS line tables give both
    for air, vacuum in [(4861.363, 4862.721), (4958.911, 4960.295), (6562.801, 6564.614), (6716.44, 6718.294)]:
        found = wavelengths(header(LINEAR, CTYPE3="AWAV", CUNIT3="Angstrom", CRVAL3=air, CDELT3=1000.0), 3)
        assert abs(found[0] * 1e4 - vacuum) < 0.01


@given(st.floats(0.3, 30), st.floats(-400, 400), st.floats(1e-5, 1e-3))
def test_linear_axes_agree_with_astropy(start: float, reference: float, step: float) -> None:
    cards = fits.Header({"NAXIS": 3, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **LINEAR})
    cards["CRVAL3"], cards["CRPIX3"], cards["CDELT3"] = start + 400 * step, reference, step
    theirs = WCS(cards).spectral.pixel_to_world_values(np.arange(50)) * 1e6
    if theirs[0] > 0:
        np.testing.assert_allclose(wavelengths(Header(cards.tostring()), 50), theirs, rtol=1e-12)


def test_a_table_axis_is_the_table() -> None:
    table = np.cumsum(np.linspace(0.001, 0.002, 7)) + 5
    np.testing.assert_array_equal(wavelengths(header(TAB), 7, table), table)
    np.testing.assert_allclose(wavelengths(header(TAB, CUNIT3="nm"), 7, table * 1e3), table)
    np.testing.assert_array_equal(wavelengths(header(TAB, CRPIX3=0.0), 6, table), table[1:])
    np.testing.assert_allclose(wavelengths(header(TAB, CDELT3=0.5), 3, table), [table[0], table[:2].mean(), table[1]])
    np.testing.assert_array_equal(wavelengths(header(TAB), 7, table[::-1]), table[::-1])


def test_ctype_decides_not_the_table_beside_it() -> None:
    assert table_column(header(LINEAR, PS3_0="WCS-TABLE", PS3_1="wavelength")) is None
    assert table_column(header(TAB)) == TableColumn("WCS-TABLE", "WAVELENGTH")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CTYPE3": None}, "no CTYPE3"),
        ({"CTYPE3": "STOKES"}, "CTYPE3 = 'STOKES' is not a spectral axis.*WAVE, AWAV, FREQ"),
        ({"CTYPE3": "VELOCITY"}, "'VELOCITY' is not a spectral axis"),
        ({"CTYPE3": "WAVE-GRI"}, "the algorithm GRI is not supported"),
        ({"CTYPE3": "WAVE-A2W"}, "the algorithm A2W is not supported"),
        ({"CTYPE3": "AWAV-W2A"}, "the algorithm W2A is not supported"),
        ({"CTYPE3": "VOPT-V2F"}, "the algorithm V2F is not supported"),
        ({"CTYPE3": "VRAD", "CUNIT3": "m/s"}, r"velocities \(VRAD\).* no RESTFRQ .*setval"),
        ({"CTYPE3": "VOPT", "CUNIT3": "m/s", "RESTFRQ": 0.0}, r"velocities \(VOPT\).* no RESTFRQ"),
        ({"CTYPE3": "VELO-LSR", "CUNIT3": "m/s"}, r"velocities \(VOPT\).* no RESTFRQ"),
        ({"CTYPE3": "WAVE-V2W"}, r"velocities \(WAVE\).* no RESTFRQ"),
        ({"CTYPE3": "FREQ", "CUNIT3": "um"}, "'um' is no unit of frequency; .* 'Hz' or 'GHz'"),
        ({"CTYPE3": "VRAD", "CUNIT3": "Hz"}, "'Hz' is no unit of velocity"),
        ({"CTYPE3": "ENER", "CUNIT3": None}, "no CUNIT3"),
        ({"CTYPE3": "WAVN", "CUNIT3": None}, "no CUNIT3"),
        ({"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 0.0, "CDELT3": 1.0}, "values that are no numbers"),
        ({"CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": 4e8, "CDELT3": 1.0, "RESTFRQ": 1e11}, "reaches .* a wavelength is greater"),
        ({"CTYPE3": "WAVE-LOG", "CRVAL3": 0.0}, "values that are no numbers"),
        ({"CUNIT3": None}, "no CUNIT3.*setval"),
        ({"CUNIT3": "Hz"}, "'Hz' is no unit of length"),
        ({"CUNIT3": "furlongs per"}, "is no unit of length"),
        ({"CDELT3": None}, "neither CDELT3 nor CD3_3"),
        ({"CRVAL3": None}, "no CRVAL3"),
        ({"CDELT3": 0.0}, "neither grows nor falls"),
        ({"CRVAL3": -1.0}, "reaches -1 um"),
        ({"CRVAL3": "seven"}, "CRVAL3 = 'seven': a number"),
    ],
)
def test_axes_that_cannot_be_used_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        wavelengths(header(LINEAR, **changes), 5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1.0, 2.0, np.nan, 4.0], "1 values that are no numbers"),
        ([1.0, 2.0, 2.0, 4.0], "see planes 1 and 2"),
        ([1.0, 2.0, 1.5, 4.0], "see planes 1 and 2"),
        ([0.0, 2.0, 3.0, 4.0], "reaches 0 um"),
        ([1.0, 2.0, 3.0], "has 3 values, the axis asks for 1 to 4"),
    ],
)
def test_tables_that_cannot_be_used_say_why(table: list[float], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        wavelengths(header(TAB), 4, np.array(table))


@pytest.mark.parametrize(("changes", "message"), [({"PS3_1": None}, "do not name"), ({"PS3_2": "INDEX"}, "index column")])
def test_tables_that_are_not_named_say_so(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        table_column(header(TAB, **changes))


def as_hdu(table: Any) -> tuple[Hdu, bytes]:
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    data = stream.getvalue()
    hdu = parse_hdu(data[2880:], 2880, 1)
    assert hdu is not None
    return hdu, data[hdu.data_offset : hdu.data_offset + hdu.data_size]


@pytest.mark.parametrize("form", ["5E", "5D", "5J", "5I", "5K"])
def test_columns_of_one_row_are_read_behind_columns_of_every_form(form: str) -> None:
    values = np.arange(5) + 3
    columns = [
        fits.Column("a", "3A", array=["xyz"]),
        fits.Column("flags", "11X", array=np.zeros((1, 11), bool)),
        fits.Column("pair", "2C", array=np.zeros((1, 2), "c8")),
        fits.Column("list", "PE()", array=np.array([np.arange(3.0)], dtype=object)),
        fits.Column("Wavelength", form, dim="(1,5)", array=values.reshape(1, 5, 1)),
        fits.Column("after", "D", array=[7.0]),
    ]
    hdu, data = as_hdu(fits.BinTableHDU.from_columns(columns, name="WCS-TABLE"))
    np.testing.assert_array_equal(column_values(hdu, data, "WAVELENGTH"), values)


def test_columns_of_many_rows_and_scaled_ones_are_read() -> None:
    columns = [fits.Column("n", "J", array=np.arange(4)), fits.Column("w", "E", array=np.arange(4) + 0.5)]
    hdu, data = as_hdu(fits.BinTableHDU.from_columns(columns))
    np.testing.assert_array_equal(column_values(hdu, data, "w"), np.arange(4) + 0.5)
    scaled = Header(
        hdu.header.text.replace("END ".ljust(80), "TSCAL2  = 2.0".ljust(80) + "TZERO2  = 1.0".ljust(80) + "END".ljust(80))
    )
    hdu = Hdu(1, "T", "BINTABLE", scaled, 0, 0, hdu.data_size, 8, hdu.shape)
    np.testing.assert_array_equal(column_values(hdu, data, "w"), 2 * (np.arange(4) + 0.5) + 1)


def test_a_scale_beyond_all_numbers_gives_numbers_that_are_none() -> None:
    hdu, data = as_hdu(fits.BinTableHDU.from_columns([fits.Column("w", "D", array=[0.0, 1e10])]))
    scaled = Header(hdu.header.text.replace("END ".ljust(80), "TSCAL1  = 1E308".ljust(80) + "END".ljust(80)))
    values = column_values(Hdu(1, "T", "BINTABLE", scaled, 0, 0, hdu.data_size, 8, hdu.shape), data, "w")
    np.testing.assert_array_equal(values, [0.0, np.inf])


def test_columns_that_hold_no_wavelengths_say_so() -> None:
    hdu, data = as_hdu(fits.BinTableHDU.from_columns([fits.Column("a", "3A", array=["xyz"])], name="T"))
    with pytest.raises(FormatError, match="T has no column W"):
        column_values(hdu, data, "W")
    with pytest.raises(FormatError, match="holds no wavelengths"):
        column_values(hdu, data, "a")


@pytest.mark.parametrize(("unit", "factor"), [("microns", 1.0), ("Angstroms", 1e-4)])
def test_plurals_of_units_are_understood(unit: str, factor: float) -> None:
    np.testing.assert_allclose(wavelengths(header(LINEAR, CUNIT3=unit), 4), (17.7 + np.arange(4) * 0.006) * factor)


@pytest.mark.parametrize("key", ["PC3_1", "CD3_2"])
def test_wavelengths_that_differ_within_a_plane_are_refused(key: str) -> None:
    with pytest.raises(FormatError, match=f"{key} is not 0"):
        wavelengths(header(LINEAR, **{key: 0.1}), 4)
