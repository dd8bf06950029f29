"""What a loader keeps of the shards that it reads, without a Ray around it."""

import asyncio
from typing import Any

import pytest
from engine_fakes import FakeReader, job_of, work_list
from ray import cloudpickle

from raysearch.engine.workers import actors
from raysearch.engine.workers.actors import Loader, packed


class Unwatched:
    """Stands for a Watch, and for a Meter."""

    def __init__(self, *_: Any) -> None: ...

    def beat(self) -> None: ...

    def set(self, *_: Any) -> None: ...


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    monkeypatch.setattr(actors, "_own_name", lambda: "loader-0")
    monkeypatch.setattr(actors, "Watch", Unwatched)
    monkeypatch.setattr(actors, "Meter", Unwatched)
    return Loader(cloudpickle.dumps(job_of(FakeReader(0.001))), {})


async def read(loader: Loader, pull: int) -> int:
    """Return how many observations a shard of six yields."""
    return sum([len(batch) async for batch in loader.stream(packed(work_list(["detected"] * 6)), pull)])


def test_a_shard_that_is_read_leaves_nothing_behind(loader: Loader) -> None:
    assert asyncio.run(read(loader, 3)) == 6
    assert not loader._shelves


def test_a_pull_that_is_dropped_after_its_end_leaves_nothing_behind(loader: Loader) -> None:
    async def drop() -> None:
        await read(loader, 3)
        for pull in range(2000):
            await loader.drop(pull)
        assert not loader._shelves
        assert len(loader._dropped) <= 1000

    asyncio.run(drop())


def test_a_pull_that_is_dropped_before_it_comes_is_not_read(loader: Loader) -> None:
    async def drop() -> list[int]:
        await loader.drop(3)
        return [await read(loader, 3), await read(loader, 4)]

    assert asyncio.run(drop()) == [0, 6]


def test_before_the_first_shard_none_is_late(loader: Loader) -> None:
    assert asyncio.run(loader.late()) == []
