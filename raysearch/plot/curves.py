"""What a detector looked at, against wavelength."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from raysearch.model import Curve
from raysearch.plot import style
from raysearch.plot.words import number


class Mark(NamedTuple):
    """A searched line in a curve."""

    name: str
    wavelength_um: float
    """Where it was found, or expected."""
    detected: bool


def curve(shown: Curve, marks: Sequence[Mark], ax: Axes) -> Axes:
    """Draw a detector's curve, with the detected lines in red and the undetected ones dashed in blue; return the axes.

    The names of the lines stand above the axes; those beyond the curve are left out.
    """
    marks = _inside(shown, marks)
    for mark in marks:
        colour = style.RED if mark.detected else style.BLUE
        ax.axvline(mark.wavelength_um, color=colour, linewidth=1.4, linestyle="-" if mark.detected else (0, (4, 3)), zorder=1)
    if math.isfinite(shown.threshold):
        ax.axhline(shown.threshold, color=style.INK, linewidth=0.8, linestyle=(0, (1, 2)))
        style.say(ax, 0.995, shown.threshold, "threshold", transform=ax.get_yaxis_transform(), ha="right", va="bottom")
    ax.plot(shown.wavelength_um, shown.value, color=style.INK, linewidth=1.1, drawstyle="steps-mid", zorder=2)
    ax.set_xlim(float(shown.wavelength_um[0]), float(shown.wavelength_um[-1]))
    for mark, (start, row) in zip(marks, _names(shown, marks, style.points(ax)), strict=True):
        style.above(ax, mark.name, start, row, style.RED if mark.detected else style.BLUE)
    style.ticks(ax)
    ax.set_xlabel("wavelength (µm)")
    ax.set_ylabel(shown.name)
    return ax


def rows(shown: Curve, marks: Sequence[Mark], wide: float) -> int:
    """Return how many rows of `style.ROW` the names of the lines take above a curve so many points wide."""
    return 1 + max((row for _, row in _names(shown, _inside(shown, marks), wide)), default=0)


def _inside(shown: Curve, marks: Sequence[Mark]) -> list[Mark]:
    """Return the lines within a curve, in order of wavelength."""
    low, high = float(shown.wavelength_um[0]), float(shown.wavelength_um[-1])
    return sorted((mark for mark in marks if low <= mark.wavelength_um <= high), key=lambda mark: mark.wavelength_um)


def _names(shown: Curve, marks: Sequence[Mark], wide: float) -> list[tuple[float, int]]:
    low, high = float(shown.wavelength_um[0]), float(shown.wavelength_um[-1])
    scale = wide / (high - low or 1.0)
    return style.arranged([(mark.name, (mark.wavelength_um - low) * scale) for mark in marks], wide)


def curve_alt(shown: Curve, marks: Sequence[Mark]) -> str:
    """Return in words what `curve` shows."""
    finite = np.isfinite(shown.value)
    if not finite.any():
        return f"{shown.name} against wavelength: nothing is known of it."
    top = int(np.where(finite, shown.value, -np.inf).argmax())
    text = f"{shown.name} against wavelength: the highest, {number(float(shown.value[top]))}, at {shown.wavelength_um[top]:.4f} µm"
    text += f"; threshold {number(shown.threshold)}" if math.isfinite(shown.threshold) else ""
    for detected, word in ((True, "detected"), (False, "not detected")):
        names = [f"{mark.name} at {mark.wavelength_um:.4f} µm" for mark in _inside(shown, marks) if mark.detected is detected]
        text += f"; {word}: {', '.join(names)}" if names else ""
    return text + "."
