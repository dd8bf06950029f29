"""Compiled loops over the outputs of filters, one plane after the other; as `loops` are over spectra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.loops import NONE, Flags, Places, Values, compiled, inner

WIDE = 2048
"""Spaxels at a time where each is touched only a few times."""


@compiled
def along(values: Values, profile: Values, weight: Values, found: Values) -> None:
    """Write the planes, each correlated with a profile along the spectrum and then times its weight, to `found`."""
    n, spaxels = values.shape
    reach = len(profile) // 2
    for start in range(0, spaxels, WIDE):
        stop = min(start + WIDE, spaxels)
        for i in range(n):
            total = found[i, start:stop]
            for s in range(len(total)):
                total[s] = NONE
            k, last = max(0, i - reach), min(n, i + reach + 1)
            while k < last:  # a plane beyond the last counts nothing
                p, q, r = min(k + 1, n - 1), min(k + 2, n - 1), min(k + 3, n - 1)
                a = profile[k - i + reach] * weight[i]
                b = profile[k + 1 - i + reach] * weight[i] if k + 1 < last else NONE
                c = profile[k + 2 - i + reach] * weight[i] if k + 2 < last else NONE
                d = profile[k + 3 - i + reach] * weight[i] if k + 3 < last else NONE
                u, v, w, x = values[k, start:stop], values[p, start:stop], values[q, start:stop], values[r, start:stop]
                for s in range(len(total)):
                    total[s] += (a * u[s] + b * v[s]) + (c * w[s] + d * x[s])
                k += 4


@compiled
def matched(above: Values, below: Values, good: Flags, least: np.float32, found: Values) -> None:
    """Write above / sqrt(below), where good, to `found`; `below` is `least` at least. All of shape (voxels,)."""
    for s in range(len(found)):
        value = above[s] / np.sqrt(max(below[s], least))
        found[s] = value if good[s] else NONE


@compiled
def clipped_squares(values: Values, planes: Places, bound: np.float32, found: Values) -> None:
    """Write each spaxel's mean square over these planes, outliers clipped at this bound, to `found`."""
    found[:] = NONE
    for k in range(len(planes)):
        plane = values[planes[k]]
        for s in range(len(found)):
            value = min(max(plane[s], -bound), bound)
            found[s] += value * value
    for s in range(len(found)):
        found[s] /= np.float32(len(planes))


@compiled
def scale(values: Values, factor: Values, highest: Values, lowest: Values) -> None:
    """Multiply the planes by a factor for each spaxel, and raise `highest` and lower `lowest` to them."""
    for i in range(len(values)):
        plane, top, bottom = values[i], highest[i], lowest[i]
        for s in range(len(plane)):
            value = plane[s] * factor[s]
            plane[s] = value
            top[s] = max(top[s], value)
            bottom[s] = min(bottom[s], value)


@compiled
def lagged(values: Values, planes: Places, used: Flags, bound: np.float32, found: Values) -> None:
    """Write the sums over these planes of each spaxel's products with the plane 0, 1, ... later, to `found`, shape (lags, spaxels).

    Values are clipped at this bound; planes that are not used count nothing.
    """
    found[:] = NONE
    for plane in planes:
        for lag in range(len(found)):
            if plane + lag < len(values) and used[plane + lag]:
                here, there, total = values[plane], values[plane + lag], found[lag]
                for s in range(len(total)):
                    total[s] += min(max(here[s], -bound), bound) * min(max(there[s], -bound), bound)


@compiled
def maxima(values: NDArray[np.float32], least: np.float32, found: Places) -> int:
    """Write the places (plane, y, x) of the local maxima at `least` or above to `found`, in order, and return how many there are.

    Of equal neighbours the first counts. What does not fit is counted, not written.
    """
    n, height, width = values.shape
    count = 0
    for i in range(n):
        for y in range(height):
            for x in range(width):
                value = values[i, y, x]
                if value >= least and _highest(values, value, i, y, x):
                    if count < len(found):
                        found[count, 0], found[count, 1], found[count, 2] = i, y, x
                    count += 1
    return count


@inner
def _highest(values: NDArray[np.float32], value: np.float32, plane: int, row: int, column: int) -> bool:
    """Return whether no neighbour is higher, nor an earlier one as high."""
    n, height, width = values.shape
    for i in range(max(plane - 1, 0), min(plane + 2, n)):
        for y in range(max(row - 1, 0), min(row + 2, height)):
            for x in range(max(column - 1, 0), min(column + 2, width)):
                earlier = (i, y, x) < (plane, row, column)
                if values[i, y, x] > value or (earlier and values[i, y, x] == value):
                    return False
    return True
