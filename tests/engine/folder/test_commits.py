import threading
import time

import pyarrow as pa
import pytest

from raysearch.engine.folder.commits import AT_ONCE, Commits
from raysearch.engine.records import outcome_table
from raysearch.errors import RunFolderError
from raysearch.model import Outcome

NOTHING = pa.table({})
ENDED = outcome_table([Outcome("a", "nothing"), Outcome("b", "detected", candidates=2)])


def commit(commits: Commits, shard: int) -> None:
    commits.commit(shard, NOTHING, ENDED, NOTHING)


def test_shards_are_written_side_by_side_and_told_in_order_when_they_stand() -> None:
    all_there, written, told = threading.Barrier(AT_ONCE), [], []

    def write(shard: int, *tables: pa.Table) -> None:
        if shard < AT_ONCE:
            all_there.wait(10)  # passes only if so many are under way
            time.sleep(0.01 * (AT_ONCE - shard))
        written.append(shard)

    def tell(done: object) -> None:
        assert done.shard in written  # type: ignore[attr-defined]
        told.append(done)

    with Commits(write, tell) as commits:
        for shard in range(3 * AT_ONCE):
            commit(commits, shard)
    assert [done.shard for done in told] == list(range(3 * AT_ONCE))
    assert (told[0].candidates, told[0].by_status["nothing"]) == (2, 1)


def test_no_more_are_held_than_are_written() -> None:
    go_on, begun, most = threading.Event(), [], []

    def write(shard: int, *tables: pa.Table) -> None:
        begun.append(shard)
        if shard == 0:
            go_on.wait(10)

    with Commits(write, lambda done: None) as commits:
        for shard in range(AT_ONCE):
            commit(commits, shard)
        waiting = threading.Thread(target=commit, args=(commits, AT_ONCE))
        waiting.start()
        waiting.join(0.2)
        most.append(waiting.is_alive())
        go_on.set()
        waiting.join(10)
    assert most == [True]
    assert sorted(begun) == list(range(AT_ONCE + 1))


def test_a_shard_that_cannot_be_written_ends_the_run_and_the_others_are_kept() -> None:
    written, told = [], []

    def write(shard: int, *tables: pa.Table) -> None:
        if shard == 1:
            raise RunFolderError("the disk is full")
        time.sleep(0.05)
        written.append(shard)

    def all_of_them() -> None:
        with Commits(write, told.append) as commits:
            for shard in range(3):
                commit(commits, shard)

    with pytest.raises(RunFolderError, match="the disk is full"):
        all_of_them()
    assert sorted(written) == [0, 2]
    assert [done.shard for done in told] == [0]


def test_what_has_come_is_written_also_where_the_engine_fails() -> None:
    written = []

    def write(shard: int, *tables: pa.Table) -> None:
        time.sleep(0.05)
        written.append(shard)

    def broken() -> None:
        with Commits(write, lambda done: None) as commits:
            commit(commits, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert written == [0]
