"""How much of a worker's time figures may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.model import Figure

FREE = 25
"""Observations of which each worker draws in any case: small runs have all their figures."""

_WHY = "not drawn in the run: figures had had their share of its time; raysearch report DIR --redraw draws them"
POSTPONED = Figure(-1, "postponed", b"", _WHY)
"""Stands for the figures of an observation that were not drawn."""


def postponed(figures: pa.Table) -> set[str]:
    """Return the observations of a table of figures that were not drawn, for want of time."""
    return set(figures.filter(pc.equal(figures["name"], POSTPONED.name))["obs_id"].to_pylist())


class Budget:
    """Keeps the time for figures below a part of the time since the worker began.

    Parameters
    ----------
    share
        That part; 1: everything is drawn.
    free
        Observations drawn in any case; None: `FREE`.
    """

    def __init__(self, share: float, free: int | None = None) -> None:
        self._share, self._free = share, FREE if free is None else free
        self._began = time.perf_counter()
        self._spent = 0.0

    def left(self) -> bool:
        """Return whether the next observation may be drawn."""
        return self._free > 0 or self._spent <= self._share * (time.perf_counter() - self._began)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time that one observation's figures take."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._free -= 1
            self._spent += time.perf_counter() - began
