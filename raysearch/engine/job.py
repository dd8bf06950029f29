"""What is done with one observation, whichever engine runs it: read it, detect in it, and say how it ended.

Here is the worker boundary: whatever a Reader or a Detector raises becomes that one observation's outcome, and costs no other.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysearch.engine.budget import POSTPONED, Budget
from raysearch.engine.memory import Shares, told
from raysearch.engine.records import (
    candidate_schema,
    candidate_table,
    checked,
    checked_figures,
    checked_limits,
    figure_table,
    outcome_table,
)
from raysearch.engine.room import Asking, Hold, Room
from raysearch.engine.signals import Stopped, TimeIsUp
from raysearch.errors import NothingToSearch, RaysearchError
from raysearch.masking import masked
from raysearch.model import Candidate, Detector, Figure, Illustrator, Limit, Observation, Outcome, Pixels, Reader, Status, Usage


@dataclass(frozen=True, slots=True)
class Job:
    """What every observation of a search goes through. Picklable as far as its Reader, Detector and Illustrator are."""

    reader: Reader
    detector: Detector
    config_hash: str
    """Written into every candidate record."""
    lines: bool
    """Whether the candidates have the columns of a line search."""
    concurrency: int = 32
    """Reads in flight at the same time, for each loader, at most."""
    shares: Shares = field(default_factory=Shares)
    """What may be held: large observations are read fewer at a time, too large ones not at all."""
    time_limit_s: float = 600.0
    """An observation that takes longer to read has failed: the last resort against a reader that waits for ever."""
    detect_limit_s: float = 600.0
    """One that takes longer to detect in, and to draw, has failed too."""
    illustrator: Illustrator | None = None
    """Draws figures of the candidates; None for none."""
    figures_share: float = 0.1
    """Part of each worker's time that figures may take, once it has drawn some; 1: all are drawn."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the candidate table."""
        return candidate_schema(self.detector.columns, self.lines)

    @property
    def too_long(self) -> str:
        """What is said of an observation that took longer than `detect_limit_s`."""
        return f"detecting took longer than {self.detect_limit_s:g} s (run.time_limit)"

    @property
    def too_large(self) -> str:
        """What is said of an observation that took more memory than a detector may have of its own."""
        share = told(self.shares.worker_bytes)
        return f"detecting needed more than {share}, one detector's part of run.memory: give more, or set run.detectors = 1"


@dataclass(slots=True)
class Verdict:
    """How a guarded step ended, where it did not end well."""

    status: Status | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One observation after reading."""

    index: int
    """Its row."""
    pixels: Pixels | None
    """None where there is nothing to detect in; then `verdict` says why."""
    verdict: Verdict = field(default_factory=Verdict)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.pixels.nbytes if self.pixels else 0


@contextmanager
def guarded(place: str, verdict: Verdict) -> Iterator[None]:
    """Turn what is raised inside into a verdict; `place` names whose code it is."""
    try:
        yield
    except NothingToSearch as exc:
        verdict.status, verdict.reason = "skipped", str(exc)
    except RaysearchError as exc:
        verdict.status, verdict.reason = "failed", str(exc) or type(exc).__name__
    except (Stopped, TimeIsUp):
        raise
    except BaseException as exc:  # the worker boundary: other people's code must not end the run, not even by GeneratorExit
        if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
            raise
        verdict.status, verdict.reason = "failed", f"internal error in {place}: {_described(exc)}"


def _is_cancelled() -> bool:
    """Return whether the running task was cancelled from outside."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop
        return False
    return task is not None and task.cancelling() > 0


def _described(exc: BaseException) -> str:
    """Return the error's kind, message, and the line of source that raised it."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__}: {exc} ({Path(frame.filename).name}, line {frame.lineno})"


async def fetch(job: Job, index: int, observation: Observation, hold: Hold | None = None) -> Fetched:
    """Return the observation's pixels, or why there are none; raises nothing but cancellation. `hold`: where it finds room."""
    if observation.skip:
        return Fetched(index, None, Verdict("skipped", observation.skip))
    hold = hold or Hold(Room(job.shares.held_bytes), job.shares.check)
    usage, verdict, pixels = Asking(hold=hold), Verdict(), None
    began = time.perf_counter()
    with guarded(f"{type(job.reader).__name__}.read", verdict):
        try:
            async with asyncio.timeout(job.time_limit_s) as limit:
                hold.limit = limit
                try:
                    pixels = _sound(await job.reader.read(observation, usage), usage)
                finally:
                    hold.limit = None
        except TimeoutError:
            if not limit.expired():
                raise
            verdict.status, verdict.reason = "failed", f"reading took longer than {job.time_limit_s:g} s (run.time_limit)"
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            verdict.status, verdict.reason = "failed", "the read cancelled itself"
    return Fetched(index, pixels, verdict, usage.bare(), time.perf_counter() - began - hold.waited_s)


def _sound(pixels: Pixels, usage: Usage) -> Pixels:
    """Return what a Reader gave, if it can be reckoned with.

    The arrays are made read-only: through Ray they are, and a detector that writes to them must not differ inline.
    """
    if not isinstance(pixels, Pixels):
        raise TypeError(f"read() returned {type(pixels).__name__}: it must return Pixels")
    for array in pixels.arrays:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"read() returned Pixels with a {type(array).__name__} in it: they must hold NumPy arrays")
        array.flags.writeable = False
    if not all(isinstance(count, int) for count in (usage.bytes_read, usage.requests)):
        raise TypeError("read() left a Usage whose counts are no whole numbers")
    return pixels


@dataclass(frozen=True, slots=True)
class Ended:
    """What is kept of one observation."""

    outcome: Outcome
    rows: list[tuple[Any, ...]]
    """Its candidates, in the order of `Job.schema`."""
    figures: list[Figure]


def detect(job: Job, observation: Observation, fetched: Fetched, budget: Budget | None = None) -> Ended:
    """Return how the observation ended, and what was found in it; figures as far as the budget goes, None: all."""
    rows: list[tuple[Any, ...]] = []
    limits: tuple[Limit, ...] = ()
    figures: list[Figure] = []
    verdict, uri = fetched.verdict, observation.uri
    began = time.perf_counter()
    if fetched.pixels is not None:
        verdict, uri = Verdict(), fetched.pixels.uri
        with guarded(f"{type(job.detector).__name__}.detect", verdict):
            records = job.detector.detect(fetched.pixels)
            found = checked(records, job.detector.columns, job.lines, fetched.pixels.windows)
            rows, limits = found, checked_limits(records)
    detected = time.perf_counter()
    if job.illustrator is not None and fetched.pixels is not None and rows:
        budget = budget or Budget(1.0)
        if not budget.left():
            figures = [POSTPONED]
        else:
            with budget.spending():
                figures = drawn(job.illustrator, fetched.pixels, records)
    ended = time.perf_counter()
    outcome = Outcome(
        obs_id=observation.obs_id,
        status=verdict.status or ("detected" if rows else "nothing"),
        reason=_told(verdict),
        uri=masked(uri),
        candidates=len(rows),
        bytes_read=fetched.usage.bytes_read,
        requests=fetched.usage.requests,
        seconds=fetched.seconds + ended - began,
        limits=limits,
        ranges=fetched.pixels.ranges if fetched.pixels is not None and rows else (),
        figures_seconds=ended - detected if figures else 0.0,
        file_bytes=sum(fetched.usage.sizes.get(place, 0) for place in {uri, *observation.partner}),
        retries=tuple(sorted(fetched.usage.retries.items())),
        detect_seconds=detected - began if fetched.pixels is not None else 0.0,
    )
    return Ended(outcome, [(observation.obs_id, row[0], outcome.uri, job.config_hash, *row[1:]) for row in rows], figures)


def drawn(illustrator: Illustrator, pixels: Pixels, records: Sequence[Candidate | Limit]) -> list[Figure]:
    """Return the figures of an observation; where drawing fails, an empty one of the observation that says why."""
    verdict, figures = Verdict(), []
    with guarded(f"{type(illustrator).__name__}.draw", verdict):
        figures = checked_figures(illustrator.draw(pixels, records), sum(isinstance(record, Candidate) for record in records))
    if verdict.status is None:
        return figures
    return [Figure(-1, "failed", b"", _told(verdict))]


def _told(verdict: Verdict) -> str:
    """Return the reason as text that can be written, without secrets; file names may hold bytes that are no text."""
    return masked(verdict.reason.encode("utf-8", "backslashreplace").decode())


class Shard:
    """A shard in the making: takes observations in any order, gives its tables in the order of the work list."""

    def __init__(self, job: Job, observations: Sequence[Observation], budget: Budget) -> None:
        self._job = job
        self._budget = budget
        self._observations = observations
        self._ended: dict[int, Ended] = {}

    @property
    def complete(self) -> bool:
        """Whether every observation has ended."""
        return len(self._ended) == len(self._observations)

    def take(self, row: int, fetched: Fetched) -> Outcome:
        """Detect in one observation, and return how it ended; `row` counts from the shard's first."""
        verdict, observation = Verdict(), self._observations[row]
        with guarded("what was read", verdict):
            self._ended[row] = detect(self._job, observation, fetched, self._budget)
        if verdict.status is not None:
            self._ended[row] = Ended(failed(observation, _told(verdict)), [], [])
        return self._ended[row].outcome

    def fail(self, row: int, fetched: Fetched, reason: str) -> None:
        """End one observation as failed, at the cost of reading it."""
        self._ended[row] = detect(
            self._job, self._observations[row], replace(fetched, pixels=None, verdict=Verdict("failed", reason))
        )

    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return the candidates, the outcomes and the figures of a complete shard."""
        ended, verdict = [self._ended[index] for index in range(len(self._observations))], Verdict()
        with guarded("what was found", verdict):
            return self._tables(ended)
        return self._tables([self._writable(*one) for one in zip(self._observations, ended, strict=True)])

    def _writable(self, observation: Observation, one: Ended) -> Ended:
        """Return what is kept of an observation, or, where no table can hold it, that it has failed."""
        verdict = Verdict()
        with guarded("what was found", verdict):
            self._tables([one])
        return one if verdict.status is None else Ended(failed(observation, _told(verdict)), [], [])

    def _tables(self, ended: Sequence[Ended]) -> tuple[pa.Table, pa.Table, pa.Table]:
        return (
            candidate_table([row for one in ended for row in one.rows], self._job.schema),
            outcome_table([one.outcome for one in ended]),
            figure_table([(one.outcome.obs_id, figure) for one in ended for figure in one.figures]),
        )


def failed(observation: Observation, reason: str) -> Outcome:
    """Return the outcome of an observation of which nothing came back."""
    return Outcome(observation.obs_id, "failed", masked(reason), masked(observation.uri))
