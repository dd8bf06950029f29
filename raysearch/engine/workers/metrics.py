"""What a run on Ray tells Prometheus: which metrics there are, and who counts what.

Ray exports them on every node's metrics port, their names with `ray_` before them and, of counters, `_total` behind. All have the
labels `search` (its name) and `run` (the run folder's name), so that two runs on one cluster are told apart.

What is counted by the driver is counted when a shard is committed: it is what the run folder holds, what earlier sessions did
included, whatever becomes of a worker. What only the workers know carries the name of the actor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from raysearch.engine.events import AtWork, Event, RunStarted, ShardDone, Tick, Totals, added
from raysearch.engine.folder.files import Place
from raysearch.engine.folder.ledger import RUN

PREFIX = "raysearch_"
LABELS = ("search", "run")
MOST_HOSTS = 50
"""Hosts that have a label of their own; more are counted as one, `others`: every label is a time series that Prometheus keeps."""
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity."""

    name: str
    kind: Literal["counter", "gauge"]
    about: str
    labels: tuple[str, ...] = ()
    """Beside `LABELS`."""

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return f"ray_{PREFIX}{self.name}" + ("_total" if self.kind == "counter" else "")


OBSERVATIONS = Metric("observations", "counter", "Observations done, by how they ended.", ("status",))
CANDIDATES = Metric("candidates", "counter", "Records in the candidate table.")
BYTES = Metric("bytes_read", "counter", "Bytes of pixels received.")
REQUESTS = Metric("requests", "counter", "Requests for pixels sent, those sent again included.")
RETRIES = Metric("retries", "counter", "Requests that were sent again after a failure.", ("host",))
LEFT = Metric("observations_left", "gauge", "Observations without an outcome.")
SHARDS_LEFT = Metric("shards_left", "gauge", "Shards that are not committed.")
SHARDS_OUT = Metric("shards_out", "gauge", "Of these, shards in the hands of detectors.")
DETECTORS = Metric("detectors", "gauge", "Detectors at work.")
LOADERS = Metric("loaders", "gauge", "Loaders at work.")
NODES = Metric("nodes", "gauge", "Nodes on which detectors are at work.")

BUSY = Metric("busy_seconds", "counter", "Seconds that a detector worked, on detection or on figures.", ("actor", "work"))
WAITING = Metric("rows_waiting", "gauge", "Observations in a loader's hands that it has not begun to read.", ("actor",))
READING = Metric("reads_in_flight", "gauge", "Observations that a loader is reading, or has no room for yet.", ("actor",))
READY = Metric("rows_ready", "gauge", "Observations read that no detector has taken yet.", ("actor",))
HELD = Metric("held_bytes", "gauge", "Bytes that a loader holds, to read, as pixels and in the object store.", ("actor",))

OF_THE_DRIVER = (
    OBSERVATIONS, CANDIDATES, BYTES, REQUESTS, RETRIES, LEFT, SHARDS_LEFT, SHARDS_OUT, DETECTORS, LOADERS, NODES,
)  # fmt: skip
OF_DETECTORS = (BUSY,)
OF_LOADERS = (WAITING, READING, READY, HELD)
METRICS = (*OF_THE_DRIVER, *OF_DETECTORS, *OF_LOADERS)
"""All there are."""


def labels(search: str, folder: Place) -> dict[str, str]:
    """Return the labels that all metrics of a run have; that of a run folder within another names both."""
    folder = folder.absolute() if isinstance(folder, Path) else folder
    run = f"{folder.parent.name}/{folder.name}" if (folder.parent / RUN).exists() else folder.name
    named = {"search": search or "unnamed", "run": run or "unnamed"}  # Ray leaves out an empty one
    return {key: text.encode("ascii", "backslashreplace").decode() for key, text in named.items()}  # and takes ASCII alone


class Meter:
    """Adds to counters and sets gauges, of this process.

    Parameters
    ----------
    always
        Labels of everything that it tells.
    """

    def __init__(self, metrics: tuple[Metric, ...], always: Mapping[str, str]) -> None:
        from ray.util.metrics import Counter, Gauge

        kinds = {"counter": Counter, "gauge": Gauge}
        self._told: dict[Metric, Any] = {}
        for metric in metrics:
            keys = (*LABELS, *metric.labels)
            made = kinds[metric.kind](PREFIX + metric.name, metric.about, keys)
            self._told[metric] = made.set_default_tags({key: text for key, text in always.items() if key in keys})
        self._reached: dict[tuple[Metric | str, ...], float] = {}

    def add(self, metric: Metric, amount: float, **tags: str) -> None:
        """Count on."""
        if amount > 0:  # Ray refuses to add nothing
            self._told[metric].inc(amount, tags)

    def reach(self, metric: Metric, total: float, **tags: str) -> None:
        """Count on up to a total; a smaller one than before is that of another run, and comes on top."""
        before = self._reached.get((metric, *tags.values()), 0.0)
        self.add(metric, total - before if total >= before else total, **tags)
        self._reached[metric, *tags.values()] = total

    def set(self, metric: Metric, value: float, **tags: str) -> None:
        """Say how it stands."""
        self._told[metric].set(value, tags)


@cache
def _of_the_driver(search: str, run: str) -> Meter:
    """Return the one meter of a run in this process, where it may be begun, stopped and taken up again."""
    return Meter(OF_THE_DRIVER, {"search": search, "run": run})


class RunMeter:
    """An observer that tells how the run goes, in the driver."""

    def __init__(self, always: Mapping[str, str]) -> None:
        self._meter = _of_the_driver(always["search"], always["run"])
        self._totals = Totals(0)
        self._shards = 0
        self._hosts: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case RunStarted(totals, shards):
                self._totals, self._shards = totals, shards
                self._tell()
            case ShardDone():
                self._totals = added(self._totals, event)
                self._shards -= 1
            case Tick():  # once in a second, for telling takes a millisecond, and shards may be many
                self._tell()
            case AtWork(detectors, loaders, nodes, shards):
                for metric, value in ((DETECTORS, detectors), (LOADERS, loaders), (NODES, nodes), (SHARDS_OUT, shards)):
                    self._meter.set(metric, value)
                self._tell()
            case _:
                pass

    def _tell(self) -> None:
        totals, meter = self._totals, self._meter
        for status, count in totals.by_status.items():
            meter.reach(OBSERVATIONS, count, status=status)
        meter.reach(CANDIDATES, totals.candidates)
        meter.reach(BYTES, totals.bytes_read)
        meter.reach(REQUESTS, totals.requests)
        for host, count in self._bounded(totals.retries).items():
            meter.reach(RETRIES, count, host=host)
        meter.set(LEFT, totals.left)
        meter.set(SHARDS_LEFT, self._shards)

    def _bounded(self, retries: Mapping[str, int]) -> dict[str, int]:
        """Return the counts by host, those of hosts beyond `MOST_HOSTS` together."""
        for host in retries:
            if len(self._hosts) < MOST_HOSTS:
                self._hosts.add(host)
        counts = {host: count for host, count in retries.items() if host in self._hosts}
        rest = sum(retries.values()) - sum(counts.values())
        return counts | ({OTHERS: rest} if rest else {})
