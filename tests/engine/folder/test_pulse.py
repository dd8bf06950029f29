"""What a run tells of itself, with a clock of our own."""

import json
from pathlib import Path

import pytest
from engine_fakes import Together, job_of, run_in, work_list

from raysearch.engine import Phase, RunStarted, ShardDone, Tick, Totals
from raysearch.engine.events import AtWork, Event
from raysearch.engine.folder.pulse import PROGRESS, ProgressFile, read_progress
from raysearch.errors import RunFolderError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def shard(number: int) -> ShardDone:
    return ShardDone(number, {"detected": 1, "nothing": 8, "skipped": 0, "failed": 1}, 3, 5_000_000, 40)


def told(folder: Path) -> dict:
    found = read_progress(folder)
    assert found is not None
    return found


def test_it_is_written_at_once_and_then_every_few_seconds(tmp_path: Path) -> None:
    clock = Clock()
    with ProgressFile(tmp_path, clock) as progress:
        progress(RunStarted(Totals(100), 10))
        assert told(tmp_path)["shards_left"] == 10
        clock.now += 1
        progress(shard(0))
        assert told(tmp_path)["done"] == 0  # not yet
        clock.now += 3
        progress(Tick())
        assert (told(tmp_path)["done"], told(tmp_path)["shards_left"], told(tmp_path)["state"]) == (10, 9, "running")
        assert told(tmp_path)["seconds"] == 4
    assert told(tmp_path)["state"] == "finished"


def test_the_detectors_time_is_added_up_over_all_sessions(tmp_path: Path) -> None:
    for _ in range(2):
        clock = Clock()
        with ProgressFile(tmp_path, clock) as progress:
            progress(RunStarted(Totals(100), 10))
            clock.now += 5  # nobody is there yet
            progress(AtWork(detectors=2, loaders=1, nodes=1, shards=4))
            clock.now += 10
            progress(AtWork(detectors=3, loaders=1, nodes=1, shards=4))
            clock.now += 10
            progress(Tick())
    assert told(tmp_path)["detector_seconds"] == 2 * (20 + 30)
    assert told(tmp_path)["all_seconds"] == 2 * 25
    assert told(tmp_path)["seconds"] == 25
    assert told(tmp_path)["detectors"] == 0  # they have gone


def test_it_tells_how_the_run_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ProgressFile(tmp_path):
        raise KeyboardInterrupt
    assert told(tmp_path)["state"] == "stopped"
    with pytest.raises(RunFolderError), ProgressFile(tmp_path):
        raise RunFolderError("the disk is full of https://me:secret@host/x?token=abc")
    assert told(tmp_path)["state"] == "failed"
    assert "the disk is full" in told(tmp_path)["reason"]
    assert "secret" not in told(tmp_path)["reason"]
    assert "abc" not in told(tmp_path)["reason"]


def test_what_the_engine_is_busy_with_stands_there_until_a_shard_is_done(tmp_path: Path) -> None:
    clock = Clock()
    progress = ProgressFile(tmp_path, clock)
    for event, doing in ((Phase("starting Ray"), "starting Ray"), (shard(0), "")):
        clock.now += 10
        progress(event)
        assert told(tmp_path)["doing"] == doing


def test_a_folder_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    with ProgressFile(tmp_path / "gone") as progress:
        progress(RunStarted(Totals(1), 1))
    assert read_progress(tmp_path / "gone") is None


@pytest.mark.parametrize("text", ["", "[]", '{"state": "running"}', '{"state": 1', "\0", "null", "[" * 5000])
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / PROGRESS).write_text(text)
    assert read_progress(tmp_path) is None
    with ProgressFile(tmp_path):
        pass
    assert told(tmp_path)["state"] == "finished"


@pytest.mark.parametrize(
    ("key", "value"), [("detectors", "two"), ("seconds", float("nan")), ("all_seconds", 10**400), ("done", True)]
)
def test_numbers_of_the_wrong_kind_are_damage(tmp_path: Path, key: str, value: object) -> None:
    with ProgressFile(tmp_path):
        pass
    sound = told(tmp_path)
    (tmp_path / PROGRESS).write_text(json.dumps({**sound, key: value}))
    assert read_progress(tmp_path) is None


def test_a_signal_while_it_is_written_does_not_write_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, writing = Clock(), []
    progress = ProgressFile(tmp_path, clock)

    def write(path: Path, value: dict, **_: object) -> None:
        writing.append(path)
        clock.now += 10
        progress(Phase("stopping"))  # as a handler of Ctrl-C would, in the same thread

    monkeypatch.setattr("raysearch.engine.folder.pulse.write_json", write)
    progress(Tick())
    assert len(writing) == 1


def test_a_run_tells_who_is_at_work_and_how_it_ends(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.engine.workers.driver._SOON_S", 0.0)  # at once, as these shards are quick
    detectors = 1 if engine == "inline" else 2
    job = job_of(detector=Together(marks=str(tmp_path_factory.mktemp("marks")), wanted=detectors), detect_limit_s=60.0)
    seen: list[Event] = []
    run_in(tmp_path, job, work_list(["detected", "missing"] * 20), engine, [seen.append])
    most = max((event for event in seen if isinstance(event, AtWork)), key=lambda event: (event.detectors, event.shards))
    assert (most.detectors, most.loaders, most.nodes) == (detectors, 1, 1)
    assert most.shards >= detectors
    end = told(tmp_path)
    assert (end["state"], end["done"], end["resumed"], end["shards_left"]) == ("finished", 40, 0, 0)
    assert end["detector_seconds"] > 0
    run_in(tmp_path, job_of(), work_list(["detected", "missing"] * 20), engine)
    assert (told(tmp_path)["done"], told(tmp_path)["resumed"]) == (40, 40)
