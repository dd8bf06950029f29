"""`raysearch status`: what it says and how it ends, for runs made with the engine's own fakes."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raysearch import cli, cli_status, config
from raysearch.engine import EngineOptions, Job, Ledger, ShardDone, Totals, run
from raysearch.engine.folder.pulse import PROGRESS
from raysearch.engine.folder.state import read_state
from raysearch.errors import ReadError
from raysearch.model import Candidate, Observation, Pixels, Target, Usage, observations_to_arrow

SEARCH = config.load("jets")
WORK = observations_to_arrow(
    [Observation(f"o{number:03d}", (f"https://a.example/{number}.fits",), (Target("t", 1.0, 2.0),)) for number in range(20)]
)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Reader:
    """Fails at every fifth observation, and at the first only after two more requests."""

    def __init__(self, failing: int = 5) -> None:
        self.failing = failing

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        number = int(observation.obs_id[1:])
        usage.requests += 3
        usage.bytes_read += 1000
        if number == 0:
            usage.retries |= {"a.example": 2, "b.example": 1}
        if self.failing and number % self.failing == 1:
            raise ReadError(f"{observation.uri}: 503; gave up after {number} attempts")
        return Pixels(observation.obs_id, observation.uri)

    async def close(self) -> None: ...


class Detector:
    window: int | None = 0
    columns: dict[str, str] = {}  # noqa: RUF012

    def detect(self, pixels: Pixels) -> list[Candidate]:
        return [Candidate("t")]


def job(failing: int = 5) -> Job:
    return Job(Reader(failing), Detector(), config_hash=SEARCH.hash, lines=False)


def ledger(folder: Path, **about: object) -> Ledger:
    return Ledger.open(
        folder,
        search_toml=SEARCH.to_toml(),
        config_hash=SEARCH.hash,
        work=WORK,
        shard_size=4,
        candidate_schema=job().schema,
        about={"name": "jets", "queries": [], "funnel": {}, **about},
    )


def finished(folder: Path, failing: int = 5) -> Path:
    with ledger(folder) as opened:
        run(job(failing), WORK, opened, EngineOptions("inline"))
    return folder


def broken_off(folder: Path, how: type[BaseException] = KeyboardInterrupt, **about: object) -> Path:
    def stop(event: object) -> None:
        if isinstance(event, ShardDone) and event.shard == 2:
            raise how("no more of https://me:abc@a.example/x")

    with pytest.raises(how), ledger(folder, **about) as opened:
        run(job(), WORK, opened, EngineOptions("inline"), [stop])
    for part in folder.glob("*/part-00000[34].arrow"):  # which may have been on their way
        part.unlink()
    return folder


def said(folder: Path, capsys: pytest.CaptureFixture[str], status: int) -> str:
    assert cli.main(["status", str(folder)]) == status
    return capsys.readouterr().out


def test_a_finished_run_with_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(finished(tmp_path), capsys, 1)
    assert f"search jets ({SEARCH.hash}), finished 20" in text
    assert "ledger: detected 16  nothing 0  skipped 0  failed 4  = 20 of 20 observations" in text
    assert "found 16 candidates, " in text
    assert " observations/s\n" in text
    assert "read 20 kB in 60 requests, 3 of them sent again: a.example 2, b.example 1\n" in text
    assert "detectors worked for 0 s; " in text
    assert "  failed    4: https://a.example/1.fits: 503; gave up after 1 attempts (o001) and others like it\n" in text
    assert "left:" not in text
    assert "go on" not in text


def test_a_finished_run_without_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "failed 0" in said(finished(tmp_path, failing=0), capsys, 0)


def test_a_stopped_run_and_the_command_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken_off(tmp_path / "my run")
    text = said(folder, capsys, 4)
    assert "stopped by Ctrl-C" in text
    assert re.search(r"the last shard was committed \d+ s ago\n", text)
    assert f"go on with: raysearch run '{folder}/search.toml' --out '{folder}'\n" in text
    assert config.load(folder / "search.toml").hash == SEARCH.hash  # so that this command is the same search
    assert "= 12 of 20 observations" in text
    assert "left: 8 observations in 2 of 5 shards\n" in text


def test_a_run_that_ended_with_an_error_says_which_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(broken_off(tmp_path, RuntimeError), capsys, 4)
    assert "ended with an error: RuntimeError: no more of https://" in text
    assert "abc" not in text


def test_a_killed_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads((broken_off(tmp_path) / PROGRESS).read_text())
    (tmp_path / PROGRESS).write_text(json.dumps(told | {"state": "running"}))
    assert "its process died after " in said(tmp_path, capsys, 4)
    (tmp_path / PROGRESS).unlink()  # as of an earlier version
    assert "not finished, and nobody is at work; the last shard" in said(tmp_path, capsys, 4)


def test_a_limited_run_goes_on_with_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken_off(tmp_path, funnel={"beyond_limit": 5})
    assert f"--out {folder} --limit 20\n" in said(folder, capsys, 4)


@pytest.mark.parametrize("why", ["since", "secret"])
def test_where_the_command_cannot_be_told_the_same_one_goes_on(
    tmp_path: Path, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = broken_off(tmp_path, **({"since": {"run": "x"}} if why == "since" else {}))
    if why == "secret":  # as where an address was masked
        (folder / "search.toml").write_text(config.load("jets", {"match.radius": "2 arcsec"}).to_toml())
    assert "the same command as before goes on from here" in said(folder, capsys, 4)


def test_a_run_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken_off(tmp_path)
    told = json.loads((folder / PROGRESS).read_text())
    at_work = {
        "state": "running",
        "detectors": 3,
        "loaders": 1,
        "nodes": 2,
        "shards_out": 2,
        "doing": "starting Ray",
        "seconds": 6.0,
        "done": 12,
    }
    (folder / PROGRESS).write_text(json.dumps(told | at_work))
    with ledger(folder):
        text = said(folder, capsys, 3)
        (folder / PROGRESS).write_text(json.dumps(told))
        assert "left: 8 observations in 2 of 5 shards; no detector is at work\n" in said(folder, capsys, 3)
    assert re.search(r"\), at work; the last shard was committed \d+ s ago: starting Ray\n", text)
    assert "found 9 candidates, 2 observations/s, 4 s left\n" in text
    assert "left: 8 observations in 2 of 5 shards, 2 of them in hand; at work: 3 detectors, 1 loader, 2 nodes\n" in text
    assert "go on" not in text


def test_an_old_word_of_a_run_at_work_is_remarked_upon(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    told = json.loads((folder / PROGRESS).read_text())
    for age, remark in ((59, False), (600, True)):
        (folder / PROGRESS).write_text(json.dumps(told | {"written": (NOW - timedelta(seconds=age)).isoformat()}))
        with ledger(folder):
            text = "\n".join(cli_status.lines(read_state(folder), NOW))
        assert ("(told 10 min ago)" in text) is remark


def test_the_spectra_of_the_sources_are_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path, failing=0)
    broken_off(tmp_path / "spectra")
    text = said(tmp_path, capsys, 4)
    assert "= 20 of 20 observations" in text
    assert "= 12 of 20 observations" in text
    assert cli.main(["status", "--json", str(tmp_path)]) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["spectra"]["state"]) == ("finished", "broken off")
    shutil.rmtree(tmp_path / "spectra")
    said(tmp_path, capsys, 0)


def test_json_holds_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken_off(tmp_path)
    assert cli.main(["status", "--json", str(folder)]) == 4
    told = json.loads(capsys.readouterr().out)
    expected = {
        "state": "broken off", "ended": "stopped", "name": "jets", "config_hash": SEARCH.hash, "observations": 20, "detected": 9,
        "nothing": 0, "skipped": 0, "failed": 3, "left": 8, "candidates": 9, "bytes_read": 12_000, "requests": 36,
        "retries": {"a.example": 2, "b.example": 1}, "shards": 5, "shards_left": 2, "detectors": 0, "spectra": None,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert 0 <= told["busy_share"] <= 1
    assert told["reasons"][0] == {
        "status": "failed", "count": 3, "reason": "https://a.example/1.fits: 503; gave up after 1 attempts", "obs_id": "o001"
    }  # fmt: skip


def test_what_cannot_be_told_is_null(tmp_path: Path) -> None:
    finished(tmp_path)
    (tmp_path / PROGRESS).unlink()
    told = cli_status.as_json(read_state(tmp_path), NOW)
    for name in ("busy_share", "detectors", "nodes", "shards_out", "told", "told_seconds_ago"):
        assert told[name] is None, name
    assert told["seconds"] is not None


def test_no_run_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_many_kinds_of_reasons_are_cut(tmp_path: Path) -> None:
    state = read_state(finished(tmp_path))
    (why,) = state.reasons
    assert len(list(cli_status._reasons((why,) * 30))) == cli_status.SHOWN_REASONS + 1


def test_many_hosts_are_cut(tmp_path: Path) -> None:
    state = read_state(finished(tmp_path))
    many = Totals(20, retries={f"h{number}": 1 for number in range(9)})
    object.__setattr__(state, "totals", many)
    assert cli_status._retries(state).endswith("h4 1, 4 hosts more")
