"""The engine without Ray: many reads in flight, detection in between, in one thread."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pyarrow as pa

from raysearch.engine.budget import Budget
from raysearch.engine.folder.commits import Commit
from raysearch.engine.job import Fetched, Job, Shard
from raysearch.engine.reads import Reads
from raysearch.engine.signals import Alarm, TimeIsUp
from raysearch.model import Observation, observations_from_arrow


def run_inline(job: Job, shards: Iterable[tuple[int, pa.Table]], commit: Commit, stopped: Callable[[], bool]) -> None:
    """Run the job over `(shard, rows)` and commit each shard's tables; works where an event loop runs already (Jupyter).

    When `stopped`, those shards are finished of which a row is done.
    """
    work = _Open(job, commit, stopped)
    if _in_loop():
        _beside(work, shards)
    else:
        asyncio.run(_run(work, shards))


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _beside(work: _Open, shards: Iterable[tuple[int, pa.Table]]) -> None:
    """Run in a thread; one that is left alone, because this one was stopped, commits nothing more."""
    executor = ThreadPoolExecutor(1, "raysearch")
    try:
        executor.submit(asyncio.run, _run(work, shards)).result()
    except BaseException:
        work.abandoned = True
        raise
    finally:
        executor.shutdown(wait=False)


async def _run(work: _Open, shards: Iterable[tuple[int, pa.Table]]) -> None:
    job = work.job
    try:
        # One stream over all shards: the next shard's reads are in flight while the last of this one are awaited.
        reads = Reads(job)
        async with aclosing(reads.stream(work.rows(shards))) as batches:
            with Alarm() as alarm:
                async for batch in batches:
                    while batch:
                        began = time.perf_counter()
                        work.take(batch.pop(0), alarm)
                        reads.stood_still(time.perf_counter() - began)
                        await asyncio.sleep(0)
                    if work.done:
                        break
    finally:
        await job.reader.close()


class _Open:
    """The shards in flight."""

    def __init__(self, job: Job, commit: Commit, stopped: Callable[[], bool]) -> None:
        self.job = job
        self.abandoned = False
        """Whether nobody waits for it any more."""
        self._commit = commit
        self._stopped = stopped
        self._place = Path.cwd()
        self._budget = Budget(job.figures_share)
        # Index of a row in flight -> its shard's number, its shard's first index, and the shard in the making.
        self._shards: dict[int, tuple[int, int, Shard]] = {}
        self._begun: set[int] = set()

    @property
    def done(self) -> bool:
        """Whether it was stopped, and every shard that was begun is finished."""
        return self._stopped() and not self._begun

    def rows(self, shards: Iterable[tuple[int, pa.Table]]) -> Iterator[tuple[int, Observation]]:
        """Yield the rows of every shard, numbered through."""
        index = 0
        for number, table in shards:
            observations = observations_from_arrow(table)
            entry = (number, index, Shard(self.job, observations, self._budget))
            for observation in observations:
                self._shards[index] = entry
                yield index, observation
                index += 1

    def take(self, fetched: Fetched, alarm: Alarm) -> None:
        """Detect in one observation, and commit its shard if that was the last of it."""
        number, first, shard = self._shards.pop(fetched.index)
        if self._stopped() and number not in self._begun:
            return
        self._begun.add(number)
        row = fetched.index - first
        try:
            with alarm.after(self.job.detect_limit_s):
                shard.take(row, fetched)
        except TimeIsUp:
            shard.fail(row, fetched, self.job.too_long)
        if self.abandoned:
            raise asyncio.CancelledError
        os.chdir(self._place)  # a detector may have gone elsewhere; what is to be read or written is named from here
        if shard.complete:
            self._begun.discard(number)
            self._commit(number, *shard.tables())
