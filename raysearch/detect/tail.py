"""How many peaks of noise to expect in an image at each height: those of a Gaussian field, and those of outliers among its pixels.

In a smooth Gaussian field N(>u) ~ u exp(-u^2 / 2) (Adler 1981, The Geometry of Random Fields, section 6.9), among independent
pixels ~ exp(-u^2 / 2) / u. A field as smooth as SPHEREx's PSF, which is narrower than a pixel, lies between the two: its peaks are
taken to be exponential in t = u^2 / 2. Detectors have pixels that are noisier than the others, and nobody flagged them. Such a
pixel stands alone, and its peak is as high as one value of its own, wider Gaussian. What is expected is the mean over all shares of
such peaks and all their variances, each weighed by how well it tells the peaks that were seen, so that few peaks leave room for
outliers not seen.
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
VARIANCES = np.exp(np.linspace(np.log(1.5), np.log(40.0), 15))
"""Of such pixels, over the usual one."""
NONE = 0.5
"""How likely it is beforehand that there are no outliers; all other shares and variances are equally likely."""


def coordinate(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return t = u^2 / 2."""
    return np.asarray(height**2 / 2)


@dataclass(frozen=True, slots=True)
class Tail:
    """False peaks per pixel searched, at each height or above."""

    density: float
    """Peaks per pixel, at `LOWEST` or above."""
    weights: NDArray[np.float64] = field(repr=False)
    """Of each share and variance, shape (shares, variances), together 1."""

    def expected(self, height: float, pixels: float) -> float:
        """Return how many false peaks of at least this height, `LOWEST` or above, to expect in this number of pixels."""
        return pixels * self.density * float((self.weights * _survival(_above(np.array([height])))[0]).sum())

    def threshold(self, expected: float, pixels: float) -> float:
        """Return the height at or above which that many false peaks are expected; `LOWEST` at least."""
        low, high = LOWEST, 1e3
        for _ in range(30):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.expected(middle, pixels) > expected else (low, middle)
        return high


@dataclass(frozen=True, slots=True)
class Worst:
    """What is expected by that of several tails which expects the most."""

    tails: tuple[Tail, ...]

    def expected(self, height: float, pixels: float) -> float:
        """Return how many false peaks of at least this height to expect in this number of pixels."""
        return max(tail.expected(height, pixels) for tail in self.tails)

    def threshold(self, expected: float, pixels: float) -> float:
        """Return the height at or above which no more than that many false peaks are expected."""
        return max(tail.threshold(expected, pixels) for tail in self.tails)


def fit(heights: NDArray[np.float64], pixels: float) -> Tail:
    """Return the tail of these peaks, all those above `LOWEST` in this number of pixels."""
    prior = np.full((len(SHARES), len(VARIANCES)), (1 - NONE) / (len(SHARES) - 1) / len(VARIANCES))
    prior[0] = NONE / len(VARIANCES)
    likelihood = np.log(prior) + _log_density(_above(heights)).sum(axis=0)
    weights = np.exp(likelihood - likelihood.max())
    return Tail((len(heights) + 1) / (pixels + 1 / USUAL), weights / weights.sum())


def _above(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(heights.astype(np.float64), LOWEST)[:, None, None]


def _survival(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the peaks above `LOWEST` that is higher, shape (heights, shares, variances)."""
    from scipy.special import erfc

    share, width = SHARES[:, None], np.sqrt(2 * VARIANCES)
    usual = np.exp(coordinate(np.array(LOWEST)) - coordinate(height))
    return np.asarray((1 - share) * usual + share * erfc(height / width) / erfc(LOWEST / width))


def _log_density(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of how dense the peaks lie in t, shape (heights, shares, variances)."""
    from scipy.special import erfc

    share, width = np.maximum(SHARES, np.finfo(float).tiny)[:, None], np.sqrt(2 * VARIANCES)
    usual = np.log1p(-share) + coordinate(np.array(LOWEST)) - coordinate(height)
    outliers = np.log(share * 2 / np.sqrt(np.pi) / width / erfc(LOWEST / width)) - (height / width) ** 2 - np.log(height)
    return np.asarray(np.logaddexp(usual, outliers))
