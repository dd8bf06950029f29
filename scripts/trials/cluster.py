"""The cluster's walk on this host: `ray up` with cluster.yaml, `ray submit`, `ray job submit`, `ray down`.

Everything of cluster.yaml is used but what AWS and the network would do: its nodes are folders and loopback addresses here (see
this_host.py), with one CPU each; they share this environment's packages, and have free ports. The searches read an archive on this
machine.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.util import prepare_config
from this_host import Provider, processes

from raysearch.engine import read_outcomes
from raysearch.testing import Holdings, LocalArchive, demo_holdings

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WORKERS = 2
VERBOSE = "--verbose" in sys.argv
SHOWN = ("waiting for", "ledger:", "Unauthorized", "Ray runtime started", "nodes remaining", "No nodes remaining")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def on_this_host(config: dict[str, Any], folder: Path, dashboard: int) -> dict[str, Any]:
    """Return a cluster's configuration with nodes on this host."""
    gcs, agent, client, metrics = free_ports(4)
    config = prepare_config(config)
    config["provider"] = {"type": "external", "module": "this_host.Provider", "folder": str(folder)}
    config["max_workers"] = WORKERS
    config["idle_timeout_minutes"] = 1
    for name, kind in config["available_node_types"].items():
        kind["node_config"] = {}
        kind["resources"] = {"CPU": 0 if name == "head" else 1}
        kind["max_workers"] = 0 if name == "head" else WORKERS
    # Installing would need the network: the nodes share this environment.
    own = [command for command in config["setup_commands"] if "pip" not in command and "venv" not in command]
    config["setup_commands"] = config["worker_setup_commands"] = config["head_setup_commands"] = [
        f"ln -sfn {Path(sys.executable).parents[1]} ~/env",
        *own,
    ]
    config["initialization_commands"] = []
    small = f"--object-store-memory={100 * 2**20} --node-ip-address=$NODE_IP"
    config["head_start_ray_commands"] = [
        command.replace("--port=6379", f"--port={gcs}")
        + f" {small} --temp-dir={folder}/ray --dashboard-port={dashboard} --dashboard-agent-listen-port={agent}"
        + f" --ray-client-server-port={client} --metrics-export-port={metrics}"
        for command in config["head_start_ray_commands"]
        if "ray stop" not in command
    ]
    config["worker_start_ray_commands"] = [
        # One after the other: two that start at once on one host would take the same sockets.
        f"{command.replace('6379', str(gcs)).replace('ray start', 'flock --close ~/../starting ray start')} {small}"
        " --dashboard-agent-listen-port=0"
        for command in config["worker_start_ray_commands"]
        if "ray stop" not in command
    ]
    return config


def step(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run one command of the user's, print what matters of what it says, and return its exit status."""
    shown = " ".join(command)
    print(f"\n$ {shown[:110]}{' ...' if len(shown) > 110 else ''}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    for line in done.stdout.splitlines():
        if VERBOSE or any(word in line for word in SHOWN):
            print(f"  {line.strip()[:150]}")
    print(f"  -> exit status {done.returncode} after {time.monotonic() - began:.1f} s", flush=True)
    return done.returncode


def as_the_sky_says(run: Path, holdings: Holdings) -> bool:
    """Return whether every observation of a run has ended as it should."""
    ended = {row["obs_id"]: row["status"] for row in read_outcomes(run).to_pylist()}
    return ended == {obs_id: status for obs_id, status in holdings.expected.items() if status != "unmatched"}


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp"))  # Ray's sockets want a short path
    (dashboard,) = free_ports(1)
    laptop = folder / "laptop"
    laptop.mkdir()
    user = os.environ | {"HOME": str(laptop), "RAY_AUTH_MODE": "token", "PYTHONPATH": str(HERE), "RAY_USAGE_STATS_ENABLED": "0"}
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        user.pop(name, None)
    provider = Provider({"folder": str(folder / "nodes")}, "raysearch")
    provider.folder.mkdir()
    config = on_this_host(yaml.safe_load((ROOT / "cluster.yaml").read_text()), provider.folder, dashboard)
    written = laptop / "cluster.yaml"
    written.write_text(yaml.safe_dump(config))
    try:
        step(["ray", "get-auth-token", "--generate"], user)
        holdings = demo_holdings()
        with LocalArchive(holdings) as archive:
            search = ["jets", "--set", f"run.detectors={WORKERS}"]
            search += [word for name, url in archive.services.items() for word in ("--set", f"services.{name}={url}")]
            jobs = ["ray", "job", "submit", "--address", f"http://127.0.0.1:{dashboard}", "--working-dir", "scripts", "--"]
            ended = [
                step(["ray", "up", "-y", "--no-config-cache", str(written)], user),
                step(
                    [
                        "ray",
                        "submit",
                        "--no-config-cache",
                        str(written),
                        "scripts/submit_search.py",
                        "--",
                        *search,
                        "--out",
                        "jets-run",
                    ],
                    user,
                ),
                step([*jobs, "python", "submit_search.py", *search, "--out", str(folder / "job-run")], user),
                step([*jobs, "true"], user | {"RAY_AUTH_MODE": "disabled"}),
            ]
        print(f"\nworkers that the autoscaler has started: {len(provider.homes()) - 1}")
        right = [as_the_sky_says(run, holdings) for run in (provider.folder / "127.0.0.1" / "jets-run", folder / "job-run")]
        ended.append(step(["ray", "down", "-y", str(written)], user))
    finally:
        for home in provider.homes():
            provider.terminate_node(home.name)
            while processes(home):
                time.sleep(0.2)
        shutil.rmtree(folder)
    # Some of the demo's observations are damaged on purpose: the searches end with 1; and without a token nobody is let in.
    expected = ended == [0, 1, 1, 1, 0] and all(right)
    print("as expected: every observation ended as the made-up sky says" if expected else f"NOT as expected: {ended}, {right}")
    return 0 if expected else 1


if __name__ == "__main__":
    sys.exit(main())
