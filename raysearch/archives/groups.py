"""Positions that lie near each other, so that an archive can be asked about all of them at once."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Position = tuple[float, float]
"""Right ascension and declination, degrees, ICRS."""
Circle = tuple[float, float, float]
"""A centre and a radius, degrees."""

_SPARE_DEG = 1e-4
"""What a circle is drawn too wide, so that no rounding, ours or a service's, puts a position outside."""


def grouped(positions: Iterable[Position], reach_deg: float) -> list[tuple[Position, ...]]:
    """Return the distinct positions, each in one group: all within `reach_deg` of its first, which is the first then left over."""
    from scipy.spatial import KDTree

    distinct = [(float(ra), float(dec)) for ra, dec in dict.fromkeys(positions)]
    if not distinct:
        return []
    points = _unit_vectors(distinct)
    tree = KDTree(points)
    reach = 2.0 * np.sin(np.radians(reach_deg) / 2.0)
    free = np.ones(len(distinct), dtype=np.bool_)
    groups = []
    for first, position in enumerate(distinct):
        if free[first]:
            near = [i for i in sorted(tree.query_ball_point(points[first], reach)) if free[i] and i != first]
            free[near] = False
            groups.append((position, *(distinct[i] for i in near)))
    return groups


def circle_around(group: tuple[Position, ...]) -> Circle:
    """Return a circle about a group's first position that holds them all, hardly wider than it must be."""
    points = _unit_vectors(group)
    apart = np.linalg.norm(points - points[0], axis=1).max()
    return *group[0], round(float(np.degrees(2.0 * np.arcsin(apart / 2.0))) + _SPARE_DEG, 5)


def _unit_vectors(positions: Iterable[Position]) -> NDArray[np.float64]:
    """Return the directions, shape (n, 3)."""
    ra, dec = np.radians(np.array(list(positions), dtype=np.float64)).T
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
