"""What workers draw of the candidates while the pixels are at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from raysearch.model import Candidate, Curve, Detector, Figure, Limit, Pixels, Triptych, Window
from raysearch.plot import style
from raysearch.plot.curves import Mark, curve, curve_alt, rows
from raysearch.plot.fits import card
from raysearch.plot.images import around, planes, planes_alt, tiles_height
from raysearch.plot.maps import LineMap, line_map, line_map_alt
from raysearch.plot.pairs import cut_shape, triptych, triptych_alt
from raysearch.plot.profiles import line_spectrum, line_spectrum_alt
from raysearch.plot.svg import svg
from raysearch.plot.words import record_of, subject

MOST = 8
"""Candidates of one observation that are drawn, the most significant first: each takes 0.03 s, a pair's 0.012 s."""

SIGNIFICANCE = ("snr", "prominence", "value")
"""Columns that order candidates: the first of these that a detector has."""

BRIGHT = 3.0
"""S/N above which a pixel of the map belongs to the candidate's region."""

_EXPECTED = (ValueError, KeyError, IndexError, ArithmeticError, OSError, TypeError)
"""What odd data make a figure raise; it is then told in the figure's place."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """One figure to be drawn."""

    name: str
    height: float
    """Points."""
    margins: tuple[float, float, float, float]
    """Left, bottom, right, top, points."""
    draw: Callable[[Axes], Any]
    alt: Callable[[], str]

    def figure(self, obs_id: str, candidate: int, title: str) -> Figure:
        """Return it drawn; without a document where the data do not allow it."""
        try:
            ax = style.axes(self.height, *self.margins)
            self.draw(ax)
            alt = self.alt()
            return Figure(candidate, self.name, svg(ax, f"{obs_id}/{candidate}/{self.name}", title, alt), alt)
        except _EXPECTED as exc:
            return Figure(candidate, self.name, b"", f"could not be drawn: {type(exc).__name__}: {exc}")


@dataclass(frozen=True, slots=True)
class LineIllustrator:
    """Draws the candidates of a line search: `planes`, `map`, `spectrum` and `curve`, as far as the detector tells them."""

    most: int = MOST
    """Candidates of one observation that are drawn, the most significant first."""

    def draw(self, pixels: Pixels, records: Sequence[Candidate | Limit]) -> list[Figure]:
        """Return the figures of the most significant candidates."""
        candidates = [record for record in records if isinstance(record, Candidate)]
        figures = []
        with style.look():
            for number in sorted(chosen(candidates, self.most)):
                candidate = candidates[number]
                record = record_of(candidate)
                place = window_of(record, pixels)
                shown = LineSubject(record, pixels, pixels.windows[place], candidate.curve, marks(pixels, candidates, place))
                figures += drawn(shown.sketches(), pixels.obs_id, number, subject(record))
        return figures


@dataclass(frozen=True, slots=True)
class PairIllustrator:
    """Draws a search of pairs: a `triptych` of each of the most significant candidates, and the whole `region` of each target."""

    detector: Detector
    most: int = MOST
    """Candidates of one pair that are drawn, the most significant first."""

    def draw(self, pixels: Pixels, records: Sequence[Candidate | Limit]) -> list[Figure]:
        """Return the figures of the pair's sources; none where the detector does not show what it compared."""
        told = getattr(self.detector, "triptych", None)
        regions = {shown.target: shown for shown in (told(pixels) if told else ())}
        candidates = [record for record in records if isinstance(record, Candidate)]
        rows = {n: record_of(one) for n, one in enumerate(candidates) if one.values.get("catalogue", "difference") == "difference"}
        figures = []
        with style.look():
            for place, shown in enumerate(regions.values()):
                sources = [row for row in rows.values() if row["target"] == shown.target]
                sketch = _triptych(f"region {place + 1}", shown, sources, zoom=False)
                figures += drawn(iter([sketch]), pixels.obs_id, -1, f"around {shown.target or 'the target'}")
            for number in sorted(chosen([candidates[n] for n in rows], self.most)):
                at = list(rows)[number]
                shown, others = regions[rows[at]["target"]], [row for n, row in rows.items() if n != at]
                sources = [rows[at], *(row for row in others if row["target"] == shown.target)]
                figures += drawn(iter([_triptych("triptych", shown, sources, zoom=True)]), pixels.obs_id, at, subject(rows[at]))
        return figures


def _triptych(name: str, shown: Triptych, sources: Sequence[Mapping[str, Any]], *, zoom: bool) -> Sketch:
    height = tiles_height(cut_shape(shown, zoom=zoom), 3) + 44
    return Sketch(
        name,
        height,
        (0, 24, 0, 20),
        lambda ax: triptych(shown, sources, ax, zoom=zoom),
        lambda: triptych_alt(shown, sources, zoom=zoom),
    )


def drawn(sketches: Iterator[Sketch], obs_id: str, candidate: int, title: str) -> list[Figure]:
    """Return a candidate's figures; what odd data make impossible is told in its place."""
    figures = []
    try:
        for sketch in sketches:
            figures.append(sketch.figure(obs_id, candidate, title))  # noqa: PERF401 - those before a failure stay
    except _EXPECTED as exc:
        figures.append(Figure(candidate, "failed", b"", f"could not be drawn: {type(exc).__name__}: {exc}"))
    return figures


def chosen(candidates: Sequence[Candidate], most: int) -> list[int]:
    """Return which candidates to draw: so many, the most significant first, in their order where nothing tells."""
    column = next((name for name in SIGNIFICANCE if candidates and name in candidates[0].values), None)

    def least_first(number: int) -> tuple[float, int]:
        value = float(candidates[number].values[column]) if column else 0.0
        return (-value if math.isfinite(value) else math.inf, number)

    return sorted(range(len(candidates)), key=least_first)[:most]


def window_of(record: Mapping[str, Any], pixels: Pixels) -> int:
    """Return which window a record was found in: of its line and target, the one that holds its wavelength."""

    def apart(number: int) -> tuple[bool, bool, float]:
        window = pixels.windows[number]
        away = float(np.abs(window.wavelength_um - record["wavelength_um"]).min())
        return window.line.name != record["line"], window.target != record["target"], away

    return min(range(len(pixels.windows)), key=apart)


def marks(pixels: Pixels, candidates: Sequence[Candidate], place: int) -> list[Mark]:
    """Return the lines searched at the redshift of a window, where they were found, or else where they were expected."""
    window = pixels.windows[place]
    told: dict[str, Mark] = {}
    for other in pixels.windows:
        if other.target == window.target:
            told[other.line.name] = Mark(other.line.name, other.observed_um, detected=False)
    for candidate in candidates:
        if candidate.target == window.target:
            told[candidate.line] = Mark(candidate.line, candidate.wavelength_um, detected=True)
    return list(told.values())


@dataclass(frozen=True, slots=True)
class LineSubject:
    """One candidate of a line search, and what is known of it."""

    record: Mapping[str, Any]
    pixels: Pixels
    window: Window
    curve: Curve | None
    marks: Sequence[Mark]

    def sketches(self) -> Iterator[Sketch]:
        """Yield the figures that can be drawn."""
        record, window = self.record, self.window
        unit, region, place = self._unit(), self._region(), None
        if region is not None:
            y, x = (float(where.mean()) for where in np.nonzero(region))
            place = (x, y)
        height = tiles_height([part.stop - part.start for part in around(window.sci.shape[1:], place)], 3)
        yield Sketch(
            "planes",
            height + 44,
            (0, 24, 0, 20),
            lambda ax: planes(record, window, ax, place=place, unit=unit),
            lambda: planes_alt(record, window, place, unit),
        )
        if record.get("map"):
            yield Sketch("map", 250, (0, 6, 130, 6), lambda ax: line_map(record, ax), lambda: line_map_alt(record))
        if region is not None:
            yield Sketch(
                "spectrum",
                210,
                (58, 40, 14, 22),
                lambda ax: line_spectrum(record, window, region, ax, unit=unit),
                lambda: line_spectrum_alt(record, window, region, unit),
            )
        if self.curve is not None:
            told, lines = self.curve, self.marks
            top = 6 + style.ROW * rows(told, lines, style.WIDTH - 72)
            yield Sketch("curve", 188 + top, (58, 40, 14, top), lambda ax: curve(told, lines, ax), lambda: curve_alt(told, lines))

    def _unit(self) -> str:
        """Return the unit of the cube's values, as its header spells it."""
        return card(self.pixels.header, "BUNIT") or ""

    def _region(self) -> NDArray[np.bool_] | None:
        """Return the candidate's pixels: those of its map above S/N 3; without a map, those of the line's brightest region."""
        shape = self.window.sci.shape[1:]
        if self.record.get("map"):
            shown = LineMap.read(self.record["map"])
            inside = np.zeros(shape, dtype=bool)
            corner = [round(float(card(self.pixels.header, f"CRPIX{axis}") or 0.0) - shown.reference[axis - 1]) for axis in (2, 1)]
            bright = np.argwhere(shown.snr >= min(BRIGHT, float(np.nanmax(shown.snr)))) + corner
            inside[tuple(bright[((bright >= 0) & (bright < shape)).all(axis=1)].T)] = True
            return inside if inside.any() else None
        return brightest(self.record, self.window)


def brightest(record: Mapping[str, Any], window: Window) -> NDArray[np.bool_] | None:
    """Return the pixels in which the planes around the line stand out most from those beside it; None where none do."""
    at = int(np.abs(window.wavelength_um - record["wavelength_um"]).argmin())
    near, cube = slice(max(0, at - 1), at + 2), window.sci
    beside = np.r_[max(0, at - 10) : max(0, at - 3), min(len(cube), at + 4) : min(len(cube), at + 11)]
    if not len(beside):
        return None
    with np.errstate(invalid="ignore"):
        excess = cube[near].mean(axis=0) - np.median(cube[beside], axis=0)
    finite = np.isfinite(excess)
    if not finite.any():
        return None
    spread = 1.4826 * float(np.median(np.abs(excess[finite] - np.median(excess[finite]))))
    bright: NDArray[np.bool_] = np.where(finite, excess, -np.inf) >= min(5 * spread, float(excess[finite].max()))
    return bright
