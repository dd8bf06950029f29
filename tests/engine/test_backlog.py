"""What is handed out when workers die: nothing is lost, nothing done twice, and only the guilty row fails."""

import random
from collections.abc import Iterator

import pyarrow as pa
import pytest
from engine_fakes import job_of, work_list

from raysearch.engine.backlog import ROW_TRIES, TRIES, Attempt, Backlog, Result
from raysearch.engine.records import figure_table, outcome_table
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
