"""One look for all figures: colours, type, and the SVG that a page takes in.

A figure's text and axes take the colour of the page around it (`currentColor`), so that one document serves light and dark; its
data have colours that are told apart on both, also by the colour-blind (Okabe & Ito 2008, "Color Universal Design").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation, Transform

INK = "#010203"
"""Stands for the colour of the page's text, and becomes `currentColor` in the SVG."""

RED, BLUE, ORANGE, GREEN, SKY = "#d55e00", "#2f8bd0", "#e69f00", "#009e73", "#56b4e9"
"""Okabe and Ito's vermillion (found), blue (not found; a little brighter, for dark pages), orange, bluish green and sky blue."""

IMAGES, SIGNED = "cividis", "RdBu_r"
"""Colour maps: of brightness (Nuñez et al. 2018, PLoS ONE 13, e0199239), and of what may be positive or negative."""

WIDTH, SIZE = 400.0, 11.0
"""Width of a figure and size of its type, points: as many pixels on a page 400 pixels wide, more on wider ones."""

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": SIZE,
    "axes.titlesize": SIZE,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE - 1,
    "ytick.labelsize": SIZE - 1,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.dpi": 72.0,
    "savefig.dpi": 72.0,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.2,
    "path.simplify": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "raysearch",
    "svg.image_inline": True,
}
_IMPOSSIBLE = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")


BESIDE = 12.0
"""Points between an image and the legend beside it."""

ROW = 16.0
"""Height of a line of a legend, points."""


@contextmanager
def look() -> Iterator[None]:
    """Have figures look alike that are made and drawn inside."""
    with mpl.rc_context(_RC):
        yield


def axes(height: float, left: float = 0.0, bottom: float = 0.0, right: float = 0.0, top: float = 0.0) -> Axes:
    """Return empty axes alone in a figure `WIDTH` points wide; to be called and drawn inside `look()`.

    All lengths are in points: the figure's height, and the margins for ticks and labels. The same axes come again, and are empty
    again, when the same are asked for: to make them takes longer than to draw in them. So one thread draws at a time.
    """
    made = _axes(height, left, bottom, right, top)
    for artist in (*made.lines, *made.images, *made.texts, *made.collections, *made.patches):
        artist.remove()
    made.set(aspect="auto", anchor="C", xlabel="", ylabel="")
    made.set_axis_on()
    made.set_prop_cycle(None)
    made.relim()
    made.autoscale(enable=True)
    return made


@lru_cache(maxsize=32)
def _axes(height: float, left: float, bottom: float, right: float, top: float) -> Axes:
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    FigureCanvasSVG(figure)
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    made: Axes = figure.add_axes(box)
    middle = made.get_position()
    made.xaxis.set_label_coords((middle.x0 + middle.x1) / 2, 16 / height, transform=figure.transFigure)
    made.yaxis.set_label_coords(14 / WIDTH, (middle.y0 + middle.y1) / 2, transform=figure.transFigure)
    return made


def say(ax: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Write text as it is (no TeX), also outside the axes."""
    ax.text(x, y, plain(text), **{"color": INK, "parse_math": False, "clip_on": False, **options})


def beside(ax: Axes, rows: Sequence[str], line: int = 0, color: str = INK) -> None:
    """Write rows of a legend right of the axes, the first as so many lines from the top."""
    for number, row in enumerate(rows, line):
        _note(ax, row, (1.0, 1.0), (BESIDE, -ROW * number - 2), color, "top")


def legend(ax: Axes, entries: Sequence[tuple[str, str]]) -> None:
    """Write names in their colours above the axes, from the left."""
    x = 0.0
    for name, colour in entries:
        above(ax, name, x, colour=colour)
        x += width(name + "  ")


def arranged(entries: Sequence[tuple[str, float]], wide: float) -> list[tuple[float, int]]:
    """Return for each name where it begins, points, and in which row, so that none is over another or beyond either end.

    Each is given with the place, in points, over which its middle belongs; they come in order of these.
    """
    rows: list[float] = []
    found = []
    for name, place in entries:
        long = width(name)
        start = min(max(0.0, place - long / 2), max(0.0, wide - long))
        row = next((number for number, end in enumerate(rows) if end <= start), len(rows))
        rows[row : row + 1] = [start + long + SIZE / 2]
        found.append((start, row))
    return found


def above(ax: Axes, text: str, x: float, row: int = 0, colour: str = INK) -> None:
    """Write text above the axes, so many points from their left, in the first row from below or a higher one."""
    _note(ax, text, (0.0, 1.0), (x, 4.0 + ROW * row), colour, "bottom")


def _note(ax: Axes, text: str, anchor: tuple[float, float], place: tuple[float, float], colour: str, side: str) -> None:
    """Write text so many points from an anchor in fractions of the axes."""
    say(ax, *anchor, text, transform=away(ax, place), va=side, color=colour)


def away(ax: Axes, steps: tuple[float, float], start: Transform | None = None) -> Transform:
    """Return the transform to so many points away, from fractions of the axes or as `start` says."""
    return (start or ax.transAxes) + ScaledTranslation(steps[0] / 72, steps[1] / 72, ax.figure.dpi_scale_trans)


def points(ax: Axes) -> float:
    """Return how wide the axes are, points."""
    return float(ax.get_position().width * WIDTH)


def width(text: str, size: float = SIZE) -> float:
    """Return about how long text is, points: no font is asked, for the reader's is another."""
    return 0.58 * size * len(text)


def mark(ax: Axes, x: float, y: float) -> None:
    """Mark a target in an image with a cross that is seen on bright and dark."""
    for colour, width in (("white", 3.6), (RED, 1.8)):
        ax.plot([x], [y], marker="+", markersize=13, markeredgewidth=width, color=colour, linestyle="none")


def arrows(ax: Axes, anchor: tuple[float, float], start: tuple[float, float], steps: Mapping[str, tuple[float, float]]) -> None:
    """Draw named arrows from one place, in points from an anchor in fractions of the axes."""
    shaft = {"arrowstyle": "<-", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    options: dict[str, Any] = {"xycoords": away(ax, start), "textcoords": "offset points", "annotation_clip": False}
    for name, (dx, dy) in steps.items():
        ax.annotate("", anchor, (dx, dy), arrowprops=shaft, **options)
        tip = start[0] + 1.4 * dx, start[1] + 1.4 * dy
        say(ax, *anchor, name, transform=away(ax, tip), ha="center", va="center")


def ticks(ax: Axes) -> None:
    """Have few ticks, and no lines but at the left and the bottom."""
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.spines[["top", "right"]].set_visible(False)


def plain(text: str) -> str:
    """Return text without the control characters and halves of pairs that XML cannot hold (XML 1.0, section 2.2)."""
    return _IMPOSSIBLE.sub("", text)
