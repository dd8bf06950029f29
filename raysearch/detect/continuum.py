"""The continuum beneath a line: what the planes on both sides of each plane foretell for it.

Every plane is treated alike, whether the line is searched there or not, so that what the search finds in line-free planes is what
it would find in the searched ones. A plane's own neighbourhood (the gap, as wide as a line) is left out of its forecast, so that a
line takes nothing off itself; lines, cosmic rays and bad planes elsewhere are clipped, so that they leave no troughs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import loops

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
"""How often the continuum is fitted, and outliers clipped: what lies low only in the last two, for before it may be a trough."""

CLIPS = loops.Clips(TREND_ROUNDS, HUBER, LOW, ROUNDS, BELOW, ABOVE)


def subtract(
    spectra: NDArray[np.float32], error: NDArray[np.float32], good: NDArray[np.bool_], gap: int, reach: int
) -> NDArray[np.float32]:
    """Return the spectra without their continuum; 0 where not good.

    A cubic that outliers do not move comes off first, so that a bright star's counts cost a faint line no digits (Huber's
    M-estimate, by pseudo-values): on a slope the quantile of a stretch would be the value in its middle, a line there included.
    Then the quantile `LOW` of stretches comes off, then what is foretold.

    Parameters
    ----------
    spectra, error, good
        Shape (planes, spaxels).
    gap
        Planes on each side of a plane that its forecast leaves out, itself included.
    reach
        Planes on each side that its forecast uses.
    """
    found = np.empty_like(spectra)
    loops.without_continuum(spectra, error, good, _plan(len(spectra), gap, reach), CLIPS, loops.Work.of(len(spectra)), found)
    return found


@lru_cache(maxsize=64)
def _plan(planes: int, gap: int, reach: int) -> loops.Plan:
    """Return how the continuum of so many planes is told."""
    cubic = _orthonormal(planes)
    backwards = np.ascontiguousarray(np.linalg.pinv(cubic[::2]).T)
    knots = np.array([(max(0, knot - half), min(planes, knot + half + 1), half != END) for knot, half in _knots(planes)])
    widest = int((knots[:, 1] - knots[:, 0]).max())
    left, share = _straight_lines(planes)
    half = (planes + 1) // 2
    networks = (loops.network(size) for size in (half, (half + 1) // 2, widest, 2 * END + 1))
    return loops.Plan(
        cubic, backwards, knots, left, share, *forecast_terms(planes, -1, reach), *forecast_terms(planes, gap, reach), *networks
    )


@lru_cache(maxsize=64)
def _orthonormal(planes: int) -> NDArray[np.float32]:
    """Return orthonormal polynomials up to the cubic, shape (planes, terms)."""
    powers = np.vander(np.linspace(-1, 1, planes), min(4, planes), increasing=True)
    return np.asarray(np.linalg.qr(powers)[0], dtype=np.float32)


@lru_cache(maxsize=64)
def _knots(planes: int) -> tuple[tuple[int, int], ...]:
    """Return the planes whose level is taken, and how far to each side; within it all planes are there."""
    if planes < 4 * END:
        return ((planes // 2, planes),)
    first, last = min(HALF, planes // 2), max(planes - 1 - HALF, planes // 2)
    middle = np.unique(np.linspace(first, last, 2 + (last - first) // STEP).round().astype(int)).tolist()
    return ((END, END), *((knot, HALF) for knot in middle), (planes - 1 - END, END))


def _straight_lines(planes: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the knot before each plane, and how far the plane is on its way to the next; before 0 and beyond 1 at the ends."""
    knots = np.array([knot for knot, _ in _knots(planes)])
    plane = np.arange(planes)
    if len(knots) == 1:
        return np.zeros(planes, dtype=np.intp), np.zeros(planes, dtype=np.float32)
    left = np.clip(np.searchsorted(knots, plane, side="right") - 1, 0, len(knots) - 2)
    return left, ((plane - knots[left]) / (knots[left + 1] - knots[left])).astype(np.float32)


def _stretch(plane: int, planes: int, reach: int) -> tuple[int, int]:
    """Return the first plane and the last but one that tell a plane's continuum; at the ends the stretch is moved inwards."""
    first = max(0, min(plane - reach, planes - 2 * reach - 1))
    return first, min(planes, first + 2 * reach + 1)


def forecast_terms(planes: int, gap: int, reach: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the windows and terms with which `loops.fitted` does what `local_fits` does."""
    windows, terms = np.zeros((planes, 4), dtype=np.intp), np.zeros((planes, 4))
    for plane in range(planes):
        first, stop = _stretch(plane, planes, reach)
        windows[plane] = first, stop, *np.clip((plane - gap, plane - gap + max(0, 2 * gap + 1)), first, stop)
        offset = np.arange(first, stop) - plane
        powers = (offset[np.abs(offset) > gap][:, None] / reach) ** np.arange(DEGREE + 1)
        level, slope, curve = np.linalg.pinv(powers.T @ powers)[0]
        t = (plane - planes // 2) / reach
        terms[plane] = t, level - slope * t + curve * t**2, slope - 2 * curve * t, curve
    return windows, terms


@lru_cache(maxsize=64)
def local_fits(planes: int, gap: int, reach: int) -> NDArray[np.float32]:
    """Return the matrix that fits a polynomial of degree `DEGREE` around each plane: fitted = matrix @ values.."""
    matrix = np.zeros((planes, planes), np.float32)
    for plane in range(planes):
        offset = np.arange(*_stretch(plane, planes, reach)) - plane
        offset = offset[np.abs(offset) > gap]
        terms = (offset[:, None] / reach) ** np.arange(DEGREE + 1)
        matrix[plane, plane + offset] = np.linalg.pinv(terms)[0]
    matrix.flags.writeable = False
    return matrix
