"""The front of the engine: one work list through one job, into one run folder, by either engine."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType

import pyarrow as pa

from raysearch.engine.events import Event, Observer, Phase, RunFinished, RunStarted, Tick, Totals, added, shard_done
from raysearch.engine.inline import run_inline
from raysearch.engine.job import Job
from raysearch.engine.ledger import Ledger
from raysearch.engine.options import EngineOptions
from raysearch.errors import ConfigError, RunFolderError


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

    Ctrl-C stops handing out shards, lets those in hand finish, and then raises KeyboardInterrupt, unless they were the last and
    nothing follows; a second one stops at once. Either way the folder can be continued.

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
        session = _Session(ledger, observers)
        session.tell(RunStarted(session.totals))
        if session.totals.left:
            with _interruptible(session), session.ticking():
                engine(job, work, session, options, after)
        if session.stopped.is_set() and (session.totals.left or after is not None):  # nothing is left to stop but what follows
            raise KeyboardInterrupt
        if session.totals.left:
            raise RunFolderError(
                f"{ledger.folder} is damaged: its parts hold {session.totals.done:,} outcomes of {session.totals.observations:,} "
                "observations; remove its folders candidates, outcomes and figures, and run again"
            )
        totals = session.finished()
        ledger.close(totals)
    session.tell(RunFinished(totals))
    return totals


class _Session:
    """One run of one ledger: what is done, and who is told."""

    def __init__(self, ledger: Ledger, observers: Sequence[Observer]) -> None:
        self.ledger = ledger
        self.totals = ledger.resumed
        self.stopped = threading.Event()
        self._observers = observers
        # Also told from the ticking thread; and from a signal handler, which may interrupt a telling of the same thread.
        self._telling = threading.RLock()
        self._began = time.monotonic()

    def tell(self, event: Event) -> None:
        with self._telling:
            for observer in self._observers:
                observer(event)

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

    def commit(self, shard: int, candidates: pa.Table, outcomes: pa.Table, figures: pa.Table) -> None:
        self.ledger.commit(shard, candidates, outcomes, figures)
        done = shard_done(shard, outcomes)
        self.totals = added(self.totals, done)
        self.tell(done)

    def left(self, shards: Iterable[tuple[int, pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the shards not done yet, until asked to stop."""
        done = self.ledger.done()
        for number, rows in shards:
            if self.stopped.is_set():
                return
            if number not in done:
                yield number, rows

    def finished(self) -> Totals:
        return replace(self.totals, seconds=time.monotonic() - self._began)


def _inline(job: Job, work: pa.Table, session: _Session, options: EngineOptions, after: ExitStack | None) -> None:  # noqa: ARG001
    size = session.ledger.shard_size
    slices = ((number, work.slice(number * size, size)) for number in range(-(-len(work) // size)))
    run_inline(job, session.left(slices), session.commit)


def _on_ray(job: Job, work: pa.Table, session: _Session, options: EngineOptions, after: ExitStack | None) -> None:
    from raysearch.engine import cluster

    with ExitStack() as here:
        if not cluster.is_running():
            session.tell(Phase("starting Ray" if options.address == "local" else f"joining Ray at {options.address}"))
        dashboard = (after or here).enter_context(cluster.ray_running(options))
        from raysearch.engine.backlog import Backlog
        from raysearch.engine.crew import crew
        from raysearch.engine.driver import Driver, dataset_shards

        if dashboard:
            session.tell(Phase(f"Ray's dashboard: {dashboard}", lasting=True))
        session.tell(Phase("starting loaders and detectors"))
        with crew(job, options) as workers:
            shards = session.left(dataset_shards(work, session.ledger.shard_size))
            Driver(workers, Backlog(shards, job.schema), session.commit, session.tell, session.stopped.is_set).run()


@contextmanager
def _interruptible(session: _Session) -> Iterator[None]:
    """Make the first Ctrl-C inside ask the session to stop; a second one is as ever. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        signal.signal(signal.SIGINT, usual)
        session.stopped.set()
        session.tell(Phase("stopping: finishing what is in hand; Ctrl-C again stops at once"))

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
