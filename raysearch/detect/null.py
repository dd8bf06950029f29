"""How many false candidates to expect at each height: the tail of the peaks that a cube shows where no line is.

The peaks of the same statistic in line-free planes and in the cube turned upside down follow, in Gaussian noise, the form that the
theory of random fields gives: N(>u) ~ u^2 exp(-u^2 / 2) in three dimensions (Worsley et al. 1996, Human Brain Mapping 4, 58). Real
noise has longer tails. In the coordinate t = u^2 / 2 - 2 ln u, in which the Gaussian tail is exponential, the peaks are taken to
follow a generalised Pareto distribution (Pickands 1975, Annals of Statistics 3, 119). What is expected is the mean over all scales
and shapes, each weighted by how well it tells the peaks: few peaks leave room for long tails, and so ask for greater heights.

Artefacts that pass the tests of shape are rarer than one a window, too rare for its tail; but where there are some, there are more
that do not pass. Had the noise been drawn anew, a peak rejected by m standard deviations would have passed with the probability
Phi(-m / sqrt(2)): m is one draw around the truth, the other draw another. The sum of these above a height is expected there, at
least.

Others leave no trace in their window at all. How many was counted in 1,200 windows put together from the line-free planes of three
cubes of JWST's MIRI: beyond what the tail tells, `RARE` a window. They are added to what is expected, so that no candidate under
some 10 standard deviations is called surer than real cubes let it be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

LOWEST = 3.0
"""Peaks under this height, in standard deviations, are not looked at."""

MOST = 60
"""Peaks that the tail is told from, the highest."""

SCALES = np.exp(np.linspace(-0.7, 1.2, 20))
SHAPES = np.linspace(0.0, 0.6, 13)
"""Scales and shapes of the tail, in t."""

SCALE_PRIOR, SHAPE_PRIOR = 0.3, 0.25
"""Standard deviations of what is taken for likely beforehand: of the scale's logarithm around theory's 0, of the shape above 0."""

TOP = 20
"""Of the highest peaks, those looked at for a difference between the two sides."""

ONE_SIDED = 0.05
"""The tails are taken for different where chance would put that many of the highest peaks on the upper side as seldom as this."""

USUAL = 1e-3
"""Peaks per voxel above `LOWEST` in noise of no special kind; weighs as much as one peak."""

RARE, RARE_KMS = 0.003, 1000.0
"""Artefacts that no window's noise foretells, for each so many km/s searched, of up to `RARE_HEIGHT` standard deviations."""

RARE_HEIGHT, RARE_FALL = 8.0, 8.0
"""Higher ones are rarer, as the height to this power."""


def coordinate(height: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Return t = u^2 / 2 - 2 ln u."""
    return np.asarray(height**2 / 2 - 2 * np.log(height))


@dataclass(frozen=True, slots=True)
class Null:
    """Number of false peaks to expect per voxel searched, at each height or above."""

    density: float
    """Peaks per voxel, at `start` or above."""
    start: float
    """Where in t the tail begins."""
    weights: NDArray[np.float64] = field(repr=False)
    """Of each scale and shape, shape (scales, shapes), together 1."""
    leak_heights: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    """Of the peaks rejected for their shape."""
    leaks: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    """How many like each of them to expect that are not rejected, per voxel."""
    rare: float = 0.0
    """How many artefacts to expect per voxel that nothing foretells."""

    def expected(self, height: float, volume: float) -> float:
        """Return how many false peaks of at least this height, `LOWEST` or above, to expect in this number of voxels."""
        excess = max(0.0, float(coordinate(np.float64(max(height, LOWEST)))) - self.start)
        tail = self.density * float((self.weights * _survival(np.array([excess]))[0]).sum())
        rare: float = self.rare * min(1.0, (RARE_HEIGHT / max(height, LOWEST)) ** RARE_FALL)
        return volume * (max(tail, float(self.leaks[self.leak_heights >= height].sum())) + rare)

    def threshold(self, expected: float, volume: float) -> float:
        """Return the height at or above which that many false peaks are expected in this number of voxels; `LOWEST` at least."""
        low, high = LOWEST, 1e3
        for _ in range(30):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.expected(middle, volume) > expected else (low, middle)
        return high


def of_both(up: NDArray[np.floating], up_volume: float, down: NDArray[np.floating], down_volume: float) -> Null:
    """Return the null of the peaks in line-free planes and of those in the cube turned upside down, and of how many voxels.

    Where noise has longer tails upwards, as cosmic rays make them, the peaks upwards alone tell it.
    """
    from scipy.special import bdtrc

    heights = np.concatenate([up, down])
    highest = np.argsort(-heights, kind="stable")[:TOP]
    upwards = int((highest < len(up)).sum())
    share = up_volume / (up_volume + down_volume)
    if upwards and bdtrc(upwards - 1, len(highest), share) < ONE_SIDED:
        return fit(up, up_volume)
    return fit(heights, up_volume + down_volume)


def with_rare(known: Null, kms: float, volume: float) -> Null:
    """Return the null that knows of the artefacts to expect in this range of velocities, searched in this number of voxels."""
    return replace(known, rare=RARE * kms / RARE_KMS / max(volume, 1.0))


def with_leaks(known: Null, heights: NDArray[np.floating], margins: NDArray[np.floating], volume: float) -> Null:
    """Return the null that knows of the peaks rejected in this number of voxels too.

    Parameters
    ----------
    heights
        Of the rejected peaks.
    margins
        By how many standard deviations each was rejected.
    """
    from scipy.special import ndtr

    leaks = ndtr(-margins.astype(np.float64) / math.sqrt(2)) / max(volume, 1.0)
    return replace(known, leak_heights=heights.astype(np.float64), leaks=leaks)


def fit(heights: NDArray[np.floating], volume: float) -> Null:
    """Return the null of these peaks, all those above `LOWEST` in this number of voxels."""
    tail = np.sort(coordinate(heights.astype(np.float64)))[::-1]
    start = float(coordinate(np.float64(LOWEST))) if len(tail) <= MOST else float(tail[MOST])
    tail = tail[:MOST]
    density = (len(tail) + 1) / (volume + 1 / USUAL)
    scale, shape = SCALES[:, None], SHAPES[None, :]
    likelihood = _log_density(tail - start).sum(axis=0) - (np.log(scale) / SCALE_PRIOR) ** 2 / 2 - (shape / SHAPE_PRIOR) ** 2 / 2
    weights = np.exp(likelihood - likelihood.max())
    return Null(density, start, weights / weights.sum())


def _log_inside(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(1 + shape x excess / scale) / shape, and its limit excess / scale, of shape (excesses, scales, shapes)."""
    ratio = excess[:, None, None] / SCALES[:, None]
    return np.asarray(np.where(SHAPES > 0, np.log1p(SHAPES * ratio) / np.maximum(SHAPES, 1e-9), ratio))


def _survival(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-_log_inside(excess))


def _log_density(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    return -(1 + SHAPES) * _log_inside(excess) - np.log(SCALES)[:, None]
