"""Sums of light in circles, above the background in a ring around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.stamp import Stamp

CLIP = 3.0
"""Pixels of the ring that lie farther than this many standard deviations from the median are left out, again and again."""
ROUNDS = 10
MAD_TO_SIGMA = 1.482602218505602
"""The standard deviation of a normal distribution over its median absolute deviation, 1 / Phi^-1(3/4)."""
MEDIAN_VARIANCE = math.pi / 2
"""Variance of the median over that of the mean, of many normal values (Kendall & Stuart, vol. 1, section 10.10)."""
LEAST_RING = 20
"""Good pixels without which a ring tells no background."""
OTHERS_PX = 3.0
"""About other targets, pixels of the ring up to this distance are left out."""


@dataclass(frozen=True, slots=True)
class Background:
    """The light around a source."""

    value: float
    """MJy/sr; NaN where it cannot be told."""
    error: float
    """One standard deviation, MJy/sr."""
    n_pixels: int
    """Good pixels that were left to tell it."""


@dataclass(frozen=True, slots=True)
class Sum:
    """The light in one circle."""

    flux: float
    """uJy above the background, of the good pixels."""
    error: float
    """One standard deviation, uJy."""
    n_pixels: float
    """Area of the good pixels within the circle, pixels."""


def background(stamp: Stamp, ring_px: tuple[float, float], others: Sequence[tuple[float, float]]) -> Background:
    """Return the median of the good pixels whose centres lie in the ring, stars clipped, and its error.

    The error is that of a median of the pixels that are left, from their own scatter: noise and faint sources alike.

    Parameters
    ----------
    stamp
        Around the source.
    ring_px
        Inner and outer radius, pixels.
    others
        Places in the stamp of other targets. The pixels about them are left out, unless that is more than half of the ring.
    """
    distance = stamp.distance(stamp.x, stamp.y)
    ring = stamp.good & (distance >= ring_px[0]) & (distance <= ring_px[1])
    free = ring.copy()
    for x, y in others:
        free &= stamp.distance(x, y) > OTHERS_PX
    values = stamp.light[free if 2 * np.count_nonzero(free) >= np.count_nonzero(ring) else ring]
    for _ in range(ROUNDS):
        if len(values) < LEAST_RING:
            return Background(math.nan, math.nan, len(values))
        middle = float(np.median(values))
        sigma = MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
        kept = np.abs(values - middle) <= CLIP * sigma
        if kept.all():
            break
        values = values[kept]
    return Background(middle, sigma * math.sqrt(MEDIAN_VARIANCE / len(values)), len(values))


def overlap(stamp: Stamp, radius_px: float) -> NDArray[np.float64]:
    """Return which part of each pixel's area lies in the circle about the source: exact, shape (side, side)."""
    from photutils.geometry import circular_overlap_grid

    left, right, low, high = (edge - place for place in (stamp.x, stamp.y) for edge in (-0.5, stamp.side - 0.5))
    parts: NDArray[np.float64] = circular_overlap_grid(left, right, low, high, stamp.side, stamp.side, radius_px, 1, 1)
    return parts


def add_up(stamp: Stamp, within: NDArray[np.float64], sky: Background) -> Sum:
    """Return the light of the good pixels, each by its part that lies within.

    Its error has two parts: VARIANCE (noise of detector, sky and source), independent from pixel to pixel, and that of the
    background, which is the same for all.
    """
    weight = np.where(stamp.good, within, 0.0)
    ujy = (weight * stamp.ujy)[stamp.good]
    flux = float(ujy @ (stamp.light[stamp.good] - sky.value))
    variance = float(ujy**2 @ stamp.variance[stamp.good]) + (float(ujy.sum()) * sky.error) ** 2
    return Sum(flux, math.sqrt(variance), float(weight.sum()))
