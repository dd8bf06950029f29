"""Photometry of known positions on images: sums in apertures, and fits of the point spread function.

Every source gives one record for each aperture, and one for its PSF, in every image; where it cannot be measured, with NaN for its
flux and the reason as its note.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.apertures import OTHERS_PX, Background, add_up, background, overlap
from raysearch.detect.flags import BAD_FLAGS, bad_mask
from raysearch.detect.psf import CORE_PX, FIT_PX, NEIGHBOUR_PX, ONE_PX, SAME_PX, fit, on_pixels
from raysearch.detect.stamp import PLANES, Stamp, make_stamp
from raysearch.errors import ConfigError, DetectorError, NothingToSearch
from raysearch.model import Candidate, Cutout, Image, Pixels

AB_ZERO_UJY = 23.9
"""AB magnitude of 1 uJy: -2.5 log10(1e-29) - 48.60, 1 uJy = 1e-29 erg s^-1 cm^-2 Hz^-1 (Oke & Gunn 1983, ApJ 266, 713)."""

LEAST_LIGHT = 0.5
"""Of a source with less than this part of its light on good pixels no flux is told."""


class Photometry:
    """The detector `photometry`; see docs/spectra.md."""

    window: int | None = None
    columns: Mapping[str, str] = {
        "ra": "f8",
        "dec": "f8",
        "band": "str",
        "mjd": "f8",
        "central_wavelength_um": "f8",
        "bandwidth_um": "f8",
        "method": "str",
        "aperture_px": "f4",
        "flux_ujy": "f8",
        "flux_err_ujy": "f8",
        "ab_mag": "f4",
        "ab_mag_err": "f4",
        "background": "f4",
        "aperture_correction": "f4",
        "good_fraction": "f4",
        "n_pixels": "f4",
        "n_bad": "i4",
        "n_nan": "i4",
        "flags": "i8",
        "chi2_dof": "f4",
        "neighbours": "i4",
        "x": "f8",
        "y": "f8",
        "note": "str",
    }
    """See `raysearch.report.spectra` for the meaning and unit of each."""

    def __init__(
        self,
        apertures_px: Sequence[float] = (3.0, 4.0, 5.0),
        annulus_px: Sequence[float] = (7.0, 16.0),
        psf: bool = True,
        correct: bool = True,
        bad_flags: Sequence[str] = BAD_FLAGS,
    ) -> None:
        """Keep the options.

        Parameters
        ----------
        apertures_px
            Radii of the circles, pixels.
        annulus_px
            Inner and outer radius of the ring that tells the background, pixels.
        psf
            Whether the PSF is fitted too, and corrects the apertures' sums.
        correct
            Whether the sums are corrected for the PSF's light outside the circle. Light on bad pixels inside is always made up for.
        bad_flags
            Names of the flags whose pixels are not used.

        Raises
        ------
        ConfigError
            The radii make no sense.
        """
        self.apertures_px, self.annulus_px = _radii(apertures_px, annulus_px)
        self.psf, self.correct, self.bad_flags = psf, correct, tuple(bad_flags)
        self.needs = PLANES + (("PSF",) if psf else ())
        self._half = math.ceil(max(self.annulus_px[1], NEIGHBOUR_PX + CORE_PX)) + 1

    def detect(self, pixels: Pixels) -> list[Candidate]:
        """Return the records of every target of every image.

        Raises
        ------
        NothingToSearch
            Not one flux could be measured: the reason tells why.
        DetectorError
            A plane is missing, or a name of `bad_flags` is no flag of the image.
        """
        if not pixels.images:
            raise DetectorError("photometry is of images: these pixels hold none")
        records = [record for image in pixels.images for record in self._of_image(image)]
        if not any(math.isfinite(record.values["flux_ujy"]) for record in records):
            notes = dict.fromkeys(f"{record.target}: {record.values['note']}" for record in records)
            raise NothingToSearch(f"no flux could be measured: {'; '.join(list(notes)[:3])}")
        return records

    def _of_image(self, image: Image) -> list[Candidate]:
        is_bad = partial(bad_mask, names=image.flags, bad=self.bad_flags)
        places = np.array([(cutout.x, cutout.y) for cutout in image.cutouts])
        records = []
        for number, cutout in enumerate(image.cutouts):
            stamp = make_stamp(cutout, self._half, is_bad)
            distance = np.hypot(*(places - places[number]).T)
            distance[number] = math.inf
            around = [image.cutouts[i] for i in np.flatnonzero(distance <= self.annulus_px[1] + OTHERS_PX)]
            source = _Source(cutout, stamp, around, on_pixels(cutout, stamp.x, stamp.y, stamp.side) if self.psf else None)
            values = [*self._sums(source), *([self._fitted(source)] if self.psf else [])]
            records += [_record(image, cutout, {**of, "note": _note(source, of)}) for of in values]
        return records

    def _sums(self, source: _Source) -> list[dict[str, Any]]:
        """Return what the apertures tell."""
        others = [source.place(other) for other in source.others]
        sky = background(source.stamp, self.annulus_px, others)
        return [self._sum(source, radius, sky) for radius in self.apertures_px]

    def _sum(self, source: _Source, radius: float, sky: Background) -> dict[str, Any]:
        stamp, psf = source.stamp, source.psf
        within = overlap(stamp, radius)
        measured = add_up(stamp, within, sky)
        factor, fraction = 1.0, math.nan
        if psf is not None:
            inside, caught = float((within * psf).sum()), float((within * psf)[stamp.good].sum())
            fraction = caught / inside
            factor = ((1.0 if self.correct else inside) / caught) if fraction >= LEAST_LIGHT else math.nan
        elif measured.n_pixels == 0:
            factor = math.nan
        return {
            "method": "aperture",
            "aperture_px": radius,
            "flux_ujy": measured.flux * factor,
            "flux_err_ujy": measured.error * factor,
            "background": sky.value,
            "aperture_correction": factor,
            "good_fraction": fraction,
            "n_pixels": measured.n_pixels,
            "chi2_dof": math.nan,
            "neighbours": sum(source.distance(other) <= radius + CORE_PX for other in source.others),
            **_counts(stamp, within > 0),
        }

    def _fitted(self, source: _Source) -> dict[str, Any]:
        """Return what the PSF tells."""
        stamp, psf = source.stamp, source.psf
        disc = stamp.distance(stamp.x, stamp.y) <= FIT_PX
        near = source.neighbours()
        values = {
            "method": "psf",
            "aperture_px": math.nan,
            **dict.fromkeys(("flux_ujy", "flux_err_ujy", "background", "good_fraction", "chi2_dof"), math.nan),
            "aperture_correction": 1.0,
            "n_pixels": 0.0,
            "neighbours": len(near),
            **_counts(stamp, disc),
        }
        if psf is None:
            return values
        fraction = float(psf[disc & stamp.good].sum() / psf[disc].sum())
        values["good_fraction"] = fraction
        if fraction >= LEAST_LIGHT:
            fitted = fit(stamp, psf, [(*source.place(other), source.light(other)) for other in near])
            values |= {"flux_ujy": fitted.flux, "flux_err_ujy": fitted.error, "background": fitted.background}
            values |= {"chi2_dof": fitted.chi2_dof, "n_pixels": float(fitted.n_pixels)}
        return values


@dataclass(frozen=True, slots=True)
class _Source:
    """One target on one image."""

    cutout: Cutout
    stamp: Stamp
    others: list[Cutout]
    """Other targets whose light may reach its ring."""
    psf: NDArray[np.float64] | None
    """Which part of its light falls on each pixel of the stamp; None without a PSF."""

    def place(self, other: Cutout) -> tuple[float, float]:
        """Return where in the stamp another target lies."""
        return other.x - self.stamp.x0, other.y - self.stamp.y0

    def distance(self, other: Cutout) -> float:
        """Return how far away another target is, pixels."""
        return math.hypot(other.x - self.cutout.x, other.y - self.cutout.y)

    def neighbours(self) -> list[Cutout]:
        """Return the targets to be fitted with it; of several in one place, one."""
        near: list[Cutout] = []
        for other in self.others:
            alike = any(math.hypot(other.x - one.x, other.y - one.y) < SAME_PX for one in near)
            if ONE_PX < self.distance(other) <= NEIGHBOUR_PX and not alike:
                near.append(other)
        return near

    def light(self, other: Cutout) -> NDArray[np.float64]:
        """Return which part of another target's light falls on each pixel of the stamp, by its own PSF if it has one."""
        light = on_pixels(other, *self.place(other), self.stamp.side)
        if light is None:
            light = on_pixels(self.cutout, *self.place(other), self.stamp.side)
        assert light is not None
        return light


def _radii(apertures: Sequence[float], annulus: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Return the radii as numbers."""
    try:
        radii = tuple(float(radius) for radius in apertures)
        inner, outer = (float(radius) for radius in annulus)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"apertures_px = {apertures!r}, annulus_px = {annulus!r}: radii in pixels, of the annulus two") from exc
    if not radii or not all(0 < radius < math.inf for radius in radii):
        raise ConfigError(f"apertures_px = {apertures!r}: one or more radii above 0, in pixels")
    if not max(radii) <= inner < outer < math.inf:
        raise ConfigError(f"annulus_px = {annulus!r}: an inner and an outer radius in pixels, outside the largest aperture")
    return radii, (inner, outer)


def _counts(stamp: Stamp, pixels: NDArray[np.bool_]) -> dict[str, int]:
    """Return how many of these pixels are left out, how many of those have no value, and all their flags."""
    return {
        "n_bad": int(np.count_nonzero(pixels & ~stamp.good)),
        "n_nan": int(np.count_nonzero(pixels & ~stamp.finite)),
        "flags": int(np.bitwise_or.reduce(stamp.flags[pixels])),
    }


def _note(source: _Source, values: Mapping[str, Any]) -> str:
    """Return what a user should know of a measurement, and of one that failed why."""
    notes = []
    measured, aperture = math.isfinite(values["flux_ujy"]), values["method"] == "aperture"
    if not measured:
        notes.append(_reason(source, values))
    if measured and aperture and values["n_bad"] and source.psf is None:
        notes.append(f"{values['n_bad']} pixels of the aperture are left out and, without a PSF, not made up for")
    one = [other.target.name for other in source.others if source.distance(other) <= ONE_PX]
    if one:
        notes.append(f"one source with {', '.join(one)}, less than {ONE_PX} pixels away")
    if measured and aperture and values["neighbours"] > len(one):
        notes.append(f"holds light of {values['neighbours'] - len(one)} of its neighbours too")
    return "; ".join(notes)


def _reason(source: _Source, values: Mapping[str, Any]) -> str:
    """Return why there is no flux."""
    stamp = source.stamp
    near = stamp.distance(stamp.x, stamp.y) <= (values["aperture_px"] if values["method"] == "aperture" else FIT_PX)
    if not stamp.finite[near].any():
        return "all pixels around the source are NaN, or outside the image"
    if not stamp.good[near].any():
        return "all pixels around the source are bad or NaN"
    if values["method"] == "psf" and source.psf is None:
        return "the image has no PSF for it"
    if values["good_fraction"] < LEAST_LIGHT:
        return f"{100 * (1 - values['good_fraction']):.0f} % of the source's light fell on bad pixels or outside the image"
    if values["method"] == "aperture":
        return "too few good pixels in the annulus to tell the background: `size` must hold the annulus"
    return "too few good pixels to tell the source from its neighbours"


def _record(image: Image, cutout: Cutout, values: Mapping[str, Any]) -> Candidate:
    """Return a record, with what all measurements of a source on an image have in common."""
    flux, error = values["flux_ujy"], values["flux_err_ujy"]
    common = {
        "ra": cutout.target.ra,
        "dec": cutout.target.dec,
        "band": image.band,
        "mjd": image.mjd,
        "central_wavelength_um": cutout.wavelength_um,
        "bandwidth_um": cutout.bandwidth_um,
        "ab_mag": AB_ZERO_UJY - 2.5 * math.log10(flux) if flux > 0 else math.nan,
        "ab_mag_err": 2.5 / math.log(10) * error / flux if flux > 0 else math.nan,
        "x": cutout.x,
        "y": cutout.y,
    }
    return Candidate(cutout.target.name, {**common, **values})
