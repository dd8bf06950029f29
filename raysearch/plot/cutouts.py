"""Pictures of cutouts: one for each image of a target, with its wavelength."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from numpy.typing import NDArray

from raysearch.plot import style
from raysearch.plot.words import number

SHOWN = 10
"""Cutouts in a picture, where nobody chose them: the published number."""

DARKEST, BRIGHTEST = 1.0, 99.5
"""Percentiles at the ends of the scale: the few hot pixels of an image must not make all else dark."""

GAMMA = 0.5
"""Power of the brightness scale."""

GAP, LONG = 0.05, 0.09
"""From the target to the strokes that point at it, and their length, in sides of the image."""


def cutouts(records: Sequence[Mapping[str, Any]], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw cutouts, each on a scale of its own and with its wavelength above it, and return the axes; those left over stay empty.

    Parameters
    ----------
    records
        Rows of the table of cutouts: `image` and `shape`, `central_wavelength_um`, `bandwidth_um`, and `x` and `y` of the target.
    axes
        One for each; of more records than axes the first are drawn.
    """
    for record, ax in zip(records, axes, strict=False):
        image = pixels(record)
        ax.imshow(image, norm=_scale(image), cmap=style.IMAGES, interpolation="none", origin="lower")
        _point_at(ax, record["x"], record["y"], max(image.shape))
        style.say(ax, 0.0, 1.03, _wavelength(record), transform=ax.transAxes, ha="left", va="bottom")
    for ax in axes:
        ax.set_axis_off()
    return axes


def cutouts_alt(records: Sequence[Mapping[str, Any]]) -> str:
    """Return in words what `cutouts` shows."""
    told = []
    for record in records:
        image = pixels(record)
        finite = image[np.isfinite(image)]
        bright = (
            f"{number(float(np.median(finite)))} in the middle of its values, {number(float(finite.max()))} at most"
            if finite.size
            else "no values"
        )
        told.append(f"{_wavelength(record)}: {bright}")
    return f"{len(told)} cutouts, surface brightness in MJy/sr. " + "; ".join(told) + "."


def pixels(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return a record's image, rows and columns."""
    return np.asarray(record["image"], dtype=np.float64).reshape(record["shape"])


def _scale(image: NDArray[np.float64]) -> Normalize:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, [DARKEST, BRIGHTEST]) if finite.size else (0.0, 1.0)
    return PowerNorm(GAMMA, float(low), float(high if high > low else low + 1.0), clip=True)


def _point_at(ax: Axes, x: float, y: float, side: int) -> None:
    """Point at a target from its right and from above, and leave its light to be seen."""
    near, far = GAP * side, (GAP + LONG) * side
    for colour, width in (("white", 3.6), (style.RED, 1.8)):
        ax.plot([x + near, x + far], [y, y], color=colour, linewidth=width)
        ax.plot([x, x], [y + near, y + far], color=colour, linewidth=width)


def _wavelength(record: Mapping[str, Any]) -> str:
    wavelength, bandwidth = record["central_wavelength_um"], record["bandwidth_um"]
    if not math.isfinite(wavelength):
        return "wavelength unknown"
    return f"{wavelength:.3f} µm" + (f", {bandwidth:.3f} wide" if math.isfinite(bandwidth) else "")
