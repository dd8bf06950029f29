"""The whole sky in Hammer's equal-area projection, as SVG: targets, the footprints searched, and the candidates.

Right ascension 0 h is in the middle and grows to the left, as seen from inside the sphere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Circle, Footprint, Polygon

HALF_WIDTH, HALF_HEIGHT = 180.0, 90.0
"""Of the ellipse, in the units of the SVG."""
MOST_POINTS = 6000
"""More points than these are thinned to one in each cell of `CELL` degrees: a denser cloud of dots tells no more. Where they are
still more, the cells are twice as wide, and so on."""
CELL = 0.2
MOST_OUTLINES = 4000
"""Likewise for footprints."""
_STEP = 3.0
"""Degrees of a great circle that are drawn as a straight line."""
_GALAXY = (192.85948, 27.12825, 32.93192)
"""The north galactic pole (degrees, ICRS), and the longitude of the ascending node of the galactic plane (ESA 1997, The Hipparcos
and Tycho Catalogues, vol. 1, section 1.5.3)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One path of the map."""

    name: str
    """`targets`, `searched`, `unsearched` or `candidates`: how it is drawn is the style sheet's."""
    label: str
    path: str
    count: int
    drawn: int
    """How many of them are there; fewer than `count` where they are thinned."""
    cell: float
    """To one in each so many degrees."""


@dataclass(frozen=True, slots=True)
class SkyMap:
    """What the page draws."""

    grid: str
    galaxy: str
    layers: tuple[Layer, ...]
    box: tuple[float, float, float, float] | None
    """x, y, width and height around all that was searched; None where there is nothing."""


def project(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places on the map (x to the right, y downwards) of positions in degrees."""
    half = np.deg2rad((np.asarray(ra) + 180.0) % 360.0 - 180.0) / 2.0
    lat = np.deg2rad(np.asarray(dec))
    scale = np.sqrt(1.0 + np.cos(lat) * np.cos(half))
    return -HALF_WIDTH * np.cos(lat) * np.sin(half) / scale, -HALF_HEIGHT * np.sin(lat) / scale


@dataclass(frozen=True, slots=True)
class Outlines:
    """Footprints that are not held, but made when they are drawn."""

    first: NDArray[np.float64]
    """A position of each (degrees, ICRS), shape (n, 2)."""
    footprint: Callable[[int], Footprint]
    """Returns one by its number."""

    @classmethod
    def of(cls, footprints: Sequence[Footprint]) -> Outlines:
        """Return footprints that are at hand."""
        return cls(firsts(footprints), footprints.__getitem__)


def firsts(footprints: Iterable[Footprint]) -> NDArray[np.float64]:
    """Return a position of each footprint (degrees, ICRS), shape (n, 2); NaN of one without shapes."""
    flat = (value for footprint in footprints for value in _first(footprint))
    return np.fromiter(flat, np.float64).reshape(-1, 2)


def _first(footprint: Footprint) -> tuple[float, float]:
    if not footprint.shapes:
        return math.nan, math.nan
    shape = footprint.shapes[0]
    return (shape.ra, shape.dec) if isinstance(shape, Circle) else (shape.ra[0], shape.dec[0])


def sky_map(targets: NDArray[np.float64], candidates: NDArray[np.float64], searched: Outlines, unsearched: Outlines) -> SkyMap:
    """Return the map of positions (degrees, ICRS, shape (n, 2)) and footprints; what has no position is left out."""
    layers = (
        _outlines("unsearched", "footprints not searched", unsearched),
        _outlines("searched", "footprints searched", searched),
        _points("targets", "targets", targets),
        _points("candidates", "candidates", candidates),
    )
    box = _box(np.concatenate([targets, candidates]))
    return SkyMap(_grid(), _galaxy(), tuple(layer for layer in layers if layer.count), box)


def _points(name: str, label: str, positions: NDArray[np.float64]) -> Layer:
    """Return dots: lines of no length, whose round ends are as large at every zoom."""
    where = positions[np.isfinite(positions).all(axis=1)]
    rows, cell = _thinned(where, MOST_POINTS)
    kept = where[rows]
    x, y = project(kept[:, 0], kept[:, 1])
    places = dict.fromkeys(f"M{a:.5f} {b:.5f}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return Layer(name, label, "".join(places), len(where), len(kept), cell)


def _thinned(where: NDArray[np.float64], most: int) -> tuple[NDArray[np.intp], float]:
    """Return which positions are drawn: all, or the first in each cell; and how large the cells had to be."""
    kept, cell = np.arange(len(where)), CELL / 2
    while len(kept) > most:
        cell *= 2
        rows = np.floor(where[kept, 1] / cell)
        columns = np.floor(where[kept, 0] * np.cos(np.deg2rad(rows * cell)) / cell)
        kept = kept[np.sort(np.unique(np.stack([rows, columns], axis=1), axis=0, return_index=True)[1])]
    return kept, cell


def _outlines(name: str, label: str, outlines: Outlines) -> Layer:
    kept, cell = _thinned(outlines.first, MOST_OUTLINES)
    path = "".join(_outline(shape) for place in kept.tolist() for shape in outlines.footprint(place).shapes)
    return Layer(name, label, path, len(outlines.first), len(kept), cell)


def _outline(shape: Polygon | Circle) -> str:
    if isinstance(shape, Circle):
        return _curve(_circle(shape))
    ra, dec = np.array([*shape.ra, shape.ra[0]]), np.array([*shape.dec, shape.dec[0]])
    if np.ptp(dec) < _STEP and np.ptp(ra) < _STEP and np.abs(dec).max() < 60.0:
        return _path(ra, dec)
    return _curve(_vectors(ra, dec))


def _circle(circle: Circle) -> NDArray[np.float64]:
    """Return points around a cap, unit vectors."""
    centre = _vectors(np.array([circle.ra]), np.array([circle.dec]))[0]
    aside = np.cross(centre, (0.0, 0.0, 1.0) if abs(centre[2]) < 0.9 else (1.0, 0.0, 0.0))
    aside /= np.linalg.norm(aside)
    turns = np.linspace(0, 2 * np.pi, 25)[:, None]
    radius = math.radians(circle.radius)
    return np.asarray(
        centre * math.cos(radius) + (aside * np.cos(turns) + np.cross(centre, aside) * np.sin(turns)) * math.sin(radius)
    )


def _vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    lon, lat = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _curve(corners: NDArray[np.float64]) -> str:
    """Return the path along great circles from corner to corner, broken where it leaves the map at 12 h."""
    pieces = [corners[:1]]
    for start, end in pairwise(corners):
        angle = math.degrees(math.acos(float(np.clip(start @ end, -1.0, 1.0))))
        parts = np.linspace(0, 1, 2 + int(angle / _STEP))[1:, None]
        pieces.append(start * (1 - parts) + end * parts)
    points = np.concatenate(pieces)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return _path(np.rad2deg(np.arctan2(points[:, 1], points[:, 0])), np.rad2deg(np.arcsin(np.clip(points[:, 2], -1, 1))))


def _path(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> str:
    """Return the path through these positions, lifted where they go from one side of the map to the other."""
    x, y = project(ra, dec)
    lon = (ra + 180.0) % 360.0
    broken = np.abs(np.diff(lon, prepend=lon[0])) > 180.0
    words = [
        f"{'M' if i == 0 or cut else 'L'}{a:.5f} {b:.5f}"
        for i, (a, b, cut) in enumerate(zip(x.tolist(), y.tolist(), broken.tolist(), strict=True))
    ]
    return "".join(words)


def _grid() -> str:
    """Return meridians every 2 h and parallels every 30 degrees."""
    lat, lon = np.linspace(-90, 90, 61), np.linspace(-179.999, 179.999, 121)
    meridians = [_short(*project(np.full_like(lat, ra), lat)) for ra in np.arange(-150.0, 180.0, 30.0)]
    parallels = [_short(*project(lon, np.full_like(lon, dec))) for dec in (-60.0, -30.0, 0.0, 30.0, 60.0)]
    return "".join([*meridians, *parallels])


def _short(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _galaxy() -> str:
    """Return the galactic equator."""
    pole_ra, pole_dec, node = np.deg2rad(_GALAXY)
    lon = np.deg2rad(np.linspace(0, 360, 181))
    dec = np.arcsin(np.cos(pole_dec) * np.sin(lon - node))
    ra = pole_ra + np.arctan2(np.cos(lon - node), -np.sin(pole_dec) * np.sin(lon - node))
    return _path(np.rad2deg(ra), np.rad2deg(dec))


def _box(positions: NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    where = positions[np.isfinite(positions).all(axis=1)]
    if not len(where):
        return None
    x, y = project(where[:, 0], where[:, 1])
    return float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))
