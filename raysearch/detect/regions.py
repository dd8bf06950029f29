"""Peaks of the statistic, and the connected regions of the sky around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import sweeps

APART = 3
"""Of two peaks nearer than this in every direction (planes, spaxels), the lower does not count."""

MOST = 10_000
"""Peaks for which there is room at first."""


def peaks(statistic: NDArray[np.float32], least: float) -> NDArray[np.intp]:
    """Return the places (plane, y, x) of the local maxima at `least` or above, the highest first, shape (k, 3)."""
    places = np.empty((MOST, 3), dtype=np.intp)
    count = sweeps.maxima(statistic, np.float32(least), places)
    if count > MOST:
        places = np.empty((count, 3), dtype=np.intp)
        sweeps.maxima(statistic, np.float32(least), places)
    places = places[:count]
    return _apart(places[np.argsort(-statistic[tuple(places.T)], kind="stable")])


def _apart(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the places without those near an earlier one that is kept."""
    from scipy.spatial import KDTree

    kept = np.ones(len(places), dtype=bool)
    if len(places) > 1:
        pairs = KDTree(places).query_pairs(APART - 0.5, p=np.inf, output_type="ndarray")
        for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
            if kept[first]:
                kept[second] = False
    return places[kept]


def region(statistic: NDArray[np.float32], place: tuple[int, int, int], least: float) -> NDArray[np.bool_]:
    """Return the connected voxels at `least` or above around this place, shape (planes, y, x); at least its own."""
    from scipy.ndimage import label

    labels, _ = label(statistic >= least)
    own: NDArray[np.bool_] = (labels == labels[place]) & (labels > 0)
    own[place] = True
    return own
