"""The run folder: whole files only, one search, one run at a time."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from engine_fakes import FakeDetector, job_of, ledger_of, run_in, statuses, work_list

from raysearch.engine import Ledger, read_candidates, read_outcomes, read_run, read_work, status
from raysearch.engine.folder import files as files_module
from raysearch.engine.folder.files import read_arrow, write_arrow
from raysearch.engine.records import candidate_table, figure_table, outcome_table
from raysearch.errors import RunFolderError, TableError
from raysearch.model import OUTCOME_SCHEMA, Figure, Outcome

JOB = job_of()


def shard_tables(*names: str) -> tuple[pa.Table, pa.Table, pa.Table]:
    rows = [(name, "t", "u", "cafe", "l", 1.0, 1.0, ["t"], 2.5, 7, "", True) for name in names]
    outcomes = outcome_table([Outcome(name, "detected", candidates=1) for name in names])
    return (
        candidate_table(rows, JOB.schema),
        outcomes,
        figure_table([(name, Figure(0, "map", b"<svg/>", "a map")) for name in names]),
    )


def test_a_new_folder_tells_everything(tmp_path: Path) -> None:
    work = work_list(["detected"] * 12).append_column("proposal", pa.array(["1234"] * 12))
    with ledger_of(tmp_path / "deep" / "run", JOB, work, shard_size=5) as ledger:
        assert ledger.shard_size == 5
        assert ledger.done() == set()
    folder = tmp_path / "deep" / "run"
    assert (folder / "search.toml").read_text() == 'name = "test"\n'
    assert repr(read_work(folder).to_pylist()) == repr(work.to_pylist())  # NaN and all
    told = read_run(folder)
    assert told["config_hash"] == "cafe0123"
    assert told["observations"] == 12
    assert told["queries"] == [{"service": "none", "rows": 12}]
    assert set(told["versions"]) >= {"raysearch", "ray", "pyarrow"}
    assert told["finished"] is None
    assert told["totals"] is None


def test_an_empty_run_has_tables_with_columns(tmp_path: Path) -> None:
    ledger_of(tmp_path, JOB, work_list(["detected"])).close()
    assert read_candidates(tmp_path) == JOB.schema.empty_table()
    assert read_outcomes(tmp_path).num_rows == 0
    assert status(tmp_path).left == 1


def test_totals_stand_in_run_json(tmp_path: Path) -> None:
    totals = run_in(tmp_path, JOB, work_list(["detected", "missing", "nothing"]))
    told = read_run(tmp_path)
    assert told["finished"] >= told["started"]
    assert told["totals"] == {
        "observations": 3, "detected": 1, "nothing": 1, "skipped": 0, "failed": 1,
        "candidates": 1, "bytes_read": 303, "requests": 6, "retries": {}, "figures_seconds": 0.0,
        "detect_seconds": round(totals.detect_seconds, 3), "seconds": round(totals.seconds, 3), "resumed": 0,
    }  # fmt: skip


def test_a_shard_is_done_when_its_outcomes_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def spy(path: Path, table: pa.Table) -> None:
        written.append(str(path.relative_to(tmp_path)))
        write_arrow(path, table)

    monkeypatch.setattr("raysearch.engine.folder.ledger.write_arrow", spy)
    with ledger_of(tmp_path, JOB, work_list(["detected"] * 10)) as ledger:
        written.clear()
        ledger.commit(1, *shard_tables("a", "b"))
        assert written == ["candidates/part-000001.arrow", "figures/part-000001.arrow", "outcomes/part-000001.arrow"]
        assert ledger.done() == {1}


def test_candidates_without_their_outcomes_do_not_count(tmp_path: Path) -> None:
    with ledger_of(tmp_path, JOB, work_list(["detected"] * 10)) as ledger:
        ledger.commit(0, *shard_tables("a"))
        ledger.commit(1, *shard_tables("b"))
    (tmp_path / "outcomes" / "part-000001.arrow").unlink()
    assert read_candidates(tmp_path)["obs_id"].to_pylist() == ["a"]


def test_parts_are_read_in_the_order_of_the_shards(tmp_path: Path) -> None:
    with ledger_of(tmp_path, JOB, work_list(["detected"] * 10)) as ledger:
        for shard in (1_000_000, 2, 10):
            ledger.commit(shard, *shard_tables(f"o{shard:07d}"))
    assert read_outcomes(tmp_path)["obs_id"].to_pylist() == ["o0000002", "o0000010", "o1000000"]


def test_a_crash_while_writing_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ledger_of(tmp_path, JOB, work_list(["detected"] * 10))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, "fsync", full)
        with pytest.raises(RunFolderError, match="No space left on device; what was done before is safe"):
            ledger.commit(0, *shard_tables("a"))
    assert ledger.done() == set()
    ledger.close()
    assert not list(tmp_path.rglob("*.tmp"))  # the room that it took may be all there was
    (tmp_path / "outcomes" / "part-000000.arrow.tmp").write_bytes(b"half")
    ledger_of(tmp_path, JOB, work_list(["detected"] * 10)).close()
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_folder_keeps_its_shard_size(tmp_path: Path) -> None:
    work = work_list(["detected"] * 10)
    ledger_of(tmp_path, JOB, work, shard_size=3).close()
    with ledger_of(tmp_path, JOB, work, shard_size=7) as ledger:
        assert ledger.shard_size == 3


def test_another_search_is_refused(tmp_path: Path) -> None:
    work = work_list(["detected"])
    ledger_of(tmp_path, JOB, work).close()
    with pytest.raises(RunFolderError, match="its config hash is cafe0123, not beef; choose another --out"):
        Ledger.open(tmp_path, search_toml="", config_hash="beef", work=work, shard_size=5, candidate_schema=JOB.schema, about={})


def test_another_work_list_is_refused_and_the_rows_counted(tmp_path: Path) -> None:
    ledger_of(tmp_path, JOB, work_list(["a", "b", "c", "d"])).close()
    with pytest.raises(RunFolderError, match="another work list: 3 rows differ"):
        ledger_of(tmp_path, JOB, work_list(["a", "x", "y", "d", "e"]))


def test_a_row_that_differs_in_a_number_is_another_work_list(tmp_path: Path) -> None:
    work = work_list(["a", "b"])
    ledger_of(tmp_path, JOB, work).close()
    moved = work.set_column(3, work.schema.field("em_min"), pa.array([math.nan, 5e-6]))
    with pytest.raises(RunFolderError, match="1 rows differ"):
        ledger_of(tmp_path, JOB, moved)


def test_the_archives_own_columns_may_change(tmp_path: Path) -> None:
    work = work_list(["a", "b"])
    ledger_of(tmp_path, JOB, work).close()
    ledger_of(tmp_path, JOB, work.append_column("asked_at", pa.array([1, 2]))).close()


def test_a_detector_with_other_columns_is_refused(tmp_path: Path) -> None:
    work = work_list(["a"])
    ledger_of(tmp_path, JOB, work).close()
    with pytest.raises(RunFolderError, match="candidates with other columns"):
        ledger_of(tmp_path, job_of(detector=FakeDetector(columns={"snr": "f8"})), work)


def test_a_folder_with_strange_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match=r"not empty and no run folder: it has thesis.tex and no run.json"):
        ledger_of(tmp_path, JOB, work_list(["a"]))
    assert not (tmp_path / "observations.arrow").exists()


def test_a_folder_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    work = work_list(["a"])
    ledger_of(tmp_path, JOB, work).close()
    (tmp_path / "run.json").rename(tmp_path / "run.json.tmp")
    with ledger_of(tmp_path, JOB, work) as ledger:
        assert ledger.done() == set()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', "[" * 5000, '"\\ud800"', '{"format": NaN}'])
def test_a_damaged_run_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"run\.json"):
        status(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "\ud800"), ("totals", {"seconds": 10**400, "resumed": 0}), ("funnel", {"targets": 10**400}), ("since", float("inf"))],
)
def test_a_run_json_that_could_not_be_written_again_is_damaged(tmp_path: Path, key: str, value: object) -> None:
    ledger_of(tmp_path, JOB, work_list(["a"])).close()
    about = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(about | {key: value}))
    with pytest.raises(RunFolderError, match=r"run\.json is damaged .*: put it back as it was, or begin anew in another folder"):
        status(tmp_path)


def test_a_key_that_is_wrong_is_named(tmp_path: Path) -> None:
    ledger_of(tmp_path, JOB, work_list(["a"])).close()
    about = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(about | {"funnel": []}))
    with pytest.raises(RunFolderError, match=r"run\.json is damaged \(see funnel\)"):
        status(tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda table: table.append_column("obs_id", table["obs_id"]), lambda table: table.select(["obs_id"])]
)
def test_a_damaged_work_list_is_told_and_not_healed(tmp_path: Path, damage: Callable[[pa.Table], pa.Table]) -> None:
    work = work_list(["detected"])
    run_in(tmp_path, JOB, work)
    path = tmp_path / "observations.arrow"
    table = damage(pa.ipc.open_file(path.read_bytes()).read_all())
    for content in (table, None):
        path.unlink()
        if content is not None:
            write_arrow(path, content)
        for use in (read_work, lambda folder: ledger_of(folder, JOB, work)):
            with pytest.raises(RunFolderError, match=r"observations\.arrow .*put it back as it was, or begin anew"):
                use(tmp_path)


def test_a_damaged_part_is_named_with_its_cure(tmp_path: Path) -> None:
    run_in(tmp_path, JOB, work_list(["detected"] * 10))
    part = tmp_path / "outcomes" / "part-000001.arrow"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunFolderError, match=r"part-000001.arrow is damaged .* run the search again: what it held is made anew"):
        read_outcomes(tmp_path)
    run_in(tmp_path, JOB, work_list(["detected"] * 10))
    assert statuses(tmp_path) == ["detected"] * 10


def test_no_run_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no run folder"):
        status(tmp_path)


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="choose another --out"):
        ledger_of(tmp_path / "file" / "run", JOB, work_list(["a"]))


def test_a_second_run_is_refused_and_the_status_still_told(tmp_path: Path) -> None:
    work = work_list(["detected"] * 10)
    with ledger_of(tmp_path, JOB, work) as ledger:
        ledger.commit(0, *shard_tables("a", "b"))
        with pytest.raises(RunFolderError, match="another run is at work"):
            ledger_of(tmp_path, JOB, work)
        assert status(tmp_path).done == 2
    ledger_of(tmp_path, JOB, work).close()


def test_a_run_from_before_there_were_limits_is_read_with_none(tmp_path: Path) -> None:
    run_in(tmp_path, job_of(), work_list(["limit", "detected", "nothing"]), shard_size=1)
    for part in sorted((tmp_path / "outcomes").iterdir())[:2]:
        write_arrow(part, read_arrow(part).drop_columns(["limits"]))
    outcomes = read_outcomes(tmp_path)
    assert outcomes.schema == OUTCOME_SCHEMA
    assert outcomes["limits"].to_pylist() == [[], [], []]
    assert status(tmp_path).done == 3


def test_a_dead_run_holds_no_lock(tmp_path: Path) -> None:
    work = work_list(["detected"] * 10)
    die = "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
    die += "from pathlib import Path\nfrom engine_fakes import job_of, ledger_of, work_list\n"
    die += "ledger = ledger_of(Path(sys.argv[2]), job_of(), work_list(['detected'] * 10))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    ended = subprocess.run([sys.executable, "-c", die, str(Path(__file__).parents[1]), str(tmp_path)], check=False)
    assert ended.returncode < 0
    assert read_run(tmp_path)["finished"] is None
    ledger_of(tmp_path, JOB, work).close()


@pytest.mark.parametrize("order", [[1, 0], [0, 0]])
def test_a_work_list_out_of_order_is_refused(tmp_path: Path, order: list[int]) -> None:
    with pytest.raises(TableError, match="not sorted by a unique obs_id: see 'obs-000000'"):
        ledger_of(tmp_path, JOB, work_list(["a", "b"]).take(order))


def test_a_work_list_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="lacks the column uris"):
        ledger_of(tmp_path, JOB, work_list(["a"]).drop_columns(["uris"]))


def test_run_json_is_json_for_everybody(tmp_path: Path) -> None:
    run_in(tmp_path, JOB, work_list(["detected"]))
    assert json.loads((tmp_path / "run.json").read_text())["candidate_columns"]["snr"] == "float"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    write_arrow(path, pa.table({"x": [1]}))
    before = path.stat().st_ino
    write_arrow(path, pa.table({"x": [2]}))
    assert path.stat().st_ino != before
    assert read_arrow(path)["x"].to_pylist() == [2]


def test_a_refused_folder_stays_as_it_was(tmp_path: Path) -> None:
    for name in ("draft.tmp", "thesis.tex", ".lock"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "candidates").mkdir()
    (tmp_path / "candidates" / "notes.tmp").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunFolderError, match="not empty and no run folder"):
        ledger_of(tmp_path, JOB, work_list(["detected"]))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_shard_whose_candidates_were_removed_is_not_done(tmp_path: Path) -> None:
    with ledger_of(tmp_path, JOB, work_list(["detected"] * 10)) as ledger:
        ledger.commit(0, *shard_tables("a"))
        assert ledger.done() == {0}
        (tmp_path / "candidates" / "part-000000.arrow").unlink()
        assert ledger.done() == set()
        assert status(tmp_path).done == 0
