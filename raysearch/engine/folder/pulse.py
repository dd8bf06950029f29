"""`progress.json`: what a run tells of itself that its parts do not, while it is at work and when it ends.

Written whole every few seconds by the driver. It is a help for whoever looks, and nothing depends on it: results are in the parts.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from raysearch.engine.events import AtWork, Event, Phase, RunStarted, ShardDone
from raysearch.engine.folder.files import Place, is_amount, read_json, timestamp, write_json
from raysearch.errors import RaysearchError, RunFolderError
from raysearch.masking import masked

PROGRESS = "progress.json"
EVERY_S, EVERY_S_REMOTE = 3.0, 30.0
"""How often it is written, on a disk and elsewhere, where a request costs money and time."""

_KINDS: dict[str, type | tuple[type, ...]] = {
    "state": str, "reason": str, "written": str, "began": str, "seconds": (int, float), "resumed": int, "done": int,
    "all_seconds": (int, float), "detector_seconds": (int, float), "last_commit": str, "doing": str,
    "detectors": int, "loaders": int, "nodes": int, "shards_out": int, "shards_left": int,
}  # fmt: skip
"""What it holds."""


def read_progress(folder: Place) -> dict[str, Any] | None:
    """Return what progress.json says; None where there is none, as of earlier versions, or it is damaged."""
    try:
        told = read_json(folder / PROGRESS)
    except (OSError, ValueError, RunFolderError):
        return None
    sound = isinstance(told, dict) and all(_is_right(told.get(name), kind) for name, kind in _KINDS.items())
    return told if sound else None


def _is_right(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and (kind is str or is_amount(value))


class ProgressFile:
    """An observer that keeps progress.json. Use it in a `with`: it also tells how the run has ended.

    Parameters
    ----------
    clock
        Gives seconds that only grow.
    """

    def __init__(self, folder: Place, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._every_s = EVERY_S if isinstance(folder, Path) else EVERY_S_REMOTE
        before = read_progress(folder) or {}
        self._began = self._seen = clock()
        self._earlier_s = float(before.get("all_seconds", 0.0))
        self._written = self._began - self._every_s
        self._writing = False
        self._told: dict[str, Any] = {
            "state": "running", "reason": "", "written": "", "began": timestamp(), "seconds": 0.0, "resumed": 0, "done": 0,
            "all_seconds": 0.0, "detector_seconds": float(before.get("detector_seconds", 0.0)),
            "last_commit": str(before.get("last_commit", "")), "doing": "",
            "detectors": 0, "loaders": 0, "nodes": 0, "shards_out": 0, "shards_left": 0,
        }  # fmt: skip

    def __call__(self, event: Event) -> None:
        """Take an event, and write if it is time."""
        seen = self._clock()
        told = self._told
        told["detector_seconds"] += told["detectors"] * (seen - self._seen)
        self._seen = seen
        match event:
            case RunStarted(totals, shards):
                told.update(resumed=totals.done, done=totals.done, shards_left=shards)
            case ShardDone():
                told.update(last_commit=timestamp(), shards_left=told["shards_left"] - 1, doing="")
                told["done"] += sum(event.by_status.values())
            case AtWork(detectors, loaders, nodes, shards):
                told.update(detectors=detectors, loaders=loaders, nodes=nodes, shards_out=shards)
            case Phase(text):
                told["doing"] = masked(text)
            case _:
                pass
        if seen - self._written >= self._every_s and not self._writing:  # a signal handler may tell while it is being written
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, exc: BaseException | None, _trace: object) -> None:
        told = self._told
        told.update(detectors=0, loaders=0, nodes=0, shards_out=0, doing="")
        if exc is None:
            told["state"] = "finished"
        elif isinstance(exc, KeyboardInterrupt):
            told["state"] = "stopped"
        else:
            told["state"] = "failed"
            told["reason"] = masked(str(exc) if isinstance(exc, RaysearchError) else f"{type(exc).__name__}: {exc}")
        self._write()
        self._every_s = math.inf

    def _write(self) -> None:
        self._written = self._clock()
        seconds = self._written - self._began
        self._told.update(written=timestamp(), seconds=round(seconds, 3), all_seconds=round(self._earlier_s + seconds, 3))
        self._writing = True
        with contextlib.suppress(RunFolderError):  # a disk that is full ends the run where it costs results, not here
            write_json(self._folder / PROGRESS, self._told, once=True)
        self._writing = False
