"""Merges the parts of a run into few while it runs: a run of a million observations would end with tens of thousands of files.

Every kind by itself, in this order: candidates, figures, outcomes. What makes it safe at every moment is told in `parts`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import pyarrow as pa

from raysearch.engine.folder.files import Place, map_arrow, write_arrow
from raysearch.engine.folder.parts import FIGURES, OUTCOMES, PARTS, ROWS, Part, Parts, completed, part_name, standing

RUN_OF_SHARDS = 256
"""How many shards make a merged part: the first from 0 on, and so forth. The last ones, if they are fewer, stay as they are."""
MOST_BYTES = 64 * 2**20
"""Parts of a kind that come to more stay as they are: few large files are no burden, and the driver's memory stays small."""
READERS = 16
"""Parts that are read, or removed, at a time: where a folder is far away, each takes its time."""


class Merger:
    """Merges each run of shards once all of it is done, in a thread of its own.

    Parameters
    ----------
    schemas
        By kind. Parts that an earlier version wrote get the columns that they lack.
    before
        What stood when the folder was opened.
    """

    def __init__(self, folder: Place, schemas: Mapping[str, pa.Schema], before: Parts) -> None:
        self._folder = folder
        self._schemas = schemas
        self._executor = ThreadPoolExecutor(1, "raysearch-merging")
        self._under_way: list[Future[None]] = []
        self._counting = Lock()  # shards are committed from several threads
        self._small = Counter(part.first // RUN_OF_SHARDS for part in before.counted[OUTCOMES] if not part.merged)
        for number, count in self._small.items():
            self._perhaps(number, count)

    def done(self, shard: int) -> None:
        """Take note that a shard's parts stand.

        Raises
        ------
        RunFolderError
            Parts before could not be merged.
        """
        with self._counting:
            while self._under_way and self._under_way[0].done():
                self._under_way.pop(0).result()
            number = shard // RUN_OF_SHARDS
            self._small[number] += 1
            self._perhaps(number, self._small[number])

    def close(self, *, finish: bool) -> None:
        """End, when what is under way is finished; all that can be merged, or no more than has begun.

        Raises
        ------
        RunFolderError
            Parts could not be merged, where all had to be.
        """
        self._executor.shutdown(cancel_futures=not finish)
        for future in self._under_way if finish else ():
            future.result()

    def _perhaps(self, number: int, count: int) -> None:
        if count == RUN_OF_SHARDS:
            first = number * RUN_OF_SHARDS
            self._under_way.append(self._executor.submit(merge, self._folder, self._schemas, first, first + count - 1))


def merge(folder: Place, schemas: Mapping[str, pa.Schema], first: int, last: int) -> None:
    """Merge the parts of a run of shards, all of them done; goes on where an earlier call was broken off.

    Raises
    ------
    RunFolderError
        A part cannot be read, or the merged one not be written.
    """
    with ThreadPoolExecutor(READERS, "raysearch-parts") as executor:
        for kind in PARTS:
            stands = [part for part in standing(folder, kind) if first <= part.first and part.last <= last]
            small = [part for part in stands if not part.merged]
            if any((part.first, part.last) == (first, last) for part in stands):
                pass  # it was broken off after the merged one was written
            elif _worth_it(kind, small, last - first + 1):
                tables = dict(zip(small, executor.map(lambda part: map_arrow(part.path), small), strict=True))
                of_shard = {part.first: completed(table, schemas[kind]) for part, table in tables.items()}
                _write_merged(folder / kind / part_name(first, last), [of_shard.get(shard) for shard in range(first, last + 1)])
            else:
                continue
            list(executor.map(lambda part: part.path.unlink(missing_ok=True), small))


def _worth_it(kind: str, small: Sequence[Part], shards: int) -> bool:
    """Return whether to merge these: all are there, as those of figures need not be, and they are not too large."""
    complete = len(small) == shards or kind == FIGURES
    return complete and len(small) > 1 and sum(part.path.stat().st_size for part in small) <= MOST_BYTES


def _write_merged(path: Place, tables: Sequence[pa.Table | None]) -> None:
    """Write the tables of a run of shards as one part; None: there is none of this shard, for nothing was drawn."""
    rows = json.dumps([0 if table is None else table.num_rows for table in tables])
    whole = pa.concat_tables([table for table in tables if table is not None]).combine_chunks()
    write_arrow(path, whole.replace_schema_metadata({ROWS: rows}))
