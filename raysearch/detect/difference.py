"""The detector `difference`: sources that are brighter in one of two bands.

`red` is brighter at the longer wavelength, `blue` at the shorter; both by flux density (uJy), so that most stars are blue. They are
looked for in two ways. What stands out of the difference of the two bands is a candidate if the fluxes bear it out: those of the
two bands, measured on their own pixels, differ with the same sign. A point source is narrower than SPHEREx's pixels, and the two
bands show it at different places on them; so the difference of two equal stars is not empty, while their fluxes are equal. And
where a band shows a source, there are far fewer places to look at than pixels: there the two fluxes may tell what is lost in the
noise of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from raysearch.detect.catalogue import COLOURS, Source, joined, of_bands, of_difference, together
from raysearch.detect.extract import Detection
from raysearch.detect.flags import BAD_FLAGS
from raysearch.detect.forced import Band, Fit, fit
from raysearch.detect.frames import PLANES, Frame, make_frame
from raysearch.detect.overlay import Overlay, overlay
from raysearch.detect.response import Response, response
from raysearch.detect.wavelengths import wavelength_at
from raysearch.errors import ConfigError, DetectorError, NothingToSearch
from raysearch.model import Candidate, Cutout, Image, Pixels, Triptych

SURE = 2.0
"""Standard deviations by which the fluxes of a candidate differ, and by which the brighter one exceeds 0: those that stand out in
the difference and are none differ by less, those that are sources by about their height."""
BORNE_OUT = 0.5
"""Part of its height in the difference, by which a candidate's fluxes differ at least, standard deviations."""
KNOWN = 0.03
"""Part of a flux up to which its PSF is not known: that of another zone makes up to 5 % (IRSA, "PSF Extension Header Error")."""
OF_THE_DIFFERENCE, OF_FLUXES, OF_A_BAND = 3 / 4, 1 / 8, 1 / 16
"""Parts of the false alarms asked for: of what stands out of the difference; of sources of a band whose fluxes differ by chance;
and of each band's sources, where they are noise themselves."""
LEFT_OVER = 0.1
"""Part of a source's flux that may seem to be a source beside it, where it is two itself, too near to be told apart."""
EDGE_PX = 3
"""A source nearer than this to the border of a box is at the edge."""
BLEND_PX = 3.0
"""Two sources nearer than this to each other are blended."""
NEAR = 1
"""Pixels on each side of a source's own whose flags are told."""

COLUMNS: Mapping[str, str] = {
    "catalogue": "str",
    "kind": "str",
    "source": "i4",
    "ra": "f8",
    "dec": "f8",
    "position_err_arcsec": "f4",
    "snr": "f4",
    "false_alarm": "f8",
    "difference_ujy": "f8",
    "difference_err_ujy": "f8",
    "flux_a_ujy": "f8",
    "flux_a_err_ujy": "f8",
    "flux_b_ujy": "f8",
    "flux_b_err_ujy": "f8",
    "colour": "f4",
    "colour_err": "f4",
    "a_px": "f4",
    "b_px": "f4",
    "theta_deg": "f4",
    "ellipticity": "f4",
    "flags_a": "i8",
    "flags_b": "i8",
    "n_bad": "i4",
    "band_a": "str",
    "band_b": "str",
    "central_wavelength_a_um": "f8",
    "central_wavelength_b_um": "f8",
    "mjd_a": "f8",
    "mjd_b": "f8",
    "obs_id_a": "str",
    "obs_id_b": "str",
    "note": "str",
}
"""The columns of a record; docs/sources.md tells their meanings."""


class Difference:
    """Finds sources that are brighter in one of two bands, with a known rate of false alarms.

    Parameters
    ----------
    colours
        `red`, `blue` or `both`.
    false_alarm
        False candidates expected in each region searched, of all colours together; the same of each band's own list.
    bad_flags
        Names of the flags whose pixels are not used.
    bands
        Whether the sources of each band are listed beside those of the difference.

    Raises
    ------
    ConfigError
        One of them cannot be.
    """

    window: int | None = None
    columns = COLUMNS
    needs = (*PLANES, "PSF")

    def __init__(
        self, colours: str = "both", false_alarm: float = 0.1, bad_flags: Sequence[str] = BAD_FLAGS, bands: bool = True
    ) -> None:
        if colours not in {*COLOURS, "both"}:
            raise ConfigError(f"colours = {colours!r}; it is red, blue or both")
        if isinstance(false_alarm, bool) or not isinstance(false_alarm, float | int) or not 0 < false_alarm <= 10:
            raise ConfigError(f"false_alarm = {false_alarm!r}; it is a number above 0, 10 at most: 0.1 is one in ten regions")
        if isinstance(bad_flags, str) or not all(isinstance(name, str) and name for name in bad_flags):
            raise ConfigError(f'bad_flags = {bad_flags!r}; it is a list of names, such as ["TRANSIENT", "HOT"]')
        if not isinstance(bands, bool):
            raise ConfigError(f"bands = {bands!r}; it is true or false")
        self._colours = COLOURS if colours == "both" else (colours,)
        self._false_alarm, self._bad, self._bands = float(false_alarm), tuple(bad_flags), bands

    def detect(self, pixels: Pixels) -> list[Candidate]:
        """Return the records of every region, the most significant first.

        Raises
        ------
        DetectorError
            There are not two images, a plane is missing, or there is no flag of a name given.
        NothingToSearch
            No region has pixels that are good in both bands.
        """
        return in_every_region(pixels, self._region)

    def triptych(self, pixels: Pixels) -> list[Triptych]:
        """Return both bands and their difference, for each region that can be searched."""
        shown = []
        for region in regions_of(pixels):
            with suppress(NothingToSearch):
                shown.append(self._pair(*region).triptych())
        return shown

    def _pair(self, image_a: Image, box_a: Cutout, image_b: Image, box_b: Cutout) -> _Pair:
        short, long = make_frame(image_a, box_a, self._bad), make_frame(image_b, box_b, self._bad)
        of_short, of_long = response(image_a, box_a), response(image_b, box_b)
        return _Pair(short, long, of_short, of_long, overlay(short, long, of_short, of_long))

    def _region(self, image_a: Image, box_a: Cutout, image_b: Image, box_b: Cutout) -> list[Candidate]:
        pair = self._pair(image_a, box_a, image_b, box_b)
        short, long, of_short, of_long = pair.short, pair.long, pair.of_short, pair.of_long
        found = of_difference(pair.overlay, self._colours, OF_THE_DIFFERENCE * self._false_alarm)
        (found["a"], scale_a), (found["b"], scale_b) = of_bands(short, long, of_short, of_long, self._false_alarm)
        short, long = short.noisier(scale_a), long.noisier(scale_b)
        sources = together(found, short, long)
        if not sources:
            return []
        sources, fitted = _fitted(short, long, of_short, of_long, sources)
        region = _Region(short, long, sources, fitted, of_short.told and of_long.told, self._colours, self._false_alarm)
        return region.records(self._bands)


def _fitted(short: Frame, long: Frame, of_short: Response, of_long: Response, sources: list[Source]) -> tuple[list[Source], Fit]:
    """Return the sources with their fluxes; those that come too near to each other on the way are one."""
    while True:
        fitted = fit(short, long, of_short, of_long, np.array([s.x for s in sources]), np.array([s.y for s in sources]))
        apart = joined(sources, fitted.long.x, fitted.long.y)
        if len(apart) == len(sources):
            return sources, fitted
        sources = apart


def regions_of(pixels: Pixels) -> list[tuple[Image, Cutout, Image, Cutout]]:
    """Return the boxes of each target that lies on both images, that of the shorter wavelength first, each with its image."""
    short, long = in_order(pixels)
    boxes = {cutout.target: cutout for cutout in short.cutouts}
    return [(short, boxes[cutout.target], long, cutout) for cutout in long.cutouts if cutout.target in boxes]


def in_every_region(pixels: Pixels, search: Callable[[Image, Cutout, Image, Cutout], list[Candidate]]) -> list[Candidate]:
    """Return what is found in all regions that can be searched.

    Raises
    ------
    NothingToSearch
        There is none that can be.
    """
    records: list[Candidate] = []
    problems: list[str] = []
    regions = regions_of(pixels)
    for region in regions:
        try:
            records += search(*region)
        except NothingToSearch as exc:
            problems.append(str(exc))
    if len(problems) == len(regions):
        raise NothingToSearch("; ".join(problems) or "no target lies on both images")
    return records


def in_order(pixels: Pixels) -> tuple[Image, Image]:
    """Return the two images, the shorter wavelength first.

    Raises
    ------
    DetectorError
        There are not two, or they do not say at which wavelength they are.
    """
    if len(pixels.images) != 2:
        raise DetectorError(f"a pair has two images, not {len(pixels.images)}: name two in `bands` of [images]")
    for image in pixels.images:
        if not math.isfinite(_wavelength(image)):
            raise DetectorError(f"{image.obs_id} does not say at which wavelength its boxes are")
    first, second = sorted(pixels.images, key=_wavelength)
    return first, second


def _wavelength(image: Image) -> float:
    """Return the mean wavelength of an image's boxes at their targets, micrometres; where none lies on the image, in a box."""
    told = [cutout.wavelength_um for cutout in image.cutouts if math.isfinite(cutout.wavelength_um)]
    if not told and image.cutouts:
        told = wavelength_at(image, image.cutouts[0], np.zeros(1), np.zeros(1)).tolist()
    return float(np.mean(told)) if told else math.nan


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both bands of a region, on their own pixels and on one grid."""

    short: Frame
    long: Frame
    of_short: Response
    of_long: Response
    overlay: Overlay

    def triptych(self) -> Triptych:
        """Return what is compared, NaN where not both bands are good."""
        both, box = self.overlay, self.long.cutout
        a, b = (np.where(both.good, band, np.nan) for band in (both.short, both.long))
        return Triptych(box.target.name, a, b, b - a, "µJy", self.long.image.header("IMAGE", box))


@dataclass(frozen=True, slots=True)
class _Found:
    """How a source was found."""

    catalogue: str
    kind: str
    detection: Detection
    by_fluxes: bool = False
    """Whether the fluxes of a band's source tell its colour, and not the difference."""


@dataclass(frozen=True, slots=True)
class _Region:
    """The sources of one pair of boxes, measured."""

    short: Frame
    long: Frame
    sources: list[Source]
    fit: Fit
    psf: bool
    """Whether both images have a PSF."""
    colours: tuple[str, ...]
    false_alarm: float

    def records(self, bands: bool) -> list[Candidate]:
        """Return a record for each source that is of a colour for sure, and for each of a band where asked for."""
        coloured = [self._record(i, found) for i in range(len(self.sources)) if (found := self._coloured(i)) is not None]
        if not bands:
            return coloured
        seen = [(i, name, detection) for i, source in enumerate(self.sources) for name, detection in source.seen.items()]
        return coloured + [self._record(i, _Found(name, "", one)) for i, name, one in seen if name not in COLOURS]

    def _coloured(self, i: int) -> _Found | None:
        """Return how a source shows its colour; None if it does not."""
        short, long = self.fit.short, self.fit.long
        difference = float(long.flux[i] - short.flux[i])
        name, brighter = ("red", long) if difference > 0 else ("blue", short)
        noise = math.hypot(float(short.error[i]), float(long.error[i]))
        sure = abs(difference) / math.hypot(_error(short, i), _error(long, i))
        if name not in self.colours or not sure >= SURE or not brighter.flux[i] >= SURE * brighter.error[i]:
            return None
        seen = self.sources[i].seen
        if self._ambiguous(i, difference):
            return None
        if name in seen and abs(difference) >= BORNE_OUT * seen[name].height * noise:
            return _Found("difference", name, seen[name])
        chance = len(self.sources) * math.erfc(sure / math.sqrt(2))
        of_a_band = [seen[band] for band in ("a", "b") if band in seen]
        certain = [one for one in of_a_band if one.false_alarm <= OF_A_BAND * self.false_alarm]
        if not certain or chance > OF_FLUXES * self.false_alarm:
            return None
        best = max(certain, key=lambda one: one.height)
        return _Found("difference", name, replace(best, height=sure, false_alarm=chance + best.false_alarm), by_fluxes=True)

    def _ambiguous(self, i: int, difference: float) -> bool:
        """Return whether the colour may be that of sources too near to each other to be told apart, and fitted as one.

        With the light that the fit has left they would have the other colour; or it may itself be what a neighbour's fit has left.
        """
        short, long = self.fit.short, self.fit.long
        if difference * (difference + float(long.left[i] - short.left[i])) <= 0:
            return True
        beside = np.hypot(long.x - long.x[i], long.y - long.y[i]) < BLEND_PX
        beside[i] = False
        brightest = np.nan_to_num(np.stack([short.flux, long.flux])[:, beside]).max(initial=0.0)
        return not self.sources[i].seen.keys() & {"a", "b"} and abs(difference) < LEFT_OVER * float(brightest)

    def _record(self, i: int, found: _Found) -> Candidate:
        seen, short, long = found.detection, self.fit.short, self.fit.long
        ra, dec = self.long.sky(long.x[i : i + 1], long.y[i : i + 1])
        pixel = math.sqrt(float(np.median(self.long.cutout.planes["SOLID_ANGLE"])))
        notes = (["by its fluxes, not on the difference"] if found.by_fluxes else []) + self._notes(i)
        values = {
            "catalogue": found.catalogue,
            "kind": found.kind,
            "source": i,
            "ra": float(ra[0]),
            "dec": float(dec[0]),
            "position_err_arcsec": float(self.fit.error_px[i]) * pixel,
            "snr": seen.height,
            "false_alarm": seen.false_alarm,
            **_fluxes(short, long, i),
            "a_px": seen.a,
            "b_px": seen.b,
            "theta_deg": math.degrees(seen.theta),
            "ellipticity": 1 - seen.b / max(seen.a, 1e-9),
            **self._flags(i),
            **_of_image("a", self.short, short, i),
            **_of_image("b", self.long, long, i),
            "note": "; ".join(notes),
        }
        return Candidate(self.long.cutout.target.name, values)

    def _flags(self, i: int) -> dict[str, int]:
        """Return the flags of the pixels around a source in each band, and how many of these are not used."""
        found, bad = {}, 0
        for name, frame, band in (("flags_a", self.short, self.fit.short), ("flags_b", self.long, self.fit.long)):
            x, y = round(float(band.x[i])), round(float(band.y[i]))
            part = (slice(max(y - NEAR, 0), max(y + NEAR + 1, 0)), slice(max(x - NEAR, 0), max(x + NEAR + 1, 0)))
            found[name] = int(np.bitwise_or.reduce(frame.flags[part], axis=None))
            bad += int(np.count_nonzero(~frame.good[part]))
        return {**found, "n_bad": bad}

    def _notes(self, i: int) -> list[str]:
        """Return what may spoil the measurement."""
        notes = []
        for frame, band in ((self.short, self.fit.short), (self.long, self.fit.long)):
            ny, nx = frame.shape
            if min(band.x[i], band.y[i], nx - 1 - band.x[i], ny - 1 - band.y[i]) < EDGE_PX:
                notes.append(f"edge: near the border of the box in {frame.image.band}")
            if math.isnan(band.flux[i]):
                notes.append(f"no flux in {frame.image.band}: most of the light falls on bad pixels or outside the box")
            elif band.light[i] < 0.9:
                notes.append(f"{100 * (1 - band.light[i]):.0f} % of the light in {frame.image.band} falls on bad pixels or outside")
        distance = np.hypot(self.fit.long.x - self.fit.long.x[i], self.fit.long.y - self.fit.long.y[i])
        if np.count_nonzero(distance < BLEND_PX) > 1 or any(seen.merged for seen in self.sources[i].seen.values()):
            notes.append("blended with a neighbour")
        if not self.psf:
            notes.append("fluxes by a Gaussian as wide as PSF_FWHM: no PSF")
        return notes


def _error(band: Band, i: int) -> float:
    """Return the error of a flux for the test of its colour: with what is not known of the PSF."""
    return math.hypot(float(band.error[i]), KNOWN * float(band.flux[i]))


def _fluxes(short: Band, long: Band, i: int) -> dict[str, float]:
    """Return fluxes, their difference and their colour, -2.5 log10(short / long): positive is red; NaN where one is not above 0."""
    a, b, error_a, error_b = (float(values[i]) for values in (short.flux, long.flux, short.error, long.error))
    told = a > 0 and b > 0
    return {
        "difference_ujy": b - a,
        "difference_err_ujy": math.hypot(error_a, error_b),
        "flux_a_ujy": a,
        "flux_a_err_ujy": error_a,
        "flux_b_ujy": b,
        "flux_b_err_ujy": error_b,
        "colour": -2.5 * math.log10(a / b) if told else math.nan,
        "colour_err": 2.5 / math.log(10) * math.hypot(error_a / a, error_b / b) if told else math.nan,
    }


def _of_image(name: str, frame: Frame, band: Band, i: int) -> dict[str, str | float]:
    place = band.x[i : i + 1], band.y[i : i + 1]
    return {
        f"band_{name}": frame.image.band,
        f"central_wavelength_{name}_um": float(wavelength_at(frame.image, frame.cutout, *place)[0]),
        f"mjd_{name}": frame.image.mjd,
        f"obs_id_{name}": frame.image.obs_id,
    }
