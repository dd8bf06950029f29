"""What is sent to Ray's workers."""

import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from engine_fakes import FakeReader

from raysearch.engine import EngineOptions, Job
from raysearch.engine.workers.cluster import pickled, ray_running
from raysearch.errors import ConfigError
from raysearch.model import WORK_SCHEMA, Observation, observations_to_arrow

MODULE = """
from .helper import LIMIT
class Detector:
    window = None
    columns = {}
    def detect(self, pixels):
        return [LIMIT]
"""


def test_code_of_the_users_own_travels_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("LIMIT = 3")
    (package / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    from their_package.mine import Detector  # type: ignore[import-not-found]

    sent = pickled(Job(FakeReader(), Detector(), "h", lines=False))
    elsewhere = "import sys, pickle; print(pickle.loads(sys.stdin.buffer.read()).detector.detect(None))"
    ended = subprocess.run([sys.executable, "-c", elsewhere], input=sent, capture_output=True, check=True)
    assert ended.stdout == b"[3]\n"


def test_installed_code_is_sent_by_name() -> None:
    from raysearch.engine.progress import ProgressLine

    job = Job(FakeReader(), ProgressLine, "h", lines=False)  # type: ignore[arg-type]
    assert b"raysearch.engine.progress" in pickled(job)
    assert pickle.loads(pickled(job)).detector is ProgressLine


def test_a_cluster_that_is_not_there_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's Ray may run in this process, and would be taken
    options = EngineOptions(address="127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:1.*ray start --head"), ray_running(options):
        pass


def test_a_ray_that_does_not_start_in_time_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: object, **options: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", slow)
    with (
        pytest.raises(ConfigError, match=r'timed out during startup.*RAY_TMPDIR.*, or set run\.engine = "inline"'),
        ray_running(EngineOptions()),
    ):
        pass


@pytest.mark.slow
def test_ray_imported_before_raysearch_still_lets_nobody_in_without_a_token() -> None:
    code = """
import ray, os
from raysearch.engine import EngineOptions
from raysearch.engine.workers.cluster import ray_running
with ray_running(EngineOptions(detectors=1)):
    print(ray.get(ray.remote(lambda: os.environ["RAY_AUTH_MODE"]).remote()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "token\n"
    assert done.stderr == ""


@pytest.mark.slow
def test_shards_are_cut_out_of_a_dataset_which_starts_no_process(one_ray: None) -> None:
    from ray.util import list_named_actors

    from raysearch.engine.workers.driver import dataset_shards

    work = observations_to_arrow([Observation(f"o{number:02d}", (f"s3://b/{number}.fits",)) for number in range(20)])
    shards = dict(dataset_shards(pa.concat_tables([work.slice(0, 7), work.slice(7)]), 8))
    assert [rows.num_rows for rows in shards.values()] == [8, 8, 4]
    names = ["obs_id", "uris"]
    assert pa.concat_tables([shards[number] for number in (0, 1, 2)]).select(names) == work.select(names)
    assert all(rows.schema == WORK_SCHEMA for rows in shards.values())
    assert [actor["name"] for actor in list_named_actors(all_namespaces=True) if "raysearch" not in actor["name"]] == []
