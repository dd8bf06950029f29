"""What a candidate says: velocity, flux, position, extent and quality, each with its error where it has one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysearch.detect.field import Detection, Field
from raysearch.detect.light import CORE, FWHM, Light, plane_kms
from raysearch.detect.profile import Profile
from raysearch.detect.sky import Sky, separation
from raysearch.detect.units import LIGHT_M_S, FluxScale, plane_widths
from raysearch.model import LIGHT_KM_S, Target, Window

COLUMNS: Mapping[str, str] = {
    "velocity_kms": "f8",
    "velocity_err_kms": "f8",
    "fwhm_kms": "f8",
    "fwhm_err_kms": "f8",
    "flux_w_m2": "f8",
    "flux_err_w_m2": "f8",
    "snr": "f8",
    "false_alarm": "f8",
    "ra": "f8",
    "dec": "f8",
    "position_err_arcsec": "f8",
    "peak_ra": "f8",
    "peak_dec": "f8",
    "offset_arcsec": "f8",
    "direction": "f8",
    "spaxels": "i8",
    "area_arcsec2": "f8",
    "extent_along_arcsec": "f8",
    "extent_across_arcsec": "f8",
    "position_angle": "f8",
    "extended": "bool",
    "continuum_mjy_sr": "f8",
    "notes": "str",
}
"""The columns of a candidate; what cannot be told is NaN, and `notes` say why.

`velocity_kms`
    c (l / l0 - 1), where l is the line's centre and l0 its wavelength at the window's redshift; `velocity_err_kms` is the error of
    the centre alone, without that of the instrument's wavelengths.
`fwhm_kms`, `fwhm_err_kms`
    Full width at half maximum of the fitted Gaussian, the instrument's own width included, and its error.
`flux_w_m2`
    Integrated flux with its error. Not corrected for extinction; of a point source, for light beyond the aperture.
`snr`, `false_alarm`
    Peak of the matched filter's output, in standard deviations; false candidates expected in the window at that height or above.
`ra`, `dec`, `position_err_arcsec`
    Centroid of the line's flux in the region, degrees ICRS, and the error of each coordinate; without that of the pointing.
`peak_ra`, `peak_dec`
    Centre of the spaxel in which the matched filter's output peaks, degrees ICRS.
`offset_arcsec`, `direction`
    From the target to the centroid: distance, and direction in degrees from north to east.
`spaxels`, `area_arcsec2`
    Of the connected region above the detection's lower threshold.
`extent_along_arcsec`, `extent_across_arcsec`, `position_angle`
    Like a full width at half maximum: sqrt(8 ln 2) times the flux-weighted standard deviation along the region's longest direction
    and across it, not corrected for the point-spread function; the direction in degrees from north to east, 0 <= p < 180.
`extended`
    Whether the region is longer than the point-spread function, by more than 15 % and three standard deviations.
`continuum_mjy_sr`
    Mean beneath the line in the region, MJy/sr.
`notes`
    What a reader of the numbers should know, separated by `; `.
"""

UNKNOWN: Mapping[str, str] = {
    "flux_w_m2": "no flux: the planes or spaxels that hold most of the line have no data",
    "position_err_arcsec": "no error of the position: the region's light adds up to nothing",
    "extent_along_arcsec": "no extent: the region's light has no form",
    "continuum_mjy_sr": "no continuum: the line's middle has no data",
}
"""Why a column is NaN, ..."""

IN_FLUXES, ON_THE_SKY = ("flux_w_m2", "continuum_mjy_sr"), ("position_err_arcsec", "extent_along_arcsec", "continuum_mjy_sr")
"""... other than that the cube's unit, or its place on the sky, cannot be told."""

EXTENDED = 1.15
"""How much longer than the point-spread function a region is that counts as extended: the function is known about so well."""


def measure(
    field: Field,
    found: Detection,
    light: Light,
    window: Window,
    sky: Sky | None,
    flux: FluxScale,
    target: Target | None = None,
    others: Sequence[Window] = (),
    nowhere: str = "no positions: the header tells none",
) -> dict[str, Any]:
    """Return everything a candidate says, by column (`COLUMNS`).

    Parameters
    ----------
    field
        The window as it was searched.
    found
        What was found in it; its plane counts from the field's first.
    light
        Of that.
    window
        For the line, its redshift and the cube's ends.
    sky
        Where the spaxels lie; None where the header does not tell.
    flux
        Science value -> W m^-2, for the field's planes.
    target
        Offset and direction count from it; None where there is none.
    others
        The cube's windows, whose lines may be blended with this one; `window` itself may be among them.
    nowhere
        Why there is no `sky`, where there is none.
    """
    notes = [*_quality(field, found, light), *_blends(field, window, light.line, others)]
    values: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan)
    values |= {"snr": found.snr, "false_alarm": found.false_alarm, "spaxels": int(found.spaxels.sum())}
    values |= _velocity(field, window, light)
    values["flux_w_m2"], values["flux_err_w_m2"] = light.flux(flux.factor)
    values["continuum_mjy_sr"] = _continuum(field, found, light, flux, sky)
    values["extended"] = _extended(field, light)
    if flux.problem:
        notes.append(flux.problem)
    if sky is None:
        notes.append(nowhere)
    else:
        values |= _places(found, light, sky, target)
        if target is not None and math.isnan(values["offset_arcsec"]):
            notes.append("no offset: the target has no position")
    told = {*(IN_FLUXES if flux.problem else ()), *(ON_THE_SKY if sky is None else ())}
    notes += [why for name, why in UNKNOWN.items() if math.isnan(values[name]) and name not in told]
    values["notes"] = "; ".join(notes)
    return values


def wavelength_um(window: Window, velocity_kms: float) -> float:
    """Return the wavelength, micrometres, of a line at this velocity."""
    return window.observed_um * (1 + velocity_kms / LIGHT_KM_S)


def _velocity(field: Field, window: Window, light: Light) -> dict[str, float]:
    """Return the line's velocity, its error and the line's width, km/s."""
    centre = light.line.centre
    wavelength = float(np.interp(centre, np.arange(len(field.wavelength_um)), field.wavelength_um))
    step = plane_kms(field, centre)
    return {
        "velocity_kms": (wavelength / float(window.observed_um) - 1) * LIGHT_KM_S,
        "velocity_err_kms": light.line.centre_err * step,
        "fwhm_kms": FWHM * light.line.width * step,
        "fwhm_err_kms": FWHM * light.line.width_err * step,
    }


def _continuum(field: Field, found: Detection, light: Light, flux: FluxScale, sky: Sky | None) -> float:
    """Return the mean continuum beneath the line in the region, MJy/sr."""
    if sky is None:
        return math.nan
    plane = min(max(round(light.line.centre), 0), len(field.good) - 1)
    good = found.spaxels & field.good[plane]
    if not good.any():
        return math.nan
    wavelength, width = float(field.wavelength_um[plane]), float(plane_widths(field.wavelength_um)[plane])
    bandwidth = LIGHT_M_S * width * 1e6 / wavelength**2
    intensity = float(field.continuum[plane][good].mean()) * float(flux.factor[plane]) / sky.spaxel_sr / bandwidth
    return intensity / 1e-20


def _extended(field: Field, light: Light) -> bool:
    """Return whether the light extends beyond the point-spread function."""
    sizes, _, errors = light.moments()
    return bool(sizes[1] - 1 / 12 > (EXTENDED * field.psf_spaxels) ** 2 + 3 * errors[1])


def _places(found: Detection, light: Light, sky: Sky, target: Target | None) -> dict[str, float]:
    """Return everything that is told on the sky."""
    x, y, error = light.centroid()
    ra, dec = sky.to_sky(x, y)
    peak_ra, peak_dec = sky.to_sky(found.x, found.y)
    values = {"ra": ra, "dec": dec, "peak_ra": peak_ra, "peak_dec": peak_dec, "position_err_arcsec": error * sky.pixel_arcsec}
    values["area_arcsec2"] = float(found.spaxels.sum()) * sky.pixel_arcsec**2
    sizes, directions, _ = light.moments()
    for name, size, (dx, dy) in zip(("across", "along"), sizes, directions.T, strict=True):
        length, angle = separation(*sky.to_sky(x - dx / 2, y - dy / 2), *sky.to_sky(x + dx / 2, y + dy / 2))
        values[f"extent_{name}_arcsec"] = FWHM * math.sqrt(size) * length if size > 0 else math.nan
        if name == "along":
            values["position_angle"] = angle % 180.0 if size > 0 else math.nan
    if target is not None:
        values["offset_arcsec"], values["direction"] = separation(target.ra, target.dec, ra, dec)
    return values


def _quality(field: Field, found: Detection, light: Light) -> list[str]:
    """Return what may spoil the measurement."""
    from scipy.ndimage import binary_dilation

    notes = []
    live = field.good[field.searched].any(axis=0)
    around = binary_dilation(np.pad(found.spaxels, 1), np.ones((3, 3), dtype=bool)) & ~np.pad(live, 1)
    if around.any():
        notes.append("edge: the region touches the border of the field or spaxels without data")
    near = np.arange(max(0, int(light.core[0]) - 2), min(len(field.good), int(light.core[-1]) + 3))
    if not field.good[near].any(axis=(1, 2)).all():
        notes.append("near all-NaN planes")
    half = CORE * light.line.width
    if light.line.centre - half < -0.5 or light.line.centre + half > len(field.good) - 0.5:
        notes.append("the line is cut by the end of the spectrum")
    if math.isnan(light.line.centre_err):
        notes.append("the line's profile cannot be fitted: centre and width are the best of a grid")
    return notes


def _blends(field: Field, window: Window, line: Profile, others: Sequence[Window]) -> list[str]:
    """Return which other lines are expected within the line's width."""
    planes = np.arange(len(field.wavelength_um))
    half = FWHM * max(line.width, field.lsf_planes)
    low, high = np.interp([line.centre - half, line.centre + half], planes, field.wavelength_um)
    names = {o.line.name: None for o in others if o.line != window.line and low <= o.observed_um <= high}
    return [f"blended with {name}" for name in names]
