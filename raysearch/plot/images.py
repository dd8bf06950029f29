"""Pictures of planes: tiles beside each other, on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, PowerNorm
from numpy.typing import NDArray

from raysearch.model import Window
from raysearch.plot import style
from raysearch.plot.words import MINUS, number

NEAR, BESIDE = 2, 10
"""The line image is the brightest plane this near to the line; the others lie so many planes to either side (as published)."""

MOST_SIDE = 96
"""Pixels of the longest side shown; of larger images, those around the candidate."""

GAMMA = 0.5
"""Power of the brightness scale."""

Place = tuple[float, float]
"""Of a pixel: x and y, counted from 0."""

GAP = 0.06
"""Between tiles, in widths of a tile."""


def planes(record: Mapping[str, Any], window: Window, ax: Axes, *, place: Place | None = None, unit: str = "") -> Axes:
    """Draw the line image between the planes 10 to either side, on one scale, and return the axes.

    Parameters
    ----------
    record
        A row of the candidate table.
    window
        The line's.
    place
        Where in the planes the candidate lies, x and y counted from 0: it is ringed, and larger planes are cut around it.
    unit
        Of the cube's values.
    """
    numbers = _three(record, window, place)
    cut = around(window.sci.shape[1:], place)
    shown = [_plane(window, plane, cut) for plane in numbers]
    inside = [0 <= plane < len(window.sci) for plane in numbers]
    names = [f"{MINUS}{BESIDE} planes", f"{window.wavelength_um[numbers[1]]:.4f} µm", f"+{BESIDE} planes"]
    norm = brightness(shown)
    tiles(shown, [name if there else "beyond the cube" for name, there in zip(names, inside, strict=True)], norm, style.IMAGES, ax)
    if place is not None:
        x, y = pitch(shown[1].shape[1]) + place[0] - cut[1].start, place[1] - cut[0].start
        ax.plot([x], [y], marker="o", markersize=22, markerfacecolor="none", markeredgecolor=style.RED, markeredgewidth=1.4)
    below(ax, f"{span(norm)} {unit}".strip() + ", square-root scale")
    return ax


def planes_alt(record: Mapping[str, Any], window: Window, place: Place | None = None, unit: str = "") -> str:
    """Return in words what `planes` shows."""
    numbers = _three(record, window, place)
    cut = around(window.sci.shape[1:], place)
    images = [_plane(window, plane, cut) for plane in numbers]
    before, line, after = (number(float(np.max(image[np.isfinite(image)], initial=-math.inf))) for image in images)
    return (
        f"Three images on one scale: the plane at {window.wavelength_um[numbers[1]]:.4f} µm, the brightest near the line, "
        f"reaches {' '.join(filter(None, (line, unit)))}; {BESIDE} planes before it the brightest pixel is {before}, "
        f"{BESIDE} planes after it {after}."
    )


def _three(record: Mapping[str, Any], window: Window, place: Place | None) -> tuple[int, int, int]:
    """Return the planes shown; those at the sides may lie beyond the window."""
    middle = line_plane(record, window, place)
    return middle - BESIDE, middle, middle + BESIDE


def _plane(window: Window, plane: int, cut: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return what is shown of a plane; NaN for one beyond the window."""
    inside = 0 <= plane < len(window.sci)
    return np.asarray(window.sci[plane][cut], dtype=np.float32) if inside else np.full(window.sci[0][cut].shape, np.nan, np.float32)


def line_plane(record: Mapping[str, Any], window: Window, place: Place | None = None) -> int:
    """Return which plane of the window, of those within 2 of the candidate's wavelength, is the brightest around the candidate."""
    nearest = int(np.abs(window.wavelength_um - record["wavelength_um"]).argmin())
    first, stop = max(0, nearest - NEAR), min(len(window.sci), nearest + NEAR + 1)
    cube = window.sci[first:stop]
    if place is not None:
        x, y = (round(value) for value in place)
        cube = cube[:, max(0, y - NEAR) : y + NEAR + 1, max(0, x - NEAR) : x + NEAR + 1]
    light = np.where(np.isfinite(cube), cube, 0).sum(axis=(1, 2))
    return first + int(light.argmax()) if light.any() else nearest


def around(shape: Sequence[int], place: Place | None, most: int = MOST_SIDE) -> tuple[slice, slice]:
    """Return the rows and columns to show: all, or so many at most, around a place (x, y) or the middle."""
    middle = place if place is not None else ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    cuts = []
    for size, centre in zip(shape, (middle[1], middle[0]), strict=True):
        start = min(max(0, round(centre) - most // 2), max(0, size - most))
        cuts.append(slice(start, min(size, start + most)))
    return cuts[0], cuts[1]


def brightness(images: Sequence[NDArray[Any]]) -> PowerNorm:
    """Return one scale for some images, from the 2nd percentile of all of them to the 99.9th of the brightest."""
    finite = [image[np.isfinite(image)] for image in images]
    finite = [values for values in finite if len(values)] or [np.array([0.0, 1.0])]
    low = float(np.percentile(np.concatenate(finite), 2))
    high = max(float(np.percentile(values, 99.9)) for values in finite)
    return PowerNorm(GAMMA, low, high if high > low else low + 1.0, clip=True)


def symmetric(image: NDArray[Any]) -> Normalize:
    """Return a scale from minus to plus the 99.5th percentile of an image's size."""
    finite = np.abs(image[np.isfinite(image)])
    high = float(np.percentile(finite, 99.5)) if len(finite) else 1.0
    return Normalize(-(high or 1.0), high or 1.0)


def tiles(
    images: Sequence[NDArray[Any]],
    names: Sequence[str],
    norm: Normalize,
    colours: Colormap | str,
    ax: Axes,
    first: int = 0,
    of: int = 0,
) -> Axes:
    """Draw images of one shape on one scale, named above, as the tiles `first` and following of a row of so many; return the axes.

    Pixel (x, y) of tile k lies at (x + k * `pitch(width)`, y) in the axes.
    """
    height, width = images[0].shape
    step = pitch(width)
    for tile, (image, name) in enumerate(zip(images, names, strict=True), first):
        extent = (tile * step - 0.5, tile * step + width - 0.5, -0.5, height - 0.5)
        ax.imshow(image, norm=norm, cmap=colours, interpolation="none", origin="lower", extent=extent)
        style.say(ax, tile * step + (width - 1) / 2, height - 0.5 + 0.03 * height, name, ha="center", va="bottom")
    ax.set(xlim=(-0.5, ((of or len(images)) - 1) * step + width - 0.5), ylim=(-0.5, height - 0.5), aspect="equal")
    ax.set_axis_off()
    return ax


def pitch(width: int) -> int:
    """Return how far apart tiles of this width begin, pixels."""
    return width + max(1, round(GAP * width))


def tiles_height(shape: Sequence[int], count: int) -> float:
    """Return how high a row of tiles is that fills the figure's width, points; at most 1.2 tiles of a square."""
    step = pitch(shape[1])
    return min(style.WIDTH * shape[0] / ((count - 1) * step + shape[1]), 1.2 * style.WIDTH / count)


def span(norm: Normalize) -> str:
    """Return between which values a scale runs."""
    return f"{number(float(norm.vmin or 0.0))} to {number(float(norm.vmax or 0.0))}"


def below(ax: Axes, text: str) -> None:
    """Write text beneath tiles."""
    style.say(ax, 0.5, -0.03, text, transform=ax.transAxes, ha="center", va="top")
