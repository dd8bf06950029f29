"""The published detector, slowed down, which leaves a trace of what it looks at and does harm where it is told to.

Its orders and its trace lie in the folder that the environment names: so a disturbed run is the same search as an undisturbed one,
with the same hash.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np

from raysearch.detect.published import Published
from raysearch.model import Candidate, Pixels

FOLDER = "RAYSEARCH_TRIAL"
"""The variable that names the folder; without it there are no orders, and no trace."""
ORDERS, TRACE = "orders.json", "trace"
SLOWED_S = 0.01
"""Longer for each observation: long enough for a moment amid them to be met."""
LEAK_BYTES = 2**30
"""As the kernel would, a detector that leaks is killed here, if nothing else has ended it before."""


class Obedient(Published):
    """Searches as `published` does, for `seconds` longer each time."""

    def __init__(self, seconds: float = SLOWED_S) -> None:
        super().__init__()
        self.seconds = seconds

    def detect(self, pixels: Pixels) -> list[Candidate]:
        """Return what `published` returns, if this process lives to do so."""
        if folder := os.environ.get(FOLDER):
            order = _order(Path(folder), pixels.obs_id)
            _leave_trace(Path(folder), pixels.obs_id)  # last: whoever sees it may kill this process, and the order is given already
            _obey(order)
        time.sleep(self.seconds)
        return super().detect(pixels)


def _leave_trace(folder: Path, obs_id: str) -> None:
    line = f"{time.time():.6f} {os.getpid()} {obs_id}\n"
    descriptor = os.open(folder / TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())  # in one piece, whoever else writes
    os.close(descriptor)


def _order(folder: Path, obs_id: str) -> str:
    """Return what is ordered for an observation; an empty string for nothing, or for what was to be done once, and has been."""
    order, _, once = json.loads((folder / ORDERS).read_text()).get(obs_id, "").partition(" ")
    if once:
        try:
            (folder / f"{order}-{obs_id}").touch(exist_ok=False)
        except FileExistsError:
            return ""
    return str(order)


def _obey(order: str) -> None:
    match order:
        case "segfault":
            ctypes.string_at(0)
        case "leak":
            _leak()
        case "wait":
            time.sleep(3600)
        case "spin":  # in C, with the GIL, for longer than the sun will shine
            re.fullmatch("(a|a)*b", "a" * 100)


def _leak() -> None:
    held: list[np.ndarray] = []
    while len(held) * 2**24 < LEAK_BYTES:
        held.append(np.ones(2**21))
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
