"""The sky that was searched, as a MOC (IVOA, Multi-Order Coverage map 2.0)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raysearch.model import Circle, Footprint, Polygon
from raysearch.report.provenance import Provenance
from raysearch.report.tables import whole

if TYPE_CHECKING:
    from mocpy import MOC

CELLS = 64
"""The extent of a shape is at least so many cells: its outline is told to about a cell, 1/64 of its extent."""

LEAST_CELLS = 8
"""Of very many shapes, likewise."""

MANY = 65_536
"""More footprints than these are told half as finely, and so on with each doubling: a MOC of as many has eight million ranges."""

DEEPEST = 29
"""The deepest order of HEALPix in a MOC: cells of 0.4 milliarcsec."""

WHOLE_FACE_DEG = 58.6
"""Side of a cell of order 0: the square root of 4 pi / 12 steradians; each order halves it."""

TOGETHER = 4096
"""Shapes that are united at a time."""

Shape = Polygon | Circle

ENDINGS = {".moc.fits": "fits", ".moc.json": "json"}


def coverage(footprints: Iterable[Footprint], count: int = 0) -> MOC:
    """Return the union of some footprints; `count` is how many they are, where these are very many.

    Cells that a shape touches are in it, so that it holds all of every footprint, and up to 1/64 of each one's extent more.
    """
    from mocpy import MOC

    cells = cells_of(count)
    parts = [MOC.new_empty(max_depth=0)]
    waiting: dict[int, list[Shape]] = defaultdict(list)
    for footprint in footprints:
        for shape in footprint.shapes:
            waiting[order := order_of(shape, cells)].append(shape)
            if len(waiting[order]) == TOGETHER:
                parts.append(_union(_mocs(waiting.pop(order), order)))
    parts += [_union(_mocs(shapes, order)) for order, shapes in sorted(waiting.items())]
    return _union(parts)


def cells_of(count: int) -> int:
    """Return how many cells the extent of a shape is told in, at least, of so many footprints."""
    return max(LEAST_CELLS, CELLS >> math.ceil(math.log2(max(count, MANY) / MANY)))


def write_coverage(footprints: Iterable[Footprint], path: Path, provenance: Provenance, count: int = 0) -> float:
    """Write the union of footprints as a MOC, in FITS (`.moc.fits`) or JSON (`.moc.json`), and return its area, square degrees.

    `count` is how many they are, where these are very many.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    moc = coverage(footprints, count)
    kind = next(kind for ending, kind in ENDINGS.items() if path.name.lower().endswith(ending))
    cards = {keyword: value for keyword, value, _ in provenance.cards()} if kind == "fits" else None
    with whole(path) as torn:
        moc.save(str(torn), format=kind, overwrite=True, fits_keywords=cards)
    return float(moc.sky_fraction * 4 * 180**2 / math.pi)


def order_of(shape: Shape, cells: int = CELLS) -> int:
    """Return the order of HEALPix at which the shape's extent is at least so many cells."""
    extent = 2 * shape.radius if isinstance(shape, Circle) else _extent(shape)
    return min(DEEPEST, max(0, math.ceil(math.log2(WHOLE_FACE_DEG * cells / max(extent, 1e-9)))))


def _extent(polygon: Polygon) -> float:
    """Return the largest distance of a vertex from the first, degrees."""
    ra, dec = np.radians(polygon.ra), np.radians(polygon.dec)
    vectors = np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)
    chord = float(np.linalg.norm(vectors - vectors[0], axis=-1).max())
    return math.degrees(2 * math.asin(min(1.0, chord / 2)))


def _mocs(shapes: Iterable[Shape], order: int) -> list[MOC]:
    """Return the MOC of each shape; of equal ones, as of observations of one pointing, that of the first."""
    from astropy import units
    from mocpy import MOC

    different = dict.fromkeys(shapes)
    circles = [shape for shape in different if isinstance(shape, Circle)]
    made = [
        MOC.from_polygon(list(shape.ra) * units.deg, list(shape.dec) * units.deg, max_depth=order)
        for shape in different
        if not isinstance(shape, Circle)
    ]
    if circles:
        lon, lat, radius = np.array([(circle.ra, circle.dec, circle.radius) for circle in circles]).T * units.deg
        made += MOC.from_cones(lon=lon, lat=lat, radius=radius, max_depth=order, n_threads=1)
    return made


def _union(parts: list[MOC]) -> MOC:
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]
