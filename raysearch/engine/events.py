"""What the engine tells while it runs: frozen events, handed to every observer, and the totals they add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from raysearch.model import STATUSES, Status


@dataclass(frozen=True, slots=True)
class Totals:
    """How far a search has come, and what it has cost."""

    observations: int
    """Rows of the work list."""
    by_status: Mapping[Status, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    """Observations by how they ended; all four names are always there."""
    candidates: int = 0
    bytes_read: int = 0
    requests: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    """Host -> how many of the requests to it were sent again, those most often first."""
    detect_seconds: float = 0.0
    """Spent by detectors on observations, by all workers together."""
    figures_seconds: float = 0.0
    """Spent on drawing figures, by all workers together."""
    seconds: float = 0.0
    """Wall time of the latest session; 0 where only the parts are known."""
    resumed: int = 0
    """Observations that earlier sessions had done when the latest began; 0 where only the parts are known."""

    @property
    def done(self) -> int:
        """Observations with an outcome."""
        return sum(self.by_status.values())

    @property
    def left(self) -> int:
        """Observations without one."""
        return self.observations - self.done

    @property
    def counts(self) -> dict[str, Any]:
        """What the parts add up to, as JSON values."""
        return {
            "observations": self.observations,
            **{str(name): count for name, count in self.by_status.items()},
            "candidates": self.candidates,
            "bytes_read": self.bytes_read,
            "requests": self.requests,
            "retries": dict(self.retries),
            "detect_seconds": round(self.detect_seconds, 3),
            "figures_seconds": round(self.figures_seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run folder is open; nothing of this session is done yet."""

    totals: Totals
    """What earlier sessions did."""
    shards: int = 0
    """Shards that are left to do."""


@dataclass(frozen=True, slots=True)
class Phase:
    """The engine is busy with something other than observations."""

    text: str
    lasting: bool = False
    """Whether it is worth keeping on the screen."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """Who is at work, and on how much: told whenever it may have changed, every few seconds; all 0 when they have gone."""

    detectors: int = 0
    loaders: int = 0
    nodes: int = 0
    """On which the detectors are."""
    shards: int = 0
    """In the detectors' hands."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A second has gone by."""


@dataclass(frozen=True, slots=True)
class ShardDone:
    """A shard was committed: its rows are safe."""

    shard: int
    by_status: Mapping[Status, int]
    candidates: int
    bytes_read: int
    requests: int
    retries: Mapping[str, int] = field(default_factory=dict)
    detect_seconds: float = 0.0
    figures_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Every observation has its outcome."""

    totals: Totals


Event = RunStarted | Phase | AtWork | Tick | ShardDone | RunFinished
Observer = Callable[[Event], None]


def shard_done(shard: int, outcomes: pa.Table) -> ShardDone:
    """Return the event for a shard's outcome rows."""
    return ShardDone(
        shard=shard,
        by_status=count_statuses(outcomes),
        candidates=column_sum(outcomes, "candidates"),
        bytes_read=column_sum(outcomes, "bytes_read"),
        requests=column_sum(outcomes, "requests"),
        retries=_retries(outcomes),
        detect_seconds=_seconds(outcomes, "detect_seconds"),
        figures_seconds=_seconds(outcomes, "figures_seconds"),
    )


def added(totals: Totals, event: ShardDone) -> Totals:
    """Return the totals with one more shard."""
    return replace(
        totals,
        by_status={status: totals.by_status[status] + event.by_status[status] for status in STATUSES},
        candidates=totals.candidates + event.candidates,
        bytes_read=totals.bytes_read + event.bytes_read,
        requests=totals.requests + event.requests,
        retries=_sums(totals.retries, event.retries),
        detect_seconds=totals.detect_seconds + event.detect_seconds,
        figures_seconds=totals.figures_seconds + event.figures_seconds,
    )


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Return the sums by name, the largest first, those of one size by name."""
    if not other:
        return dict(one)
    sums = {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def count_statuses(outcomes: pa.Table) -> dict[Status, int]:
    """Return how many outcome rows have each status."""
    found = {row["values"]: row["counts"] for row in outcomes["status"].value_counts().to_pylist()}
    return {status: found.get(status, 0) for status in STATUSES}


def column_sum(table: pa.Table, name: str) -> int:
    """Return the sum of an integer column, 0 where there are no rows."""
    import pyarrow.compute as pc

    return int(pc.sum(table[name]).as_py() or 0)


def _seconds(outcomes: pa.Table, name: str) -> float:
    """Return the sum of a column of seconds."""
    import pyarrow.compute as pc

    return float(pc.sum(outcomes[name]).as_py() or 0.0)


def _retries(outcomes: pa.Table) -> dict[str, int]:
    """Return how many requests to each host were sent again, those most often first."""
    import pyarrow.compute as pc

    rows = pc.list_flatten(outcomes["retries"]).to_pylist()
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["host"]] = counts.get(row["host"], 0) + row["count"]
    return _sums({}, counts)
