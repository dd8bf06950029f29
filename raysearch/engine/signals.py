"""What signals do to the process that runs a search: Ctrl-C, SIGTERM and SIGHUP stop it, an alarm ends what takes too long."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

_Handler = signal.Handlers | Callable[[int, FrameType | None], object] | int | None
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 1.0
"""How long after an alarm to ring again, for code that catches whatever is raised in it."""


class Stopped(KeyboardInterrupt):
    """Somebody has stopped the run: with Ctrl-C (SIGINT), as batch systems do (SIGTERM), or by closing its terminal (SIGHUP)."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped; what is done is kept: run the same again to go on")
        self.number = number
        """The signal's; 128 more is the exit status that shells expect."""


class TimeIsUp(BaseException):
    """An observation has taken too long."""


class Interrupts:
    """Takes the signals that stop a run inside: the first is told, the second raises `Stopped` at once.

    One that is ignored stays so, as SIGHUP under `nohup`. A terminal that closes may say so more than once: SIGHUP is never the
    second. Does nothing outside the main thread, where Python takes no signals.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self.number = 0
        """Of the first signal that came; 0: none has."""
        self._told = told
        self._usual: dict[int, _Handler] = {}
        self._spared = ""
        """Until when the second is to raise nothing."""

    def __enter__(self) -> Self:
        if _in_main_thread():
            self._usual = _not_ignored(_STOPPING)
            self.catch()
        return self

    def catch(self) -> None:
        """Take the signals, again if somebody else has: Ray takes SIGTERM when it starts."""
        for number in self._usual:
            signal.signal(number, self._asked)

    @contextmanager
    def sparing(self, until: str) -> Iterator[None]:
        """Have only the third raise inside, for what cannot be ended in order while it starts; `until` says when it has started."""
        self._spared = until
        try:
            yield
        finally:
            self._spared = ""

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        _take(self._usual)
        if isinstance(exc, SystemExit) and exc.code == signal.SIGTERM:  # as Ray has it, while it starts
            raise Stopped(signal.SIGTERM) from exc

    def _asked(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        if not self.number:
            self.number = number
            self._told("stopping: finishing what is in hand; Ctrl-C again stops at once")
        elif number == signal.SIGHUP:
            return
        elif self._spared:
            self._told(f"stopping as soon as {self._spared}; Ctrl-C again stops at once")
            self._spared = ""
        else:
            _take(self._usual)
            raise Stopped(number)


@contextmanager
def stopping() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise `Stopped` inside, as SIGINT raises KeyboardInterrupt, unless they are ignored."""
    usual = _not_ignored(_STOPPING[1:]) if _in_main_thread() else {}
    _take(dict.fromkeys(usual, _stop))
    try:
        yield
    finally:
        _take(usual)


@contextmanager
def outliving_terminals() -> Iterator[None]:
    """Have processes that are started inside outlive the terminal: it sends SIGHUP to them too, not to this process alone."""
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


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


def _not_ignored(numbers: Iterable[int]) -> dict[int, _Handler]:
    """Return who takes these signals now, but for those that are ignored."""
    return {number: handler for number in numbers if (handler := signal.getsignal(number)) != signal.SIG_IGN}


def _take(handlers: Mapping[int, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler or signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
    raise Stopped(number)


def _ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
    raise TimeIsUp


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
