"""The engine on Ray: hands out shards to detectors, commits what comes back, and outlives the loss of any worker or node."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from raysearch.engine.events import AtWork, Observer, Phase
from raysearch.engine.folder.commits import Commit
from raysearch.engine.workers.actors import LATE_AT_ONCE, SHARDS_AT_ONCE, packed
from raysearch.engine.workers.backlog import Attempt, Backlog, Blame, Result
from raysearch.engine.workers.crew import Crew
from raysearch.engine.workers.watch import LastWords
from raysearch.errors import ConfigError, RaysearchError
from raysearch.model import WORK_SCHEMA

_POLL_S = 0.5
"""How long to wait for a shard before looking at signals."""
_KNOCK_S = 1.0
"""How often to look whether Ray is there at all."""
_KNOCKS = 3
"""How often in a row it may not be."""
_LOOK_S = 5.0
"""How often to look for nodes that have joined."""
_SAY_S = 10.0
"""How long to wait for a detector before saying so."""
_REPEAT_S = 60.0
"""How often to say again what is waited for."""
_LATE_S = 1.0
"""How long a shard may be out before it is asked whether it waits for slow reads; and how often."""
_SOON_S = 0.2
"""How long after a worker's answer to tell who is at work: many answer at once."""


@dataclass(eq=False, slots=True)
class _Worker:
    """An actor as the driver sees it."""

    actor: Any
    node: str = ""
    """Where it lives, as it last told."""
    key: str = ""
    """Of its last words."""
    shards: int = 0
    """Shards in its hands that are not late; counted for detectors."""
    late: int = 0
    """Those that are."""
    waking: bool = True
    """Whether it has not answered yet, or not since a shard was lost with it."""
    worn: bool = False
    """Whether it is to be replaced when it has nothing in hand."""
    gone: bool = False
    """Whether Ray has given it up."""

    @property
    def usable(self) -> bool:
        return not (self.waking or self.worn or self.gone)


@dataclass(eq=False, slots=True)
class _Task:
    """A shard in a detector's hands."""

    attempt: Attempt
    detector: _Worker
    loader: _Worker
    pull: int
    """What they call it."""
    keys: tuple[str, str]
    """Of the detector's last words, and of the loader's."""
    since: float
    """When it was handed out."""
    late: bool = False
    """Whether nothing is left of it but reads that have begun, so that its detector may have another shard meanwhile."""


class Driver:
    """Runs a backlog on the actors of a crew, on whatever nodes there are: some join late, some are lost.

    Parameters
    ----------
    tell
        Told who is at work, what is waited for, and on how many nodes the detectors are when that changes.
    stopped
        Whether to hand out nothing more.
    """

    def __init__(self, crew: Crew, backlog: Backlog, commit: Commit, tell: Observer, stopped: Callable[[], bool]) -> None:
        self._crew = crew
        self._backlog = backlog
        self._commit = commit
        self._tell = tell
        self._stopped = stopped
        self._detectors: list[_Worker] = []
        self._loaders: dict[str, list[_Worker]] = {}
        """By their node."""
        self._tasks: dict[Any, _Task] = {}
        self._pings: dict[Any, _Worker] = {}
        self._late: dict[Any, _Worker] = {}
        """Loaders that are asked which shards are late."""
        # What a dead worker's last words are asked with, by their key; and what was lost with it and waits for them.
        self._asked: dict[str, Any] = {}
        self._lost: dict[Any, list[tuple[_Task, str]]] = {}
        self._proven = False
        """Whether a shard has come back: the reader and the detector work in a Ray worker."""
        self._pulls = count()
        self._nodes = 0
        """Nodes with detectors at work, as last told."""
        self._silent = 0
        """How often in a row Ray was not there."""
        self._knocked = -_KNOCK_S
        self._looked = -_LOOK_S
        self._asked_late = 0.0
        self._say_at = time.monotonic() + _SAY_S
        self._tell_at = 0.0
        """When to tell next who is at work."""

    def run(self) -> None:
        """Work until the backlog is empty, or what is in hand when stopped is done.

        Raises
        ------
        ConfigError
            The Reader or Detector cannot be unpickled in a worker.
        RaysearchError
            Ray has given up every detector or every loader, or has ended itself.
        """
        self._look()
        while self._hand_out():
            self._say_who_is_at_work()
            ready, _ = ray.wait([*self._tasks, *self._pings, *self._lost, *self._late], num_returns=1, timeout=_POLL_S)
            for ref in ready:
                if ref in self._pings:
                    self._answered(ref)
                elif ref in self._lost:
                    self._heard(ref)
                elif ref in self._late:
                    self._told_late(ref)
                else:
                    self._returned(ref)
            self._look()

    def _hand_out(self) -> bool:
        """Give every detector what it can hold; return False when nothing is left to do."""
        for level in range(SHARDS_AT_ONCE):
            for detector in self._detectors:
                if not detector.usable or detector.shards > level:
                    continue
                loader = self._loader(detector.node)
                if loader is None:
                    continue
                attempt = self._backlog.take()
                if attempt is None:
                    return bool(self._tasks or self._lost)
                detector.shards += 1
                pull = next(self._pulls)
                ref = detector.actor.process.remote(packed(attempt.rows), loader.actor, pull)
                self._tasks[ref] = _Task(attempt, detector, loader, pull, (detector.key, loader.key), time.monotonic())
        return bool(self._tasks) or not self._stopped()

    def _loader(self, node: str) -> _Worker | None:
        """Return the least busy loader of a node, or of any node where its own do not work; None while its own are starting."""
        if node not in self._loaders:
            self._loaders[node] = [_Worker(actor, node) for actor in self._crew.loaders(node)]
            for worker in self._loaders[node]:
                self._ping(worker)
        near = self._loaders[node]
        if all(loader.gone for loader in near):
            near = [loader for loaders in self._loaders.values() for loader in loaders]
        busy = [task.loader for task in self._tasks.values()]
        return min((loader for loader in near if loader.usable), key=busy.count, default=None)

    def _returned(self, ref: Any) -> None:
        """Commit a shard, or ask what it was lost by."""
        task = self._tasks.pop(ref)
        task.detector.shards -= not task.late
        task.detector.late -= task.late
        try:
            *tables, worn = ray.get(ref)
        except RayError as exc:
            self._wake(task.detector)
            self._wake(task.loader)
            task.loader.actor.drop.remote(task.pull)
            self._ask(task, exc)
        else:
            self._proven = True
            task.detector.worn |= worn
            self._done(self._backlog.finished(task.attempt, *tables))
        if task.detector.worn and not task.detector.shards + task.detector.late:
            task.detector.worn = False
            self._wake(task.detector)

    def _ask_late(self, now: float) -> None:
        """Ask the loaders whose shards are out for long which of them wait for slow reads."""
        self._asked_late = now
        slow = {task.loader for task in self._tasks.values() if not task.late and now - task.since >= _LATE_S}
        for loader in slow.difference(self._late.values()):
            self._late[loader.actor.late.remote()] = loader

    def _told_late(self, ref: Any) -> None:
        """Let detectors have more beside what waits for slow reads; not beside what has lost its worker before, and may again."""
        del self._late[ref]
        try:
            pulls = set(ray.get(ref))
        except RayError:
            return  # its shards tell that too
        for task in self._tasks.values():
            if task.pull in pulls and not (task.late or task.attempt.deaths) and task.detector.late < LATE_AT_ONCE:
                task.late = True
                task.detector.shards -= 1
                task.detector.late += 1

    def _done(self, result: Result | None) -> None:
        if result is not None:
            self._commit(result.shard, result.candidates, result.outcomes, result.figures)

    def _ask(self, task: _Task, exc: RayError) -> None:
        """Ask the loader, who is on its node or takes the place of the dead one, for the last words of the worker that died."""
        key = task.keys[isinstance(exc, RayTaskError)]  # a detector that can tell of an error has lost its loader
        if key not in self._asked:
            self._asked[key] = task.loader.actor.last_words.remote(key)
        self._lost.setdefault(self._asked[key], []).append((task, _described(exc)))

    def _heard(self, ref: Any) -> None:
        """Take back what was lost with a worker, whose last words have come."""
        try:
            words = ray.get(ref)
        except RayError:
            words = None  # its node is lost too
        for task, why in self._lost.pop(ref):
            self._done(self._backlog.died(task.attempt, self._told(words) or why, self._blamed(task, words)))

    def _told(self, words: LastWords | None) -> str:
        """Return why a worker was ended by its guard; an empty string where it was not."""
        if words is None or words.what == "died":
            return ""
        if words.what != "time":
            return self._crew.job.too_large
        return self._crew.job.too_long if words.task >= 0 else "a read that never waits has stopped its loader (run.time_limit)"

    def _blamed(self, task: _Task, words: LastWords | None) -> Blame | None:
        """Return whose fault it was; None where nobody knows."""
        if words is None or words.task < 0:
            return None
        if words.task != task.pull:
            return Blame(None)
        return Blame(words.row, self._told(words), certain=words.what in ("time", "memory"))

    def _wake(self, worker: _Worker) -> None:
        """Give a worker no more shards until it answers: Ray starts a dead one again, which takes its time."""
        if worker.usable:
            worker.waking = True
            self._ping(worker)

    def _ping(self, worker: _Worker) -> None:
        self._pings[worker.actor.ready.remote()] = worker

    def _answered(self, ref: Any) -> None:
        worker = self._pings.pop(ref)
        worker.waking = False
        self._tell_at = min(self._tell_at, time.monotonic() + _SOON_S)
        try:
            worker.node, worker.key = ray.get(ref)
        except RayError as exc:
            worker.gone = True
            if isinstance(exc, ActorDiedError) and exc.actor_init_failed:
                self._broken(exc)
            elif worker in self._loaders.get(worker.node, []):
                self._node_lost(worker.node)
            self._raise_if_none_is_left(exc)

    def _broken(self, exc: RayError) -> None:
        """Say that a worker cannot work on its node; raise where none has worked yet."""
        cause = str(exc).strip().splitlines()[-1]  # of a traceback
        what = f"the reader or the detector does not work in a Ray worker: {cause}"
        if not self._proven:
            raise ConfigError(f"{what}; install the module it needs on every node") from exc
        self._tell(Phase(f"one worker is left out: {what}", lasting=True))

    def _node_lost(self, node: str) -> None:
        """Forget the loaders of a node; its detectors are asked where they live now."""
        del self._loaders[node]
        for detector in self._detectors:
            if detector.node == node:
                self._wake(detector)

    def _raise_if_none_is_left(self, exc: RayError) -> None:
        loaders = [loader for near in self._loaders.values() for loader in near]
        for name, group in (("detector", self._detectors), ("loader", loaders)):
            if group and all(one.gone for one in group):
                raise RaysearchError(f"every {name} is lost for good: {_described(exc)}; run again to continue") from exc

    def _look(self) -> None:
        """Now and then take in nodes that have joined, and say what is waited for, or that the nodes have changed."""
        now = time.monotonic()
        if now - self._knocked >= _KNOCK_S:
            self._knocked = now
            self._knock()
        if self._silent:
            return  # whoever asks a Ray that is not there waits for a minute, and is then ended by it
        if self._tasks:
            self._say_at = now + _SAY_S
        elif now >= self._say_at:
            self._tell(Phase(self._crew.lack()))
            self._say_at = now + _REPEAT_S
        if now - self._asked_late >= _LATE_S:
            self._ask_late(now)
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        for actor in self._crew.missing_detectors():
            self._detectors.append(_Worker(actor))
            self._ping(self._detectors[-1])
        usable = [detector for detector in self._detectors if detector.usable]
        nodes = len({detector.node for detector in usable})
        if self._proven and nodes not in (0, self._nodes):
            if self._nodes:
                self._tell(Phase(f"{len(usable)} detectors on {nodes} node{'s' if nodes > 1 else ''}"))
            self._nodes = nodes

    def _knock(self) -> None:
        """Raise where Ray has not been there for some time."""
        self._silent = 0 if self._crew.has_ray else self._silent + 1
        if self._silent >= _KNOCKS:
            raise RaysearchError("Ray has ended, or was killed: what is done is kept; run the same again to go on")

    def _say_who_is_at_work(self) -> None:
        """Tell it now and then, and soon after a worker has answered, when what it was given counts too."""
        now = time.monotonic()
        if now < self._tell_at:
            return
        self._tell_at = now + _LOOK_S
        detectors = [detector for detector in self._detectors if detector.usable]
        loaders = sum(loader.usable for near in self._loaders.values() for loader in near)
        self._tell(AtWork(len(detectors), loaders, len({detector.node for detector in detectors}), len(self._tasks)))


def _described(exc: RayError) -> str:
    """Return what became of a worker, in words that are the same each time: Ray's own hold ids, addresses and ports."""
    cause, whose = (exc.cause, "its loader's") if isinstance(exc, RayTaskError) else (exc, "its")
    if isinstance(cause, OutOfMemoryError):
        return f"Ray has ended {whose} process, as the node was short of memory"
    if isinstance(cause, NodeDiedError):
        return f"{whose} node was lost"
    if isinstance(cause, RayActorError):
        return f"{whose} process was killed, or crashed"
    if isinstance(cause, RayError):
        return f"Ray tells of {type(cause).__name__}"
    return f"{type(cause).__name__}: {cause}".splitlines()[0]


def dataset_shards(work: pa.Table, shard_size: int) -> Iterator[tuple[int, pa.Table]]:
    """Return the shards of a work list as slices of a Ray Dataset's block, in order; the block is in the object store on return.

    The Dataset's own `iter_batches` keeps two actors at work, of 115 MB each, for what is a slice here.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray Data warns of its own options
        # `from_arrow` would run a task for the block's metadata, and wait for ever for a CPU: the detectors have them all.
        dataset = ray.data.from_blocks([work.select(WORK_SCHEMA.names).combine_chunks()])
        (block,) = ray.get(dataset.to_arrow_refs())
    return enumerate(block.slice(first, shard_size) for first in range(0, len(block), shard_size))
