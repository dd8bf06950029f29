"""The progress line: an observer that says how far a run is."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from typing import TextIO

from raysearch.engine.events import Event, Phase, RunFinished, RunStarted, ShardDone, Tick, Totals, added
from raysearch.model import STATUSES

_REDRAW_S = 0.1
_SILENCE_S = 60.0
"""After how long without a shard the line says so: that a run hangs, and that it is slow, look alike."""
_LEAST = ("read", "again", "nothing", "detected", "skipped", "rate", "failed", "silence", "left")
"""Parts of the line that a narrow terminal does without, the first first."""
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class ProgressLine:
    """Writes progress to a stream: one line that is rewritten on a terminal, elsewhere a plain line every `every_s` seconds.

    A stream that takes nothing more (a terminal that was closed, a log on a full disk) costs the run nothing.

    Parameters
    ----------
    clock
        Gives seconds that only grow.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic, every_s: float = 10.0) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._pause_s = _REDRAW_S if self._terminal else every_s
        self._began = self._told = self._last = clock()
        self._totals = Totals(0)
        self._first = 0
        self._width = 0

    def __call__(self, event: Event) -> None:
        """Take an event, and write if it is time."""
        match event:
            case RunStarted(totals):
                self._began = self._told = self._last = self._clock()
                self._totals, self._first = totals, totals.done
                if totals.done:
                    self._say(f"{totals.done:,} of {totals.observations:,} observations were done before", lasting=True)
            case Phase(text, lasting):
                if self._totals.done == self._first:
                    self._began = self._last = self._clock()  # the rate is that of observations, not of Ray's start
                self._say(text, lasting=lasting or not self._terminal)
            case Tick():
                self._perhaps()
            case ShardDone():
                self._totals, self._last = added(self._totals, event), self._clock()
                self._perhaps()
            case RunFinished(totals):
                self._totals = totals
                self._say(self._line(), lasting=True)

    def _perhaps(self) -> None:
        """Write where the run is, if it is time; on a terminal, what it waits for stands there until the first shard is done."""
        waiting = self._terminal and self._totals.done == self._first
        if not waiting and self._clock() - self._told >= self._pause_s:
            self._say(self._line())

    def _line(self) -> str:
        """Return where the run is, in words that fit."""
        parts = self._parts()
        for name in ("", *_LEAST):
            parts.pop(name, None)
            line = ", ".join(parts.values())
            if len(line) < self._columns():
                break
        return line

    def _parts(self) -> dict[str, str]:
        """Return all there is to say, by name."""
        totals, now = self._totals, self._clock()
        elapsed = now - self._began
        rate = (totals.done - self._first) / elapsed if elapsed > 0 else 0.0
        parts = {"done": f"{totals.done:,} of {totals.observations:,} observations"}
        parts |= {status: f"{totals.by_status[status]:,} {status}" for status in STATUSES if totals.by_status[status]}
        parts |= {"read": f"{readable_bytes(totals.bytes_read)} read", "rate": f"{rate:,.1f}/s"}
        if totals.left and rate:
            parts["left"] = f"{readable_seconds(totals.left / rate)} left"
        if totals.retries:
            parts["again"] = f"{sum(totals.retries.values()):,} requests sent again, most to {next(iter(totals.retries))}"
        if totals.left and now - self._last >= _SILENCE_S:
            parts["silence"] = f"none ended for {readable_seconds(now - self._last)}"
        return parts

    def _columns(self) -> float:
        """Return how wide the terminal is now; elsewhere nothing wraps."""
        return shutil.get_terminal_size().columns if self._terminal else math.inf

    def _say(self, text: str, lasting: bool = False) -> None:
        self._told = self._clock()
        with contextlib.suppress(OSError):
            self._write(text, lasting)

    def _write(self, text: str, lasting: bool) -> None:
        if self._terminal:
            most = max(0, shutil.get_terminal_size().columns - 1)  # a line that wraps could not be rewritten
            text = text[:most]
            self._stream.write("\r" + text.ljust(min(self._width, most)) + ("\n" if lasting else ""))
            self._width = 0 if lasting else len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def readable_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, three figures."""
    for unit in _UNITS[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"


def readable_seconds(seconds: float) -> str:
    """Return a time span as a person would say it: 42 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
