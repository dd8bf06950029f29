"""What a crash of the machine or a hand has damaged is told, and done anew."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from engine_fakes import FakeIllustrator, job_of, ledger_of, run_in, tables_of, work_list

from raysearch.engine import Event, Phase, read_figures, read_outcomes
from raysearch.engine.folder.files import write_arrow
from raysearch.errors import RunFolderError

WORK = work_list(["detected", "two", "nothing", "missing", "limit"] * 4)
JOB = job_of(illustrator=FakeIllustrator(), figures_share=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_in(tmp_path / "run", JOB, WORK)
    return tmp_path / "run"


def replaced(path: Path, content: bytes) -> None:
    path.unlink()  # its old content may be mapped
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    replaced(path, path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    replaced(path, b"")


def zeroed(path: Path) -> None:
    replaced(path, bytes(path.stat().st_size))


def of_another_shard(path: Path) -> None:
    replaced(path, path.with_name("part-000003.arrow").read_bytes())


def another_table(path: Path) -> None:
    write_arrow(path, pa.table({"x": [1]}))


@pytest.mark.parametrize("kind", ["outcomes", "candidates"])
@pytest.mark.parametrize("damage", [cut_short, emptied, zeroed])
def test_a_damaged_part_is_done_anew_and_told(folder: Path, kind: str, damage: Callable[[Path], None]) -> None:
    before = tables_of(folder)
    damage(folder / kind / "part-000001.arrow")
    told: list[Event] = []
    totals = run_in(folder, JOB, WORK, observers=[told.append])
    assert Phase(f"{kind}/part-000001.arrow is damaged: its observations are searched again", lasting=True) in told
    assert totals.resumed == 15
    assert tables_of(folder) == before


@pytest.mark.parametrize(
    ("damage", "told"),
    [(of_another_shard, "holds other observations than it should"), (another_table, "holds what raysearch did not write")],
)
def test_what_does_not_belong_there_is_done_anew(folder: Path, damage: Callable[[Path], None], told: str) -> None:
    before = tables_of(folder)
    damage(folder / "outcomes" / "part-000001.arrow")
    with ledger_of(folder, JOB, WORK) as ledger:
        assert ledger.notes == (f"outcomes/part-000001.arrow {told}: its observations are searched again",)
        assert ledger.done() == {0, 2, 3}
    run_in(folder, JOB, WORK)
    assert tables_of(folder) == before


def edited(path: Path, column: str, value: object) -> None:
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    at = table.column_names.index(column)
    values = pa.array([value] * table.num_rows, table.schema.field(column).type)
    replaced(path, b"")
    write_arrow(path, table.set_column(at, table.schema.field(column), values))


@pytest.mark.parametrize(("column", "value"), [("status", "x"), ("seconds", float("nan")), ("candidates", -1), ("requests", 2**62)])
def test_outcomes_that_none_can_have_are_done_anew(folder: Path, column: str, value: object) -> None:
    before = tables_of(folder)
    edited(folder / "outcomes" / "part-000001.arrow", column, value)
    with pytest.raises(RunFolderError, match=rf"part-000001.arrow holds what raysearch did not write \(see its column {column}\)"):
        read_outcomes(folder)
    run_in(folder, JOB, WORK)
    assert tables_of(folder) == before


def shorter(path: Path) -> None:
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    replaced(path, b"")
    write_arrow(path, table.slice(1))


@pytest.mark.parametrize("damage", [of_another_shard, shorter])
def test_candidates_that_the_outcomes_do_not_tell_of_are_done_anew(folder: Path, damage: Callable[[Path], None]) -> None:
    before = tables_of(folder)
    damage(folder / "candidates" / "part-000001.arrow")
    with ledger_of(folder, JOB, WORK) as ledger:
        told = "candidates/part-000001.arrow holds other observations than it should: its observations are searched again"
        assert ledger.notes == (told,)
        assert ledger.done() == {0, 2, 3}
    run_in(folder, JOB, WORK)
    assert tables_of(folder) == before


def test_figures_of_other_observations_are_left_to_be_drawn(folder: Path) -> None:
    of_another_shard(folder / "figures" / "part-000001.arrow")
    with ledger_of(folder, JOB, WORK) as ledger:
        assert "figures/part-000001.arrow holds other observations than it should: `raysearch report" in ledger.notes[0]


def test_damaged_figures_are_left_to_be_drawn(folder: Path) -> None:
    cut_short(folder / "figures" / "part-000001.arrow")
    with ledger_of(folder, JOB, WORK) as ledger:
        assert "figures/part-000001.arrow is damaged: `raysearch report" in ledger.notes[0]
        assert ledger.done() == {0, 1, 2, 3}
    assert len(read_figures(folder))


def test_a_sound_folder_is_left_alone(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("part-*")}
    with ledger_of(folder, JOB, WORK) as ledger:
        assert ledger.notes == ()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("part-*")} == before


def test_a_folder_in_place_of_a_part_is_told(folder: Path) -> None:
    part = folder / "outcomes" / "part-000001.arrow"
    part.unlink()
    part.mkdir()
    with pytest.raises(RunFolderError, match=r"part-000001\.arrow cannot be read: Is a directory; see to that"):
        ledger_of(folder, JOB, WORK)
    part.rmdir()
    run_in(folder, JOB, WORK)


def test_a_part_that_may_not_be_read_is_told_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = folder / "outcomes" / "part-000001.arrow"

    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:  # who runs the tests may read whatever there is
        patch.setattr(pa, "memory_map", refuse)
        with pytest.raises(RunFolderError, match="cannot be read: Permission denied; see to that"):
            ledger_of(folder, JOB, WORK)
    assert part.exists()
