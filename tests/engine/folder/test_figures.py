"""Figures: drawn beside the candidates, kept beside them, and never at their cost."""

from pathlib import Path

import pytest
from engine_fakes import EVERY_ENDING, FakeIllustrator, job_of, run_in, tables_of, work_list

from raysearch.engine import read_figures, read_outcomes, read_run, read_work, status
from raysearch.engine.folder.files import read_arrow, write_arrow
from raysearch.errors import RunFolderError
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA, WORK_SCHEMA, Figure

WORK = work_list([EVERY_ENDING[i % len(EVERY_ENDING)] for i in range(33)])
DRAWN = job_of(illustrator=FakeIllustrator())


def test_each_candidate_has_its_figures(tmp_path: Path, engine: str) -> None:
    run_in(tmp_path, DRAWN, work_list(["detected", "two", "nothing", "missing", "limit", "two"]), engine, shard_size=2)
    figures = read_figures(tmp_path)
    assert [(obs_id[-1], figure.candidate) for obs_id, figure in figures] == [("0", 0), ("1", 0), ("1", 1), ("5", 0), ("5", 1)]
    assert figures.of("obs-000005", 1) == [Figure(1, "map", b"<svg>obs-000005 1</svg>", "map 1")]
    assert figures.of("obs-000002", 0) == figures.of("obs-000005", 2) == figures.of("obs-000000", -1) == []
    assert len(figures) == 5
    assert figures.table.schema == FIGURE_SCHEMA
    parts = [path.name for path in sorted((tmp_path / "figures").iterdir())]
    assert parts == ["part-000000.arrow", "part-000002.arrow"]  # none of the shard without candidates


def test_figures_do_not_depend_on_the_engine_and_change_nothing_else(tmp_path: Path, engine: str) -> None:
    run_in(tmp_path / "one", DRAWN, WORK, engine)
    run_in(tmp_path / "two", DRAWN, WORK)
    run_in(tmp_path / "none", job_of(), WORK)
    names = [path.name for path in sorted((tmp_path / "one" / "figures").iterdir())]
    assert names
    for name in names:
        assert (tmp_path / "one" / "figures" / name).read_bytes() == (tmp_path / "two" / "figures" / name).read_bytes()
    assert tables_of(tmp_path / "one") == tables_of(tmp_path / "none")
    assert len(read_figures(tmp_path / "none")) == 0
    assert not list((tmp_path / "none" / "figures").iterdir())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "internal error in FakeIllustrator.draw: ValueError: no ink (engine_fakes.py, line "),
        ("no-list", "draw() must return a list of Figure"),
        ("strange", "draw() must return a list of Figure"),
        ("text", "column 'svg' holds '<svg/>' (str), which is no 'bytes'"),
        ("nobody", "figure 'map' is of candidate 7: there are 2, from 0 on"),
        ("twice", "candidate 0 has two figures named 'map'"),
    ],
)
def test_a_figure_that_fails_costs_only_itself(tmp_path: Path, fault: str, reason: str) -> None:
    work = work_list(["two"] * 3)
    run_in(tmp_path / "faulty", job_of(illustrator=FakeIllustrator(fault)), work)
    run_in(tmp_path / "plain", job_of(), work)
    assert tables_of(tmp_path / "faulty") == tables_of(tmp_path / "plain")
    figures = read_figures(tmp_path / "faulty")
    assert [len(figures.of(f"obs-00000{n}", 1)) for n in range(3)] == [1, 0, 1]
    [failed] = figures.of("obs-000001", -1)
    assert (failed.name, failed.svg) == ("failed", b"")
    assert reason in failed.alt


def test_a_shard_without_its_outcomes_draws_anew(tmp_path: Path) -> None:
    run_in(tmp_path / "whole", DRAWN, WORK)
    run_in(tmp_path / "torn", DRAWN, WORK)
    figures, outcomes = tmp_path / "torn" / "figures", tmp_path / "torn" / "outcomes"
    (outcomes / "part-000000.arrow").unlink()
    (figures / "part-000003.arrow").rename(figures / "part-000003.arrow.tmp")
    (outcomes / "part-000003.arrow").unlink()
    assert {obs_id for obs_id, _ in read_figures(tmp_path / "whole")} == {f"obs-{n:06d}" for n in (0, 1, 16, 17, 32)}
    assert {obs_id for obs_id, _ in read_figures(tmp_path / "torn")} == {"obs-000032"}
    run_in(tmp_path / "torn", DRAWN, WORK)
    assert list(read_figures(tmp_path / "torn")) == list(read_figures(tmp_path / "whole"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_figures_of_a_run_that_drew_do_not_outlive_one_that_does_not(tmp_path: Path) -> None:
    work = work_list(["detected"] * 5)
    run_in(tmp_path, DRAWN, work)
    (tmp_path / "outcomes" / "part-000000.arrow").unlink()
    run_in(tmp_path, job_of(), work)
    assert len(read_figures(tmp_path)) == 0


def test_the_time_for_figures_is_counted(tmp_path: Path) -> None:
    totals = run_in(tmp_path, DRAWN, work_list(["detected", "nothing"]))
    drawing, none = read_outcomes(tmp_path)["figures_seconds"].to_pylist()
    assert drawing > none == 0.0
    assert drawing <= read_outcomes(tmp_path)["seconds"][0].as_py()
    assert totals.figures_seconds == status(tmp_path).figures_seconds == drawing
    assert read_run(tmp_path)["totals"]["figures_seconds"] == round(drawing, 3)


def test_a_damaged_part_of_figures_is_named_with_its_cure(tmp_path: Path) -> None:
    run_in(tmp_path, DRAWN, work_list(["detected"]))
    part = tmp_path / "figures" / "part-000000.arrow"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunFolderError, match=r"part-000000.arrow is damaged .*; run the search again"):
        read_figures(tmp_path)


def test_ranges_are_told_of_what_was_detected(tmp_path: Path, engine: str) -> None:
    run_in(tmp_path, job_of(), work_list(["detected", "nothing", "missing", "detected"]), engine)
    told = read_outcomes(tmp_path)["ranges"].to_pylist()
    first = {"start": 0, "end": 100}
    assert told == [[first, {"start": 200, "end": 200}], [], [], [first, {"start": 200, "end": 203}]]


def test_folders_of_earlier_versions_are_read_with_nothing_in_the_newer_columns(tmp_path: Path) -> None:
    work = work_list(["detected", "limit"]).append_column("proposal", [["1", "2"]])
    run_in(tmp_path, job_of(), work)
    (part,) = (tmp_path / "outcomes").iterdir()
    write_arrow(part, read_arrow(part).drop_columns(["ranges", "figures_seconds", "retries", "detect_seconds"]))
    write_arrow(tmp_path / "observations.arrow", read_arrow(tmp_path / "observations.arrow").drop_columns(["partner"]))
    (tmp_path / "figures").rmdir()
    assert read_outcomes(tmp_path).schema == OUTCOME_SCHEMA
    assert read_outcomes(tmp_path)["ranges"].to_pylist() == [[], []]
    assert status(tmp_path).figures_seconds == status(tmp_path).detect_seconds == 0.0
    assert status(tmp_path).retries == {}
    assert read_work(tmp_path).column_names == [*WORK_SCHEMA.names, "proposal"]
    assert read_work(tmp_path)["partner"].to_pylist() == [[], []]
    assert len(read_figures(tmp_path)) == 0
    run_in(tmp_path, job_of(), work)  # the same work list, and finished
