"""Sources of one image: connected peaks above a height, told apart and measured by SEP (Barbary 2016, JOSS 1, 58)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.tail import Tail, Worst

LEVELS, CONTRAST = 32, 0.005
"""Of deblending: levels, and the part of the light that makes a source of its own; as published."""
MERGED = 1
"""SEP's flag of a source that was told apart from another (SEP_OBJ_MERGED)."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One source of one image."""

    x: float
    """In pixels of the image that was searched, counted from 0."""
    y: float
    height: float
    """Of its peak in the filtered image, standard deviations."""
    false_alarm: float
    """False peaks to expect in that image at that height or above."""
    a: float = float("nan")
    """Standard deviations of its heights along its longest direction and across, pixels."""
    b: float = float("nan")
    theta: float = float("nan")
    """Direction of `a`, radians from x to y."""
    merged: bool = False


def extract(heights: NDArray[np.float64], searched: NDArray[np.bool_], noise: Tail | Worst, false_alarm: float) -> list[Detection]:
    """Return the sources that stand out so far that no more than `false_alarm` false ones are to be expected in the image.

    Parameters
    ----------
    heights
        The filtered image, sources positive, standard deviations.
    searched
        Where sources may be found.
    noise
        False peaks to expect per pixel searched.
    """
    import sep

    pixels = float(np.count_nonzero(searched))
    least = noise.threshold(false_alarm, pixels)
    make_room(heights.size)
    rows = sep.extract(heights, least, minarea=1, filter_kernel=None, deblend_nthresh=LEVELS, deblend_cont=CONTRAST, clean=False)
    found = []
    for row in rows:
        column, line = int(row["xcpeak"]), int(row["ycpeak"])
        height = float(heights[line, column])
        found.append(
            Detection(
                column + _vertex(heights[line, max(column - 1, 0) : column + 2]),
                line + _vertex(heights[max(line - 1, 0) : line + 2, column]),
                height,
                noise.expected(height, pixels),
                float(row["a"]),
                float(row["b"]),
                float(row["theta"]),
                bool(row["flag"] & MERGED),
            )
        )
    return found


def make_room(pixels: int) -> None:
    """Let SEP hold every pixel of an image above its threshold, and as many sources in one blend as there can be."""
    import sep

    sep.set_extract_pixstack(max(300_000, 2 * pixels))
    sep.set_sub_object_limit(max(1024, pixels // 4))


def _vertex(three: NDArray[np.float64]) -> float:
    """Return how far from the middle of three values their parabola has its vertex; 0 at a border, and beside a maximum."""
    if len(three) < 3:
        return 0.0
    before, middle, after = (float(value) for value in three)
    bend = 2 * middle - before - after
    return (after - before) / (2 * bend) if middle >= max(before, after) and bend > 0 else 0.0
