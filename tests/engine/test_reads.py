"""Many reads in bounded memory."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from engine_fakes import FakeReader, job_of, work_list

from raysearch.engine import reads as reads_module
from raysearch.engine.job import Fetched
from raysearch.engine.memory import Shares
from raysearch.engine.reads import Load, Reads
from raysearch.model import Observation, Pixels, Usage, observations_from_arrow

ROWS = list(enumerate(observations_from_arrow(work_list(["detected"] * 40))))


def test_every_row_comes_once() -> None:
    async def collect() -> list[int]:
        return [fetched.index async for batch in Reads(job_of(FakeReader(0.002))).stream(ROWS) for fetched in batch]

    found = asyncio.run(collect())
    assert sorted(found) == list(range(40))
    assert found != sorted(found)  # the fake's later rows overtake


def test_a_consumer_that_stops_gives_its_permits_back() -> None:
    async def stop_twice() -> int:
        reads = Reads(job_of(FakeReader(0.001), concurrency=3))
        for _ in range(2):
            async with contextlib.aclosing(reads.stream(ROWS)) as batches:
                async for _ in batches:
                    break
        return sum([len(batch) async for batch in reads.stream(ROWS)])

    assert asyncio.run(asyncio.wait_for(stop_twice(), 30)) == 40


def test_no_more_is_read_than_is_taken() -> None:
    async def look() -> tuple[int, int]:
        reader = FakeReader()
        stream = Reads(job_of(reader, concurrency=5)).stream(ROWS)
        batch = await anext(stream)
        await asyncio.sleep(0.05)
        most = reader.alive.most
        del batch
        await stream.aclose()
        return most, reader.alive.now

    most, _ = asyncio.run(look())
    assert most == 5


@pytest.mark.parametrize(("held_bytes", "most"), [(1, 4), (6 * 240, 6), (2**20, 8)])
def test_large_pixels_are_read_fewer_at_a_time(held_bytes: int, most: int) -> None:
    async def look() -> int:
        reader = FakeReader(0.002)
        async with contextlib.aclosing(
            Reads(job_of(reader, concurrency=8, shares=Shares(held_bytes=held_bytes))).stream(ROWS)
        ) as batches:
            async for batch in batches:
                batch.clear()
        return reader.alive.most

    assert asyncio.run(look()) <= most


def test_what_is_read_for_small_pixels_counts_too() -> None:
    class Wasteful(FakeReader):
        async def read(self, observation: Observation, usage: Usage) -> Pixels:
            usage.bytes_read += 100_000
            return await super().read(observation, usage)

    async def look() -> int:
        reader = Wasteful(0.002)
        async with contextlib.aclosing(
            Reads(job_of(reader, concurrency=32, shares=Shares(held_bytes=600_000))).stream(ROWS)
        ) as batches:
            async for batch in batches:
                batch.clear()
        return reader.alive.most

    assert asyncio.run(look()) <= 6


def test_one_that_is_larger_than_all_that_may_be_held_is_read_alone() -> None:
    async def look() -> int:
        reader = FakeReader(0.001)
        job = job_of(reader, concurrency=8, shares=Shares(held_bytes=1))
        rows = 0
        async for batch in Reads(job).stream(ROWS):
            rows += len(batch)
            batch.clear()
            if rows == 10:
                reader.alive.most = reader.alive.now
        assert rows == 40
        return reader.alive.most

    assert asyncio.run(look()) == 1


def test_batches_are_bounded_in_bytes_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    nbytes = 3 * 4 * 5 * np.dtype("f4").itemsize
    monkeypatch.setattr(reads_module, "BATCH_ROWS", 4)

    async def sizes() -> list[int]:
        return [len(batch) async for batch in Reads(job_of()).stream(ROWS)]

    assert max(asyncio.run(sizes())) == 4
    monkeypatch.setattr(reads_module, "BATCH_BYTES", 2 * nbytes)
    assert max(asyncio.run(sizes())) == 2


def test_a_work_list_that_breaks_is_no_quiet_end() -> None:
    def rows() -> Iterator[tuple[int, Observation]]:
        yield ROWS[0]
        raise OSError("the table is torn")

    async def read() -> list[list[Fetched]]:
        return [batch async for batch in Reads(job_of()).stream(rows())]

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(read())
    assert caught.group_contains(OSError, match="torn")


def test_the_load_is_what_is_read_and_what_waits() -> None:
    async def look() -> None:
        reads = Reads(job_of(FakeReader(0.001), concurrency=8))
        assert (reads.load.reading, reads.load.ready, reads.load.nbytes) == (0, 0, 0)
        async with contextlib.aclosing(reads.stream(ROWS)) as batches:
            assert await anext(batches)
            async with asyncio.timeout(60):
                while reads.load.reading:  # noqa: ASYNC110 - nothing tells when the last read has ended
                    await asyncio.sleep(0.01)
            assert reads.load.ready == 8  # nobody has taken any
            assert reads.load.nbytes > 0
        assert (reads.load.reading, reads.load.ready, reads.load.nbytes) == (0, 0, 0)

    asyncio.run(look())


def test_a_host_that_is_silent_keeps_nobody_else_waiting() -> None:
    class Silent(FakeReader):
        async def read(self, observation: Observation, usage: Usage) -> Pixels:
            if observation.uri.startswith("https://silent/"):
                await asyncio.sleep(3600)
            return await super().read(observation, usage)

    rows = [
        (index, replace(one, uris=(f"https://{'quick' if index % 3 == 2 else 'silent'}/{index}",)))
        for index, (_, one) in enumerate(ROWS * 3)
    ]

    async def look() -> list[int]:
        found: list[int] = []
        async with contextlib.aclosing(Reads(job_of(Silent(), concurrency=4)).stream(rows)) as batches:
            async for batch in batches:
                found += [fetched.index for fetched in batch]
                if len(found) == 40:
                    break
        return found

    assert sorted(asyncio.run(asyncio.wait_for(look(), 30))) == list(range(2, 120, 3))


@dataclass(frozen=True)
class Held(FakeReader):
    """Waits at some hosts until it is let go on."""

    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        if observation.uri.startswith("https://slow/"):
            await self.go.wait()
        return await super().read(observation, usage)


def at_hosts(hosts: list[str]) -> list[tuple[int, Observation]]:
    return [(row, replace(ROWS[row][1], uris=(f"https://{host}/{row}",))) for row, host in enumerate(hosts)]


async def turns() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("slow", "late"), [(4, [7]), (5, [])])
def test_a_stream_is_late_when_only_reads_that_have_begun_are_left(slow: int, late: list[int]) -> None:
    async def look() -> None:
        reader = Held()
        reads = Reads(job_of(reader, concurrency=4))
        async with contextlib.aclosing(reads.stream(at_hosts(["slow"] * slow + ["quick"] * 6), number=7)) as batches:
            found = 0
            while found < 6:
                assert reads.late == []  # something is ready, or has not been taken
                batch = await anext(batches)
                await turns()
                found += len(batch)
            rest = asyncio.ensure_future(anext(batches))
            await turns()
            assert reads.late == late
            reader.go.set()
            assert await rest
            assert reads.late == []

    asyncio.run(look())


def test_nothing_is_late_while_reads_wait_for_room() -> None:
    async def look() -> None:
        reader = Held()
        reads = Reads(job_of(reader, shares=Shares(held_bytes=1)))
        async with contextlib.aclosing(reads.stream(at_hosts(["slow"] * 2))) as batches:
            first = asyncio.ensure_future(anext(batches))
            await turns()
            assert reads.late == []
            reader.go.set()
            assert await first

    asyncio.run(look())


def test_what_a_consumer_does_not_take_keeps_no_other_waiting() -> None:
    async def look() -> int:
        reads = Reads(job_of(FakeReader(0.001), concurrency=4))
        async with contextlib.aclosing(reads.stream(ROWS)) as idle:
            assert await anext(idle)  # the rest of its turns lie there, read
            return sum([len(batch) async for batch in reads.stream(ROWS)])

    assert asyncio.run(asyncio.wait_for(look(), 30)) == 40


def test_a_stream_that_ends_early_leaves_nothing_behind() -> None:
    async def look() -> None:
        reader = Held()
        reads = Reads(job_of(reader, concurrency=3, shares=Shares(held_bytes=4000)))
        for _ in range(2):
            async with contextlib.aclosing(reads.stream(at_hosts(["quick", *["slow"] * 5]))) as batches:
                assert await anext(batches)
                await turns()
                assert reads.load.reading
            assert reads.load == Load(0, 0, 0)
            assert not reads._guesses
        reader.go.set()
        assert sum([len(batch) async for batch in reads.stream(at_hosts(["slow"] * 6))]) == 6

    asyncio.run(look())


@pytest.mark.parametrize(("told", "reason"), [(True, ""), (False, "reading took longer than 1 s (run.time_limit)")])
def test_time_in_which_the_thread_was_busy_is_no_time_of_a_read(told: bool, reason: str) -> None:
    async def read_beside() -> list[str]:
        reads = Reads(job_of(FakeReader(2.0), time_limit_s=1.0))
        batch = asyncio.ensure_future(anext(reads.stream(ROWS[:1])))
        await asyncio.sleep(0.1)
        time.sleep(1.0)  # noqa: ASYNC251 - as a detector does
        if told:
            reads.stood_still(1000.0)
        return [fetched.verdict.reason for fetched in await batch]

    assert asyncio.run(read_beside()) == [reason]
