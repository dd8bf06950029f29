"""The wavelength and the bandwidth of each pixel of an image, from its spectral WCS: a table of both on a coarse grid of pixels.

FITS WCS paper III (Greisen et al. 2006, A&A 446, 747), section 6: both axes are `-TAB` on one two-dimensional coordinate array
with an index vector for each axis; between its points the array is interpolated linearly in both directions, and beyond the
outermost ones for half a cell. Distortions of the celestial WCS (SIP) are no part of it: they hold for the sky alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError
from raysearch.read.fits import Hdu, Header
from raysearch.read.spectral import Axis, unit_factor
from raysearch.read.wave import column_values

KEY = "W"
"""Of the alternate WCS, in SPHEREx images."""
FARTHEST = 1e6
"""No image has as many pixels along an axis."""


def wave_extension(header: Header) -> str:
    """Return the name of the extension that holds an image's table of wavelengths; empty where the image has none.

    Raises
    ------
    FormatError
        The axes are tabular, but not as two outputs of one table over both pixel axes.
    """
    if not header.string(f"CTYPE1{KEY}").upper().endswith("-TAB"):
        return ""
    for part in (0, 1):
        named = {header.string(f"PS{axis}_{part}{KEY}").upper() for axis in (1, 2)}
        if len(named) != 1 or "" in named:
            raise FormatError(f"PS1_{part}{KEY} and PS2_{part}{KEY} do not name one table: {sorted(named)}")
    roles = tuple(header.integer(f"PV{axis}_3{KEY}", 1) for axis in (1, 2))
    if roles != (1, 2):
        raise FormatError(f"PV1_3{KEY} and PV2_3{KEY} are {roles}: only a table whose first axis is that of columns is supported")
    tilted = [key for m in ("PC", "CD") for key in (f"{m}1_2{KEY}", f"{m}2_1{KEY}") if header.number(key, 0.0)]
    if tilted:
        raise FormatError(f"{tilted[0]} is not 0: a spectral WCS turned against the pixels is not supported")
    return header.string(f"PS1_0{KEY}").upper()


@dataclass(frozen=True, slots=True, eq=False)
class WaveTable:
    """Wavelengths and bandwidths on a grid."""

    x: NDArray[np.float64]
    """Where the grid's columns lie, pixels counted from 1, increasing."""
    y: NDArray[np.float64]
    values_um: NDArray[np.float64]
    """Wavelength and bandwidth, micrometres, shape (y, x, 2)."""

    @classmethod
    def from_table(cls, header: Header, hdu: Hdu, data: bytes) -> WaveTable:
        """Return what an image's header and the table that it names say.

        Raises
        ------
        FormatError
            The table's columns do not fit each other.
        """
        x, y = (column_values(hdu, data, header.string(f"PS{axis}_2{KEY}")) for axis in (1, 2))
        values = column_values(hdu, data, header.string(f"PS1_1{KEY}"))
        if values.size != 2 * x.size * y.size:
            raise FormatError(f"{hdu}: {values.size} values are not two for each of {x.size} x {y.size} points")
        for index in (x, y):
            if index.size < 2 or not (np.abs(index) < FARTHEST).all() or not (np.diff(index) > 0).all():
                raise FormatError(f"{hdu}: its points are no pixels, or do not increase along both axes")
        kind = Axis("WAVE", "TAB")
        factors = [unit_factor(kind, header.string(f"CUNIT{axis}{KEY}"), f"CUNIT{axis}{KEY}") for axis in (1, 2)]
        with np.errstate(over="ignore", invalid="ignore"):  # where the wavelength is no number there is none
            return cls(x, y, values.reshape(y.size, x.size, 2) * factors)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of the whole image: in SPHEREx's tables the outermost points are its first and its last pixels."""
        return round(self.y[-1]), round(self.x[-1])

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return wavelength and bandwidth, micrometres, at a place counted from 0 at the centre of the whole image's first pixel.

        Beyond half a cell outside of the grid they are NaN.
        """
        column, row = _place(self.x, x + 1.0), _place(self.y, y + 1.0)
        if column is None or row is None:
            return math.nan, math.nan
        (i, right), (j, up) = column, row
        corners = self.values_um[j : j + 2, i : i + 2]
        wavelength, bandwidth = np.array([1 - up, up]) @ (np.array([1 - right, right]) @ corners)
        return float(wavelength), float(bandwidth)


def _place(points: NDArray[np.float64], at: float) -> tuple[int, float] | None:
    """Return the cell of a place and how far in it lies, in cells; None beyond half a cell outside."""
    cell = min(max(int(np.searchsorted(points, at, side="right")) - 1, 0), points.size - 2)
    share = float((at - points[cell]) / (points[cell + 1] - points[cell]))
    return (cell, share) if -0.5 <= share <= 1.5 else None
