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
    from scipy.spatial import KDTree

    points = unit_vectors(np.ravel(np.asarray(ra, dtype=np.float64)), np.ravel(np.asarray(dec, dtype=np.float64)))
    kept = np.ones(len(points), dtype=np.bool_)
    if len(points) < 2:
        return kept
    tree = KDTree(points)
    reach = chord(np.radians(radius_deg))
    crowded = np.flatnonzero(tree.query_ball_point(points, reach, return_length=True) > 1)
    for first in crowded:
        if kept[first]:
            kept[tree.query_ball_point(points[first], reach)] = False
            kept[first] = True
    return kept
