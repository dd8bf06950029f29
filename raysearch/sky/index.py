"""An index of very many footprints by HEALPix cells, so that targets can stream past it.

Each shape is filed under the nine cells around its centre, at the finest order whose cells are still wider than the shape's reach:
small footprints in small cells, large ones in large cells, so that what a cell holds follows the density of the footprints and
not the sky's. A bitmap of all filed cells drops, for a few nanoseconds each, the targets that are near no footprint at all. Those
that are left meet the shapes of their own cells only, and of these the near ones in the exact test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FootprintError
from raysearch.model import Footprint
from raysearch.sky.footprint import parse_s_region
from raysearch.sky.regions import TOLERANCE, Floats, Indices, Regions, angle_between, chord, unit_vectors

FINEST = 14
"""The order at which targets are filed: cells of 13 arcsec."""
BITMAP_ORDERS = (3, 12)
"""The coarsest bitmap has 768 cells, the finest 2e8 of 52 arcsec, in 25 MB."""
_BITS_PER_ENTRY = 64
"""Cells that a bitmap has for each entry on the shelves, about: enough that few targets pass by chance."""
WIDTH = 0.71
"""Radians from edge to opposite edge, at the narrowest, of a cell of order 0 times its order's power of two; the cells of every
order are at least this wide (the least, 0.7108, is approached at high orders: table SMALLER_EDGE2OPEDGE_DIST of cdshealpix)."""

_PAIRS = 4_000_000
"""Candidate pairs held at once: bounds the memory where many footprints lie over many targets."""

Cells = NDArray[np.uint64]


def cells_of(ra: Floats, dec: Floats, order: int) -> Cells:
    """Return the nested HEALPix cell of each position in degrees."""
    from astropy import units
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    found: Cells = lonlat_to_healpix(Longitude(ra, units.deg, copy=False), Latitude(dec, units.deg, copy=False), order)
    return found


def cells_around(centre: Floats, order: int) -> Cells:
    """Return for each unit vector its cell and the eight around it, shape (n, 9); where there are but seven, one twice."""
    from cdshealpix.nested import neighbours

    ra = np.degrees(np.arctan2(centre[:, 1], centre[:, 0]))
    dec = np.degrees(np.arctan2(centre[:, 2], np.hypot(centre[:, 0], centre[:, 1])))
    own = cells_of(ra, dec, order)
    around = np.asarray(neighbours(own, order))
    return np.where(around < 0, own[:, None].astype(np.int64), around).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of a footprint and a target in it, sorted by footprint; of one footprint, the nearest to its centre first."""

    footprint: Indices
    """Index of the footprint."""
    target: Indices
    """Index of the target; of two equally near, the lower first."""
    separation_deg: Floats
    """From the footprint's centre (the mean of its vertices; of several shapes, of their centres), degrees."""

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """Return the pairs of all parts, which share none, in order."""
        if not parts:
            return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
        columns = ([getattr(part, f.name) for part in parts] for f in fields(cls))
        footprint, target, separation = (np.concatenate(column) for column in columns)
        order = np.lexsort((target, separation, footprint))
        return cls(footprint[order], target[order], separation[order])


@dataclass(frozen=True, slots=True)
class Shelf:
    """The shapes filed at one order, sorted by cell: one entry for each cell and shape."""

    order: int
    cell: Cells
    shape: NDArray[np.int32]
    """Index of the shape in the index's regions."""


@dataclass(frozen=True, slots=True)
class FootprintIndex:
    """Footprints, ready for targets to stream past. Picklable; all its weight is in arrays."""

    regions: Regions
    centres: Floats
    """Unit vector of each footprint's centre, shape (footprints, 3)."""
    radius: float
    """How far outside a footprint a target may lie, radians."""
    shelves: tuple[Shelf, ...]
    bitmap: NDArray[np.uint8]
    """One bit for each cell of its order, which follows the number of shapes: whether any is filed there."""

    @classmethod
    def of(cls, regions: Regions, footprints: int, radius_deg: float = 0.0) -> FootprintIndex:
        """Return the index of the shapes of `footprints` footprints."""
        radius = np.radians(radius_deg)
        reach = regions.reach + radius + 2.0 * TOLERANCE
        order = np.clip(np.floor(np.log2(WIDTH / np.maximum(reach, 1e-9))), -1, FINEST).astype(np.int64)
        shelves = [_shelve(regions.centre, np.flatnonzero(order == level), level) for level in np.unique(order).tolist()]
        return cls(regions, _footprint_centres(regions, footprints), float(radius), tuple(shelves), _bitmap(shelves))

    def match(self, ra: Floats, dec: Floats) -> Iterator[Matches]:
        """Yield the matches of some targets (degrees, finite, shape (n,)), in sorted blocks of bounded size."""
        cell = cells_of(ra, dec, FINEST)
        near = np.flatnonzero(self._near(cell))
        near = near[np.argsort(cell[near], kind="stable")]  # searches in order find their pages in the cache
        cell = cell[near]
        runs = [_runs(shelf, cell) for shelf in self.shelves]
        total = np.cumsum(sum((stop - start for start, stop in runs), start=np.zeros(len(cell), dtype=np.int64)))
        points = unit_vectors(ra[near], dec[near])
        for begin, end in _blocks(total):
            block = slice(begin, end)
            found = [
                self._held(shelf, start[block], stop[block], points[block])
                for shelf, (start, stop) in zip(self.shelves, runs, strict=True)
            ]
            shape, row = (np.concatenate(column) for column in zip(*found, strict=True))
            if len(shape):
                yield self._matches(shape, row, points[block], near[block])

    def _near(self, cell: Cells) -> NDArray[np.bool_]:
        order = (8 * len(self.bitmap) // 12).bit_length() // 2
        coarse = cell >> np.uint64(2 * (FINEST - order))
        bit = np.left_shift(np.uint8(1), (coarse & np.uint64(7)).astype(np.uint8))
        near: NDArray[np.bool_] = (self.bitmap[(coarse >> np.uint64(3)).astype(np.int64)] & bit) != 0
        return near

    def _held(self, shelf: Shelf, start: Indices, stop: Indices, points: Floats) -> tuple[Indices, Indices]:
        """Return the pairs of a shape and a point, the shape's own cell being the point's, in which the shape holds the point."""
        count = stop - start
        row = np.repeat(np.arange(len(count)), count)
        entry = np.arange(len(row)) + np.repeat(start - (np.cumsum(count) - count), count)
        shape = shelf.shape[entry].astype(np.int64)
        apart = points[row] - self.regions.centre[shape]
        reach = chord(self.regions.reach[shape] + self.radius + 2.0 * TOLERANCE)
        close = np.einsum("ij,ij->i", apart, apart) <= reach**2
        shape, row = shape[close], row[close]
        held = self.regions.holds(shape, points[row], self.radius)
        return shape[held], row[held]

    def _matches(self, shape: Indices, row: Indices, points: Floats, number: Indices) -> Matches:
        """Return the matches of the pairs; `number` is that of each point's target."""
        by_number = np.argsort(number)
        place = np.empty_like(by_number)
        place[by_number] = np.arange(len(by_number))
        footprint, target, separation = _nearest_first(self.regions.owner[shape], place[row], points[by_number], self.centres)
        return Matches(footprint, number[by_number][target], separation)


def read_footprints(texts: Sequence[str | None], first: int = 0) -> tuple[Regions, dict[int, str]]:
    """Return the shapes of `s_region` texts, counted from `first`, and what is wrong with those that cannot be read."""
    footprints: list[Footprint | None] = []
    broken: dict[int, str] = {}
    for number, text in enumerate(texts, start=first):
        try:
            footprints.append(parse_s_region(text or ""))
        except FootprintError as flaw:
            broken[number] = str(flaw)
            footprints.append(None)
    regions = Regions.of(footprints)
    return regions.renumbered(first), broken


def _shelve(centre: Floats, shapes: Indices, order: int) -> Shelf:
    """Return the shapes filed under their cells; at order -1, of shapes too wide for any, under all twelve cells of order 0."""
    everywhere = np.tile(np.arange(12, dtype=np.uint64), (len(shapes), 1))
    cell = np.sort(everywhere if order < 0 else cells_around(centre[shapes], order), axis=1)
    once = np.ones(cell.shape, dtype=np.bool_)
    once[:, 1:] = cell[:, 1:] != cell[:, :-1]
    shape = np.broadcast_to(shapes[:, None], cell.shape)[once].astype(np.int32)
    cell = cell[once]
    along = np.argsort(cell, kind="stable")
    return Shelf(max(order, 0), cell[along], shape[along])


def _bitmap(shelves: Sequence[Shelf]) -> NDArray[np.uint8]:
    entries = sum(len(shelf.cell) for shelf in shelves)
    order = int(np.clip((entries * _BITS_PER_ENTRY // 12).bit_length() // 2, *BITMAP_ORDERS))
    bitmap = np.zeros(12 * 4**order // 8, dtype=np.uint8)
    for shelf in shelves:
        cells = np.unique(shelf.cell >> np.uint64(2 * max(0, shelf.order - order))).astype(np.int64)
        inner = 4 ** max(0, order - shelf.order)  # cells of the bitmap in one of the shelf's
        if inner >= 8:
            bitmap.reshape(-1, inner // 8)[cells] = 255
        else:
            mask = (1 << inner) - 1
            np.bitwise_or.at(bitmap, cells * inner // 8, (mask << (cells * inner % 8)).astype(np.uint8))
    return bitmap


def _runs(shelf: Shelf, cell: Cells) -> tuple[Indices, Indices]:
    """Return for each cell of order `FINEST`, increasing, where the entries of its cell begin and end on the shelf."""
    own = cell >> np.uint64(2 * (FINEST - shelf.order))
    return np.searchsorted(shelf.cell, own, side="left"), np.searchsorted(shelf.cell, own, side="right")


def _blocks(total: Indices) -> Iterator[tuple[int, int]]:
    """Yield runs of rows with at most `_PAIRS` candidate pairs together, or of one row; `total` counts them up to each row."""
    begin = 0
    while begin < len(total):
        before = int(total[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, before + _PAIRS, side="right")))
        yield begin, end
        begin = end


def joined(parts: Sequence[Regions]) -> Regions:
    """Return the shapes of all parts, whose owners must increase from part to part, as one."""
    edges = np.cumsum([0, *(len(part.start) for part in parts)])[:-1]
    columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Regions)}
    columns["first"] = np.concatenate([part.first + edge for part, edge in zip(parts, edges, strict=True)])
    return Regions(**columns)


def _footprint_centres(regions: Regions, footprints: int) -> Floats:
    """Return the unit vector of each footprint's centre, shape (footprints, 3); that of its first shape where the mean vanishes."""
    total = np.zeros((footprints, 3))
    np.add.at(total, regions.owner, regions.centre)
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    first = np.zeros((footprints, 3))
    first[regions.owner[::-1]] = regions.centre[::-1]
    return np.where(length > 1e-6, total / np.maximum(length, 1e-6), first)


def _nearest_first(footprint: Indices, target: Indices, points: Floats, centres: Floats) -> tuple[Indices, Indices, Floats]:
    """Return the pairs sorted, each once however many shapes hold it, with their separation in degrees."""
    separation = np.degrees(angle_between(points[target], centres[footprint]))
    order = np.lexsort((target, separation, footprint))
    footprint, target, separation = footprint[order], target[order], separation[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (footprint[1:] != footprint[:-1]) | (target[1:] != target[:-1])
    return footprint[new], target[new], separation[new]
