"""The point spread function at a place of a SPHEREx image: of all zones, only the one around it is read.

QR2: a cube PSF of 121 planes, light as it falls on the detector, ten times finer than its pixels. QR3: a table EPSF of 441 rows
(detector 3: 451), effective functions, a pixel's own response in them, five times finer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError, TruncatedFile
from raysearch.read.boxes import without_end
from raysearch.read.fits import FitsFile, Hdu, Span
from raysearch.read.spherex import version_of
from raysearch.read.values import RAW
from raysearch.read.wave import column_values

NAMES = ("PSF", "EPSF")
EPSF_COLUMNS = {441: 21, 451: 11}
"""Rows of EPSF -> columns of its grid of zones, x running first: 21 x 21; 11 x 41 on detector 3."""
LAST_MISLABELLED = (6, 5, 5)
"""The last version of the pipeline whose headers exchange the zones' columns and rows."""
RELABELLED = "psffix1"
"""In VERSION where the header was put right since."""


@dataclass(frozen=True, slots=True, eq=False)
class Psf:
    """A point spread function."""

    values: NDArray[np.floating[Any]]
    """Shape (n, n), read-only."""
    oversampling: int
    """Its pixels to one of the image."""
    effective: bool
    """Whether a pixel's own response is in it."""


def mislabelled(version: str) -> bool:
    """Return whether a file's PSF header exchanges columns and rows of zones.

    Its planes run along x first in every version; the headers of versions up to 6.5.5 say y, unless they were corrected
    (https://irsa.ipac.caltech.edu/data/SPHEREx/docs/psfhdrerr.html).
    """
    return (0, 0, 0) < version_of(version) <= LAST_MISLABELLED and RELABELLED not in version


def zone_centres(hdu: Hdu, version: str) -> NDArray[np.float64]:
    """Return x and y of each plane's zone, pixels of the whole image counted from 0, shape (planes, 2).

    Raises
    ------
    FormatError
        The header does not say them for every plane, or they are no grid.
    """
    planes = hdu.shape[0]
    centres = np.array(
        [[hdu.header.number(f"{axis}CTR_{i}", math.nan) for axis in "XY"] for i in range(1, planes + 1)], dtype=np.float64
    )
    if not np.isfinite(centres).all():
        raise FormatError(f"{hdu}: XCTR_i and YCTR_i do not say where all of its {planes} zones lie")
    if not mislabelled(version):
        return centres
    x, y = np.unique(centres[:, 0]), np.unique(centres[:, 1])
    if x.size * y.size != planes:
        raise FormatError(f"{hdu}: its {planes} zones are no grid of {x.size} x {y.size}")
    return np.stack([np.tile(x, y.size), np.repeat(y, x.size)], axis=1)


class Zones:
    """The point spread functions of an image."""

    def __init__(self, hdu: Hdu, version: str, shape: tuple[int, int]) -> None:
        """Take the extension, the file's VERSION, and the rows and columns of the whole image.

        Raises
        ------
        FormatError
            The extension is neither the cube of QR2 nor the table of QR3.
        """
        self.effective = hdu.kind == "BINTABLE" and hdu.name == "EPSF" and len(hdu.shape) == 2 and 0 not in hdu.shape
        if not self.effective and not (hdu.kind == "IMAGE" and len(hdu.shape) == 3 and 0 not in hdu.shape and hdu.bitpix < 0):
            raise FormatError(f"{hdu}: no PSF in a form that is known, a cube PSF (QR2) or a table EPSF (QR3)")
        self.hdu = hdu
        self.header = without_end(hdu.header)
        """As text, without END."""
        self._centres = None if self.effective else zone_centres(hdu, version)
        self._shape = shape
        self._kept: dict[int, Psf] = {}

    def span(self, x: float, y: float) -> Span:
        """Return where the function of a place lies, in all likelihood."""
        return self._span(self._number(x, y))

    async def load(self, file: FitsFile, x: float, y: float) -> Psf:
        """Return the function of the zone whose centre is nearest to a place on the whole image, pixels counted from 0.

        Places of one zone share its array.

        Raises
        ------
        FormatError
            The extension contradicts itself.
        """
        number = self._number(x, y)
        if self.effective and not _holds(self._one, await self._read(file, *self._span(number)), *self._inside(x, y)):
            number = await self._nearest_row(file, x, y)
        if number not in self._kept:
            self._kept[number] = self._psf(await self._read(file, *self._span(number)))
        return self._kept[number]

    @property
    def _one(self) -> Hdu:
        """The table as if it had one row."""
        return replace(self.hdu, shape=(1, self.hdu.shape[1]))

    def _number(self, x: float, y: float) -> int:
        """Return the plane or the row of a place; that of a table as long as it has the usual grid."""
        if self._centres is not None:
            return int(np.hypot(self._centres[:, 0] - x, self._centres[:, 1] - y).argmin())
        rows = self.hdu.shape[0]
        columns = EPSF_COLUMNS.get(rows, max(1, math.isqrt(rows)))
        counts = (columns, rows // columns)
        sizes = self._shape[::-1]
        i, j = (math.floor((at + 0.5) / size * zones) for at, size, zones in zip(self._inside(x, y), sizes, counts, strict=True))
        return min(i + columns * j, rows - 1)

    def _inside(self, x: float, y: float) -> tuple[float, float]:
        return min(max(x, 0.0), self._shape[1] - 1.0), min(max(y, 0.0), self._shape[0] - 1.0)

    async def _nearest_row(self, file: FitsFile, x: float, y: float) -> int:
        """Return which row of a table of another grid is that of a place, by a look at all of them."""
        table = await self._read(file, self.hdu.data_offset, self.hdu.data_offset + self.hdu.data_size)
        centres = [column_values(self.hdu, table, f"{axis}CENTER") for axis in "XY"]
        return int(np.hypot(centres[0] - x, centres[1] - y).argmin())

    def _span(self, number: int) -> Span:
        size = self.hdu.data_size // self.hdu.shape[0]
        start = self.hdu.data_offset + number * size
        return start, start + size

    async def _read(self, file: FitsFile, start: int, end: int) -> bytes:
        data = await file.read(start, end)
        if len(data) < end - start:
            raise TruncatedFile(f"truncated: it ends inside of {self.hdu.name}")
        return data

    def _psf(self, data: bytes) -> Psf:
        """Return the function of a plane or a row."""
        values = column_values(self._one, data, "EPSF") if self.effective else np.frombuffer(data, RAW[self.hdu.bitpix])
        shape = (math.isqrt(values.size),) * 2 if self.effective else self.hdu.shape[1:]
        if math.prod(shape) != values.size:
            raise FormatError(f"{self.hdu}: its functions of {values.size} values are no squares")
        native = values.reshape(shape).astype(values.dtype.newbyteorder("="))
        native.setflags(write=False)
        keyword = "OVSMPX" if self.effective else "OVERSAMP"
        return Psf(native, self.hdu.header.integer(keyword, None, low=1), self.effective)


def _holds(one: Hdu, row: bytes, x: float, y: float) -> bool:
    """Return whether a row's zone holds a place, give or take what float32 leaves open."""
    centre = [column_values(one, row, f"{axis}CENTER")[0] for axis in "XY"]
    width = [column_values(one, row, f"{axis}WIDTH")[0] for axis in "XY"]
    return all(abs(place - c) <= w / 2 + 1e-3 for place, c, w in zip((x, y), centre, width, strict=True))
