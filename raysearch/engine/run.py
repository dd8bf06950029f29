"""The front of the engine: one work list through one job, into one run folder, by either engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pyarrow as pa

from raysearch.engine.events import AtWork, Event, Observer, Phase, RunFinished, RunStarted, ShardDone, Tick, Totals, added
from raysearch.engine.folder.commits import Commits
from raysearch.engine.folder.ledger import Ledger
from raysearch.engine.folder.pulse import ProgressFile
from raysearch.engine.inline import run_inline
from raysearch.engine.job import Job
from raysearch.engine.memory import shares
from raysearch.engine.options import EngineOptions
from raysearch.engine.signals import Interrupts, Stopped
from raysearch.errors import ConfigError, RunFolderError

Engine = Callable[[Job, pa.Table, "_Session", EngineOptions, ExitStack | None], None]
"""Runs what is left of a work list."""


def run(
    job: Job,
    work: pa.Table,
    ledger: Ledger,
    options: EngineOptions,
    observers: Sequence[Observer] = (),
    after: ExitStack | None = None,
) -> Totals:
    """Run what is left of the work list, close the ledger, and return its totals.

    A Ray that is started for it ends with it, or together with `after`, so that another run may use it.

    Ctrl-C, SIGTERM or SIGHUP (the terminal is closed) stops handing out shards, lets those in hand finish, and then raises Stopped,
    unless they were the last and nothing follows; a second Ctrl-C or SIGTERM stops at once. Either way the folder can be continued.

    Raises
    ------
    ConfigError
        Ray cannot be started, or the Reader or Detector cannot be sent to its workers.
    RunFolderError
        The run folder can no longer be written.
    """
    engine = {"ray": _on_ray, "inline": _inline}.get(options.engine)
    if engine is None:
        raise ConfigError(f"there is no engine {options.engine!r}: choose ray or inline")
    with ledger:
        with ProgressFile(ledger.folder) as progress:
            session = _Session(ledger, [progress, *observers])
            totals = _work_off(engine, job, work, session, options, after)
        ledger.close(totals)
    session.tell(RunFinished(totals))
    return totals


def _work_off(
    engine: Engine, job: Job, work: pa.Table, session: _Session, options: EngineOptions, after: ExitStack | None
) -> Totals:
    """Do what is left, and return the totals; raises as `run` does."""
    session.tell(session.started())
    for note in session.ledger.notes:
        session.tell(Phase(note, lasting=True))
    if session.totals.left:
        with session.interrupts, session.ticking(), session.commits:
            engine(job, work, session, options, after)
    if session.stopped and (session.totals.left or after is not None):  # nothing is left to stop but what follows
        raise Stopped(session.interrupts.number)
    if session.totals.left:
        raise RunFolderError(
            f"{session.ledger.folder} is damaged: its parts hold {session.totals.done:,} outcomes of "
            f"{session.totals.observations:,} observations; remove its folders candidates, outcomes and figures, and run again"
        )
    return session.finished()


class _Session:
    """One run of one ledger: what is done, and who is told."""

    def __init__(self, ledger: Ledger, observers: Sequence[Observer]) -> None:
        self.ledger = ledger
        self.totals = ledger.resumed
        self.interrupts = Interrupts(lambda words: self.tell(Phase(words)))
        self.commits = Commits(ledger.commit, self._written)
        self._observers = list(observers)
        # Also told from the ticking thread; and from a signal handler, which may interrupt a telling of the same thread.
        self._telling = threading.RLock()
        self._began = time.monotonic()

    def tell(self, event: Event) -> None:
        with self._telling:
            for observer in self._observers:
                observer(event)

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked to stop."""
        return self.interrupts.number != 0

    def started(self) -> RunStarted:
        """Return the event that says what is done, and what is left."""
        size = self.ledger.shard_size
        return RunStarted(self.totals, -(-self.totals.observations // size) - len(self.ledger.done()))

    @contextmanager
    def told_to(self, observer: Observer) -> Iterator[None]:
        """Have one more observer inside; it begins with what is done."""
        with self._telling:
            observer(self.started())
            self._observers.append(observer)
        try:
            yield
        finally:
            with self._telling:
                self.tell(AtWork())
                self._observers.remove(observer)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Tell the observers every second that time goes by, however long a shard takes."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(1.0):
                self.tell(Tick())

        ticker = threading.Thread(target=tick, name="raysearch-ticker", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join()

    def _written(self, done: ShardDone) -> None:
        self.totals = added(self.totals, done)
        self.tell(done)

    def left(self, shards: Iterable[tuple[int, pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the shards not done yet, until asked to stop."""
        done = self.ledger.done()
        for number, rows in shards:
            if self.stopped:
                return
            if number not in done:
                yield number, rows

    def finished(self) -> Totals:
        return replace(self.totals, seconds=time.monotonic() - self._began)


def bounded(job: Job, options: EngineOptions, cpus: int = 0) -> tuple[Job, EngineOptions]:
    """Return a job and options that keep to the declared memory, on nodes of so many CPUs (0: as many as this machine has).

    Raises
    ------
    ConfigError
        It is too little to work with.
    """
    if not options.memory:
        return job, options
    parts = shares(options, cpus)
    job = replace(job, shares=parts)
    if options.address == "local":
        return job, replace(options, detectors=parts.detectors, object_store_bytes=parts.store_bytes)
    # Detectors find their places by the CPUs that they claim: so many each that no node takes more of them than fit.
    return job, replace(options, detector_cpus=-(-cpus // parts.detectors))


def _inline(job: Job, work: pa.Table, session: _Session, options: EngineOptions, after: ExitStack | None) -> None:  # noqa: ARG001
    job, options = bounded(job, options)
    size = session.ledger.shard_size
    session.tell(AtWork(detectors=1, loaders=1, nodes=1, shards=1))
    slices = ((number, work.slice(number * size, size)) for number in range(-(-len(work) // size)))
    run_inline(job, session.left(slices), session.commits.commit, lambda: session.stopped)


def _on_ray(job: Job, work: pa.Table, session: _Session, options: EngineOptions, after: ExitStack | None) -> None:
    from raysearch.engine.workers import cluster

    if options.address == "local":
        job, options = bounded(job, options)
    with ExitStack() as here:
        if not cluster.is_running():
            session.tell(Phase("starting Ray" if options.address == "local" else f"joining Ray at {options.address}"))
        with session.interrupts.sparing("Ray has started"):  # half of it would stay, or Python crash at its end
            dashboard = (after or here).enter_context(cluster.ray_running(options))
        session.interrupts.catch()
        if session.stopped:
            return
        if options.address != "local":
            job, options = bounded(job, options, cluster.largest_node())
        from raysearch.engine.workers.backlog import Backlog
        from raysearch.engine.workers.crew import crew
        from raysearch.engine.workers.driver import Driver, dataset_shards
        from raysearch.engine.workers.metrics import RunMeter, labels

        if dashboard:
            session.tell(Phase(f"Ray's dashboard: {dashboard}", lasting=True))
        session.tell(Phase("starting loaders and detectors"))
        names = labels(session.ledger.name, session.ledger.folder)
        with session.told_to(RunMeter(names)), crew(job, options, names) as workers:
            shards = session.left(dataset_shards(work, session.ledger.shard_size))
            Driver(workers, Backlog(shards, job.schema), session.commits.commit, session.tell, lambda: session.stopped).run()
