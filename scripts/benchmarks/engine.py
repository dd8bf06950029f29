"""Time the Ray engine on observations that cost nothing: rows per second, and the driver's memory.

python scripts/benchmarks/engine.py --rows 100000 --shard 64
"""

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from raysearch.engine import EngineOptions, Event, Job, Ledger, Phase, RunFinished, RunStarted, ShardDone, candidate_schema, run
from raysearch.engine.options import SHARD_SIZE
from raysearch.model import Candidate, Line, Observation, Pixels, Target, Usage, Window, observations_to_arrow

MB = 2**20


@dataclass(frozen=True)
class NoReader:
    """Reads nothing, or makes up `nbytes` of pixels."""

    nbytes: int = 0

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        usage.requests += 1
        usage.bytes_read += self.nbytes
        if not self.nbytes:
            return Pixels(observation.obs_id, observation.uri)
        planes = {"SCI": np.ones((4, 128, self.nbytes // 2048), "f4")}
        window = Window(Line("x", 1.0), 0.0, (), 0, 0, 4, np.arange(4.0), planes)
        return Pixels(observation.obs_id, observation.uri, (window,))

    async def close(self) -> None: ...


@dataclass(frozen=True)
class NoDetector:
    """Finds nothing."""

    window: int | None = None
    columns = {"snr": "f4"}  # noqa: RUF012

    def detect(self, pixels: Pixels) -> list[Candidate]:  # noqa: ARG002
        return []


class Watch:
    """Notes when things happened, and how much memory the driver and its whole process tree had."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.process = psutil.Process()
        self.first: float | None = None
        self.at: dict[int, float] = {}
        self.done = self.total = 0
        self.peak = self.tree_peak = self.store_peak = 0.0

    def __call__(self, event: Event) -> None:
        now = time.perf_counter() - self.began
        match event:
            case RunStarted(totals):
                self.total = totals.observations
            case Phase(text):
                print(f"{now:6.2f} s  {text}")
            case ShardDone(by_status=counts):
                if self.first is None:
                    self.first = now
                    print(f"{now:6.2f} s  first shard")
                self.done += sum(counts.values())
                rss = self.process.memory_info().rss / MB
                self.peak = max(self.peak, rss)
                self.at.setdefault(10 * self.done // self.total, rss)
            case RunFinished():
                print(f"{now:6.2f} s  done")

    def watch_tree(self) -> None:
        while True:
            total = 0
            for process in [self.process, *self.process.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.tree_peak = max(self.tree_peak, total / MB)
            time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shard", type=int, default=SHARD_SIZE)
    parser.add_argument("--bytes", type=int, default=0, help="of pixels in each observation")
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray")
    parser.add_argument(
        "--tree", action="store_true", help="measure the PSS of the whole process tree, which takes CPU time of its own"
    )
    options = parser.parse_args()

    target = Target("a star", 10.0, 20.0)
    work = observations_to_arrow(
        [
            Observation(f"obs-{i:09d}", (f"s3://archive/product/obs-{i:09d}_s3d.fits",), (target,), 5e-6, 2e-5)
            for i in range(options.rows)
        ]
    )
    job = Job(NoReader(options.bytes), NoDetector(), "0" * 16, lines=True)
    watch = Watch()
    if options.tree:
        threading.Thread(target=watch.watch_tree, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(
            Path(folder),
            search_toml="",
            config_hash=job.config_hash,
            work=work,
            shard_size=options.shard,
            candidate_schema=candidate_schema(job.detector.columns, job.lines),
            about={},
        )
        watch.began = time.perf_counter()
        with ledger:
            totals = run(job, work, ledger, EngineOptions(engine=options.engine), [watch])
    steady = totals.seconds - (watch.first or 0.0)
    print(f"{totals.done / totals.seconds:,.0f} rows/s in all, {totals.done / steady:,.0f} rows/s after the first shard")
    print(f"driver RSS {watch.at.get(1, 0):.0f} MB at 10 %, {watch.at.get(10, 0):.0f} MB at 100 %, peak {watch.peak:.0f} MB")
    if options.tree:
        print(f"process tree PSS peak {watch.tree_peak:.0f} MB")


if __name__ == "__main__":
    main()
