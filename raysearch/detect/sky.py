"""Where the spaxels of a cube lie on the sky, from its header."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

ARCSEC_PER_RADIAN = 180.0 * 3600.0 / math.pi
NEAR_DEG = 0.5
"""A coordinate system's turn into ICRS is found from three points this far apart: the E-terms of FK4 are the same among them."""
CELESTIAL = (
    *(f"{key}{axis}" for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT", "CROTA") for axis in (1, 2)),
    *(f"{key}{i}_{j}" for key in ("PC", "CD") for i in (1, 2) for j in (1, 2)),
    *(f"PV{axis}_{m}" for axis in (1, 2) for m in range(5)),
    *("LONPOLE", "LATPOLE", "RADESYS", "RADECSYS", "EQUINOX", "EPOCH", "MJD-OBS", "DATE-OBS"),
)
"""The cards that say where the first two axes lie; the spectral axis, whose table may not be at hand, is left out."""


@dataclass(frozen=True, slots=True)
class Sky:
    """The places of a cube's spaxels, which are counted from 0 at the centre of the first: x along a row, y from row to row."""

    wcs: WCS
    """Of the two celestial axes, in the system of the header."""
    turn: NDArray[np.float64]
    """Matrix that turns unit vectors of the header's system into ICRS, shape (3, 3)."""
    pixel_arcsec: float
    """Side of a square as large as a spaxel, arcsec."""
    spaxel_sr: float
    """Solid angle of a spaxel, steradian."""
    own: tuple[tuple[str, Any], ...]
    """The header's cards of the two axes, as astropy.wcs writes them."""

    @classmethod
    def from_header(cls, header: fits.Header) -> tuple[Sky | None, str]:
        """Return the sky of a cube, or None and the reason why its header does not tell.

        Follows FITS WCS papers I and II (Greisen & Calabretta 2002, A&A 395, 1061; Calabretta & Greisen 2002, A&A 395, 1077)
        as astropy.wcs reads them; distortions (SIP) are left out, for cubes are resampled. Headers with the same celestial cards
        are read once.
        """
        cards = tuple((key, header[key]) for key in CELESTIAL if key in header and header[key] != "")
        return _read(cards)

    def to_sky(self, x: float, y: float) -> tuple[float, float]:
        """Return right ascension and declination, degrees ICRS, of a place in the cube; NaN where the projection has none."""
        lon, lat = self.wcs.wcs_pix2world(x, y, 0)
        return _angles(self.turn @ _vector(float(lon), float(lat)))

    def to_pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return x and y, counted from 0, of a position in degrees ICRS; NaN where the projection has none."""
        lon, lat = _angles(np.linalg.solve(self.turn, _vector(ra, dec)))
        if math.isnan(lon):
            return math.nan, math.nan
        x, y = self.wcs.wcs_world2pix(lon, lat, 0)
        return float(x), float(y)

    def cards(self, x: int, y: int) -> dict[str, Any]:
        """Return the header cards of an image whose first spaxel is the cube's (x, y)."""
        header = dict(self.own)
        header["CRPIX1"] = header.get("CRPIX1", 0.0) - x
        header["CRPIX2"] = header.get("CRPIX2", 0.0) - y
        return header


def separation(ra1: float, dec1: float, ra2: float, dec2: float) -> tuple[float, float]:
    """Return how far (arcsec) and in which direction (degrees from north to east, 0 <= d < 360) the second lies from the first.

    Along the great circle; Vincenty's formula for the distance, which is good at all scales.
    """
    turn, first, second = (math.radians(v) for v in (ra2 - ra1, dec1, dec2))
    east = math.cos(second) * math.sin(turn)
    north = math.cos(first) * math.sin(second) - math.sin(first) * math.cos(second) * math.cos(turn)
    along = math.sin(first) * math.sin(second) + math.cos(first) * math.cos(second) * math.cos(turn)
    distance = math.atan2(math.hypot(east, north), along) * ARCSEC_PER_RADIAN
    return distance, math.degrees(math.atan2(east, north)) % 360.0


@lru_cache(maxsize=64)
def _read(cards: tuple[tuple[str, Any], ...]) -> tuple[Sky | None, str]:
    """Return the sky that these cards describe, or why they describe none."""
    from astropy.io import fits
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_area

    kinds = {str(value)[:4].rstrip("-").upper() for key, value in cards if key.startswith("CTYPE")}
    if len(kinds) < 2:
        return None, "no positions: CTYPE1 and CTYPE2 do not name a longitude and a latitude"
    numbers = dict(cards)
    for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        if not isinstance(numbers.get(key), (int, float)):
            return None, f"no positions: {key} is absent or no number"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FITSFixedWarning: what astropy mended on the way
        try:
            wcs = WCS(fits.Header(cards), naxis=2)
            if not wcs.has_celestial:
                return None, f"no positions: CTYPE1 and CTYPE2 ({', '.join(sorted(kinds))}) are not celestial"
            turn = _turn(wcs)
            own = tuple(wcs.to_header().items())
            area = proj_plane_pixel_area(wcs) * math.radians(1.0) ** 2
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as exc:
            return None, f"no positions: the header's coordinates cannot be read ({str(exc).strip().splitlines()[-1]})"
    if not (0 < area < 4 * math.pi and np.isfinite(turn).all()):
        return None, "no positions: the header's coordinates are not numbers, or no spaxel has that size"
    return Sky(wcs, turn, math.sqrt(area) * ARCSEC_PER_RADIAN, area, own), ""


def _turn(wcs: WCS) -> NDArray[np.float64]:
    """Return the matrix that turns unit vectors of the header's system into ICRS, exact around the cube."""
    from astropy.coordinates import ICRS, SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    frame = wcs_to_celestial_frame(wcs)
    if isinstance(frame, ICRS):
        return np.eye(3)
    lon, lat = (float(v) for v in wcs.wcs.crval)
    side = -NEAR_DEG if lat > 0 else NEAR_DEG
    places = np.array([[lon, lat], [lon + NEAR_DEG / max(math.cos(math.radians(lat)), 0.01), lat], [lon, lat + side]])
    icrs = SkyCoord(places[:, 0], places[:, 1], unit="deg", frame=frame).icrs
    own = np.array([_vector(a, b) for a, b in places]).T
    turned = np.array([_vector(a, b) for a, b in zip(icrs.ra.deg, icrs.dec.deg, strict=True)]).T
    return np.linalg.solve(own.T, turned.T).T


def _vector(lon: float, lat: float) -> NDArray[np.float64]:
    """Return the unit vector to a point given in degrees."""
    a, b = math.radians(lon), math.radians(lat)
    return np.array([math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b)])


def _angles(vector: NDArray[np.floating]) -> tuple[float, float]:
    """Return longitude (0 <= lon < 360) and latitude of a vector, degrees."""
    x, y, z = (float(v) for v in vector)
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))
