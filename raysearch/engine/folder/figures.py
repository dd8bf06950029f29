"""The figures of a run folder: found by their candidate, read only when asked for."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pyarrow as pa

from raysearch.engine.folder.files import Place
from raysearch.engine.folder.parts import FIGURES, part_tables
from raysearch.model import FIGURE_SCHEMA, Figure


class Figures:
    """The figures of a run, still on disk: each is read, and unpacked, when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        """All of them (`FIGURE_SCHEMA`), in the order of the work list; of a run folder it is mapped, and takes no memory."""
        self._rows: dict[tuple[str, int], list[int]] = {}
        keys = zip(table["obs_id"].to_pylist(), table["candidate"].to_pylist(), strict=True)
        for row, key in enumerate(keys):
            self._rows.setdefault(key, []).append(row)

    def of(self, obs_id: str, candidate: int) -> list[Figure]:
        """Return the figures of an observation's candidate, counted from 0 as in the candidate table; -1: of the observation."""
        return [self._figure(row) for row in self._rows.get((obs_id, candidate), ())]

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[tuple[str, Figure]]:
        """Yield each figure with its observation."""
        for (obs_id, _), rows in self._rows.items():
            for row in rows:
                yield obs_id, self._figure(row)

    def _figure(self, row: int) -> Figure:
        (values,) = self.table.slice(row, 1).select(["candidate", "name", "svg", "alt"]).to_pylist()
        return Figure(values["candidate"], values["name"], gzip.decompress(values["svg"]) if values["svg"] else b"", values["alt"])


def read_figures(folder: Place) -> Figures:
    """Return the figures of every shard done so far; none where none were drawn.

    Raises
    ------
    RunFolderError
        A part cannot be read.
    """
    return Figures(pa.concat_tables([FIGURE_SCHEMA.empty_table(), *part_tables(folder, FIGURES, FIGURE_SCHEMA)]))
