"""The shapes of many footprints as flat arrays, and the one exact test of which points they hold.

A polygon is projected from the centre of the sphere onto the plane that touches it in the polygon's middle. There great circles
are straight lines, so the even-odd rule of the plane is exact on the sphere. Coordinates are differences from that middle, so that
an outline of one arcsecond keeps 1e-10 arcsec of precision. Distances to edges are taken in space, which no projection stretches.

A circle is kept as an outline of one vertex that is widened by its radius, and passes the same test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.errors import FootprintError
from raysearch.model import Circle, Footprint

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOLERANCE = np.radians(1e-6 / 3600.0)
"""Every region is this much larger (radians; 1e-6 arcsec), so that rounding never decides about a point on its boundary."""

_LEAST_COSINE = 1e-3
"""Every vertex of a polygon is less than 89.94 degrees from one point."""

_ROWS = 250_000
"""Pairs of points and edges that are tested at once: bounds the memory, and stays within the processor's cache."""


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> Floats:
    """Return positions in degrees as unit vectors, shape (n, 3)."""
    longitude, latitude = np.radians(np.asarray(ra, dtype=np.float64)), np.radians(np.asarray(dec, dtype=np.float64))
    return np.stack((np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)), axis=-1)


def chord(angle: ArrayLike) -> Floats:
    """Return the straight distance between two points of the unit sphere that are `angle` (radians) apart."""
    return np.asarray(2.0 * np.sin(np.clip(angle, 0.0, np.pi) / 2.0), dtype=np.float64)


def angle_between(one: Floats, other: Floats) -> Floats:
    """Return the angles (radians) between unit vectors, exact for small ones."""
    distance = np.linalg.norm(one - other, axis=-1)
    return np.asarray(2.0 * np.arcsin(np.minimum(distance / 2.0, 1.0)), dtype=np.float64)


def middle(vertices: Floats) -> Floats:
    """Return the unit vector from which all vertices, shape (n, 3), lie within one hemisphere: their mean, moved where that fails.

    Raises
    ------
    FootprintError
        If they fit in no hemisphere; then no side of the outline is the inner one.
    """
    direction = vertices.sum(axis=0)
    best, best_cosine = direction, -1.0
    for _ in range(1000):
        cosines = vertices @ direction / max(float(np.linalg.norm(direction)), 1e-9)
        worst = int(cosines.argmin())
        if cosines[worst] > best_cosine:
            best, best_cosine = direction, float(cosines[worst])
        if best_cosine > 0.1:
            break
        direction = direction + vertices[worst]
    if best_cosine < _LEAST_COSINE:
        raise FootprintError("the polygon spans a hemisphere or more: split it into smaller ones")
    return np.asarray(best / np.linalg.norm(best), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Regions:
    """The shapes of a list of footprints; s shapes with e edges in all."""

    owner: Indices
    """Index of the footprint each shape belongs to, increasing, shape (s,)."""
    centre: Floats
    """Unit vector of the middle of each shape, shape (s, 3)."""
    reach: Floats
    """Angle (radians) around the centre that holds the shape, shape (s,)."""
    radius: Floats
    """Of a circle, radians; 0 for polygons, shape (s,)."""
    axes: Floats
    """Two unit vectors that span the plane touching at the centre, shape (s, 2, 3)."""
    first: Indices
    """Index of the first edge of each shape, shape (s,)."""
    count: Indices
    """Edges of each shape, shape (s,); a circle has one, from its centre to its centre."""
    start: Floats
    """Unit vector of the vertex where each edge starts, shape (e, 3)."""
    stop: Floats
    """Of the vertex where it ends, shape (e, 3)."""
    plane: Floats
    """Where it starts and where it ends in the touching plane: x0, y0, x1, y1, shape (e, 4)."""
    pole: Floats
    """Unit vector at right angles to its great circle, shape (e, 3); zeros for a circle."""

    @classmethod
    def of(cls, footprints: Sequence[Footprint | None]) -> Regions:
        """Return the shapes of all footprints; None has none."""
        owner, radius, count, ra, dec = _flatten(footprints)
        first = np.cumsum(count) - count
        start = unit_vectors(ra, dec)
        following = np.arange(1, len(start) + 1)
        following[first + count - 1] = first
        stop = start[following]
        shape = np.repeat(np.arange(len(owner)), count)
        centre = _centres(start, first, count)
        axes = _axes(centre)
        begin = np.stack(_project(start, centre[shape], axes[shape]), axis=-1)
        pole = np.cross(start, stop - start)
        pole /= np.maximum(np.linalg.norm(pole, axis=-1, keepdims=True), np.finfo(np.float64).tiny)
        farthest = np.maximum.reduceat(angle_between(start, centre[shape]), first) if len(first) else np.zeros(0)
        plane = np.concatenate((begin, begin[following]), axis=-1)
        return cls(owner, centre, farthest + radius, radius, axes, first, count, start, stop, plane, pole)

    def renumbered(self, first: int) -> Regions:
        """Return the same shapes, their footprints counted from `first`."""
        return replace(self, owner=self.owner + first)

    def holds(self, shape: Indices, points: Floats, widen: float = 0.0) -> Bools:
        """Return whether the shape of each pair holds its point, or lies within `widen` (radians) of it.

        Parameters
        ----------
        shape
            Index of the shape in each pair, shape (k,).
        points
            Unit vectors of the points, shape (k, 3).
        """
        result = np.zeros(len(shape), dtype=np.bool_)
        for part in _parts(self.count[shape]):
            held = self._inside(shape[part], points[part])
            outside = np.flatnonzero(~held)
            held[outside] = self._near(shape[part][outside], points[part][outside], widen + TOLERANCE)
            result[part] = held
        return result

    def _inside(self, shape: Indices, points: Floats) -> Bools:
        """Return whether a line from each point crosses the outline an odd number of times, in the touching plane."""
        x, y = _project(points, self.centre[shape], self.axes[shape])
        pair, edge, starts = self._edges(shape)
        x, y = x[pair], y[pair]
        x0, y0, x1, y1 = self.plane[edge].T
        crosses = (y0 > y) != (y1 > y)
        height = np.where(crosses, y1 - y0, 1.0)
        crosses &= x < x0 + (y - y0) * ((x1 - x0) / height)
        return np.bitwise_xor.reduceat(crosses, starts) if len(starts) else crosses

    def _near(self, shape: Indices, points: Floats, widen: float) -> Bools:
        """Return whether each point is within `widen` (radians) of an edge, or of a vertex."""
        pair, edge, starts = self._edges(shape)
        point, start, stop, pole = points[pair], self.start[edge], self.stop[edge], self.pole[edge]
        from_start, from_stop = point - start, point - stop
        beside = _dot(from_start, np.cross(pole, start)) > 0.0
        beside &= _dot(from_stop, np.cross(stop, pole)) > 0.0
        near = beside & (np.abs(_dot(from_start, pole)) <= np.sin(min(widen, np.pi / 2.0)))
        near |= _dot(from_start, from_start) <= chord(self.radius[shape] + widen)[pair] ** 2
        return np.bitwise_or.reduceat(near, starts) if len(starts) else near

    def _edges(self, shape: Indices) -> tuple[Indices, Indices, Indices]:
        """Return, for every edge of every pair's shape, the pair's and the edge's index; and where each pair's edges start."""
        count = self.count[shape]
        starts = np.cumsum(count) - count
        pair = np.repeat(np.arange(len(shape)), count)
        edge = np.arange(len(pair)) + np.repeat(self.first[shape] - starts, count)
        return pair, edge, starts


def _flatten(footprints: Sequence[Footprint | None]) -> tuple[Indices, Floats, Indices, list[float], list[float]]:
    """Return the owner, radius and number of vertices of every shape, and the ra and dec of all vertices."""
    owner: list[int] = []
    radius: list[float] = []
    count: list[int] = []
    ra: list[float] = []
    dec: list[float] = []
    for index, footprint in enumerate(footprints):
        for shape in footprint.shapes if footprint is not None else ():
            owner.append(index)
            if isinstance(shape, Circle):
                ra.append(shape.ra)
                dec.append(shape.dec)
                radius.append(shape.radius)
                count.append(1)
            else:
                ra.extend(shape.ra)
                dec.extend(shape.dec)
                radius.append(0.0)
                count.append(len(shape.ra))
    return np.array(owner, dtype=np.int64), np.radians(radius, dtype=np.float64), np.array(count, dtype=np.int64), ra, dec


def _centres(vertices: Floats, first: Indices, count: Indices) -> Floats:
    """Return the middle of each shape, shape (s, 3)."""
    if not len(first):
        return np.zeros((0, 3))
    mean = np.add.reduceat(vertices, first, axis=0)
    mean /= np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    cosine = np.minimum.reduceat(_dot(vertices, np.repeat(mean, count, axis=0)), first)
    for wide in np.flatnonzero(cosine < 0.1):
        mean[wide] = middle(vertices[first[wide] : first[wide] + count[wide]])
    return mean


def _axes(centre: Floats) -> Floats:
    """Return two unit vectors at right angles to each centre and to each other, shape (s, 2, 3)."""
    least = np.eye(3)[np.abs(centre).argmin(axis=-1)]
    east = np.cross(least, centre)
    east /= np.linalg.norm(east, axis=-1, keepdims=True)
    return np.stack((east, np.cross(centre, east)), axis=-2)


def _project(points: Floats, centre: Floats, axes: Floats) -> tuple[Floats, Floats]:
    """Return x and y in the plane that touches at the centre; NaN for points of the far hemisphere."""
    offset = points - centre
    depth = 1.0 + _dot(offset, centre)
    depth = np.where(depth > 0.0, depth, np.nan)
    return _dot(offset, axes[..., 0, :]) / depth, _dot(offset, axes[..., 1, :]) / depth


def _dot(one: Floats, other: Floats) -> Floats:
    """Return the scalar product of each pair of vectors."""
    return np.asarray(np.einsum("...i,...i->...", one, other), dtype=np.float64)


def _parts(count: Indices) -> Iterator[slice]:
    """Yield runs of pairs that have about `_ROWS` edges together."""
    ends = np.cumsum(count)
    begin = 0
    while begin < len(count):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _ROWS, side="right")))
        yield slice(begin, end)
        begin = end
