"""The pixels about one source, centred on it, whatever the box that was read: what lies outside is not a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import DetectorError
from raysearch.model import Cutout, Target

UJY_PER_MJY_SR_ARCSEC2 = 1e12 * math.radians(1 / 3600) ** 2
"""uJy of 1 MJy/sr over 1 arcsec^2, 23.5044: 1 MJy is 1e12 uJy, 1 arcsec^2 is (pi / 648000)^2 sr."""

PLANES = ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "SOLID_ANGLE")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A square of an odd number of pixels, the source in the middle one; every array has shape (side, side)."""

    target: Target
    x: float
    """The source's place in the stamp, in pixels counted from 0 at the centre of the first."""
    y: float
    x0: int
    """The whole image's pixel that is the stamp's first, counted from 0; under 0 where the stamp begins outside."""
    y0: int
    light: NDArray[np.float64]
    """IMAGE - ZODI, MJy/sr; NaN outside the box."""
    variance: NDArray[np.float64]
    """Of `light`, (MJy/sr)^2."""
    ujy: NDArray[np.float64]
    """uJy of 1 MJy/sr over each pixel."""
    flags: NDArray[np.int64]
    """0 outside the box."""
    finite: NDArray[np.bool_]
    """Pixels with a value, a variance and a solid angle."""
    good: NDArray[np.bool_]
    """Those of them that carry no bad flag."""

    @property
    def side(self) -> int:
        """Rows, and columns."""
        return len(self.light)

    def distance(self, x: float, y: float) -> NDArray[np.float64]:
        """Return the distance of each pixel's centre from a place in the stamp, pixels."""
        steps = np.arange(self.side)
        distance: NDArray[np.float64] = np.hypot(steps[:, None] - y, steps - x)
        return distance


def make_stamp(cutout: Cutout, half: int, is_bad: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> Stamp:
    """Return the pixels up to `half` from the middle one in each direction.

    Parameters
    ----------
    cutout
        With the planes `PLANES`: IMAGE and ZODI in MJy/sr, VARIANCE in (MJy/sr)^2, SOLID_ANGLE in arcsec^2.
    half
        Pixels on each side of the middle one.
    is_bad
        Tells, of a plane of flags, which pixels are not to be used.

    Raises
    ------
    DetectorError
        A plane is missing.
    """
    lacking = [name for name in PLANES if name not in cutout.planes]
    if lacking:
        raise DetectorError(f"photometry needs {', '.join(lacking)}: name them in `extensions` of [images]")
    x0, y0 = math.floor(cutout.x + 0.5) - half, math.floor(cutout.y + 0.5) - half
    cut = _Cut(cutout.shape, x0 - cutout.x0, y0 - cutout.y0, 2 * half + 1)
    planes = cutout.planes
    with np.errstate(invalid="ignore"):  # infinite pixels
        light = cut.of(planes["IMAGE"], math.nan) - cut.of(planes["ZODI"], math.nan)
    variance, ujy = cut.of(planes["VARIANCE"], math.nan), cut.of(planes["SOLID_ANGLE"], math.nan) * UJY_PER_MJY_SR_ARCSEC2
    flags = cut.of(planes["FLAGS"], 0, np.int64)
    finite = np.isfinite(light) & np.isfinite(variance) & np.isfinite(ujy) & (variance > 0) & (ujy > 0)
    good = finite & ~is_bad(flags)
    return Stamp(cutout.target, cutout.x - x0, cutout.y - y0, x0, y0, light, variance, ujy, flags, finite, good)


class _Cut:
    """Which pixels of a box the stamp takes, and where they go."""

    def __init__(self, shape: Sequence[int], x: int, y: int, side: int) -> None:
        self._side = side
        spans = [(max(first, 0), max(min(first + side, size), 0)) for first, size in zip((y, x), shape, strict=True)]
        self._box = tuple(slice(start, stop) for start, stop in spans)
        self._stamp = tuple(slice(start - first, stop - first) for (start, stop), first in zip(spans, (y, x), strict=True))

    def of(self, plane: NDArray[Any], outside: float, dtype: type = np.float64) -> NDArray[Any]:
        """Return the stamp of a plane."""
        stamp: NDArray[Any] = np.full((self._side, self._side), outside, dtype)
        taken = plane[self._box]
        if taken.size:
            stamp[self._stamp] = taken
        return stamp
