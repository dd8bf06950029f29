"""Which planes of a cube the searched lines need, and which byte ranges those are. Nothing here touches a file.

What a read costs is counted in bytes: those that are moved, and for each request `REQUEST_COST`. Two neighbouring ranges are
joined exactly where the bytes between them cost less than a request. On a line, joining so gives the cheapest of all plans; a
plan that takes everything in one request is among those compared, so that the choice between ranges and the whole is made too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.model import LIGHT_KM_S, Line, Target

Span = tuple[int, int]
"""First byte or plane, and the one after the last."""

REQUEST_COST = 256 * 1024
"""Bytes that one more request is worth: what a connection of 80 MB/s delivers in 3 ms. With some tens of reads under way, the
first byte's delay is hidden, and what a request costs is the work of both ends on it, a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The planes needed around one expected line; planes are counted along increasing wavelength."""

    line: Line
    redshift: float
    targets: tuple[str, ...]
    """Those at whose redshifts the line lies in this plane, the nearest first."""
    position: int
    """The first plane at or beyond the observed wavelength; one past the last for a line in the outer half of its bin."""
    start: int
    stop: int
    """End exclusive."""
    searched: Span = (0, 0)
    """The planes in which the line may lie, end exclusive."""

    @property
    def observed_um(self) -> float:
        """The wavelength at which the line is expected, micrometres."""
        return self.line.rest_um * (1.0 + self.redshift)


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes of one image extension of a cube."""

    name: str
    offset: int
    """Of the first plane."""
    plane_bytes: int
    planes: int
    reverse: bool = False
    """Whether the file's first plane has the longest wavelength."""

    def span(self, start: int, stop: int) -> Span:
        """Return where the planes lie, counted along increasing wavelength."""
        if self.reverse:
            start, stop = self.planes - stop, self.planes - start
        return self.offset + start * self.plane_bytes, self.offset + stop * self.plane_bytes


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The requests that bring what is needed and not there yet."""

    excerpts: tuple[Excerpt, ...]
    """Of a cube."""
    ranges: tuple[Span, ...]
    """Disjoint, in increasing order."""
    whole: bool
    """Whether one range takes everything up to the end of the last extension needed."""
    boxes: tuple[str, ...] = ()
    """Of an image: which pixels, in words."""
    others: tuple[Span, ...] = ()
    """Ranges of other files: the second image of a pair, calibration products."""
    held: int = 0
    """Bytes of memory that reading it takes: those of the ranges as they come, and those of the arrays made of them."""

    @property
    def nbytes(self) -> int:
        """Bytes of all ranges."""
        return sum(end - start for start, end in (*self.ranges, *self.others))

    @property
    def requests(self) -> int:
        """One for each range."""
        return len(self.ranges) + len(self.others)

    def __str__(self) -> str:
        planes = (f"{e.line.name} at {e.observed_um:.4f} um: planes {e.start}-{e.stop - 1}" for e in self.excerpts)
        ranges = ", ".join(f"{start}-{end - 1}" for start, end in self.ranges)
        requests = "1 request" if self.requests == 1 else f"{self.requests} requests"
        return f"{'; '.join((*planes, *self.boxes))}\n{requests}, {self.nbytes:,} bytes: {ranges or 'nothing to fetch'}"


def find_excerpts(
    lines: Iterable[Line],
    targets: Sequence[Target],
    wavelength_um: NDArray[np.float64],
    window: int | None,
    redshift: float = 0.0,
    redshift_range: Sequence[float] = (),
    velocity: float = 0.0,
) -> tuple[Excerpt, ...]:
    """Return the planes that each line inside the cube needs, at each of the targets' redshifts, by observed wavelength.

    A line lies inside the cube if it lies in the bin of one of its planes: the outermost reach half a step beyond their centres.
    A velocity range does not bring in a line from outside: the cube would hold less than half of the wavelengths at which it may
    lie, so that finding nothing would say nothing. The range of a line inside is cut at the cube's edges.

    Redshifts that put a line into the same plane make one excerpt, with the redshift of the nearest target; where there is a
    velocity range, so do those whose ranges overlap or touch.

    Parameters
    ----------
    targets
        The nearest first; where there are none, `redshift` is taken.
    wavelength_um
        Of each plane, increasing.
    window
        Planes on each side of `position`, or of those searched where there is a range, cut at the cube's edges; None for the whole
        cube.
    redshift_range
        The lowest and the highest redshift, taken instead of the targets': one excerpt of each line over all of it, with the
        redshift in its middle, or the nearest to that inside the cube.
    velocity
        How far from its redshift a line is searched on each side, km/s.
    """
    cube = _Cube(wavelength_um)
    reach = wavelength_um.size if window is None else window
    given: list[tuple[float, float, tuple[str, ...]]] = [(t.redshift, t.redshift, (t.name,)) for t in targets]
    if redshift_range:
        given = [(redshift_range[0], redshift_range[1], tuple(t.name for t in targets))]
    found = []
    for line in lines:
        places = [cube.place(line, low, high, names, velocity) for low, high, names in given or [(redshift, redshift, ())]]
        found += [cube.widened(e, reach) for e in _joined([p for p in places if p is not None], touching=velocity > 0)]
    return tuple(sorted(found, key=lambda e: (e.observed_um, e.line.name, e.redshift)))


class _Cube:
    """The planes of a cube and the edges of their bins."""

    def __init__(self, wavelength_um: NDArray[np.float64]) -> None:
        self._waves = wavelength_um.tolist()
        self._edges = ((wavelength_um[1:] + wavelength_um[:-1]) / 2).tolist()
        self._bounds = bounds(wavelength_um)

    def place(self, line: Line, low: float, high: float, targets: tuple[str, ...], velocity: float) -> Excerpt | None:
        """Return where a line between two redshifts is expected and searched; None where that is outside."""
        shortest, longest = line.rest_um * (1.0 + low), line.rest_um * (1.0 + high)
        first, last = self._bounds
        if longest < first or shortest > last:
            return None
        z = low if low == high else min(max((low + high) / 2, first / line.rest_um - 1.0), last / line.rest_um - 1.0)
        position = bisect_left(self._waves, line.rest_um * (1.0 + z))
        share = velocity / LIGHT_KM_S
        searched = bisect_left(self._edges, shortest * (1.0 - share)), bisect_left(self._edges, longest * (1.0 + share)) + 1
        start, stop = searched if velocity > 0 or low < high else (position, position + 1)
        return Excerpt(line, z, targets, position, start, stop, searched)

    def widened(self, excerpt: Excerpt, reach: int) -> Excerpt:
        """Return the excerpt with so many planes more on each side, cut at the cube's edges."""
        planes = len(self._waves)
        return replace(excerpt, start=max(0, min(excerpt.start - reach, planes - 1)), stop=min(planes, excerpt.stop + reach))


def _joined(excerpts: Sequence[Excerpt], *, touching: bool) -> Iterator[Excerpt]:
    """Return the excerpts of one line, the nearest target's first; of those that overlap, or also those that touch, one for all."""
    groups: list[list[int]] = []
    end = -1
    for number, excerpt in sorted(enumerate(excerpts), key=lambda pair: pair[1].start):
        if excerpt.start > end or (excerpt.start == end and not touching):
            groups.append([])
        groups[-1].append(number)
        end = max(end, excerpt.stop)
    for group in groups:
        joined = [excerpts[number] for number in sorted(group)]
        yield replace(
            joined[0],
            targets=tuple(name for e in joined for name in e.targets),
            start=min(e.start for e in joined),
            stop=max(e.stop for e in joined),
            searched=(min(e.searched[0] for e in joined), max(e.searched[1] for e in joined)),
        )


def bounds(wavelength_um: NDArray[np.float64]) -> tuple[float, float]:
    """Return the outer edges of the first and the last plane's bins, micrometres; a single plane has no width."""
    first, last = float(wavelength_um[0]), float(wavelength_um[-1])
    if wavelength_um.size == 1:
        return first, last
    return first - float(wavelength_um[1] - first) / 2, last + float(last - wavelength_um[-2]) / 2


def make_plan(excerpts: Sequence[Excerpt], extents: Sequence[Extent], loaded: int = 0) -> ReadPlan:
    """Return the cheapest plan for the excerpts of all extents, where the file's first `loaded` bytes are there already."""
    needed = {extent.span(e.start, e.stop) for e in excerpts for extent in extents}
    ranges = join((max(start, loaded), end) for start, end in needed if end > loaded)
    first = max(loaded, min((extent.offset for extent in extents), default=0))
    last = max((extent.offset + extent.planes * extent.plane_bytes for extent in extents), default=0)
    return ReadPlan(tuple(excerpts), ranges, whole=not ranges or ranges == ((first, last),))


def join(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the ranges that bring the spans at the least cost: disjoint, in increasing order."""
    ranges: list[Span] = []
    for start, end in sorted(spans):
        if ranges and start - ranges[-1][1] <= REQUEST_COST:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    return tuple(ranges)
