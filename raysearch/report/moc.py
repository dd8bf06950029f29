"""The sky that was searched, as a MOC (IVOA, Multi-Order Coverage map 2.0)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raysearch.model import Circle, Footprint, Polygon
from raysearch.report.provenance import Provenance
from raysearch.report.tables import whole

if TYPE_CHECKING:
    from mocpy import MOC

CELLS = 64
"""The extent of a shape is at least so many cells: its outline is told to about a cell, 1/64 of its extent."""

DEEPEST = 29
"""The deepest order of HEALPix in a MOC: cells of 0.4 milliarcsec."""

WHOLE_FACE_DEG = 58.6
"""Side of a cell of order 0: the square root of 4 pi / 12 steradians; each order halves it."""

TOGETHER = 512
"""Shapes that are united at a time."""

ENDINGS = {".moc.fits": "fits", ".moc.json": "json"}


def coverage(footprints: Iterable[Footprint]) -> MOC:
    """Return the union of some footprints.

    Cells that a shape touches are in it, so that it holds all of every footprint, and up to 1/64 of each one's extent more.
    """
    from mocpy import MOC

    by_order: dict[int, list[Polygon | Circle]] = defaultdict(list)
    for footprint in footprints:
        for shape in footprint.shapes:
            by_order[order_of(shape)].append(shape)
    parts = [MOC.new_empty(max_depth=0)]
    for order, shapes in sorted(by_order.items()):
        pieces = (shapes[start : start + TOGETHER] for start in range(0, len(shapes), TOGETHER))
        parts += [_union([_moc(shape, order) for shape in piece]) for piece in pieces]
    return _union(parts)


def write_coverage(footprints: Iterable[Footprint], path: Path, provenance: Provenance) -> float:
    """Write the union of footprints as a MOC, in FITS (`.moc.fits`) or JSON (`.moc.json`), and return its area, square degrees.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    moc = coverage(footprints)
    kind = next(kind for ending, kind in ENDINGS.items() if path.name.lower().endswith(ending))
    cards = {keyword: value for keyword, value, _ in provenance.cards()} if kind == "fits" else None
    with whole(path) as torn:
        moc.save(str(torn), format=kind, overwrite=True, fits_keywords=cards)
    return float(moc.sky_fraction * 4 * 180**2 / math.pi)


def order_of(shape: Polygon | Circle) -> int:
    """Return the order of HEALPix at which the shape's extent is at least `CELLS` cells."""
    extent = 2 * shape.radius if isinstance(shape, Circle) else _extent(shape)
    return min(DEEPEST, max(0, math.ceil(math.log2(WHOLE_FACE_DEG * CELLS / max(extent, 1e-9)))))


def _extent(polygon: Polygon) -> float:
    """Return the largest distance of a vertex from the first, degrees."""
    ra, dec = np.radians(polygon.ra), np.radians(polygon.dec)
    vectors = np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)
    chord = float(np.linalg.norm(vectors - vectors[0], axis=-1).max())
    return math.degrees(2 * math.asin(min(1.0, chord / 2)))


def _moc(shape: Polygon | Circle, order: int) -> MOC:
    from astropy import units
    from mocpy import MOC

    if isinstance(shape, Circle):
        place: dict[str, Any] = {"lon": shape.ra * units.deg, "lat": shape.dec * units.deg, "radius": shape.radius * units.deg}
        return MOC.from_cone(**place, max_depth=order)
    return MOC.from_polygon(list(shape.ra) * units.deg, list(shape.dec) * units.deg, max_depth=order)


def _union(parts: list[MOC]) -> MOC:
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]
