"""One band of a pair, ready to be searched: light above zodiacal light and background, its variance, and what cannot be used."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.flags import bad_mask
from raysearch.detect.header import readable
from raysearch.detect.sky import CELESTIAL
from raysearch.detect.stamp import UJY_PER_MJY_SR_ARCSEC2
from raysearch.errors import DetectorError, NothingToSearch
from raysearch.model import Cutout, Image

if TYPE_CHECKING:
    from astropy.wcs import WCS

PLANES = ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "SOLID_ANGLE")
"""Extensions without which there is no difference."""
SIP = re.compile(r"(A|B|AP|BP)_(ORDER|\d_\d)")
"""Cards of the distortion (Shupe et al. 2005, ADASS XIV, 491)."""
MESH = 64
"""Pixels across a mesh of the background, about; as published."""
SMOOTH = 3
"""Meshes over which the background takes the median."""
LEAST_GOOD = 100
"""Good pixels without which a box tells no background and no noise."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One box of one image; arrays have its shape, rows first."""

    image: Image
    cutout: Cutout
    wcs: WCS
    """Celestial, with its distortion; pixels of the box count from 0."""
    light: NDArray[np.float64]
    """IMAGE - ZODI - background, MJy/sr; 0 where not good."""
    variance: NDArray[np.float64]
    """Of `light`, (MJy/sr)^2; where not good, the median of the others."""
    ujy: NDArray[np.float64]
    """uJy of 1 MJy/sr over each pixel; where not known, the median of the others."""
    good: NDArray[np.bool_]
    """Pixels with numbers and without a bad flag."""
    flags: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.cutout.shape

    def noisier(self, scale: float) -> Frame:
        """Return the frame with its noise this many times as large, if that is more."""
        return replace(self, variance=self.variance * max(1.0, scale) ** 2)

    def sky(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return right ascension and declination, degrees ICRS, of places in the box."""
        ra, dec = self.wcs.all_pix2world(x, y, 0)
        return np.asarray(ra), np.asarray(dec)

    def pixel(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the places in the box of positions in degrees ICRS."""
        x, y = self.wcs.all_world2pix(ra, dec, 0, quiet=True)
        return np.asarray(x), np.asarray(y)


def make_frame(image: Image, cutout: Cutout, bad: Sequence[str]) -> Frame:
    """Return a box ready to be searched.

    Parameters
    ----------
    image, cutout
        With the planes `PLANES`: IMAGE and ZODI in MJy/sr, VARIANCE in (MJy/sr)^2, SOLID_ANGLE in arcsec^2.
    bad
        Names of the flags whose pixels are not used.

    Raises
    ------
    DetectorError
        A plane is missing, or there is no flag of that name.
    NothingToSearch
        Next to no pixel of the box can be used.
    """
    planes = cutout.planes
    lacking = [name for name in PLANES if name not in planes]
    if lacking:
        raise DetectorError(f"a pair needs {', '.join(lacking)} of {image.obs_id}: name them in `extensions` of [images]")
    flags = planes["FLAGS"].astype(np.int64)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite pixels
        light = planes["IMAGE"].astype(np.float64) - planes["ZODI"]
    variance, omega = planes["VARIANCE"].astype(np.float64), planes["SOLID_ANGLE"].astype(np.float64)
    good = np.isfinite(light) & np.isfinite(variance) & (variance > 0) & np.isfinite(omega) & (omega > 0)
    good &= ~bad_mask(flags, image.flags, bad)
    if np.count_nonzero(good) < LEAST_GOOD:
        raise NothingToSearch(
            f"{image.band} of {image.obs_id} has {np.count_nonzero(good)} good pixels around {cutout.target.name}: "
            "the others are NaN or flagged"
        )
    light = np.where(good, light, 0.0)
    light[good] -= background(light, good)[good]
    variance = np.where(good, variance, np.median(variance[good]))
    ujy = np.where(good, omega, np.median(omega[good])) * UJY_PER_MJY_SR_ARCSEC2
    return Frame(image, cutout, celestial(image.header("IMAGE", cutout)), light, variance, ujy, good, flags)


def background(light: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the background of every pixel, in the unit of the light, as Source Extractor tells it from the good ones.

    The mode of each mesh, stars clipped (Bertin & Arnouts 1996, A&AS 117, 393, section 3). The meshes, about `MESH` pixels wide,
    divide the box evenly: a narrow last one would be noisy.
    """
    import sep

    ny, nx = (math.ceil(size / max(1, round(size / MESH))) for size in light.shape)
    told: NDArray[np.float64] = sep.Background(light, mask=~good, bw=nx, bh=ny, fw=SMOOTH, fh=SMOOTH).back()
    return told


def celestial(text: str) -> WCS:
    """Return the celestial coordinates of a header, with their distortion; the tables of wavelengths are left out.

    Raises
    ------
    DetectorError
        The header does not tell them.
    """
    from astropy.io import fits
    from astropy.wcs import WCS

    header = readable(text)
    lacking = [key for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2") if key not in header]
    if lacking:
        raise DetectorError(f"the header of IMAGE lacks {', '.join(lacking)}: its pixels have no places on the sky")
    keys = [key for key in header if key in CELESTIAL or SIP.fullmatch(key)]
    return WCS(fits.Header([(key, header[key]) for key in dict.fromkeys(keys)]), fix=False)
