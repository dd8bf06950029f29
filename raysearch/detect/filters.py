"""Matched filters: Gaussians integrated over planes and spaxels, applied as matrix products."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WIDTHS = (1.0, 2.5)
"""Standard deviations of the spectral filters, in those of the line-spread function."""

EXTENTS = (0.0, 1.0, 2.5, 6.0)
"""Standard deviations of the spatial filters, in those of the point-spread function; 0: each spaxel alone."""


NOTHING = 1e-9
"""A smaller part of a filter is none: numbers too small for float32's full precision cost processors many times as long."""


def profile(sigma: float, reach: int) -> NDArray[np.float64]:
    """Return the parts of a Gaussian, centred on a pixel, that fall into the pixels from -reach to reach."""
    edges = [math.erf((step - 0.5) / (sigma * math.sqrt(2))) for step in range(-reach, reach + 2)]
    return np.asarray(np.diff(edges) / 2)


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


def smooth(values: NDArray[np.float32], sigma: float, power: int = 1) -> NDArray[np.float32]:
    """Return every plane of (n, y, x) correlated with a Gaussian of this standard deviation, in spaxels, or with its square."""
    if sigma <= 0:
        return values
    n, y, x = values.shape
    along_x = (values.reshape(-1, x) @ correlation(x, sigma, power)).reshape(n, y, x)
    smoothed: NDArray[np.float32] = np.matmul(correlation(y, sigma, power), along_x)
    return smoothed
