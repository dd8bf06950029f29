"""One band of a pair, ready to be searched: light above zodiacal light and background, its variance, and what cannot be used."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
CLIP = 4.0
"""Pixels that lie farther than this many standard deviations from a first background do not count, nor do those beside them."""
BESIDE = 2
"""Pixels on each side of such a one that its light reaches."""
LEAST_FREE = 0.1
"""A mesh of which less than this part is left keeps its first background."""
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
    """Return the background of every pixel, in the unit of the light: the mean of the good pixels of each mesh without its sources.

    A first background, the mode of each mesh (Bertin & Arnouts 1996, A&AS 117, 393, section 3), tells which pixels are sources.
    The mean of the others is half as noisy as the mode, so that what a box tells is what a larger one would. The meshes, about
    `MESH` pixels wide, divide the box evenly: a narrow last one would be noisy. From one centre to the next it is bilinear.
    """
    import sep
    from scipy.ndimage import binary_dilation

    count = [max(1, round(size / MESH)) for size in light.shape]
    ny, nx = (math.ceil(size / n) for size, n in zip(light.shape, count, strict=True))
    told = sep.Background(light, mask=~good, bw=nx, bh=ny)
    first = told.back()
    sources = good & (np.abs(light - first) > CLIP * told.rms())
    free = good & ~binary_dilation(sources, np.ones((2 * BESIDE + 1, 2 * BESIDE + 1), bool))
    total, pixels, area, firsts = (
        _by_mesh(plane, count) for plane in (np.where(free, light, 0.0), free, np.ones(free.shape), first)
    )
    means = np.where(pixels >= LEAST_FREE * area, total / np.maximum(pixels, 1.0), firsts / area)
    rows, columns = (_between(size, n) for size, n in zip(light.shape, count, strict=True))
    return np.asarray(rows @ means @ columns.T)


def _by_mesh(plane: NDArray[Any], count: Sequence[int]) -> NDArray[np.float64]:
    """Return the sum over each mesh, shape `count`."""
    rows, columns = ([round(i * size / n) for i in range(n)] for size, n in zip(plane.shape, count, strict=True))
    return np.asarray(np.add.reduceat(np.add.reduceat(plane.astype(np.float64), rows, axis=0), columns, axis=1))


def _between(size: int, count: int) -> NDArray[np.float64]:
    """Return the weight that each pixel of a side gives each mesh, shape (size, count): linear, also beyond the outer centres."""
    if count == 1:
        return np.ones((size, 1))
    place = (np.arange(size) + 0.5) * count / size - 0.5
    first = np.clip(np.floor(place).astype(int), 0, count - 2)
    weights, pixels = np.zeros((size, count)), np.arange(size)
    weights[pixels, first], weights[pixels, first + 1] = first + 1 - place, place - first
    return weights


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
