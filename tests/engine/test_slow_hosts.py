"""Observations at a host that is silent keep no others waiting, whichever engine runs, and whatever dies meanwhile."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from engine_fakes import FakeReader, Marking, job_of, reasons, run_in, statuses, work_list

from raysearch.errors import NothingToSearch
from raysearch.model import Observation, Pixels, Usage, observations_from_arrow, observations_to_arrow


@dataclass(frozen=True)
class Silent(FakeReader):
    """One host answers when the detectors have left a mark of so many observations, of other hosts, or something has died."""

    marks: str = ""
    wanted: int = 0
    death: Path = Path("/nowhere")
    """There when something has died."""

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        if observation.uri.startswith("https://silent/"):
            while self.silent:  # noqa: ASYNC110 - other processes end it
                await asyncio.sleep(0.1)
            raise NothingToSearch("silent, until all others were done")
        return await super().read(observation, usage)

    @property
    def silent(self) -> bool:
        return len(list(Path(self.marks).iterdir())) < self.wanted and not self.death.exists()


def ended(folder: Path, words: list[str], engine: str, each: int = 5) -> tuple[list[str], list[str]]:
    """Return how a run ended in which of so many observations each, a shard, one lies at the silent host."""
    (folder / "marks").mkdir()
    marks, rows = str(folder / "marks"), observations_from_arrow(work_list(words))
    for row in range(each // 2, len(rows), each):
        rows[row] = replace(rows[row], uris=(f"https://silent/{row}",))
    wanted = sum(word == "detected" for row, word in enumerate(words) if row % each != each // 2)
    job = job_of(Silent(marks=marks, wanted=wanted, death=folder / "death"), Marking(marks=marks), time_limit_s=90.0)
    run_in(folder / "run", job, observations_to_arrow(rows), engine, shard_size=each)
    return statuses(folder / "run"), reasons(folder / "run")


def test_a_silent_host_keeps_no_other_waiting(tmp_path: Path, engine: str) -> None:
    found, _ = ended(tmp_path, ["detected"] * 60, engine)
    assert found == (["detected"] * 2 + ["skipped"] + ["detected"] * 2) * 12


@pytest.mark.slow
@pytest.mark.parametrize("word", ["kill-detector", "kill-reader-once"])
def test_what_dies_meanwhile_costs_no_other(tmp_path: Path, one_ray: None, word: str) -> None:
    words = ["detected"] * 40
    words[33] = f"{word} {tmp_path / 'death'}"
    found, why = ended(tmp_path, words, "ray")
    assert (tmp_path / "death").exists()
    assert [row for row, status in enumerate(found) if status == "skipped"] == list(range(2, 40, 5))
    assert [row for row, status in enumerate(found) if status == "failed"] == ([33] if word == "kill-detector" else [])
    assert word != "kill-detector" or why[33] == (
        "the worker died 2 times on this observation alone: its process was killed, or crashed"
    )
