"""Kept answers: reused for a day, never torn, never another's, never a secret."""

import json
import os
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from raysearch.archives import answers as module
from raysearch.archives.answers import Answers, default_folder, through
from raysearch.errors import ArchiveError
from raysearch.model import Query

TABLE = pa.table({"name": ["a", None, "b"], "ra": [1.0, 2.0, None], "n": pa.array([[1], [], None], pa.list_(pa.int64()))})
ASKED = ("SIMBAD", "https://simbad.example/tap", "SELECT 1")


class Archive:
    """Counts how often it is asked."""

    def __init__(self, table=TABLE, url=ASKED[1], error=None):
        self.table, self.url, self.error, self.asked = table, url, error, 0

    def __call__(self):
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.table, Query("SIMBAD", self.url, "SELECT 1", self.table.num_rows, 0.5, counted=3)


def files(folder):
    return sorted(folder.glob("*"))


def test_an_answer_is_asked_once_and_then_reused(tmp_path):
    archive = Archive()
    first, asked = Answers(tmp_path).get(*ASKED, archive)
    again, reused = Answers(tmp_path).get(*ASKED, archive)
    assert archive.asked == 1
    assert again.equals(first, check_metadata=True)
    assert asked.reused == ""
    when = datetime.fromisoformat(reused.reused)
    assert when.tzinfo is not None
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert (reused.service, reused.text, reused.rows, reused.counted, reused.seconds) == ("SIMBAD", "SELECT 1", 3, 3, 0.5)


@pytest.mark.parametrize("other", [("MAST", *ASKED[1:]), (ASKED[0], "https://other", ASKED[2]), (*ASKED[:2], "SELECT 2")])
def test_another_service_address_or_text_is_another_answer(tmp_path, other):
    archive = Archive()
    Answers(tmp_path).get(*ASKED, archive)
    Answers(tmp_path).get(*other, archive)
    assert archive.asked == 2


def test_an_old_answer_is_asked_again(tmp_path, monkeypatch):
    archive = Archive()
    Answers(tmp_path).get(*ASKED, archive)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 86_000)
    Answers(tmp_path).get(*ASKED, archive)
    assert archive.asked == 1
    monkeypatch.setattr(module.time, "time", lambda: now + 86_500)
    Answers(tmp_path).get(*ASKED, archive)
    assert archive.asked == 2


def test_an_answer_from_the_future_is_asked_again(tmp_path, monkeypatch):
    archive = Archive()
    Answers(tmp_path).get(*ASKED, archive)
    monkeypatch.setattr(module.time, "time", lambda: datetime.now(UTC).timestamp() - 3600)
    Answers(tmp_path).get(*ASKED, archive)
    assert archive.asked == 2


def test_refresh_asks_and_keeps(tmp_path):
    Answers(tmp_path).get(*ASKED, Archive(TABLE.slice(0, 1)))
    assert Answers(tmp_path, "refresh").get(*ASKED, Archive())[0].num_rows == 3
    assert Answers(tmp_path).get(*ASKED, Archive(error=AssertionError("asked")))[0].num_rows == 3


def test_offline_reuses_whatever_its_age_and_never_asks(tmp_path, monkeypatch):
    never = Archive(error=AssertionError("asked"))
    with pytest.raises(ArchiveError, match=r"(?s)offline.*SIMBAD.*SELECT 1.*without --offline"):
        Answers(tmp_path, "offline").get(*ASKED, never)
    Answers(tmp_path).get(*ASKED, Archive())
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 1e8)
    assert Answers(tmp_path, "offline").get(*ASKED, never)[0].equals(TABLE)


def test_answers_weeks_old_go_when_another_is_written(tmp_path):
    foreign = [tmp_path / "mine.arrow", tmp_path / "notes.tmp"]
    draft = tmp_path / ("0" * 16 + "-abc.tmp")
    for file in (*foreign, draft):
        file.write_text("")
    Answers(tmp_path).get("S", "u", "old", Archive())
    Answers(tmp_path).get("S", "u", "young", Archive())
    weeks = time.time() - module.KEPT_S
    old = module.hashlib.sha256(b"S\nu\nold").hexdigest() + ".arrow"
    for file in tmp_path.iterdir():
        os.utime(file, (weeks - 60, weeks - 60) if file.name == old or file in {*foreign, draft} else (weeks + 60, weeks + 60))
    Answers(tmp_path, "offline").get("S", "u", "old", Archive())
    assert len(files(tmp_path)) == 5, "reading removes nothing"
    Answers(tmp_path).get("S", "u", "new", Archive())
    left = {file.name for file in tmp_path.iterdir()}
    assert old not in left
    assert draft.name not in left
    assert {"mine.arrow", "notes.tmp"} < left
    assert len(left) == 4


def test_off_neither_reads_nor_keeps(tmp_path):
    archive = Archive()
    for _ in range(2):
        Answers(tmp_path / "x", "off").get(*ASKED, archive)
    assert archive.asked == 2
    assert not (tmp_path / "x").exists()
    assert through(None, *ASKED, archive)[0] is TABLE


def test_an_error_is_never_kept(tmp_path):
    with pytest.raises(ArchiveError, match="refused"):
        Answers(tmp_path).get(*ASKED, Archive(error=ArchiveError("refused")))
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign", "flipped", "offsets", "unlabelled", "folder"])
def test_a_damaged_or_foreign_file_is_asked_again(tmp_path, damage):
    Answers(tmp_path).get(*ASKED, Archive())
    [file] = files(tmp_path)
    content = file.read_bytes()
    if damage == "torn":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "flipped":
        file.write_bytes(content[:-20] + b"\xff" * 10 + content[-10:])
    elif damage == "offsets":
        ends = struct.pack("<4i", 0, 1, 1, 2)  # of the names "a", null, "b"
        assert content.count(ends) == 1
        file.write_bytes(content.replace(ends, struct.pack("<4i", 0, 1, 1, 2_000_000)))
    elif damage == "unlabelled":
        with pa.ipc.new_file(str(file), TABLE.schema) as writer:
            writer.write_table(TABLE)
    elif damage == "foreign":
        Answers(tmp_path).get("MAST", "https://x", "?", Archive())
        [other] = [f for f in files(tmp_path) if f != file]
        other.replace(file)
    else:
        file.unlink()
        file.mkdir()
    archive = Archive()
    assert Answers(tmp_path).get(*ASKED, archive)[0].equals(TABLE)
    assert archive.asked == 1
    with pytest.raises(ArchiveError, match="offline"):
        Answers(tmp_path / "none", "offline").get(*ASKED, archive)


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc.RecordBatchFileWriter, "write_table", full)
    kept = Answers(tmp_path)
    assert kept.get(*ASKED, Archive())[0] is TABLE
    assert files(tmp_path) == []
    assert len(kept.notes) == 1
    assert "No space left" in kept.notes[0]


def test_a_folder_that_cannot_be_written_is_noted_once_and_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    kept = Answers(tmp_path / "file" / "answers")
    archive = Archive()
    for text in ("a", "b"):
        assert kept.get("S", "u", text, archive)[0] is TABLE
    assert archive.asked == 2
    assert len(kept.notes) == 1
    assert "services.answers" in kept.notes[0]
    assert kept.size() == (0, 0)


def test_no_secret_is_kept(tmp_path):
    archive = Archive(url="https://me:hunter2@host/tap?token=hunter2")
    Answers(tmp_path).get("SIMBAD", archive.url, "SELECT 1", archive)
    [file] = files(tmp_path)
    assert b"hunter2" not in file.read_bytes()
    _, query = Answers(tmp_path, "offline").get("SIMBAD", archive.url, "SELECT 1", archive)
    assert query.url == "https://host/tap?token=***"


@pytest.mark.parametrize(
    "cell",
    [
        "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=A&X-Amz-Signature=abc",
        "https://host/f?AWSAccessKeyId=a&Signature=abc&Expires=1",
        "https://me:secret@host/f.fits",
        "https://host/f?access_token=abc",
    ],
)
def test_signed_addresses_are_not_kept(tmp_path, cell):
    table = pa.table({"access_url": [None, cell]})
    assert Answers(tmp_path).get(*ASKED, Archive(table))[0] is table
    assert files(tmp_path) == []


def test_plain_addresses_are_kept(tmp_path):
    cells = ["https://host/ibe?center=1,2&size=3", "mast:JWST/product/a.fits", "s3://b/k", "https://host/x?design=1#a@b"]
    Answers(tmp_path).get(*ASKED, Archive(pa.table({"access_url": cells})))
    assert len(files(tmp_path)) == 1


def test_the_size_is_told(tmp_path):
    kept = Answers(tmp_path / "deep" / "folder")
    assert kept.size() == (0, 0)
    for text in "ab":
        kept.get("S", "u", text, Archive())
    number, size = kept.size()
    assert number == 2
    assert size == sum(f.stat().st_size for f in files(kept.folder))


def test_the_default_folder_is_the_users_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert default_folder() == Path("/somewhere/cache/raysearch/answers")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # invalid, to be ignored (XDG Base Directory Specification)
    monkeypatch.setenv("HOME", "/home/me")
    assert default_folder() == Path("/home/me/.cache/raysearch/answers")


def test_metadata_of_the_answer_stay(tmp_path):
    table = TABLE.replace_schema_metadata({"unit": "deg"})
    Answers(tmp_path).get(*ASKED, Archive(table))
    assert Answers(tmp_path).get(*ASKED, Archive())[0].schema.metadata == {b"unit": b"deg"}


WORKER = """
import sys
from pathlib import Path
import pyarrow as pa
from raysearch.archives.answers import Answers
from raysearch.model import Query

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
table = pa.table({"n": pa.array([seed] * 20_000)})
for i in range(60):
    answers = Answers(folder, "refresh" if (i + seed) % 2 else "reuse")
    got, _ = answers.get("S", "u", "q", lambda: (table, Query("S", "u", "q", 20_000, 0.0)))
    assert got.num_rows == 20_000 and len(set(got["n"].to_pylist())) == 1 and not answers.notes
"""


def test_two_processes_at_once_never_see_half_an_answer(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(seed)]) for seed in (1, 2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert [f.suffix for f in files(tmp_path)] == [".arrow"]


def test_what_is_written_says_what_was_asked(tmp_path):
    Answers(tmp_path).get(*ASKED, Archive())
    [file] = files(tmp_path)
    with pa.ipc.open_file(str(file)) as kept:
        told = json.loads(kept.schema.metadata[b"raysearch.answer"])
    assert {"service", "url", "text", "rows", "counted", "seconds", "reused"} <= told.keys()
