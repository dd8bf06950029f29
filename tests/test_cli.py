import json
import os
import pty
import subprocess
import sys
import time

import pytest
from astropy.io import fits
from astropy.table import Table
from pyarrow import feather

from raysearch import cli
from raysearch.cli_terminal import outlived
from raysearch.search import Result
from raysearch.testing import CubeSpec, Faults, Jet, LocalArchive, demo_holdings, make_cube


@pytest.fixture(scope="module")
def settings():
    with LocalArchive(demo_holdings()) as archive:
        asked = [f"services.{name}={url}" for name, url in archive.services.items()]
        asked += ["run.engine=inline", "report.figures=false", "report.page=false"]  # which have tests of their own
        yield [word for setting in asked for word in ("--set", setting)]


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


def test_query_says_what_was_asked_and_writes_the_table(settings, tmp_path, capsys):
    command = ["query", "jets", "--out", str(tmp_path / "q"), "--table", str(tmp_path / "q.ecsv"), *settings]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    table = feather.read_table(tmp_path / "q" / "observations.arrow")
    assert len(Table.read(tmp_path / "q.ecsv")) == table.num_rows
    assert "SIMBAD: 32 of 32 rows in" in said
    assert "WHERE otype = 'Y*O..'" in said
    assert "MAST: 60 of 60 rows in" in said
    assert f"{table.num_rows} observations" in said
    assert "its obs_id has the excluded pattern" in said


def test_query_and_plan_agree_on_the_observations(settings, tmp_path):
    assert cli.main(["query", "jets", "--out", str(tmp_path / "q"), "--limit", "9", *settings]) == 0
    assert cli.main(["plan", "jets", "--out", str(tmp_path / "p"), "--limit", "9", *settings]) in (0, 1)
    assert feather.read_table(tmp_path / "q" / "observations.arrow") == feather.read_table(tmp_path / "p" / "observations.arrow")


def test_kept_answers_are_told_with_their_age(settings, tmp_path, capsys):
    kept = [*settings, "--set", f"services.answers={tmp_path}"]
    assert cli.main(["query", "jets", "--offline", *kept]) == 2
    error = capsys.readouterr().err
    assert "offline" in error
    assert "SIMBAD" in error
    assert cli.main(["query", "jets", *kept]) == 0
    assert "kept answer" not in capsys.readouterr().out
    assert cli.main(["query", "jets", "--offline", *kept]) == 0
    assert capsys.readouterr().out.count("s old; --refresh asks again)") == 3
    assert cli.main(["query", "jets", "--refresh", *kept]) == 0
    assert "kept answer" not in capsys.readouterr().out


def test_a_limit_says_how_many_are_beyond_it(settings, tmp_path, capsys):
    assert cli.main(["run", "jets", "--out", str(tmp_path / "run"), "--limit", "2", *settings]) == 0
    beyond = json.loads((tmp_path / "run" / "run.json").read_text())["funnel"]["beyond_limit"]
    assert f"  {beyond} beyond the first 2, which are all that --limit asks for" in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["0", "-3", "1.5", "some"])
def test_a_limit_that_is_none(limit, capsys):
    with pytest.raises(SystemExit):
        cli.main(["query", "jets", f"--limit={limit}"])
    assert f"wants a whole number, 1 or more, not '{limit}'" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "goes_on"), [(["run", "jets", "--out", "x"], True), (["query", "jets"], False)])
def test_stopped_by_ctrl_c(command, goes_on, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("raysearch.search.Search.work_list", stopped)
    assert cli.main(command) == 130
    said = capsys.readouterr().err
    assert "raysearch: stopped" in said
    assert ("the same command goes on from here" in said) == goes_on


def test_refresh_and_offline_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        cli.main(["query", "jets", "--refresh", "--offline"])
    assert "not allowed with" in capsys.readouterr().err


def test_run_since_says_what_is_left_out(settings, folder, tmp_path, capsys):
    assert cli.main(["run", "jets", "--out", str(tmp_path / "new"), "--since", str(folder), *settings]) == 1
    said = capsys.readouterr().out
    assert f"left out, settled by {folder} and unchanged since: " in said
    assert json.loads((tmp_path / "new" / "run.json").read_text())["since"]["folder"] == str(folder)
    assert cli.main(["run", "jets", "--out", str(tmp_path / "other"), "--since", str(tmp_path), *settings]) == 2


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (100, "100 s"), (600, "10 min"), (7200, "2 h"), (86_400, "24 h"), (200_000, "2 d")]
)
def test_ages(seconds, told):
    assert cli._age(seconds) == told


def test_a_plan_leaves_a_run_folder_alone(settings, folder, capsys):
    before = (folder / "observations.arrow").read_bytes()
    assert cli.main(["plan", "jets", "--limit", "1", "--out", str(folder), *settings]) == 2
    assert "is the folder of a run" in capsys.readouterr().err
    assert (folder / "observations.arrow").read_bytes() == before


def test_output_that_nobody_reads_to_the_end_is_no_success():
    pipe = subprocess.Popen([sys.executable, "-m", "raysearch.cli", "config", "jets"], stdout=subprocess.PIPE)
    pipe.stdout.close()
    assert pipe.wait(timeout=60) in {120, 141}


def test_what_an_output_has_no_letter_for_is_spelled_out(tmp_path):
    search = tmp_path / "ω.toml"
    search.write_text(
        '[targets]\nsimbad = "main_id = \'ω Cen\'"\n[observations]\narchive = "mast"\ncollection = "JWST"\n'
        '[lines]\nlist = "feii-jwst"\n'
    )
    command = [sys.executable, "-m", "raysearch.cli", "config", str(search)]
    said = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert "\\u03c9" in said.stdout


def test_a_folder_that_was_removed_is_no_place_to_start_in(tmp_path, capsys, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["config", "jets"]) == 2
    assert capsys.readouterr().err == (
        "raysearch: the folder that this was started in is not there any more: change to another one\n"
    )


def test_ctrl_c_while_the_command_line_is_read(monkeypatch, capsys):
    def stop(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_folder", stop)
    assert cli.main(["status", "run"]) == 130
    assert capsys.readouterr().err == "\nraysearch: stopped\n"


def test_a_terminal_that_is_gone_costs_nothing(monkeypatch):
    """Its other side is closed, as when a connection is lost: whatever is written gives EIO."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with outlived():
            sys.stdout.write("seen\n")
            sys.stdout.flush()
            assert os.read(master, 100) == b"seen\r\n"
            os.close(master)
            sys.stdout.write("not seen\n")
            sys.stdout.flush()
            sys.stdout.write("nor this")
        monkeypatch.undo()


@pytest.mark.parametrize("file", ["nowhere/c.csv", "nowhere/c.fits", "nowhere/c.ecsv", "nowhere/c.parquet"])
def test_a_table_that_cannot_be_written_is_one_sentence(folder, tmp_path, capsys, file):
    assert cli.main(["export", str(folder), str(tmp_path / file)]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_status_of_a_run(folder, capsys):
    assert cli.main(["status", str(folder)]) == 1  # the demo's sky holds damaged files
    assert "ledger: detected" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["ecsv", "vot", "fits", "parquet", "csv"])
def test_export(folder, tmp_path, ending):
    assert cli.main(["export", str(folder), str(tmp_path / f"c.{ending}")]) == 0
    if ending == "ecsv":
        assert len(Table.read(tmp_path / "c.ecsv")) > 0


@pytest.mark.parametrize("table", ["outcomes", "limits", "targets", "observations"])
def test_export_of_the_other_tables(folder, tmp_path, table):
    assert cli.main(["export", str(folder), str(tmp_path / "t.csv"), "--table", table]) == 0


def test_export_of_the_planes_around_the_candidates(folder, tmp_path, capsys):
    assert cli.main(["export", str(folder), "--cubes", str(tmp_path / "cubes")]) == 0
    rows = feather_rows(folder)
    written = sorted((tmp_path / "cubes").iterdir())
    assert f"{len(rows)} cubes -> " in capsys.readouterr().out
    assert len(written) == len(rows) > 0
    for row, path in zip(rows, written, strict=True):
        with fits.open(path) as cube:
            waves = cube["WCS-TABLE"].data["wavelength"].ravel()
            assert cube["SCI"].header["NAXIS3"] == waves.size
            assert waves[0] < row["wavelength_um"] < waves[-1]
            assert cube[0].header["OBS_ID"] == row["obs_id"]


def test_export_of_the_line_maps(folder, tmp_path, capsys):
    assert cli.main(["export", str(folder), str(tmp_path / "c.parquet"), "--maps", str(tmp_path / "maps")]) == 0
    said = capsys.readouterr().out
    written = sorted((tmp_path / "maps").iterdir())
    assert f"{len(written)} maps -> " in said
    with_maps = [row for row in feather_rows(folder) if row["map"]]
    assert len(written) == len(with_maps) > 0
    with fits.open(written[0]) as hdus:
        assert any(hdu.data is not None for hdu in hdus)


def feather_rows(folder):
    return [row for part in sorted((folder / "candidates").iterdir()) for row in feather.read_table(part).to_pylist()]


def test_export_of_nothing_is_a_sentence(folder, capsys):
    assert cli.main(["export", str(folder)]) == 2
    assert "name a FILE for a table, --maps FOLDER" in capsys.readouterr().err


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
        (["query", "jets", "--offline"], "no answer of SIMBAD"),
        (["query", "jets", "--offline", "--table", "q.xlsx"], "cannot tell a format from the ending '.xlsx'"),
        (["config", "jets", "--set", "match.radios=1"], "did you mean 'radius'?"),
        (["status", "nowhere"], "no run folder"),
        (["export", "nowhere", "c.csv"], "no run folder"),
        (["run", "jets", "--out", "x", "--set", "services.simbad=http://127.0.0.1:9/tap", "--set", "run.engine=inline"], "SIMBAD"),
    ],
)
def test_what_cannot_run_ends_with_2_and_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("raysearch.archives.http._PatientAdapter._pause_s", lambda *_: 0.0)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.splitlines()[-1].startswith("raysearch: ") or error.startswith("raysearch: ")
    assert "Traceback" not in error


def test_no_warning_on_the_way_to_the_config(tmp_path):
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
    (tmp_path / "demo-run").mkdir()  # of an earlier demo
    command = [sys.executable, "-m", "raysearch.cli", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "ledger: detected" in done.stdout
    assert "ended as the made-up sky says" in done.stdout
    assert Result(tmp_path / "demo-run-2").about["finished"]
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def sorted_tables(folder):
    """Return the records and the outcomes of a run, but for the time each took."""
    result = Result(folder)
    outcomes = result.arrow("outcomes").drop_columns(["seconds", "figures_seconds", "detect_seconds", "retries"]).sort_by("obs_id")
    return result.arrow("candidates").sort_by([("obs_id", "ascending"), ("rest_um", "ascending")]), outcomes


@pytest.mark.slow
def test_a_run_killed_with_9_goes_on_to_the_same_tables(tmp_path):
    with LocalArchive(demo_holdings()) as archive:
        settings = [word for name, url in archive.services.items() for word in ("--set", f"services.{name}={url}")]
        settings += ["--set", "run.concurrency=2", "--set", "detector.name=published", "--set", "report.figures=false"]
        settings += ["--set", "report.page=false"]
        command = [sys.executable, "-m", "raysearch.cli", "run", "jets", *settings, "--out"]
        assert cli.main([*command[3:], str(tmp_path / "whole"), "--set", "run.engine=inline"]) == 1
        archive.set_faults(Faults(delay=(0.05, 0.1)))
        killed = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        parts = tmp_path / "killed" / "outcomes"
        while not (parts.is_dir() and any(parts.glob("part-*.arrow"))):
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
        killed.wait()
        archive.set_faults(Faults())
        done = Result(tmp_path / "killed").totals.done
        again = subprocess.run([*command, tmp_path / "killed"], capture_output=True, text=True, timeout=120, check=False)
    whole = Result(tmp_path / "whole").totals
    assert 0 < done < whole.observations
    assert f"{done} of {whole.observations} observations were done before" in again.stderr
    assert again.returncode == 1
    assert sorted_tables(tmp_path / "killed") == sorted_tables(tmp_path / "whole")
    assert (tmp_path / "killed" / "targets.arrow").read_bytes() == (tmp_path / "whole" / "targets.arrow").read_bytes()


@pytest.mark.slow
def test_ray_and_inline_give_the_same_tables(settings, folder, tmp_path, one_ray):
    assert cli.main(["run", "jets", "--out", str(tmp_path / "ray"), *settings, "--set", "run.engine=ray"]) == 1
    for ray, inline in zip(sorted_tables(tmp_path / "ray"), sorted_tables(folder), strict=True):
        assert ray.schema == inline.schema
        assert [name for name in ray.column_names if ray[name] != inline[name]] == []


OWN = """
import numpy as np

from raysearch import Candidate


class Brightest:
    window = 3
    columns = {"peak": "f4"}

    def __init__(self, floor=0.0):
        self.floor = floor

    def detect(self, pixels):
        peaks = [(window, float(np.nanmax(window.sci))) for window in pixels.windows]
        return [
            Candidate(window.target, {"peak": peak}, window.line.name, window.line.rest_um, window.observed_um)
            for window, peak in peaks
            if peak > self.floor
        ]
"""


@pytest.mark.slow
def test_a_detector_of_ones_own_file_reaches_rays_workers(tmp_path, one_ray):
    for name, jets in (("jet", (Jet(17.936, resolving_power=1600),)), ("star", ())):
        spec = CubeSpec(name=name, planes=120, wave_start_um=17.7, wave_step_um=0.0025, jets=jets)
        (tmp_path / f"{name}.fits").write_bytes(make_cube(spec))
    (tmp_path / "own.py").write_text(OWN)
    search = tmp_path / "mine.toml"
    lines = '[lines]\nlist = "feii-jwst"\n'
    search.write_text(f'[observations]\ntable = "."\n{lines}[detector]\nname = "own.py:Brightest"\nfloor = 500.0\n')
    for engine in ("ray", "inline"):
        assert cli.main(["run", str(search), "--out", str(tmp_path / engine), "--set", f"run.engine={engine}"]) == 0
    assert sorted_tables(tmp_path / "ray") == sorted_tables(tmp_path / "inline")
    assert Result(tmp_path / "ray").arrow("candidates")["obs_id"].to_pylist() == ["jet"]
    assert Result(tmp_path / "ray").about["name"] == "mine"
