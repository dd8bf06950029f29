"""Which voxels can be used, and how much noise each has: the error plane as far as it goes, rescaled by the scatter measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import loops
from raysearch.detect.filters import smooth

MAD = 1.4826
"""Standard deviation of a normal distribution, in its median absolute deviations."""

ABSURD = np.float32(1e8)
"""A value or an error this many times the cube's median, or an error that small a part of it, is no measurement."""

FLOOR = np.float32(1e-7)
"""Scatter of a spaxel, in units of the cube's median, that float32 cannot tell from none: blanks, written as a number."""

CLIP = 3.5
"""Residuals are clipped at this many standard deviations where their scatter is measured."""

MOST = np.float32(5)
"""Residuals are clipped at this many standard deviations where the scatter of a plane is measured."""

AROUND = 1.0
"""Standard deviation, in spaxels, of the neighbourhood that tells a spaxel's scatter together with it."""

USUAL = 7
"""Planes on each side that tell how noisy a plane usually is."""


def usable(science: NDArray[np.float32], error: NDArray[np.float32], planes: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which voxels can be used: numbers, with an error above 0, not flagged, with weight, in planes not blank."""
    good = np.abs(science) < ABSURD
    good &= (error > 1 / ABSURD) & (error < ABSURD)
    if "DQ" in planes:
        good &= planes["DQ"] == 0
    if "WMAP" in planes:
        good &= planes["WMAP"] > 0
    good &= science.any(axis=(1, 2), keepdims=True)
    return good


def spread(values: NDArray[np.float32], most: int = 8_000) -> float:
    """Return the standard deviation of these values about 0, told by the median of about `most` of them; zeros are no values."""
    sample = np.abs(values.ravel()[:: max(1, values.size // most)])
    sample = sample[sample > 0]
    middle = len(sample) // 2
    return MAD * float(np.partition(sample, middle)[middle]) if len(sample) else 1.0


def measured(
    residual: NDArray[np.float32], error: NDArray[np.float32], good: NDArray[np.bool_], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the standard deviation of each voxel's noise; infinite where not good.

    The error, times the scatter of the spaxel's residuals in units of it, times what its plane has more of it than planes around.

    Parameters
    ----------
    residual, error, good
        Shape (planes, spaxels).
    shape
        Of a plane, (y, x).
    """
    planes, spaxels = residual.shape
    variance, count = np.empty((2, spaxels), dtype=np.float32)
    half = loops.network((planes + 1) // 2)
    loops.clipped_variance(residual, error, good, half, np.float32(CLIP), loops.Work.of(planes), variance, count)
    known = variance > FLOOR**2
    scatter = np.sqrt(_shared(variance, known, count, shape))
    squares = np.empty((3, planes))
    loops.plane_squares(residual, error, good, scatter, MOST, squares)
    sigma = error * scatter
    sigma *= plane_factors(*squares)[:, None]
    sigma[~(good & known)] = np.inf
    return sigma


def _shared(
    variance: NDArray[np.float32], known: NDArray[np.bool_], count: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the variances averaged with those around, but a spaxel's own where it is clearly noisier; 1 where not known."""
    images = np.stack([variance * known, known.astype(np.float32)]).reshape(2, *shape)
    total, share = smooth(images, AROUND).reshape(2, -1)
    around = total / np.maximum(share, FLOOR)
    noisier = variance > around * (1 + 6 / np.sqrt(np.maximum(count, 1)))
    return np.where(known, np.where(noisier, variance, around), 1).astype(np.float32)


def plane_factors(count: NDArray[np.float64], below: NDArray[np.float64], above: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the noise of each plane, the usual one's being 1, shape (planes,): what is usual around it, or more where it has more.

    The scatter of a plane is that of the smaller side, upwards or downwards: an emission line, even one that fills the field, is
    not taken for noise, and the cube turned upside down has the same.

    Parameters
    ----------
    count, below, above
        Of each plane: how many voxels are good, and their sums of squares below 0 and above, in units of each spaxel's scatter.
    """
    count = np.maximum(count, 1)
    own = np.sqrt(2 * np.minimum(below, above) / count)
    padded = np.pad(own, USUAL, mode="reflect" if len(own) > USUAL else "edge")
    usual = np.maximum(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * USUAL + 1), axis=1), 0.1)
    factors = np.where(own > usual * (1 + 3 / np.sqrt(count)), own, usual)
    return np.asarray(factors / np.median(factors), dtype=np.float32)
