"""The line detector: a matched filter whose false alarms are counted on the cube itself.

For each window: the continuum comes off every spaxel; the noise of every voxel is measured; the residual is filtered with lines of
several widths and extents; what stands out in the searched planes is compared with what stands out in line-free planes and in the
cube turned upside down, which says how many false candidates to expect at that height (after ORIGIN: Mary et al. 2020, A&A 635,
A194; LSDCat: Herenz & Wisotzki 2017, A&A 602, A111). To these come artefacts too rare to show in one window (`null.RARE`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import instruments, limits, loops, maps, measure, null, prepare, regions, units
from raysearch.detect.field import Detection, Field
from raysearch.detect.filters import EXTENTS, WIDTHS
from raysearch.detect.header import readable
from raysearch.detect.light import FWHM, Light
from raysearch.detect.sky import Sky
from raysearch.detect.statistic import Statistic
from raysearch.errors import ConfigError
from raysearch.model import LIGHT_KM_S, Candidate, Curve, Limit, Pixels, Target, Window

CONTEXT = 40
"""Planes on each side of those searched, which tell the continuum and what noise looks like."""

REACH = 18
"""Planes on each side of a plane that tell its continuum."""

LEVEL = 3.0
"""A candidate's region is what stands out by this many standard deviations around its peak."""

LEAST_NULL = 500.0
"""Line-free voxels without which false alarms cannot be told."""

LEAST_FREE = 0.25
"""Part of the planes around those searched that the target's other lines must leave; else these are not left out of the null."""


class Lines:
    """Finds emission lines, with a known rate of false alarms.

    Parameters
    ----------
    false_alarm
        False candidates expected per window searched.
    velocity
        How far from its target's redshift a line may lie, km/s.
    maps
        Whether candidates carry a small FITS map.
    resolving_power, psf_fwhm
        Wavelength over the full width at half maximum of an unresolved line, and the full width of a point source, arcsec; 0: those
        published for the instrument.

    Raises
    ------
    ConfigError
        If one of them cannot be.
    """

    window: int | None = CONTEXT
    extensions = ("ERR", "DQ", "WMAP")

    def __init__(
        self,
        false_alarm: float = 0.01,
        velocity: float = 500.0,
        maps: bool = True,
        resolving_power: float = 0.0,
        psf_fwhm: float = 0.0,
    ) -> None:
        self.false_alarm = _number("false_alarm", false_alarm, 0.0, 1.0, "0.01 is one false candidate in a hundred windows")
        self.velocity = _number("velocity", velocity, 0.0, LIGHT_KM_S, "500 searches 500 km/s to each side")
        self._power = _number("resolving_power", resolving_power, -math.inf, math.inf, "0 takes the instrument's")
        self._psf = _number("psf_fwhm", psf_fwhm, -math.inf, math.inf, "0 takes the instrument's, others are arcsec")
        if not isinstance(maps, bool):
            raise ConfigError(f"maps = {maps!r}; it is true or false")
        self._maps = maps
        loops.keep_memory()
        self.columns: Mapping[str, str] = {**measure.COLUMNS, **({"map": "bytes"} if maps else {})}

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        """Return for each window its candidates, by (y, x), or one limit."""
        product = Product.of(pixels)
        return [record for window in pixels.windows for record in self._search(window, product)]

    def _search(self, window: Window, product: Product) -> list[Candidate | Limit]:
        used, searched = prepare.cut(window, CONTEXT, self.velocity)
        flux = units.flux_per_plane(product.header, window.wavelength_um, product.spaxel_sr)
        flux = replace(flux, factor=flux.factor[used])
        grid = self._grid(window, product)
        if used.stop - used.start < 2 * grid.gap + prepare.LEAST_PLANES:
            return [_no_limit(window, "too few planes around the line to tell its continuum and noise")]
        field = prepare.prepare(window, used, searched, grid)
        field = replace(field, null=self._without_other_lines(field, window, product))
        if not field.good[searched].any():
            return [_no_limit(window, "no good data where the line may lie")]
        target = product.targets.get(window.target)
        search = Search(field, grid, self.false_alarm)
        if search.problem:
            return [_no_limit(window, search.problem)]
        found = search.found()
        if not found:
            return [limits.limit(search.field, search.threshold, window, product.sky, flux, target)]
        curve = search.curve()
        return [replace(self._candidate(search.field, one, window, product, flux, target), curve=curve) for one in found]

    def _without_other_lines(self, field: Field, window: Window, product: Product) -> NDArray[np.bool_]:
        """Return the planes of the null in which no other line of the same target may lie; all where too few would be left."""
        free = field.null.copy()
        for other in product.windows:
            if other.target == window.target and other.line != window.line:
                free &= np.abs(field.wavelength_um / other.observed_um - 1) * LIGHT_KM_S > self.velocity
        return free if free.sum() >= LEAST_FREE * field.null.sum() else field.null

    def _grid(self, window: Window, product: Product) -> prepare.Grid:
        """Return the widths of a line and of a point source in this window's planes and spaxels."""
        step = float(np.median(np.abs(np.diff(window.wavelength_um)))) if len(window.wavelength_um) > 1 else math.nan
        pixel = product.sky.pixel_arcsec if product.sky else math.nan
        told = instruments.spread(product.header, window.observed_um, step, pixel)
        power = self._power if self._power > 0 else told.resolving_power
        fwhm = self._psf if self._psf > 0 else told.psf_fwhm_arcsec
        lsf, psf = window.observed_um / power / step / FWHM, fwhm / pixel / FWHM
        lsf = lsf if math.isfinite(lsf) and lsf > 0 else 2 / FWHM
        psf = psf if math.isfinite(psf) and psf > 0 else 2 / FWHM
        psf = min(psf, max(window.sci.shape[1:]))  # a broader one, in a field that small, is a slip of the header's or the user's
        return prepare.Grid(max(lsf, 0.2), max(psf, 0.2), WIDTHS[-1] * max(lsf, 0.2), REACH)

    def _candidate(
        self, field: Field, found: Detection, window: Window, product: Product, flux: units.FluxScale, target: Target | None
    ) -> Candidate:
        """Return the record of one detection."""
        light = Light.of(field, found)
        values = measure.measure(field, found, light, window, product.sky, flux, target, product.windows, product.nowhere)
        if self._maps:
            values["map"] = maps.line_map(field, light, window, product.sky, flux)
        wavelength = measure.wavelength_um(window, values["velocity_kms"])
        return Candidate(window.target, values, window.line.name, window.line.rest_um, wavelength)


@dataclass(frozen=True, slots=True)
class Product:
    """What all windows of one cube share."""

    header: Any
    """The science header (astropy.io.fits.Header)."""
    sky: Sky | None
    nowhere: str
    """Why there is no sky; empty where there is one."""
    targets: Mapping[str, Target]
    windows: tuple[Window, ...]

    @classmethod
    def of(cls, pixels: Pixels) -> Product:
        """Return what the header tells."""
        header = readable(pixels.header)
        sky, nowhere = Sky.from_header(header)
        return cls(header, sky, nowhere, {target.name: target for target in pixels.targets}, pixels.windows)

    @property
    def spaxel_sr(self) -> float:
        """Solid angle of a spaxel, steradian; NaN where the header does not tell."""
        return self.sky.spaxel_sr if self.sky else math.nan


class Search:
    """What stands out in one field, and by how much chance makes things stand out there."""

    problem = ""
    """Why nothing can be told; empty where it can."""

    def __init__(self, field: Field, grid: prepare.Grid, false_alarm: float) -> None:
        self.statistic, self._gap = Statistic(field, grid.gap, grid.reach), grid.gap
        inside = np.zeros(len(field.good), dtype=bool)
        inside[grid.gap : len(inside) - grid.gap] = True
        calm = inside & ~self.statistic.emission & ~self.statistic.absorption
        self.field = replace(field, null=field.null & ~self.statistic.emission)
        volume = field.good.sum(axis=(1, 2))
        self._volume = float(volume[field.searched].sum())
        up, down = self.field.null & inside, calm
        if volume[up | down].sum() < LEAST_NULL:
            self.problem = "too few good voxels around the line to tell its noise"
            return
        self._peaks, rejected, margins = self._credible(1)
        tail = null.of_both(
            self._heights(self._peaks, up, 1),
            float(volume[up].sum()),
            self._heights(self._credible(-1)[0], down, -1),
            float(volume[down].sum()),
        )
        told = null.with_leaks(tail, self._heights(rejected, up, 1), margins[up[rejected[:, 0]]], float(volume[up].sum()))
        self.null = null.with_rare(told, self._searched_kms(), self._volume)
        self.threshold = self.null.threshold(false_alarm, self._volume)

    def _searched_kms(self) -> float:
        """Return the range of velocities searched, km/s."""
        axis = self.field.wavelength_um
        widths = np.abs(np.gradient(axis)) if len(axis) > 1 else np.zeros(1)
        return float((widths / axis)[self.field.searched].sum()) * LIGHT_KM_S

    def _credible(self, sign: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Return the peaks that the instrument can show, in the cube or (-1) in the cube turned upside down; and the others.

        Third, by how many standard deviations each of the others is too sharp.
        """
        values = self.statistic.highest if sign > 0 else -self.statistic.lowest
        places = regions.peaks(values, null.LOWEST)
        sharpness = self.statistic.sharpness(places, sign)
        rejected = sharpness > 0
        return places[~rejected], places[rejected], sharpness[rejected]

    def _heights(self, places: NDArray[np.intp], planes: NDArray[np.bool_], sign: int) -> NDArray[np.float32]:
        """Return the heights of those peaks that lie in these planes."""
        values = self.statistic.highest if sign > 0 else self.statistic.lowest
        return np.asarray(sign * values[tuple(places[planes[places[:, 0]]].T)], dtype=np.float32)

    def curve(self) -> Curve:
        """Return the highest S/N in each plane."""
        highest = self.statistic.highest.max(axis=(1, 2))
        return Curve(self.field.wavelength_um, highest, "highest S/N in the plane", self.threshold)

    def found(self) -> list[Detection]:
        """Return the candidates, by (y, x): one for all peaks within a region, and as near in wavelength as a line is broad."""
        searched = self.field.searched
        plane = self._peaks[:, 0]
        heights = self.statistic.highest[tuple(self._peaks.T)]
        chosen = self._peaks[(plane >= searched.start) & (plane < searched.stop) & (heights >= self.threshold)]
        found: list[Detection] = []
        taken = np.zeros(self.field.good.shape, dtype=bool)
        for plane, y, x in chosen.tolist():
            if not taken[plane, y, x]:
                found.append(self._detection(plane, y, x, taken))
        return sorted(found, key=lambda detection: (detection.y, detection.x, detection.plane))

    def _detection(self, plane: int, y: int, x: int, taken: NDArray[np.bool_]) -> Detection:
        """Return the candidate around a peak; its voxels, and those as near in wavelength as a line is broad, become `taken`."""
        searched, which = self.field.searched, self.statistic.best(plane, y, x)
        output = self.statistic.outputs[which]
        snr = float(output[plane, y, x])
        voxels = regions.region(output[searched], (plane - searched.start, y, x), LEVEL)
        spaxels = np.logical_or.reduce(voxels, axis=0)
        held = np.flatnonzero(voxels.any(axis=(1, 2))) + searched.start
        taken[max(0, int(held[0]) - self._gap) : int(held[-1]) + self._gap + 1] |= spaxels
        chance = self.null.expected(snr, self._volume)
        return Detection(plane, y, x, self.statistic.extents[which % len(EXTENTS)], snr, chance, spaxels)


def _no_limit(window: Window, why: str) -> Limit:
    return Limit(window.target, window.line.name, window.line.rest_um, window.observed_um, math.nan, f"no limit: {why}")


def _number(name: str, value: object, low: float, high: float, cure: str) -> float:
    """Return an option's value.

    Raises
    ------
    ConfigError
        If it is no number between these.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low < value < high:
        bounds = "a number" if low == -math.inf else f"a number above {low:g} and below {high:g}"
        raise ConfigError(f"{name} = {value!r}; it is {bounds}: {cure}")
    return float(value)
