"""Many reads at the same time, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from raysearch.engine.job import Fetched, Job, fetch
from raysearch.model import Observation

BATCH_ROWS = 32
BATCH_BYTES = 8 * 2**20
_FIRST_READS = 4
"""Reads in flight before the size of a product's pixels is known."""


class Reads:
    """Reads observations for any number of streams, which share the job's bounds: reads in flight, and bytes held."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._permits = _Permits(job.concurrency, job.held_bytes)

    async def stream(self, rows: Iterable[tuple[int, Observation]]) -> AsyncGenerator[list[Fetched], None]:
        """Yield what has been read, as it comes: whatever is ready, up to `BATCH_ROWS` rows or about `BATCH_BYTES` bytes.

        A batch counts as consumed when the next one is asked for; the consumer lets go of its pixels before that. Batches follow
        the reads: many rows where they are small and quick, so that a row costs little, and one by one where they are slow.
        """
        ready: asyncio.Queue[Fetched | None] = asyncio.Queue()
        held = _Share(self._permits)
        feeder = asyncio.create_task(self._feed(rows, ready, held))
        try:
            while batch := await _batch(ready):
                count = len(batch)
                yield batch
                del batch
                held.release(count)
            await feeder
        finally:
            feeder.cancel()
            await asyncio.wait([feeder])
            held.release_all()

    async def _feed(self, rows: Iterable[tuple[int, Observation]], ready: asyncio.Queue[Fetched | None], held: _Share) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index, observation in rows:
                    await held.acquire()
                    group.create_task(self._read(index, observation, ready))
        finally:
            ready.put_nowait(None)

    async def _read(self, index: int, observation: Observation, ready: asyncio.Queue[Fetched | None]) -> None:
        fetched = await fetch(self._job, index, observation)
        if fetched.pixels is not None:
            # What was read is held while the pixels are made of it: of images, whole rows for the sake of a few columns.
            self._permits.learn(max(fetched.nbytes, fetched.usage.bytes_read))
        ready.put_nowait(fetched)


class _Permits:
    """One for each observation being read or waiting to be consumed; fewer go round where pixels are large.

    How large is known only after reading, so the sizes seen so far stand for those to come.
    """

    def __init__(self, most: int, held_bytes: int) -> None:
        first = min(most, _FIRST_READS)
        self._semaphore = asyncio.Semaphore(first)
        self._round = first
        self._wanted = first
        self._most = most
        self._held_bytes = held_bytes
        self._mean: float | None = None

    async def acquire(self) -> None:
        await self._semaphore.acquire()

    def release(self) -> None:
        if self._round > self._wanted:
            self._round -= 1
        else:
            self._semaphore.release()

    def learn(self, nbytes: int) -> None:
        """Take into account how many bytes one observation held at most."""
        self._mean = nbytes if self._mean is None else 0.8 * self._mean + 0.2 * nbytes
        self._wanted = max(1, min(self._most, int(self._held_bytes / max(self._mean, 1.0))))
        while self._round < self._wanted:
            self._round += 1
            self._semaphore.release()


class _Share:
    """The permits of one stream, so that one which ends early gives back what it holds."""

    def __init__(self, permits: _Permits) -> None:
        self._permits = permits
        self._held = 0

    async def acquire(self) -> None:
        await self._permits.acquire()
        self._held += 1

    def release(self, count: int) -> None:
        self._held -= count
        for _ in range(count):
            self._permits.release()

    def release_all(self) -> None:
        self.release(self._held)


async def _batch(ready: asyncio.Queue[Fetched | None]) -> list[Fetched]:
    """Return what is ready, at least one result; an empty list at the end."""
    batch: list[Fetched] = []
    size = 0
    while not batch or (not ready.empty() and len(batch) < BATCH_ROWS and size < BATCH_BYTES):
        fetched = await ready.get()
        if fetched is None:
            if batch:
                ready.put_nowait(None)
            break
        batch.append(fetched)
        size += fetched.nbytes
    return batch
