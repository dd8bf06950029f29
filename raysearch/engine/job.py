"""What is done with one observation, whichever engine runs it: read it, detect in it, and say how it ended.

Here is the worker boundary: whatever a Reader or a Detector raises becomes that one observation's outcome, and costs no other.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysearch.engine.budget import POSTPONED, Budget
from raysearch.engine.records import (
    candidate_schema,
    candidate_table,
    checked,
    checked_figures,
    checked_limits,
    figure_table,
    outcome_table,
)
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
    held_bytes: int = 256 * 2**20
    """About how many bytes a loader holds, as they are read or as Pixels that wait: large observations are read fewer at a time."""
    time_limit_s: float = 600.0
    """An observation that takes longer to read has failed: the last resort against a reader that waits for ever."""
    illustrator: Illustrator | None = None
    """Draws figures of the candidates; None for none."""
    figures_share: float = 0.1
    """Part of each worker's time that figures may take, once it has drawn some; 1: all are drawn."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the candidate table."""
        return candidate_schema(self.detector.columns, self.lines)


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
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the worker boundary: other people's code must not end the run
        verdict.status, verdict.reason = "failed", f"internal error in {place}: {_described(exc)}"


def _described(exc: BaseException) -> str:
    """Return the error's kind, message, and the line of source that raised it."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__}: {exc} ({Path(frame.filename).name}, line {frame.lineno})"


async def fetch(job: Job, index: int, observation: Observation) -> Fetched:
    """Return the observation's pixels, or why there are none; raises nothing but cancellation."""
    if observation.skip:
        return Fetched(index, None, Verdict("skipped", observation.skip))
    usage, verdict, pixels = Usage(), Verdict(), None
    began = time.perf_counter()
    with guarded(f"{type(job.reader).__name__}.read", verdict):
        try:
            async with asyncio.timeout(job.time_limit_s) as limit:
                pixels = _frozen(await job.reader.read(observation, usage))
        except TimeoutError:
            if not limit.expired():
                raise
            verdict.status, verdict.reason = "failed", f"reading took longer than {job.time_limit_s:g} s"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            verdict.status, verdict.reason = "failed", "the read cancelled itself"
    return Fetched(index, pixels, verdict, usage, time.perf_counter() - began)


def _frozen(pixels: Pixels) -> Pixels:
    """Make the arrays read-only: through Ray they are, and a detector that writes to them must not differ inline."""
    if not isinstance(pixels, Pixels):
        raise TypeError(f"read() returned {type(pixels).__name__}: it must return Pixels")
    for array in pixels.arrays:
        array.flags.writeable = False
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

    def take(self, row: int, fetched: Fetched) -> None:
        """Detect in one observation; `row` counts from the shard's first."""
        self._ended[row] = detect(self._job, self._observations[row], fetched, self._budget)

    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return the candidates, the outcomes and the figures of a complete shard."""
        ended = [self._ended[index] for index in range(len(self._observations))]
        return (
            candidate_table([row for one in ended for row in one.rows], self._job.schema),
            outcome_table([one.outcome for one in ended]),
            figure_table([(one.outcome.obs_id, figure) for one in ended for figure in one.figures]),
        )


def failed(observation: Observation, reason: str) -> Outcome:
    """Return the outcome of an observation of which nothing came back."""
    return Outcome(observation.obs_id, "failed", masked(reason), masked(observation.uri))
