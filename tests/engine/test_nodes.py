"""Nodes that join and vanish: three of them on this host, each with a raylet and an object store of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import FakeDetector, FakeReader, job_of, run_in, tables_of, work_list

from raysearch.errors import ConfigError

_WORDS = ["detected", "two", "missing", "nothing"] * 150

_RUN = """
import json, sys, time
from dataclasses import dataclass
from pathlib import Path

folder, fakes = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, fakes)

import ray
from engine_fakes import FakeDetector, FakeReader, job_of, ledger_of, work_list
from ray.cluster_utils import Cluster

from raysearch.engine import EngineOptions, Phase, ShardDone, run
from raysearch.engine.workers import driver
from raysearch.engine.workers.cluster import prepare

driver._SAY_S = driver._LOOK_S = 1.0

@dataclass(frozen=True)
class Marking(FakeDetector):
    "Leaves a mark of its node; the second half waits until all three nodes have left theirs."
    marks: str = ""

    def detect(self, pixels):
        marks = Path(self.marks)
        (marks / ray.get_runtime_context().get_node_id()).touch()
        while int(pixels.obs_id[-6:]) >= 300 and len(list(marks.iterdir())) < 3:
            time.sleep(0.1)
        return super().detect(pixels)

prepare()
head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
marks = folder / "marks"
marks.mkdir(parents=True)
nodes, phases, done, lost = [], [], [], []

def add(count):
    for _ in range(count):
        nodes.append(cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, wait=False))

def follow(event):
    if isinstance(event, Phase):
        phases.append(event.text)
        if "waiting for a node" in event.text and not nodes:
            add(2)
    elif isinstance(event, ShardDone):
        done.append((event.shard, time.monotonic()))
        if len(nodes) == 2:
            add(1)
        if not lost and len(list(marks.iterdir())) == 3:
            cluster.remove_node(nodes[0], allow_graceful=False)
            lost.append(time.monotonic())

work = work_list(json.loads(sys.argv[3]))
job = job_of(FakeReader(0.005), Marking(0.01, marks=str(marks)))
with ledger_of(folder / "run", job, work, shard_size=10) as ledger:
    run(job, work, ledger, EngineOptions(address=cluster.address), [follow])
cluster.shutdown()
after = [at for _, at in done if at > lost[0]]
print(json.dumps({
    "phases": phases,
    "nodes": len(list(marks.iterdir())),
    "stall_s": max(b - a for a, b in zip([lost[0], *after], after)),
    "shards_after": len(after),
}))
"""


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that began without a node, got two, then a third, and lost the first; and what it told."""
    folder = tmp_path_factory.mktemp("nodes")
    command = [sys.executable, "-c", _RUN, str(folder), str(Path(__file__).parent), json.dumps(_WORDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run", json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_nodes_join_and_vanish(tmp_path: Path, three_nodes: tuple[Path, dict[str, Any]]) -> None:
    folder, told = three_nodes
    assert told["shards_after"] > 1
    run_in(tmp_path, job_of(FakeReader()), work_list(_WORDS))
    assert tables_of(folder) == tables_of(tmp_path)


@pytest.mark.slow
def test_a_node_that_joins_late_gets_work(three_nodes: tuple[Path, dict[str, Any]]) -> None:
    assert three_nodes[1]["nodes"] == 3


@pytest.mark.slow
def test_a_cluster_without_a_cpu_says_what_it_waits_for(three_nodes: tuple[Path, dict[str, Any]]) -> None:
    waiting = [text for text in three_nodes[1]["phases"] if text.startswith("waiting for a node with a CPU")]
    assert "`ray start --address=HOST:PORT`" in waiting[0]


_TAKEN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import ray
from engine_fakes import job_of, run_in, work_list
from raysearch.engine import EngineOptions, Phase
from raysearch.engine.workers import driver
from raysearch.engine.workers.cluster import ray_running

driver._SAY_S = 1.0

def once_waiting(act):
    def follow(event):
        if isinstance(event, Phase) and event.text.startswith("waiting"):
            print(event.text)
            act()
    return follow

def search(act):
    run_in(Path(sys.argv[1]), job_of(), work_list(["detected"] * 8), "ray", [once_waiting(act)])

with ray_running(EngineOptions(detectors=1, object_store_bytes=80 * 2**20)):
    holder = ray.remote(num_cpus=1)(type("Holder", (), {"ready": lambda self: None})).remote()
    ray.get(holder.ready.remote())
    try:
        search(lambda: os.kill(os.getpid(), signal.SIGINT))
    except KeyboardInterrupt:
        print("stopped")
    search(lambda: ray.kill(holder))
    print("done")
"""


@pytest.mark.slow
def test_cpus_that_others_hold_are_waited_for_and_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TAKEN, str(tmp_path / "run"), str(Path(__file__).parent)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    first, *rest = ended.stdout.splitlines()
    assert first.startswith("waiting for a free CPU: all 1 of this Ray are taken")
    assert rest == ["stopped", first, "done"], ended.stderr


class Absent(FakeDetector):
    """Cannot be unpickled anywhere."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("a_module_of_this_machine_only",)


@pytest.mark.slow
def test_a_detector_that_nodes_cannot_import_is_named_with_its_cure(tmp_path: Path, one_ray: None) -> None:
    with pytest.raises(
        ConfigError, match=r"No module named 'a_module_of_this_machine_only'; install the module it needs on every node"
    ):
        run_in(tmp_path, job_of(FakeReader(), Absent()), work_list(["detected"] * 4), "ray")


_ENDED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import psutil
from engine_fakes import FakeDetector, FakeReader, job_of, run_in, work_list
from raysearch.engine import ShardDone
from raysearch.errors import RaysearchError

def follow(event):
    if isinstance(event, ShardDone):
        for process in psutil.Process().children(recursive=True):
            if process.name() in sys.argv[3:]:
                process.kill()

try:
    work = work_list(["detected", "two", "missing"] * 100)
    run_in(Path(sys.argv[1]), job_of(FakeReader(0.02), FakeDetector(0.05)), work, "ray", [follow], 10)
except RaysearchError as exc:
    print(exc)
    sys.exit(2)
"""


@pytest.mark.slow
def test_a_ray_that_was_killed_is_told_and_the_folder_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ENDED, str(tmp_path / "run"), str(Path(__file__).parent), "raylet", "gcs_server"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout.splitlines()[-1] == "Ray has ended, or was killed: what is done is kept; run the same again to go on"
    work = work_list(["detected", "two", "missing"] * 100)
    run_in(tmp_path / "run", job_of(), work, shard_size=10)
    run_in(tmp_path / "whole", job_of(), work, shard_size=10)
    assert tables_of(tmp_path / "run") == tables_of(tmp_path / "whole")
