"""Tables that are read piece by piece, as often as need be: those of a large run are more than should be held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

CHUNK_ROWS = 16_384
"""Rows that are converted at a time: as texts of one width they may take kilobytes each."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A table that is read piece by piece."""

    schema: pa.Schema
    read: Callable[[], Iterable[pa.Table]]
    """Returns its rows, in tables of any length; the same rows each time."""

    @classmethod
    def of(cls, table: pa.Table) -> Stream:
        """Return a table that is at hand, to be read likewise."""
        return cls(table.schema, lambda: [table])

    def pieces(self) -> Iterator[pa.Table]:
        """Yield the rows, at most `CHUNK_ROWS` in a piece."""
        for table in self.read():
            for start in range(0, table.num_rows, CHUNK_ROWS):
                yield table.slice(start, CHUNK_ROWS)

    def table(self) -> pa.Table:
        """Return all of it."""
        return pa.concat_tables([self.schema.empty_table(), *self.read()])
