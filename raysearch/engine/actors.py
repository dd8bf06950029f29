"""The Ray actors: loaders that read, detectors that pull what was read and detect in it.

Pixels go from a loader to a detector through the node's object store, never through the driver. Loaders *yield* them: an object
that its maker had `ray.put` would be lost with the loader, a yielded one belongs to the detector that asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from typing import Any

import pyarrow as pa
import ray
from ray import cloudpickle
from ray.util.metrics import Counter

from raysearch.engine.budget import Budget
from raysearch.engine.events import shard_done
from raysearch.engine.job import Fetched, Job, Shard
from raysearch.engine.reads import Reads
from raysearch.model import WORK_SCHEMA, observations_from_arrow

SHARDS_AT_ONCE = 2
"""A detector pulls two shards, so that the next one's reads are in flight while it detects in this one."""

_BATCHES_AHEAD = 2
"""Batches that a loader may yield before the detector has taken them, for each shard being pulled."""


class Loader:
    """Reads observations for any number of detectors; asynchronous, and needs no CPU of its own."""

    def __init__(self, job: bytes) -> None:
        self._job: Job = cloudpickle.loads(job)
        self._reads: Reads | None = None

    @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
    async def ready(self) -> str:
        """Return the node it lives on."""
        return str(ray.get_runtime_context().get_node_id())

    async def stream(self, rows: bytes) -> AsyncGenerator[list[Fetched], None]:
        """Yield what has been read of a shard, as it comes."""
        if self._reads is None:
            self._reads = Reads(self._job)
        observations = observations_from_arrow(unpacked(rows))
        async for batch in self._reads.stream(enumerate(observations)):
            yield batch


class Detector:
    """Pulls shards and detects in them, one observation at a time."""

    def __init__(self, job: bytes) -> None:
        self._job: Job = cloudpickle.loads(job)
        self._budget = Budget(self._job.figures_share)
        self._one_at_a_time = threading.Lock()
        self._observations = Counter("raysearch_observations", "Observations done, by how they ended.", ("status",))
        self._bytes = Counter("raysearch_bytes_read", "Bytes of pixels received.")
        self._requests = Counter("raysearch_requests", "Requests for pixels sent.")

    @ray.method(max_task_retries=-1)  # type: ignore[untyped-decorator]
    def ready(self) -> str:
        """Return the node it lives on: another one after its first was lost."""
        return str(ray.get_runtime_context().get_node_id())

    def process(self, number: int, rows: bytes, loader: Any) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return the candidates, the outcomes and the figures of a shard, reading it through `loader`."""
        shard = Shard(self._job, observations_from_arrow(unpacked(rows)), self._budget)
        for ref in _stream(loader, rows):
            batch = ray.get(ref)
            # The arrays are views of the object store: it is free again only when the last reference is gone.
            del ref
            with self._one_at_a_time:
                while batch:
                    fetched = batch.pop(0)
                    shard.take(fetched.index, fetched)
                    del fetched
        candidates, outcomes, figures = shard.tables()
        self._count(number, outcomes)
        return candidates, outcomes, figures

    def _count(self, number: int, outcomes: pa.Table) -> None:
        done = shard_done(number, outcomes)
        told = [(self._observations, count, {"status": status}) for status, count in done.by_status.items()]
        for counter, count, tags in [*told, (self._bytes, done.bytes_read, None), (self._requests, done.requests, None)]:
            if count:  # Ray refuses to add nothing
                counter.inc(count, tags)


def _stream(loader: Any, rows: bytes) -> Any:
    """Return references to the loader's batches. The one place that uses Ray's private back-pressure option."""
    return loader.stream.options(num_returns="streaming", _generator_backpressure_num_objects=_BATCHES_AHEAD).remote(rows)


def packed(rows: pa.Table) -> bytes:
    """Return the work-list columns of a shard as an Arrow stream: a slice pickled as it is would carry its whole table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, WORK_SCHEMA) as writer:
        writer.write_table(rows.select(WORK_SCHEMA.names).cast(WORK_SCHEMA))
    return bytes(sink.getvalue())


def unpacked(rows: bytes) -> pa.Table:
    """Return the table that `packed` was given."""
    return pa.ipc.open_stream(rows).read_all()
