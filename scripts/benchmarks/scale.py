"""Run the engine on very many observations of a store that is made up, and see whether anything grows but the run folder.

python scripts/benchmarks/scale.py --observations 1000000

The reader waits as long as a store takes and returns small cubes; the detector looks for a line in each. Printed are the rows a
second, the driver's CPU time for each row, its memory and the files in the run folder as the run goes on; then what it takes to
tell the status, to open the folder again, to export its tables, and to write its page, each in a process of its own.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from raysearch.engine import EngineOptions, Event, Job, Ledger, RunFinished, RunStarted, ShardDone, run
from raysearch.engine.folder.ledger import candidates_schema, read_run, read_work
from raysearch.engine.options import SHARD_SIZE
from raysearch.model import Candidate, Limit, Line, Observation, Pixels, Target, Usage, Window, observations_to_arrow

MB = 2**20
HASH = "0" * 16
LINE = Line("[Fe II] 5.340", 5.340)
SHAPE = (11, 8, 8)
SEARCH = """name = "scale"
[targets]
simbad = "otype = 'Y*O..'"
[observations]
archive = "mast"
collection = "JWST"
[lines]
list = [{name = "[Fe II] 5.340", wavelength = "5.340 um"}]
"""
EXPORTS = (
    "outcomes.parquet",
    "outcomes.csv",
    "outcomes.fits",
    "outcomes.ecsv",
    "outcomes.vot",
    "candidates.parquet",
    "limits.parquet",
    "observations.reg",
    "searched.moc.fits",
    "bibliography.txt",
)


@dataclass(frozen=True)
class MadeUpStore:
    """Two requests for each observation, one after the other: latencies are log-normal, so are the bytes of the second."""

    latency_s: float
    """Median of a request."""

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        number = int(observation.obs_id[-9:])
        rng = np.random.default_rng(number)
        for delay in self.latency_s * rng.lognormal(0.0, 0.5, 2):
            usage.requests += 1
            await asyncio.sleep(delay)
        usage.bytes_read += 65_536 + int(335_000 * rng.lognormal(0.0, 0.3))
        cube = rng.standard_normal(SHAPE, dtype=np.float32)
        if number % 10 == 0:
            cube[5, 3:5, 3:5] += 6
        target = observation.targets[0].name
        window = Window(LINE, 0.0, (target,), 5, 0, SHAPE[0], np.linspace(5.33, 5.35, SHAPE[0]), {"SCI": cube})
        return Pixels(observation.obs_id, observation.uri, (window,), ranges=((0, 65_536), (10**6, 10**6 + 335_000)))

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Bright:
    """Finds the spaxels in which the middle plane stands out."""

    window: int | None = 5
    columns: dict[str, str] = field(default_factory=lambda: {"snr": "f8", "spaxels": "i4", "notes": "str"})

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        (window,) = pixels.windows
        target, planes = window.targets[0], window.sci
        others = np.concatenate([planes[:4], planes[7:]])
        snr = (planes[5] - others.mean(axis=0)) / others.std()
        if (bright := int((snr > 4.5).sum())) == 0:
            return [Limit(target, LINE.name, LINE.rest_um, 5.34, 1e-20, "made up")]
        values = {"snr": float(snr.max()), "spaxels": bright, "notes": ""}
        return [Candidate(target, values, LINE.name, LINE.rest_um, 5.34)]


def work_list(observations: int) -> pa.Table:
    """Return a work list; three observations to each target."""

    def some(first: int, end: int) -> pa.Table:
        return observations_to_arrow([_observation(number) for number in range(first, end)])

    pieces = [some(first, min(first + 10_000, observations)) for first in range(0, observations, 10_000)]
    return pa.concat_tables(pieces).combine_chunks()


def _observation(number: int) -> Observation:
    star = number // 3
    ra, dec = star * 0.618034 % 360, (star * 0.414214 % 160) - 80
    region = f"CIRCLE ICRS {ra:.5f} {dec:.5f} 0.001"
    name = f"obs-{number:09d}"
    return Observation(
        name, (f"s3://archive/product/{name}_s3d.fits",), (Target(f"star {star:07d}", ra, dec),), 5e-6, 6e-6, s_region=region
    )


class Watch:
    """Notes how far the run is, by time, and what the driver takes, at every tenth of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = psutil.Process()
        self.began = self.last = time.perf_counter()
        self.cpu = self._cpu()
        self.done = self.total = self.told = self.rows = 0
        print(f"{'rows':>12} {'s':>8} {'rows/s':>8} {'driver CPU, ms/row':>19} {'RSS, MB':>8} {'anonymous, MB':>14} {'files':>8}")

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(totals):
                self.total = totals.observations
                self.done = self.rows = totals.done
                self.told = 10 * self.done // self.total
            case ShardDone(by_status=counts):
                self.done += sum(counts.values())
                if 10 * self.done // self.total > self.told:
                    self.told = 10 * self.done // self.total
                    self.tell()
            case RunFinished():
                self.done = self.total

    def tell(self) -> None:
        now, cpu = time.perf_counter(), self._cpu()
        rows, memory = self.done - self.rows, self.process.memory_info().rss / MB
        files = sum(1 for path in self.folder.rglob("*") if path.is_file())
        print(
            f"{self.done:12,} {now - self.began:8.1f} {rows / (now - self.last):8,.0f} {1000 * (cpu - self.cpu) / rows:19.3f}"
            f" {memory:8.0f} {_anonymous():14.0f} {files:8,}",
            flush=True,
        )
        self.last, self.cpu, self.rows = now, cpu, self.done

    def _cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


def _anonymous() -> float:
    """Return the memory of this process that is no file's and not shared, MB."""
    return _memory("RssAnon")


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def ledger_of(folder: Path, work: pa.Table, schema: pa.Schema, shard: int) -> Ledger:
    about = {"name": "scale", "queries": []}
    return Ledger.open(
        folder, search_toml=SEARCH, config_hash=HASH, work=work, shard_size=shard, candidate_schema=schema, about=about
    )


def search(options: argparse.Namespace, folder: Path) -> None:
    job = Job(MadeUpStore(options.latency / 1000), Bright(), HASH, lines=True, concurrency=options.concurrency)
    began = time.perf_counter()
    work = work_list(options.observations)
    print(f"work list made up in {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    ledger = ledger_of(folder, work, job.schema, options.shard)
    print(f"run folder opened in {time.perf_counter() - began:.1f} s")
    watch = Watch(folder)
    with ledger:
        totals = run(job, work, ledger, EngineOptions(engine=options.engine), [watch])
    rows = totals.done - totals.resumed
    print(f"{rows:,} rows in {totals.seconds:.1f} s: {rows / totals.seconds:,.0f} rows/s")
    for kind in ("candidates", "outcomes"):
        sizes = [path.stat().st_size for path in (folder / kind).iterdir()]
        print(f"{kind}: {len(sizes)} files, {sum(sizes) / MB:,.0f} MB, the largest {max(sizes) / MB:.1f} MB")


def measure(what: str, folder: Path) -> str:
    """Do one thing with a run folder, and return what came of it."""
    from raysearch.engine import status
    from raysearch.result import Result

    if what == "status":
        return f"{status(folder).done:,} observations"
    if what == "resume":
        schema = candidates_schema(read_run(folder))
        opened = Ledger.open(
            folder,
            search_toml=SEARCH,
            config_hash="0" * 16,
            work=read_work(folder),
            shard_size=1,
            candidate_schema=schema,
            about={},
        )
        with opened:
            return f"{len(opened.done()):,} shards done"
    if what == "report":
        return str(Result(folder).report().stat().st_size)
    if what == "targets":
        from raysearch.engine import read_candidates, read_outcomes
        from raysearch.search import by_target
        from raysearch.worklist import WorkList

        found = by_target(WorkList(read_work(folder), ()), read_outcomes(folder), read_candidates(folder), 2)
        return f"{found.num_rows:,} targets"
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / what
        return f"{Result(folder).export(path, path.stem)}, {path.stat().st_size / MB:,.0f} MB"


def measured(what: str, folder: Path) -> None:
    """Print what it takes to do one thing in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--only", what]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{what:20} failed: {done.stderr.strip().splitlines()[-1]}")
        return
    seconds, cpu, peak, came = json.loads(done.stdout.splitlines()[-1])
    print(f"{what:20} {seconds:8.1f} s {cpu:8.1f} s of CPU, peak {peak:6.0f} MB: {came}", flush=True)


def alone(what: str, folder: Path) -> None:
    began = time.perf_counter()
    came = measure(what, folder)
    print(json.dumps([time.perf_counter() - began, time.process_time(), _memory("VmHWM"), came]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observations", type=int, default=100_000)
    parser.add_argument("--shard", type=int, default=SHARD_SIZE)
    parser.add_argument("--latency", type=float, default=40.0, help="median of a request, ms")
    parser.add_argument("--concurrency", type=int, default=256, help="reads in flight for each loader")
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray")
    parser.add_argument("--folder", type=Path, help="kept, and gone on with; a temporary one where none is given")
    parser.add_argument("--only", help="do this with the folder instead: status, resume, report, targets, or an export's file name")
    options = parser.parse_args()
    if options.only:
        alone(options.only, options.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "run"
        search(options, folder)
        for what in ("status", "resume", *EXPORTS, "targets", "report"):
            measured(what, folder)


if __name__ == "__main__":
    main()
