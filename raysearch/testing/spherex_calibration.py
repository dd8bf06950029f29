"""Calibration products of SPHEREx's detectors, at their public keys: maps of solid angles, and exact wavelengths."""

from __future__ import annotations

import numpy as np

from raysearch.testing.cards import card, header
from raysearch.testing.fields import Field
from raysearch.testing.spherex import image_hdu, wave_hdu
from raysearch.testing.spherex_optics import Optics
from raysearch.testing.spherex_spec import PIXEL_ARCSEC

RIPPLE_UM = 0.0005
"""By so much CWAVE departs from the table WCS-WAVE, which is good to about a nanometre."""


def solid_angle_key(detector: int, release: str = "qr2") -> str:
    """Return the key of a detector's map of solid angles."""
    version = "cal-sapm-v2-2025-164"
    return f"{release}/solid_angle_pixel_map/{version}/{detector}/solid_angle_pixel_map_D{detector}_spx_{version}.fits"


def spectral_wcs_key(detector: int, release: str = "qr2") -> str:
    """Return the key of a detector's wavelengths."""
    version = "cal-wcs-v4-2025-254"
    return f"{release}/spectral_wcs/{version}/{detector}/spectral_wcs_D{detector}_spx_{version}.fits"


def make_solid_angles(detector: int, nx: int, ny: int) -> bytes:
    """Return the file of a detector's map of solid angles: IMAGE in arcsec^2, about 37.86, varying by some percent."""
    optics = Optics(Field(0.0, 0.0, nx, ny, PIXEL_ARCSEC), detector)
    cards = card("DETECTOR", detector)
    return _primary() + image_hdu("IMAGE", optics.solid_angles(), cards, "arcsec2", 1)


def make_spectral_wcs(detector: int, nx: int, ny: int) -> bytes:
    """Return the file of a detector's wavelengths: CWAVE and CBAND for each pixel in micrometres, and WCS-WAVE."""
    optics = Optics(Field(0.0, 0.0, nx, ny, PIXEL_ARCSEC), detector)
    y, x = np.mgrid[:ny, :nx]
    wave, width = optics.waves.at(x, y)
    wave += RIPPLE_UM * np.sin(2 * np.pi * 5 * x / nx) * np.sin(2 * np.pi * 5 * y / ny)
    cards = card("DETECTOR", detector)
    images = [image_hdu(n, a.astype(np.float32), cards, "um", 1) for n, a in (("CWAVE", wave), ("CBAND", width))]
    return b"".join([_primary(), *images, wave_hdu(optics.waves)])


def _primary() -> bytes:
    return header([*card("SIMPLE", value=True), *card("BITPIX", 8), *card("NAXIS", 0), *card("EXTEND", value=True)])
