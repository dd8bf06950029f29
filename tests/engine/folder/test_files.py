"""Files that are whole or not there, on a disk and in S3."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
from engine_fakes import job_of, run_in, statuses, tables_of, work_list

from raysearch.engine import status
from raysearch.engine.folder import files
from raysearch.engine.folder.files import Place, at_hand, locally, map_arrow, place, read_arrow, sound, write_arrow, write_json
from raysearch.engine.folder.s3 import S3Path
from raysearch.errors import RunFolderError
from raysearch.testing import Faults, LocalArchive

TABLE = pa.table({"x": [1, 2, 3]})


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder of either kind."""
    return tmp_path if request.param == "disk" else place(request.getfixturevalue("s3_folder"))


@pytest.mark.parametrize("name", [b"run-\xff", b"s3://runs/\xe9t\xe9"])
def test_a_place_whose_name_is_not_utf_8_is_refused(name: bytes) -> None:
    with pytest.raises(RunFolderError, match="its name is not UTF-8; choose another name") as refused:
        place(os.fsdecode(name))
    assert str(refused.value).isascii()


def test_a_place_is_what_is_written() -> None:
    assert place("runs/jets") == Path("runs/jets")
    assert isinstance(place("s3://runs/jets"), S3Path)
    assert place(place("s3://runs/jets")) == place("s3://runs/jets")
    for text in ("gs://runs/jets", "https://runs/jets", str(Path("s3://runs/jets"))):
        with pytest.raises(RunFolderError, match="a run folder is a path, or s3://bucket/folder"):
            place(text)


def test_tables_come_back(folder: Place) -> None:
    write_arrow(folder / "t.arrow", TABLE)
    assert read_arrow(folder / "t.arrow") == map_arrow(folder / "t.arrow") == TABLE
    assert sound(folder / "t.arrow")


@pytest.mark.parametrize("content", [b"", b"no table", bytes(1000)])
def test_what_is_no_table_is_damaged(folder: Place, content: bytes) -> None:
    (folder / "t.arrow").write_bytes(content)
    assert not sound(folder / "t.arrow")
    for read in (read_arrow, map_arrow):
        with pytest.raises(RunFolderError, match=r"t\.arrow is damaged .* run the search again"):
            read(folder / "t.arrow")


def test_a_table_that_is_not_there_is_told(folder: Place) -> None:
    for read in (read_arrow, map_arrow):
        with pytest.raises(RunFolderError, match=r"t\.arrow cannot be read: .*(No|no) such file"):
            read(folder / "t.arrow")


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "make room, and run again to continue"),
        (errno.EDQUOT, "make room, and run again to continue"),
        (errno.EROFS, "make it writable"),
        (errno.EIO, "run again to continue"),
    ],
)
def test_a_disk_that_fails_is_told_and_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cure: str) -> None:
    write_json(tmp_path / "run.json", {"before": 1})

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(RunFolderError, match=f"{os.strerror(number)}; what was done before is safe; .*{cure}"):
        write_json(tmp_path / "run.json", {"after": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert "before" in (tmp_path / "run.json").read_text()


def test_a_folder_is_written_locally_and_put_in_one_go(folder: Place) -> None:
    with locally(folder / "report") as here:
        (here / "figures").mkdir(parents=True)
        (here / "figures" / "0.js").write_text("0")
        (here / "index.html").write_text("page")
        (here / "data.js").write_text("data")
    assert (folder / "report" / "index.html").read_text(encoding="utf-8") == "page"
    assert sorted(path.name for path in (folder / "report").iterdir()) == ["data.js", "figures", "index.html"]


def test_the_page_comes_last(bucket: LocalArchive, s3_folder: str) -> None:
    with locally(place(s3_folder)) as here:
        (here / "figures").mkdir()
        for name in ("figures/0.js", "index.html", "data.js"):
            (here / name).write_text(name)
    assert bucket.log()[-1].path.endswith("index.html")
    with locally(place(s3_folder)):
        bucket.reset()
    assert not bucket.log()


def test_nothing_is_put_where_writing_failed(bucket: LocalArchive, s3_folder: str) -> None:
    def half(here: Path) -> None:
        (here / "index.html").write_text("half")
        raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"), locally(place(s3_folder)) as here:
        half(here)
    assert not bucket.log()


def test_a_file_is_at_hand(folder: Place) -> None:
    (folder / "marks.csv").write_bytes(b"a,b")
    with at_hand(folder / "marks.csv") as path:
        assert path.read_bytes() == b"a,b"


WORK = work_list(["detected", "two", "nothing", "missing", "limit"] * 3)


@pytest.mark.usefixtures("bucket")
def test_a_run_in_s3_is_as_one_on_a_disk(tmp_path: Path, s3_folder: str, engine: str) -> None:
    there = place(s3_folder)
    run_in(tmp_path / "run", job_of(), WORK)
    totals = run_in(there, job_of(), WORK, engine)
    assert tables_of(there) == tables_of(tmp_path / "run")
    assert status(place(s3_folder)).by_status == totals.by_status


def test_each_part_is_one_put(bucket: LocalArchive, s3_folder: str) -> None:
    run_in(place(s3_folder), job_of(), WORK)
    puts = [request.path.rpartition("/")[2] for request in bucket.log() if request.method == "PUT"]
    assert sorted(name for name in puts if name.startswith("part-")) == sorted([f"part-{n:06d}.arrow" for n in range(3)] * 2)
    assert not any("?" in name for name in puts)  # no upload in parts
    assert not [request for request in bucket.log() if request.method == "HEAD" and "part-" in request.path]


def test_a_run_in_s3_goes_on_where_it_was_broken_off(bucket: LocalArchive, tmp_path: Path, s3_folder: str) -> None:
    there = place(s3_folder)
    bucket.set_faults(Faults(keys={(there / "outcomes" / "part-000001.arrow").key: "403"}))
    with pytest.raises(RunFolderError, match="access is denied"):
        run_in(there, job_of(), WORK)
    assert statuses(place(s3_folder))[:5] == ["detected", "detected", "nothing", "failed", "nothing"]
    bucket.reset()
    assert run_in(place(s3_folder), job_of(), WORK).resumed in {5, 10}
    run_in(tmp_path / "run", job_of(), WORK)
    assert tables_of(place(s3_folder)) == tables_of(tmp_path / "run")


def test_a_second_run_in_s3_is_refused(bucket: LocalArchive, s3_folder: str) -> None:
    from engine_fakes import ledger_of

    with (
        ledger_of(place(s3_folder), job_of(), WORK),
        pytest.raises(RunFolderError, match=r"another run is at work in s3://.*process"),
    ):
        ledger_of(place(s3_folder), job_of(), WORK)
    ledger_of(place(s3_folder), job_of(), WORK).close()
