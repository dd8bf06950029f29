"""What is handed out when workers die: nothing is lost, nothing done twice, and only the guilty row fails."""

import random
from collections.abc import Iterator

import pyarrow as pa
import pytest
from engine_fakes import job_of, work_list

from raysearch.engine.records import figure_table, outcome_table
from raysearch.engine.workers.backlog import ROW_TRIES, TRIES, Attempt, Backlog, Blame, Result
from raysearch.model import Figure, Outcome

SCHEMA = job_of().schema
WORK = work_list(["detected"] * 20)


def shards(size: int = 5) -> Iterator[tuple[int, pa.Table]]:
    return ((number, WORK.slice(number * size, size)) for number in range(len(WORK) // size))


def tables(attempt: Attempt) -> tuple[pa.Table, pa.Table, pa.Table]:
    names = attempt.rows["obs_id"].to_pylist()
    outcomes = outcome_table([Outcome(name, "nothing") for name in names])
    return SCHEMA.empty_table(), outcomes, figure_table([(name, Figure(0, "map", b"<svg/>", "a map")) for name in names])


def test_shards_come_in_order_once() -> None:
    backlog = Backlog(shards(), SCHEMA)
    taken = [backlog.take() for _ in range(5)]
    assert [attempt and attempt.shard for attempt in taken] == [0, 1, 2, 3, None]


def test_a_shard_that_lost_its_worker_comes_again_and_at_last_alone() -> None:
    backlog = Backlog(shards(), SCHEMA)
    first, second = backlog.take(), backlog.take()
    assert first is not None
    assert second is not None
    assert backlog.died(first, "killed") is None
    again = backlog.take()
    assert again is not None
    assert (again.shard, again.alone) == (0, False)
    backlog.died(again, "killed")
    assert backlog.take() is None  # the second shard must end first
    backlog.finished(second, *tables(second))
    last = backlog.take()
    assert last is not None
    assert (last.shard, last.alone) == (0, True)
    assert backlog.take() is None  # while it runs, nothing else does


@pytest.mark.parametrize("seed", range(20))
def test_only_the_guilty_row_fails_whatever_dies_with_it(seed: int) -> None:
    chance = random.Random(seed)
    poison = {"obs-000003", "obs-000011"}
    backlog = Backlog(shards(), SCHEMA)
    running: list[Attempt] = []
    done: list[Result] = []
    deaths = 0
    while True:
        while len(running) < 4 and (attempt := backlog.take()):
            running.append(attempt)
        if not running:
            break
        attempt = running.pop(chance.randrange(len(running)))
        if poison.isdisjoint(attempt.rows["obs_id"].to_pylist()):
            ended = [backlog.finished(attempt, *tables(attempt))]
        else:  # takes the others in the same worker with it
            fallen = [attempt, *running[:1]]
            running = running[1:]
            ended = [backlog.died(one, "killed") for one in fallen]
            deaths += 1
        done += [result for result in ended if result]
    outcomes = pa.concat_tables([result.outcomes for result in sorted(done, key=lambda result: result.shard)])
    assert outcomes["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()
    assert {row["obs_id"] for row in outcomes.to_pylist() if row["status"] == "failed"} == poison
    assert deaths <= 2 * (TRIES + ROW_TRIES)


def test_the_reason_says_what_happened() -> None:
    backlog = Backlog(iter([(0, WORK.slice(0, 1))]), SCHEMA)
    result = None
    while attempt := backlog.take():
        result = backlog.died(attempt, "out of memory")
    assert result is not None
    assert result.outcomes["reason"].to_pylist() == ["the worker died 2 times on this observation alone: out of memory"]


def worked(seed: int, poison: dict[str, Blame], size: int = 5) -> tuple[pa.Table, int]:
    """Return the outcomes, and how many workers died, where each worker has two attempts in hand and tells which row it died of."""
    chance, deaths, running, done = random.Random(seed), 0, list[Attempt](), list[Result | None]()
    backlog = Backlog(shards(size), SCHEMA)
    while True:
        while len(running) < 4 and (attempt := backlog.take()):
            running.append(attempt)
        if not running:
            break
        attempt = running.pop(chance.randrange(len(running)))
        names = attempt.rows["obs_id"].to_pylist()
        guilty = [name for name in names if name in poison]
        if not guilty:
            done.append(backlog.finished(attempt, *tables(attempt)))
            continue
        fallen, running = running[:1], running[1:]
        done += [backlog.died(other, "killed", Blame(None)) for other in fallen]
        name = chance.choice(guilty)
        told = poison[name]
        done.append(backlog.died(attempt, "killed", Blame(names.index(name), told.reason, told.certain)))
        deaths += 1
    shown = sorted((result for result in done if result), key=lambda result: result.shard)
    assert [result.shard for result in shown] == list(range(len(WORK) // size))
    return pa.concat_tables([result.outcomes for result in shown]), deaths


@pytest.mark.parametrize("seed", range(20))
def test_a_row_that_is_known_to_have_taken_too_long_fails_at_once(seed: int) -> None:
    late = Blame(0, "it took too long", certain=True)
    outcomes, deaths = worked(seed, {"obs-000000": late, "obs-000002": late, "obs-000009": late, "obs-000012": late})
    assert outcomes["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()
    ended = {row["obs_id"]: row["reason"] for row in outcomes.to_pylist() if row["status"] == "failed"}
    assert ended == dict.fromkeys(("obs-000000", "obs-000002", "obs-000009", "obs-000012"), "it took too long")
    assert deaths == 4


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [1, 5, 20])
def test_a_suspect_is_tried_alone_and_fails_after_as_many_deaths(seed: int, size: int) -> None:
    outcomes, deaths = worked(seed, {"obs-000004": Blame(0), "obs-000019": Blame(0, "it needed too much")}, size)
    assert outcomes["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()
    ended = {row["obs_id"]: row["reason"] for row in outcomes.to_pylist() if row["status"] == "failed"}
    assert ended == {
        "obs-000004": "the worker died 2 times on this observation alone: killed",
        "obs-000019": "it needed too much",
    }
    assert deaths == 2 * (1 + ROW_TRIES)


def test_a_suspect_that_was_innocent_is_no_failure() -> None:
    backlog = Backlog(shards(), SCHEMA)
    attempt = backlog.take()
    assert attempt is not None
    assert backlog.died(attempt, "killed", Blame(2)) is None
    pieces = [backlog.take(), backlog.take(), backlog.take()]
    assert [piece and (piece.first, len(piece.rows)) for piece in pieces] == [(0, 2), (3, 2), None]  # the suspect waits for them
    for piece in pieces:
        assert piece is None or backlog.finished(piece, *tables(piece)) is None
    suspect = backlog.take()
    assert suspect is not None
    assert suspect.rows["obs_id"].to_pylist() == ["obs-000002"]
    result = backlog.finished(suspect, *tables(suspect))
    assert result is not None
    for table in (result.outcomes, result.figures):
        assert table["obs_id"].to_pylist() == WORK["obs_id"].to_pylist()[:5]
