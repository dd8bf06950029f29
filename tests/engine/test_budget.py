"""Figures take no more than their share of a worker's time, and what is left undrawn says so."""

from pathlib import Path

import pytest
from engine_fakes import FakeIllustrator, job_of, run_in, tables_of, work_list

from raysearch.engine import budget, read_figures
from raysearch.engine.budget import POSTPONED, Budget, postponed


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(budget.time, "perf_counter", lambda: self.now)

    def draw(self, spent: Budget, seconds: float) -> None:
        with spent.spending():
            self.now += seconds


def test_the_first_are_drawn_in_any_case_and_then_those_within_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    spent = Budget(0.1, free=2)
    for _ in range(2):
        assert spent.left()
        clock.draw(spent, 5.0)
    assert not spent.left()
    clock.now = 199.0
    assert not spent.left()
    clock.now = 200.0
    assert spent.left()
    clock.draw(spent, 1.0)
    assert not spent.left()


def test_a_drawing_that_fails_has_taken_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    spent = Budget(0.1, free=0)
    spending = spent.spending()
    spending.__enter__()
    clock.now += 5.0
    assert not spending.__exit__(ValueError, ValueError("no ink"), None)
    assert not spent.left()


@pytest.mark.parametrize(("share", "drawn"), [(1.0, True), (0.0, False)])
def test_the_ends_of_the_share(monkeypatch: pytest.MonkeyPatch, share: float, drawn: bool) -> None:
    clock = Clock(monkeypatch)
    spent = Budget(share, free=0)
    clock.draw(spent, 5.0)
    assert spent.left() is drawn


def test_observations_left_undrawn_say_so_and_lose_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_list(["two", "detected", "nothing", "detected"])
    run_in(tmp_path / "all", job_of(illustrator=FakeIllustrator(), figures_share=1.0), work)
    assert postponed(read_figures(tmp_path / "all").table) == set()
    monkeypatch.setattr(budget, "FREE", 1)
    run_in(tmp_path / "few", job_of(illustrator=FakeIllustrator(), figures_share=0.0), work)
    figures = read_figures(tmp_path / "few")
    assert [(obs_id[-1], figure) for obs_id, figure in figures if figure.name == "postponed"] == [
        ("1", POSTPONED),
        ("3", POSTPONED),
    ]
    assert len(figures.of("obs-000000", 1)) == 1
    assert postponed(figures.table) == {"obs-000001", "obs-000003"}
    assert tables_of(tmp_path / "few") == tables_of(tmp_path / "all")
