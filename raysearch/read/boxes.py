"""Boxes of pixels about targets: where they lie on an image, and in which bytes of its file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError, TruncatedFile
from raysearch.read.fits import CARD, FitsFile, Hdu, Header, Span
from raysearch.read.plan import REQUEST_COST
from raysearch.read.values import FLOATS, RAW, physical


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels counted from 0, ends exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def clipped(self, to: Box) -> Box | None:
        """Return the part of it that lies in another; None where there is none."""
        box = Box(max(self.x0, to.x0), max(self.y0, to.y0), min(self.x1, to.x1), min(self.y1, to.y1))
        return box if min(box.shape) > 0 else None

    def seen_from(self, x0: int, y0: int) -> Box:
        """Return the same box, its pixels counted from the one given."""
        return Box(self.x0 - x0, self.y0 - y0, self.x1 - x0, self.y1 - y0)

    def __str__(self) -> str:
        return f"columns {self.x0}-{self.x1 - 1}, rows {self.y0}-{self.y1 - 1}"


def box_about(x: float, y: float, side: int) -> Box:
    """Return the square of `side` pixels whose centre is nearest to a place, counted from 0 at the centre of the first pixel."""
    x0, y0 = (math.floor(round(place, 3) - side / 2 + 1) for place in (x, y))  # rounding errors do not decide between two boxes
    return Box(x0, y0, x0 + side, y0 + side)


def without_end(header: Header) -> str:
    """Return a header's text without its END."""
    return header.text.removesuffix("END".ljust(CARD))


class Plane(Protocol):
    """An image extension of which boxes can be read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def header(self) -> str:
        """The image's header as text, without END."""
        ...

    async def spans(self, file: FitsFile, box: Box) -> list[Span]:
        """Return where the bytes lie that a box needs."""
        ...

    def held(self, box: Box) -> int:
        """Return how many bytes of memory `load` takes, beside those of the file."""
        ...

    async def load(self, file: FitsFile, box: Box) -> NDArray[Any]:
        """Return a box's values, shape (ny, nx), read-only, in native byte order; integers stay so unless they are scaled.

        Raises
        ------
        FormatError
            They are not all there, or damaged.
        """
        ...


class PlainPlane:
    """An image extension whose numbers stand in the file row after row."""

    def __init__(self, hdu: Hdu) -> None:
        if hdu.kind != "IMAGE" or len(hdu.shape) != 2 or 0 in hdu.shape:
            raise FormatError(f"{hdu}: it is no image of two axes")
        self.hdu = hdu
        self.shape = (hdu.shape[0], hdu.shape[1])
        self.header = without_end(hdu.header)

    async def spans(self, file: FitsFile, box: Box) -> list[Span]:  # noqa: ARG002 (a compressed plane looks into the file)
        """Return where a box's bytes lie: all of its rows at once, or, on images so wide that it pays, its part of each row."""
        return list(self._spans(box))

    def _spans(self, box: Box) -> Iterator[Span]:
        width = abs(self.hdu.bitpix) // 8
        row, at = self.shape[1] * width, self.hdu.data_offset
        if self._whole_rows(box):
            yield at + box.y0 * row, at + box.y1 * row
        else:
            yield from ((at + y * row + box.x0 * width, at + y * row + box.x1 * width) for y in range(box.y0, box.y1))

    def held(self, box: Box) -> int:
        """Return how many bytes loading a box takes: its rows in one piece, and its values, handed on as a copy."""
        rows, columns = box.shape
        width = self.shape[1] if self._whole_rows(box) else columns
        return rows * width * abs(self.hdu.bitpix) // 8 + 2 * rows * columns * np.dtype(FLOATS[self.hdu.bitpix]).itemsize

    def _whole_rows(self, box: Box) -> bool:
        return (self.shape[1] - box.shape[1]) * abs(self.hdu.bitpix) // 8 <= REQUEST_COST

    async def load(self, file: FitsFile, box: Box) -> NDArray[Any]:
        """Return a box's values.

        Raises
        ------
        TruncatedFile
            The file ends before them.
        """
        data = b"".join([await file.read(start, end) for start, end in self._spans(box)])
        whole = self._whole_rows(box)
        columns = self.shape[1] if whole else box.shape[1]
        needed = box.shape[0] * columns * abs(self.hdu.bitpix) // 8
        if len(data) < needed:
            raise TruncatedFile(
                f"truncated: {len(data):,} of the {needed:,} bytes of {self.hdu.name} in rows {box.y0}-{box.y1 - 1} are there "
                f"(its header promises data up to byte {self.hdu.data_offset + self.hdu.data_size - 1:,})"
            )
        raw = np.frombuffer(data, RAW[self.hdu.bitpix]).reshape(-1, columns)
        values = physical(raw[:, box.x0 : box.x1] if whole else raw, self.hdu.header, self.hdu.bitpix, floating=False)
        values.setflags(write=False)
        return values
