"""Sources of a pair of bands: those of the difference, of either sign, and those of each band, brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.extract import Detection, extract
from raysearch.detect.frames import Frame
from raysearch.detect.heights import Filter, false_peaks, scatter
from raysearch.detect.overlay import Overlay
from raysearch.detect.response import Response
from raysearch.detect.tail import fit

SAME_PX = 1.5
"""Detections nearer than this to a higher one are the same source: a point source is 1.1 pixels wide on the detector."""
COLOURS = ("red", "blue")


@dataclass(frozen=True, slots=True)
class Source:
    """One source, and where it was detected."""

    x: float
    """In pixels of the long band's box, counted from 0: where it stands out most."""
    y: float
    seen: dict[str, Detection]
    """By where it was detected: `red` and `blue` in the difference, `a` (short) and `b` (long) in a band."""


def of_difference(overlay: Overlay, colours: tuple[str, ...], false_alarm: float) -> dict[str, list[Detection]]:
    """Return the sources of the difference, by colour; `false_alarm` is that of all colours together."""
    filtered = Filter.of(overlay.width2, overlay.long_variance + overlay.short_variance, overlay.good)
    heights, total = filtered.heights(overlay.long - overlay.short), filtered.heights(overlay.long + overlay.short)
    empty = filtered.searched & (total < 0)
    heights = heights / scatter(heights, empty)
    # Noise that makes one band too bright, turned over, makes it too faint: both signs of both colours.
    peaks = np.concatenate([false_peaks(heights, empty), false_peaks(-heights, empty)])
    noise = fit(peaks, 2.0 * np.count_nonzero(filtered.searched))
    found = {}
    for colour in colours:
        sign = 1 if colour == "red" else -1
        sources = extract(sign * heights, filtered.searched, noise, false_alarm / len(colours))
        found[colour] = [one for one in sources if total[round(one.y), round(one.x)] >= 0]
    return found


def of_band(frame: Frame, response: Response, false_alarm: float) -> tuple[list[Detection], float]:
    """Return the sources of one band, in pixels of its own box, and its noise over what the variance says."""
    light, variance = frame.light * frame.ujy, frame.variance * frame.ujy**2
    filtered = Filter.of(response.variance, variance, frame.good)
    heights = filtered.heights(light)
    empty = filtered.searched & (heights < 0)
    scale = scatter(heights, empty)
    heights = heights / scale
    noise = fit(false_peaks(-heights, empty), float(np.count_nonzero(filtered.searched)))
    return extract(heights, filtered.searched, noise, false_alarm), scale


def together(found: dict[str, list[Detection]], short: Frame, long: Frame) -> list[Source]:
    """Return the sources of all lists, each once, the highest first; places of `a` are on the short band's box."""
    entries = []
    for name, detections in found.items():
        xs, ys = np.array([d.x for d in detections]), np.array([d.y for d in detections])
        if name == "a" and detections:
            xs, ys = long.pixel(*short.sky(xs, ys))
        entries += [(d.height, float(xs[i]), float(ys[i]), name, d) for i, d in enumerate(detections)]
    entries = [entry for entry in entries if _inside(entry[1], entry[2], long)]
    entries.sort(key=lambda entry: (-entry[0], entry[2], entry[1], entry[3]))
    sources: list[Source] = []
    places = np.empty((len(entries), 2))
    for _, x, y, name, detection in entries:
        near = _nearest(places[: len(sources)], x, y)
        if near is None:
            places[len(sources)] = x, y
            sources.append(Source(x, y, {name: detection}))
        else:
            sources[near].seen.setdefault(name, detection)
    return sources


def _inside(x: float, y: float, frame: Frame) -> bool:
    ny, nx = frame.shape
    return -0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5


def _nearest(places: NDArray[np.float64], x: float, y: float) -> int | None:
    """Return which of these places is the nearest within `SAME_PX`."""
    if not len(places):
        return None
    distance = np.hypot(places[:, 0] - x, places[:, 1] - y)
    nearest = int(distance.argmin())
    return nearest if math.isfinite(distance[nearest]) and distance[nearest] < SAME_PX else None
