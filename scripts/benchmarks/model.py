"""How many observations a second a search takes on so many nodes, from what was measured on one: a model, no search is run.

python scripts/benchmarks/model.py [--check] [--draw docs/scale.svg]

A search goes at the pace of the narrowest of these, each in observations a second:

- reading: the reads in flight of all loaders, by the time that a read takes (Little's law);
- the loaders' CPU, one process on each node; the detectors' CPUs; the network of the nodes; all three grow with the nodes;
- the driver, one process for the whole search, which hands out the shards and takes back what came of them;
- the run folder, in which so many shards are written side by side, each in its time;
- the store, where it answers so many requests a second and no more.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
NODES = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)


@dataclass(frozen=True)
class Search:
    """What one observation takes."""

    requests: float
    rounds: float
    """How many times requests wait for each other: those of a round are under way side by side."""
    nbytes: float
    detect_s: float
    """Seconds of one CPU in the detector."""
    detect_waits: bool = False
    """Whether the detector sleeps instead: then it takes its CPU's place, and none of its time."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    cpus: int
    nic_bytes: float
    """Bytes a second that its network sustains."""


@dataclass(frozen=True)
class Costs:
    """What the engine takes, measured, and what the store does, assumed."""

    driver_shard_s: float
    """CPU seconds of the driver for a shard: handing it out, taking it back, writing its parts."""
    driver_row_s: float
    """CPU seconds of the driver for each observation in it."""
    request_cpu_s: float
    """CPU seconds of a loader for a request."""
    row_cpu_s: float
    """CPU seconds of a loader for an observation, whatever is requested."""
    worker_row_s: float
    """CPU seconds of a detector for an observation, whatever is detected."""
    latency_s: float
    """Seconds to the first byte of a request."""
    connection_bytes: float
    """Bytes a second of one connection."""
    in_flight: int
    """Reads in flight for each loader (`run.concurrency`)."""
    store_requests: float
    """Requests a second that the store answers in all."""
    commit_s: float
    """Seconds until a shard's parts are safe."""
    commits: int = 8
    """Shards written side by side."""
    shard: int = 64
    """Observations in a shard."""


def limits(search: Search, node: Node, costs: Costs, nodes: int) -> dict[str, float]:
    """Return what each part of the engine could do on so many nodes if it were alone, observations a second."""
    at_once = max(search.requests / search.rounds, 1)
    read_s = search.rounds * costs.latency_s + search.nbytes / (at_once * costs.connection_bytes)
    loader_s = search.requests * costs.request_cpu_s + costs.row_cpu_s
    detector_s = search.detect_s + costs.worker_row_s
    # Loader and detectors share a node's CPUs; no more detectors work than there are CPUs.
    work_s = loader_s + (costs.worker_row_s if search.detect_waits else detector_s)
    return {
        "reads in flight": nodes * costs.in_flight / read_s,
        "loaders": nodes / loader_s,
        "CPUs": nodes * min(node.cpus / work_s, node.cpus / detector_s),
        "network": nodes * node.nic_bytes / search.nbytes if search.nbytes else float("inf"),
        "driver": 1 / (costs.driver_row_s + costs.driver_shard_s / costs.shard),
        "run folder": costs.commits * costs.shard / costs.commit_s,
        "store": costs.store_requests / search.requests if search.requests else float("inf"),
    }


def pace(search: Search, node: Node, costs: Costs, nodes: int) -> tuple[float, str]:
    """Return the observations a second on so many nodes, and what does not allow more."""
    name, rate = min(limits(search, node, costs, nodes).items(), key=lambda item: item[1])
    return rate, name


def wall(search: Search, node: Node, costs: Costs) -> tuple[int, float, str]:
    """Return from how many nodes on more of them help no longer, the pace there, and why."""
    last = pace(search, node, costs, 10**6)
    nodes = next(n for n in range(1, 10**6) if pace(search, node, costs, n)[0] >= last[0])
    return nodes, *last


# The engine's costs are measured (docs/scale.md tells how). Of the network and the store is assumed: a node is an m7i.2xlarge with
# 8 CPUs and 3.125 Gbit/s sustained (Amazon EC2, instance network specifications); 45 ms to the first byte, 80 MB/s for
# each connection; S3 answers 5,500 GET requests a second for each prefix (user guide, "Optimizing performance").
NODE = Node(cpus=8, nic_bytes=390e6)
COSTS = Costs(
    driver_shard_s=0.0060,
    driver_row_s=0.000006,
    request_cpu_s=0.00045,
    row_cpu_s=0.0005,
    worker_row_s=0.0005,
    latency_s=0.045,
    connection_bytes=80e6,
    in_flight=32,
    store_requests=float("inf"),
    commit_s=0.014,
)
MOVES = {
    "as it is": COSTS,
    "256 observations in a shard": replace(COSTS, shard=256),
    "a run folder in S3": replace(COSTS, commit_s=0.09),
    "one shard written at a time, in S3": replace(COSTS, commit_s=0.09, commits=1),
    "one S3 prefix": replace(COSTS, store_requests=5500),
    "128 reads in flight": replace(COSTS, in_flight=128),
}
SEARCHES = {
    "published detector: 2 requests, 0.4 MB, 1 ms": Search(requests=2, rounds=2, nbytes=0.4e6, detect_s=0.001),
    "lines: 8 requests, 3.4 MB, 60 ms": Search(requests=8, rounds=2, nbytes=3.4e6, detect_s=0.060),
}


def check(slots: int = 2) -> None:
    """Print what the model says and what was measured on 1, 2 and 3 nodes on this host, where nothing but waiting takes long."""
    node = Node(slots, float("inf"))
    costs = replace(COSTS, connection_bytes=float("inf"), in_flight=8)
    cases = {
        "detectors": (Search(1, 1, 0, 0.2, detect_waits=True), replace(costs, latency_s=0.01)),
        "reads in flight": (Search(1, 1, 0, 0.001, detect_waits=True), replace(costs, latency_s=0.4)),
    }
    print(f"{'what is narrow':>16} {'nodes':>6} {'model':>8} {'measured':>9}   observations/s")
    for name, (search, taken) in cases.items():
        for nodes in (1, 2, 3):
            told, _ = pace(search, node, taken, nodes)
            settings = [nodes, slots, round(40 * told), search.detect_s, taken.latency_s, taken.in_flight]
            command = [sys.executable, str(HERE / "parts" / "cluster_pace.py"), *map(str, settings)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"{name:>16} {nodes:6} {told:8.1f} {float(done.stdout.split()[-1]):9.1f}", flush=True)


def table() -> None:
    """Print the pace and what is narrow, by nodes; then what would move the wall."""
    for name, search in SEARCHES.items():
        nodes, rate, why = wall(search, NODE, COSTS)
        print(f"{name}\n  no faster from {nodes:,} nodes on: {rate:,.0f}/s, for the {why}")
        for count in NODES:
            told, narrow = pace(search, NODE, COSTS, count)
            print(f"  {count:6,} nodes {told:12,.0f}/s  {narrow}")
        for what, costs in MOVES.items():
            nodes, rate, why = wall(search, NODE, costs)
            print(f"  {what}: from {nodes:,} nodes on {rate:,.0f}/s, {why}; one node {' '.join(map(str, _one(search, costs)))}")


def _one(search: Search, costs: Costs) -> tuple[str, str]:
    rate, why = pace(search, NODE, costs, 1)
    return f"{rate:,.0f}/s", why


def draw(path: Path) -> None:
    """Draw the pace of each search against the nodes, with the driver and a store that answers 5,500 requests a second."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "raysearch"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    counts = sorted({round(10 ** (step / 40)) for step in range(121)})
    for (name, search), colour, side in zip(SEARCHES.items(), ("#0072b2", "#d55e00"), ("right", "left"), strict=True):
        for costs, style in ((COSTS, "-"), (MOVES["one S3 prefix"], ":")):
            told = [pace(search, NODE, costs, n)[0] for n in counts]
            axes.plot(counts, told, color=colour, ls=style, label=name if style == "-" else None)
        nodes, rate, why = wall(search, NODE, COSTS)
        axes.plot(nodes, rate, "o", color=colour)
        axes.annotate(
            f" {nodes:,} nodes: {why} ", (nodes, rate), (0, 6), textcoords="offset points", color=colour, fontsize=9, ha=side
        )
    axes.axhline(pace(search, NODE, MOVES["a run folder in S3"], 1000)[0], color="grey", ls="--", lw=1, label="run folder in S3")
    axes.plot([], [], color="grey", ls=":", label="all products in one S3 prefix")
    axes.set(xscale="log", yscale="log", xlabel="nodes of 8 CPUs", ylabel="observations / s", xlim=(1, 1000), ylim=(80, 2e4))
    axes.grid(alpha=0.3, which="both", lw=0.5)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="run searches on 1, 2 and 3 nodes of this host, and compare")
    parser.add_argument("--draw", type=Path, help="draw it into this file")
    options = parser.parse_args()
    table()
    if options.draw:
        draw(options.draw)
    if options.check:
        check()


if __name__ == "__main__":
    main()
