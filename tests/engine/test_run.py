"""Both engines keep the same promises: one outcome for every observation, the same tables, nothing lost."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from engine_fakes import (
    EVERY_ENDING,
    FakeDetector,
    FakeIllustrator,
    FakeReader,
    job_of,
    ledger_of,
    reasons,
    run_in,
    statuses,
    tables_of,
    work_list,
)

from raysearch.engine import (
    EngineOptions,
    Event,
    Observer,
    Phase,
    RunFinished,
    RunStarted,
    ShardDone,
    Tick,
    Totals,
    read_outcomes,
    read_run,
    run,
    status,
)
from raysearch.engine.folder.files import read_arrow, write_arrow
from raysearch.engine.folder.parts import OUTCOMES, standing
from raysearch.engine.signals import Stopped
from raysearch.engine.workers import cluster
from raysearch.errors import ConfigError
from raysearch.model import STATUSES


def test_every_observation_ends_once_and_says_why(tmp_path: Path, engine: str) -> None:
    totals = run_in(tmp_path, job_of(), work_list(EVERY_ENDING), engine)
    endings = dict(zip(EVERY_ENDING, zip(statuses(tmp_path), reasons(tmp_path), strict=True), strict=True))
    assert endings["detected"] == endings["two"] == ("detected", "")
    assert endings["nothing"] == ("nothing", "")
    assert endings["skip no line within its range"] == ("skipped", "no line within its range")
    assert endings["empty"] == ("skipped", "no line within the cube")
    assert endings["missing"] == ("failed", "s3://bucket/4.fits is not there (404)")
    assert endings["cancel"] == ("failed", "the read cancelled itself")
    for word, part in {
        "break": "internal error in FakeReader.read: TypeError: the reader is broken (engine_fakes.py, line",
        "raise": "internal error in FakeDetector.detect: ValueError: the detector is broken",
        "missing-column": "column 'n' is missing",
        "extra-column": "column 'flux' is not declared",
        "wrong-type": "column 'n' holds 1.5 (float), which is no 'i8'",
        "endless-limit": "record 1: the limit's flux is infinite",
        "no-list": "detect() returned NoneType",
        "write": "read-only",
    }.items():
        assert endings[word][0] == "failed"
        assert part in endings[word][1]
    assert totals.by_status == {"detected": 2, "nothing": 2, "skipped": 2, "failed": 10}
    assert totals.candidates == 3
    limits = dict(zip(EVERY_ENDING, read_outcomes(tmp_path)["limits"].to_pylist(), strict=True))
    assert {word for word in EVERY_ENDING if limits[word]} == {"limit"}
    [limit] = limits["limit"]
    assert (limit["line"], limit["flux"], limit["note"]) == ("[Fe II] 5.340", pytest.approx(6e-19), "made up")


def test_the_tables_do_not_depend_on_the_engine(tmp_path: Path, engine: str) -> None:
    work = work_list([EVERY_ENDING[i % len(EVERY_ENDING)] for i in range(67)])
    run_in(tmp_path / "one", job_of(FakeReader(0.002)), work, engine)
    run_in(tmp_path / "two", job_of(), work, "inline", shard_size=100)
    assert tables_of(tmp_path / "one") == tables_of(tmp_path / "two")
    assert read_outcomes(tmp_path / "one")["obs_id"].to_pylist() == work["obs_id"].to_pylist()


@pytest.mark.slow
@pytest.mark.usefixtures("one_ray")
@pytest.mark.parametrize("followed", [False, True])
def test_a_ray_that_was_started_ends_with_the_run_or_with_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: bool
) -> None:
    told = []

    @contextmanager
    def running(options: EngineOptions) -> Iterator[str]:
        told.append("began")
        yield ""
        told.append("ended")

    monkeypatch.setattr(cluster, "ray_running", running)
    job, work = job_of(), work_list(["detected", "nothing"])
    with ExitStack() as after, ledger_of(tmp_path, job, work, 5) as ledger:
        run(job, work, ledger, EngineOptions(detectors=2), after=after if followed else None)
        assert told == (["began"] if followed else ["began", "ended"])
    assert told == ["began", "ended"]


def test_reading_is_charged_to_every_observation_also_to_those_that_failed(tmp_path: Path, engine: str) -> None:
    totals = run_in(tmp_path, job_of(), work_list(["missing", "skip because", "detected"]), engine)
    outcomes = read_outcomes(tmp_path)
    assert outcomes["requests"].to_pylist() == [2, 0, 2]
    assert outcomes["bytes_read"].to_pylist() == [100, 0, 102]
    assert (totals.requests, totals.bytes_read) == (4, 202)


def test_a_read_that_never_ends_has_failed(tmp_path: Path, engine: str) -> None:
    run_in(tmp_path, job_of(time_limit_s=0.2), work_list(["detected", "hang", "detected"]), engine)
    assert statuses(tmp_path) == ["detected", "failed", "detected"]
    assert reasons(tmp_path)[1] == "reading took longer than 0.2 s (run.time_limit)"


def test_events_add_up(tmp_path: Path, engine: str) -> None:
    heard: list[Event] = []
    totals = run_in(tmp_path, job_of(), work_list(["detected", "nothing", "missing"] * 6), engine, [heard.append])
    shards = [event for event in heard if isinstance(event, ShardDone)]
    assert isinstance(heard[0], RunStarted)
    assert heard[-1] == RunFinished(totals)
    assert sorted(shard.shard for shard in shards) == [0, 1, 2, 3]
    assert {name: sum(shard.by_status[name] for shard in shards) for name in STATUSES} == totals.by_status


def test_a_second_run_does_only_what_is_left(tmp_path: Path, engine: str) -> None:
    work = work_list(["detected", "two", "nothing"] * 6)
    run_in(tmp_path / "whole", job_of(), work)
    run_in(tmp_path / "torn", job_of(), work)
    outcomes = tmp_path / "torn" / "outcomes"
    (outcomes / "part-000001.arrow").unlink()  # killed between candidates and outcomes
    (outcomes / "part-000003.arrow").rename(outcomes / "part-000003.arrow.tmp")
    heard: list[Event] = []
    totals = run_in(tmp_path / "torn", job_of(), work, engine, [heard.append])
    assert sorted(event.shard for event in heard if isinstance(event, ShardDone)) == [1, 3]
    assert totals.resumed == 10
    assert tables_of(tmp_path / "torn") == tables_of(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_finished_run_is_not_begun_again(tmp_path: Path) -> None:
    work = work_list(["detected"] * 7)
    run_in(tmp_path, job_of(), work)
    totals = run_in(tmp_path, job_of(FakeReader(seconds=3600)), work, "ray")
    assert totals.resumed == totals.done == 7
    assert read_run(tmp_path)["totals"]["resumed"] == 7


def test_inline_holds_no_more_pixels_than_reads_in_flight(tmp_path: Path) -> None:
    reader = FakeReader(0.001)
    run_in(tmp_path, job_of(reader, concurrency=4), work_list(["detected"] * 60))
    assert 1 <= reader.alive.most <= 4
    assert reader.alive.now == 0


def test_inline_works_where_an_event_loop_runs(tmp_path: Path) -> None:
    async def in_a_notebook() -> None:
        run_in(tmp_path, job_of(), work_list(["detected"] * 3))

    asyncio.run(in_a_notebook())
    assert statuses(tmp_path) == ["detected"] * 3


@pytest.mark.parametrize("times", [1, 2])
def test_the_stop_button_of_a_notebook_and_the_same_cell_again(tmp_path: Path, times: int) -> None:
    """It sends SIGINT to a kernel whose main thread has an event loop."""
    work, usual = work_list(["detected", "two", "missing"] * 40), signal.getsignal(signal.SIGINT)

    def press(event: Event) -> None:
        if isinstance(event, ShardDone) and event.shard == 2:
            os.kill(os.getpid(), signal.SIGINT)

    def stop(event: Event) -> None:
        if isinstance(event, Phase) and times > 1:
            os.kill(os.getpid(), signal.SIGINT)

    async def cell(*observers: Observer) -> Totals:
        return run_in(tmp_path / "run", job_of(FakeReader(0.01)), work, "inline", observers, shard_size=10)

    with pytest.raises(Stopped):
        asyncio.run(cell(press, stop))
    os.chdir(tmp_path)  # nothing that is left of the first time takes this one elsewhere
    assert 20 <= status(tmp_path / "run").done < 120
    assert asyncio.run(cell()).done == 120
    run_in(tmp_path / "whole", job_of(), work, shard_size=10)
    assert tables_of(tmp_path / "run") == tables_of(tmp_path / "whole")
    assert Path.cwd() == tmp_path
    assert signal.getsignal(signal.SIGINT) == usual


def test_ctrl_c_finishes_what_is_in_hand_and_can_be_continued(tmp_path: Path, engine: str) -> None:
    work = work_list(["detected"] * 300)
    job = job_of(FakeReader(0.01), concurrency=4)

    def press(event: Event) -> None:
        if isinstance(event, ShardDone) and event.shard == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, job, work, engine, [press])
    assert 10 <= status(tmp_path).done < 300
    assert read_run(tmp_path)["finished"] is None
    assert run_in(tmp_path, job, work, "inline").done == 300


def test_the_ledger_is_free_after_an_error(tmp_path: Path) -> None:
    work = work_list(["detected"] * 3)
    job = job_of()

    def fail(event: Event) -> None:
        raise OSError("the observer is broken")

    with pytest.raises(OSError, match="observer"):
        run(job, work, ledger_of(tmp_path, job, work), EngineOptions("inline"), [fail])
    assert run_in(tmp_path, job, work).done == 3


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no engine 'dask': choose ray or inline"):
        run_in(tmp_path, job_of(), work_list(["detected"]), "dask")


@pytest.mark.slow
def test_what_cannot_be_pickled_is_named_before_anything_runs(tmp_path: Path, one_ray: None) -> None:
    with (tmp_path / "open").open("w") as file, pytest.raises(ConfigError, match="cannot be sent to a Ray worker"):
        run_in(tmp_path / "run", job_of(FakeReader(file)), work_list(["detected"]), "ray")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["kill-reader", "kill-detector"])
def test_an_observation_that_kills_its_worker_fails_alone(tmp_path: Path, one_ray: None, word: str) -> None:
    words = ["detected"] * 12
    words[6] = word
    run_in(tmp_path, job_of(), work_list(words), "ray", shard_size=4)
    assert [i for i, ended in enumerate(statuses(tmp_path)) if ended != "detected"] == [6]
    assert reasons(tmp_path)[6].startswith("the worker died 2 times on this observation alone")


@pytest.mark.slow
@pytest.mark.parametrize("word", ["kill-reader-once", "kill-detector-once"])
def test_a_lost_worker_costs_nothing(tmp_path: Path, one_ray: None, word: str) -> None:
    words = ["detected"] * 300
    words[47] = f"{word} {tmp_path / 'marker'}"
    totals = run_in(tmp_path / "run", job_of(FakeReader(0.005), FakeDetector(0.005), concurrency=8), work_list(words), "ray")
    assert (tmp_path / "marker").exists()
    assert totals.by_status["detected"] == 300


@pytest.mark.slow
def test_detectors_that_die_leave_no_reads_taken(tmp_path: Path, one_ray: None) -> None:
    words = ["detected"] * 200
    for death in range(5):
        words[20 + 35 * death] = f"kill-detector-once {tmp_path / f'marker{death}'}"
    job = job_of(FakeReader(0.002), FakeDetector(0.02), concurrency=4)
    totals = run_in(tmp_path / "run", job, work_list(words), "ray", shard_size=20)
    assert totals.by_status["detected"] == 200


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine_fakes import FakeDetector, FakeReader, job_of, run_in, work_list
print("running", flush=True)
work = work_list(["detected", "two", "missing"] * 400)
run_in(Path(sys.argv[1]), job_of(FakeReader(0.02), FakeDetector(0.004)), work, sys.argv[3], shard_size=20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inline", "ray"])
def test_a_killed_driver_is_continued_to_the_same_tables(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "killed"), str(Path(__file__).parent), name]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 300
        while len(list(tmp_path.glob("killed/outcomes/part-*.arrow"))) < 5:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.kill()
    done = status(tmp_path / "killed").done
    assert 100 <= done < 1200
    assert read_run(tmp_path / "killed")["finished"] is None
    work = work_list(["detected", "two", "missing"] * 400)
    totals = run_in(tmp_path / "killed", job_of(), work)
    run_in(tmp_path / "whole", job_of(), work)
    assert totals.resumed == done
    assert tables_of(tmp_path / "killed") == tables_of(tmp_path / "whole")


def test_time_is_told_while_a_shard_takes_long(tmp_path: Path) -> None:
    heard: list[Event] = []
    run_in(tmp_path, job_of(FakeReader(4.0)), work_list(["detected"]), "inline", [heard.append])
    assert any(isinstance(event, Tick) for event in heard[:-1])


def test_a_part_with_too_few_rows_is_told_and_done_again(tmp_path: Path) -> None:
    work = work_list(["detected"] * 10)
    run_in(tmp_path, job_of(), work, shard_size=4)
    [part] = [part for part in standing(tmp_path, OUTCOMES) if 1 in part.shards]
    write_arrow(part.path, read_arrow(part.path).slice(0, 3))
    heard: list[Event] = []
    assert run_in(tmp_path, job_of(), work, observers=[heard.append], shard_size=4).done == 10
    assert statuses(tmp_path) == ["detected"] * 10
    told = [event.text for event in heard if isinstance(event, Phase) and event.lasting]
    assert told == [f"outcomes/{part.path.name} holds other observations than it should: its observations are searched again"]


def test_a_folder_of_parts_that_was_removed_is_made_again(tmp_path: Path) -> None:
    work = work_list(["detected"] * 10)
    run_in(tmp_path, job_of(), work)
    for path in (tmp_path / "outcomes").iterdir():
        path.unlink()
    (tmp_path / "outcomes").rmdir()
    assert run_in(tmp_path, job_of(), work).done == 10


def test_outcomes_tell_what_was_sent_again_and_how_long_the_detector_worked(tmp_path: Path, engine: str) -> None:
    job = job_of(detector=FakeDetector(seconds=0.01), illustrator=FakeIllustrator())
    totals = run_in(tmp_path, job, work_list(["again", "nothing", "missing"]), engine)
    again, nothing, missing = read_outcomes(tmp_path).to_pylist()
    assert again["retries"] == [{"host": "slow.example", "count": 2}]
    assert nothing["retries"] == missing["retries"] == []
    assert 0.01 <= nothing["detect_seconds"] <= nothing["seconds"]
    assert again["detect_seconds"] + again["figures_seconds"] <= again["seconds"]
    assert missing["detect_seconds"] == 0.0
    assert totals.retries == {"slow.example": 2}
    assert totals.detect_seconds == pytest.approx(again["detect_seconds"] + nothing["detect_seconds"])
