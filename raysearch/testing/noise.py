"""Windows of cubes that hold noise and no line: synthetic, of many kinds; `raysearch.testing.realnoise` makes them from real cubes.

The kinds are those that JWST's integral-field cubes show: noise correlated between spaxels and planes by the resampling (Law et
al. 2023, AJ 166, 45), a star with its photon noise and fringes (Argyriou et al. 2020, A&A 641, A150), residuals of cosmic rays,
borders without data, errors that are wrong by a factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Line, Pixels, Window
from raysearch.testing.cards import card
from raysearch.testing.injection import C_KM_S, SIGMA, Scene, gaussian_image
from raysearch.testing.synthetic import BAD, CubeSpec, science_header


@dataclass(frozen=True, slots=True)
class NoiseSpec:
    """Everything that decides a kind of noise; a seed decides the rest. Brightness is in MJy/sr."""

    planes: int = 91
    ny: int = 31
    nx: int = 31
    wavelength_um: float = 18.228
    """Of the line searched, in the middle of the window."""
    step_um: float = 0.006
    """From plane to plane."""
    pixel_arcsec: float = 0.35
    velocity: float = 500.0
    """The line may lie this far from its wavelength, km/s: what a reader was asked for."""
    level: float = 75.0
    """Background: 15 times the noise, as in the real cubes of NGC 7469 (9 and 16)."""
    sigma: float = 5.0
    """Standard deviation of a voxel's noise, without a star's."""
    blur: tuple[float, float] = (0.0, 0.0)
    """Standard deviations of the Gaussians by which the noise is correlated: along wavelength, planes; on the sky, spaxels."""
    star: float = 0.0
    """Brightness of a star's central spaxel."""
    fringes: float = 0.0
    """Amplitude of the star's fringes, as a part of its continuum."""
    slope: float = 0.0
    """Change of the continuum from one end of the window to the other, as a part of it."""
    hits: float = 0.0
    """Part of the voxels at which a cosmic ray's residual begins."""
    showers: float = 0.0
    """Part of the planes that a cosmic-ray shower brightens along a band."""
    border: float = 0.0
    """Part of the spaxels without data, around a field that is rotated against the array."""
    empty_planes: float = 0.0
    """Part of the planes in which nearly nothing has data."""
    err_factor: float = 1.0
    """ERR is this times the truth."""
    err_gradient: float = 0.0
    """ERR varies over the field by exp(+- this) from side to side."""
    tails: float = 0.0
    """Part of the voxels whose noise is 4 times as wide."""


WHITE = NoiseSpec()
DRIZZLED = replace(WHITE, blur=(0.6, 0.7))
STAR = replace(DRIZZLED, star=6000.0, fringes=0.02, slope=0.15)
NOISES: Mapping[str, NoiseSpec] = {
    "white": WHITE,
    "drizzled": DRIZZLED,
    "star": STAR,
    "cosmic": replace(DRIZZLED, hits=2e-4, showers=0.04),
    "borders": replace(DRIZZLED, border=0.3, empty_planes=0.05),
    "err-low": replace(DRIZZLED, err_factor=0.3),
    "err-high": replace(DRIZZLED, err_factor=3.0),
    "err-varies": replace(DRIZZLED, err_factor=0.5, err_gradient=0.7),
    "tails": replace(DRIZZLED, tails=0.03),
    "negative": replace(STAR, star=1500.0, level=-15.0),
    "everything": replace(STAR, hits=1e-4, showers=0.02, border=0.25, empty_planes=0.03, err_factor=0.45, err_gradient=0.3),
}
"""The kinds of synthetic noise, by name."""


def make_noise(spec: NoiseSpec, seed: int, kind: str = "") -> Scene:
    """Return a window without a line; the same spec and seed give the same bytes."""
    rng = np.random.default_rng(seed)
    cube = _cube_spec(spec, rng)
    psf = mrs_psf_arcsec(spec.wavelength_um)
    star = (spec.ny / 2 - 0.5 + rng.uniform(-2, 2), spec.nx / 2 - 0.5 + rng.uniform(-2, 2))
    continuum = _continuum(spec, rng, star, psf / spec.pixel_arcsec)
    gain = spec.sigma**2 / max(abs(spec.level), spec.sigma)
    true_sigma = np.sqrt(spec.sigma**2 + gain * np.clip(continuum - spec.level, 0, None))
    unit = _unit_noise(spec, rng)
    sci = continuum + true_sigma * unit
    _strike(sci, true_sigma, spec, rng)
    good = _good(spec, rng)
    err = true_sigma * _err_factor(spec)
    return _scene(spec, cube, kind, star, psf, sci, err, good, rng)


def mrs_psf_arcsec(wavelength_um: float) -> float:
    """Return the full width at half maximum of the MRS's point-spread function (Law et al. 2023, AJ 166, 45, equation 1)."""
    return 0.033 * wavelength_um + 0.106


def mrs_resolving_power(wavelength_um: float) -> float:
    """Return the MRS's resolving power (Jones et al. 2023, MNRAS 523, 2519, equation 1)."""
    return 4603.0 - 128.0 * wavelength_um


def line_planes(wavelength_um: NDArray[np.float64], line_um: float, velocity: float) -> tuple[int, int]:
    """Return the first plane whose bin lies within `velocity` (km/s) of a line, and the one after the last."""
    half = float(np.median(np.diff(wavelength_um))) / 2
    reach = line_um * velocity / C_KM_S
    inside = np.flatnonzero(np.abs(wavelength_um - line_um) <= reach + half)
    return int(inside[0]), int(inside[-1]) + 1


def _cube_spec(spec: NoiseSpec, rng: np.random.Generator) -> CubeSpec:
    start = spec.wavelength_um - (spec.planes // 2 + rng.uniform(-0.5, 0.5)) * spec.step_um
    return CubeSpec(
        planes=spec.planes, ny=spec.ny, nx=spec.nx, wave_start_um=start, wave_step_um=spec.step_um, pixel_arcsec=spec.pixel_arcsec,
        rotation=float(rng.uniform(0, 360)),
    )  # fmt: skip


def _continuum(spec: NoiseSpec, rng: np.random.Generator, star: tuple[float, float], psf: float) -> NDArray[np.float64]:
    """Return background and star; `psf` is a full width at half maximum in spaxels."""
    along = np.linspace(-0.5, 0.5, spec.planes)[:, None, None]
    slope = 1 + spec.slope * along
    sky = spec.level * slope
    if not spec.star:
        return np.broadcast_to(sky, (spec.planes, spec.ny, spec.nx)).copy()
    sigma = psf * SIGMA
    core = gaussian_image((spec.ny, spec.nx), star, sigma**2 * np.eye(2))
    wings = gaussian_image((spec.ny, spec.nx), star, (3 * sigma) ** 2 * np.eye(2))
    image = core / core.max() + 0.02 * wings / wings.max()
    return np.asarray(sky + spec.star * image * slope * (1 + spec.fringes * _fringes(spec, rng)))


def _fringes(spec: NoiseSpec, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return fringes of amplitude 1, whose period changes slowly and whose phase drifts over the field."""
    plane = np.arange(spec.planes)[:, None, None]
    y, x = np.mgrid[: spec.ny, : spec.nx]
    period, change = rng.uniform(9, 18), rng.uniform(-0.002, 0.002)
    drift = (rng.normal(0, 0.05) * y + rng.normal(0, 0.05) * x)[None]
    slow = np.sin(2 * math.pi * plane / period * (1 + change * plane) + drift + rng.uniform(0, 2 * math.pi))
    fast = np.sin(2 * math.pi * plane / rng.uniform(2.5, 4) + drift + rng.uniform(0, 2 * math.pi))
    return np.asarray(0.8 * slow + 0.2 * fast)


def _unit_noise(spec: NoiseSpec, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise of standard deviation 1 in each voxel, correlated and tailed as asked."""
    from scipy.ndimage import gaussian_filter

    edge = tuple(math.ceil(4 * s) for s in (spec.blur[0], spec.blur[1], spec.blur[1]))
    unit = rng.standard_normal(tuple(n + 2 * e for n, e in zip((spec.planes, spec.ny, spec.nx), edge, strict=True)))
    if spec.tails:
        unit[rng.random(unit.shape) < spec.tails] *= 4
    if any(spec.blur):
        unit = gaussian_filter(unit, (spec.blur[0], spec.blur[1], spec.blur[1]))
    unit = unit[tuple(slice(e, n - e) for e, n in zip(edge, unit.shape, strict=True))]
    return unit / _blurred_sigma(spec)


def _blurred_sigma(spec: NoiseSpec) -> float:
    """Return the standard deviation that blurring leaves of white noise, tails included."""
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros((17, 17, 17))
    impulse[8, 8, 8] = 1
    kernel = gaussian_filter(impulse, (spec.blur[0], spec.blur[1], spec.blur[1])) if any(spec.blur) else impulse
    return math.sqrt(float((kernel**2).sum()) * (1 + 15 * spec.tails))


def _strike(sci: NDArray[np.float64], sigma: NDArray[np.float64], spec: NoiseSpec, rng: np.random.Generator) -> None:
    """Add residuals of cosmic rays: spots of one to three voxels, and bands in one plane."""
    for plane, y, x in np.argwhere(rng.random(sci.shape) < spec.hits):
        size = rng.integers(1, 3, 2)
        spot = np.s_[plane, y : y + size[0], x : x + size[1]]
        sci[spot] += rng.uniform(5, 40) * sigma[spot]
    for plane in np.flatnonzero(rng.random(len(sci)) < spec.showers):
        at, width = rng.integers(0, spec.ny - 2), int(rng.integers(2, 6))
        sci[plane, at : at + width] += rng.uniform(1, 4) * sigma[plane, at : at + width]


def _good(spec: NoiseSpec, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the voxels with data: a rotated box, and few spaxels in planes that are nearly empty."""
    good = np.broadcast_to(_box(spec, rng), (spec.planes, spec.ny, spec.nx)).copy()
    for plane in np.flatnonzero(rng.random(spec.planes) < spec.empty_planes):
        good[plane] &= rng.random((spec.ny, spec.nx)) < rng.uniform(0, 0.1)
    return good


def _box(spec: NoiseSpec, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the rotated box that covers all but `border` of the array."""
    angle = rng.uniform(0.15, 0.6)
    y, x = np.mgrid[: spec.ny, : spec.nx] - (np.array([spec.ny, spec.nx]) / 2 - 0.5)[:, None, None]
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    reach = np.maximum(np.abs(u) / spec.nx, np.abs(v) / spec.ny)
    return np.asarray(reach <= np.quantile(reach, 1 - spec.border))


def _err_factor(spec: NoiseSpec) -> NDArray[np.float64]:
    """Return by what ERR is wrong, for each spaxel."""
    return spec.err_factor * np.exp(spec.err_gradient * np.linspace(-1, 1, spec.nx))[None, None, :] * np.ones((1, spec.ny, 1))


def _scene(
    spec: NoiseSpec, cube: CubeSpec, kind: str, star: tuple[float, float], psf: float, sci: NDArray[np.float64],
    err: NDArray[np.float64], good: NDArray[np.bool_], rng: np.random.Generator,
) -> Scene:  # fmt: skip
    """Return the window as a reader would give it."""
    planes: dict[str, NDArray[Any]] = {
        "SCI": np.where(good, sci, np.nan).astype(np.float32),
        "ERR": np.where(good, err, np.nan).astype(np.float32),
        "DQ": np.where(good, 0, BAD).astype(np.uint32),
        "WMAP": np.where(good, rng.integers(8, 20, good.shape[1:]), 0).astype(np.float32),
    }
    window = line_window(Line("test", spec.wavelength_um), cube.wavelength_um(), planes, spec.velocity)
    pixels = Pixels(kind or "noise", f"memory://{kind or 'noise'}", (window,), _header(cube))
    return Scene(pixels, star, mrs_resolving_power(spec.wavelength_um), psf, kind)


def _header(cube: CubeSpec) -> str:
    """Return the science header, before it what a reader adds of the primary's."""
    return "".join([*card("INSTRUME", "MIRI"), *card("CHANNEL", "4"), *card("BAND", "SHORT")]) + science_header(cube)


def line_window(line: Line, wavelength_um: NDArray[np.float64], planes: Mapping[str, NDArray[Any]], velocity: float) -> Window:
    """Return a window that is a whole cube."""
    for array in planes.values():
        array.flags.writeable = False
    searched = line_planes(wavelength_um, line.rest_um, velocity)
    position = int(np.searchsorted(wavelength_um, line.rest_um))
    return Window(line, 0.0, ("star",), position, 0, len(wavelength_um), wavelength_um, planes, searched)
