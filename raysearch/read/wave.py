"""The wavelength of each plane of a cube, from its header: micrometres, in vacuum.

Follows FITS WCS papers I and III (Greisen & Calabretta 2002, A&A 395, 1061; Greisen et al. 2006, A&A 446, 747): axes of wavelength,
frequency, velocity and their like (`read.spectral`), linear or by table (-TAB). What a header says decides, never which tables lie
beside it: JWST cubes since 2026 carry a WCS-TABLE although their axis is linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError
from raysearch.read.fits import Hdu, Header
from raysearch.read.spectral import axis_of, to_um, unit_factor

MOST_PLANES = 1_000_000
"""A header that promises more is damaged: its axis alone would fill the memory."""
WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
"""Bytes of one element of a binary table, by TFORM code."""
NUMBERS = {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


@dataclass(frozen=True, slots=True)
class TableColumn:
    """Where a -TAB axis says that its wavelengths lie."""

    extension: str
    column: str


def table_column(header: Header, axis: int = 3) -> TableColumn | None:
    """Return the table column that holds the wavelengths, or None for a linear axis; `axis` is its FITS number."""
    kind = header.string(f"CTYPE{axis}").upper()
    if not kind.endswith("-TAB"):
        return None
    extension, column = header.string(f"PS{axis}_0"), header.string(f"PS{axis}_1")
    if not extension or not column:
        raise FormatError(f"CTYPE{axis} is {kind}, but PS{axis}_0 and PS{axis}_1 do not name its table and column")
    if index := header.string(f"PS{axis}_2"):
        raise FormatError(f"the wavelength table has an index column (PS{axis}_2 = {index!r}), which is not supported")
    return TableColumn(extension.upper(), column.upper())


def wavelengths(header: Header, planes: int, table: NDArray[np.float64] | None = None, axis: int = 3) -> NDArray[np.float64]:
    """Return the wavelength of each plane in the file's order, strictly increasing or strictly decreasing, shape (planes,).

    Parameters
    ----------
    header
        Of the science extension.
    planes
        Length of its spectral axis.
    table
        The column that `table_column` names, in the unit of CUNIT.
    axis
        FITS number of the spectral axis.

    Raises
    ------
    FormatError
        The axis is not spectral, has no unit or no rest wavelength where it needs one, or is not monotonic.
    """
    kind = axis_of(header, axis)
    if planes > MOST_PLANES:
        raise FormatError(f"its header promises {planes:,} planes, more than any spectrograph's {MOST_PLANES:,}")
    factor = unit_factor(kind, header.string(f"CUNIT{axis}"), f"CUNIT{axis}")
    values = _linear(header, planes, axis, step_needed=table is None)
    if table is not None:
        values = _looked_up(values, table)
    waves = to_um(header, kind, values * factor, header.number(f"CRVAL{axis}", 0.0) * factor)
    _check(waves)
    return _in_vacuum(waves) if kind.name == "AWAV" else waves


def _linear(header: Header, planes: int, axis: int, *, step_needed: bool) -> NDArray[np.float64]:
    """Return the linear axis: for -TAB the place in the table, counted from 1."""
    step_key, reference_key, value_key, matrix_key = f"CDELT{axis}", f"CRPIX{axis}", f"CRVAL{axis}", f"CD{axis}_{axis}"
    if matrix_key in header:
        step = header.number(matrix_key, 0.0)
    elif step_key in header or not step_needed:
        step = header.number(step_key, 1.0) * header.number(f"PC{axis}_{axis}", 1.0)
    else:
        raise FormatError(f"the header has neither {step_key} nor {matrix_key}: the step of the wavelength axis is unknown")
    tilted = [key for key in (f"{m}{axis}_{n}" for m in ("PC", "CD") for n in (1, 2)) if header.number(key, 0.0)]
    if tilted:
        raise FormatError(f"{tilted[0]} is not 0: the wavelength differs from pixel to pixel of a plane, which cannot be searched")
    if step_needed and value_key not in header:
        raise FormatError(f"the header has no {value_key}: the wavelength axis has no zero point")
    start = 0.0 if step_needed else 1.0
    reference = header.number(reference_key, start)
    pixels = np.arange(1, planes + 1, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is told by the check
        return header.number(value_key, start) + (pixels - reference) * step


def _looked_up(places: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    if places.min() < 1 or places.max() > table.size:
        raise FormatError(f"the wavelength table has {table.size} values, the axis asks for {places.min():g} to {places.max():g}")
    return np.interp(places, np.arange(1, table.size + 1), table)


def _check(axis: NDArray[np.float64]) -> None:
    if not np.isfinite(axis).all():
        raise FormatError(f"the wavelength axis has {np.count_nonzero(~np.isfinite(axis))} values that are no numbers")
    if axis.min() <= 0:
        raise FormatError(f"the wavelength axis reaches {axis.min():g} um: a wavelength is greater than 0")
    steps = np.diff(axis)
    if not ((steps > 0).all() or (steps < 0).all()):
        plane = int(np.flatnonzero(steps * np.sign(np.median(steps)) <= 0)[0])
        raise FormatError(f"the wavelength axis neither grows nor falls throughout: see planes {plane} and {plane + 1}")


def _in_vacuum(air_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vacuum wavelengths of wavelengths in standard air (15 °C, 101,325 Pa).

    The refractive index is that of Morton (2000, ApJS 130, 403), as a function of the wavelength in air (N. Piskunov, VALD).
    Equation 65 of FITS WCS paper III is for 0 °C and lies 4.6 km/s off the air that spectrographs are calibrated to.
    """
    inverse = 1.0 / air_um**2
    index = 1.00008336624212083 + 0.02408926869968 / (130.1065924522 - inverse) + 0.0001599740894897 / (38.92568793293 - inverse)
    return air_um * index


def column_values(hdu: Hdu, data: bytes, name: str) -> NDArray[np.float64]:
    """Return all numbers of a binary table's column, row after row, shape (n,).

    Parameters
    ----------
    hdu
        The table.
    data
        All its data.
    name
        TTYPE of the column, in any case.
    """
    if hdu.kind != "BINTABLE" or len(hdu.shape) != 2:
        raise FormatError(f"{hdu}: the wavelength table is no binary table")
    rows, row_bytes = hdu.shape
    header, at = hdu.header, 0
    for n in range(1, header.integer("TFIELDS", None) + 1):
        form = re.fullmatch(r"(\d*)([A-Z])(.*)", header.string(f"TFORM{n}").upper())
        if form is None or (form[2] not in WIDTHS and form[2] != "X"):
            raise FormatError(f"{hdu.name}: TFORM{n} = {header.string(f'TFORM{n}')!r} is no form of a column")
        count = int(form[1] or 1)
        width = -(-count // 8) if form[2] == "X" else count * WIDTHS[form[2]]
        if header.string(f"TTYPE{n}").upper() == name.upper():
            break
        at += width
    else:
        raise FormatError(f"{hdu.name} has no column {name}")
    if form[2] not in NUMBERS or not count * rows or at + width > row_bytes:
        raise FormatError(f"{hdu.name}: the column {name} ({rows} rows of {form[0]!r}) holds no wavelengths")
    cells = np.frombuffer(data, np.uint8, rows * row_bytes).reshape(rows, row_bytes)[:, at : at + width]
    with np.errstate(over="ignore", invalid="ignore"):  # a number that is none stays none
        values = np.ascontiguousarray(cells).view(NUMBERS[form[2]]).astype(np.float64).ravel()
        return values * header.number(f"TSCAL{n}", 1.0) + header.number(f"TZERO{n}", 0.0)
