"""Room for bytes: what may be held at the same time, given out in the order in which it was asked for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from raysearch.model import Usage


class Room:
    """Bytes that many tasks of one event loop share.

    Who asks waits until all who asked before have got theirs: a large one is not passed by for ever by small ones. One that is
    larger than the whole room has it alone.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        """All there is."""
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def crowded(self) -> bool:
        """Whether anyone waits for room."""
        return bool(self._waiting)

    async def take(self, nbytes: int) -> None:
        """Wait for room for so many bytes, and have it; when cancelled, have none."""
        if not self._waiting and self._fits(nbytes):
            self.held += nbytes
            return
        place = (nbytes, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        try:
            await place[1]
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
                self._admit()
            elif not place[1].cancelled():
                self.give(nbytes)
            raise

    def exceed(self, nbytes: int) -> None:
        """Have so many bytes at once: they are there already, whether or not there is room for them."""
        self.held += nbytes

    def give(self, nbytes: int) -> None:
        """Give so many bytes back."""
        self.held -= nbytes
        self._admit()

    def _fits(self, nbytes: int) -> bool:
        return self.held <= 0 or self.held + nbytes <= self.nbytes

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            nbytes, granted = self._waiting.popleft()
            if not granted.cancelled():
                self.held += nbytes
                granted.set_result(None)


class Hold:
    """What one observation holds of a room: a guess until its Reader asks, then what it asked for, then what its pixels need."""

    def __init__(self, room: Room, check: Callable[[int], None]) -> None:
        self._room = room
        self._check = check
        self.nbytes = 0
        self.asked = False
        """Whether its Reader has asked for room."""
        self.waited_s = 0.0
        self.limit: asyncio.Timeout | None = None
        """Time that runs while it is read, and stands still while it waits for room; None where it is not being read."""

    async def guess(self, nbytes: int) -> None:
        """Wait for room for an observation of which nothing is known yet."""
        await self._room.take(nbytes)
        self.nbytes = nbytes

    async def ask(self, nbytes: int) -> None:
        """Wait for room for so many bytes in all.

        Who asks again, for more, has it at once: two that wait for each other while they hold something would wait for ever.

        Raises
        ------
        TooLarge
            They are more than one observation may have.
        """
        self._check(nbytes)
        if self.asked:
            self.settle(max(self.nbytes, nbytes))
            return
        self.asked = True
        self.settle(0)
        await self._wait(nbytes)
        self.nbytes = nbytes

    async def _wait(self, nbytes: int) -> None:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        ends = self.limit.when() if self.limit is not None else None
        left = None if ends is None else ends - loop.time()
        if self.limit is not None:
            self.limit.reschedule(None)
        await self._room.take(nbytes)
        self.waited_s += time.perf_counter() - began
        if self.limit is not None and left is not None:
            self.limit.reschedule(loop.time() + left)

    def stood_still(self, seconds: float) -> None:
        """Do not count so much time to the read: nobody could go on with it."""
        ends = None if self.limit is None or self.limit.expired() else self.limit.when()
        if self.limit is not None and ends is not None:
            self.waited_s += seconds
            self.limit.reschedule(ends + seconds)

    def settle(self, nbytes: int) -> None:
        """Hold so many bytes from now on."""
        more, self.nbytes = nbytes - self.nbytes, nbytes
        if more > 0:
            self._room.exceed(more)
        elif more < 0:
            self._room.give(-more)


class Shelf:
    """What of one stream lies in the object store: from when it is put there, until its consumer has let go of it."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._sizes: deque[int] = deque()
        self._gone = 0
        """Pieces that the consumer has let go of."""
        self._putting: asyncio.Task[None] | None = None
        self.ended = False
        """Whether nothing more comes."""
        self.dropped = False
        """Whether there is no consumer any more."""

    @property
    def done(self) -> bool:
        """Whether nothing more happens here."""
        return self.ended and not self._sizes

    async def put(self, nbytes: int) -> bool:
        """Wait for room for one more piece; return False where nobody is there to take it."""
        if self.dropped:
            return False
        self._putting = asyncio.ensure_future(self._room.take(nbytes))
        try:
            await self._putting
        except asyncio.CancelledError:
            if not self.dropped:
                raise
            return False
        self._sizes.append(nbytes)
        if self.dropped:  # since room was given
            self.taken(self._gone + 1)
        return not self.dropped

    def taken(self, pieces: int) -> None:
        """Note that the consumer has let go of the first so many pieces: of all since the beginning, as a call may get lost."""
        while self._gone < pieces and self._sizes:
            self._gone += 1
            self._room.give(self._sizes.popleft())

    def drop(self) -> None:
        """Give everything back, and take nothing more."""
        self.dropped = True
        self.taken(self._gone + len(self._sizes))
        if self._putting is not None:
            self._putting.cancel()


@dataclass(slots=True)
class Asking(Usage):
    """The Usage of a read that asks for room."""

    hold: Hold | None = field(default=None, repr=False)

    async def room(self, nbytes: int) -> None:
        """Wait for it."""
        if self.hold is not None:
            await self.hold.ask(nbytes)

    def bare(self) -> Usage:
        """Return what it cost, without the hold: that can be sent to another process."""
        return Usage(*(getattr(self, f.name) for f in fields(Usage)))
