"""How a run stands, from its folder alone: the same for one at work, a finished one, and a dead one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from raysearch.engine.events import Totals, added, shard_done
from raysearch.engine.folder.files import Place
from raysearch.engine.folder.ledger import outcome_tables, read_run
from raysearch.engine.folder.locks import is_held
from raysearch.engine.folder.parts import OUTCOMES, parts
from raysearch.engine.folder.pulse import read_progress

How = Literal["at work", "finished", "broken off"]

_ADDRESS = re.compile(r"(\w+://[^/\s]+)\S*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_HTTP = re.compile(r"[45]\d\d")


@dataclass(frozen=True, slots=True)
class Why:
    """A kind of reason for which observations were skipped or have failed."""

    status: str
    count: int
    reason: str
    """The first of its kind, in full."""
    obs_id: str
    """Whose it is."""
    alike: bool
    """Whether the others have the very same words."""


@dataclass(frozen=True, slots=True)
class State:
    """How a run stands."""

    folder: Place
    how: How
    run: Mapping[str, Any]
    """run.json."""
    totals: Totals
    """What its parts hold."""
    shards: int
    """In all."""
    shards_left: int
    reasons: tuple[Why, ...] = ()
    """The most frequent first."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """What the run last told of itself; empty for runs of earlier versions."""
    last_commit: datetime | None = None
    """When a shard was last committed; None where that cannot be told."""

    @property
    def told(self) -> datetime | None:
        """When the run last told of itself."""
        return _time(self.progress.get("written", ""))

    @property
    def seconds(self) -> float | None:
        """How long it has been at work, all sessions together; None where that cannot be told."""
        if self.progress:
            return float(self.progress["all_seconds"])
        totals = self.run.get("totals")
        return float(totals["seconds"]) if totals and not totals["resumed"] else None

    @property
    def rate(self) -> float | None:
        """Observations per second of the latest session; None where that cannot be told."""
        told = self.progress or {**(self.run.get("totals") or {}), "done": self.totals.done}
        seconds, done = told.get("seconds", 0.0), told["done"] - told.get("resumed", 0)
        return done / seconds if seconds > 0 and done > 0 else None

    @property
    def busy(self) -> float | None:
        """Part of the detectors' time in which they detected or drew, of all sessions; None where that cannot be told."""
        there = float(self.progress.get("detector_seconds", 0.0))
        return min(1.0, (self.totals.detect_seconds + self.totals.figures_seconds) / there) if there > 0 else None


def read_state(folder: Place) -> State:
    """Return how the run of a folder stands.

    Raises
    ------
    RunFolderError
        It is no run folder, or a part of it cannot be read.
    """
    run = read_run(folder)
    at_work = is_held(folder)  # before the parts are read: a run that ends meanwhile has committed all it will
    progress = read_progress(folder) or {}
    totals, whys = Totals(int(run["observations"])), _Reasons()
    standing = parts(folder)
    for table in outcome_tables(folder, standing):
        totals = added(totals, shard_done(0, table))
        whys.add(table)
    shards = -(-totals.observations // int(run["shard_size"]))
    return State(
        folder=folder,
        how="at work" if at_work else "finished" if run.get("finished") else "broken off",
        run=run,
        totals=totals,
        shards=shards,
        shards_left=shards - len(standing.done),
        reasons=whys.sorted(),
        progress=progress,
        last_commit=_time(progress.get("last_commit", "")) or _last_part(folder),
    )


class _Reasons:
    """Counts the reasons by kind."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], Why] = {}

    def add(self, outcomes: pa.Table) -> None:
        import pyarrow.compute as pc

        table = outcomes.select(["obs_id", "status", "reason"])
        for row in table.filter(pc.not_equal(table["reason"], "")).to_pylist():
            key = (row["status"], kind_of(row["reason"], row["obs_id"]))
            first = self._kinds.get(key) or Why(row["status"], 0, row["reason"], row["obs_id"], alike=True)
            alike = first.alike and row["reason"] == first.reason
            self._kinds[key] = Why(first.status, first.count + 1, first.reason, first.obs_id, alike)

    def sorted(self) -> tuple[Why, ...]:
        """Return them, failures first, of each status the most frequent first."""
        return tuple(sorted(self._kinds.values(), key=lambda why: (why.status, -why.count, why.reason)))


def kind_of(reason: str, obs_id: str = "") -> str:
    """Return a reason without what differs from one observation to the next: its name, paths, quoted texts, and most numbers.

    Those of HTTP's errors stay.
    """
    text = reason.replace(obs_id, "…") if obs_id else reason
    text = _QUOTED.sub("'…'", _ADDRESS.sub(r"\1/…", text))
    return _NUMBER.sub(lambda match: match[0] if _HTTP.fullmatch(match[0]) else "N", text)


def _last_part(folder: Place) -> datetime | None:
    """Return when the newest part of outcomes was written, on a disk."""
    if not isinstance(folder, Path):
        return None
    times = [part.path.stat().st_mtime for part in parts(folder).counted[OUTCOMES]]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _time(text: str) -> datetime | None:
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return told if told.tzinfo else None
