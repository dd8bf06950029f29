"""One search, run as its users run it; what goes wrong with it meanwhile; and what came of it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obedient
import psutil
import pyarrow as pa
from program import Hung, Program, Wrong

from raysearch.engine import read_candidates, read_outcomes, read_run
from raysearch.engine.folder.files import Place
from raysearch.engine.folder.parts import parts
from raysearch.testing import Holdings, LocalArchive, bench_holdings

OBSERVATIONS = 300
FEW = 60
"""In the short version."""
DETECTORS = 2
BOUND_S = 150.0
"""A run that takes longer hangs, and longer than eight times the undisturbed one."""
LINGER_S = 90.0
"""Processes that are there so long after their run are left behind."""
MEASURED = ("seconds", "figures_seconds", "detect_seconds", "retries")
"""Columns of the outcomes that two runs of the same search need not share."""

_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Tally:
    """A run against an undisturbed one of the same search, in observations."""

    lost: int = 0
    """Without an outcome; or of whose candidates some are missing."""
    doubled: int = 0
    """With more than one outcome, or a candidate twice."""
    different: int = 0
    """That ended otherwise than in the undisturbed run, where they were not meant to; or whose candidates differ."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.lost + other.lost, self.doubled + other.doubled, self.different + other.different)


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a fault."""

    tally: Tally
    done: str
    """By whoever runs the search; `nothing`, if the run went on by itself."""
    told: str
    """What came out, in a few words."""
    recovery_s: float = math.nan
    """From the fault until every shard that was in work then was written."""
    extra_s: float = math.nan
    """By how much all sessions together took longer than the undisturbed run."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault, and how it is made."""

    area: str
    name: str
    """For `--only`."""
    fault: str
    """What goes wrong, as the table says it."""
    run: Callable[[Rig], Came]
    short: bool = False
    """Whether it is part of the short version."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """The run that others are compared with."""

    outcomes: pa.Table
    candidates: pa.Table
    seconds: float
    """From its start to its end."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """obs_id -> its place in the work list."""


class Rig:
    """A search over the embedded archive, a folder for its runs, and an eye on every process that they start."""

    def __init__(self, folder: Path, archive: LocalArchive, expected: Mapping[str, str], seed: int) -> None:
        self.folder = folder
        self.archive = archive
        self.observations = len(expected)
        self.seed = seed
        self._expected = expected
        self._undisturbed: dict[str, Undisturbed] = {}
        self._runs = 0
        self.kept = {archive.pid}
        """Processes that are none of a run, nor is what they start."""
        self.children = {archive.pid}
        """Processes that were started here: who has started them waits for them too."""
        self._orders: Path | None = None
        self._search = folder / "search.toml"
        self._search.write_text(_SEARCH.format(detector=Path(obedient.__file__), answers=folder / "answers"))

    def random(self, name: str) -> random.Random:
        """Return numbers by chance, the same for the same seed and name."""
        return random.Random(f"{self.seed} {name}")

    def undisturbed(self, engine: str) -> Undisturbed:
        """Return an undisturbed run by one of the engines; it is made once."""
        if engine not in self._undisturbed:
            out, orders, self._orders = self.new_folder(), self._orders, None
            program = self.start(out, engine)
            self._orders = orders
            status = program.wait()
            seconds = time.time() - program.began
            if status != 0:
                raise Wrong(f"the undisturbed run ended with {status}: {program.output}")
            self.no_process_left()
            outcomes, candidates = read_outcomes(out), read_candidates(out)
            if {row["obs_id"]: row["status"] for row in outcomes.to_pylist()} != self._expected:
                raise Wrong("the undisturbed run did not find what is there")
            rows = {name: row for row, name in enumerate(outcomes["obs_id"].to_pylist())}
            self._undisturbed[engine] = Undisturbed(outcomes, candidates, seconds, rows)
        return self._undisturbed[engine]

    def new_folder(self) -> Path:
        """Return the path of a run folder that is not there yet."""
        self._runs += 1
        return self.folder / f"run-{self._runs}"

    def order(self, orders: Mapping[str, str]) -> None:
        """Tell the detector what to do in which observations, from the next start on; see `obedient.py`. Forgets the trace."""
        self.undisturbed("inline")
        self._runs += 1
        self._orders = self.folder / f"orders-{self._runs}"
        self._orders.mkdir()
        (self._orders / obedient.ORDERS).write_text(json.dumps(dict(orders)))

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a run's processes, which names the orders."""
        orders = {} if self._orders is None else {obedient.FOLDER: str(self._orders)}
        ours = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        return ours | _QUIET | orders | dict(more)

    def trace(self) -> list[tuple[float, int, str]]:
        """Return what detectors have begun to look at since the orders: when (seconds since 1970), in which process, and what."""
        path = (self._orders or self.folder) / obedient.TRACE
        if not path.exists():
            return []
        lines = (line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))
        return [(float(at), int(pid), obs_id) for at, pid, obs_id in lines]

    def start(
        self,
        out: Place | str,
        engine: str,
        *settings: str,
        terminal: bool = False,
        through: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        archive: LocalArchive | None = None,
    ) -> Program:
        """Start `raysearch run` into a folder, perhaps through another command; settings are those of `--set`.

        Another archive may stand in for the usual one.
        """
        chosen = [f"services.{name}={url}" for name, url in (archive or self.archive).services.items()]
        chosen += [f"run.engine={engine}", f"run.detectors={DETECTORS}", *settings]
        command = [*through, sys.executable, "-m", "raysearch.cli", "run", str(self._search), "--out", str(out)]
        command += [word for setting in chosen for word in ("--set", setting)]
        known = self.environment(environment or {})
        self._runs += 1
        usual = max((one.seconds for one in self._undisturbed.values()), default=0.0)
        bound = max(BOUND_S, 8 * usual)
        program = Program(command, known, self.folder / f"log-{self._runs}", terminal=terminal, bound_s=bound)
        self.children.add(program.pid)
        return program

    def compare(
        self, out: Place, *, failed: Collection[str] = (), open_ended: Collection[str] = (), but: Collection[str] = ()
    ) -> Tally:
        """Return a run against an undisturbed one.

        Parameters
        ----------
        failed
            Observations that shall have failed, with a reason and without candidates.
        open_ended
            Those that may have ended in any way, once.
        but
            Columns that may differ too.
        """
        wanted = self.undisturbed("inline")
        outcomes, candidates = read_outcomes(out), read_candidates(out)
        dropped = [name for name in (*MEASURED, *but) if name in outcomes.column_names]
        ours, theirs = _rows(outcomes.drop_columns(dropped)), _rows(wanted.outcomes.drop_columns(dropped))
        of_candidates = [name for name in but if name in candidates.column_names]
        found, expected = _rows(candidates.drop_columns(of_candidates)), _rows(wanted.candidates.drop_columns(of_candidates))
        tallies = [
            tally_of(
                ours.get(name, []),
                theirs[name],
                found.get(name, []),
                expected.get(name, []),
                failed=name in failed,
                open_ended=name in open_ended,
            )
            for name in wanted.rows
        ]
        strangers = Tally(different=len((ours.keys() | found.keys()) - wanted.rows.keys()))
        return sum(tallies, strangers)

    def reasons(self, out: Place, names: Collection[str]) -> list[str]:
        """Return why these observations were not searched."""
        return [row["reason"] for row in read_outcomes(out).to_pylist() if row["obs_id"] in names]

    def in_work(self, out: Place) -> set[int]:
        """Return the shards that were begun and are not written."""
        size, rows = int(read_run(out)["shard_size"]), self.undisturbed("inline").rows
        return {rows[obs_id] // size for _, _, obs_id in self.trace()} - shards_done(out)

    def recovery_s(self, program: Program, out: Place, shards: set[int], since: float) -> float:
        """Return when shards were all written, in seconds after `since`: those in work at a fault, or else the next."""
        done = shards_done(out)
        program.until(lambda: shards <= shards_done(out) and shards_done(out) > done, "the shards in work were written")
        return time.time() - since

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Return the processes of all runs that are there, by how their command line begins."""
        found = []
        everybody = psutil.Process().children(recursive=True)
        kept = self._kept()
        for process in everybody:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    self._reap(process.pid)
                elif process.pid not in kept and " ".join(process.cmdline()).startswith(title):
                    found.append(process)
        return found

    def _kept(self) -> set[int]:
        """Return the processes that are none of a run, and those that they have started."""
        kept = set(self.kept)
        for pid in self.kept:
            with contextlib.suppress(psutil.NoSuchProcess):
                kept |= {process.pid for process in psutil.Process(pid).children(recursive=True)}
        return kept

    @contextlib.contextmanager
    def keeping(self, pid: int) -> Iterator[None]:
        """Count a process that was started here among those of no run."""
        self.children.add(pid)
        self.kept.add(pid)
        try:
            yield
        finally:
            self.kept.discard(pid)

    def _reap(self, pid: int) -> None:
        """Let go of an orphan that has ended; children of one's own are waited for elsewhere."""
        if pid not in self.children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def no_process_left(self) -> float:
        """Return after how many seconds the last process was gone.

        Raises
        ------
        Hung
            Some stay; they are ended.
        """
        began = time.monotonic()
        while there := self.processes():
            if time.monotonic() - began > LINGER_S:
                names = ", ".join(sorted({_name(process) for process in there}))
                self.end_all()
                raise Hung(f"{len(there)} processes were left behind: {names}")
            time.sleep(0.05)
        return time.monotonic() - began

    def end_all(self) -> None:
        """End whatever the runs have started and is there still."""
        while there := self.processes():
            for process in there:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:60]
    except psutil.NoSuchProcess:
        return "gone"


def adopt_orphans() -> None:
    """Have processes whose parent ends become children of this one, so that none escapes the eye (Linux)."""
    subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(subreaper, 1, 0, 0, 0)


def sky(observations: int) -> Holdings:
    """Return the archive's content: cubes of 600 kB, a jet in every second."""
    return bench_holdings(observations, bodies=8, planes=240, side=25)


@contextlib.contextmanager
def rig(folder: Path, seed: int, observations: int = OBSERVATIONS) -> Iterator[Rig]:
    """Have a rig inside; afterwards nothing of it runs."""
    adopt_orphans()
    holdings = sky(observations)
    with LocalArchive(holdings) as archive:
        made = Rig(folder, archive, holdings.expected, seed)
        try:
            yield made
        finally:
            made.end_all()


def shards_done(out: Place) -> set[int]:
    """Return the shards of a run folder that are written."""
    return set(parts(out).done)


def tally_of(ours: _Rows, theirs: _Rows, found: _Rows, expected: _Rows, *, failed: bool = False, open_ended: bool = False) -> Tally:
    """Return one observation's outcomes and candidates against those of an undisturbed run; `failed`, `open_ended` as `compare`."""
    if not ours:
        return Tally(lost=1)
    there, wanted = list(map(repr, found)), set(map(repr, expected))  # as text, since NaN differs from itself
    twice = Tally(doubled=int(len(ours) > 1 or len(set(there)) < len(there)))
    if open_ended:
        return twice
    if failed:
        return twice + Tally(different=int(bool(found) or ours[0]["status"] != "failed" or not ours[0]["reason"]))
    if wanted - set(there):
        return twice + Tally(lost=1)
    return twice + Tally(different=int(repr(ours[0]) != repr(theirs[0]) or bool(set(there) - wanted)))


def _rows(table: pa.Table) -> dict[str, _Rows]:
    rows: dict[str, _Rows] = {}
    for row in table.to_pylist():
        rows.setdefault(row["obs_id"], []).append(row)
    return rows


_QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
_ELSEWHERE = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "AWS_ENDPOINT_URL")
_SEARCH = """
name = "faults"
[targets]
simbad = "otype = 'Y*O..'"
[observations]
archive = "mast"
collection = "JWST"
product_type = "cube"
[lines]
list = [{{ name = "[Fe II] 5.340", wavelength = "5.34 um" }}]
[detector]
name = "{detector}:Obedient"
[report]
page = false
figures = false
[services]
answers = "{answers}"
"""
