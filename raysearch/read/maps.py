"""Boxes of calibration products: images as large as those they belong to, one file for each detector.

A product is the same for thousands of images. Once their boxes have cost as many bytes as the whole of it, it is read whole and
kept: so it never costs more than about twice what it would, had one known how many were to come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import ConfigError, FormatError, ProductForbidden, ProductNotFound, ProductReplaced
from raysearch.read.boxes import Box, PlainPlane
from raysearch.read.fits import FitsFile, Span
from raysearch.read.frame import Kept, KnownMap
from raysearch.read.meanings import replaced
from raysearch.read.places import naming
from raysearch.read.plan import join


@dataclass(slots=True)
class Maps:
    """The calibration products of one kind."""

    template: str
    """Their address, `{detector}` in the place of the detector's number."""
    open_file: Callable[[str], FitsFile]
    known: Kept[tuple[str, str], KnownMap]
    """Those read before, by address and extension."""
    versions: dict[str, str]
    """Those of `Usage`: what was read before belongs to one version, and goes with bytes of no other."""

    def __post_init__(self) -> None:
        try:
            self.template.format(detector=1)
        except (KeyError, IndexError, ValueError) as exc:
            raise ConfigError(f"{self.template!r}: only {{detector}} can stand in braces") from exc

    async def spans(self, detector: int | None, extension: str, boxes: Sequence[Box]) -> tuple[Span, ...]:
        """Return where the bytes of boxes lie."""
        uri = self._uri(detector)
        file = self.open_file(uri)
        with self._product(uri):
            plane = PlainPlane((await self._known(file, uri, extension)).hdu)
            return join([span for box in boxes for span in await plane.spans(file, box)])

    async def load(self, detector: int | None, extension: str, shape: tuple[int, int], boxes: Sequence[Box]) -> list[NDArray[Any]]:
        """Return the values in each box of an image of the given shape.

        Raises
        ------
        FormatError
            The product has no such extension, or one of another shape.
        """
        uri = self._uri(detector)
        file = self.open_file(uri)
        with self._product(uri):
            known = await self._known(file, uri, extension)
            plane = PlainPlane(known.hdu)
            if plane.shape != shape:
                raise FormatError(f"{extension} has {plane.shape[0]} x {plane.shape[1]} pixels, the image {shape[0]} x {shape[1]}")
            spans = join([span for box in boxes for span in await plane.spans(file, box)])
            held = known.whole or await _read(known, file, spans)
            return [await plane.load(held, box) for box in boxes]

    async def at(
        self, detector: int | None, extension: str, shape: tuple[int, int], places: Sequence[tuple[float, float]]
    ) -> list[float]:
        """Return the values at places counted from 0 at the centre of the first pixel, linear between pixels; NaN outside."""
        within = [_cell(x, y, shape) for x, y in places]
        cells = await self.load(detector, extension, shape, [cell for cell in within if cell is not None])
        values = iter(cells)
        return [
            math.nan if cell is None else _between(next(values), x - cell.x0, y - cell.y0)
            for cell, (x, y) in zip(within, places, strict=True)
        ]

    def _uri(self, detector: int | None) -> str:
        if detector is None:
            raise FormatError(f"IMAGE does not say its DETECTOR, by which {self.template} is found")
        return self.template.format(detector=detector)

    async def _known(self, file: FitsFile, uri: str, extension: str) -> KnownMap:
        known = self.known.get((uri, extension))
        if known is None:
            seen = []
            async for hdu in file.hdus():
                seen.append(str(hdu))
                if hdu.name == extension:
                    break
            else:
                raise FormatError(f"no extension {extension}; the file holds {', '.join(seen)}")
            known = KnownMap(hdu, self.versions.get(uri, ""))
            self.known.put((uri, extension), known)
        elif known.version and self.versions.setdefault(uri, known.version) != known.version:
            raise replaced(uri)
        return known

    @contextmanager
    def _product(self, uri: str) -> Iterator[None]:
        """Let errors name the product; one that is not there is no fault of the image, and one that was replaced is forgotten."""
        try:
            with naming(uri):
                yield
        except ProductReplaced:
            self.known.forget(lambda key: key[0] == uri)
            raise
        except (ProductNotFound, ProductForbidden) as exc:
            raise ConfigError(f"no calibration product: {exc}; set solid_angles or wavelengths in [images] to where it is") from exc


async def _read(known: KnownMap, file: FitsFile, spans: Sequence[Span]) -> FitsFile:
    """Return the file with these spans read; with the whole extension, and kept, where that is worth while."""
    hdu = known.hdu
    known.asked += sum(end - start for start, end in spans)
    if known.asked <= hdu.data_size or known.coming:
        await file.load(spans)
        return file
    known.coming = True
    try:
        await file.load([(hdu.data_offset, hdu.data_offset + hdu.data_size)])
        known.whole = file
    finally:
        known.coming = False
    return file


def _cell(x: float, y: float, shape: tuple[int, int]) -> Box | None:
    """Return the four pixels around a place, or as many as there are at an edge; None outside of the image."""
    if not (-0.5 <= x <= shape[1] - 0.5 and -0.5 <= y <= shape[0] - 0.5):
        return None
    return Box(math.floor(x), math.floor(y), math.floor(x) + 2, math.floor(y) + 2).clipped(Box(0, 0, shape[1], shape[0]))


def _between(values: NDArray[Any], x: float, y: float) -> float:
    """Return the value at a place among up to 2 x 2 pixels, linear in both directions; that of the pixel where there is but one."""
    rows = values.astype(np.float64)
    columns = rows[0] if len(rows) == 1 else rows[0] + (rows[1] - rows[0]) * y
    return float(columns[0] if columns.size == 1 else columns[0] + (columns[1] - columns[0]) * x)
