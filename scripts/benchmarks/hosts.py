"""Time a search of which some observations lie at a host that never answers: when the others are done, and when all.

Nothing is fetched: the others take 50 to 100 ms to read and 20 ms to detect in, those at the silent host fail after `--silence`.

python scripts/benchmarks/hosts.py --rows 1000 --part 0.1
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from raysearch.engine import EngineOptions, Job, Ledger, candidate_schema, run
from raysearch.engine.options import SHARD_SIZE
from raysearch.errors import RaysearchError
from raysearch.model import Candidate, Line, Observation, Pixels, Target, Usage, Window, observations_to_arrow


@dataclass(frozen=True)
class TwoHosts:
    """Reads from a quick host, and from one that is silent for so long."""

    silence_s: float

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        usage.requests += 1
        if observation.uri.startswith("https://silent/"):
            await asyncio.sleep(self.silence_s)
            raise RaysearchError("no answer")
        await asyncio.sleep(0.05 + 0.05 * (int(observation.obs_id) % 7) / 7)
        window = Window(Line("x", 1.0), 0.0, (), 0, 0, 4, np.arange(4.0), {"SCI": np.ones((4, 32, 32), "f4")})
        return Pixels(observation.obs_id, observation.uri, (window,))

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Noting:
    """Takes its time, finds nothing, and notes when."""

    file: str
    window: int | None = None
    columns = {"snr": "f4"}  # noqa: RUF012

    def detect(self, pixels: Pixels) -> list[Candidate]:  # noqa: ARG002
        time.sleep(0.02)
        note = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(note, f"{time.time()}\n".encode())
        os.close(note)
        return []


def searched(folder: Path, options: argparse.Namespace) -> list[float]:
    """Return when each observation of the quick host was done, and last when all were: in seconds since the first."""
    every, target = round(1 / options.part) if options.part else 0, Target("a star", 10.0, 20.0)
    hosts = ["silent" if every and row % every == every // 2 else "quick" for row in range(options.rows)]
    work = observations_to_arrow(
        [Observation(f"{row:09d}", (f"https://{host}/{row}",), (target,), 5e-6, 2e-5) for row, host in enumerate(hosts)]
    )
    job = Job(TwoHosts(options.silence), Noting(str(folder / "times")), "0" * 16, lines=True)
    with Ledger.open(
        folder / "run",
        search_toml="",
        config_hash=job.config_hash,
        work=work,
        shard_size=SHARD_SIZE,
        candidate_schema=candidate_schema(job.detector.columns, job.lines),
        about={},
    ) as ledger:
        run(job, work, ledger, EngineOptions(engine=options.engine, detectors=2))
    times = sorted(map(float, (folder / "times").read_text().split()))
    return [moment - times[0] for moment in (*times, time.time())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--part", type=float, default=0.1, help="of the observations that lie at the silent host")
    parser.add_argument("--silence", type=float, default=16.0, help="seconds; 16: five tries with a time-out of 3 s")
    parser.add_argument("--engine", choices=("ray", "inline"), default="ray")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        *times, end = searched(Path(folder), options)
    longest = max(after - before for before, after in pairwise(times))
    print(f"{len(times):,} observations at the quick host after {times[-1]:.1f} s, all {options.rows:,} after {end:.1f} s")
    print(f"the detectors stood idle for {longest:.1f} s at the longest")


if __name__ == "__main__":
    main()
