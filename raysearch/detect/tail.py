"""How many peaks of noise to expect in an image at each height: those of a Gaussian field, and those of outliers among its pixels.

In a smooth Gaussian field N(>u) ~ u exp(-u^2 / 2) (Adler 1981, The Geometry of Random Fields, section 6.9), among independent
pixels ~ exp(-u^2 / 2) / u. A field as smooth as SPHEREx's PSF, which is narrower than a pixel, lies between the two: its peaks are
taken to be exponential in t = u^2 / 2. Detectors have pixels that are noisier than the others, and nobody flagged them: their
peaks are exponential in t too, nearly, but fall off the slower the noisier they are. What is expected is the mean over all shares
and slopes of such peaks, each weighed by how well it tells the peaks that were seen, so that few peaks leave room for outliers not
seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LOWEST = 3.0
"""Peaks under this height, in standard deviations, are not looked at."""
USUAL = 1.6e-3
"""Peaks per pixel above `LOWEST` where a field is as smooth as the PSF makes it; weighs as much as one peak."""
SHARES = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7])
"""Of outliers among all peaks."""
SLOPES = np.exp(np.linspace(np.log(1.5), np.log(40.0), 15))
"""By how much slower they fall off in t: the variance of such pixels over the usual one."""
NONE = 0.5
"""How likely it is beforehand that there are no outliers; all other shares and slopes are equally likely."""


def coordinate(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return t = u^2 / 2."""
    return np.asarray(height**2 / 2)


@dataclass(frozen=True, slots=True)
class Tail:
    """False peaks per pixel searched, at each height or above."""

    density: float
    """Peaks per pixel, at `LOWEST` or above."""
    weights: NDArray[np.float64] = field(repr=False)
    """Of each share and slope, shape (shares, slopes), together 1."""

    def expected(self, height: float, pixels: float) -> float:
        """Return how many false peaks of at least this height, `LOWEST` or above, to expect in this number of pixels."""
        return pixels * self.density * float((self.weights * _survival(_excess(np.array([height])))[0]).sum())

    def threshold(self, expected: float, pixels: float) -> float:
        """Return the height at or above which that many false peaks are expected; `LOWEST` at least."""
        low, high = LOWEST, 1e3
        for _ in range(30):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.expected(middle, pixels) > expected else (low, middle)
        return high


def fit(heights: NDArray[np.float64], pixels: float) -> Tail:
    """Return the tail of these peaks, all those above `LOWEST` in this number of pixels."""
    excess = _excess(heights)
    prior = np.full((len(SHARES), len(SLOPES)), (1 - NONE) / (len(SHARES) - 1) / len(SLOPES))
    prior[0] = NONE / len(SLOPES)
    likelihood = np.log(prior) + np.log(_density(excess)).sum(axis=0)
    weights = np.exp(likelihood - likelihood.max())
    return Tail((len(heights) + 1) / (pixels + 1 / USUAL), weights / weights.sum())


def _excess(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    t = coordinate(np.maximum(heights.astype(np.float64), LOWEST)) - coordinate(np.array([LOWEST]))
    return np.asarray(t[:, None, None])


def _survival(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the peaks beyond, shape (excesses, shares, slopes)."""
    share = SHARES[:, None]
    return np.asarray((1 - share) * np.exp(-excess) + share * np.exp(-excess / SLOPES))


def _density(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    share = SHARES[:, None]
    return np.asarray((1 - share) * np.exp(-excess) + share * np.exp(-excess / SLOPES) / SLOPES)
