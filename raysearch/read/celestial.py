"""Where targets lie on an image: its celestial WCS with its distortion (SIP)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError
from raysearch.model import Target
from raysearch.read.fits import Header

KEYWORDS = re.compile(
    r"(?:NAXIS[12]?|WCSAXES|CTYPE[12]|CRPIX[12]|CRVAL[12]|CDELT[12]|CUNIT[12]|(?:PC|CD)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE"
    r"|RADESYS|EQUINOX|[AB]P?_(?:ORDER|\d_\d)) *"
)
"""Of the primary WCS, celestial in images; what else a header holds costs time, and is no matter of this module."""
_FOREIGN_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)
"""What astropy raises of headers that it does not understand, beside its VerifyError; its WcsError is a ValueError."""
HIGHEST_ORDER = 9
"""Of a distortion, by the SIP convention: its keywords have one digit for each power."""
TOLERANCE_PX = 1e-6
"""To which the distortion is inverted."""


class Celestial:
    """The sky on an image."""

    def __init__(self, header: str) -> None:
        """Take the image's header as text.

        Raises
        ------
        FormatError
            It has no celestial WCS, or one that is not understood.
        """
        from astropy.io import fits
        from astropy.wcs import WCS

        cards = [header[at : at + 80] for at in range(0, len(header), 80)]
        text = "".join(card for card in cards if KEYWORDS.fullmatch(card[:8]))
        check_orders(Header(text))
        try:
            with warnings.catch_warnings(action="ignore"):  # what astropy mends of it is no matter here
                self._wcs = WCS(fits.Header.fromstring(text))
        except (*_FOREIGN_ERRORS, fits.VerifyError) as exc:
            raise FormatError(f"its celestial WCS is not understood: {exc}") from exc
        if self._wcs.naxis != 2 or self._wcs.wcs.lngtyp != "RA" or self._wcs.wcs.lng != 0:
            raise FormatError("IMAGE has no celestial WCS of right ascension and declination: where targets lie on it is unknown")
        with np.errstate(all="ignore"):
            sound = all(np.isfinite(numbers).all() for numbers in self._numbers())
        if not sound:
            raise FormatError("its celestial WCS is not understood: it has numbers that are none, or beyond all")
        self.scale_deg = math.sqrt(abs(np.linalg.det(self._wcs.pixel_scale_matrix)))
        """Side of a pixel where the projection touches the sphere."""

    def _numbers(self) -> Iterator[NDArray[np.float64]]:
        yield from (self._wcs.wcs.crval, self._wcs.wcs.crpix, self._wcs.pixel_scale_matrix)
        if (sip := self._wcs.sip) is not None:
            yield from (terms for terms in (sip.a, sip.b, sip.ap, sip.bp) if terms is not None)

    def places(self, targets: Sequence[Target], shape: tuple[int, int]) -> list[tuple[float, float] | None]:
        """Return for each target its place, pixels counted from 0 at the centre of the first; None for those far off the image."""
        if not targets:
            return []
        places = np.array([[target.ra, target.dec] for target in targets])
        linear = self._wcs.wcs_world2pix(places, 0)
        sizes = np.array(shape[::-1])
        near = ((linear > -sizes) & (linear < 2 * sizes)).all(axis=1)  # not a number on the other side of the sky
        exact = iter(self._inverted(places[near]))
        return [next(exact) if is_near else None for is_near in near]

    def _inverted(self, places: NDArray[np.float64]) -> list[tuple[float, float] | None]:
        """Return pixels by the distortion too: all at once, or one by one where that has no end for some."""
        from astropy.wcs import NoConvergence

        if not len(places):
            return []
        try:
            with warnings.catch_warnings(action="ignore"):  # what has no place is told below
                pixels = self._wcs.all_world2pix(places, 0, tolerance=TOLERANCE_PX, maxiter=50)
        except NoConvergence:  # far from the image its distortion has no inverse
            return [None] if len(places) == 1 else [pixel for place in places for pixel in self._inverted(place[None])]
        return [(float(x), float(y)) if np.isfinite((x, y)).all() else None for x, y in pixels]


def check_orders(header: Header) -> None:
    """Raise FormatError where a distortion has an order that none has: astropy would look for millions of coefficients."""
    for key in ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"):
        if not 0 <= header.number(key, 0) <= HIGHEST_ORDER:
            raise FormatError(f"its celestial WCS is not understood: {key} = {header.value(key)} is above {HIGHEST_ORDER}")
