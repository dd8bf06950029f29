"""The planes of a SPHEREx frame: zodiacal light, sources of known flux, noise as VARIANCE says, and bad pixels as FLAGS says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.testing.spherex_optics import Optics, psf_widths, shares
from raysearch.testing.spherex_spec import FrameSpec, PointSource

UJY_PER_MJY_SR_ARCSEC2 = 1e12 * math.radians(1 / 3600) ** 2
"""Flux in uJy of 1 MJy/sr over 1 arcsec^2: 1e12 uJy to the MJy, times the steradians of a square second of arc; 23.5045."""

SOURCE_SHARE = 0.55
"""Of all pixels, those with the flag SOURCE: 40 to 70 % in real frames."""
STAMP = 8
"""Pixels on each side of a source onto which its light is put: more than 18 standard deviations."""
OVERFLOW_UJY = 1e5
"""Sources from here on overflow in their cores."""
USUAL = {
    "TRANSIENT": 5.3e-3,
    "SUR_ERROR": 3.7e-3,
    "NONFUNC": 2.9e-3,
    "PERSIST": 2.0e-3,
    "COLD": 4.2e-4,
    "HOT": 1e-6,
    "OUTLIER": 1.7e-2,
}
"""Flag -> the fraction of pixels that has it in a real D3 frame (its header's counts)."""
LASTING = frozenset({"NONFUNC", "COLD", "HOT"})
"""Those that are the detector's, and the same in all its frames."""
DICHROIC = {3: (0.0, 0.026), 4: (0.974, 1.0)}
"""Detector -> the rows, as fractions, where the dichroic lets little through."""

Planes = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Injected:
    """What a source is on one frame: the truth for those who measure it."""

    source: PointSource
    x: float
    """Its place, pixels counted from 0."""
    y: float
    wavelength_um: float
    """There, by WCS-WAVE."""
    bandwidth_um: float
    flux_ujy: float
    """At that wavelength."""
    inside: bool
    """Whether its centre lies on the frame."""
    blemished: bool
    """Whether one of the spec's blemishes touches the 3 x 3 pixels around it."""


def injected(spec: FrameSpec) -> list[Injected]:
    """Return every source of a frame as it is there, in the spec's order."""
    if not spec.sources:
        return []
    optics = Optics.of(spec)
    x, y = optics.pixel(np.array([s.ra for s in spec.sources]), np.array([s.dec for s in spec.sources]))
    wave, width = optics.waves.at(x, y)
    spots = [(*(float(v) for v in optics.pixel(b.ra, b.dec)), b.radius_px) for b in spec.blemishes]
    found = []
    for i, source in enumerate(spec.sources):
        at, up = float(x[i]), float(y[i])
        inside = -0.5 <= at < spec.field.nx - 0.5 and -0.5 <= up < spec.field.ny - 0.5
        near = any(max(abs(at - bx), abs(up - by)) < 1.5 + radius for bx, by, radius in spots)
        um = float(wave[i])
        found.append(Injected(source, at, up, um, float(width[i]), source.flux(um, spec.detector), inside, near))
    return found


def make_planes(spec: FrameSpec) -> Planes:
    """Return IMAGE, VARIANCE and ZODI (float32; MJy/sr and its square) and FLAGS (int32)."""
    rng = np.random.default_rng((spec.number, spec.detector))
    optics, ny, nx = Optics.of(spec), *spec.shape
    up, along = np.linspace(-0.5, 0.5, ny)[:, None], np.linspace(-0.5, 0.5, nx)
    zodi = (spec.zodi * (1 + spec.zodi_slope[0] * along + spec.zodi_slope[1] * up)).astype(np.float32)
    flags = (rng.random((ny, nx), np.float32) < SOURCE_SHARE).astype(np.int32) << spec.flag_bits["SOURCE"]
    image = zodi + np.float32(spec.background)
    for one in injected(spec):
        _shine(spec, optics, one, image, flags)
    variance = np.float32(spec.noise**2 / 2) * (1 + image / np.float32(spec.zodi + spec.background))
    noise = rng.standard_normal((ny, nx), np.float32) * np.sqrt(variance)
    if spec.tails:
        noise[rng.random((ny, nx), np.float32) < spec.tails] *= 4
    image += noise
    planes: Planes = {"IMAGE": image, "FLAGS": flags, "VARIANCE": variance, "ZODI": zodi}
    if spec.bad:
        _spoil_by_chance(spec, rng, planes)
    for blemish in spec.blemishes:
        x, y = (float(v) for v in optics.pixel(blemish.ra, blemish.dec))
        _spoil(spec, rng, planes, blemish.flag, _disc((ny, nx), x, y, blemish.radius_px))
    return planes


def _shine(spec: FrameSpec, optics: Optics, one: Injected, image: NDArray[np.float32], flags: NDArray[np.int32]) -> None:
    """Add a source: each pixel has the PSF's integral over it, over the pixel's own solid angle."""
    ny, nx = spec.shape
    if not (-STAMP < one.x < nx - 1 + STAMP and -STAMP < one.y < ny - 1 + STAMP):
        return
    x0, x1 = max(round(one.x) - STAMP, 0), min(round(one.x) + STAMP + 1, nx)
    y0, y1 = max(round(one.y) - STAMP, 0), min(round(one.y) + STAMP + 1, ny)
    wide, high = psf_widths(*optics.zone(one.x, one.y), optics.lattice)
    share = np.outer(shares(one.y, high, np.arange(y0, y1 + 1) - 0.5), shares(one.x, wide, np.arange(x0, x1 + 1) - 0.5))
    y, x = np.mgrid[y0:y1, x0:x1]
    image[y0:y1, x0:x1] += share * one.flux_ujy / (UJY_PER_MJY_SR_ARCSEC2 * optics.solid_angle(x, y))
    around, bits = np.hypot(x - one.x, y - one.y), spec.flag_bits
    flags[y0:y1, x0:x1][around < 2.5] |= 1 << bits["SOURCE"]
    if one.flux_ujy >= OVERFLOW_UJY:
        flags[y0:y1, x0:x1][around < 1.5] |= 1 << bits["OVERFLOW"]


def _disc(shape: tuple[int, int], x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    if radius <= 0:
        one: NDArray[np.bool_] = (rows == round(y)) & (columns == round(x))
        return one
    disc: NDArray[np.bool_] = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return disc


def _spoil_by_chance(spec: FrameSpec, rng: np.random.Generator, planes: Planes) -> None:
    """Spoil pixels at the usual rates; those of the detector are the same in every one of its frames."""
    lasting = np.random.default_rng((2026, spec.detector))
    for flag, share in USUAL.items():
        chance = (lasting if flag in LASTING else rng).random(spec.shape, np.float32)
        _spoil(spec, rng, planes, flag, chance < spec.bad * share)
    if spec.detector in DICHROIC:
        first, last = (round(part * spec.field.ny) for part in DICHROIC[spec.detector])
        planes["FLAGS"][first:last] |= 1 << spec.flag_bits["DICHROIC"]


def _spoil(spec: FrameSpec, rng: np.random.Generator, planes: Planes, flag: str, where: NDArray[np.bool_]) -> None:
    """Set a flag, and change the values in its way: spikes, pits, trails, nothing at all."""
    planes["FLAGS"][where] |= 1 << spec.flag_bits[flag]
    count, image, sigma = int(np.count_nonzero(where)), planes["IMAGE"], spec.noise
    if flag == "MISSING_DATA":
        image[where] = planes["VARIANCE"][where] = np.nan
    elif flag == "NONFUNC":
        image[where] = np.where(rng.random(count) < 0.02, np.nan, rng.uniform(-6000, 5000, count) ** 3 / 5000**2)
    elif flag in {"HOT", "COLD"}:
        image[where] += (1 if flag == "HOT" else -1) * rng.uniform(20, 2000, count) * sigma
    elif flag == "OUTLIER":
        image[where] += rng.choice((-1, 1), count) * rng.uniform(5, 30, count) * sigma
    elif flag in {"TRANSIENT", "SUR_ERROR", "PERSIST", "SNOWBALL", "HALO", "BLOOM"}:
        image[where] += rng.exponential(5 if flag == "PERSIST" else 50, count) * sigma
