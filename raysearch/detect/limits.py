"""How bright a line that was not found could have been."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import filters, sweeps
from raysearch.detect.field import Field
from raysearch.detect.noise import spread
from raysearch.detect.sky import Sky
from raysearch.detect.units import FluxScale
from raysearch.model import Limit, Target, Window

SURE = 1.0
"""Standard deviations by which a line must lie above the threshold to be found with a probability of 95 %: less than the 1.645 of a
normal distribution (one-sided), for the highest of several filters and neighbouring voxels counts (simulated)."""

CLIP = 3.0
"""Noise beyond this many standard deviations is counted as this much."""

AROUND = 3.0
"""Standard deviation, in spaxels, of the surroundings that tell a spaxel's scatter."""

VOXEL = 3.5
"""Standard deviations that one voxel of a line adds, at most, to the scatter that is taken for noise."""

TINY = np.float32(1e-12)
"""Less weight than this is none."""


def limit(field: Field, threshold: float, window: Window, sky: Sky | None, flux: FluxScale, target: Target | None = None) -> Limit:
    """Return the flux that a point source's unresolved line would have needed to be found with a probability of 95 %.

    At the target's place and the line's expected wavelength: (threshold + 1) times the error of the flux that the matched
    filter measures there, its scatter in line-free planes taken for noise; raised by what a line loses that lies between planes and
    spaxels, and by what it adds to the noise measured around it. Where the target lies beyond the field or on spaxels without data,
    and where there is no target, the median over the field.

    Parameters
    ----------
    field
        The window as it was searched.
    threshold
        S/N from which on something counts as found.
    window
        For the line and the target's name.
    sky
        Where the spaxels lie; None where the header does not tell.
    flux
        Science value -> W m^-2, for the field's planes.
    target
        The window's nearest, with its position; None where there is none.
    """
    line, expected = window.line, window.observed_um
    plane = float(np.interp(expected, field.wavelength_um, np.arange(len(field.wavelength_um))))
    value, note = _flux(field, threshold, plane, sky, flux, target)
    return Limit(window.target, line.name, line.rest_um, expected, value, note)


def _flux(
    field: Field, threshold: float, plane: float, sky: Sky | None, flux: FluxScale, target: Target | None
) -> tuple[float, str]:
    """Return the limit, W m^-2, and where it holds or why there is none."""
    errors, excess = flux_errors(field, plane)
    if not np.isfinite(errors).any():
        return math.nan, f"no limit: no {'good data at' if field.null.any() else 'line-free planes around'} the line"
    if flux.problem:
        return math.nan, flux.problem.replace("no flux", "no limit")
    where = "median of the field (no target)"
    error = math.nan
    if target is not None and not math.isfinite(target.ra + target.dec):
        where = "median of the field (the target has no position)"
    elif target is not None:
        error = _at(errors, sky, target)
        where = "at the target" if math.isfinite(error) else "median of the field (the target lies on no good spaxel)"
        if sky is None:
            where = "median of the field (no positions in the header)"
    if math.isnan(error):
        error = float(np.median(errors[np.isfinite(errors)]))
    factor = float(np.interp(plane, np.arange(len(flux.factor)), flux.factor))
    needed = (threshold + SURE) * _loss(field, threshold + SURE, excess)
    return needed * error * factor, f"95 %, point source, unresolved line; {where}"


def flux_errors(field: Field, plane: float) -> tuple[NDArray[np.float64], float]:
    """Return the error of a point source's line flux in each spaxel, cube's unit times planes, shape (y, x); NaN without data.

    That of the matched filter for voxels independent of each other, 1 / sqrt(sum(k^2 / sigma^2)), times the scatter of the filter's
    outputs in line-free planes around the spaxel, whose median is returned too.
    """
    near = min(max(round(plane), 0), len(field.good) - 1)
    live = field.good[near]
    if not live.any() or not field.null.any():
        return np.full(live.shape, math.nan), math.nan
    unit = field.sigma.min()  # keeps float32 from under- and overflowing
    inverse = unit / field.sigma
    weight = inverse * inverse
    inverse *= field.residual / field.sigma
    work = np.empty((2, *weight.shape), dtype=np.float32)
    below = filters.smooth(filters.along(weight, field.lsf_planes, 2), field.psf_spaxels, 2, work[0])
    above = filters.smooth(filters.along(inverse, field.lsf_planes), field.psf_spaxels, 1, work[1])
    sweeps.matched(above.ravel(), below.ravel(), field.good.ravel(), TINY, inverse.ravel())
    planes, variance = np.flatnonzero(field.null), np.empty(live.size, dtype=np.float32)
    bound = np.float32(CLIP * spread(inverse[planes], 40_000))
    sweeps.clipped_squares(inverse.reshape(len(inverse), -1), planes, bound, variance)
    part = np.maximum(np.count_nonzero(field.good[planes], axis=0), 1) / len(planes)
    variance = variance.reshape(live.shape) / part
    share = filters.smooth(live[None].astype(np.float32), AROUND)[0]
    local = filters.smooth((variance * live).astype(np.float32)[None], AROUND)[0] / np.maximum(share, TINY)
    excess = np.sqrt(local.astype(np.float64))
    errors = excess / np.sqrt(np.maximum(below[near], TINY)) * float(unit)
    return np.where(live, errors, np.nan), float(np.median(excess[live]))


def _loss(field: Field, height: float, excess: float) -> float:
    """Return the factor by which a line must be brighter than the matched filter's error alone says.

    A line that lies u off the centre of a plane or spaxel loses 1 - exp(-u^2 / (4 s^2)) of its height in a filter of standard
    deviation s: on average over u from -0.5 to 0.5, along three axes. And a line is part of the scatter of its own spaxels, each
    voxel of it up to `VOXEL` standard deviations, which the noise is measured from; and of the scatter of the filter's outputs
    around it, each up to `CLIP`, by which all are divided.

    Parameters
    ----------
    height
        The line's S/N.
    excess
        By how much that is larger for noise that is independent from voxel to voxel.
    """
    offsets = (np.arange(20) + 0.5) / 40
    widths = np.hypot((field.lsf_planes, field.psf_spaxels, field.psf_spaxels), 0.29)
    kept = float(np.prod([np.exp(-((offsets / (2 * width)) ** 2)).mean() for width in widths]))
    bells = [filters.profile(width, math.ceil(3 * width)) for width in (field.lsf_planes, field.psf_spaxels, field.psf_spaxels)]
    line, tall, wide = (bell / math.sqrt(float(bell @ bell)) for bell in bells)
    spatial = np.outer(tall, wide)
    voxels = np.minimum(height * excess * line[:, None, None] * spatial, VOXEL)
    own = (voxels**2).sum(axis=0) / len(field.good)
    own = filters.smooth(own[None].astype(np.float32), 1.0)[0]
    added = _added(math.sqrt(2) * widths, height, len(field.good))
    return math.sqrt((1 + float((own * spatial**2).sum())) * (1 + added)) / kept


def _added(widths: NDArray[np.float64], height: float, planes: int) -> float:
    """Return what a line adds to the variance of the outputs around it, where it is this high and broad (planes, spaxels)."""
    steps = np.arange(-math.ceil(4 * widths[1:].max()), math.ceil(4 * widths[1:].max()) + 1)
    beside = np.arange(-math.ceil(4 * widths[0]), math.ceil(4 * widths[0]) + 1)
    along, tall, wide = (np.exp(-((at / width) ** 2) / 2) for at, width in zip((beside, steps, steps), widths, strict=True))
    seen = (np.minimum(height * along[:, None, None] * np.outer(tall, wide), CLIP) ** 2).sum(axis=0) / planes
    near = np.exp(-((steps / AROUND) ** 2) / 2) / (AROUND * math.sqrt(2 * math.pi))
    return float(near @ seen @ near)


def _at(errors: NDArray[np.float64], sky: Sky | None, target: Target) -> float:
    """Return the error at the target's spaxel; NaN where there is none."""
    if sky is None:
        return math.nan
    x, y = sky.to_pixel(target.ra, target.dec)
    height, width = errors.shape
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        return math.nan
    return float(errors[round(y), round(x)])
