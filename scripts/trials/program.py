"""A program under test: started as its users start it, watched, stopped and killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

Seen = TypeVar("Seen")


class Hung(Exception):
    """Something did not come to its end."""


class Missed(Exception):
    """The moment for the fault did not come: nothing is proven, and it is tried again."""


class Wrong(Exception):
    """A run ended otherwise than it should."""


class Program:
    """`raysearch run`, in a process and a session of its own; on a terminal of its own, if asked for."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, *, terminal: bool, bound_s: float
    ) -> None:
        self.began = time.time()
        self.log = log
        self._bound = self.began + bound_s
        self._terminal: _Terminal | None = None
        with log.open("wb") as out:
            if terminal:
                master, slave = pty.openpty()
                self._terminal = _Terminal(master, log)
            else:
                slave = os.dup(out.fileno())
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=slave if terminal else subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=_take_terminal if terminal else None,  # noqa: PLW1509 - no more than a system call
            )
            os.close(slave)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], Seen | None], what: str) -> Seen:
        """Return what a condition gives as soon as it gives anything true.

        Raises
        ------
        Missed
            The program ended before.
        Hung
            It takes too long.
        """
        while not (seen := condition()):
            if self.ended:
                raise Missed(f"the run ended ({self._process.returncode}) before {what}: {self.last_line}")
            self._in_time(what)
            time.sleep(0.001)
        return seen

    def halt_when(self, condition: Callable[[], Seen | None], what: str) -> Seen:
        """As `until`; the program is stopped (SIGSTOP) while the condition holds, to stay or to be killed there."""
        while True:
            self.until(condition, what)
            self.send(signal.SIGSTOP)
            while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.0005)
            if seen := condition():
                return seen
            self.send(signal.SIGCONT)

    def wait(self) -> int:
        """Return the exit status, negative where a signal ended it.

        Raises
        ------
        Hung
            It does not end in time.
        """
        while not self.ended:
            self._in_time("its end")
            time.sleep(0.01)
        if self._terminal is not None:
            self._terminal.close(after_s=1.0)
        return int(self._process.returncode)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> int:
        """End it as kill -9 does."""
        self.send(signal.SIGKILL)
        return self.wait()

    def type(self, keys: bytes) -> None:
        """Type on its terminal."""
        assert self._terminal is not None
        os.write(self._terminal.master, keys)

    def close_terminal(self) -> None:
        """Close its terminal, as a window is closed or a connection is lost."""
        assert self._terminal is not None
        self._terminal.close()

    @property
    def last_line(self) -> str:
        """The last that was said: by raysearch, or else by whoever else writes there."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.output) if line.strip()]
        ours = [line for line in lines if line.startswith("raysearch: ")]
        return (ours or lines or [""])[-1].removeprefix("raysearch: ")

    def _in_time(self, what: str) -> None:
        if time.time() > self._bound:
            raise Hung(f"{what} did not come within {self._bound - self.began:.0f} s: {self.last_line}")


def _take_terminal() -> None:
    """Make standard input the controlling terminal, in the new process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class _Terminal:
    """The side of a terminal on which the user sits; what is shown there is written into a file."""

    def __init__(self, master: int, log: Path) -> None:
        self.master = master
        self._closing = threading.Event()
        self._shown = threading.Thread(target=self._show, args=(log,), daemon=True)
        self._shown.start()

    def close(self, after_s: float = 0.0) -> None:
        """Close it; at the latest after so many seconds, if the other side does not do so before."""
        self._shown.join(after_s)
        self._closing.set()
        self._shown.join()

    def _show(self, log: Path) -> None:
        with log.open("ab", buffering=0) as out, contextlib.suppress(OSError):  # so it is told that the other side is closed
            while not self._closing.is_set():
                if select.select([self.master], [], [], 0.05)[0]:
                    out.write(os.read(self.master, 65536))
        os.close(self.master)  # nobody else has it open: now the session hangs up
