"""The spectrum of some spaxels: summed, without continuum, its noise as the planes beside the line show it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import profile
from raysearch.detect.continuum import DEGREE
from raysearch.detect.field import Field
from raysearch.detect.filters import WIDTHS
from raysearch.detect.noise import MAD
from raysearch.detect.profile import Profile

BESIDE = 3.5
"""The continuum begins this many standard deviations of the line from its centre ..."""

REACH = 18
"""... and is told by this many planes on each side, ..."""

LEAST_BESIDE = 8
"""... this many at least in all; with fewer it stays as the search took it off."""

CLIPS = 3
"""How often outliers beside the line are clipped."""

MOST_SPAXELS = 400
"""Spaxels that tell how noise is correlated."""

LEAST_SPAXELS = 20
"""Spaxels without which it is taken for independent."""

UNDONE = 3
"""Steps that undo what polynomials do to it."""

PRIOR = 4.0
"""An error told by the planes' scatter and correlation weighs as much as this many independent sums over line-free planes."""

LAGS = 4
"""Planes over which noise is taken to be correlated."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The planes beside a line, which tell its continuum and its noise."""

    centre: float
    """Of the line, planes."""
    half: float
    """How far the planes that it spans reach from there."""
    planes: NDArray[np.intp]
    """Line-free planes, at most `REACH` on each side."""
    fit: NDArray[np.float64]
    """Matrix from the values of these planes to a polynomial in all planes, shape (n, planes)."""
    correlation: NDArray[np.float64]
    """Of the noise of planes 0, 1, ... apart."""
    left: float
    """Part of the noise's variance that the polynomial leaves in its own planes."""

    @classmethod
    def of(cls, field: Field, line: Profile, like: Baseline | None = None) -> Baseline:
        """Return the planes beside a line, the noise as correlated as in another baseline of the same field, where there is one."""
        every = np.arange(len(field.good))
        away = np.abs(every - line.centre)
        half = BESIDE * max(line.width, field.lsf_planes) + 1
        planes = every[(away > half) & (away <= half + REACH) & field.good.any(axis=(1, 2)) & ~_lit(field)]
        if len(planes) < LEAST_BESIDE:
            return cls(line.centre, half, planes, np.zeros((len(every), len(planes))), np.ones(1), 1.0)
        terms = np.vander((every - line.centre) / (half + REACH), DEGREE + 1)
        fit = (terms @ np.linalg.pinv(terms[planes])).astype(np.float64)
        left = np.eye(len(planes)) - fit[planes]
        correlation = _correlation(field, planes, left) if like is None else like.correlation
        return cls(line.centre, half, planes, fit, correlation, float(_left(planes, left, correlation)[0]))


def _lit(field: Field) -> NDArray[np.bool_]:
    """Return the planes beyond those searched that show other lines."""
    gap = math.ceil(2 * WIDTHS[-1] * field.lsf_planes)
    lit = ~field.null
    lit[max(0, field.searched.start - gap) : field.searched.stop + gap] = False
    return lit


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The sum of some spaxels without its continuum."""

    values: NDArray[np.float64]
    """In the cube's unit, shape (n,)."""
    sigma: NDArray[np.float64]
    """Error of each plane for independent voxels; infinite where there are no data."""
    covered: NDArray[np.float64]
    """Part of the light whose voxels are good."""
    baseline: Baseline
    quiet: NDArray[np.float64]
    """What the search left of the planes without lines, in units of `sigma`; NaN in all others."""
    excess: float
    """By how much the scatter beside the line exceeds that of independent voxels."""

    @classmethod
    def of(
        cls, field: Field, weight: NDArray[np.float64], light: NDArray[np.float64], baseline: Baseline, *, compact: bool = False
    ) -> Spectrum:
        """Return the sum over the spaxels with a `weight`, each of which holds this much of the `light`.

        What the search left of line-free planes tells the noise of sums; not near lines that fill the field, which spoil the
        continuum that is foretold from them: there, what the polynomial leaves.
        """
        inside = weight > 0
        weights, parts = weight[inside], (weight * light)[inside]
        good = field.good[:, inside]
        variance = np.where(good, field.sigma[:, inside], 0.0).astype(np.float64) ** 2
        covered = good @ parts / max(float(parts.sum()), 1e-300)
        dark = covered <= 0.5
        scale = np.where(dark, 1.0, covered)
        sigma = np.where(dark, math.inf, np.sqrt(variance @ weights**2) / scale)
        residual = field.residual[:, inside] @ weights / scale
        away = np.abs(np.arange(len(dark)) - baseline.centre) > baseline.half + REACH
        quiet = np.where(field.null & ~dark & (away | compact), residual / sigma, math.nan)
        if np.count_nonzero(np.isfinite(sigma[baseline.planes])) < LEAST_BESIDE:
            return cls(residual, sigma, covered, baseline, quiet, 1.0)
        values = residual + _filled(field.continuum[:, inside], good) @ weights
        flat, excess = _flattened(values, sigma, baseline)
        if not compact:
            quiet[baseline.planes] = np.where(dark, math.nan, flat / sigma / math.sqrt(max(baseline.left, 0.1)))[baseline.planes]
        return cls(flat, sigma, covered, baseline, quiet, excess)

    @property
    def noise(self) -> profile.Noise:
        """The noise of the planes."""
        return profile.Noise(self.sigma * self.excess, self.baseline.correlation)

    def weighted(self, weight: NDArray[np.float64]) -> tuple[float, float]:
        """Return a weighted sum over the planes, and its error; the continuum's error is part of it."""
        whole = weight.copy()
        whole[self.baseline.planes] -= weight @ self.baseline.fit
        used = np.flatnonzero(whole)
        errors = whole[used] * np.where(np.isfinite(self.sigma[used]), self.sigma[used], 0.0) * self.excess
        told = math.sqrt(max(float(errors @ self.noise.related(used) @ errors), 0.0))
        return float(weight @ self.values), self._seen(weight, told)

    def _seen(self, weight: NDArray[np.float64], told: float) -> float:
        """Return the error of a weighted sum: that told by the planes' scatter, and the scatter of the same sum over quiet planes.

        The latter knows fringes and all else that is correlated over many planes and spaxels; but such sums are few.
        """
        used = np.flatnonzero(weight)
        planes = np.arange(used[0], used[-1] + 1) if len(used) else used
        kernel = weight[planes] * np.where(np.isfinite(self.sigma[planes]), self.sigma[planes], 0.0)
        sums = np.correlate(self.quiet, kernel) if 0 < len(kernel) <= len(self.quiet) else np.zeros(0)
        sums = sums[np.isfinite(sums)]
        if len(sums) <= len(kernel):
            return told
        bound = 3.0 * MAD * float(np.median(np.abs(sums)))
        squares = float(np.mean(np.clip(sums, -bound, bound) ** 2))
        independent = 1 + len(sums) / len(kernel)
        return math.sqrt((PRIOR * told**2 + independent * squares) / (PRIOR + independent))


def _filled(continuum: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a continuum, shape (planes, spaxels), with the gaps of each spaxel bridged."""
    holes = np.flatnonzero(~good.all(axis=0))
    if len(holes):
        continuum = continuum.copy()
        every = np.arange(len(good))
        for spaxel in holes:
            known = np.flatnonzero(good[:, spaxel])
            if len(known):
                continuum[:, spaxel] = np.interp(every, known, continuum[known, spaxel])
    return continuum


def _flattened(values: NDArray[np.float64], sigma: NDArray[np.float64], baseline: Baseline) -> tuple[NDArray[np.float64], float]:
    """Return a spectrum without its polynomial, and by how much its scatter beside the line exceeds `sigma`.

    Other lines and outliers beside the line are clipped.
    """
    planes = baseline.planes
    told = np.isfinite(sigma[planes])
    scale = np.where(told, sigma[planes], 0.0)
    known = np.interp(planes, planes[told], values[planes][told])
    flat, bound = values, math.inf
    for _ in range(CLIPS):
        model = baseline.fit @ known
        flat = values - model
        bound = 3.5 * MAD * float(np.median(np.abs(flat[planes][told] / scale[told])))
        known = model[planes] + np.clip(flat[planes], -bound * scale, bound * scale)
    normal = np.clip(flat[planes][told] / scale[told], -bound, bound)
    return flat, max(math.sqrt(float(np.mean(normal**2)) / max(baseline.left, 0.1)), 1e-3)


def _correlation(field: Field, planes: NDArray[np.intp], left: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of the noise of planes 0, 1, ... apart, shape (LAGS + 1,).

    Measured over the spaxels good in all these planes, without their polynomials, which change it: that is undone step by step.
    """
    size = field.good[0].size
    whole = np.flatnonzero(field.good.reshape(-1, size)[planes].all(axis=0))
    whole = whole[:: max(1, len(whole) // MOST_SPAXELS)]
    correlation = np.zeros(LAGS + 1)
    correlation[0] = 1.0
    if len(whole) < LEAST_SPAXELS:
        return correlation
    chosen = np.ix_(planes, whole)
    noise = field.residual.reshape(-1, size)[chosen] + field.continuum.reshape(-1, size)[chosen]
    noise = (left.astype(np.float32) @ noise) / field.sigma.reshape(-1, size)[chosen]
    np.clip(noise, -4, 4, out=noise)
    measured = _by_distance(noise @ noise.T, planes)
    for _ in range(UNDONE):
        expected = _left(planes, left, correlation)
        correlation += measured / max(measured[0], 1e-30) * expected[0] - expected
    return correlation


def _left(planes: NDArray[np.intp], left: NDArray[np.float64], correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean covariance of planes 0, 1, ... apart without their polynomials, for noise of variance 1 so correlated."""
    related = profile.Noise(np.ones(0), correlation).related(planes)
    return _by_distance(left @ related @ left.T, planes)


def _by_distance(matrix: NDArray[np.floating], planes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean of a matrix over the pairs of planes 0, 1, ... apart, shape (LAGS + 1,)."""
    apart = np.minimum(np.abs(planes[:, None] - planes), LAGS + 1).ravel()
    total = np.bincount(apart, matrix.ravel(), LAGS + 2)
    return total[:-1] / np.maximum(np.bincount(apart, minlength=LAGS + 2)[:-1], 1)
