"""The cluster's walk on this host: `ray up` with cluster.yaml, `ray submit`, `ray job submit`, `ray down`, with run folders in S3.

Everything of cluster.yaml is used but what AWS and the network would do: its nodes are folders and loopback addresses here (see
this_host.py), with one CPU each; they share this environment's packages, and have free ports. The searches read an archive on this
machine, and write into an S3 service on it; one of them is broken off, and goes on when the lease of its folder has run out.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.util import prepare_config
from rig import MEASURED, shards_done
from this_host import Provider, boot, processes

from raysearch.engine import read_candidates, read_outcomes
from raysearch.engine.folder.files import place
from raysearch.engine.folder.locks import LEASE_S, LOCK
from raysearch.engine.folder.s3 import S3Path
from raysearch.testing import Faults, Holdings, LocalArchive, demo_holdings

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WORKERS = 2
BUCKET = "runs"
AWS = """[default]
aws_access_key_id = who
aws_secret_access_key = secret
region = us-east-1
endpoint_url = {}
"""
FAILED = 1
"""Exit status of a search some of whose observations failed: of the demo's, some are damaged on purpose."""
SLOW = (0.3, 0.3)
"""Seconds before each answer of the archive: time to kill a driver."""
SUM = "= 58 of 58 observations"
SMALL_PAGE = 10_000
"""Bytes of a page without anything in it."""
VERBOSE = "--verbose" in sys.argv
SHOWN = (
    "waiting for a",
    "ledger:",
    "another run is at work",
    "Unauthorized",
    "Ray runtime started",
    "nodes remaining",
    "No nodes remaining",
)


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
    own = [command for command in config["setup_commands"] if "scripts/install" not in command and "venv" not in command]
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


class Walk:
    """What a user does, from a folder that is the user's HOME, and what was not as it should be."""

    def __init__(self, folder: Path, nodes: Path, archive: LocalArchive, bucket: LocalArchive) -> None:
        self.wrong: list[str] = []
        self._archive = archive
        self._head = nodes / "127.0.0.1"
        self._laptop = folder / "laptop"
        self._user = os.environ | {"HOME": str(self._laptop), "RAY_AUTH_MODE": "token", "PYTHONPATH": str(HERE)}
        self._user |= {"RAY_USAGE_STATS_ENABLED": "0", "AWS_EC2_METADATA_DISABLED": "true"}
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            self._user.pop(name, None)
        aws = self._laptop / ".aws" / "config"
        aws.parent.mkdir(parents=True)
        aws.write_text(AWS.format(bucket.services["s3"]))
        os.environ["AWS_CONFIG_FILE"] = str(aws)
        (dashboard,) = free_ports(1)
        config = on_this_host(yaml.safe_load((ROOT / "cluster.yaml").read_text()), nodes, dashboard)
        config["file_mounts"]["~/.aws/config"] = str(aws)  # on AWS, the head has a role instead
        self._cluster = str(self._laptop / "cluster.yaml")
        Path(self._cluster).write_text(yaml.safe_dump(config))
        self._search = ["jets", *(f"--set=services.{name}={url}" for name, url in archive.services.items())]
        self._job = ["ray", "job", "submit", "--address", f"http://127.0.0.1:{dashboard}", "--working-dir", "scripts", "--"]

    def __call__(self) -> None:
        """Go the whole way."""
        undisturbed, first, second = str(self._laptop / "jets-run"), f"s3://{BUCKET}/jets", f"s3://{BUCKET}/again"
        detectors = f"--set=run.detectors={WORKERS}"
        self.step(["ray", "get-auth-token", "--generate"])
        self.step(["raysearch", "run", *self._search, "--set=run.engine=inline", "--out", undisturbed], FAILED)
        self.step(["ray", "up", "-y", "--no-config-cache", self._cluster])
        submit = ["ray", "submit", "--no-config-cache", self._cluster, "scripts/submit_search.py", "--"]
        self.step([*submit, *self._search, detectors, "--out", first], FAILED, SUM)
        self._seen_from_outside(first)
        self._broken_off_and_on_again([*self._job, "python", "submit_search.py", *self._search, detectors, "--out", second], second)
        self.step([*self._job, "true"], 1, "Unauthorized", RAY_AUTH_MODE="disabled")
        for out in (first, second):
            if tables(out) != tables(undisturbed):
                self.wrong.append(f"{out} differs from {undisturbed}")

    def down(self) -> None:
        """End the cluster."""
        self.step(["ray", "down", "-y", self._cluster])

    def _seen_from_outside(self, out: str) -> None:
        page = self._laptop / "jets.html"
        self.step(["raysearch", "status", out], FAILED, SUM)
        self.step(["raysearch", "export", out, str(self._laptop / "candidates.ecsv")])
        self.step(["raysearch", "report", out, "--single-file", str(page)])
        if not page.exists() or page.stat().st_size < SMALL_PAGE:
            self.wrong.append("the page is empty")

    def _broken_off_and_on_again(self, command: Sequence[str], out: str) -> None:
        """Kill the driver of a job in mid-run, and have its machine be lost; another is refused until the lease has run out."""
        self._archive.set_faults(Faults(delay=SLOW))
        with ThreadPoolExecutor(1) as executor:
            job = executor.submit(self.step, command, 1)
            kept = self._driver_killed(out, job)
        self._archive.set_faults(Faults())
        boot(self._head)
        print(f"\nkill -9 of the driver: {kept} shards are kept; the head is another machine from now on")
        self.step(command, 1, "another run is at work")
        left = LEASE_S + 1 - lease_age_s(out)
        print(f"\nwaiting for {left:.0f} s, until the lease of the dead driver has run out")
        time.sleep(left)
        self.step(command, 1, SUM)

    def _driver_killed(self, out: str, job: Future[None]) -> int:
        """Kill the driver when a shard is written, and return how many are."""
        while not job.done() and not shards_done(place(out)):
            time.sleep(0.05)
        drivers = [process for process in processes(self._head) if process.cmdline()[1:2] == ["submit_search.py"]]
        for process in drivers:
            process.kill()
        if not drivers:
            self.wrong.append("there was no driver to be killed")
        return len(shards_done(place(out)))

    def step(self, command: Sequence[str], status: int = 0, says: str = "", **environment: str) -> None:
        """Run one command of the user's, print what matters of what it says, and note where that is not as it should be."""
        shown = " ".join(command)
        print(f"\n$ {shown[:110]}{' ...' if len(shown) > 110 else ''}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._user | environment,
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
        if done.returncode != status or says not in done.stdout:
            self.wrong.append(f"{shown[:60]} ended with {done.returncode}, not {status}, or did not say {says!r}")


def lease_age_s(out: str) -> float:
    """Return how long ago a run in S3 last showed that it lives."""
    lease = place(out) / LOCK
    assert isinstance(lease, S3Path)
    return lease.read().age_s


def tables(out: str) -> list[str]:
    """Return outcomes and candidates as text, without what is measured."""
    outcomes = read_outcomes(place(out)).drop_columns(list(MEASURED))
    return [repr(table.to_pylist()) for table in (outcomes, read_candidates(place(out)))]


def as_the_sky_says(out: str, holdings: Holdings) -> bool:
    """Return whether every observation of a run has ended as it should."""
    ended = {row["obs_id"]: row["status"] for row in read_outcomes(place(out)).to_pylist()}
    return ended == {obs_id: status for obs_id, status in holdings.expected.items() if status != "unmatched"}


def main() -> int:
    """Walk, and return 0 if all was as it should be."""
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp"))  # Ray's sockets want a short path
    provider = Provider({"folder": str(folder / "nodes")}, "raysearch")
    provider.folder.mkdir()
    holdings = demo_holdings()
    try:
        with LocalArchive(holdings) as archive, LocalArchive(Holdings(writable=(BUCKET,))) as bucket:
            walk = Walk(folder, provider.folder, archive, bucket)
            walk()
            if not as_the_sky_says(f"s3://{BUCKET}/jets", holdings):
                walk.wrong.append("the search did not find what is there")
        print(f"\nworkers that the autoscaler has started: {len(provider.homes()) - 1}")
        walk.down()
    finally:
        for home in provider.homes():
            provider.terminate_node(home.name)
            while processes(home):
                time.sleep(0.2)
        shutil.rmtree(folder)
    told = (
        f"NOT as expected: {'; '.join(walk.wrong)}" if walk.wrong else "as expected: every table is that of the undisturbed search"
    )
    print(told)
    return int(bool(walk.wrong))


if __name__ == "__main__":
    sys.exit(main())
