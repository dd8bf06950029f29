"""Faults in runs of a real search cost nothing: a few rows of what `scripts/faults` makes, by the same code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TRIALS = Path(__file__).parents[1] / "scripts" / "trials"
SOUND = [{"obs_id": "a", "status": "detected", "reason": "", "flux": float("nan")}]
FOUND = [{"obs_id": "a", "snr": float("nan")}, {"obs_id": "a", "snr": 7.0}]
FAILED = [{"obs_id": "a", "status": "failed", "reason": "the worker died", "flux": 0.0}]


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_different_and_nothing_hangs(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    command = [sys.executable, str(TRIALS / "faults.py"), "--short", "--json", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = json.loads(written.read_text())
    verdicts = {row["name"]: row["verdict"] for row in rows}
    assert verdicts == dict.fromkeys(("detector-detecting", "driver-between", "503"), "good"), done.stdout
    assert done.returncode == 0


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TRIALS)
    import rig

    return rig


@pytest.mark.parametrize(
    ("ours", "found", "wanted"),
    [
        (SOUND, FOUND, {}),
        ([], FOUND, {"lost": 1}),
        (SOUND, FOUND[:1], {"lost": 1}),
        (SOUND * 2, FOUND, {"doubled": 1}),
        (SOUND, FOUND * 2, {"doubled": 1}),
        (FAILED, FOUND, {"different": 1}),
        (SOUND, [*FOUND, {"obs_id": "a", "snr": 8.0}], {"different": 1}),
    ],
)
def test_a_run_is_compared_row_by_row(rig: ModuleType, ours: list[Any], found: list[Any], wanted: dict[str, int]) -> None:
    assert rig.tally_of(ours, SOUND, found, FOUND) == rig.Tally(**wanted)


def test_what_shall_fail_has_to(rig: ModuleType) -> None:
    assert rig.tally_of(FAILED, SOUND, [], FOUND, failed=True) == rig.Tally()
    assert rig.tally_of(SOUND, SOUND, FOUND, FOUND, failed=True) == rig.Tally(different=1)
    assert rig.tally_of(FAILED, SOUND, FOUND[1:], FOUND, failed=True) == rig.Tally(different=1)


def test_what_may_end_in_any_way_ends_once(rig: ModuleType) -> None:
    assert rig.tally_of(FAILED, SOUND, [], FOUND, open_ended=True) == rig.Tally()
    assert rig.tally_of(FAILED * 2, SOUND, [], FOUND, open_ended=True) == rig.Tally(doubled=1)
    assert rig.tally_of([], SOUND, [], FOUND, open_ended=True) == rig.Tally(lost=1)
