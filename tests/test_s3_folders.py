"""Run folders in S3, from the command line: as local ones, in all that is done with them."""

import json

import pytest
from astropy.table import Table

from raysearch import Result, Search, cli, pages
from raysearch.engine.folder import locks, s3
from raysearch.engine.folder.files import place
from raysearch.engine.folder.locks import LOCK
from raysearch.engine.folder.s3 import S3Path
from raysearch.testing import Faults, LocalArchive, demo_holdings
from raysearch.testing.spherex_sky import spherex_sky

MEASURED = ["seconds", "figures_seconds", "detect_seconds", "retries"]


def settings_of(archive, **more):
    settings = {f"services.{name}": url for name, url in archive.services.items()}
    return {**settings, "run.engine": "inline", "report.figures": False, **more}


@pytest.fixture(scope="module")
def jets():
    with LocalArchive(demo_holdings(observations=20)) as archive:
        yield [f"--set={key}={json.dumps(value)}" for key, value in settings_of(archive).items()]


def same(first, second, name, but=()):
    tables = [
        result.arrow(name).drop_columns([column for column in but if column in result.arrow(name).column_names])
        for result in (first, second)
    ]
    assert repr(tables[0].to_pylist()) == repr(tables[1].to_pylist())  # NaN and all


@pytest.mark.slow
def test_a_search_into_s3_and_all_that_follows(bucket, s3_folder, jets, tmp_path, capsys):
    out = f"{s3_folder}/jets"
    assert cli.main(["run", "jets", "--out", out, *jets]) == 1  # the demo's sky holds damaged files
    said = capsys.readouterr().out
    assert f"run folder: {out}\npage: {out}/report/index.html" in said
    assert "SECRET" not in said
    assert cli.main(["run", "jets", "--out", str(tmp_path / "run"), *jets]) == 1
    here, there = Result(tmp_path / "run"), Result(out)
    same(here, there, "candidates")
    same(here, there, "targets")
    same(here, there, "outcomes", MEASURED)
    # Pixels come from [services] s3, wherever the environment says that S3 is.
    assert sum(row["uri"].startswith("s3://") and row["bytes_read"] > 0 for row in there.arrow("outcomes").to_pylist()) > 5
    assert not any(b"SECRET" in path.read_bytes() for path in place(out).iterdir() if path.listed)

    bucket.reset()
    assert cli.main(["run", "jets", "--out", out, *jets]) == 1
    assert not [request.path for request in bucket.log() if request.method == "PUT" and "part-" in request.path]
    capsys.readouterr()

    cli.main(["status", out])
    assert "= 18 of 18 observations" in capsys.readouterr().out
    assert cli.main(["export", out, str(tmp_path / "c.ecsv")]) == 0
    assert len(Table.read(tmp_path / "c.ecsv")) == here.arrow("candidates").num_rows
    for name in ("sky.moc.json", "cite.txt", "c.reg"):
        assert cli.main(["export", out, str(tmp_path / name)]) == 0
    assert cli.main(["export", out, "--maps", str(tmp_path / "maps")]) == 0
    assert cli.main(["report", out, "--single-file", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert cli.main(["report", out, "--live"]) == 2
    assert "only a run on this machine's disks can be followed" in capsys.readouterr().err

    assert cli.main(["run", "jets", "--out", str(tmp_path / "new"), "--since", out, *jets]) == 1
    assert f"settled by {out} and unchanged since" in capsys.readouterr().out
    assert cli.main(["run", "jets", "--out", out, "--since", out, *jets]) == 2
    assert cli.main(["run", "jets", "--out", out, "--limit", "2", *jets]) == 2
    assert "holds the same search over another work list" in capsys.readouterr().err


@pytest.fixture(scope="module")
def undisturbed(jets, tmp_path_factory):
    out = tmp_path_factory.mktemp("here") / "run"
    assert cli.main(["run", "jets", "--out", str(out), *jets]) == 1
    return Result(out)


def as_undisturbed(there, undisturbed):
    same(undisturbed, there, "candidates")
    same(undisturbed, there, "outcomes", MEASURED)


def test_half_of_all_requests_fail_and_listings_come_in_pages_of_two(bucket, s3_folder, jets, undisturbed, monkeypatch):
    monkeypatch.setattr(s3, "FIRST_PAUSE_S", 0.01)
    struck = {"500": 0.1, "503": 0.2, "reset": 0.1, "lost": 0.1}
    bucket.set_faults(Faults(chance=struck, s3_limit=2, seed=1))
    assert cli.main(["run", "jets", "--out", s3_folder, *jets]) == 1
    bucket.set_faults(Faults(s3_limit=2))
    as_undisturbed(Result(s3_folder), undisturbed)
    assert [request.status for request in bucket.log()].count(503) > 5


@pytest.mark.usefixtures("bucket")
def test_who_loses_its_lease_in_mid_run_writes_nothing_more(s3_folder, jets, undisturbed, monkeypatch, capsys):
    write, folder = S3Path.write_bytes, place(s3_folder)

    def taken_over(path, content, **more):
        if path.name == "part-000001.arrow":
            write(folder / LOCK, json.dumps({"run": "another", "host": "far", "machine": "far", "pid": 1}).encode())
        return write(path, content, **more)

    with monkeypatch.context() as patch:
        patch.setattr(S3Path, "write_bytes", taken_over)
        patch.setattr(locks, "TRUST_S", -1.0)  # as after S3, or the machine, was away for long: every write asks first
        assert cli.main(["run", "jets", "--out", s3_folder, *jets]) == 2
    assert f"{s3_folder} was taken over by another run" in capsys.readouterr().err
    assert "part-000001.arrow" not in [path.name for kind in ("candidates", "outcomes") for path in (folder / kind).iterdir()]
    assert json.loads((folder / LOCK).read_text())["run"] == "another"

    assert cli.main(["run", "jets", "--out", s3_folder, *jets]) == 2
    assert "another run is at work" in capsys.readouterr().err
    (folder / LOCK).unlink()
    assert cli.main(["run", "jets", "--out", s3_folder, *jets]) == 1
    as_undisturbed(Result(s3_folder), undisturbed)


@pytest.mark.usefixtures("bucket")
def test_marks_are_kept_in_s3(s3_folder, jets, tmp_path):
    out = f"{s3_folder}/jets"
    cli.main(["run", "jets", "--out", out, "--limit", "1", *jets])
    candidates = Result(out).arrow("candidates")
    (tmp_path / "marks.csv").write_text(f"candidate,mark,note,marked\n{candidates['obs_id'][0].as_py()}#0,good,,\n")
    assert cli.main(["report", out, "--marks", str(tmp_path / "marks.csv")]) == 0
    assert len(pages.load(place(out))[0].marks) == 1
    assert "good" in (place(out) / "report" / "data.js").read_text()


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("text", ["gs://bucket/x", "s3://Bucket/x", "s3://b/../x", "s3:/bucket/x"])
def test_an_address_that_is_no_folder_is_refused(text, jets, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", text])
    assert ended.value.code == 2
    assert "s3://bucket/folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("bucket")
def test_sources_and_their_spectra_in_s3(s3_folder, tmp_path):
    asked = {"targets.names": ["SPX Red A"], "images.size": "0.08 deg", "spectra.snr": 60.0, "spectra.size": "0.058 deg"}
    with LocalArchive(spherex_sky(side=96).holdings) as archive:
        search = Search.load("spherex-sources", settings_of(archive, **asked))
        there, here = search.run(f"{s3_folder}/sources"), search.run(tmp_path / "sources")
        for name in ("sources", "spectra", "targets"):
            assert here.arrow(name).num_rows
            same(here, there, name, ["uri", "config_hash"])
        cutouts = Search.load("spherex-cutouts", settings_of(archive, **{"targets.names": ["SPX Red A"]}))
        (file,) = (cutouts.run(f"{s3_folder}/cutouts").folder / "cutouts").iterdir()
        assert file.name == "SPX_Red_A.fits"
        assert file.read_bytes().startswith(b"SIMPLE  =")
