"""The guard of a worker: whatever ends the worker, its last words say which observation it was, and why."""

import ctypes
import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raysearch.engine.workers import guard, watch
from raysearch.engine.workers.watch import LastWords, Watch, last_words

MB = 10**6


def forever() -> None:
    while True:
        pass


def hold_the_lock() -> None:
    """Run C code that never gives Python's lock back."""
    ctypes.PyDLL(None).sleep(60)


def grow() -> None:
    held = bytearray(200 * MB)
    held[::4096] = b"x" * len(held[::4096])
    hold_the_lock()


def ended(deed: Callable[[], object], *, row: int = 2, limit_s: float = 60.0, limit_bytes: int = 0) -> tuple[int, LastWords | None]:
    """Return how a process ended (below 0: by which signal) that does a deed in one of its rows, and what it left."""
    coming, going = os.pipe()
    if not (child := os.fork()):
        kept = Watch(limit_s, limit_bytes and guard.own_bytes(os.getpid()) + limit_bytes)
        os.write(going, kept.key.encode())
        for number in range(row + 1):
            with kept.over(7, number):
                if number == row:
                    deed()
        os._exit(0)
    key = os.read(coming, 100).decode()
    os.close(coming)
    os.close(going)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for _ in range(200 if status else 10):
        if (words := last_words(key)) is not None:
            return status, words
        time.sleep(0.05)
    return status, None


def test_a_worker_that_ends_well_leaves_nothing() -> None:
    assert ended(lambda: None) == (0, None)


@pytest.mark.parametrize("deed", [forever, lambda: time.sleep(60), hold_the_lock])
def test_what_takes_too_long_is_ended_and_named(deed: Callable[[], object]) -> None:
    assert ended(deed, limit_s=0.3) == (-signal.SIGKILL, LastWords("time", 7, 2))


@pytest.mark.parametrize("deed", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_what_kills_its_worker_is_named(deed: Callable[[], object]) -> None:
    status, words = ended(deed)
    assert status
    assert words == LastWords("died", 7, 2)


@pytest.mark.parametrize(("row", "what"), [(0, "memory"), (4, "worn")])
def test_what_needs_too_much_memory_is_named_and_certain_only_if_it_was_the_first(row: int, what: watch.What) -> None:
    assert ended(grow, row=row, limit_bytes=150 * MB) == (-signal.SIGKILL, LastWords(what, 7, row))


def test_a_process_that_no_longer_beats_is_ended() -> None:
    def stall() -> None:
        kept = Watch(0.3, 0)
        kept.beat()
        time.sleep(60)

    assert ended(stall)[0] == -signal.SIGKILL


def test_own_memory_is_not_that_of_files_or_of_others() -> None:
    before = guard.own_bytes(os.getpid())
    with mmap.mmap(-1, 50 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:  # a heap may have had room
        held.write(bytes(50 * MB))
        assert guard.own_bytes(os.getpid()) - before > 40 * MB
    with mmap.mmap(-1, 100 * MB) as shared:
        shared.write(bytes(100 * MB))
        assert guard.own_bytes(os.getpid()) - before < 50 * MB
    assert guard.own_bytes(2**22 + 1) == 0


def test_last_words_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "gettempdir", lambda: str(tmp_path))
    guard.leave(watch._file("a"), "died", 3.0, 4.0)
    assert last_words("a") == LastWords("died", 3, 4)
    assert last_words("a") is None
    assert not list(tmp_path.iterdir())
