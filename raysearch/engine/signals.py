"""What signals do to the process that runs a search: Ctrl-C and SIGTERM stop it, an alarm ends what takes too long."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 1.0
"""How long after an alarm to ring again, for code that catches whatever is raised in it."""


class Stopped(KeyboardInterrupt):
    """Somebody has stopped the run: with Ctrl-C (SIGINT), or as batch systems do (SIGTERM)."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped; what is done is kept: run the same again to go on")
        self.number = number
        """The signal's; 128 more is the exit status that shells expect."""


class TimeIsUp(BaseException):
    """An observation has taken too long."""


class Interrupts:
    """Takes the signals that stop a run inside: the first is told, the second raises `Stopped` at once.

    Does nothing outside the main thread, where Python takes no signals.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self.number = 0
        """Of the first signal that came; 0: none has."""
        self._told = told
        self._usual: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        if _in_main_thread():
            self._usual = {number: signal.getsignal(number) for number in _STOPPING}
            self.catch()
        return self

    def catch(self) -> None:
        """Take the signals, again if somebody else has: Ray takes SIGTERM when it starts."""
        for number in self._usual:
            signal.signal(number, self._asked)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._release()
        if isinstance(exc, SystemExit) and exc.code == signal.SIGTERM:  # as Ray has it, while it starts
            raise Stopped(signal.SIGTERM) from exc

    def _asked(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        if self.number:
            self._release()
            raise Stopped(number)
        self.number = number
        self._told()

    def _release(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler or signal.SIG_DFL)


class Alarm:
    """Ends what takes too long, by SIGALRM; does nothing outside the main thread."""

    def __enter__(self) -> Self:
        self._works = _in_main_thread()
        if self._works:
            self._usual = signal.signal(signal.SIGALRM, _ring)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._works:
            signal.signal(signal.SIGALRM, self._usual or signal.SIG_DFL)

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """Raise TimeIsUp inside when the time is up, as soon as Python code runs: C code that takes its time is not ended by it."""
        if not self._works:
            yield
            return
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
    raise TimeIsUp


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
