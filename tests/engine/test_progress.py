"""The progress line, with a clock of our own."""

import errno
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.engine import Phase, ProgressLine, RunFinished, RunStarted, ShardDone, Tick, Totals
from raysearch.engine.progress import readable_bytes, readable_seconds

STATUS = "10 of 1,000 observations, 1 detected, 8 nothing, 1 failed"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shard(number: int, retries: dict[str, int] | None = None) -> ShardDone:
    return ShardDone(number, {"detected": 1, "nothing": 8, "skipped": 0, "failed": 1}, 3, 5_000_000, 40, retries or {})


def totals(done: int) -> Totals:
    return Totals(1000, {"detected": done, "nothing": 0, "skipped": 0, "failed": 0})


def test_a_plain_line_every_ten_seconds_and_a_last_one() -> None:
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(100)))
    for number in range(10):
        clock.now += 4
        line(shard(number))
    line(RunFinished(Totals(100, {"detected": 10, "nothing": 80, "skipped": 0, "failed": 10}, 30, 50_000_000)))
    assert out.getvalue().splitlines() == [
        "30 of 100 observations, 3 detected, 24 nothing, 3 failed, 15 MB read, 2.5/s, 28 s left",
        "60 of 100 observations, 6 detected, 48 nothing, 6 failed, 30 MB read, 2.5/s, 16 s left",
        "90 of 100 observations, 9 detected, 72 nothing, 9 failed, 45 MB read, 2.5/s, 4 s left",
        "100 of 100 observations, 10 detected, 80 nothing, 10 failed, 50 MB read, 2.5/s",
    ]


def test_a_plain_line_every_ten_seconds_also_while_one_shard_takes_long() -> None:
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(100)))
    for _ in range(25):
        clock.now += 1
        line(Tick())
    assert out.getvalue().splitlines() == ["0 of 100 observations, 0 B read, 0.0/s"] * 2


def test_the_rate_counts_from_when_the_engine_stands() -> None:
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(100)))
    clock.now += 90
    line(Phase("starting loaders"))
    clock.now += 10
    line(shard(0))
    assert out.getvalue().splitlines()[-1].endswith("1.0/s, 2 min left")


def test_what_was_done_before_is_told_and_not_counted_in_the_rate() -> None:
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, clock)
    line(RunStarted(totals(500)))
    clock.now += 10
    line(shard(0))
    first, second = out.getvalue().splitlines()
    assert first == "500 of 1,000 observations were done before"
    assert second.startswith("510 of 1,000")
    assert second.endswith("1.0/s, 8 min left")


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    ProgressLine(out, Clock())(Phase("a" * 50))
    assert out.getvalue() == "\r" + "a" * 19


def test_a_terminal_has_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "132")
    clock, out = Clock(), Terminal()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(20)))
    line(Phase("a line that is longer than the one that follows it, so that its end would show if it were not wiped"))
    clock.now += 1
    line(shard(0))
    line(RunFinished(Totals(20)))
    assert out.getvalue().count("\n") == 1
    _, *written = out.getvalue().split("\r")
    assert len(written[1]) == len(written[0])  # the longer line before is wiped
    assert written[1].startswith("10 of 20 observations")


def test_a_narrower_terminal_wipes_no_further_than_its_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    line = ProgressLine(out, Clock())
    line(Phase("a" * 70))
    monkeypatch.setenv("COLUMNS", "20")
    line(Phase("b"))
    assert out.getvalue().split("\r")[-1] == "b".ljust(19)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (200, f"{STATUS}, 5 MB read, 1.0/s, 16 min left, 7 requests sent again, most to slow.example"),
        (120, f"{STATUS}, 1.0/s, 16 min left"),
        (60, "10 of 1,000 observations, 1 failed, 1.0/s, 16 min left"),
        (45, "10 of 1,000 observations, 16 min left"),
        (30, "10 of 1,000 observations"),
        (10, "10 of 1,0"),
    ],
)  # fmt: skip
def test_a_narrow_terminal_has_what_matters_most(columns: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, out = Clock(), Terminal()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(1000)))
    clock.now += 10
    line(shard(0, {"slow.example": 4, "other.example": 3}))
    assert out.getvalue().split("\r")[-1] == text


def test_requests_sent_again_are_told_with_the_host_that_needs_most() -> None:
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(100)))
    for retries in ({"a.example": 2}, {"b.example": 5}):
        clock.now += 10
        line(shard(0, retries))
    first, second = out.getvalue().splitlines()
    assert first.endswith(", 2 requests sent again, most to a.example")
    assert second.endswith(", 7 requests sent again, most to b.example")


def test_a_stream_that_takes_nothing_more_costs_nothing() -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    line = ProgressLine(Full())
    line(RunStarted(Totals(100)))
    line(Phase("starting Ray"))
    line(RunFinished(totals(100)))


def test_a_run_from_which_nothing_comes_says_so() -> None:
    clock, out = Clock(), io.StringIO()
    line = ProgressLine(out, clock)
    line(RunStarted(Totals(100)))
    line(shard(0))
    for _ in range(15):
        clock.now += 10
        line(Tick())
    lines = out.getvalue().splitlines()
    assert not any("none ended" in text for text in lines[:5])
    assert lines[5].endswith("none ended for 60 s")
    assert lines[14].endswith("none ended for 2 min")
    line(shard(1))
    clock.now += 10
    line(Tick())
    assert "none ended" not in out.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (999_600, "1 MB"), (5e16, "50 PB")]
)
def test_bytes_are_readable(count: float, text: str) -> None:
    assert readable_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (11_100, "3 h 05 min")])
def test_times_are_readable(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


@given(st.integers(0, 10**18))
def test_bytes_are_always_short(count: int) -> None:
    assert len(readable_bytes(count)) <= 8
