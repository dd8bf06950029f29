"""The spectral profile of a line: a Gaussian, integrated over each plane."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 25
"""Of the least-squares fit, at most."""

SETTLED = 1e-4
"""A step that moves centre and width by less than this (planes) is the last."""

SLIMMEST = 0.8
"""A line is no narrower than this times the line-spread function, whose width is known about so well."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a spectrum."""

    sigma: NDArray[np.float64]
    """Standard deviation of each plane, shape (n,); infinite for planes that tell nothing."""
    correlation: NDArray[np.float64]
    """Of planes 0, 1, ... apart; beyond its end there is none."""

    def related(self, planes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the correlation of each pair of these planes."""
        apart = np.abs(planes[:, None] - planes)
        related: NDArray[np.float64] = np.append(self.correlation, 0.0)[np.minimum(apart, len(self.correlation))]
        return related


@dataclass(frozen=True, slots=True)
class Profile:
    """A fitted line."""

    centre: float
    """Plane, counted from 0."""
    width: float
    """Standard deviation, planes, before the integration over a plane's width; the line-spread function is part of it."""
    centre_err: float
    """One standard deviation, planes; NaN where the fit does not tell."""
    width_err: float

    def share(self, planes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return which part of the line's flux falls into each of these planes."""
        every = np.arange(int(planes.min()), int(planes.max()) + 1) if len(planes) else planes
        return _gaussian(every, self.centre, self.width)[0][planes - every[0]] if len(planes) else np.zeros(0)


def fit(spectrum: NDArray[np.float64], noise: Noise, start: int, lsf_planes: float, broadest: float) -> Profile:
    """Return the Gaussian that fits a spectrum without continuum best around a plane, by weighted least squares.

    Begins with the best of a grid of centres and widths, then follows Gauss and Newton, damped (Levenberg 1944, Marquardt 1963).
    The fit takes the planes for independent; its errors do not.

    Parameters
    ----------
    spectrum, noise
        Of each plane, shape (n,).
    start
        The plane of the peak.
    lsf_planes
        Standard deviation of the line-spread function, planes.
    broadest
        The largest standard deviation looked for, planes; 2.5 of it on each side of `start` are fitted.
    """
    reach = math.ceil(2.5 * broadest) + 1
    planes = np.arange(max(0, start - reach), min(len(spectrum), start + reach + 1))
    weight = 1 / noise.sigma[planes]
    values = np.where(weight > 0, spectrum[planes], 0.0) * weight
    least = SLIMMEST * lsf_planes
    widths = (least, max(broadest, 1.01 * least))
    centre, width = _coarse(planes, values, weight, start, np.geomspace(*widths, 6))
    centre, width = _refined(planes, values, weight, (centre, width), (planes[0] - 0.5, planes[-1] + 0.5), widths)
    flux, design = _linear(planes, values, weight, centre, width)
    errors = np.full(3, math.nan)
    if flux > 0 and np.linalg.matrix_rank(design) == 3:
        inverse = np.linalg.pinv(design)
        errors = np.sqrt(np.maximum(np.diag(inverse @ noise.related(planes) @ inverse.T), 0.0))
    return Profile(centre, width, float(errors[1]), float(errors[2]))


def _gaussian(
    planes: NDArray[np.intp], centre: float, width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a Gaussian of area 1 integrated over each of these consecutive planes, and its derivatives by centre and width."""
    edges = (np.append(planes, planes[-1] + 1) - 0.5 - centre) / width
    below = np.array([math.erf(edge) for edge in (edges / math.sqrt(2)).tolist()])
    density = np.exp(-(edges**2) / 2) / (width * math.sqrt(2 * math.pi))
    raised = density * edges
    return (below[1:] - below[:-1]) / 2, density[:-1] - density[1:], raised[:-1] - raised[1:]


def _coarse(
    planes: NDArray[np.intp], values: NDArray[np.float64], weight: NDArray[np.float64], start: int, widths: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the best centre and width of a grid: the highest matched filter's output."""
    centres = np.clip(start + np.arange(-1.5, 1.6, 0.5), planes[0] - 0.5, planes[-1] + 0.5)
    apart = planes - centres[:, None]
    shapes = np.exp(-((apart / widths[:, None, None]) ** 2) / 2) * weight
    heights = shapes @ values / np.sqrt(np.maximum((shapes**2).sum(axis=2), 1e-300))
    best_width, best_centre = np.unravel_index(int(heights.argmax()), heights.shape)
    return float(centres[best_centre]), float(widths[best_width])


def _linear(
    planes: NDArray[np.intp], values: NDArray[np.float64], weight: NDArray[np.float64], centre: float, width: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the best flux for a centre and width, and the derivatives of the weighted model by flux, centre and width."""
    shape, by_centre, by_width = (part * weight for part in _gaussian(planes, centre, width))
    flux = float(shape @ values) / (float(shape @ shape) or 1.0)
    return flux, np.column_stack([shape, flux * by_centre, flux * by_width])


def _refined(
    planes: NDArray[np.intp],
    values: NDArray[np.float64],
    weight: NDArray[np.float64],
    start: tuple[float, float],
    centres: tuple[float, float],
    widths: tuple[float, float],
) -> tuple[float, float]:
    """Return the centre and width at the minimum of chi squared nearest to `start`, within these ranges."""
    (centre, width), damping = start, 1e-3
    flux, design = _linear(planes, values, weight, centre, width)
    misfit = float(np.sum((values - flux * design[:, 0]) ** 2))
    for _ in range(STEPS):
        normal = design.T @ design
        normal[np.diag_indices(3)] *= 1 + damping
        try:
            step = np.linalg.solve(normal, design.T @ (values - flux * design[:, 0]))
        except np.linalg.LinAlgError:
            break
        new_centre = min(max(centre + float(step[1]), centres[0]), centres[1])
        new_width = min(max(width + float(step[2]), widths[0]), widths[1])
        new_flux, new_design = _linear(planes, values, weight, new_centre, new_width)
        new_misfit = float(np.sum((values - new_flux * new_design[:, 0]) ** 2))
        if not new_misfit <= misfit:
            damping *= 8
            if damping > 1e6:
                break
            continue
        moved = abs(new_centre - centre) + abs(new_width - width)
        centre, width, flux, design, misfit = new_centre, new_width, new_flux, new_design, new_misfit
        damping /= 4
        if moved < SETTLED:
            break
    return centre, width
