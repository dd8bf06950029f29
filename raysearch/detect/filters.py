"""Matched filters: Gaussians integrated over planes and spaxels, applied as matrix products."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import sweeps

WIDTHS = (1.0, 2.5)
"""Standard deviations of the spectral filters, in those of the line-spread function."""

EXTENTS = (0.0, 1.0, 2.5, 6.0)
"""Standard deviations of the spatial filters, in those of the point-spread function; 0: each spaxel alone."""


BAND = 32
"""Pixels that are smoothed at once ..."""

NEAR = 2**18
"""... and voxels: what the processor's second memory holds."""

NOTHING = 1e-7
"""A smaller part of a filter is none: what float32 does not see costs time, and numbers near its least many times as long."""


@lru_cache(maxsize=512)
def profile(sigma: float, reach: int) -> NDArray[np.float64]:
    """Return the parts of a Gaussian, centred on a pixel, that fall into the pixels from -reach to reach."""
    edges = [math.erf((step - 0.5) / (sigma * math.sqrt(2))) for step in range(-reach, reach + 2)]
    parts = np.asarray(np.diff(edges) / 2)
    parts.flags.writeable = False
    return parts


@lru_cache(maxsize=256)
def correlation(size: int, sigma: float, power: int = 1) -> NDArray[np.float32]:
    """Return the matrix that correlates with a Gaussian integrated over each pixel, to this power; `sigma` in pixels.

    `sigma` = 0 is the identity.
    """
    if sigma <= 0:
        matrix = np.eye(size, dtype=np.float32)
    else:
        offset = np.arange(size)[:, None] - np.arange(size)
        parts = profile(sigma, size) ** power
        parts[parts < NOTHING] = 0.0
        matrix = parts[offset + size].astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def smooth(
    values: NDArray[np.float32], sigma: float, power: int = 1, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return every plane of (n, y, x) correlated with a Gaussian of this standard deviation, in spaxels, or with its square.

    `out` is memory for the answer, of the same shape.
    """
    if sigma <= 0:
        return values
    n, y, x = values.shape
    found: NDArray[np.float32] = np.empty_like(values) if out is None else out
    along_x, along_y = correlation(x, sigma, power), correlation(y, sigma, power)
    planes = min(n, max(1, NEAR // (y * x)))
    rows = np.empty((planes, y, x), dtype=np.float32)
    for start in range(0, n, planes):
        some = values[start : start + planes]
        half = rows[: len(some)]
        for part, near in _bands(x, sigma, power):
            np.matmul(some.reshape(-1, x)[:, near], along_x[near, part], out=half.reshape(-1, x)[:, part])
        for part, near in _bands(y, sigma, power):
            np.matmul(along_y[part, near], half[:, near], out=found[start : start + planes, part])
    return found


@lru_cache(maxsize=256)
def _bands(size: int, sigma: float, power: int) -> tuple[tuple[slice, slice], ...]:
    """Return stretches of pixels, and those that they are told by: of large matrices most is 0."""
    reach = int(np.count_nonzero(correlation(size, sigma, power)[0]))
    stop = [*range(BAND, size - BAND // 2, BAND), size]
    return tuple((slice(a, b), slice(max(0, a - reach), min(size, b + reach))) for a, b in itertools.pairwise([0, *stop]))


def along(
    values: NDArray[np.float32], sigma: float, power: int = 1, weight: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return (n, y, x) correlated along the spectrum with a Gaussian of this standard deviation, planes, or with its square.

    Each plane times its weight, where there are weights.
    """
    n = len(values)
    parts: NDArray[np.float64] = profile(sigma, n) ** power
    known = parts[parts >= NOTHING].astype(np.float32)
    found = np.empty_like(values)
    sweeps.along(values.reshape(n, -1), known, np.ones(n, np.float32) if weight is None else weight, found.reshape(n, -1))
    return found
