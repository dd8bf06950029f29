"""A window made ready for the search: bad voxels told, the continuum off, the noise known."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import continuum, noise
from raysearch.detect.field import Field
from raysearch.model import LIGHT_KM_S, Window

LEAST_PLANES = 12
"""Good planes without which a spaxel tells nothing of its noise."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What a window's planes and spaxels resolve."""

    lsf_planes: float
    """Standard deviation of the line-spread function at the line, planes."""
    psf_spaxels: float
    """Standard deviation of the point-spread function at the line, spaxels."""
    widest: float
    """Standard deviation of the broadest line looked for, planes."""
    reach: int
    """Planes on each side that tell a plane's continuum."""

    @property
    def gap(self) -> int:
        """Planes on each side of a plane that the broadest line spans, and that do not tell its continuum."""
        return math.ceil(2 * self.widest)


def cut(window: Window, context: int, velocity: float) -> tuple[slice, slice]:
    """Return the planes of the window to use, and those of them in which the line may lie, counted from the first used.

    Where the window does not say in which planes the line may lie, they are those within `velocity` (km/s) of its wavelength.
    """
    planes = len(window.wavelength_um)
    first, stop = (place - window.start for place in window.searched)
    if stop <= first:
        position = min(max(window.position - window.start, 0), planes - 1)
        fast = np.abs(window.wavelength_um / window.observed_um - 1) * LIGHT_KM_S <= velocity
        inside = np.flatnonzero(fast)
        first, stop = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (position, position + 1)
    first, stop = max(0, first), min(planes, stop)
    start = max(0, first - context)
    return slice(start, min(planes, stop + context)), slice(first - start, stop - start)


def prepare(window: Window, used: slice, searched: slice, grid: Grid) -> Field:
    """Return these planes of the window without continuum, and with their noise."""
    planes = {name: plane[used] for name, plane in window.planes.items()}
    science, error, unit = scaled(planes)
    good = noise.usable(science, error, planes)
    good &= np.count_nonzero(good, axis=0) >= LEAST_PLANES
    spectra, errors, sound = (_spectra(cube) for cube in (science, error, good))
    residual = continuum.subtract(spectra, errors, sound, grid.gap, grid.reach)
    with np.errstate(invalid="ignore", over="ignore"):  # voxels that are not good
        sigma = noise.measured(residual, errors, sound, good.shape[1:])
        spectra -= residual
    spectra[~sound] = 0
    sound &= np.isfinite(sigma)
    residual *= sound
    free = np.ones(len(science), dtype=bool)
    free[max(0, searched.start - grid.gap) : searched.stop + grid.gap] = False
    return Field(
        wavelength_um=window.wavelength_um[used],
        residual=(residual * unit).reshape(good.shape),
        sigma=(sigma * unit).reshape(good.shape),
        good=good,
        continuum=(spectra * unit).reshape(good.shape),
        searched=searched,
        lsf_planes=grid.lsf_planes,
        psf_spaxels=grid.psf_spaxels,
        null=free,
    )


def scaled(planes: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32], np.float32]:
    """Return science and errors (1 where the cube has none) in a unit in which they are ordinary numbers, and that unit.

    The unit is a power of two, so that no digit is lost.
    """
    science = planes["SCI"]
    sample = np.abs(science.ravel()[:: max(1, science.size // 4000)])
    sample = sample[np.isfinite(sample) & (sample > 0)]
    with np.errstate(over="ignore"):
        middle = float(np.median(sample)) if len(sample) else 1.0
    middle = min(middle, sys.float_info.max)
    unit = np.float32(2.0 ** min(max(round(math.log2(middle)), -100), 100))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        values = np.ascontiguousarray(science / unit, dtype=np.float32)
        error = np.ascontiguousarray(planes["ERR"] / unit, dtype=np.float32) if "ERR" in planes else np.ones_like(values)
    return values, error, unit


def _spectra(cube: NDArray[Any]) -> NDArray[Any]:
    """Return (planes, y, x) as (planes, spaxels), the same memory."""
    return cube.reshape(len(cube), -1)
