"""Which targets lie in which footprints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike

from raysearch.errors import ConfigError, TableError
from raysearch.model import Footprint
from raysearch.sky.regions import TOLERANCE, Floats, Indices, Regions, angle_between, chord, unit_vectors

_PAIRS = 1_000_000
"""Candidate pairs that are held at once: bounds the memory where many targets lie in many footprints."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Every pair of a footprint and a target in it, sorted by footprint; of one footprint, the nearest to its centre first."""

    footprint: Indices
    """Index of the footprint."""
    target: Indices
    """Index of the target; of two equally near, the lower first."""
    separation_deg: Floats
    """From the footprint's centre (the mean of its vertices; of several shapes, of their centres), degrees."""


def match(ra: ArrayLike, dec: ArrayLike, footprints: Sequence[Footprint | None], radius_deg: float = 0.0) -> Matches:
    """Return which targets lie inside which footprints, or at most `radius_deg` along the sphere outside of them.

    A region holds its boundary: it is taken 1e-6 arcsec larger than it is, so that rounding never decides.

    Parameters
    ----------
    ra, dec
        Positions of the targets, degrees, shape (n,).
    footprints
        None matches nothing.

    Raises
    ------
    TableError
        If a position is not a finite number.
    ConfigError
        If the radius is not between 0 and 180 degrees.
    """
    if not 0.0 <= radius_deg <= 180.0:
        raise ConfigError(f"the match radius is {radius_deg} deg: it must be between 0 and 180 deg")
    points = _points(ra, dec)
    regions = Regions.of(footprints)
    if not len(points) or not len(regions.owner):
        return Matches(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    centres = _footprint_centres(regions, len(footprints))
    found = [
        _nearest_first(regions.owner[shape[held]], target[held], points, centres)
        for shape, target in _candidates(points, regions, np.radians(radius_deg))
        if (held := regions.holds(shape, points[target], np.radians(radius_deg))).any()
    ]
    if not found:
        return Matches(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    footprint, target, separation = (np.concatenate(column) for column in zip(*found, strict=True))
    return Matches(footprint, target, np.degrees(separation))


def _points(ra: ArrayLike, dec: ArrayLike) -> Floats:
    """Return the targets as unit vectors."""
    positions = np.array([np.ravel(ra), np.ravel(dec)], dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=0))
    if len(bad):
        raise TableError(f"{len(bad)} targets have no finite position (the first is number {bad[0]}): leave them out")
    return unit_vectors(*positions)


def _candidates(points: Floats, regions: Regions, radius: float) -> Iterator[tuple[Indices, Indices]]:
    """Yield (shape, target) pairs near enough to be tested, in blocks that never part a footprint."""
    from scipy.spatial import KDTree

    tree = KDTree(points, balanced_tree=False, compact_nodes=False)
    reach = chord(regions.reach + radius + 2.0 * TOLERANCE)
    count = tree.query_ball_point(regions.centre, reach, return_length=True)
    busy = np.flatnonzero(count)
    of_footprint = np.cumsum(np.bincount(regions.owner[busy], weights=count[busy]))
    block = of_footprint[regions.owner[busy]] // _PAIRS
    for shapes in np.split(busy, np.flatnonzero(np.diff(block)) + 1):
        near = tree.query_ball_point(regions.centre[shapes], reach[shapes], return_sorted=False)
        target = np.fromiter(chain.from_iterable(near), dtype=np.int64, count=int(count[shapes].sum()))
        yield np.repeat(shapes, count[shapes]), target


def _footprint_centres(regions: Regions, footprints: int) -> Floats:
    """Return the unit vector of each footprint's centre, shape (footprints, 3); that of its first shape where the mean vanishes."""
    total = np.zeros((footprints, 3))
    np.add.at(total, regions.owner, regions.centre)
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    first = np.zeros((footprints, 3))
    first[regions.owner[::-1]] = regions.centre[::-1]
    return np.where(length > 1e-6, total / np.maximum(length, 1e-6), first)


def _nearest_first(footprint: Indices, target: Indices, points: Floats, centres: Floats) -> tuple[Indices, Indices, Floats]:
    """Return the pairs sorted, each once however many shapes hold it, with their separation in radians."""
    separation = angle_between(points[target], centres[footprint])
    order = np.lexsort((target, separation, footprint))
    footprint, target, separation = footprint[order], target[order], separation[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (footprint[1:] != footprint[:-1]) | (target[1:] != target[:-1])
    return footprint[new], target[new], separation[new]
