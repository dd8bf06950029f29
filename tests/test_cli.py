import json
import os
import subprocess
import sys

import pytest
from astropy.table import Table
from pyarrow import feather

from raysearch import cli
from raysearch.testing import LocalArchive, demo_holdings


@pytest.fixture(scope="module")
def settings():
    with LocalArchive(demo_holdings()) as archive:
        yield [word for name, url in archive.services.items() for word in ("--set", f"services.{name}={url}")] + [
            "--set",
            "run.engine=inline",
        ]


@pytest.fixture(scope="module")
def folder(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main(["run", "jets", "--out", str(out), *settings]) == 1  # the demo's sky holds damaged files
    return out


def test_run_prints_the_closed_ledger_and_the_candidates(settings, tmp_path, capsys):
    assert cli.main(["run", "jets", "--out", str(tmp_path), *settings]) == 1
    said = capsys.readouterr()
    run = json.loads((tmp_path / "run.json").read_text())
    assert f"= {run['observations']} of {run['observations']} observations" in said.out
    assert "[Fe II] 17.936" in said.out
    assert "targets are notable" in said.out
    assert f"{run['observations']} of {run['observations']} observations" in said.err


def test_run_without_failures_ends_with_0(settings, folder, tmp_path):
    outcomes = [row["status"] for row in feather.read_table(folder / "outcomes" / "part-000000.arrow").to_pylist()]
    sound = 1 if outcomes[0] != "failed" else 0
    assert sound
    assert cli.main(["run", "jets", "--out", str(tmp_path), "--limit", "1", *settings]) == 0


def test_run_again_does_nothing_twice(settings, folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("part-*")}
    assert cli.main(["run", "jets", "--out", str(folder), *settings]) == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("part-*")} == before
    assert "were done before" in capsys.readouterr().err


def test_plan_writes_the_work_list(settings, tmp_path, capsys):
    assert cli.main(["plan", "jets", "--out", str(tmp_path), *settings]) in (0, 1)
    assert "to read:" in capsys.readouterr().out
    assert feather.read_table(tmp_path / "observations.arrow").num_rows > 10


def test_status_of_a_run(folder, capsys):
    assert cli.main(["status", str(folder)]) == 0
    assert "ledger: detected" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["ecsv", "vot", "fits", "parquet", "csv"])
def test_export(folder, tmp_path, ending):
    assert cli.main(["export", str(folder), str(tmp_path / f"c.{ending}")]) == 0
    if ending == "ecsv":
        assert len(Table.read(tmp_path / "c.ecsv")) > 0


@pytest.mark.parametrize("table", ["outcomes", "targets", "observations"])
def test_export_of_the_other_tables(folder, tmp_path, table):
    assert cli.main(["export", str(folder), str(tmp_path / "t.csv"), "--table", table]) == 0


def test_config_prints_what_can_be_run(tmp_path, capsys):
    assert cli.main(["config", "jets"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "same.toml").write_text(first)
    assert cli.main(["config", str(tmp_path / "same.toml")]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["config", "jest"], "did you mean 'jets'?"),
        (["config", "jets", "--set", "match.radios=1"], "did you mean 'radius'?"),
        (["status", "nowhere"], "no run folder"),
        (["export", "nowhere", "c.csv"], "no run folder"),
        (["run", "jets", "--out", "x", "--set", "services.simbad=http://127.0.0.1:9/tap", "--set", "run.engine=inline"], "SIMBAD"),
    ],
)
def test_what_cannot_run_ends_with_2_and_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("raysearch: ")
    assert "Traceback" not in error


def test_the_demo_in_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "raysearch.cli", "config", "jets"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.startswith("# config_hash = ")


@pytest.mark.slow
def test_demo(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "raysearch.cli", "demo"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "200"},
        timeout=180,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "ledger:" in done.stdout
    assert (tmp_path / "demo-run" / "run.json").exists()
    assert "Traceback" not in done.stderr
