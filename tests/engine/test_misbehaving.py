"""Detectors and readers that do what they must not: each costs its own observation, and none holds up the run."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import FakeDetector, FakeReader, job_of, reasons, run_in, statuses, work_list

from raysearch.engine.memory import Shares
from raysearch.engine.workers import actors
from raysearch.model import Candidate, Limit, Observation, Pixels, Usage

MB = 10**6


def raises(error: BaseException) -> None:
    raise error


def catch_all() -> None:
    """Catch whatever is raised, as a bare `except` does, twice."""
    for _ in range(2):
        with contextlib.suppress(BaseException):
            time.sleep(60)
    time.sleep(60)


KEPT: list[bytes] = []


def grow() -> None:
    KEPT.append(b"x" * (300 * MB))
    time.sleep(3600)


DEEDS: dict[str, Callable[[], object]] = {
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(0),
    "sleep": lambda: time.sleep(3600),
    "lock": lambda: ctypes.PyDLL(None).sleep(3600),
    "catch-all": catch_all,
    "grow": grow,
    "leak": lambda: KEPT.append(b"x" * (4 * MB)),
    "sys.exit": lambda: sys.exit(0),
    "KeyboardInterrupt": lambda: raises(KeyboardInterrupt()),
    "GeneratorExit": lambda: raises(GeneratorExit()),
    "CancelledError": lambda: raises(asyncio.CancelledError()),
    "BaseException": lambda: raises(BaseException("of no kind")),
    "stdout": lambda: os.close(1),
    "chdir": lambda: os.chdir("/"),
    "threads": lambda: [threading.Thread(target=time.sleep, args=(600,), daemon=True).start() for _ in range(20)],
}


@dataclass(frozen=True)
class Misbehaving(FakeDetector):
    """Does one of the deeds where the observation says so, and then detects."""

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        if pixels.header in DEEDS:
            DEEDS[pixels.header]()
        return super().detect(pixels)


@dataclass(frozen=True)
class Strange(FakeReader):
    """Returns what it was asked for, with something wrong in it where the observation says so."""

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        pixels = await super().read(observation, usage)
        (window,) = pixels.windows
        match observation.s_region:
            case "lists":
                return replace(pixels, windows=(replace(window, planes={"SCI": [[1.0]]}),))  # type: ignore[dict-item]
            case "objects":
                return replace(pixels, windows=(replace(window, planes={"SCI": np.array([object()])}),))
            case "no-windows":
                return replace(pixels, windows=7)  # type: ignore[arg-type]
            case "targets":
                return replace(pixels, windows=(replace(window, targets=("t", 3)),))  # type: ignore[arg-type]
            case "ranges":
                return replace(pixels, ranges=(("a", "b"),))  # type: ignore[arg-type]
            case "uri":
                return replace(pixels, uri=7)  # type: ignore[arg-type]
            case "usage":
                usage.bytes_read = "much"  # type: ignore[assignment]
            case "KeyboardInterrupt":
                raise KeyboardInterrupt
            case "GeneratorExit":
                raise GeneratorExit
        return pixels


RAISED = ["sys.exit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "BaseException"]
HARMLESS = ["chdir", "threads"]


def endings(folder: Path, words: list[str]) -> dict[str, tuple[str, str]]:
    return dict(zip(words, zip(statuses(folder), reasons(folder), strict=True), strict=True))


def test_whatever_a_detector_raises_costs_its_own_observation(tmp_path: Path, engine: str) -> None:
    words = ["detected", *RAISED, *HARMLESS, "two"]
    os.chdir(tmp_path)
    run_in(Path("run"), job_of(detector=Misbehaving()), work_list(words), engine, shard_size=3)
    ended = endings(tmp_path / "run", words)
    assert {word for word in words if ended[word][0] == "failed"} == set(RAISED)
    for word in ("KeyboardInterrupt", "GeneratorExit", "CancelledError", "BaseException"):
        assert ended[word][1].startswith(f"internal error in Misbehaving.detect: {word}: ")
    assert ended["sys.exit"][1].startswith("internal error in Misbehaving.detect: SystemExit: 0")


def test_whatever_a_reader_returns_costs_its_own_observation(tmp_path: Path, engine: str) -> None:
    strange = ["lists", "objects", "no-windows", "ranges", "uri", "usage", "KeyboardInterrupt", "GeneratorExit", "targets"]
    words = ["detected", *strange, "two"]
    run_in(tmp_path, job_of(Strange()), work_list(words), engine, shard_size=6)
    ended = endings(tmp_path, words)
    assert {word for word in words if ended[word][0] == "failed"} == set(strange)
    assert ended["lists"][1].startswith("internal error in Strange.read: TypeError: read() returned Pixels with a list in it")
    assert "internal error in what was found: " in ended["ranges"][1]


@pytest.mark.parametrize("deed", ["sleep", "catch-all"])
def test_a_detector_that_never_returns_in_one_process(tmp_path: Path, deed: str) -> None:
    usual = signal.getsignal(signal.SIGALRM)
    words = ["detected", deed, deed, "two"]
    run_in(tmp_path, job_of(detector=Misbehaving(), detect_limit_s=0.3), work_list(words))
    assert endings(tmp_path, words)[deed] == ("failed", "detecting took longer than 0.3 s (run.time_limit)")
    assert statuses(tmp_path) == ["detected", "failed", "failed", "detected"]
    assert signal.getsignal(signal.SIGALRM) == usual
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_detectors_that_never_return_or_kill_their_process_on_ray(tmp_path: Path, one_ray: None) -> None:
    words = ["detected"] * 30
    words[3], words[9], words[14], words[20], words[25] = "sleep", "lock", "segfault", "exit", "stdout"
    job = job_of(detector=Misbehaving(), detect_limit_s=1.5)
    run_in(tmp_path / "run", job, work_list(words), "ray", shard_size=10)
    ended = list(zip(statuses(tmp_path / "run"), reasons(tmp_path / "run"), strict=True))
    assert [row for row, (status, _) in enumerate(ended) if status != "detected"] == [3, 9, 14, 20]
    assert ended[3] == ended[9] == ("failed", "detecting took longer than 1.5 s (run.time_limit)")
    assert ended[14][1].startswith("the worker died 2 times on this observation alone: ")
    assert ended[20][1].startswith("the worker died 2 times on this observation alone: ")


@pytest.mark.slow
def test_detectors_that_take_too_much_memory_or_keep_it_on_ray(tmp_path: Path, one_ray: None) -> None:
    words = ["leak"] * 100
    words[11] = "grow"
    job = replace(job_of(detector=Misbehaving()), shares=Shares(worker_bytes=250 * MB))
    run_in(tmp_path / "run", job, work_list(words), "ray", shard_size=5)
    ended = list(zip(statuses(tmp_path / "run"), reasons(tmp_path / "run"), strict=True))
    assert [row for row, (status, _) in enumerate(ended) if status != "detected"] == [11]
    assert ended[11][1].startswith("detecting needed more than 250 MB, one detector's part of run.memory: give more")


@dataclass(frozen=True)
class Blocking(FakeReader):
    """Never gives its loader's event loop back where the observation says so; the loader that gets it is soon found out."""

    def __setstate__(self, state: dict[str, object]) -> None:
        actors._BLOCKED_S, actors._TELL_S = 1.0, 0.1
        self.__dict__.update(state)

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        if observation.s_region == "block":
            time.sleep(3600)  # noqa: ASYNC251 - that is the fault
        return await super().read(observation, usage)


@pytest.mark.slow
def test_a_reader_that_blocks_its_loader_costs_its_own_observation(tmp_path: Path, one_ray: None) -> None:
    words = ["detected", "block", "two", "detected"]
    run_in(tmp_path, job_of(Blocking(), time_limit_s=1.0), work_list(words), "ray", shard_size=2)
    assert statuses(tmp_path) == ["detected", "failed", "detected", "detected"]
    alone = "the worker died 2 times on this observation alone: "
    assert reasons(tmp_path)[1] == f"{alone}a read that never waits has stopped its loader (run.time_limit)"
