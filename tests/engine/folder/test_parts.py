"""Which parts count, and that merging them changes nothing, wherever it is broken off."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from engine_fakes import job_of, ledger_of, run_in, tables_of, work_list
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysearch.engine import read_candidates, read_figures, read_outcomes, read_run, status
from raysearch.engine.folder import merge as merging
from raysearch.engine.folder import parts as parts_module
from raysearch.engine.folder.files import Place, map_arrow, write_arrow
from raysearch.engine.folder.ledger import candidate_tables, outcome_tables
from raysearch.engine.folder.merge import merge
from raysearch.engine.folder.parts import CANDIDATES, FIGURES, OUTCOMES, PARTS, part_name, part_tables, parts, pieces, standing
from raysearch.engine.folder.s3 import s3_path
from raysearch.engine.records import candidate_table, figure_table, outcome_table
from raysearch.errors import RunFolderError
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA, Figure, Outcome

JOB = job_of()
SCHEMAS = {CANDIDATES: JOB.schema, FIGURES: FIGURE_SCHEMA, OUTCOMES: OUTCOME_SCHEMA}
SIZE = 3
"""Observations in a shard."""
RUN = 4
"""Shards in a merged part, in these tests."""
SHARDS = 10
WORK = work_list(["detected"] * SIZE * SHARDS)


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # no test here takes the power away
    monkeypatch.setattr(merging, "RUN_OF_SHARDS", RUN)


def tables(shard: int, session: str = "") -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return made-up candidates, outcomes and figures of a shard: some shards have no candidates, some no figures."""
    names = [f"obs-{shard * SIZE + row:06d}" for row in range(SIZE)]
    found = names[: shard % 3]
    rows = [(name, "t", "uri", "cafe0123", "line", 1.0, 1.0, ["t"], 1.0, 2, session, True) for name in found]
    outcomes = [Outcome(name, "detected" if name in found else "nothing", session, "uri", int(name in found)) for name in names]
    figures = [(name, Figure(0, "map", b"<svg/>", session)) for name in found if shard % 2]
    return candidate_table(rows, JOB.schema), outcome_table(outcomes), figure_table(figures)


def fill(folder: Place, shards: Iterator[int] | range, *, finish: bool = False, session: str = "") -> None:
    with ledger_of(folder, JOB, WORK, SIZE) as ledger:
        for shard in shards:
            ledger.commit(shard, *tables(shard, session))
        if finish:
            ledger.close(ledger.resumed)


def held(folder: Place) -> tuple[Any, ...]:
    """Return all that readers see of a folder."""
    return (
        status(folder),
        parts(folder).done,
        read_candidates(folder).to_pylist(),
        read_outcomes(folder).to_pylist(),
        read_figures(folder).table.to_pylist(),
    )


def names_in(folder: Place) -> dict[str, list[str]]:
    return {kind: sorted(path.name for path in (folder / kind).iterdir()) for kind in PARTS}


class Killed(BaseException):
    """The driver dies."""


class Mortal:
    """Lets so many files be written or removed, then dies, and with it whatever else was under way."""

    def __init__(self, patch: pytest.MonkeyPatch, lives: int) -> None:
        self.left = lives
        patch.setattr(merging, "write_arrow", self.before(write_arrow))
        patch.setattr(Path, "unlink", self.before(Path.unlink))

    def before(self, act: Callable[..., None]) -> Callable[..., None]:
        def mortal(*args: Any, **options: Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise Killed
            act(*args, **options)

        return mortal


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.integers(0, 2 + 2 * RUN))
def test_wherever_merging_is_broken_off_the_tables_are_the_same(tmp_path_factory: pytest.TempPathFactory, lives: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "RUN_OF_SHARDS", 1000)
        fill(folder, range(RUN))
    before = held(folder)
    with pytest.MonkeyPatch.context() as patch:
        Mortal(patch, lives)
        with pytest.raises(Killed) if lives < 2 + 2 * RUN else contextlib.nullcontext():
            merge(folder, SCHEMAS, 0, RUN - 1)
    assert held(folder) == before
    fill(folder, range(RUN, SHARDS), finish=True)  # goes on where it was broken off
    whole = folder.with_name(folder.name + "-whole")
    fill(whole, range(SHARDS), finish=True)
    assert held(folder) == held(whole)
    assert names_in(folder) == names_in(whole)


def test_parts_are_merged_while_a_run_goes_on(tmp_path: Path) -> None:
    fill(tmp_path, reversed(range(SHARDS)), finish=True)
    runs = ["part-000000-000003.arrow", "part-000004-000007.arrow"]
    assert names_in(tmp_path) == {
        CANDIDATES: [*runs, "part-000008.arrow", "part-000009.arrow"],
        FIGURES: ["part-000001.arrow", "part-000004-000007.arrow"],  # one alone stays as it is
        OUTCOMES: [*runs, "part-000008.arrow", "part-000009.arrow"],
    }
    table = map_arrow(tmp_path / OUTCOMES / runs[0])
    assert table["obs_id"].num_chunks == 1
    assert json.loads(table.schema.metadata[b"shard_rows"]) == [SIZE] * RUN
    assert read_outcomes(tmp_path)["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()


@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_search_has_the_same_tables_merged_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    work = work_list(["detected", "two", "nothing", "missing", "limit"] * 9)
    run_in(tmp_path / "merged", JOB, work, engine, shard_size=SIZE)
    monkeypatch.setattr(merging, "RUN_OF_SHARDS", 1000)
    run_in(tmp_path / "small", JOB, work, engine, shard_size=SIZE)
    assert len(standing(tmp_path / "merged", OUTCOMES)) == 6
    assert len(standing(tmp_path / "small", OUTCOMES)) == 15
    assert tables_of(tmp_path / "merged") == tables_of(tmp_path / "small")
    assert status(tmp_path / "merged").by_status == status(tmp_path / "small").by_status


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    missing=st.sets(st.integers(0, SHARDS - 1), max_size=4),
    read=st.integers(1, SHARDS),
    kind=st.sampled_from(PARTS),
)
def test_a_reader_that_is_overtaken_reads_what_it_began_with(
    tmp_path_factory: pytest.TempPathFactory, missing: set[int], read: int, kind: str
) -> None:
    """Between its listing and its reading the rest of the run is done, and merged."""
    folder = tmp_path_factory.mktemp("run")
    fill(folder, (shard for shard in range(SHARDS) if shard not in missing))
    expected = [table.to_pylist() for table in part_tables(folder, kind, SCHEMAS[kind])]
    reader, rows = part_tables(folder, kind, SCHEMAS[kind]), []
    rows += [table.to_pylist() for table in itertools.islice(reader, read)]
    fill(folder, iter(sorted(missing)), finish=True)
    rows += [table.to_pylist() for table in reader]
    assert list(itertools.chain(*rows)) == list(itertools.chain(*expected))


def test_what_is_merged_while_it_is_listed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(RUN - 1))
    with monkeypatch.context() as patch:
        patch.setattr(merging, "RUN_OF_SHARDS", 1000)
        fill(tmp_path, range(RUN - 1, RUN))
    list_folder, times = Path.iterdir, itertools.count()

    def overtaken(folder: Path) -> Iterator[Path]:
        """The merged part comes behind, and the small ones go before, where the listing is."""
        names = sorted(list_folder(folder))
        if folder.name == OUTCOMES and next(times) == 0:
            merge(tmp_path, SCHEMAS, 0, RUN - 1)
            names = [path for path in names if path.exists()]
        yield from names

    monkeypatch.setattr(Path, "iterdir", overtaken)
    assert parts(tmp_path).done == set(range(RUN))


@pytest.mark.parametrize("kind", [CANDIDATES, OUTCOMES])
def test_a_merged_part_that_is_damaged_is_done_anew_and_read_once(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, range(SHARDS), finish=True)
    (tmp_path / kind / part_name(0, RUN - 1)).write_bytes(b"ARROW1\0\0")
    fill(tmp_path, range(RUN), finish=True, session="new")
    assert read_outcomes(tmp_path)["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()
    assert read_outcomes(tmp_path)["reason"].to_pylist().count("new") == SIZE * RUN
    assert read_candidates(tmp_path)["note"].to_pylist().count("new") == sum(shard % 3 for shard in range(RUN))


@pytest.mark.parametrize("kind", [CANDIDATES, OUTCOMES])
def test_a_merged_part_that_was_removed_is_done_anew_and_read_once(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, range(SHARDS), finish=True)
    (tmp_path / kind / part_name(0, RUN - 1)).unlink()
    assert parts(tmp_path).done == set(range(RUN, SHARDS))
    assert status(tmp_path).done == (SHARDS - RUN) * SIZE
    assert read_candidates(tmp_path)["obs_id"].to_pylist() == [
        name for shard in range(RUN, SHARDS) for name in tables(shard)[0]["obs_id"].to_pylist()
    ]
    fill(tmp_path, range(RUN - 1), session="new")
    reasons = read_outcomes(tmp_path)["reason"].to_pylist()
    assert reasons == ["new"] * SIZE * (RUN - 1) + [""] * SIZE * (SHARDS - RUN)
    fill(tmp_path, range(RUN - 1, RUN), finish=True, session="new")
    assert len(standing(tmp_path, kind)) == 4
    assert read_outcomes(tmp_path)["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()
    assert read_candidates(tmp_path)["note"].to_pylist().count("new") == sum(shard % 3 for shard in range(RUN))


def test_a_small_part_that_was_removed_beside_merged_ones_is_done_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidates were too large to be merged; one part of them is gone."""
    monkeypatch.setattr(merging, "MOST_BYTES", 60_000)
    one = tables(2)[0].take([0] * SIZE)
    large = one.set_column(one.column_names.index("note"), one.schema.field("note"), pa.array(["x" * 9_000] * SIZE))
    with ledger_of(tmp_path, JOB, WORK, SIZE) as ledger:
        for shard in range(RUN):
            ledger.commit(shard, large, *tables(shard)[1:])
        ledger.close(ledger.resumed)
    assert [len(standing(tmp_path, kind)) for kind in (CANDIDATES, OUTCOMES)] == [RUN, 1]
    assert status(tmp_path).done == RUN * SIZE
    (tmp_path / CANDIDATES / part_name(1)).unlink()
    assert status(tmp_path).done == 0
    fill(tmp_path, range(RUN), finish=True)
    assert read_outcomes(tmp_path)["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()[: RUN * SIZE]


def test_parts_of_earlier_versions_are_merged_with_the_columns_they_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(merging, "RUN_OF_SHARDS", 1000)
        fill(tmp_path, range(RUN))
    for path in sorted((tmp_path / OUTCOMES).iterdir())[:2]:
        write_arrow(path, map_arrow(path).drop_columns(["limits", "file_bytes"]))
    run = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(run | {"format": 1}))
    before = held(tmp_path)
    fill(tmp_path, range(0), finish=True)
    assert held(tmp_path) == before
    assert read_run(tmp_path)["format"] == 2  # so that an earlier version refuses what it would read without the merged parts
    assert names_in(tmp_path)[OUTCOMES] == [part_name(0, RUN - 1)]
    assert map_arrow(tmp_path / OUTCOMES / part_name(0, RUN - 1)).schema.equals(OUTCOME_SCHEMA)


def test_a_part_that_cannot_be_merged_ends_the_run_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ledger_of(tmp_path, JOB, WORK, SIZE) as ledger:
        for shard in range(RUN - 1):
            ledger.commit(shard, *tables(shard))
        (tmp_path / OUTCOMES / part_name(1)).write_bytes(b"nothing")
        ledger.commit(RUN - 1, *tables(RUN - 1))
        with pytest.raises(RunFolderError, match=r"part-000001.arrow is damaged"):
            ledger.close(ledger.resumed)
    assert len(standing(tmp_path, OUTCOMES)) == RUN


def test_a_part_that_is_gone_for_good_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(2))
    listed = parts(tmp_path)
    monkeypatch.setattr(parts_module, "parts", lambda folder: listed)
    (tmp_path / OUTCOMES / part_name(1)).unlink()
    with pytest.raises(RunFolderError, match=r"part-000001.arrow"):
        list(part_tables(tmp_path, OUTCOMES, OUTCOME_SCHEMA))


def test_a_run_is_read_in_pieces_worth_the_handling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(SHARDS))
    monkeypatch.setattr(parts_module, "PIECE_ROWS", 2 * SIZE * RUN)
    assert [table.num_rows for table in outcome_tables(tmp_path)] == [2 * SIZE * RUN, SIZE * (SHARDS - 2 * RUN)]
    assert next(candidate_tables(tmp_path)).num_rows == 0
    assert list(pieces([])) == []


def test_a_part_that_somebody_copied_under_the_name_of_a_merged_one_is_told_and_done_anew(tmp_path: Path) -> None:
    fill(tmp_path, range(SHARDS), finish=True)
    before = held(tmp_path)
    copied = tmp_path / OUTCOMES / part_name(RUN * 2, SHARDS - 1)
    copied.write_bytes((tmp_path / OUTCOMES / part_name(RUN * 2)).read_bytes())
    with pytest.raises(RunFolderError, match="does not tell its shards apart"):
        read_outcomes(tmp_path)
    fill(tmp_path, range(0))
    assert not copied.exists()
    assert held(tmp_path) == before


def test_what_counts_in_the_place_of_a_removed_part_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "RUN_OF_SHARDS", 1000)
    fill(tmp_path, range(SHARDS), finish=True)
    parts_of = tmp_path / OUTCOMES
    other = (parts_of / part_name(1)).read_bytes()
    for name in (part_name(0, 3), part_name(2)):  # a merged part, which counts, and beneath it another shard's
        (parts_of / name).unlink(missing_ok=True)
        (parts_of / name).write_bytes(other)
    with ledger_of(tmp_path, JOB, WORK, SIZE) as ledger:
        assert [note.partition(" ")[0] for note in ledger.notes] == [f"outcomes/{part_name(0, 3)}", f"outcomes/{part_name(2)}"]
        assert ledger.done() == set(range(SHARDS)) - {2}


def test_a_moment_that_has_gone_by_is_read_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path, range(RUN - 1))
    then, before = parts(tmp_path), held(tmp_path)
    fill(tmp_path, range(RUN - 1, SHARDS), finish=True)
    assert pa.concat_tables(outcome_tables(tmp_path, then)).to_pylist() == before[3]
    assert pa.concat_tables(candidate_tables(tmp_path, then)).to_pylist() == before[2]


def test_parts_are_merged_in_s3_too_and_a_reader_is_overtaken_there(s3_folder: str, tmp_path: Path) -> None:
    folder = s3_path(s3_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "RUN_OF_SHARDS", 1000)
        fill(folder, range(SHARDS - 1))
    reader = part_tables(folder, OUTCOMES, OUTCOME_SCHEMA)
    first = next(reader)  # it has listed the small ones
    fill(folder, range(SHARDS - 1, SHARDS), finish=True)
    fill(tmp_path, range(SHARDS), finish=True)
    assert held(folder) == held(tmp_path)
    assert names_in(folder) == names_in(tmp_path)
    assert pa.concat_tables([first, *reader])["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()[: (SHARDS - 1) * SIZE]
