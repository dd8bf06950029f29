"""The engine on Ray: hands out shards to detectors, commits what comes back, and outlives the loss of any worker."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from raysearch.engine.actors import SHARDS_AT_ONCE, packed
from raysearch.engine.backlog import Attempt, Backlog
from raysearch.engine.cluster import Node
from raysearch.engine.inline import Commit
from raysearch.errors import RaysearchError
from raysearch.model import WORK_SCHEMA

_POLL_S = 0.5
"""How long to wait for a shard before looking at signals."""


@dataclass(eq=False, slots=True)
class _Worker:
    """An actor as the driver sees it."""

    actor: Any
    shards: int = 0
    """Shards in its hands; counted for detectors."""
    waking: bool = False
    """Whether a shard was lost with it, and it has not answered since."""
    gone: bool = False
    """Whether Ray has given it up."""

    @property
    def usable(self) -> bool:
        return not (self.waking or self.gone)


@dataclass(frozen=True, eq=False, slots=True)
class _Task:
    """A shard in a detector's hands."""

    attempt: Attempt
    detector: _Worker
    loader: _Worker


class Driver:
    """Runs a backlog on the actors of some nodes."""

    def __init__(self, nodes: Sequence[Node], backlog: Backlog, commit: Commit) -> None:
        self._backlog = backlog
        self._commit = commit
        self._loaders: list[_Worker] = []
        # Each detector with the loaders of its own node.
        self._detectors: dict[_Worker, list[_Worker]] = {}
        for node in nodes:
            near = [_Worker(actor) for actor in node.loaders]
            self._loaders += near
            self._detectors.update((_Worker(actor), near) for actor in node.detectors)
        self._tasks: dict[Any, _Task] = {}
        self._pings: dict[Any, _Worker] = {}

    def run(self) -> None:
        """Work until the backlog is empty.

        Raises
        ------
        RaysearchError
            Ray has given up every detector or every loader.
        """
        while self._hand_out():
            waited = [*self._tasks, *self._pings]
            ready, _ = ray.wait(waited, num_returns=1, timeout=_POLL_S)
            for ref in ready:
                if ref in self._pings:
                    self._answered(ref)
                else:
                    self._returned(ref)

    def _hand_out(self) -> bool:
        """Give every detector what it can hold; return False when nothing is left to do."""
        for level in range(SHARDS_AT_ONCE):
            for detector, near in self._detectors.items():
                if not detector.usable or detector.shards > level:
                    continue
                loader = self._loader(near)
                if loader is None:
                    continue
                attempt = self._backlog.take()
                if attempt is None:
                    return bool(self._tasks)
                detector.shards += 1
                ref = detector.actor.process.remote(attempt.shard, packed(attempt.rows), loader.actor)
                self._tasks[ref] = _Task(attempt, detector, loader)
        return True

    def _loader(self, near: Iterable[_Worker]) -> _Worker | None:
        """Return the least busy loader of the node, or of any node where that has none alive."""
        usable = [loader for loader in near if loader.usable] or [loader for loader in self._loaders if loader.usable]
        busy = [task.loader for task in self._tasks.values()]
        return min(usable, key=busy.count, default=None)

    def _returned(self, ref: Any) -> None:
        """Commit a shard, or take it back."""
        task = self._tasks.pop(ref)
        task.detector.shards -= 1
        try:
            tables = ray.get(ref)
        except RayError as exc:
            self._wake(task.detector)
            self._wake(task.loader)
            result = self._backlog.died(task.attempt, _described(exc))
        else:
            result = self._backlog.finished(task.attempt, *tables)
        if result is not None:
            self._commit(result.shard, result.candidates, result.outcomes, result.figures)

    def _wake(self, worker: _Worker) -> None:
        """Give a worker no more shards until it answers: Ray starts a dead one again, which takes its time."""
        if worker.usable:
            worker.waking = True
            self._pings[worker.actor.ready.remote()] = worker

    def _answered(self, ref: Any) -> None:
        worker = self._pings.pop(ref)
        worker.waking = False
        try:
            ray.get(ref)
        except RayError as exc:
            worker.gone = True
            for name, group in (("detector", self._detectors), ("loader", self._loaders)):
                if all(one.gone for one in group):
                    raise RaysearchError(f"every {name} is lost for good: {_described(exc)}; run again to continue") from exc


def _described(exc: RayError) -> str:
    """Return one line of an error that Ray tells in many."""
    if isinstance(exc, RayTaskError):
        return f"{type(exc.cause).__name__}: {exc.cause}".splitlines()[0]
    return f"{type(exc).__name__}: {exc}".splitlines()[0]


def dataset_shards(work: pa.Table, shard_size: int) -> Iterator[tuple[int, pa.Table]]:
    """Return the shards of a work list as a Ray Dataset streams them out, in order; the stream is open on return."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray Data warns of its own options
        # `from_arrow` would run a task for the block's metadata, and wait for ever for a CPU: the detectors have them all.
        dataset = ray.data.from_blocks([work.select(WORK_SCHEMA.names).combine_chunks()])
        batches = iter(dataset.iter_batches(batch_size=shard_size, batch_format="pyarrow"))
        return enumerate(chain([next(batches)], batches))
