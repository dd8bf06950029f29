"""Which voxels can be used, and how much noise each has: the error plane as far as it goes, rescaled by the scatter measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.filters import smooth

MAD = 1.4826
"""Standard deviation of a normal distribution, in its median absolute deviations."""

ABSURD = np.float32(1e8)
"""A value or an error this many times the cube's median, or an error that small a part of it, is no measurement."""

FLOOR = np.float32(1e-7)
"""Scatter of a spaxel, in units of the cube's median, that float32 cannot tell from none: blanks, written as a number."""

CLIP = 3.5
"""Residuals are clipped at this many standard deviations where their scatter is measured."""

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


def quantiles(values: NDArray[np.float32], good: NDArray[np.bool_], part: float = 0.5) -> NDArray[np.float32]:
    """Return this quantile, the median if not told otherwise, of the good values of each row; 0 where there are none."""
    count = np.count_nonzero(good, axis=1)
    holed = np.flatnonzero(count < values.shape[1])
    ordered = np.array(values)
    ordered[holed] = np.where(good[holed], values[holed], np.float32(np.inf))
    ordered.sort(axis=1)
    found = _at_rank(ordered, np.array(part * (values.shape[1] - 1)))
    if len(holed):
        rank = part * np.maximum(count[holed] - 1, 0)
        found[holed] = np.where(count[holed] > 0, _at_rank(np.where(np.isinf(ordered[holed]), 0, ordered[holed]), rank), 0)
    return found


def _at_rank(ordered: NDArray[np.float32], rank: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the value at this rank of each row, between ranks in proportion."""
    low = np.floor(rank).astype(int)
    share = (rank - low).astype(np.float32)
    rows = np.arange(len(ordered))
    below, above = (
        (ordered[:, low], ordered[:, np.ceil(rank).astype(int)])
        if rank.ndim == 0
        else (ordered[rows, low], ordered[rows, np.ceil(rank).astype(int)])
    )
    with np.errstate(invalid="ignore"):  # rows with bad values, told anew afterwards
        return np.asarray(below + share * (above - below), dtype=np.float32)


def spread(residual: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the standard deviation about 0 of the good values of each row, told by the median of every other one."""
    return np.float32(MAD) * quantiles(np.abs(residual[:, ::2]), good[:, ::2])


def measured(
    residual: NDArray[np.float32], error: NDArray[np.float32], good: NDArray[np.bool_], live: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the standard deviation of each voxel's noise; infinite where not good.

    The error, times the scatter of the spaxel's residuals in units of it, times what its plane has more of it than planes around.

    Parameters
    ----------
    residual, error, good
        Shape (spaxels, planes).
    live
        Where on the sky these spaxels are, shape (y, x).
    """
    normalised = residual / error
    normalised *= good
    bound = np.float32(CLIP) * spread(normalised, good)[:, None]
    bounded = np.clip(normalised, -bound, bound)
    count = np.count_nonzero(good, axis=1)
    variance = np.einsum("ij,ij->i", bounded, bounded) / np.maximum(count, 1).astype(np.float32)
    known = variance > FLOOR**2
    scatter = np.sqrt(_shared(variance, known, count, live))
    normalised /= scatter[:, None]
    factors = plane_factors(np.ascontiguousarray(normalised.T), np.ascontiguousarray(good.T))
    sigma = error * scatter[:, None] * factors
    sigma[~(good & known[:, None])] = np.inf
    return sigma


def _shared(
    variance: NDArray[np.float32], known: NDArray[np.bool_], count: NDArray[np.intp], live: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the variances averaged with those around, but a spaxel's own where it is clearly noisier; 1 where not known."""
    images = np.zeros((2, *live.shape), dtype=np.float32)
    images[0][live], images[1][live] = variance * known, known
    total, share = (image[live] for image in smooth(images, AROUND))
    around = total / np.maximum(share, FLOOR)
    noisier = variance > around * (1 + 6 / np.sqrt(np.maximum(count, 1)))
    return np.where(known, np.where(noisier, variance, around), 1).astype(np.float32)


def plane_factors(normalised: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the noise of each plane, the usual one's being 1, shape (planes,): what is usual around it, or more where it has more.

    The scatter of a plane is that of the smaller side, upwards or downwards: an emission line, even one that fills the field, is
    not taken for noise, and the cube turned upside down has the same.

    Parameters
    ----------
    normalised, good
        Residuals in units of each spaxel's scatter, shape (planes, spaxels).
    """
    count = np.maximum(np.count_nonzero(good, axis=1), 1)
    low, high = np.clip(normalised, -5, 0), np.clip(normalised, 0, 5)
    squares = np.minimum(np.einsum("ij,ij->i", low, low), np.einsum("ij,ij->i", high, high))
    own = np.sqrt(2 * squares / count)
    padded = np.pad(own, USUAL, mode="reflect" if len(own) > USUAL else "edge")
    usual = np.maximum(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * USUAL + 1), axis=1), 0.1)
    factors = np.where(own > usual * (1 + 3 / np.sqrt(count)), own, usual)
    return np.asarray(factors / np.median(factors), dtype=np.float32)
