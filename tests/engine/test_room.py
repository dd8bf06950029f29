"""Room for bytes, given out in turn."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.engine.room import Asking, Hold, Room, Shelf
from raysearch.errors import TooLarge
from raysearch.model import Usage


def anything(nbytes: int) -> None:
    """Refuse nothing."""


async def turns(count: int = 10) -> None:
    """Let every other task run as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.booleans()), max_size=20))
def test_everybody_gets_room_and_no_more_is_held_than_there_is(tasks: list[tuple[int, int, bool]]) -> None:
    room = Room(20)
    holding: list[int] = []
    had = 0

    async def one(nbytes: int, pauses: int) -> None:
        nonlocal had
        await room.take(nbytes)
        holding.append(nbytes)
        try:
            assert sum(holding) <= 20 or sum(map(bool, holding)) == 1
            had += 1
            await turns(pauses)
        finally:
            holding.remove(nbytes)
            room.give(nbytes)

    async def everyone() -> list[BaseException | None]:
        started = [asyncio.create_task(one(nbytes, pauses)) for nbytes, pauses, _ in tasks]
        await turns(1)
        for task, (_, _, stop) in zip(started, tasks, strict=True):
            if stop:
                task.cancel()
        return await asyncio.wait_for(asyncio.gather(*started, return_exceptions=True), 10)

    ended = asyncio.run(everyone())
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended)
    assert had >= sum(not stop for _, _, stop in tasks)
    assert room.held == 0


def test_a_large_one_is_not_passed_by() -> None:
    async def order() -> list[str]:
        room, told = Room(10), []

        async def ask(name: str, nbytes: int) -> None:
            await room.take(nbytes)
            told.append(name)

        await room.take(6)
        for name, nbytes in (("large", 9), ("small", 1)):
            asyncio.get_running_loop().create_task(ask(name, nbytes))
        await turns()
        assert told == []
        room.give(6)
        await turns()
        return told

    assert asyncio.run(order()) == ["large", "small"]


def test_one_that_is_larger_than_the_room_has_it_alone() -> None:
    async def alone() -> None:
        room = Room(10)
        await room.take(1)
        large = asyncio.create_task(room.take(100))
        await turns()
        assert not large.done()
        room.give(1)
        await large
        small = asyncio.create_task(room.take(1))
        await turns()
        assert not small.done()
        room.give(100)
        await small

    asyncio.run(asyncio.wait_for(alone(), 10))


def test_who_asks_again_for_more_does_not_wait() -> None:
    """Two that hold something and wait for more would wait for each other."""

    async def both() -> int:
        room = Room(10)
        holds = [Hold(room, anything) for _ in range(2)]
        for hold in holds:
            await hold.ask(5)
        await asyncio.wait_for(asyncio.gather(*(hold.ask(8) for hold in holds)), 10)
        held = room.held
        for hold in holds:
            hold.settle(0)
        assert room.held == 0
        return held

    assert asyncio.run(both()) == 16


def test_the_first_question_takes_the_place_of_the_guess() -> None:
    async def asked() -> None:
        room = Room(10)
        hold = Hold(room, anything)
        await hold.guess(9)
        await asyncio.wait_for(hold.ask(10), 10)
        assert room.held == 10

    asyncio.run(asked())


def test_the_time_limit_stands_still_while_there_is_no_room() -> None:
    async def waited() -> Hold:
        room = Room(10)
        await room.take(10)
        hold = Hold(room, anything)
        asyncio.get_running_loop().call_later(0.3, room.give, 10)
        async with asyncio.timeout(0.1) as hold.limit:
            await hold.ask(1)
        return hold

    assert asyncio.run(waited()).waited_s > 0.2


def test_what_is_too_large_is_refused_and_holds_nothing() -> None:
    def nothing(nbytes: int) -> None:
        raise TooLarge(f"{nbytes} is too large")

    room = Room(10)
    usage = Asking(hold=Hold(room, nothing))
    with pytest.raises(TooLarge, match="7 is"):
        asyncio.run(usage.room(7))
    assert room.held == 0


def test_what_a_read_cost_travels_without_its_hold() -> None:
    usage = Asking(requests=2, bytes_read=5, sizes={"a": 1}, hold=Hold(Room(1), anything))
    assert usage.bare() == Usage(2, 5, sizes={"a": 1})
    assert type(usage.bare()) is Usage


def test_a_shelf_is_free_again_when_the_consumer_has_let_go() -> None:
    async def shelf() -> None:
        room = Room(10)
        shelf = Shelf(room)
        assert await shelf.put(4)
        assert await shelf.put(5)
        third = asyncio.create_task(shelf.put(6))
        await turns()
        assert not third.done()
        shelf.taken(2)  # of the first piece nothing was heard
        assert await asyncio.wait_for(third, 10)
        shelf.taken(1)  # comes late
        assert room.held == 6
        shelf.ended = True
        assert not shelf.done
        shelf.taken(3)
        assert shelf.done
        assert room.held == 0

    asyncio.run(shelf())


@pytest.mark.parametrize("when", ["before", "waiting", "granted", "after"])
def test_a_shelf_whose_consumer_is_lost_gives_everything_back(when: str) -> None:
    async def dropped() -> None:
        room = Room(10)
        shelf = Shelf(room)
        if when == "before":
            shelf.drop()
            assert not await shelf.put(9)
            return
        assert await shelf.put(9)
        second = asyncio.create_task(shelf.put(8))
        await turns()
        if when == "granted":
            shelf.taken(1)
            await asyncio.sleep(0)  # the room is given, the putting has not gone on
        elif when == "after":
            shelf.taken(1)
            assert await second
        shelf.drop()
        assert when == "after" or not await asyncio.wait_for(second, 10)
        assert room.held == 0
        assert not await shelf.put(1)

    asyncio.run(dropped())
