"""The engine without Ray: many reads in flight, detection in between, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pyarrow as pa

from raysearch.engine.budget import Budget
from raysearch.engine.job import Fetched, Job, Shard
from raysearch.engine.reads import Reads
from raysearch.model import Observation, observations_from_arrow

Commit = Callable[[int, pa.Table, pa.Table, pa.Table], None]
"""Takes a shard's number, candidates, outcomes and figures."""


def run_inline(job: Job, shards: Iterable[tuple[int, pa.Table]], commit: Commit) -> None:
    """Run the job over `(shard, rows)` and commit each shard's tables; works where an event loop runs already (Jupyter)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(_run(job, shards, commit))
    else:
        with ThreadPoolExecutor(1, "raysearch") as executor:
            executor.submit(asyncio.run, _run(job, shards, commit)).result()


async def _run(job: Job, shards: Iterable[tuple[int, pa.Table]], commit: Commit) -> None:
    work = _Open(job, commit)
    try:
        # One stream over all shards: the next shard's reads are in flight while the last of this one are awaited.
        async with aclosing(Reads(job).stream(work.rows(shards))) as batches:
            async for batch in batches:
                while batch:
                    work.take(batch.pop(0))
                    await asyncio.sleep(0)
    finally:
        await job.reader.close()


class _Open:
    """The shards in flight."""

    def __init__(self, job: Job, commit: Commit) -> None:
        self._job = job
        self._commit = commit
        self._budget = Budget(job.figures_share)
        # Index of a row in flight -> its shard's number, its shard's first index, and the shard in the making.
        self._shards: dict[int, tuple[int, int, Shard]] = {}

    def rows(self, shards: Iterable[tuple[int, pa.Table]]) -> Iterator[tuple[int, Observation]]:
        """Yield the rows of every shard, numbered through."""
        index = 0
        for number, table in shards:
            observations = observations_from_arrow(table)
            entry = (number, index, Shard(self._job, observations, self._budget))
            for observation in observations:
                self._shards[index] = entry
                yield index, observation
                index += 1

    def take(self, fetched: Fetched) -> None:
        """Detect in one observation, and commit its shard if that was the last of it."""
        number, first, shard = self._shards.pop(fetched.index)
        shard.take(fetched.index - first, fetched)
        if shard.complete:
            self._commit(number, *shard.tables())
