"""Two bands and their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from raysearch.model import Triptych
from raysearch.plot import style
from raysearch.plot.images import around, below, brightness, pitch, span, symmetric, tiles
from raysearch.plot.maps import Grid, grid_of
from raysearch.plot.words import measured, number

UNUSED = "#8c8c8c"
"""Colour of pixels that were not used."""

WHOLE = 160
"""Pixels of the longest side of a region that are shown: 0.25 degrees of SPHEREx are 146."""

ZOOM = 31
"""Pixels on a side of what is shown around one source."""

MARKERS = {"red": ("o", style.RED), "blue": ("s", style.SKY)}
"""Shapes and colours of the marks: red sources have circles, blue ones squares."""


def triptych(shown: Triptych, sources: Sequence[Mapping[str, Any]], ax: Axes, *, zoom: bool = False) -> Axes:
    """Draw the short band, the long band and their difference, with sources marked; return the axes.

    The bands are on one scale, the difference on a symmetric one, red where the long band is brighter.

    Parameters
    ----------
    shown
        The region.
    sources
        Rows of the candidate table (`ra`, `dec`, `kind`) to be marked, the first of them the one in question.
    zoom
        Whether to show the surroundings of the first source only.
    """
    grid = _grid(shown)
    places = [(grid.pixel(float(source["ra"]), float(source["dec"])), str(source.get("kind", ""))) for source in sources]
    cut = _cut(shown, places[0][0] if zoom and places else None)
    a, b, difference = (np.asarray(image[cut], dtype=np.float32) for image in (shown.a, shown.b, shown.difference))
    first = dict(sources[0]) if sources else {}
    norm = brightness([a, b])
    signed = symmetric(difference)
    names = [_band(first, "a", "short"), _band(first, "b", "long")]
    tiles([a, b], names, norm, colormaps[style.IMAGES].with_extremes(bad=UNUSED), ax, of=3)
    tiles([difference], ["long − short"], signed, colormaps[style.SIGNED].with_extremes(bad=UNUSED), ax, first=2, of=3)
    height, width = a.shape
    for order, (place, kind) in enumerate(places):
        x, y = place[0] - cut[1].start, place[1] - cut[0].start
        if -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5:
            across = [x + k * pitch(width) for k in range(3)]
            _ring(ax, across, y, kind, strong=order == 0 and zoom)
    below(ax, f"bands {span(norm)}, difference ±{number(float(signed.vmax or 0.0))} {shown.unit}; grey: not used")
    return ax


def triptych_alt(shown: Triptych, sources: Sequence[Mapping[str, Any]], *, zoom: bool = False) -> str:
    """Return in words what `triptych` shows."""
    text = f"The region around {shown.target or 'the target'} in two bands, and the long one minus the short one"
    if not zoom:
        counts = [f"{sum(source.get('kind') == kind for source in sources)} {kind}" for kind in MARKERS]
        return f"{text}; marked: {' and '.join(counts)} sources."
    source = sources[0]
    text += f"; marked: a {source.get('kind', '')} source".replace("  ", " ")
    if "difference_ujy" in source:
        difference = float(source["difference_ujy"])
        by = measured(abs(difference), source["difference_err_ujy"], "µJy")
        text += f", brighter in the {'long' if difference > 0 else 'short'} band by {by}"
        for name in "ab":
            flux = measured(source[f"flux_{name}_ujy"], source[f"flux_{name}_err_ujy"], "µJy")
            text += f"; {_band(source, name, name)}: {flux}"
    if "snr" in source:
        text += f"; S/N {number(float(source['snr']))}"
    return text + "."


def cut_shape(shown: Triptych, *, zoom: bool) -> tuple[int, int]:
    """Return rows and columns of what is shown."""
    rows, columns = _cut(shown, (0.0, 0.0) if zoom else None)
    return rows.stop - rows.start, columns.stop - columns.start


def _cut(shown: Triptych, place: tuple[float, float] | None) -> tuple[slice, slice]:
    """Return the rows and columns to show: around a place, or all."""
    if place is None:
        return around(shown.a.shape, None, WHOLE)
    return around(shown.a.shape, place, ZOOM)


def _grid(shown: Triptych) -> Grid:
    grid = grid_of(shown.header, shown.a.shape)
    if grid is None:
        raise ValueError("the region's header does not say where it lies")
    return grid


def _band(source: Mapping[str, Any], name: str, otherwise: str) -> str:
    """Return the band's name with its wavelength, as far as the source tells."""
    band = str(source.get(f"band_{name}", "")).removeprefix("SPHEREx-") or otherwise
    wavelength = source.get(f"central_wavelength_{name}_um")
    return f"{band}, {wavelength:.2f} µm" if wavelength is not None else band


def _ring(ax: Axes, across: Sequence[float], y: float, kind: str, *, strong: bool) -> None:
    """Mark a source in all three images."""
    shape, colour = MARKERS.get(kind, ("D", style.ORANGE))
    ring: dict[str, Any] = {"marker": shape, "markersize": 24 if strong else 11, "markerfacecolor": "none", "linestyle": "none"}
    ax.plot(across, [y] * len(across), markeredgecolor=colour, markeredgewidth=1.8 if strong else 1.1, **ring)
