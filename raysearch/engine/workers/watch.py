"""The watch over a worker process: how long an observation takes it, and how much memory it has of its own.

A worker notes what it is busy with in memory that it shares with its `guard`. Whatever ends the worker, the guard leaves its last
words in a file on that node, for the driver to ask after: so it knows at once which observation it was.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Literal, get_args

from raysearch.engine.workers import guard

What = Literal["time", "memory", "worn", "died"]
"""What ended a worker: an observation took too long; its first one needed too much memory; it had too much memory after many;
something else."""


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a worker was busy with when it ended."""

    what: What
    task: int
    """The number that the driver gave its task; -1: none in particular."""
    row: int
    """Of the task, counted from 0."""


class Watch:
    """Keeps the limits of the process it is made in, by a guard of its own.

    Parameters
    ----------
    limit_s
        How long one observation may take, or how long no `beat` may come.
    limit_bytes
        How much memory the process may have of its own; 0: as much as it likes.
    """

    def __init__(self, limit_s: float, limit_bytes: int) -> None:
        self.key = uuid.uuid4().hex
        """By which `last_words` finds what this process left."""
        self._done = 0
        with TemporaryFile() as note:
            note.truncate(8 * len(guard.FIELDS))
            self._note = memoryview(mmap.mmap(note.fileno(), 0)).cast("d")
            arguments = [os.getpid(), note.fileno(), _file(self.key), limit_s, limit_bytes]
            # Isolated and without site packages, for a quick start. It ends by itself when this process is gone.
            self._guard = subprocess.Popen(  # noqa: S603 - this Python, and a file of ours
                [sys.executable, "-I", "-S", guard.__file__, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[note.fileno()],
                cwd="/",
            )

    @contextmanager
    def over(self, task: int, row: int) -> Iterator[None]:
        """Hold the row to the limits inside."""
        note = self._note
        note[1], note[2], note[0] = task, row, time.monotonic()
        try:
            yield
        finally:
            note[0] = 0.0
            self._done += 1
            note[3] = self._done

    def beat(self) -> None:
        """Say that this process is alive: from the first time on it must be said again within the limit."""
        self._note[1], self._note[2], self._note[0] = -1, -1, time.monotonic()


def last_words(key: str) -> LastWords | None:
    """Return what the process with a watch of this key left when it ended; None where it left nothing, or not on this node."""
    path = Path(_file(key))
    try:
        what, task, row = path.read_text("ascii").split()
        path.unlink()
    except FileNotFoundError:
        return None
    return LastWords(next(known for known in get_args(What) if known == what), int(task), int(row))


def _file(key: str) -> str:
    return str(Path(gettempdir()) / f"raysearch-{key}.words")
