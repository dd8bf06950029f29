"""Targets that are too near each other to be two."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.sky.regions import chord, unit_vectors


def distinct(ra: ArrayLike, dec: ArrayLike, radius_deg: float) -> NDArray[np.bool_]:
    """Return which positions are kept, shape (n,), if none may lie within `radius_deg` of one kept before it.

    In the order given: a position counts as the first kept one near it. It does not go on from neighbour to neighbour: of three in
    a row, each nearer to the next than the radius and the ends farther apart, the ends are kept.
    """
    counted_as = firsts(ra, dec, radius_deg)
    return np.asarray(counted_as == np.arange(len(counted_as)), dtype=np.bool_)


def firsts(ra: ArrayLike, dec: ArrayLike, radius_deg: float) -> NDArray[np.int64]:
    """Return for each position the index of the one it counts as, shape (n,): its own for those that `distinct` keeps."""
    from scipy.spatial import KDTree

    points = unit_vectors(np.ravel(np.asarray(ra, dtype=np.float64)), np.ravel(np.asarray(dec, dtype=np.float64)))
    counted_as = np.arange(len(points))
    if len(points) < 2:
        return counted_as
    tree = KDTree(points)
    reach = chord(np.radians(radius_deg))
    crowded = np.flatnonzero(tree.query_ball_point(points, reach, return_length=True) > 1)
    free = np.ones(len(points), dtype=np.bool_)
    for first in crowded:
        if free[first]:
            near = [i for i in tree.query_ball_point(points[first], reach) if free[i]]
            counted_as[near] = first
            free[near] = False
    return counted_as


def within(ra: ArrayLike, dec: ArrayLike, others_ra: ArrayLike, others_dec: ArrayLike, radius_deg: float) -> NDArray[np.bool_]:
    """Return which positions lie within `radius_deg` of any of the others, shape (n,)."""
    from scipy.spatial import KDTree

    points = unit_vectors(np.ravel(np.asarray(ra, dtype=np.float64)), np.ravel(np.asarray(dec, dtype=np.float64)))
    others = unit_vectors(np.ravel(np.asarray(others_ra, dtype=np.float64)), np.ravel(np.asarray(others_dec, dtype=np.float64)))
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=np.bool_)
    return np.asarray(KDTree(others).query(points)[0] <= chord(np.radians(radius_deg)), dtype=np.bool_)
