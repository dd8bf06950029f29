"""How a run stands, from its folder alone."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from engine_fakes import FakeDetector, job_of, ledger_of, run_in, work_list
from hypothesis import given
from hypothesis import strategies as st

from raysearch.engine import status
from raysearch.engine.folder.files import place, read_arrow, write_arrow
from raysearch.engine.folder.pulse import PROGRESS
from raysearch.engine.folder.state import kind_of, read_state
from raysearch.errors import RunFolderError

WORDS = ["detected", "two", "nothing", "missing", "again", "skip no line"] * 5


def test_a_finished_run(tmp_path: Path, engine: str) -> None:
    totals = run_in(tmp_path, job_of(detector=FakeDetector(seconds=0.01)), work_list(WORDS), engine)
    state = read_state(tmp_path)
    assert state.how == "finished"
    assert state.totals == status(tmp_path)
    assert (state.totals.observations, state.totals.by_status) == (30, totals.by_status)
    assert state.totals.retries == {"slow.example": 10}
    assert (state.shards, state.shards_left) == (6, 0)
    assert state.seconds is not None
    assert state.rate == pytest.approx(30 / state.progress["seconds"])
    assert state.busy is not None
    assert 0 < state.busy <= 1
    assert state.last_commit is not None
    assert state.told is not None
    assert state.last_commit <= state.told


def test_a_run_that_nobody_is_at_any_more_is_broken_off_and_one_with_its_lock_is_at_work(tmp_path: Path) -> None:
    job, work = job_of(), work_list(WORDS)
    with ledger_of(tmp_path, job, work):
        assert read_state(tmp_path).how == "at work"
        assert read_state(tmp_path).how == "at work"  # looking takes no lock
    assert read_state(tmp_path).how == "broken off"
    run_in(tmp_path, job, work)
    assert read_state(tmp_path).how == "finished"
    with ledger_of(tmp_path, job, work):
        assert read_state(tmp_path).how == "at work"


_DIES = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from engine_fakes import FakeReader, job_of, run_in, work_list
from raysearch.engine import ShardDone

def die(event):
    if isinstance(event, ShardDone) and event.shard == 2:
        os.kill(os.getpid(), signal.SIGKILL)

run_in(Path(sys.argv[1]), job_of(FakeReader(0.02), concurrency=4), work_list(["detected", "missing"] * 200), observers=[die])
"""


def test_a_dead_run(tmp_path: Path) -> None:
    here = str(Path(__file__).parents[1])
    ended = subprocess.run([sys.executable, "-c", _DIES, str(tmp_path / "run"), here], check=False, env=os.environ)
    assert ended.returncode == -9
    state = read_state(tmp_path / "run")
    assert (state.how, state.progress["state"]) == ("broken off", "running")
    assert 15 <= state.totals.done < 400
    assert (state.totals.left, state.shards_left, state.shards) == (400 - state.totals.done, state.totals.left // 5, 80)
    assert state.last_commit is not None


def test_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    run_in(tmp_path, job_of(), work_list(WORDS))
    (tmp_path / PROGRESS).unlink()
    for part in (tmp_path / "outcomes").iterdir():
        write_arrow(part, read_arrow(part).drop_columns(["retries", "detect_seconds"]))
    state = read_state(tmp_path)
    assert state.how == "finished"
    assert (state.totals.retries, state.totals.detect_seconds, state.busy) == ({}, 0.0, None)
    assert state.seconds == state.run["totals"]["seconds"]
    assert state.rate == pytest.approx(30 / state.seconds)
    assert state.last_commit is not None  # from the part's own time
    assert state.told is None


def test_the_reasons_are_summed_up_by_kind(tmp_path: Path) -> None:
    run_in(tmp_path, job_of(), work_list(["missing", "skip a", "missing", "raise", "skip a", "nothing", "missing"]))
    told = [(why.status, why.count, why.obs_id, why.alike) for why in read_state(tmp_path).reasons]
    assert told == [
        ("failed", 3, "obs-000000", False), ("failed", 1, "obs-000003", True), ("skipped", 2, "obs-000001", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s3://a/b/1.fits: 503; gave up after 3 attempts in 1.5 s", "s3://a/c/2.fits: 503; gave up after 6 attempts in 20.1 s"),
        ("column 'a' holds 3", "column 'b' holds 4.5"),
        ("https://h/x?y=1 is not there (404)", "https://h/z is not there (404)"),
    ],
)
def test_reasons_of_one_kind(one: str, other: str) -> None:
    assert kind_of(one) == kind_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/x: 503", "https://h/x: 404"),
        ("https://h/x: 503", "https://g/x: 503"),
        ("no line", "no plane"),
    ],
)
def test_reasons_of_two_kinds(one: str, other: str) -> None:
    assert kind_of(one) != kind_of(other)


@given(st.text(max_size=60), st.text(max_size=10))
def test_any_reason_has_a_kind(reason: str, obs_id: str) -> None:
    assert isinstance(kind_of(reason, obs_id), str)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        read_state(tmp_path)


def test_a_run_of_nothing(tmp_path: Path) -> None:
    run_in(tmp_path, job_of(), pa.table(work_list(["detected"]).slice(0, 0)))
    state = read_state(tmp_path)
    assert (state.how, state.shards, state.shards_left, state.rate, state.busy) == ("finished", 0, 0, None, None)


def test_a_run_in_s3(s3_folder: str) -> None:
    folder, job, work = place(s3_folder), job_of(), work_list(WORDS)
    with ledger_of(folder, job, work):
        assert read_state(place(s3_folder)).how == "at work"
    assert read_state(folder).how == "broken off"
    run_in(folder, job, work)
    state = read_state(place(s3_folder))
    assert (state.how, state.totals.done, state.shards_left, state.progress["state"]) == ("finished", 30, 0, "finished")
    assert state.last_commit is not None
