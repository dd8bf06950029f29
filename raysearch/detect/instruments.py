"""How far an instrument spreads a line in wavelength and a point on the sky, from published numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.io import fits

from raysearch.model import LIGHT_KM_S


@dataclass(frozen=True, slots=True)
class Spread:
    """Widths at one wavelength."""

    resolving_power: float
    """l / dl, where dl is the full width at half maximum of an unresolved line."""
    psf_fwhm_arcsec: float
    """Full width at half maximum of a point source, arcsec; NaN where neither the header nor a publication tells."""
    source: str
    """Where both numbers come from."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the numbers depend on."""

    header: fits.Header
    wavelength_um: float
    plane_um: float

    def text(self, *keys: str) -> str:
        """Return the first of these cards that is there, in capitals."""
        return next((str(self.header[key]).strip().upper() for key in keys if self.header.get(key)), "")

    def number(self, key: str) -> float:
        """Return a card's positive number, or NaN."""
        value = self.header.get(key)
        return float(value) if isinstance(value, (int, float)) and value > 0 else math.nan


def spread(header: fits.Header, wavelength_um: float, plane_um: float, pixel_arcsec: float) -> Spread:
    """Return the resolving power and the point-spread function of the cube with this header.

    By the instrument that INSTRUME names, at the wavelength; where none is known, the card RESOLUN (SOFIA) or two planes (one for
    the channels of heterodyne receivers) for an unresolved line. A beam in the header (BMAJ, BMIN) tells a point source's width
    before any instrument does; where nothing tells it, two spaxels.

    Parameters
    ----------
    header
        Of the cube; with the primary header's INSTRUME, GRATING and so on, where the science header lacks them.
    wavelength_um
        Observed wavelength, micrometres.
    plane_um
        Width of a plane there, micrometres.
    pixel_arcsec
        Side of a spaxel, arcsec; NaN where it is not known.
    """
    asked = _Asked(header, wavelength_um, plane_um)
    known = INSTRUMENTS.get(asked.text("INSTRUME"), _unknown)(asked)
    power = known.resolving_power
    source = known.source
    if not (math.isfinite(power) and power > 0):
        power, told = _plain_power(asked)
        source = "; ".join(part for part in (told, source) if part)
    fwhm = 3600 * math.sqrt(asked.number("BMAJ") * asked.number("BMIN"))
    if math.isfinite(fwhm):
        source += "; PSF: BMAJ and BMIN"
    elif math.isfinite(known.psf_fwhm_arcsec):
        fwhm = known.psf_fwhm_arcsec
    else:
        fwhm = 2 * pixel_arcsec
        source += "; PSF: two spaxels (not published)"
    return Spread(power, fwhm, source)


def _plain_power(asked: _Asked) -> tuple[float, str]:
    """Return a resolving power without an instrument, and what it rests on."""
    told = asked.number("RESOLUN")
    if math.isfinite(told):
        return told, "R: RESOLUN"
    if asked.text("CTYPE3")[:4] in {"VRAD", "VOPT", "VELO", "FREQ", "FELO"}:
        return asked.wavelength_um / asked.plane_um, "R: one channel"
    return asked.wavelength_um / (2 * asked.plane_um), "R: two planes (not published)"


def _unknown(asked: _Asked) -> Spread:  # noqa: ARG001
    return Spread(math.nan, math.nan, "")


def _miri(asked: _Asked) -> Spread:
    """MIRI's medium-resolution spectrometer: one line through the in-flight measurements of all bands, good to about 10 %.

    R = 4603 - 128 l: Argyriou et al. 2023, A&A 675, A111, and JWST User Documentation, "MIRI Medium Resolution Spectroscopy", from
    planetary nebulae (Jones et al. 2023, MNRAS 523, 2519); bands differ from it: in channel 4 the tests on the ground (Labiano et
    al. 2021, A&A 656, A57) gave up to 30 % less. FWHM = 0.033 l + 0.106 arcsec: Law et al. 2023, AJ 166, 45, of cubes as the
    pipeline makes them; of the core alone, around which lie broad wings.
    """
    wavelength = asked.wavelength_um
    return Spread(4603 - 128 * wavelength, 0.033 * wavelength + 0.106, "MIRI MRS: Argyriou et al. 2023, Law et al. 2023")


NIRSPEC_SLOPES = {"G140M": 714.0, "G140H": 1932.0, "G235M": 426.0, "G235H": 1152.0, "G395M": 253.0, "G395H": 686.0}
"""Resolving power per micrometre: lines through the dispersion curves of the JWST User Documentation, "NIRSpec Dispersers and
Filters", good to 4 %."""

PRISM_UM = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.3)
PRISM_POWER = (65.0, 39.8, 31.5, 30.2, 32.1, 36.0, 41.5, 48.5, 71.7, 101.0, 137.0, 180.0, 229.0, 286.0, 323.0)
"""Of the prism, at these wavelengths, from the same curves."""


def _nirspec(asked: _Asked) -> Spread:
    """NIRSpec's integral-field unit.

    Resolving power: dispersion curves of the JWST User Documentation for 2.2 pixels (Jakobsen et al. 2022, A&A 661, A80). In flight
    it is 1-24 % higher with the integral-field unit (Shajib et al. 2025, A&A 702, L12). FWHM = 0.12 + 1.9 l exp(-24.4 / l) arcsec,
    along the slices, where it is broadest: D'Eugenio et al. 2024, Nature Astronomy 8, 1443. Approximate: across the slices a point
    is slimmer, by up to a third, and cubes with large spaxels make it broader.
    """
    wavelength = asked.wavelength_um
    grating = asked.text("GRATING")
    if grating == "PRISM":
        power = float(np.interp(wavelength, PRISM_UM, PRISM_POWER))
    else:
        power = NIRSPEC_SLOPES.get(grating, math.nan) * wavelength
    fwhm = 0.12 + 1.9 * wavelength * math.exp(-24.4 / wavelength)
    return Spread(power, fwhm, f"NIRSpec {grating}: Jakobsen et al. 2022, D'Eugenio et al. 2024")


def _muse(asked: _Asked) -> Spread:
    """MUSE, wide field.

    FWHM of a line = 5.866e-8 l^2 - 9.187e-4 l + 6.040 Angstrom, l in Angstrom: Bacon et al. 2017, A&A 608, A1, equation 8 (UDF-10).
    The point-spread function is the seeing of the night, which may be twice as broad: that of the same paper's mosaic stands for
    it, 0.71 arcsec at 4750 and 0.57 at 9350 Angstrom.
    """
    angstrom = asked.wavelength_um * 1e4
    width = 5.866e-8 * angstrom**2 - 9.187e-4 * angstrom + 6.040
    return Spread(
        angstrom / width, 0.71 - 0.14 * (angstrom - 4750) / 4600, "MUSE: Bacon et al. 2017 (seeing typical, not this night's)"
    )


def _fifi(asked: _Asked) -> Spread:
    """FIFI-LS on SOFIA: RESOLUN tells the resolving power; a point source is as broad as diffraction makes it.

    Approximate: FWHM = 1.03 l / D for the 2.5 m that the telescope's secondary mirror uses (SOFIA Observer's Handbook); its
    jitter and the spaxels of 6 and 12 arcsec make it broader.
    """
    return Spread(math.nan, _diffraction(asked.wavelength_um, 2.5), "FIFI-LS: diffraction at 2.5 m")


PACS_KMS = (
    ((55.0, 60.0, 72.0), (114.0, 98.0, 55.0)),
    ((75.0, 90.0), (156.0, 121.0)),
    ((105.0, 158.0, 175.0, 210.0), (318.0, 239.0, 212.0, 140.0)),
)
"""Wavelengths (um) and full widths of an unresolved line there (km/s), in the third, second and first order."""


def _pacs(asked: _Asked) -> Spread:
    """PACS on Herschel.

    Widths of lines: PACS Observer's Manual (HERSCHEL-HSC-DOC-0832), table 4.1, interpolated. Below 72 um the third order is
    assumed, above 103 the first: approximate, for orders overlap. Beams: 9.5 arcsec from 55 to 100 um, 14.5 at 200, as Cormier et
    al. 2015, A&A 578, A53 quote that manual; in between approximate.
    """
    wavelength = asked.wavelength_um
    order = 0 if wavelength < 72 else 1 if wavelength < 103 else 2
    fwhm = float(np.interp(wavelength, (100.0, 200.0), (9.5, 14.5)))
    width = float(np.interp(wavelength, *PACS_KMS[order]))
    return Spread(LIGHT_KM_S / width, fwhm, "PACS: Observer's Manual, Cormier et al. 2015")


def _irs(asked: _Asked) -> Spread:
    """IRS on Spitzer.

    Low resolution: R = 16.533 l, 8.267 l, 5.905 l and 2.952 l in the orders that end at 7.6, 14.5, 20.5 and 38.5 um; high: 600 (IRS
    Instrument Handbook 5.0, section 4.1.3, figures 4.8 and 4.9). The planes tell which of both.
    Approximate: FWHM = 1.03 l / D for 0.85 m, which spaxels of 1.8 to 5.1 arcsec make broader.
    """
    wavelength = asked.wavelength_um
    slopes = ((7.6, 16.5333), (14.5, 8.2667), (20.5, 5.9048), (math.inf, 2.9524))
    low = wavelength * next(slope for end, slope in slopes if wavelength < end)
    sharp = asked.plane_um < wavelength / 600
    fwhm = _diffraction(wavelength, 0.85)
    return Spread(600.0 if sharp else low, fwhm, "Spitzer IRS: Instrument Handbook 5.0; diffraction at 0.85 m")


def _diffraction(wavelength_um: float, metres: float) -> float:
    """Return the full width at half maximum of an Airy disc, arcsec: 1.03 l / D."""
    return math.degrees(1.03 * wavelength_um * 1e-6 / metres) * 3600


INSTRUMENTS: dict[str, Callable[[_Asked], Spread]] = {
    "MIRI": _miri,
    "NIRSPEC": _nirspec,
    "MUSE": _muse,
    "FIFI-LS": _fifi,
    "PACS": _pacs,
    "IRS": _irs,
    "IRSX": _irs,
}
"""By INSTRUME."""
