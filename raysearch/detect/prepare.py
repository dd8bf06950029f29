"""A window made ready for the search: bad voxels told, the continuum off, the noise known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import continuum, noise
from raysearch.detect.field import Field
from raysearch.model import Window

LIGHT_KM_S = 299_792.458
"""Speed of light (exact, SI)."""

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
    live = np.count_nonzero(good, axis=0) >= LEAST_PLANES
    sound = _spectra(good, live)
    spectra, errors = _spectra(science, live), _spectra(error, live)
    spectra[~sound], errors[~sound] = 0, 1
    residual = continuum.subtract(spectra, errors, sound, grid.gap, grid.reach)
    sigma = noise.measured(residual, errors, sound, live)
    sound &= np.isfinite(sigma)
    spectra -= residual
    residual *= sound
    free = np.ones(len(science), dtype=bool)
    free[max(0, searched.start - grid.gap) : searched.stop + grid.gap] = False
    return Field(
        wavelength_um=window.wavelength_um[used],
        residual=_cube(residual * unit, live, 0),
        sigma=_cube(sigma * unit, live, np.inf),
        good=_cube(sound, live, fill=False),
        continuum=_cube(spectra * unit, live, 0),
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
    middle = float(np.median(sample)) if len(sample) else 1.0
    unit = np.float32(2.0 ** min(max(round(math.log2(middle)), -100), 100))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        values = (science / unit).astype(np.float32)
        error = (planes["ERR"] / unit).astype(np.float32) if "ERR" in planes else np.ones_like(values)
    return values, error, unit


def _spectra(values: NDArray[Any], live: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the spectra of the live spaxels of (planes, y, x), of shape (spaxels, planes)."""
    return np.ascontiguousarray(values.reshape(len(values), -1)[:, np.flatnonzero(live)].T)


def _cube(spectra: NDArray[Any], live: NDArray[np.bool_], fill: float) -> NDArray[Any]:
    """Return the spectra of the live spaxels as (planes, y, x), `fill` elsewhere."""
    cube = np.full((spectra.shape[1], live.size), fill, dtype=spectra.dtype)
    cube[:, np.flatnonzero(live)] = spectra.T
    return cube.reshape(-1, *live.shape)
