"""What is read and not yet detected in stays within bounds, on Ray too, and whatever becomes of the detectors."""

from pathlib import Path

import pytest
from engine_fakes import NBYTES, Asker, FakeDetector, Noting, job_of, reasons, run_in, statuses, tables_of, work_list

from raysearch.engine.memory import Shares


def lead(file: Path) -> int:
    """Return by how many observations the reading was ahead at most."""
    ahead = most = 0
    for word in file.read_text():
        ahead += 1 if word == "r" else -1
        most = max(most, ahead)
    assert ahead == 0
    return most


SMALL = Shares(declared=10**9, held_bytes=8 * NBYTES, store_bytes=5 * NBYTES)
"""Room for four reads, eight that wait to be yielded, and four in the object store."""


def test_slow_detectors_slow_the_reads(tmp_path: Path, engine: str) -> None:
    file = str(tmp_path / "notes")
    job = job_of(Asker(file=file), Noting(0.01, file=file), shares=SMALL)
    run_in(tmp_path / "run", job, work_list(["detected"] * 60), engine, shard_size=30)
    assert statuses(tmp_path / "run") == ["detected"] * 60
    # At most 8 in the loader and 8 (a batch of all of them goes alone) in the object store; 30 and more without a bound.
    assert lead(Path(file)) <= 16


def test_one_that_is_too_large_costs_no_other(tmp_path: Path, engine: str) -> None:
    reader = Asker(nbytes={"obs-000002": 3_000_000_000, "obs-000004": 8 * NBYTES})
    work = work_list(["detected"] * 9)
    run_in(tmp_path / "run", job_of(reader, shares=SMALL), work, engine)
    assert statuses(tmp_path / "run") == ["detected"] * 2 + ["failed"] + ["detected"] * 6
    assert reasons(tmp_path / "run")[2].startswith("needs 3 GB of memory, more than the 0.00211 MB that run.memory")
    run_in(tmp_path / "again", job_of(reader, shares=SMALL), work, "inline", shard_size=3)
    assert tables_of(tmp_path / "run") == tables_of(tmp_path / "again")


@pytest.mark.slow
def test_detectors_that_die_leave_no_room_taken(tmp_path: Path, one_ray: None) -> None:
    words = ["detected"] * 100
    for death in range(4):
        words[10 + 22 * death] = f"kill-detector-once {tmp_path / f'marker{death}'}"
    job = job_of(Asker(0.002), FakeDetector(0.01), concurrency=4, shares=SMALL)
    totals = run_in(tmp_path / "run", job, work_list(words), "ray", shard_size=20)
    assert totals.by_status["detected"] == 100
