"""What a crash of the machine, or a hand, has damaged in a local run folder is found when a run goes on, and done anew.

Files are synced before they get their names; but a disk may lie about that, and people copy and rename. A part that is cut short,
filled with zeros or holds other observations than its shards' is removed, whereupon these are searched again. Nothing that can be
read and is right is touched. In S3 a file is wholly there or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysearch.engine.folder.files import Place, map_arrow, sound
from raysearch.engine.folder.parts import CANDIDATES, FIGURES, OUTCOMES, Part, conforms, parts

UNTOLD = -1
"""Candidates of an observation whose outcome does not stand."""


def mend(folder: Place, work: pa.Table, shard_size: int, schemas: Mapping[str, pa.Schema]) -> list[str]:
    """Remove the damaged parts of a run folder, and return a sentence for each.

    Parameters
    ----------
    work
        The run's work list.
    shard_size
        Observations in a shard.
    schemas
        What the parts of each kind hold.

    Raises
    ------
    RunFolderError
        A part cannot be read, or not be removed.
    """
    return list(_Folder(folder, work["obs_id"], shard_size, schemas).mended()) if isinstance(folder, Path) else []


class _Folder:
    """A run folder whose parts are looked at."""

    def __init__(self, folder: Path, names: pa.ChunkedArray, shard_size: int, schemas: Mapping[str, pa.Schema]) -> None:
        self._folder = folder
        self._names = names
        self._shard_size = shard_size
        self._schemas = schemas
        self._candidates = np.full(len(names), UNTOLD, np.int64)

    def mended(self) -> Iterator[str]:
        """Remove the damaged parts, and yield a sentence for each; what counts in the place of a removed one is looked at, too."""
        while told := list(self._round()):
            yield from told

    def _round(self) -> Iterator[str]:
        self._candidates.fill(UNTOLD)
        counted = parts(self._folder).counted
        for kind in (OUTCOMES, CANDIDATES, FIGURES):
            for part in counted[kind]:
                if what := self._wrong(kind, part):
                    part.path.unlink()
                    draw = f"`raysearch report {self._folder} --redraw` draws them"
                    cure = draw if kind == FIGURES else "its observations are searched again"
                    yield f"{kind}/{part.path.name} {what}: {cure}"

    def _wrong(self, kind: str, part: Part) -> str:
        """Return what is wrong with a part; nothing with a sound one."""
        if not sound(part.path):
            return "is damaged"
        table = map_arrow(part.path)
        if not conforms(table, self._schemas[kind], part):
            return "holds what raysearch did not write"
        holds = {OUTCOMES: self._holds_outcomes, CANDIDATES: self._holds_candidates, FIGURES: self._holds_figures}[kind]
        return "" if holds(table, self._rows(part)) else "holds other observations than it should"

    def _rows(self, part: Part) -> slice:
        """Return the rows of the work list that a part is of."""
        return slice(part.first * self._shard_size, (part.last + 1) * self._shard_size)

    def _named(self, rows: slice) -> pa.Array:
        return self._names.slice(rows.start, rows.stop - rows.start).combine_chunks()

    def _holds_outcomes(self, outcomes: pa.Table, rows: slice) -> bool:
        """Return whether there is a row for each observation, in their order; take note of how many candidates each has."""
        counts = outcomes["candidates"].to_numpy()
        if not outcomes["obs_id"].combine_chunks().equals(self._named(rows)) or counts.min(initial=0) < 0:
            return False
        self._candidates[rows] = counts
        return True

    def _holds_candidates(self, candidates: pa.Table, rows: slice) -> bool:
        """Return whether each observation has as many rows as its outcome tells, in their order, where all of these stand."""
        counts = self._candidates[rows]
        if UNTOLD in counts:
            return True
        if counts.max(initial=0) > len(candidates) or counts.sum() != len(candidates):
            return False
        expected = self._named(rows).take(pa.array(np.repeat(np.arange(len(counts)), counts)))
        return bool(candidates["obs_id"].combine_chunks().equals(expected))

    def _holds_figures(self, figures: pa.Table, rows: slice) -> bool:
        """Return whether all are of these observations."""
        return bool(pc.all(pc.is_in(figures["obs_id"], self._named(rows)), min_count=0).as_py())
