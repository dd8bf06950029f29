"""Print the pace of a search on so many nodes of a Ray cluster on this host, observations a second, once all of them are at work.

Arguments: nodes, CPUs of each, observations, seconds that the detector sleeps, seconds of a read, reads in flight on each node.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from raysearch.engine import EngineOptions, Event, Job, Ledger, ShardDone, run
from raysearch.engine.workers.cluster import prepare
from raysearch.model import Candidate, Observation, Pixels, Target, Usage, observations_to_arrow

SHARD = 8


@dataclass(frozen=True)
class Waits:
    """Reads nothing, and takes its time."""

    seconds: float

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        usage.requests += 1
        await asyncio.sleep(self.seconds)
        return Pixels(observation.obs_id, observation.uri)

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Sleeps:
    """Finds nothing, and takes its time."""

    seconds: float
    window: int | None = None
    columns: dict[str, str] = field(default_factory=lambda: {"snr": "f4"})

    def detect(self, pixels: Pixels) -> list[Candidate]:  # noqa: ARG002
        time.sleep(self.seconds)
        return []


def main() -> None:
    nodes, cpus, observations = map(int, sys.argv[1:4])
    detect_s, read_s = map(float, sys.argv[4:6])
    prepare()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    for _ in range(nodes):
        cluster.add_node(num_cpus=cpus, object_store_memory=80 * 2**20)
    target = Target("t", 10.0, 20.0)
    work = observations_to_arrow([Observation(f"obs-{n:06d}", ("s3://a/b",), (target,)) for n in range(observations)])
    job = Job(Waits(read_s), Sleeps(detect_s), "0" * 16, lines=True, concurrency=int(sys.argv[6]))
    ended: list[float] = []

    def follow(event: Event) -> None:
        if isinstance(event, ShardDone):
            ended.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(
            Path(folder),
            search_toml="",
            config_hash=job.config_hash,
            work=work,
            shard_size=SHARD,
            candidate_schema=job.schema,
            about={},
        )
        with ledger:
            run(job, work, ledger, EngineOptions(address=cluster.address), [follow])
    cluster.shutdown()
    # The middle half: at first some nodes are starting, at last some have nothing left.
    first, last = len(ended) // 4, 3 * len(ended) // 4
    print(SHARD * (last - first) / (ended[last] - ended[first]))


if __name__ == "__main__":
    main()
