"""The light of a detection: its profile, the aperture that holds it, and its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import profile
from raysearch.detect.field import Detection, Field
from raysearch.detect.filters import smooth
from raysearch.detect.form import Form
from raysearch.detect.profile import Profile
from raysearch.detect.spectrum import Baseline, Spectrum
from raysearch.detect.units import plane_widths
from raysearch.model import LIGHT_KM_S

FWHM = math.sqrt(8 * math.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""

CORE = 2.5
"""The flux is summed over the planes this many standard deviations of the fitted line around its centre."""

BROADEST = 4.0
"""The broadest line that is fitted, in standard deviations of the line-spread function ..."""

BROADEST_KMS = 200.0
"""... or as this standard deviation, whichever is broader."""

LEVEL = 3.0
"""Height that bounds a detection's region, in standard deviations."""

ROUNDS = 2
"""How often profile and continuum are fitted in turn."""

MOST_RAISED = 0.15
"""The part by which noise raises a flux, at most, as far as it was simulated."""

BROAD = 3.0
"""A source this many times as broad as a point (in the geometric mean of along and across) is broad."""

CONTRADICTED, LEAST_APART = 3.0, 0.3
"""The plain sum contradicts a form by this many standard deviations of the difference, at least this part of its own each."""

UNKNOWN_FORM = 1.5
"""What a form that the light tells adds to the variance of the flux: 1 for a Gaussian in white noise (Condon 1997, PASP 109, 166);
more in simulations, where neighbouring spaxels share their noise."""

FAINT = 0.01
"""Spaxels with less than this part of the brightest's light tell nothing of a compact source."""

FILLED = 0.75
"""A region that covers this part of the ellipse of its second moments has the form of one (a rectangle: 0.95)."""


@dataclass(frozen=True, slots=True)
class Light:
    """The light of one detection: its profile, the aperture that holds it, and its picture."""

    region: NDArray[np.bool_]
    """The detection's spaxels, shape (y, x)."""
    aperture: NDArray[np.bool_]
    """Spaxels whose sum is the flux, shape (y, x)."""
    light: NDArray[np.float64]
    """Part of all light that each spaxel is taken to hold, shape (y, x)."""
    weight: NDArray[np.float64]
    """Of each spaxel in the flux, shape (y, x)."""
    form: Form | None
    """Of a compact source; None for others."""
    line: Profile
    core: NDArray[np.intp]
    """Planes whose sum is the flux."""
    spectrum: Spectrum
    """Of the aperture."""
    picture: NDArray[np.float64]
    """Flux of the line per spaxel, in the cube's unit times planes, shape (y, x)."""
    variance: NDArray[np.float64]
    """Of the picture; 0 where there are no data."""

    @classmethod
    def of(cls, field: Field, found: Detection) -> Light:
        """Return the light of a detection.

        That of a compact source is weighted with its form and with the noise (optimal extraction: Horne 1986, PASP 98, 609). Where
        the plain sum over the aperture contradicts that, it is the plain sum, and what lies beyond the field's edge is told by the
        form; that of sources too broad for a form, which may fill the field, is the plain sum.
        """
        line, around = _line(field, found)
        aperture, form = _aperture(field, found)
        picture, variance = _picture(field, line)
        trust = _trust(variance, aperture)
        form = form.fitted(picture, trust * aperture, field.psf_spaxels, found.snr)
        even = aperture.astype(np.float64)
        if form.area > (BROAD * field.psf_spaxels) ** 2:
            return cls._weighted(field, found, aperture, even, even / max(float(even.sum()), 1.0), None, line, around)
        light = form.image(aperture.shape)
        inside = (
            light * aperture * float(light[field.good[field.searched].any(axis=0)].sum()) / max(float(light[aperture].sum()), 1e-9)
        )
        whole = cls._weighted(field, found, aperture, even, inside, None, line, around)
        weight = np.where(light > FAINT * light.max(), light * trust, 0.0)
        spectrum = Spectrum.of(field, weight, light, around)
        line = profile.fit(spectrum.values, spectrum.noise, found.plane, field.lsf_planes, _broadest(field, found))
        compact = cls._weighted(field, found, aperture, weight, light, form, line, Baseline.of(field, line, around))
        return whole if compact.contradicted(whole) else compact

    @classmethod
    def _weighted(
        cls,
        field: Field,
        found: Detection,
        aperture: NDArray[np.bool_],
        weight: NDArray[np.float64],
        light: NDArray[np.float64],
        form: Form | None,
        line: Profile,
        around: Baseline,
    ) -> Light:
        """Return the light with this profile, and these weights of spaxels."""
        spectrum = Spectrum.of(field, weight, light, around, compact=form is not None)
        picture, variance = _picture(field, line)
        return cls(
            found.spaxels, aperture, light, weight, form, line, _core(field, line), spectrum, picture, variance * spectrum.excess**2
        )

    def contradicted(self, whole: Light) -> bool:
        """Return whether the plain sum over the aperture is another than the form says.

        The variance of the difference from an efficient estimate is the difference of the variances (Hausman 1978, Econometrica 46,
        1251).
        """
        every = np.ones(len(self.spectrum.values))
        (flux, error), (total, total_error) = self.flux(every), whole.flux(every)
        apart = math.sqrt(max(total_error**2 - error**2, (LEAST_APART * total_error) ** 2))
        return not abs(total - flux) <= CONTRADICTED * apart

    def flux(self, factor: NDArray[np.float64]) -> tuple[float, float]:
        """Return the line's flux and its error, for this factor from values to fluxes, plane by plane.

        The same noise that is summed has shaped a compact source's form and profile. That adds to the error, and raises the sum by
        about the square of its relative error (in simulations of points and jets), which is taken off.
        """
        used = self.core[self.spectrum.covered[self.core] > 0.5]
        inside = float(self.line.share(used).sum()) * float((self.weight * self.light).sum()) if len(used) else 0.0
        if inside <= 0.1 * float((self.weight * self.light).sum()):
            return math.nan, math.nan
        weight = np.zeros(len(factor))
        weight[used] = factor[used] / inside
        flux, error = self.spectrum.weighted(weight)
        if self.form is None or not flux:
            return flux, error
        error *= math.sqrt(1 + UNKNOWN_FORM * self.form.free)
        return flux / (1 + min((error / flux) ** 2, MOST_RAISED)), error

    def centroid(self) -> tuple[float, float, float]:
        """Return x and y of the flux-weighted middle of the region, and the error of each, spaxels.

        The error counts the noise of the whole aperture: that around the region decides what belongs to it.
        """
        if self.form is not None:
            flux, error = self.spectrum.weighted(np.isin(np.arange(len(self.spectrum.values)), self.core).astype(np.float64))
            size = math.sqrt(float(self.form.covariance.trace()) / 2)
            return self.form.x, self.form.y, size * abs(error / flux) if flux else math.nan
        y, x = np.nonzero(self.region)
        weight = np.maximum(self.picture[self.region], 0.0)
        total = float(weight.sum())
        if total <= 0:
            return float(x.mean()), float(y.mean()), math.nan
        middle_x, middle_y = float(weight @ x) / total, float(weight @ y) / total
        rows, columns = np.nonzero(self.aperture)
        apart = ((columns - middle_x) ** 2 + (rows - middle_y) ** 2) / 2
        return middle_x, middle_y, math.sqrt(float(self.variance[self.aperture] @ apart)) / total

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return variances of the light along its longest direction and across it, spaxels squared, and the directions.

        The directions are the columns (x, y) of a matrix, the longest last; then the error of each variance, the longest's last.
        """
        if self.form is not None:
            variances, axes = np.linalg.eigh(self.form.covariance + np.eye(2) / 12)
            return variances, axes, self.form.errors
        for inside, picture in ((self.aperture, self.picture), (self.region, np.maximum(self.picture, 0))):
            weight = picture[inside]
            total = float(weight.sum())
            if total <= 0:
                continue
            places = np.array(np.nonzero(inside)[::-1], dtype=np.float64)
            apart = places - (places @ weight / total)[:, None]
            sizes, directions = np.linalg.eigh((apart * weight) @ apart.T / total)
            if sizes[0] > 0:
                spread = ((directions.T @ apart) ** 2 - sizes[:, None]) ** 2
                return sizes, directions, np.sqrt(spread @ self.variance[inside]) / total
        return np.full(2, math.nan), np.eye(2), np.full(2, math.nan)


def _line(field: Field, found: Detection) -> tuple[Profile, Baseline]:
    """Return the profile of a detection, and the planes beside it.

    The line gets a continuum of its own: that of the search is foretold for each plane from others, some of which hold the line, so
    that a broad one would lose its wings.
    """
    broadest = _broadest(field, found)
    light = found.spaxels.astype(np.float64)
    line = Profile(found.plane, 1.5 * field.lsf_planes, math.nan, math.nan)
    around = Baseline.of(field, line)
    for _ in range(ROUNDS):
        spectrum = Spectrum.of(field, light, light, around)
        line = profile.fit(spectrum.values, spectrum.noise, found.plane, field.lsf_planes, broadest)
        around = Baseline.of(field, line, around)
    return line, around


def _broadest(field: Field, found: Detection) -> float:
    """Return the standard deviation of the broadest line that is fitted, planes."""
    return max(BROADEST * field.lsf_planes, BROADEST_KMS / plane_kms(field, found.plane))


def _trust(variance: NDArray[np.float64], aperture: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how far each spaxel counts: the aperture's median variance over that around the spaxel, at most 1; 0 without data."""
    known = variance > 0
    if not (known & aperture).any():
        return np.zeros(variance.shape)
    usual = float(np.median(variance[known & aperture]))
    smoothed = smooth(np.where(known, variance / usual, 0.0).astype(np.float32)[None], 1.0)[0]
    share = smooth(known.astype(np.float32)[None], 1.0)[0]
    return np.where(known, np.minimum(share / np.maximum(smoothed, 1e-6), 1.0), 0.0)


def _aperture(field: Field, found: Detection) -> tuple[NDArray[np.bool_], Form]:
    """Return the spaxels that hold nearly all light of a detection, and a first guess of its form.

    Of a Gaussian source of standard deviation s, filtered with k and peaking at P, the part above a level L has the radius
    sqrt(2 (s^2 + k^2) ln(P / L)): from the region's second moments follows s, along and across. The aperture is the region and the
    ellipse of its moments grown by s, so that it ends near 2.5 s; about regions that fill no ellipse (rings, bows) it is the region
    grown by s. The Gaussian is the second that is returned.
    """
    y, x = (v.astype(np.float64) for v in np.nonzero(found.spaxels))
    middle_x, middle_y = float(x.mean()), float(y.mean())
    variances, directions = np.linalg.eigh(np.cov(np.array([x, y]), bias=True) + np.eye(2) / 12)
    steepness = math.log(max(found.snr / LEVEL, 1.2))
    broad = np.maximum(2 * variances / steepness - found.scale**2, field.psf_spaxels**2)
    across, along = (math.sqrt(float(v)) for v in broad)
    growth = max(1.0, min(math.sqrt(across * along), 2 * across))
    height, width = found.spaxels.shape
    axes = 2 * np.sqrt(variances)
    if len(x) > FILLED * math.pi * float(axes.prod()):
        apart = np.array(np.meshgrid(np.arange(width) - middle_x, np.arange(height) - middle_y)).reshape(2, -1)
        aperture = (((directions.T @ apart / (axes + growth)[:, None]) ** 2).sum(axis=0) <= 1).reshape(height, width)
        aperture |= found.spaxels
    else:
        aperture = _grown(found.spaxels, growth)
    aperture &= field.good[field.searched].any(axis=0)
    return aperture, Form(middle_x, middle_y, (directions * broad) @ directions.T, np.zeros(2), 0.0)


def _grown(inside: NDArray[np.bool_], growth: float) -> NDArray[np.bool_]:
    """Return these spaxels and all whose centres are no farther from one of theirs."""
    from scipy.ndimage import distance_transform_edt

    grown: NDArray[np.bool_] = distance_transform_edt(~inside) <= growth
    return grown


def _core(field: Field, line: Profile) -> NDArray[np.intp]:
    """Return the planes whose sum is the flux."""
    away = np.abs(np.arange(len(field.good)) - line.centre)
    return np.flatnonzero(away <= CORE * math.hypot(line.width, 0.29) + 0.5)


def _picture(field: Field, line: Profile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the flux of the line in each spaxel, by least squares with the line's profile, and its variance."""
    core = _core(field, line)
    planes = slice(int(core[0]), int(core[-1]) + 1)
    share = line.share(core)[:, None, None]
    good = field.good[planes]
    norm = (share**2 * good).sum(axis=0)
    known = norm > 0.1 * float((share**2).sum())
    norm = np.where(known, norm, 1.0)
    noise = np.where(good, field.sigma[planes], 0.0)
    flux = (share * field.residual[planes]).sum(axis=0) / norm
    variance = ((share * noise) ** 2).sum(axis=0) / norm**2
    return np.where(known, flux, 0.0), np.where(known, variance, 0.0)


def plane_kms(field: Field, plane: float) -> float:
    """Return the width of a plane, km/s."""
    planes = np.arange(len(field.wavelength_um))
    width = float(np.interp(plane, planes, plane_widths(field.wavelength_um)))
    return width / float(np.interp(plane, planes, field.wavelength_um)) * LIGHT_KM_S
