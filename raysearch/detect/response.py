"""How a band shows a point of light: the PSF as the pixels see it, tabulated once and read off at any place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.header import readable
from raysearch.detect.light import FWHM
from raysearch.detect.psf import on_pixels
from raysearch.errors import DetectorError
from raysearch.model import Cutout, Image

STEPS = 10
"""Places in a pixel for which the response is worked out, in each direction; between them it is interpolated by cubic splines."""
HALF = 5
"""Pixels on each side of a source's own that its light may reach."""
SIDE = 2 * HALF + 1
PLANE = 101
"""Pixels across the PSF that stands in where there is none, and steps to one of the detector's."""
ARCSEC_PX = 6.15
"""Side of a pixel of SPHEREx, arcsec (Explanatory Supplement)."""


@dataclass(frozen=True, slots=True)
class Response:
    """The part of a point's light that a pixel gets, by how far the pixel's centre lies from the point."""

    coefficients: NDArray[np.float64]
    """Of the spline, `STEPS` to a pixel, the middle one at distance 0."""
    variance: float
    """Of the Gaussian that has the same noise-equivalent area, pixels^2."""
    told: bool
    """Whether the file has a PSF; else it is a Gaussian as wide as the header says."""

    def at(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the parts for pixels this far from the point."""
        from scipy.ndimage import map_coordinates

        middle = (len(self.coefficients) - 1) / 2
        places = np.stack([dy * STEPS + middle, dx * STEPS + middle])
        read: NDArray[np.float64] = map_coordinates(self.coefficients, places, order=3, mode="constant", prefilter=False)
        return read


def response(image: Image, cutout: Cutout) -> Response:
    """Return the response of a box's pixels to points of light.

    The noise-equivalent area of a Gaussian is 4 pi sigma^2 (King 1983, PASP 95, 163).

    Raises
    ------
    DetectorError
        There is no PSF, and the header does not tell how wide it is.
    """
    from scipy.ndimage import spline_filter

    table = _table(cutout)
    told = table is not None
    if table is None:
        table = _table(_with_gaussian(image, cutout))
    assert table is not None
    area = 1 / float((table**2).sum() / STEPS**2)
    return Response(spline_filter(table, order=3), area / (4 * math.pi), told)


def _table(cutout: Cutout) -> NDArray[np.float64] | None:
    """Return the parts at steps of a pixel, shape (n, n); None without a PSF."""
    side = SIDE + 2
    table = np.empty((side * STEPS, side * STEPS))
    for j in range(STEPS):
        for i in range(STEPS):
            # A point i steps left of the middle pixel's centre: that pixel is i steps to its right.
            seen = on_pixels(cutout, side // 2 - i / STEPS, side // 2 - j / STEPS, side)
            if seen is None:
                return None
            table[j::STEPS, i::STEPS] = seen
    middle = side // 2 * STEPS
    return table[: 2 * middle + 1, : 2 * middle + 1]


def _with_gaussian(image: Image, cutout: Cutout) -> Cutout:
    fwhm = readable(image.headers["IMAGE"]).get("PSF_FWHM")
    if not isinstance(fwhm, float | int) or not fwhm > 0:
        raise DetectorError(f"{image.obs_id} has no PSF, and no PSF_FWHM in its header: name PSF in `extensions` of [images]")
    steps = (np.arange(PLANE) - PLANE // 2) / STEPS
    profile = np.exp(-(steps**2) / 2 / (fwhm / ARCSEC_PX / FWHM) ** 2)
    return replace(cutout, psf=np.outer(profile, profile), psf_oversampling=STEPS, psf_effective=False)
