"""Shards that are being written while the driver goes on: it need not wait until a disk, or S3, has kept a file safe."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import pyarrow as pa

from raysearch.engine.events import ShardDone, shard_done

Commit = Callable[[int, pa.Table, pa.Table, pa.Table], None]
"""Takes a shard's number, candidates, outcomes and figures."""

AT_ONCE = 8
"""Shards that are written side by side; one more waits for the first of them, and the driver with it."""


class Commits:
    """Hands shards to threads that write them, and tells of each when its parts stand, in the order in which they came.

    Use it in a `with`: what has come is written before it ends, also where it ends with an error.

    Parameters
    ----------
    write
        Writes a shard's parts; called from several threads.
    tell
        Told of each shard that was written; called from the thread that commits.
    """

    def __init__(self, write: Commit, tell: Callable[[ShardDone], None]) -> None:
        self._write = write
        self._tell = tell
        self._executor = ThreadPoolExecutor(AT_ONCE, "raysearch-writing")
        self._under_way: deque[tuple[Future[None], ShardDone]] = deque()

    def commit(self, shard: int, candidates: pa.Table, outcomes: pa.Table, figures: pa.Table) -> None:
        """Have a shard written; raises what went wrong with an earlier one."""
        self._settle(AT_ONCE - 1)
        written = self._executor.submit(self._write, shard, candidates, outcomes, figures)
        self._under_way.append((written, shard_done(shard, outcomes)))

    def _settle(self, most: int) -> None:
        """Tell of those that are written, and wait until no more than so many are under way."""
        while self._under_way and (len(self._under_way) > most or self._under_way[0][0].done()):
            written, done = self._under_way.popleft()
            written.result()
            self._tell(done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown()
        if exc is None:
            self._settle(0)
