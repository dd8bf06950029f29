"""A reader and a detector that do what an observation's `s_region` tells them to, and helpers around them."""

import asyncio
import os
import signal
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysearch.engine import EngineOptions, Job, Ledger, Observer, Totals, candidate_schema, read_candidates, read_outcomes, run
from raysearch.engine.folder.files import Place
from raysearch.errors import NothingToSearch, ProductNotFound
from raysearch.model import Candidate, Figure, Limit, Line, Observation, Pixels, Target, Usage, Window, observations_to_arrow

LINE = Line("[Fe II] 5.340", 5.340)


class Alive:
    """Counts the arrays alive in this process."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __getstate__(self) -> dict[str, int]:
        return {"now": 0, "most": 0}

    def watch(self, array: np.ndarray) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(array, self._gone)

    def _gone(self) -> None:
        self.now -= 1


@dataclass(frozen=True)
class FakeReader:
    seconds: float = 0.0
    alive: Alive = field(default_factory=Alive)

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        word, _, argument = observation.s_region.partition(" ")
        number = int(observation.obs_id[-6:])
        usage.requests += 2
        usage.bytes_read += 100 + number
        # Later rows are often read before earlier ones.
        await asyncio.sleep(self.seconds * (1 + number % 3) / 2)
        match word:
            case "again":
                usage.retries["slow.example"] = usage.retries.get("slow.example", 0) + 2
            case "missing":
                raise ProductNotFound(f"{observation.uri} is not there (404)")
            case "empty":
                raise NothingToSearch("no line within the cube")
            case "break":
                raise TypeError("the reader is broken")
            case "cancel":
                raise asyncio.CancelledError
            case "hang":
                await asyncio.sleep(3600)
            case "kill-reader":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill-reader-once":
                die_once(argument)
        sci = np.full((3, 4, 5), number, "f4")
        self.alive.watch(sci)
        window = Window(LINE, 0.0, ("t",), 1, 0, 3, np.array([5.33, 5.34, 5.35]), {"SCI": sci})
        return Pixels(observation.obs_id, observation.uri, (window,), observation.s_region, ranges=((0, 100), (200, 200 + number)))

    async def close(self) -> None: ...


@dataclass(frozen=True)
class FakeDetector:
    seconds: float = 0.0
    window: int | None = 1
    columns: dict[str, str] = field(default_factory=lambda: {"snr": "f4", "n": "i8", "note": "str", "good": "bool"})

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        if self.seconds:
            time.sleep(self.seconds)
        word, _, argument = pixels.header.partition(" ")
        (window,) = pixels.windows
        values: dict[str, Any] = {
            "snr": float(window.sci.mean()) / 3,
            "n": int(window.sci.size),
            "note": pixels.obs_id,
            "good": True,
        }
        match word:
            case "nothing":
                return []
            case "limit":
                return [Limit("t", LINE.name, LINE.rest_um, 5.34, 1e-20 * window.sci.size, "made up")]
            case "endless-limit":
                return [Candidate("t", values, LINE.name, LINE.rest_um, 5.34), Limit("t", LINE.name, LINE.rest_um, 5.34, np.inf)]
            case "raise":
                raise ValueError("the detector is broken")
            case "missing-column":
                del values["n"]
            case "extra-column":
                values["flux"] = 1.0
            case "wrong-type":
                values["n"] = 1.5
            case "no-list":
                return None  # type: ignore[return-value]
            case "write":
                window.sci[0] = 1
            case "kill-detector":
                if argument:
                    Path(argument).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill-detector-once":
                die_once(argument)
        record = Candidate("t", values, LINE.name, LINE.rest_um, 5.34)
        return [record, record] if word == "two" else [record]


NBYTES = 264
"""Of the fake reader's pixels."""


def note(file: str, word: str) -> None:
    """Append a word to a file, whole, whichever process does."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, word.encode())
    os.close(handle)


@dataclass(frozen=True)
class Asker(FakeReader):
    """A reader that asks for room, and notes what it has read."""

    file: str = ""
    nbytes: dict[str, int] = field(default_factory=dict)
    """obs_id -> what it asks for; twice its pixels for the rest."""
    asks_for_room: bool = True

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        await usage.room(self.nbytes.get(observation.obs_id, 2 * NBYTES))
        if self.file:
            note(self.file, "r")
        return await super().read(observation, usage)


@dataclass(frozen=True)
class Noting(FakeDetector):
    """A detector that notes what it has seen."""

    file: str = ""

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        found = super().detect(pixels)
        note(self.file, "d")
        return found


@dataclass(frozen=True)
class Marking(FakeDetector):
    """A detector that leaves a file for each observation that it has seen."""

    marks: str = ""

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        found = super().detect(pixels)
        (Path(self.marks) / pixels.obs_id).touch()
        return found


@dataclass(frozen=True)
class Together(FakeDetector):
    """A detector that leaves a file of its process, and waits until so many have."""

    marks: str = ""
    wanted: int = 1

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        (Path(self.marks) / str(os.getpid())).touch()
        while len(list(Path(self.marks).iterdir())) < self.wanted:
            time.sleep(0.05)
        return super().detect(pixels)


@dataclass(frozen=True)
class FakeIllustrator:
    """Draws one figure of each candidate; rows whose obs_id ends in an odd number tell it what to do instead."""

    fault: str = ""

    def draw(self, pixels: Pixels, records: Sequence[Candidate | Limit]) -> Sequence[Figure]:
        shown = [record for record in records if isinstance(record, Candidate)]
        figures = [Figure(n, "map", f"<svg>{pixels.obs_id} {n}</svg>".encode(), f"map {n}") for n in range(len(shown))]
        if int(pixels.obs_id[-6:]) % 2 == 0:
            return figures
        match self.fault:
            case "raise":
                raise ValueError("no ink")
            case "no-list":
                return None  # type: ignore[return-value]
            case "strange":
                return ["a figure"]  # type: ignore[list-item]
            case "text":
                return [Figure(0, "map", "<svg/>", "")]  # type: ignore[arg-type]
            case "nobody":
                return [Figure(7, "map", b"<svg/>", "")]
            case "twice":
                return [*figures, *figures]
        return figures


def die_once(marker: str) -> None:
    """End this process, unless the marker file says that it was done before."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def work_list(words: Sequence[str]) -> pa.Table:
    """Return a work list whose rows tell the fakes what to do."""
    target = Target("t", 10.0, 20.0)
    return observations_to_arrow(
        [
            Observation(
                f"obs-{i:06d}",
                (f"s3://bucket/{i}.fits",),
                (target,),
                s_region=word,
                skip=word[5:] if word.startswith("skip ") else "",
            )
            for i, word in enumerate(words)
        ]
    )


EVERY_ENDING = [
    "detected",
    "two",
    "nothing",
    "skip no line within its range",
    "missing",
    "empty",
    "break",
    "cancel",
    "raise",
    "missing-column",
    "extra-column",
    "wrong-type",
    "endless-limit",
    "no-list",
    "write",
    "limit",
]


def job_of(reader: FakeReader | None = None, detector: FakeDetector | None = None, **options: Any) -> Job:
    return Job(reader or FakeReader(), detector or FakeDetector(), config_hash="cafe0123", lines=True, **options)


def ledger_of(folder: Place, job: Job, work: pa.Table, shard_size: int = 5) -> Ledger:
    return Ledger.open(
        folder,
        search_toml='name = "test"\n',
        config_hash=job.config_hash,
        work=work,
        shard_size=shard_size,
        candidate_schema=candidate_schema(job.detector.columns, job.lines),
        about={"queries": [{"service": "none", "rows": len(work)}]},
    )


def run_in(
    folder: Place, job: Job, work: pa.Table, engine: str = "inline", observers: Sequence[Observer] = (), shard_size: int = 5
) -> Totals:
    with ledger_of(folder, job, work, shard_size) as ledger:
        return run(job, work, ledger, EngineOptions(engine=engine, detectors=2), observers)


def tables_of(folder: Place) -> tuple[pa.Table, pa.Table]:
    """Return what must not depend on the engine: the candidates, and the outcomes but for what was measured."""
    measured = ["seconds", "figures_seconds", "detect_seconds", "retries"]
    return read_candidates(folder), read_outcomes(folder).drop_columns(measured)


def statuses(folder: Place) -> list[str]:
    return [str(status) for status in read_outcomes(folder)["status"].to_pylist()]


def reasons(folder: Place) -> list[str]:
    return [str(reason) for reason in read_outcomes(folder)["reason"].to_pylist()]
