"""Emission lines of known flux, put into windows of cubes: the truth that line detectors are measured against.

Written from the formulas alone, without any of the detectors' code, so that a mistake made there shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Pixels, Window

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

C_KM_S = 299_792.458
"""Speed of light, km/s (exact, SI)."""
C_UM_S = 2.99792458e14
"""Speed of light, um/s (exact, SI)."""
BOLTZMANN = 1.380649e-23
"""Boltzmann constant, J/K (exact, SI)."""
SIGMA = 1 / math.sqrt(8 * math.log(2))
"""Standard deviation of a Gaussian of full width at half maximum 1."""
FINE = 7
"""Points along each side of a spaxel at which a shape is evaluated."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One window of a cube, and what is known of the sky and of the instrument behind it."""

    pixels: Pixels
    """With one window."""
    star: tuple[float, float]
    """(y, x) of the brightest point of the continuum, spaxels counted from 0."""
    resolving_power: float
    """Wavelength over the full width at half maximum of an unresolved line."""
    psf_arcsec: float
    """Full width at half maximum of the point-spread function."""
    kind: str = ""
    """What noise this is."""
    source: NDArray[np.intp] | None = None
    """Of resampled real noise: the cube's plane from which each plane was taken."""

    @property
    def window(self) -> Window:
        """The one window."""
        return self.pixels.windows[0]

    @property
    def header(self) -> fits.Header:
        """The header as a reader hands it on."""
        from astropy.io import fits

        return fits.Header.fromstring(self.pixels.header)

    @property
    def wcs(self) -> WCS:
        """The celestial part of the header's WCS."""
        return _celestial(self.pixels.header)

    def to_sky(self, y: float, x: float) -> tuple[float, float]:
        """Return (RA, Dec), degrees, ICRS, whatever the header's frame."""
        if self.wcs.wcs.lngtyp == "RA":  # much quicker
            ra, dec = self.wcs.pixel_to_world_values(x, y)
            return float(ra) % 360, float(dec)
        from astropy.wcs.utils import pixel_to_skycoord

        place = pixel_to_skycoord(x, y, self.wcs).icrs
        return float(place.ra.deg), float(place.dec.deg)

    def to_pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return (y, x), spaxels counted from 0."""
        if self.wcs.wcs.lngtyp == "RA":
            x, y = self.wcs.world_to_pixel_values(ra, dec)
        else:
            from astropy.coordinates import SkyCoord
            from astropy.wcs.utils import skycoord_to_pixel

            x, y = skycoord_to_pixel(SkyCoord(ra, dec, unit="deg"), self.wcs)
        return float(y), float(x)


@lru_cache(maxsize=64)
def _celestial(text: str) -> WCS:
    from astropy.io import fits
    from astropy.wcs import WCS

    header = fits.Header.fromstring(text)
    keys = [f"{card}{axis}" for card in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") for axis in (1, 2)]
    keys += [f"{card}{i}_{j}" for card in ("PC", "CD") for i in (1, 2) for j in (1, 2)]
    keys += ["RADESYS", "EQUINOX", "LONPOLE", "LATPOLE"]
    return WCS(fits.Header({key: header[key] for key in keys if key in header}))


@dataclass(frozen=True, slots=True)
class Emission:
    """A line to inject."""

    flux: float
    """Integrated over the line and the sky, W m^-2."""
    shape: Literal["point", "blob", "jet", "field"] = "point"
    """A point; a round Gaussian; an elongated Gaussian; uniform over all spaxels with data."""
    length_arcsec: float = 0.0
    """Full width at half maximum of a blob, or of a jet along its axis, before the PSF."""
    width_arcsec: float = 0.0
    """That of a jet across its axis."""
    angle_deg: float = 0.0
    """Position angle of a jet's axis, degrees east of north."""
    offset: tuple[float, float] = (0.0, 0.0)
    """(y, x) of its centre from the scene's star, spaxels."""
    sky: tuple[float, float] | None = None
    """(RA, Dec) of its centre, degrees, ICRS; instead of `offset`."""
    velocity: float = 0.0
    """Of its centre from the wavelength at which the line is expected, km/s, positive away from us."""
    fwhm_km_s: float = 0.0
    """Its own full width at half maximum, before the instrument's, km/s."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was injected, and where that lies."""

    emission: Emission
    wavelength_um: float
    """Of the line's centre."""
    y: float
    """Spaxels counted from 0."""
    x: float
    ra: float
    """Degrees, ICRS."""
    dec: float
    flux: float
    """W m^-2 that fell on voxels with data."""


def inject(scene: Scene, emission: Emission) -> tuple[Scene, Truth]:
    """Return the scene with a line added to its SCI, and the truth about it; no photon noise of the line itself is added."""
    window = scene.window
    y, x = _centre(scene, emission)
    wavelength = window.observed_um * (1 + emission.velocity / C_KM_S)
    spectrum = line_profile(window.wavelength_um, wavelength, line_fwhm_um(scene, emission, wavelength))
    image = emission_image(scene, emission)
    parts = spectrum[:, None, None] * image
    added = emission.flux * parts / flux_per_unit(scene)[:, None, None]
    sci = (window.sci + added).astype(window.sci.dtype)
    sci.flags.writeable = False
    inside = float(parts[np.isfinite(window.sci)].sum())
    made = replace(window, planes={**window.planes, "SCI": sci})
    truth = Truth(emission, wavelength, y, x, *scene.to_sky(y, x), emission.flux * inside)
    return replace(scene, pixels=replace(scene.pixels, windows=(made,))), truth


def line_fwhm_um(scene: Scene, emission: Emission, wavelength_um: float) -> float:
    """Return the full width at half maximum that the instrument shows: its own and the line's, added in quadrature."""
    return math.hypot(wavelength_um / scene.resolving_power, wavelength_um * emission.fwhm_km_s / C_KM_S)


def line_profile(wavelength_um: NDArray[np.float64], centre_um: float, fwhm_um: float) -> NDArray[np.float64]:
    """Return the part of a Gaussian line that falls into each plane's bin, whose borders lie half-way between the planes."""
    from scipy.special import erf

    between = (wavelength_um[1:] + wavelength_um[:-1]) / 2
    ends = [2 * wavelength_um[0] - between[0]], between, [2 * wavelength_um[-1] - between[-1]]
    below = 0.5 * (1 + erf((np.concatenate(ends) - centre_um) / (fwhm_um * SIGMA * math.sqrt(2))))
    return np.diff(below)


def flux_per_unit(scene: Scene) -> NDArray[np.float64]:
    """Return for each plane the W m^-2 that one unit of SCI in one voxel stands for.

    MJy/sr: I_nu dnu dOmega with 1 MJy = 1e-20 W m^-2 Hz^-1 and dnu = c dlambda / lambda^2. K: the same of
    I_nu = 2 k T nu^2 / c^2 (Rayleigh-Jeans). MUSE's 1e-20 erg s-1 cm-2 Angstrom-1: per spaxel, with 1 erg s-1 cm-2 = 1e-3 W m^-2.

    Raises
    ------
    ValueError
        If BUNIT is another.
    """
    wavelength, unit = scene.window.wavelength_um, str(scene.header["BUNIT"]).strip()
    step = np.abs(np.gradient(wavelength))
    hertz = C_UM_S * step / wavelength**2
    if unit == "MJy/sr":
        return np.asarray(1e-20 * hertz * spaxel_sr(scene))
    if unit == "K":
        return np.asarray(2 * BOLTZMANN / (wavelength * 1e-6) ** 2 * hertz * spaxel_sr(scene))
    if unit == "10**-20 Angstrom-1 cm-2 erg s-1":
        return np.asarray(1e-23 * step * 1e4)
    raise ValueError(f"BUNIT = {unit!r}: known are MJy/sr, K and MUSE's")


def spaxel_sr(scene: Scene) -> float:
    """Return the solid angle of a spaxel: that between its neighbours' centres on the sky."""
    matrix = np.radians(scene.wcs.pixel_scale_matrix)
    return float(abs(np.linalg.det(matrix)))


def _centre(scene: Scene, emission: Emission) -> tuple[float, float]:
    if emission.sky is None:
        return scene.star[0] + emission.offset[0], scene.star[1] + emission.offset[1]
    return scene.to_pixel(*emission.sky)


def emission_image(scene: Scene, emission: Emission) -> NDArray[np.float64]:
    """Return the part of an emission's flux that falls into each spaxel."""
    y, x = _centre(scene, emission)
    shape = scene.window.sci.shape[1:]
    if emission.shape == "field":
        lit = np.isfinite(scene.window.sci).any(axis=0)
        return np.asarray(lit / max(1, int(lit.sum())))
    return gaussian_image(shape, (y, x), _covariance(scene, emission, y, x))


def gaussian_image(
    shape: tuple[int, ...], centre: tuple[float, float], covariance: NDArray[np.float64], fine: int = FINE
) -> NDArray[np.float64]:
    """Return the part of a Gaussian of total 1 in each spaxel; `covariance` is of (y, x), spaxels squared."""
    points = (np.arange(fine) + 0.5) / fine - 0.5
    dy = np.add.outer(np.arange(shape[0]) - centre[0], points).ravel()[:, None]
    dx = np.add.outer(np.arange(shape[1]) - centre[1], points).ravel()[None, :]
    inverse = np.linalg.inv(covariance)
    square = inverse[0, 0] * dy**2 + 2 * inverse[0, 1] * dy * dx + inverse[1, 1] * dx**2
    density = np.exp(-0.5 * square) / (2 * math.pi * math.sqrt(np.linalg.det(covariance)))
    means: NDArray[np.float64] = density.reshape(shape[0], fine, shape[1], fine).mean(axis=(1, 3))
    return means


def _covariance(scene: Scene, emission: Emission, y: float, x: float) -> NDArray[np.float64]:
    """Return the covariance of (y, x) of the emission as the telescope shows it, spaxels squared."""
    arcsec = math.degrees(math.sqrt(spaxel_sr(scene))) * 3600
    square: dict[str, float] = {
        "psf": (SIGMA * scene.psf_arcsec / arcsec) ** 2,
        "length": (SIGMA * emission.length_arcsec / arcsec) ** 2,
        "width": (SIGMA * emission.width_arcsec / arcsec) ** 2,
    }
    shape = square["psf"] * np.eye(2)
    if emission.shape == "blob":
        shape += square["length"] * np.eye(2)
    if emission.shape == "jet":
        along = _direction(scene, y, x, emission.angle_deg)
        across = np.array([-along[1], along[0]])
        shape += square["length"] * np.outer(along, along) + square["width"] * np.outer(across, across)
    return shape


def _direction(scene: Scene, y: float, x: float, angle_deg: float) -> NDArray[np.float64]:
    """Return the unit vector (y, x) on the array that points to a position angle on the sky."""
    ra, dec = scene.to_sky(y, x)
    step, angle = 0.01 / 3600, math.radians(angle_deg)
    there = scene.to_pixel(ra + step * math.sin(angle) / math.cos(math.radians(dec)), dec + step * math.cos(angle))
    vector = np.array(there) - (y, x)
    return np.asarray(vector / np.linalg.norm(vector))
