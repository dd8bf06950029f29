"""What the command line prints on: it may lack letters, and a terminal may be gone before the command has ended."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast


def spell_out() -> None:
    """Have what standard output has no letter for printed as an escape: bytes in names of files, Greek targets."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def outlived() -> Iterator[None]:
    """Have what is printed inside go nowhere once its terminal is gone: what was worth keeping is in files."""
    with contextlib.ExitStack() as replaced:
        if sys.stdout.isatty():
            replaced.enter_context(contextlib.redirect_stdout(cast("TextIO", _Terminal(sys.stdout))))
        if sys.stderr.isatty():
            replaced.enter_context(contextlib.redirect_stderr(cast("TextIO", _Terminal(sys.stderr))))
        yield


class _Terminal:
    """A stream to a terminal; everything else is as the stream has it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as exc:
            self._let_go(exc)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as exc:
            self._let_go(exc)

    def _let_go(self, exc: OSError) -> None:
        """Have nothing take its place, also for what stands in buffers and is written when Python ends."""
        if exc.errno != errno.EIO:
            raise exc
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)
