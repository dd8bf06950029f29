"""The continuum beneath a line: what the planes on both sides of each plane foretell for it.

Every plane is treated alike, whether the line is searched there or not, so that what the search finds in line-free planes is what
it would find in the searched ones. A plane's own neighbourhood (the gap, as wide as a line) is left out of its forecast, so that a
line takes nothing off itself; lines, cosmic rays and bad planes elsewhere are clipped, so that they leave no troughs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.noise import quantiles, spread

DEGREE = 2
"""Of the local polynomials."""

BELOW, ABOVE = np.float32(3.5), np.float32(2.5)
"""A residual this many standard deviations under the continuum, or above it, says nothing of it. Wings of lines lie above."""

HALF, STEP = 20, 10
"""Planes on each side of those whose level is taken first, more than strong lines cover; and planes from one to the next."""

END = 5
"""Planes on each side of those whose level is taken at the ends."""

LOW = 0.4
"""The quantile that is taken for the level: under the median, for lines stand above the continuum."""

TREND_ROUNDS, HUBER = 5, np.float32(2.0)
"""How often the cubic is fitted; residuals are clipped at this many standard deviations."""

ROUNDS = 5
"""How often the continuum is fitted, and outliers clipped."""


def subtract(
    spectra: NDArray[np.float32], error: NDArray[np.float32], good: NDArray[np.bool_], gap: int, reach: int
) -> NDArray[np.float32]:
    """Return the spectra without their continuum; 0 where not good.

    Parameters
    ----------
    spectra, error, good
        Shape (spaxels, planes); where not good, spectra are 0 and errors 1.
    gap
        Planes on each side of a plane that its forecast leaves out, itself included.
    reach
        Planes on each side that its forecast uses.
    """
    planes = spectra.shape[1]
    # Relative to a first continuum, so that a bright star's counts cost a faint line no digits.
    relative = spectra - trend(spectra, good)
    relative *= good
    relative -= running_level(relative, good)
    relative *= good
    weight = (good / error).astype(np.float32)
    fit = local_fits(planes, -1, reach).T
    model = np.zeros_like(relative)
    for step in range(ROUNDS):
        residual = relative - model
        if step < ROUNDS - 2:
            unit = spread(residual * weight, good)[:, None] * error
        kept = good & (residual <= ABOVE * unit)
        if step >= ROUNDS - 2:  # not before: what lies low may be a trough that a line still leaves
            kept &= residual >= -BELOW * unit
        # Where a voxel is bad or an outlier, the model stands for it.
        residual *= kept
        residual += model
        model = residual @ fit
    relative -= residual @ local_fits(planes, gap, reach).T
    relative *= good
    return relative


def trend(spectra: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the cubic through each spectrum that lines and other outliers do not move (Huber's M-estimate, by pseudo-values).

    On a slope the quantile of a stretch is the value in its middle, a line there included: slopes must be off before
    `running_level` can tell a line from the continuum. Every other plane is enough for it.
    """
    terms = _orthonormal(spectra.shape[1])
    few, kept = terms[::2], good[:, ::2]
    backwards = np.linalg.pinv(few).T
    middle = quantiles(spectra[:, ::2], kept)[:, None]
    relative = (spectra[:, ::2] - middle) * kept
    parts = np.zeros((len(spectra), terms.shape[1]), dtype=np.float32)
    for _ in range(TREND_ROUNDS):
        model = parts @ few.T
        residual = (relative - model) * kept
        bound = HUBER * spread(residual, kept)[:, None]
        np.clip(residual, -bound, bound, out=residual)
        residual += model
        parts = residual @ backwards
    return np.asarray(parts @ terms.T + middle)


@lru_cache(maxsize=64)
def _orthonormal(planes: int) -> NDArray[np.float32]:
    """Return orthonormal polynomials up to the cubic, shape (planes, terms)."""
    powers = np.vander(np.linspace(-1, 1, planes), min(4, planes), increasing=True)
    return np.asarray(np.linalg.qr(powers)[0], dtype=np.float32)


def running_level(spectra: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the quantile `LOW` of the planes within `HALF` of about every `STEP`-th plane, and straight lines between and beyond.

    At the ends the stretches are shorter, so that the lines reach near to them.
    """
    planes = spectra.shape[1]
    near = [slice(max(0, knot - half), knot + half + 1) for knot, half in _knots(planes)]
    at = [quantiles(spectra[:, part], good[:, part], LOW) for part in near]
    return np.stack(at, axis=1) @ _straight_lines(planes)


@lru_cache(maxsize=64)
def _knots(planes: int) -> tuple[tuple[int, int], ...]:
    """Return the planes whose level is taken, and how far to each side; within it all planes are there."""
    if planes < 4 * END:
        return ((planes // 2, planes),)
    first, last = min(HALF, planes // 2), max(planes - 1 - HALF, planes // 2)
    middle = np.unique(np.linspace(first, last, 2 + (last - first) // STEP).round().astype(int)).tolist()
    return ((END, END), *((knot, HALF) for knot in middle), (planes - 1 - END, END))


@lru_cache(maxsize=64)
def _straight_lines(planes: int) -> NDArray[np.float32]:
    """Return the matrix from values at the knots to those of every plane."""
    knots = np.array([knot for knot, _ in _knots(planes)])
    if len(knots) == 1:
        return np.ones((1, planes), dtype=np.float32)
    plane = np.arange(planes)
    left = np.clip(np.searchsorted(knots, plane, side="right") - 1, 0, len(knots) - 2)
    part = (plane - knots[left]) / (knots[left + 1] - knots[left])
    matrix = np.zeros((len(knots), planes), dtype=np.float32)
    matrix[left, plane] = 1 - part
    matrix[left + 1, plane] += part
    return matrix


@lru_cache(maxsize=64)
def local_fits(planes: int, gap: int, reach: int) -> NDArray[np.float32]:
    """Return the matrix that fits a polynomial of degree `DEGREE` around each plane: fitted = matrix @ values.

    At the ends the stretch is moved inwards, so that it keeps its length.
    """
    matrix = np.zeros((planes, planes), np.float32)
    for plane in range(planes):
        first = max(0, min(plane - reach, planes - 2 * reach - 1))
        offset = np.arange(first, min(planes, first + 2 * reach + 1)) - plane
        offset = offset[np.abs(offset) > gap]
        terms = (offset[:, None] / reach) ** np.arange(DEGREE + 1)
        matrix[plane, plane + offset] = np.linalg.pinv(terms)[0]
    matrix.flags.writeable = False
    return matrix
