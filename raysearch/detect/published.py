"""The published notebooks' line detector, kept exactly, so that its results can be reproduced and compared with.

For each plane of a cube, how large a part of it one connected bright region covers; then, whether that part peaks near a line.
A plane is bright where it exceeds three times the median of the planes around it: a ratio of brightness, which says nothing of
significance and lets a negative background hide everything.

Algorithm: NASA Fornax, "finding jets in JWST spectral cubes" (`extension_vs_wavebin` and `detect_spikes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import DetectorError
from raysearch.model import Candidate, Curve, Pixels, Window

HALF = 10
"""Planes on each side of a plane that its median spans, and on each side of a line that its excerpt spans."""

NEAR = 2
"""A peak this many planes from the line, or fewer, is the line's."""

SIGMAS = 3.0
"""Factor of both thresholds: of the median for bright pixels, of the standard deviation for peaks."""

LEAST_PIXELS = 10
"""A smaller region counts as none."""

MOST = 0.5
"""A region that covers this part of the good pixels, or more, counts as none."""


class Published:
    """The published detector; `as_printed` keeps its mistake with lines in the first ten planes of a cube.

    There the excerpt is cut at the cube's edge, but the published code counts as if it were not, and takes peaks near the eleventh
    plane of the excerpt for the line's.
    """

    window: int | None = 2 * HALF
    columns: Mapping[str, str] = {"plane": "i8", "value": "f8", "prominence": "f8", "threshold": "f8"}
    """The peak's index in the cube; the part of its good pixels that the largest bright region covers; by how much that stands out;
    and how much it had to."""

    def __init__(self, as_printed: bool = False) -> None:
        self.as_printed = as_printed

    def detect(self, pixels: Pixels) -> list[Candidate]:
        """Return one record for each window with a peak near its line; of several peaks, the most prominent."""
        return [found for window in pixels.windows if (found := self._search(window)) is not None]

    def _search(self, window: Window) -> Candidate | None:
        """Return what was found in one window."""
        extents = _Extents(window)
        first, end = max(0, window.position - HALF), min(window.cube_planes, window.position + HALF + 1)
        expected = HALF if self.as_printed else window.position - first
        # A peak stands above its neighbours, none of which is under 0: five zeros need no look at the other planes.
        if not any(extents.of(plane) for plane in range(first, end)[max(0, expected - NEAR) : expected + NEAR + 1]):
            return None
        excerpt = np.array([extents.of(plane) for plane in range(first, end)])
        from scipy.signal import find_peaks  # 40 MB, which a loader that is sent the detector can do without

        threshold = SIGMAS * float(np.nanstd(excerpt[excerpt != 0]))
        peaks, properties = find_peaks(excerpt, prominence=threshold)
        near = np.flatnonzero(np.abs(peaks - expected) <= NEAR)
        if not len(near):
            return None
        best = near[properties["prominences"][near].argmax()]
        plane = first + int(peaks[best])
        values = {
            "plane": plane,
            "value": float(excerpt[peaks[best]]),
            "prominence": float(properties["prominences"][best]),
            "threshold": threshold,
        }
        wavelength = float(window.wavelength_um[plane - window.start])
        curve = Curve(window.wavelength_um[first - window.start : end - window.start], excerpt, "part of plane in one region")
        return Candidate(window.target, values, window.line.name, window.line.rest_um, wavelength, curve)


class _Extents:
    """How large a part of each plane its largest bright region covers, each computed when first asked for."""

    def __init__(self, window: Window) -> None:
        start, stop = max(0, window.position - 2 * HALF), min(window.cube_planes, window.position + 2 * HALF)
        if window.start > start or window.start + len(window.sci) < stop:
            raise DetectorError(f"the window of {window.line.name} lacks some of the planes {start} to {stop - 1}")
        self._start, self._stop = start, stop
        self._planes = window.sci[start - window.start : stop - window.start]
        self._medians = _Medians(self._planes)
        self._known: dict[int, float] = {}

    def of(self, plane: int) -> float:
        """Return the value of the plane with this index in the cube."""
        if plane not in self._known:
            self._known[plane] = self._measure(plane)
        return self._known[plane]

    def _measure(self, plane: int) -> float:
        begin, end = max(self._start, plane - HALF) - self._start, min(self._stop, plane + HALF) - self._start
        if not self._medians.good[begin:end].any():
            return 0.0
        with np.errstate(invalid="ignore", over="ignore"):  # infinite pixels
            bright = self._planes[plane - self._start] > SIGMAS * self._medians.of(begin, end)
        if np.count_nonzero(bright) < LEAST_PIXELS:
            return 0.0
        from scipy.ndimage import label

        labels, _ = label(bright)
        largest = int(np.bincount(labels.ravel())[1:].max())
        fraction = largest / int(self._medians.good[plane - self._start])
        return fraction if largest >= LEAST_PIXELS and fraction < MOST else 0.0


class _Medians:
    """The medians, NaN left out, of many runs of consecutive planes; bit for bit those of `numpy.nanmedian`, and much quicker.

    Pixels far from the middle of all values are only counted; the middle rank is then looked for among the few that are left.
    Where the median of a run is not among them, `numpy.nanmedian` is asked.
    """

    def __init__(self, planes: NDArray[np.float32]) -> None:
        self._planes = planes
        self.good = planes[0].size - np.count_nonzero(np.isnan(planes), axis=(1, 2))
        """Pixels of each plane that are not NaN."""
        sample = planes.ravel()[:: max(1, planes.size // 2000)]
        sample = np.sort(sample[~np.isnan(sample)])
        low, high = sample[[int(0.42 * len(sample)), int(0.58 * len(sample))]] if len(sample) else (np.nan, np.nan)
        self._below = np.count_nonzero(planes < low, axis=(1, 2))
        kept = (planes >= low) & (planes <= high)
        self._kept = planes[kept]
        self._ends = np.concatenate(([0], np.cumsum(np.count_nonzero(kept, axis=(1, 2)))))

    def of(self, begin: int, end: int) -> np.floating[Any]:
        """Return the median of planes `begin` to `end` (not included), in the planes' own precision."""
        good, below = int(self.good[begin:end].sum()), int(self._below[begin:end].sum())
        lower, upper = (good - 1) // 2 - below, good // 2 - below
        kept = self._kept[self._ends[begin] : self._ends[end]]
        if lower < 0 or upper >= len(kept):
            whole: np.floating[Any] = np.nanmedian(self._planes[begin:end])
            return whole
        middle: np.floating[Any] = np.partition(kept, (lower, upper))[lower : upper + 1].mean()
        return middle
