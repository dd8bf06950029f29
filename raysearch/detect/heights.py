"""How far what a filter finds in an image stands out of its noise, and how far noise alone would.

The image is filtered with the profile of a point source, each pixel weighed by its variance, so that the result is a number of
standard deviations; the scatter that it has, rather than the one that it should have, sets the scale.

The noise is that of the pixels where no source can be: those whose light, summed over both bands, is below the background. A source
adds light to one band or both; what stands out where there is less than none is noise for sure. Noise that is as often above as
below makes as many peaks where the sum is positive. So these "impossible" peaks tell, for each colour, how many false candidates to
expect, however many real sources there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import tail
from raysearch.detect.noise import MAD

RADIUS = 3
"""Pixels of the filter on each side of its middle."""
LEAST_NOISE = 30
"""Pixels without which the scatter cannot be told; it is then taken to be what the variance says."""


LEAST_WEIGHT = 0.3
"""A place is searched if good pixels hold this part of the filter's weight there: sources on bad pixels show beside them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A matched filter for point sources (Zackay & Ofek 2017, ApJ 836, 187, section 2), and where it can be used."""

    kernel: NDArray[np.float64]
    weight: NDArray[np.float64]
    """1 / variance; 0 where not good."""
    noise: NDArray[np.float64]
    """Standard deviation of what the filter gives, as the variance tells it; infinite where nothing is searched."""

    @classmethod
    def of(cls, width2: float, variance: NDArray[np.float64], good: NDArray[np.bool_]) -> Filter:
        """Return the filter for sources whose profile has this variance, pixels^2."""
        from scipy.ndimage import convolve

        steps = np.arange(-RADIUS, RADIUS + 1)
        profile = np.exp(-(steps**2) / 2 / width2)
        kernel = np.outer(profile, profile)
        weight = np.where(good, 1 / variance, 0.0)
        share = convolve(good.astype(np.float64), kernel**2, mode="constant") / (kernel**2).sum()
        noise = np.sqrt(np.maximum(convolve(weight, kernel**2, mode="constant"), 0.0))
        return cls(kernel, weight, np.where(share >= LEAST_WEIGHT, noise, np.inf))

    @property
    def searched(self) -> NDArray[np.bool_]:
        """Where a source may be found."""
        return np.isfinite(self.noise)

    def heights(self, light: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the light in standard deviations, as far as the variance tells them; 0 where nothing is searched."""
        from scipy.ndimage import convolve

        found: NDArray[np.float64] = convolve(light * self.weight, self.kernel, mode="constant") / self.noise
        return found


def scatter(heights: NDArray[np.float64], empty: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the heights, told by those where no source can be."""
    values = np.abs(heights[empty])
    return MAD * float(np.median(values)) if len(values) >= LEAST_NOISE else 1.0


def false_peaks(heights: NDArray[np.float64], empty: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the heights of the maxima that stand out where no source can be, standard deviations."""
    from scipy.ndimage import maximum_filter

    tops = (heights >= tail.LOWEST) & (heights == maximum_filter(heights, size=3, mode="constant")) & empty
    found: NDArray[np.float64] = heights[tops]
    return found
