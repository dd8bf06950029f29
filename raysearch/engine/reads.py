"""Many reads at the same time, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from raysearch.engine.job import Fetched, Job, fetch
from raysearch.engine.room import Hold, Room
from raysearch.model import Observation

BATCH_ROWS = 32
BATCH_BYTES = 8 * 2**20
_AHEAD = 256
"""Observations looked at before their turn, for each stream, to find those at other hosts: more than a shard has."""
_FIRST_READS = 4
"""Reads in flight before anything is known of how large they are."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is under way."""

    reading: int
    """Observations being read, or waiting for room."""
    ready: int
    """Those read and not consumed."""
    nbytes: int
    """Bytes that all of them hold."""


class Reads:
    """Reads observations for any number of streams, which share the job's bounds: reads in flight at one host, and bytes held.

    Those of a host that is slow, or silent, keep none of another waiting: their turns are their own. Nor does a consumer that is
    slow: what it has not taken holds bytes, and turns of its own stream, which has as many. A Reader asks for room
    before it fetches (`Usage.room`). For one that does not say so, the mean of what was read so far stands for what comes.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._permits: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(job.concurrency))
        """By host, for reads in flight."""
        self._room = Room(job.shares.held_bytes)
        self._guess = 0 if getattr(job.reader, "asks_for_room", False) else max(1, job.shares.held_bytes // _FIRST_READS)
        self._learned = False
        self._guesses: dict[Hold, str] = {}
        """Of what is being read, with its host."""
        self._open: list[_Stream] = []

    @property
    def load(self) -> Load:
        """What all streams have under way."""
        reading = sum(len(stream.reading) for stream in self._open)
        return Load(reading, sum(len(stream.holds) for stream in self._open) - reading, self._room.held)

    @property
    def late(self) -> list[int]:
        """The numbers of the streams of which nothing is left but reads that have begun; none while reads wait for room."""
        return [] if self._room.crowded else [stream.number for stream in self._open if stream.late]

    async def stream(self, rows: Iterable[tuple[int, Observation]], number: int = 0) -> AsyncGenerator[list[Fetched], None]:
        """Yield what has been read, as it comes: whatever is ready, up to `BATCH_ROWS` rows or about `BATCH_BYTES` bytes.

        A batch counts as consumed when the next one is asked for; the consumer lets go of its pixels before that. Batches follow
        the reads: many rows where they are small and quick, so that a row costs little, and one by one where they are slow.
        """
        stream = _Stream(number)
        self._open.append(stream)
        feeder = asyncio.create_task(self._feed(rows, stream))
        try:
            while batch := await _batch(stream.ready):
                indices = [fetched.index for fetched in batch]
                yield batch
                del batch
                for index in indices:
                    stream.taken(index)
            await feeder
        finally:
            feeder.cancel()
            await asyncio.wait([feeder])
            for index in list(stream.reading):
                self._read_ended(index, stream)
            for index in list(stream.holds):
                stream.taken(index)
            self._open.remove(stream)

    def stood_still(self, seconds: float) -> None:
        """Do not count so much time to what is being read: the thread was busy with something else."""
        for stream in self._open:
            for _, hold in stream.holds.values():
                hold.stood_still(seconds)

    def _read_ended(self, index: int, stream: _Stream) -> None:
        """Give back the turn of a read that has ended, or was cancelled."""
        stream.reading.remove(index)
        host, hold = stream.holds[index]
        self._guesses.pop(hold, None)
        self._permits[host].release()

    async def _feed(self, rows: Iterable[tuple[int, Observation]], stream: _Stream) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for row in rows:
                    await stream.ahead.acquire()
                    host = _host(row[1])
                    if host not in stream.lanes:
                        stream.lanes[host] = _Lane(self._job.concurrency)
                        group.create_task(self._begin(host, stream, group))
                    stream.waiting += 1
                    stream.lanes[host].rows.put_nowait(row)
                stream.fed = True
                for lane in stream.lanes.values():
                    lane.rows.put_nowait(None)
        finally:
            stream.ready.put_nowait(None)

    async def _begin(self, host: str, stream: _Stream, group: asyncio.TaskGroup) -> None:
        """Begin the reads at one host, one after the other, as the stream and the host have turns and there is room."""
        lane = stream.lanes[host]
        while row := await lane.rows.get():
            index, observation = row
            await lane.turns.acquire()
            await self._permits[host].acquire()
            stream.ahead.release()
            stream.waiting -= 1
            stream.reading.add(index)
            _, hold = stream.holds[index] = host, Hold(self._room, self._job.shares.check)
            if self._guess and not observation.skip:
                await self._guess_at(host, hold)
            group.create_task(self._read(index, observation, hold, stream))

    async def _guess_at(self, host: str, hold: Hold) -> None:
        """Wait for room for what is not known yet; the only read at a host does not wait: what fills the room may stay for long."""
        if host in self._guesses.values():
            await hold.guess(self._guess)
        else:
            hold.settle(self._guess)
        self._guesses[hold] = host

    async def _read(self, index: int, observation: Observation, hold: Hold, stream: _Stream) -> None:
        fetched = await fetch(self._job, index, observation, hold)
        self._read_ended(index, stream)
        if fetched.pixels is not None and self._guess:
            # What was read is held while the pixels are made of it: of images, whole rows for the sake of a few columns.
            self._learn(max(fetched.nbytes, fetched.usage.bytes_read, 1))
        hold.settle(fetched.nbytes)
        stream.ready.put_nowait(fetched)

    def _learn(self, nbytes: int) -> None:
        """Take into account how many bytes an observation held at most whose Reader did not ask."""
        first = self._guess if self._learned else nbytes
        self._learned = True
        self._guess = int(0.8 * first + 0.2 * nbytes)
        for hold in self._guesses:
            if not hold.asked and hold.nbytes > self._guess:
                hold.settle(self._guess)


class _Lane:
    """What one stream reads at one host."""

    def __init__(self, concurrency: int) -> None:
        self.rows: asyncio.Queue[tuple[int, Observation] | None] = asyncio.Queue()
        """Observations whose reads have not begun."""
        self.turns = asyncio.Semaphore(concurrency)
        """For what is read, or waits to be consumed."""


class _Stream:
    """What is under way for one consumer, so that one which ends early gives back what it holds."""

    def __init__(self, number: int) -> None:
        self.number = number
        """What its consumer calls it."""
        self.ready: asyncio.Queue[Fetched | None] = asyncio.Queue()
        self.lanes: dict[str, _Lane] = {}
        """By host."""
        self.ahead = asyncio.Semaphore(_AHEAD)
        self.fed = False
        """Whether all its observations are in the lanes, or have left them."""
        self.waiting = 0
        """Observations in the lanes."""
        self.holds: dict[int, tuple[str, Hold]] = {}
        """By the observation's row: of each that is read, or waits to be consumed, with its host."""
        self.reading: set[int] = set()
        """Of these, those that are read."""

    @property
    def late(self) -> bool:
        """Whether nothing is left but reads that have begun: none waits for its turn, and what was read has been taken."""
        return self.fed and not self.waiting and 0 < len(self.reading) == len(self.holds)

    def taken(self, index: int) -> None:
        """Give back what an observation held, which has been consumed, or never will be."""
        host, hold = self.holds.pop(index)
        hold.settle(0)
        self.lanes[host].turns.release()


def _host(observation: Observation) -> str:
    """Return where an observation is read, as far as its first address tells: a host, or a bucket of S3; files have none."""
    scheme, divided, rest = observation.uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if divided else ""


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
