"""Faults of a cluster: a node that is killed, or falls silent."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from program import Wrong
from rig import Came, Rig, Trial

HERE = Path(__file__).parent
SETTINGS = HERE.parent / "node_environment"


@contextlib.contextmanager
def cluster(rig: Rig) -> Iterator[tuple[dict[str, str], str, list[int]]]:
    """Have a cluster inside: yields the environment that lets one in, its address, and its nodes' raylets."""
    exported = (line.partition("#")[0].removeprefix("export ").strip() for line in SETTINGS.read_text().splitlines())
    settings = dict(line.split("=", 1) for line in exported if line.startswith("RAY_"))
    known = rig.environment(settings | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
    with subprocess.Popen(
        [sys.executable, HERE / "few_nodes.py"], env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        rig.children.add(host.pid)
        assert host.stdin is not None
        assert host.stdout is not None
        line = host.stdout.readline()
        if not line:
            raise Wrong("the cluster did not start")
        told = json.loads(line)
        try:
            yield known, told["address"], told["raylets"]
        finally:
            for pid in told["raylets"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            host.stdin.close()
            host.wait()


def _struck(number: int) -> Callable[[Rig], Came]:
    """Send a signal to a node's raylet in the midst of a run."""

    def run(rig: Rig) -> Came:
        rig.order({})
        out = rig.new_folder()
        with cluster(rig) as (environment, address, raylets):
            program = rig.start(out, "ray", f"run.address={address}", environment=environment)
            program.until(lambda: len(rig.trace()) > rig.observations // 4, "a quarter of the observations")
            at, shards = time.time(), rig.in_work(out)
            os.kill(raylets[0], number)
            recovery = rig.recovery_s(program, out, shards, at)
            status = program.wait()
        if status != 0:
            raise Wrong(f"the run ended with {status}: {program.last_line}")
        return Came(rig.compare(out), "nothing", "the run went on with the other node", recovery_s=recovery)

    return run


TRIALS = [
    Trial("cluster", "node", "kill -9 of the raylet of a worker node", _struck(signal.SIGKILL)),
    Trial("cluster", "node-silent", "a worker node falls silent (its raylet is stopped)", _struck(signal.SIGSTOP)),
]
