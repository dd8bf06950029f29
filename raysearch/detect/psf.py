"""The point spread function on the detector's own pixels, and fluxes by fitting it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.stamp import Stamp
from raysearch.model import Cutout

FIT_PX = 4.0
"""Pixels up to this distance from the source are fitted: the PSF of SPHEREx has a full width of 0.9 pixels (PSF_FWHM)."""
CORE_PX = 2.0
"""So are those up to this distance from a neighbour, which fixes its flux."""
NEIGHBOUR_PX = 2 * FIT_PX
"""Targets up to this distance are fitted together: the light of those farther away does not reach the pixels that are fitted."""
ONE_PX = 0.5
"""A source nearer than this to another is one with it, to a detector that has one pixel for its PSF's full width."""
SAME_PX = 0.05
"""Neighbours nearer than this to each other are fitted as one: of two, the equations could not be solved."""
BRIGHT = 0.05
"""Pixels with more than this part of the brightest one's light tell how much noise that light has."""
NOISY = 4.0
"""A pixel with more than this times the variance of its sky and its source is noisy of itself, and weighs less."""


def on_pixels(cutout: Cutout, x: float, y: float, side: int) -> NDArray[np.float64] | None:
    """Return which part of a source's light falls on each pixel, shape (side, side); None without a PSF.

    The source is at the plane's centre, ((n - 1) / 2, (n - 1) / 2) counted from 0. An optical PSF is added up over each pixel of
    the detector: a cubic spline through the running sums of its own pixels, which are exact at their edges, gives those at the
    detector's edges. (Pixels of constant light would widen the PSF by its sampling, and raise fluxes by 0.2 %.) An effective PSF is
    the response of a pixel as a function of its centre's distance (Anderson & King 2000, PASP 112, 1360): a cubic spline is read
    off there. The sum over the whole PSF is 1 in either case: light outside the plane counts for none.

    Parameters
    ----------
    cutout
        Whose PSF it is.
    x, y
        The source's place, in pixels counted from 0 at the centre of the first.
    side
        Rows, and columns.
    """
    if cutout.psf is None:
        return None
    psf = np.asarray(cutout.psf, np.float64)
    total = psf.sum()
    if not math.isfinite(total) or total <= 0:
        return None
    part = _sampled if cutout.psf_effective else _added_up
    return part(psf / total, cutout.psf_oversampling, x, y, side)


def _added_up(psf: NDArray[np.float64], oversampling: int, x: float, y: float, side: int) -> NDArray[np.float64]:
    ny, nx = psf.shape
    return _shares(ny, oversampling, y, side) @ psf @ _shares(nx, oversampling, x, side).T


def _shares(n: int, oversampling: int, place: float, side: int) -> NDArray[np.float64]:
    """Return which part of each of n oversampled pixels lies on each of the detector's, along one axis, shape (side, n)."""
    edges = (np.arange(side + 1) - 0.5 - place) * oversampling + n / 2
    return np.diff(_running_sum(n)(np.clip(edges, 0, n)), axis=0)


@lru_cache(maxsize=8)
def _running_sum(n: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return what gives, for any place along n pixels, the part of each that lies before it."""
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.arange(n + 1), np.tri(n + 1, n, -1))


def _sampled(psf: NDArray[np.float64], oversampling: int, x: float, y: float, side: int) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    steps = np.arange(side)
    rows, columns = ((steps - place) * oversampling + (n - 1) / 2 for place, n in zip((y, x), psf.shape, strict=True))
    places = np.meshgrid(rows, columns, indexing="ij")
    sampled: NDArray[np.float64] = map_coordinates(psf, places, order=3, mode="constant") * oversampling**2
    return sampled


@dataclass(frozen=True, slots=True)
class Fit:
    """The flux of a source by its PSF."""

    flux: float
    """uJy; NaN where it cannot be told."""
    error: float
    """One standard deviation, uJy."""
    background: float
    """Around the source, MJy/sr."""
    chi2_dof: float
    """Chi squared of the fitted pixels, by their VARIANCE, over the degrees of freedom."""
    n_pixels: int
    """Good pixels that were fitted."""


def fit(stamp: Stamp, own: NDArray[np.float64], neighbours: Sequence[tuple[float, float, NDArray[np.float64]]]) -> Fit:
    """Return the flux of the stamp's source: least squares of its PSF, its neighbours', and a constant background.

    Weights by each pixel's own VARIANCE would bias the background low and the flux high, for a pixel that happens to be fainter is
    given less photon noise, and more weight. So the first fit weighs all pixels alike; the second by a smooth variance: that of
    the sky, plus that of the fitted light's photons, so much for each unit of light. Errors follow from VARIANCE itself, for
    whatever weights (covariance of a linear estimate).

    Parameters
    ----------
    stamp
        Its good pixels are used.
    own
        Which part of the source's light falls on each pixel.
    neighbours
        Place in the stamp and light on each pixel of others to be fitted with it.
    """
    used = stamp.distance(stamp.x, stamp.y) <= FIT_PX
    for x, y, _ in neighbours:
        used |= stamp.distance(x, y) <= CORE_PX
    used &= stamp.good
    light, variance = stamp.light[used], stamp.variance[used]
    parts = [own[used], *(seen for _, _, part in neighbours if (seen := part[used]).any())]
    model = np.stack([*(part / stamp.ujy[used] for part in parts), np.ones(len(light))], axis=1)
    dof = len(light) - model.shape[1]
    if dof < 1:
        return _none(len(light))
    sky = float(np.median(stamp.variance[stamp.good]))
    try:
        first, _ = _solve(model, light, np.full(len(light), sky))
        smooth = _smooth_variance(variance, sky, model[:, :-1] @ first[:-1])
        values, estimator = _solve(model, light, smooth)
    except np.linalg.LinAlgError:
        return _none(len(light))
    error = math.sqrt(float(estimator[0] ** 2 @ variance))
    chi2 = float(((light - model @ values) ** 2 / variance).sum())
    return Fit(float(values[0]), error, float(values[-1]), chi2 / dof, len(light))


def _none(n_pixels: int) -> Fit:
    return Fit(math.nan, math.nan, math.nan, math.nan, n_pixels)


def _solve(
    model: NDArray[np.float64], light: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values that fit best, and the matrix that makes them of the light."""
    scale = np.sqrt((model**2).sum(axis=0))
    scaled = model / scale
    weighted = scaled.T / variance
    estimator = np.linalg.solve(weighted @ scaled, weighted) / scale[:, None]
    return estimator @ light, estimator


def _smooth_variance(variance: NDArray[np.float64], sky: float, source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each pixel for its weight: the sky's, and the source's photons'; the pixel's own where it is noisy."""
    source = np.maximum(source, 0.0)
    bright = source > BRIGHT * source.max()
    share = max(0.0, float(np.median((variance[bright] - sky) / source[bright]))) if bright.any() else 0.0
    smooth = sky + share * source
    return np.where(variance > NOISY * smooth, variance, smooth)
