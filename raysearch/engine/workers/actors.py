"""The Ray actors: loaders that read, detectors that pull what was read and detect in it.

Pixels go from a loader to a detector through the node's object store, never through the driver. Loaders *yield* them: an object
that its maker had `ray.put` would be lost with the loader, a yielded one belongs to the detector that asked for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pyarrow as pa
import ray
from ray import cloudpickle

from raysearch.engine.budget import Budget
from raysearch.engine.job import Fetched, Job, Shard
from raysearch.engine.reads import Reads
from raysearch.engine.room import Room, Shelf
from raysearch.engine.workers import guard
from raysearch.engine.workers.metrics import BUSY, HELD, OF_DETECTORS, OF_LOADERS, READING, READY, WAITING, Meter
from raysearch.engine.workers.watch import LastWords, Watch, last_words
from raysearch.model import WORK_SCHEMA, Outcome, observations_from_arrow

SHARDS_AT_ONCE = 2
"""A detector pulls two shards, so that the next one's reads are in flight while it detects in this one."""
LATE_AT_ONCE = 14
"""Shards that it may have in hand beside these: those of which nothing is left but reads that have begun, of slow hosts mostly. So
it does not stand idle while others could be read; not more, as all that it has in hand is done again when it is lost."""

_BATCHES_AHEAD = 2
"""Batches that a loader may yield before the detector has taken them, for each shard being pulled."""
_TELL_S = 5.0
"""How often a loader tells how it stands; Ray hands metrics on every 10 s."""
_BLOCKED_S = 60.0
"""How much longer than a read may take a loader may not get round to anything: then code that never waits has stopped it."""
_WORN = 0.8
"""Part of its memory with which a detector ends by itself, when it has nothing in hand: it has kept what it no longer needs."""
_WORDS_S = 1.0
"""How long to wait for what a dead worker's guard has to say."""


class Loader:
    """Reads observations for any number of detectors; asynchronous, and needs no CPU of its own."""

    def __init__(self, job: bytes, labels: dict[str, str]) -> None:
        self._job: Job = cloudpickle.loads(job)
        self._reads: Reads | None = None
        self._store = Room(self._job.shares.stored_bytes)
        self._shelves: dict[int, Shelf] = {}
        """By pull: a shard in the hands of one detector."""
        self._dropped: deque[int] = deque(maxlen=1000)
        """Pulls that were dropped while they had no shelf: they have ended, or are still on their way here."""
        self._rows = 0
        """In its hands: not read, being read, or read and not taken."""
        self._meter = Meter(OF_LOADERS, labels | {"actor": _own_name()})
        self._metering: asyncio.Task[None] | None = None
        self._watch = Watch(self._job.time_limit_s + _BLOCKED_S, self._job.shares.loader_bytes)

    @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
    async def ready(self) -> tuple[str, str]:
        """Return the node it lives on, and the key of its last words."""
        return _node(), self._watch.key

    @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
    async def last_words(self, key: str) -> LastWords | None:
        """Return what a process on this node, which is dead, was busy with."""
        for _ in range(10):
            if (words := last_words(key)) is not None:
                return words
            await asyncio.sleep(_WORDS_S / 10)
        return None

    async def stream(self, rows: bytes, pull: int) -> AsyncGenerator[list[Fetched], None]:
        """Yield what has been read of a shard, as it comes and as the object store has room for it."""
        if self._reads is None:
            self._reads = Reads(self._job)
            self._metering = asyncio.create_task(self._tell(self._reads))
        observations = observations_from_arrow(unpacked(rows))
        if pull in self._dropped:
            return
        left = len(observations)
        self._rows += left
        shelf = self._shelves[pull] = Shelf(self._store)
        try:
            async with aclosing(self._reads.stream(enumerate(observations), pull)) as batches:
                async for batch in batches:
                    count, nbytes = len(batch), _nbytes(batch)
                    if shelf.dropped or (_counts(nbytes, self._job) and not await shelf.put(nbytes)):
                        return
                    yield batch
                    del batch
                    left -= count
                    self._rows -= count
        finally:
            self._rows -= left
            shelf.ended = True
            self._tidy(pull)

    async def taken(self, pull: int, batches: int) -> None:
        """Note that the detector has let go of so many batches of a shard, of those that count."""
        if pull in self._shelves:
            self._shelves[pull].taken(batches)
            self._tidy(pull)

    async def drop(self, pull: int) -> None:
        """Read no more of a shard, whose detector is lost."""
        if pull not in self._shelves:
            self._dropped.append(pull)
            return
        self._shelves[pull].drop()
        self._tidy(pull)

    async def late(self) -> list[int]:
        """Return the pulls of which nothing is left but reads that have begun."""
        return self._reads.late if self._reads is not None else []

    def _tidy(self, pull: int) -> None:
        if self._shelves[pull].done:
            del self._shelves[pull]

    async def _tell(self, reads: Reads) -> None:
        """Tell how it stands, every few seconds: also while all that it reads hangs."""
        while True:
            self._watch.beat()
            load = reads.load
            self._meter.set(WAITING, self._rows - load.reading - load.ready)
            self._meter.set(READING, load.reading)
            self._meter.set(READY, load.ready)
            self._meter.set(HELD, load.nbytes + self._store.held)
            await asyncio.sleep(_TELL_S)


class Detector:
    """Pulls shards and detects in them, one observation at a time."""

    def __init__(self, job: bytes, labels: dict[str, str]) -> None:
        self._job: Job = cloudpickle.loads(job)
        self._budget = Budget(self._job.figures_share)
        self._one_at_a_time = threading.Lock()
        self._in_hand: set[int] = set()
        self._busy = {"detection": 0.0, "figures": 0.0}
        """Seconds that are not told yet."""
        self._watch = Watch(self._job.detect_limit_s, self._job.shares.worker_bytes)
        self._meter = Meter(OF_DETECTORS, labels | {"actor": _own_name()})

    @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
    def ready(self) -> tuple[str, str]:
        """Return the node it lives on (another one after its first was lost), and the key of its last words.

        One that is worn ends instead, and Ray asks the one that takes its place.
        """
        if self._worn and not self._in_hand:
            os.kill(os.getpid(), signal.SIGKILL)
        return _node(), self._watch.key

    @property
    def _worn(self) -> bool:
        return 0 < _WORN * self._job.shares.worker_bytes < guard.own_bytes(os.getpid())

    def process(self, rows: bytes, loader: Any, pull: int) -> tuple[pa.Table, pa.Table, pa.Table, bool]:
        """Return the candidates, the outcomes and the figures of a shard, and whether this detector is worn, and to be replaced.

        Parameters
        ----------
        loader
            Reads the shard.
        pull
            Number by which the loader and the driver know this attempt at it.
        """
        self._in_hand.add(pull)
        try:
            return (*self._shard(rows, loader, pull).tables(), self._worn)
        finally:
            self._in_hand.discard(pull)

    def _shard(self, rows: bytes, loader: Any, pull: int) -> Shard:
        shard = Shard(self._job, observations_from_arrow(unpacked(rows)), self._budget)
        counted = 0
        for ref in _stream(loader, rows, pull):
            batch = ray.get(ref)
            nbytes = _nbytes(batch)
            # The arrays are views of the object store: it is free again only when the last reference is gone.
            del ref
            with self._one_at_a_time:
                while batch:
                    fetched = batch.pop(0)
                    with self._watch.over(pull, fetched.index):
                        self._count(shard.take(fetched.index, fetched))
                    del fetched
            if _counts(nbytes, self._job):
                counted += 1
                loader.taken.remote(pull, counted)
        with self._one_at_a_time:
            self._tell()
        return shard

    def _count(self, outcome: Outcome) -> None:
        """Add up what took time, and tell it every second of it: telling takes as long as a quick observation."""
        self._busy["detection"] += outcome.detect_seconds
        self._busy["figures"] += outcome.figures_seconds
        if sum(self._busy.values()) > 1.0:
            self._tell()

    def _tell(self) -> None:
        for work, seconds in self._busy.items():
            self._meter.add(BUSY, seconds, work=work)
            self._busy[work] = 0.0


def _nbytes(batch: list[Fetched]) -> int:
    return sum(fetched.nbytes for fetched in batch)


def _counts(nbytes: int, job: Job) -> bool:
    """Return whether a batch of so many bytes counts in the object store: to tell of a small one takes longer than to make it."""
    return nbytes > job.shares.stored_bytes // 4096


def _node() -> str:
    """Return the node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def _own_name() -> str:
    """Return the name of the actor that this process is."""
    return str(ray.get_runtime_context().get_actor_name())


def _stream(loader: Any, rows: bytes, pull: int) -> Any:
    """Return references to the loader's batches. The one place that uses Ray's private back-pressure option."""
    return loader.stream.options(num_returns="streaming", _generator_backpressure_num_objects=_BATCHES_AHEAD).remote(rows, pull)


def packed(rows: pa.Table) -> bytes:
    """Return the work-list columns of a shard as an Arrow stream: a slice pickled as it is would carry its whole table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, WORK_SCHEMA) as writer:
        writer.write_table(rows.select(WORK_SCHEMA.names).cast(WORK_SCHEMA))
    return bytes(sink.getvalue())


def unpacked(rows: bytes) -> pa.Table:
    """Return the table that `packed` was given."""
    return pa.ipc.open_stream(rows).read_all()
