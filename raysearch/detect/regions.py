"""Peaks of the statistic, and the connected regions of the sky around them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

APART = 3
"""Of two peaks nearer than this in every direction (planes, spaxels), the lower does not count."""

NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]


def peaks(statistic: NDArray[np.float32], least: float) -> NDArray[np.intp]:
    """Return the places (plane, y, x) of the local maxima at `least` or above, the highest first, shape (k, 3)."""
    n, y, x = statistic.shape
    padded = np.full((n + 2, y + 2, x + 2), -np.inf, dtype=np.float32)
    padded[1:-1, 1:-1, 1:-1] = statistic
    flat = padded.ravel()
    places = np.flatnonzero(flat >= least)
    for plane, row, column in NEIGHBOURS:
        step = (plane * (y + 2) + row) * (x + 2) + column
        other, own = flat[places + step], flat[places]
        places = places[other < own] if step < 0 else places[other <= own]
    order = np.lexsort((places, -flat[places]))
    found = np.stack(np.unravel_index(places[order], padded.shape), axis=1) - 1
    return _apart(found)


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
    """Return the spaxels, shape (y, x), of the connected voxels at `least` or above around this place; at least its own."""
    from scipy.ndimage import label

    labels, _ = label(statistic >= least)
    own: NDArray[np.bool_] = (labels == labels[place]).any(axis=0) if labels[place] else np.zeros(statistic.shape[1:], dtype=bool)
    own[place[1:]] = True
    return own
