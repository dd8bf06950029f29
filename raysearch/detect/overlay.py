"""Two bands on one grid: that of the longer wavelength, onto which the shorter is reprojected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.frames import Frame
from raysearch.detect.response import Response
from raysearch.errors import NothingToSearch

PIXEL_VARIANCE = 2 / 12
"""What reprojection adds to the variance of a source's profile, pixels^2: each pixel is taken for a square of constant light, of
variance 1/12 in each direction, and each pixel of the grid adds up a square of it."""
LEAST_SHARE = 0.75
"""A pixel of the grid, of which less than this part is covered by good pixels of the other image, is not used."""
MARGIN = 2
"""Pixels left around the part of the other image that the grid covers."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Both bands on the pixels of the long one, uJy a pixel; arrays have the shape of its box."""

    short: NDArray[np.float64]
    long: NDArray[np.float64]
    short_variance: NDArray[np.float64]
    """uJy^2."""
    long_variance: NDArray[np.float64]
    good: NDArray[np.bool_]
    """Pixels that both have."""
    width2: float
    """Variance of a point source's profile in both, pixels^2."""


def overlay(short: Frame, long: Frame, of_short: Response, of_long: Response) -> Overlay:
    """Return two bands on one grid, with sources equally wide in both.

    Brightness is reprojected, weighing each pixel by the area that it shares with the grid's, and flux is brightness times the
    grid's own solid angle; so flux is kept whatever the pixels' areas. The narrower of the two is then smoothed by as much as its
    profile's variance lacks.

    Raises
    ------
    NothingToSearch
        The two boxes share no pixel that is good in both.
    """
    light, share, variance = reproject(short, long)
    good = long.good & (share >= LEAST_SHARE)
    if not good.any():
        raise NothingToSearch(f"{short.image.obs_id} and {long.image.obs_id} share no good pixel around {long.cutout.target.name}")
    widths = of_short.variance + PIXEL_VARIANCE, of_long.variance
    usable = share >= LEAST_SHARE
    light = smooth(light, usable, max(0.0, widths[1] - widths[0]))
    own = smooth(long.light, long.good, max(0.0, widths[0] - widths[1]))
    square = long.ujy**2
    return Overlay(light * long.ujy, own * long.ujy, variance * square, long.variance * square, good, max(widths))


def reproject(frame: Frame, grid: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a frame's light on another's grid (MJy/sr), about which part of each pixel good pixels cover, and the variance.

    A bad pixel takes the mean of the good ones around it, for the sake of those grid pixels of which it covers a small part. The
    variance is that of the pixels around: light reprojected has less from pixel to pixel, but neighbours share it, and over a
    source it is as much.
    """
    from reproject import reproject_exact, reproject_interp

    rows, columns = _covered(frame, grid)
    part = (rows, columns)
    wcs = frame.wcs[rows, columns]
    light, footprint = reproject_exact((_filled(frame.light[part], frame.good[part]), wcs), grid.wcs, shape_out=grid.shape)
    planes = np.stack([frame.good[part].astype(np.float64), frame.variance[part]])
    share, variance = reproject_interp(
        (planes, wcs), grid.wcs, shape_out=(2, *grid.shape), roundtrip_coords=False, return_footprint=False
    )
    variance = np.where(np.isfinite(variance), variance, np.median(frame.variance[part]))
    return np.nan_to_num(light), np.nan_to_num(share) * footprint, variance


def _filled(light: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the light, that of bad pixels as the mean of the good ones among the 8 around; 0 where there is none."""
    from scipy.ndimage import uniform_filter

    total, count = (uniform_filter(plane, 3, mode="constant") for plane in (np.where(good, light, 0.0), good.astype(np.float64)))
    return np.where(good, light, total / np.maximum(count, 1e-3))


def smooth(light: NDArray[np.float64], good: NDArray[np.bool_], variance: float) -> NDArray[np.float64]:
    """Return light smoothed so that the profiles of sources gain this variance (pixels^2, under 1); bad pixels give nothing."""
    from scipy.ndimage import convolve1d

    if variance <= 0:
        return light
    taps = np.array([variance / 2, 1 - variance, variance / 2])
    planes = np.stack([np.where(good, light, 0.0), good.astype(np.float64)])
    for axis in (1, 2):
        planes = convolve1d(planes, taps, axis=axis, mode="constant")
    smoothed: NDArray[np.float64] = np.where(good, planes[0] / np.maximum(planes[1], 1e-9), 0.0)
    return smoothed


def _covered(frame: Frame, grid: Frame) -> tuple[slice, slice]:
    """Return the rows and columns of a frame that its grid covers, and a margin."""
    ny, nx = grid.shape
    x, y = np.linspace(-0.5, nx - 0.5, 9), np.linspace(-0.5, ny - 0.5, 9)
    border = [(x, np.full(9, y[0])), (x, np.full(9, y[-1])), (np.full(9, x[0]), y), (np.full(9, x[-1]), y)]
    xs, ys = frame.pixel(*grid.sky(*(np.concatenate(side) for side in zip(*border, strict=True))))
    spans = []
    for places, size in ((ys, frame.shape[0]), (xs, frame.shape[1])):
        if not np.isfinite(places).all():  # so far outside that the distortion cannot be undone
            spans.append(slice(0, size))
            continue
        first = max(0, int(np.floor(places.min())) - MARGIN)
        last = min(size, int(np.ceil(places.max())) + 1 + MARGIN)
        if last - first < 2:
            raise NothingToSearch(f"{frame.image.obs_id} and {grid.image.obs_id} do not overlap around {grid.cutout.target.name}")
        spans.append(slice(first, last))
    return spans[0], spans[1]
