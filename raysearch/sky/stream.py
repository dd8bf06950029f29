"""Matching of more targets than fit into memory: they stream past an index of the footprints, and the pairs go to a file.

What is held at a time is the index (about 600 bytes a four-cornered footprint), the chunks of targets in work, and a bounded number
of pairs. The file's rows are those of `match`, in its order, whatever the chunks and whoever works on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from raysearch.sky.index import FootprintIndex, Matches, joined, read_footprints
from raysearch.sky.match import checked_positions, checked_radius
from raysearch.sky.regions import Floats, Indices, Regions

PAIRS_SCHEMA = pa.schema([("footprint", pa.int64()), ("target", pa.int64()), ("separation_deg", pa.float64())])

_TEXTS = 20_000
"""Footprints parsed in one piece of work."""
_MERGED = 5_000_000
"""Pairs sorted at once when parts are merged."""

Chunk: TypeAlias = Callable[[], tuple[Indices, Floats, Floats]]
"""Loads some targets: their numbers, increasing and in no other chunk, ra and dec (degrees). Picklable, where processes share."""
Spread: TypeAlias = Callable[[Callable[[Any, Any], Any], Any, Iterable[Any]], Iterator[Any]]
"""Applies a function to (what all share, each item), wherever, and yields the results in any order."""


def one_by_one(work: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
    """Yield `work(shared, item)` for each item, in this process."""
    return (work(shared, item) for item in items)


@dataclass(frozen=True, slots=True)
class StreamedMatches:
    """What came of a match that streamed."""

    path: Path
    """An Arrow file with `PAIRS_SCHEMA`, sorted by footprint; of one footprint, the nearest to its centre first."""
    pairs: int
    targets: int
    """How many streamed past."""
    broken: dict[int, str]
    """Footprint -> why it could not be read."""

    def load(self) -> Matches:
        """Return all pairs; they must fit into memory."""
        with pa.memory_map(str(self.path)) as source:
            table = pa.ipc.open_file(source).read_all()
        footprint, target, separation = (table[name].to_numpy() for name in PAIRS_SCHEMA.names)
        return Matches(footprint, target, separation)


def match_stream(
    chunks: Iterable[Chunk],
    s_regions: Sequence[str | None],
    folder: str | Path,
    *,
    radius_deg: float = 0.0,
    spread: Spread = one_by_one,
) -> StreamedMatches:
    """Return which of the targets lie in which footprints, as a file in `folder`.

    Parameters
    ----------
    chunks
        The targets, a million or so at a time.
    s_regions
        The footprints as text; those that cannot be read match nothing and are named in the result.
    folder
        Made if need be; parts stand there until they are merged into `pairs.arrow`.
    radius_deg
        How far outside a footprint a target may lie.
    spread
        Who does the work.

    Raises
    ------
    TableError
        If a position is not on the sphere.
    ConfigError
        If the radius is not between 0 and 180 degrees.
    """
    checked_radius(radius_deg)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index, broken = index_of(s_regions, radius_deg, spread)
    parts: list[Path] = []
    targets = 0
    per_footprint = np.zeros(len(s_regions), dtype=np.int64)
    for count, blocks in spread(match_chunk, index, chunks):
        targets += count
        for block in blocks:
            per_footprint += np.bincount(block.footprint, minlength=len(s_regions))
            parts.append(folder / f"pairs-{len(parts):06d}.arrow.tmp")
            _write(parts[-1], [block])
    _write(folder / "pairs.arrow", _merged(parts, per_footprint))
    for part in parts:
        part.unlink()
    return StreamedMatches(folder / "pairs.arrow", int(per_footprint.sum()), targets, broken)


def index_of(s_regions: Sequence[str | None], radius_deg: float, spread: Spread) -> tuple[FootprintIndex, dict[int, str]]:
    """Return the index of footprints given as text, and what is wrong with those that cannot be read."""
    items = [(first, s_regions[first : first + _TEXTS]) for first in range(0, len(s_regions), _TEXTS)]
    read: list[tuple[int, Regions, dict[int, str]]] = sorted(spread(_read, None, items), key=lambda part: part[0])
    broken = {number: flaw for _, _, flaws in read for number, flaw in flaws.items()}
    regions = joined([regions for _, regions, _ in read]) if read else Regions.of([])
    return FootprintIndex.of(regions, len(s_regions), radius_deg), broken


def _read(_: None, item: tuple[int, Sequence[str | None]]) -> tuple[int, Regions, dict[int, str]]:
    first, texts = item
    return (first, *read_footprints(texts, first))


def match_chunk(index: FootprintIndex, chunk: Chunk) -> tuple[int, list[Matches]]:
    """Return how many targets a chunk has, and its matches in blocks.

    Raises
    ------
    TableError
        If a position is not on the sphere.
    """
    number, ra, dec = chunk()
    ra, dec = checked_positions(ra, dec)
    return len(ra), [replace(block, target=number[block.target]) for block in index.match(ra, dec)]


def _merged(parts: Sequence[Path], per_footprint: Indices) -> Iterator[Matches]:
    """Yield the pairs of all parts in order, each part being in order, a bounded number at a time or those of one footprint."""
    with ExitStack() as stack:
        sources = [pa.ipc.open_file(stack.enter_context(pa.memory_map(str(part)))).read_all() for part in parts]
        columns = [tuple(table[name].to_numpy() for name in PAIRS_SCHEMA.names) for table in sources]
        for begin, end in _ranges(per_footprint):
            slices = [slice(*np.searchsorted(footprint, (begin, end))) for footprint, _, _ in columns]
            yield Matches.joined([Matches(*(column[s] for column in part)) for part, s in zip(columns, slices, strict=True)])


def _ranges(per_footprint: Indices) -> Iterator[tuple[int, int]]:
    """Yield runs of footprints, not all of which have no pairs, that have at most `_MERGED` together, or of one."""
    begin, held = 0, 0
    for number, total in enumerate(accumulate(per_footprint.tolist())):
        if total - held > _MERGED and number > begin:
            held = total - int(per_footprint[number])
            yield begin, number
            begin = number
    if len(per_footprint) and per_footprint[begin:].any():
        yield begin, len(per_footprint)


def _write(path: Path, blocks: Iterable[Matches]) -> None:
    with pa.ipc.new_file(str(path), PAIRS_SCHEMA) as sink:
        for block in blocks:
            sink.write_batch(pa.record_batch([block.footprint, block.target, block.separation_deg], schema=PAIRS_SCHEMA))
