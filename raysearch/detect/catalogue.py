"""Sources of a pair of bands: those of the difference, of either sign, and those of each band, brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.extract import Detection, extract
from raysearch.detect.frames import Frame
from raysearch.detect.heights import Filter, false_peaks, scatter
from raysearch.detect.overlay import Overlay
from raysearch.detect.response import Response
from raysearch.detect.tail import Tail, Worst, fit

SAME_PX = 1.5
"""Detections nearer than this to a higher one are the same source: a point source is 1.1 pixels wide on the detector (full width at
half maximum: PSF_FWHM, 5.2 arcsec, on pixels of 6.15 arcsec), and sqrt(2) times that once it is filtered with its own profile."""
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


def of_bands(
    short: Frame, long: Frame, of_short: Response, of_long: Response, false_alarm: float
) -> tuple[tuple[list[Detection], float], ...]:
    """Return for each band its sources, in pixels of its own box, and its noise over what the variance says.

    Only the negative peaks of a band are noise for sure, and the few of one box may tell too little of its outliers. So its noise
    is taken to be that of its own peaks, or that of both bands' together, whichever expects more.
    """
    bands = _Band.of(short, of_short), _Band.of(long, of_long)
    both = fit(np.concatenate([band.peaks for band in bands]), sum(band.pixels for band in bands))
    return tuple((band.sources(both, false_alarm), band.scale) for band in bands)


@dataclass(frozen=True, slots=True)
class _Band:
    """One band, filtered."""

    heights: NDArray[np.float64]
    searched: NDArray[np.bool_]
    scale: float
    """Its noise over what the variance says."""
    peaks: NDArray[np.float64]
    """Heights of the peaks that are noise, turned over."""

    @classmethod
    def of(cls, frame: Frame, response: Response) -> _Band:
        filtered = Filter.of(response.variance, frame.variance * frame.ujy**2, frame.good)
        heights = filtered.heights(frame.light * frame.ujy)
        empty = filtered.searched & (heights < 0)
        scale = scatter(heights, empty)
        return cls(heights / scale, filtered.searched, scale, false_peaks(-heights / scale, empty))

    @property
    def pixels(self) -> float:
        """How many are searched."""
        return float(np.count_nonzero(self.searched))

    def sources(self, noise: Tail, false_alarm: float) -> list[Detection]:
        """Return what stands out of its own noise, and of this."""
        return extract(self.heights, self.searched, Worst((fit(self.peaks, self.pixels), noise)), false_alarm)


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


def joined(sources: list[Source], x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Source]:
    """Return the sources, those as one whose better places, in pixels of the long band's box, are too near for two."""
    kept: list[int] = []
    one: list[Source] = []
    for i, source in enumerate(sources):
        near = _nearest(np.stack([x[kept], y[kept]], axis=1), float(x[i]), float(y[i]))
        if near is None:
            kept.append(i)
            one.append(source)
        else:
            one[near] = replace(one[near], seen={**source.seen, **one[near].seen})
    return one


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
