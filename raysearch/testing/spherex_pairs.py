"""Pairs of made-up SPHEREx frames as a Reader hands them to a detector, with sources of known flux and colour in both bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Cutout, Image, Pixels, Target
from raysearch.testing.fields import Field
from raysearch.testing.spherex import sky_cards
from raysearch.testing.spherex_boxes import PSF_SIDE
from raysearch.testing.spherex_optics import OVERSAMPLING, ZONES, Optics, psf_cube, psf_widths, shares
from raysearch.testing.spherex_pixels import UJY_PER_MJY_SR_ARCSEC2, make_planes
from raysearch.testing.spherex_spec import PIXEL_ARCSEC, Blemish, FrameSpec, PointSource

CENTRE = (150.0, 3.0)
"""Of the region, degrees."""
DETECTORS = (2, 4)
AROUND = 5
"""Pixels on each side of a source that hold its light."""
RESOLUTION_PX = 1.5
"""Full width at half maximum of a point source in an image that is filtered with its profile: sqrt(2) times that of a PSF of
5.2 arcsec (PSF_FWHM) on square pixels of 6.15 arcsec, together 9.4 arcsec. Sources nearer to each other look like one."""
USABLE = frozenset(
    {"SOURCE", "GHOST", "GHOST_FPA", "GHOST_EXT", "BLOOM", "SNOWBALL", "HALO", "CROSSTALK", "STREAK", "SATELLITE_HALO"}
)
"""Flags that the published list does not take for bad."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What an injected source is in each band."""

    source: PointSource
    flux: tuple[float, float]
    """uJy, short wavelength and long."""
    error: tuple[float, float]
    """What the best estimator of a lone source's flux would err by on the pixels that are good, uJy; infinite where none is."""
    light: tuple[float, float]
    """Part of its light on good pixels."""
    neighbour_px: float
    """Distance of the nearest other source."""

    @property
    def kind(self) -> str:
        """`red`, `blue` or `flat`."""
        return "flat" if math.isclose(*self.flux) else "red" if self.flux[1] > self.flux[0] else "blue"

    @property
    def sigmas(self) -> float:
        """By how many standard deviations the fluxes differ."""
        return abs(self.flux[1] - self.flux[0]) / math.hypot(*self.error)


def make_pair(
    seed: int,
    side: int = 100,
    sources: int = 0,
    *,
    apart_px: float = 0.0,
    blemished: bool = False,
    flux_ujy: tuple[float, float] = (100.0, 10_000.0),
    noise: float = 0.02,
    tails: float = 0.0,
    bad: float = 0.0,
) -> tuple[Pixels, list[Truth]]:
    """Return a region in two bands, turned to each other by any angle, and the truth about its sources.

    Parameters
    ----------
    seed
        The same gives the same region.
    side
        Rows and columns of the boxes.
    sources
        How many are put into it: a third each red, blue (2 to 5 times as bright in one band) and flat; 5 pixels from the border.
    apart_px
        Least distance between two of them.
    blemished
        Whether each has a bad pixel in one of the bands, at most 1.5 pixels from its own.
    flux_ujy
        Of the fainter band, between which they are distributed evenly in the logarithm.
    noise, tails, bad
        See `FrameSpec`.
    """
    rng = np.random.default_rng((2026, 5, seed))
    turned, shifts = rng.uniform(0.0, 360.0, 2), rng.uniform(-1.0, 1.0, (2, 2)) * PIXEL_ARCSEC / 3600
    size = math.ceil(1.5 * side)
    fields = [
        Field(CENTRE[0] + float(dx), CENTRE[1] + float(dy), size, size, PIXEL_ARCSEC, rotation=float(turn))
        for turn, (dx, dy) in zip(turned, shifts, strict=True)
    ]
    stars = _stars(rng, side, sources, apart_px, flux_ujy)
    spots = [_blemish(rng, star) for star in stars] if blemished else []
    which = rng.integers(0, 2, len(spots))
    specs = [
        FrameSpec(
            2 * seed + band + 10_000, detector, fields[band], sources=tuple(stars), noise=noise, tails=tails, bad=bad,
            blemishes=tuple(spot for spot, own in zip(spots, which, strict=True) if own == band),
        )
        for band, detector in enumerate(DETECTORS)
    ]  # fmt: skip
    pixels = boxes_of(specs, CENTRE, side)
    return pixels, [_truth(star, specs, pixels, stars) for star in stars]


def as_resolved(truths: Sequence[Truth]) -> list[Truth]:
    """Return what can be told apart: sources nearer than `RESOLUTION_PX` to each other, or to one between, as one.

    Its fluxes are their sums, its place the mean of theirs, weighed by flux; its errors are those of the brightest of them.
    """
    groups: list[list[Truth]] = []
    for truth in truths:
        near = [group for group in groups if any(apart_px(truth.source, other.source) < RESOLUTION_PX for other in group)]
        groups = [group for group in groups if group not in near] + [[truth, *(other for group in near for other in group)]]
    blends = [_blend(group) for group in groups]
    return [
        replace(one, neighbour_px=min((apart_px(one.source, o.source) for o in blends if o is not one), default=math.inf))
        for one in blends
    ]


def apart_px(one: PointSource, other: PointSource) -> float:
    """Return the distance of two sources in pixels."""
    east = (one.ra - other.ra) * math.cos(math.radians(one.dec))
    return math.hypot(east, one.dec - other.dec) * 3600 / PIXEL_ARCSEC


def _blend(group: Sequence[Truth]) -> Truth:
    """Return sources as one."""
    fluxes, lights = np.array([truth.flux for truth in group]), np.array([truth.light for truth in group])
    weights = fluxes.sum(axis=1) / fluxes.sum()
    brightest = group[int(weights.argmax())]
    ra, dec = (float(weights @ [getattr(truth.source, axis) for truth in group]) for axis in ("ra", "dec"))
    short, long = (float(flux) for flux in fluxes.sum(axis=0))
    light_a, light_b = (float(light) for light in (fluxes * lights).sum(axis=0) / fluxes.sum(axis=0))
    return replace(brightest, source=replace(brightest.source, ra=ra, dec=dec), flux=(short, long), light=(light_a, light_b))


def boxes_of(specs: Sequence[FrameSpec], centre: tuple[float, float], side: int) -> Pixels:
    """Return frames, each with a box around a position (degrees, ICRS), `side` pixels wide unless the frame ends inside."""
    target = Target("centre", *centre)
    images = tuple(box_of(spec, target, side) for spec in specs)
    return Pixels(specs[0].obs_id, images[0].uri, images=images, targets=(target,))


def box_of(spec: FrameSpec, target: Target, side: int) -> Image:
    """Return one frame with a box around a target."""
    planes, optics = make_planes(spec), Optics.of(spec)
    planes["SOLID_ANGLE"] = optics.solid_angles()
    x, y = (float(place) for place in optics.pixel(target.ra, target.dec))
    ny, nx = spec.shape
    x0, y0 = round(x) - side // 2, round(y) - side // 2
    rows, columns = slice(max(y0, 0), min(y0 + side, ny)), slice(max(x0, 0), min(x0 + side, nx))
    ix, iy = optics.zone(x, y)
    wavelength, bandwidth = (float(value) for value in optics.waves.at(x, y))
    box = Cutout(
        target=target,
        x=x,
        y=y,
        x0=columns.start,
        y0=rows.start,
        planes={name: np.ascontiguousarray(plane[rows, columns]) for name, plane in planes.items()},
        wavelength_um=wavelength,
        bandwidth_um=bandwidth,
        psf=psf_cube(PSF_SIDE)[ZONES * iy + ix],
        psf_oversampling=OVERSAMPLING,
        clipped=x0 < 0 or y0 < 0 or x0 + side > nx or y0 + side > ny,
    )
    return Image(
        obs_id=spec.obs_id,
        uri=f"s3://nasa-irsa-spherex/{spec.key}",
        band=f"SPHEREx-D{spec.detector}",
        mjd=spec.mjd,
        shape=spec.shape,
        headers={"IMAGE": "".join(sky_cards(optics))},
        flags={name: 1 << bit for name, bit in spec.flag_bits.items()},
        tables={},
        cutouts=(box,),
    )


def _stars(rng: np.random.Generator, side: int, count: int, apart_px: float, flux_ujy: tuple[float, float]) -> list[PointSource]:
    """Return sources so near the centre that both boxes hold them, however they are turned."""
    reach, places = (side / 2 - 5) * PIXEL_ARCSEC / 3600, np.empty((count, 2))
    stars: list[PointSource] = []
    while len(stars) < count:
        east, north = rng.uniform(-reach, reach, 2)
        if math.hypot(east, north) > reach:
            continue
        i = len(stars)
        if i and np.hypot(*(places[:i] - (east, north)).T).min() < apart_px * PIXEL_ARCSEC / 3600:
            continue
        places[i] = east, north
        low, high = np.log(flux_ujy)
        fainter, ratio = float(np.exp(rng.uniform(low, high))), float(rng.uniform(2.0, 5.0))
        short, long = {0: (1.0, ratio), 1: (ratio, 1.0), 2: (1.0, 1.0)}[i % 3]
        bands = {DETECTORS[0]: fainter * short, DETECTORS[1]: fainter * long}
        dec = CENTRE[1] + float(north)
        stars.append(PointSource(f"star-{i}", CENTRE[0] + float(east) / math.cos(math.radians(dec)), dec, 0.0, bands=bands))
    return stars


def _blemish(rng: np.random.Generator, star: PointSource) -> Blemish:
    east, north = rng.uniform(-1.5, 1.5, 2) * PIXEL_ARCSEC / 3600
    return Blemish(star.ra + float(east), star.dec + float(north), "TRANSIENT")


def _truth(star: PointSource, specs: Sequence[FrameSpec], pixels: Pixels, stars: Sequence[PointSource]) -> Truth:
    told = [_expected(star, spec, image) for spec, image in zip(specs, pixels.images, strict=True)]
    others = [apart_px(star, other) for other in stars if other is not star]
    (short, long), (error_a, error_b), (light_a, light_b) = zip(*told, strict=True)
    return Truth(star, (short, long), (error_a, error_b), (light_a, light_b), min(others, default=math.inf))


def _expected(star: PointSource, spec: FrameSpec, image: Image) -> tuple[float, float, float]:
    """Return a source's flux, the error of a lone source's, and the part of its light on good pixels.

    The error is that of weighing each pixel by its part of the light over its variance: 1 / sqrt(sum of part^2 / variance).
    """
    optics, box = Optics.of(spec), image.cutouts[0]
    x, y = (float(place) for place in optics.pixel(star.ra, star.dec))
    wide, high = psf_widths(*optics.zone(x, y))
    columns, rows = (round(place) + np.arange(-AROUND, AROUND + 1) for place in (x, y))
    part = np.outer(
        shares(y, high, np.append(rows, rows[-1] + 1) - 0.5), shares(x, wide, np.append(columns, columns[-1] + 1) - 0.5)
    )
    ny, nx = box.shape
    inside = np.outer((rows >= box.y0) & (rows < box.y0 + ny), (columns >= box.x0) & (columns < box.x0 + nx))
    index = np.ix_(np.clip(rows - box.y0, 0, ny - 1), np.clip(columns - box.x0, 0, nx - 1))
    bad = sum(value for name, value in image.flags.items() if name not in USABLE)
    good: NDArray[np.bool_] = inside & ((box.planes["FLAGS"][index] & bad) == 0) & np.isfinite(box.planes["IMAGE"][index])
    variance = box.planes["VARIANCE"][index] * (UJY_PER_MJY_SR_ARCSEC2 * box.planes["SOLID_ANGLE"][index]) ** 2
    information = float((part[good] ** 2 / variance[good]).sum())
    return star.bands[spec.detector], 1 / math.sqrt(information) if information > 0 else math.inf, float(part[good].sum())
