"""Which images are compared: from images that hold targets to pairs of them, one of each band."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .config import SearchConfig
from .model import WORK_SCHEMA, Footprint, Observation, Target, observations_from_arrow, observations_to_arrow
from .sky.footprint import parse_s_region
from .sky.overlap import covered

NAMED = 10
"""Targets that a note names."""
_DETECTOR = re.compile(r"D([1-6])_spx_")


@dataclass(frozen=True, slots=True)
class Pairs:
    """What became of the images."""

    table: pa.Table
    """A work list: a row for each pair, and one for each image that is skipped, sorted by obs_id."""
    notes: list[str]
    funnel: dict[str, int]
    """`pairs`; images that are `paired`, in one pair or more, and `unpaired`, sound but in none."""


def paired(config: SearchConfig, work: pa.Table) -> Pairs:
    """Return the pairs that are compared, from a work list of images.

    Around each target, those images are paired first that share the most of its box, then those nearest to each other in time; no
    image twice for one target. With `pairs = 0`, each image of the first band is paired with its best partner. Targets that choose
    the same two images share a pair. A pair's first image lends it its columns, but for its name, wavelengths and targets.
    """
    images = observations_from_arrow(work)
    bands, chooser = _bands(work, images), _Chooser(config, images, _times(work))
    sides = [[i for i, image in enumerate(images) if not image.skip and bands[i] == band] for band in config.images.bands]
    chosen: dict[tuple[int, int], list[Target]] = {}
    alone: dict[str, list[str]] = {}
    for target, (first, second) in _by_target(images, sides).items():
        pairs = chooser.pairs(target, first, second) if first and second else []
        for pair in pairs:
            chosen.setdefault(pair, []).append(target)
        if not pairs:
            have = [band for band, there in zip(config.images.bands, (first, second), strict=True) if there]
            alone.setdefault(" and ".join(have), []).append(target.name)
    notes = [_lonely(config, have, names) for have, names in sorted(alone.items())]
    in_pairs = {i for pair in chosen for i in pair}
    skipped = [i for i, image in enumerate(images) if image.skip]
    funnel = {"paired": len(in_pairs), "unpaired": len(images) - len(skipped) - len(in_pairs), "pairs": len(chosen)}
    return Pairs(_table(work, images, chosen, skipped), notes, funnel)


class _Chooser:
    """Chooses the pairs for one target after the other."""

    def __init__(self, config: SearchConfig, images: Sequence[Observation], times: NDArray[np.float64]) -> None:
        self.count = config.images.pairs
        # The box is square on the detector, which is turned anyhow on the sky: a disc that holds it in any case.
        self.radius = config.images.size / np.sqrt(2.0)
        self.images = images
        self.times = times
        self.footprints: dict[str, Footprint] = {}

    def pairs(self, target: Target, first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
        """Return pairs of images, as indices of both."""
        footprints = [self._footprint(i) for i in (*first, *second)]
        held = covered(footprints, target.ra, target.dec, self.radius).astype(np.int32)
        shared = held[: len(first)] @ held[len(first) :].T
        apart = np.nan_to_num(np.abs(self.times[list(first), None] - self.times[list(second)]), nan=np.inf)
        best = _best_of_each(shared, apart) if self.count == 0 else _best(shared, apart, self.count)
        return [(first[a], second[b]) for a, b in best]

    def _footprint(self, image: int) -> Footprint:
        text = self.images[image].s_region
        if text not in self.footprints:
            self.footprints[text] = parse_s_region(text)
        return self.footprints[text]


def _best(shared: NDArray[np.int32], apart: NDArray[np.float64], count: int) -> list[tuple[int, int]]:
    """Return up to `count` pairs, the best first, no image twice."""
    pairs: list[tuple[int, int]] = []
    for flat in np.lexsort((apart.ravel(), -shared.ravel())):
        a, b = divmod(int(flat), shared.shape[1])
        if len(pairs) == count or not shared[a, b]:
            break
        if all(a != other and b != another for other, another in pairs):
            pairs.append((a, b))
    return pairs


def _best_of_each(shared: NDArray[np.int32], apart: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return each of the first with the best of the second."""
    best = [int(np.lexsort((apart[a], -shared[a]))[0]) for a in range(len(shared))]
    return [(a, b) for a, b in enumerate(best) if shared[a, b]]


def _by_target(images: Sequence[Observation], sides: Sequence[Sequence[int]]) -> dict[Target, tuple[list[int], list[int]]]:
    """Return for each target the images of the first and of the second band that hold it."""
    found: dict[Target, tuple[list[int], list[int]]] = {}
    for side, members in enumerate(sides):
        for i in members:
            for target in images[i].targets:
                found.setdefault(target, ([], []))[side].append(i)
    return found


def _lonely(config: SearchConfig, have: str, names: Sequence[str]) -> str:
    named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    who = "1 target has" if len(names) == 1 else f"{len(names):,} targets have"
    what = f"images in {have} only" if have in config.images.bands else f"no images in {have} that share any of the box"
    return f"{who} {what}, and so no pair: {named}"


def _bands(work: pa.Table, images: Sequence[Observation]) -> list[str]:
    """Return each image's detector, such as `D2`, as the archive says it or as its file is named; empty where neither does."""
    said = work["energy_bandpassname"].to_pylist() if "energy_bandpassname" in work.column_names else [None] * len(images)
    names = [_DETECTOR.search(image.uri) for image in images]
    return [
        (band or "").removeprefix("SPHEREx-") or (f"D{name[1]}" if name else "") for band, name in zip(said, names, strict=True)
    ]


def _times(work: pa.Table) -> NDArray[np.float64]:
    """Return when each image was begun, MJD; NaN where nobody says."""
    if "t_min" not in work.column_names:
        return np.full(len(work), np.nan)
    return np.array([np.nan if time is None else time for time in work["t_min"].to_pylist()], dtype=np.float64)


def _table(
    work: pa.Table, images: Sequence[Observation], chosen: dict[tuple[int, int], list[Target]], skipped: Sequence[int]
) -> pa.Table:
    rows = [(_pair(images[a], images[b], targets), a) for (a, b), targets in chosen.items()] + [(images[i], i) for i in skipped]
    rows.sort(key=lambda row: row[0].obs_id)
    table = observations_to_arrow([observation for observation, _ in rows])
    firsts = work.take(pa.array([i for _, i in rows], pa.int64()))
    for name in work.column_names:
        if name not in WORK_SCHEMA.names:
            table = table.append_column(work.schema.field(name), firsts[name])
    return table


def _pair(first: Observation, second: Observation, targets: Sequence[Target]) -> Observation:
    wanted = set(targets)
    return replace(
        first,
        obs_id=f"{first.obs_id}+{second.obs_id}",
        targets=tuple(target for target in first.targets if target in wanted),
        em_min=min(first.em_min, second.em_min),
        em_max=max(first.em_max, second.em_max),
        partner=second.uris,
    )
