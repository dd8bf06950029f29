"""One run at a time, on a disk and in S3, whatever becomes of the one that has the folder."""

import errno
import fcntl
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raysearch.engine.folder import locks
from raysearch.engine.folder.locks import LOCK, FileLock, Lease, is_held, locked
from raysearch.engine.folder.s3 import S3Path, Stored, s3_path
from raysearch.errors import RunFolderError
from raysearch.testing import Faults, LocalArchive


@pytest.fixture
def folder(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> S3Path:
    monkeypatch.setattr(locks, "BEAT_S", 3600.0)
    return s3_path(s3_folder)


def again(folder: S3Path) -> S3Path:
    """Return the folder as another run sees it."""
    return s3_path(str(folder))


def elsewhere(folder: S3Path, **other: object) -> None:
    """Write a lease that a run on another machine holds."""
    held = {"host": "far", "machine": "far", "pid": 7, "started": "1", "since": "2026-11-21T12:00:00", "run": "x", **other}
    (folder / LOCK).write_bytes(json.dumps(held).encode())


def test_a_second_run_is_refused_and_told_who_is_first(folder: S3Path) -> None:
    elsewhere(folder)
    with pytest.raises(
        RunFolderError, match=r"another run is at work in s3://.* \(on far, process 7, since 2026-11-21T12:00:00; .* 90 s"
    ):
        locked(folder)


def test_a_folder_given_free_is_taken_at_once(folder: S3Path) -> None:
    lock = locked(folder)
    with pytest.raises(RunFolderError, match="another run is at work"):
        locked(again(folder))
    lock.close()
    lock.close()
    assert lock.closed
    other = locked(again(folder))
    assert not other.closed
    other.close()


def test_a_lease_that_ran_out_is_taken_over(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(folder)
    monkeypatch.setattr(locks, "LEASE_S", -1.0)
    locked(folder).close()


def test_a_run_killed_on_this_machine_holds_nothing(folder: S3Path) -> None:
    code = (
        "import os, signal, sys\nfrom raysearch.engine.folder.locks import locked\nfrom raysearch.engine.folder.s3 import s3_path\n"
    )
    code += "locked(s3_path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode < 0
    assert json.loads((folder / LOCK).read_bytes())["run"]
    locked(folder).close()


def test_a_damaged_lease_counts_until_it_runs_out(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / LOCK).write_bytes(b"[")
    with pytest.raises(RunFolderError, match="another run is at work"):
        locked(folder)
    monkeypatch.setattr(locks, "LEASE_S", -1.0)
    locked(folder).close()


def test_a_lost_answer_is_not_another_run(bucket: LocalArchive, folder: S3Path) -> None:
    bucket.set_faults(Faults(keys={(folder / LOCK).key: "lost"}, strikes=1))
    locked(folder).close()


def test_the_lease_is_renewed_while_it_is_held(folder: S3Path, bucket: LocalArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.02)
    lock = locked(folder)
    before = len(bucket.log())
    while len(bucket.log()) < before + 3:
        time.sleep(0.02)
    lock.close()


def test_who_could_not_renew_writes_only_once_it_could(
    folder: S3Path, bucket: LocalArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locked(folder)
    monkeypatch.setattr(locks, "TRUST_S", -1.0)  # the last renewal is too long ago, as after S3 was away
    bucket.reset()
    (folder / "part").write_bytes(b"1")
    assert [request.path.rpartition("/")[2] for request in bucket.log()] == [LOCK, "part"]
    folder.bucket.retry_s = 0.2
    bucket.set_faults(Faults(keys={(folder / LOCK).key: "503"}))
    with pytest.raises(RunFolderError, match="S3 cannot be reached"):
        (folder / "part").write_bytes(b"2")
    bucket.reset()
    assert (folder / "part").read_bytes() == b"1"
    lock.close()


def test_who_lost_the_lease_never_writes_again(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = locked(folder)
    elsewhere(again(folder))  # as if it had slept for long
    monkeypatch.setattr(locks, "TRUST_S", -1.0)
    for _ in range(2):
        with pytest.raises(RunFolderError, match="was taken over by another run"):
            (folder / "part").write_bytes(b"1")
    lock.close()
    assert not (again(folder) / "part").exists()
    assert json.loads((again(folder) / LOCK).read_bytes())["host"] == "far"  # and its end does not free what is not its own


def test_a_lease_that_was_removed_is_lost(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = locked(folder)
    (again(folder) / LOCK).unlink()
    monkeypatch.setattr(locks, "TRUST_S", -1.0)
    with pytest.raises(RunFolderError, match=r"or its \.lock was removed"):
        (folder / "part").write_bytes(b"1")
    lock.close()


def test_a_machine_that_slept_trusts_nothing(folder: S3Path, bucket: LocalArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = locked(folder)
    now = time.time() + 600.0  # the clock on the wall goes on while the other stands still
    monkeypatch.setattr(locks.time, "time", lambda: now)
    bucket.reset()
    (folder / "part").write_bytes(b"1")
    assert [request.path.rpartition("/")[2] for request in bucket.log()] == [LOCK, "part"]
    lock.close()


@pytest.mark.parametrize(("unheeded", "told"), [("IfNoneMatch", "If-None-Match"), ("IfMatch", "If-Match")])
def test_an_s3_that_does_not_heed_a_condition_is_refused(
    folder: S3Path, monkeypatch: pytest.MonkeyPatch, unheeded: str, told: str
) -> None:
    write = S3Path.write_bytes

    def careless(path: S3Path, content: bytes, **other: Any) -> str:
        return write(path, content, **{name: value for name, value in other.items() if name != unheeded})

    monkeypatch.setattr(S3Path, "write_bytes", careless)
    with pytest.raises(RunFolderError, match=rf"overwrites what it is told to leave \({told}\)"):
        Lease(folder / LOCK)


def test_an_s3_that_contradicts_itself_is_told(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a proxy that changes ETags: what stands can never be replaced."""
    lock = locked(folder)
    write = S3Path.write_bytes

    def stubborn(path: S3Path, content: bytes, **other: Any) -> str:
        if "IfMatch" in other:
            raise FileExistsError
        return write(path, content, **other)

    monkeypatch.setattr(S3Path, "write_bytes", stubborn)
    monkeypatch.setattr(locks, "TRUST_S", -1.0)
    with pytest.raises(RunFolderError, match="a proxy before it changes ETags"):
        (folder / "part").write_bytes(b"1")
    monkeypatch.setattr(locks, "LEASE_S", -1.0)
    with pytest.raises(RunFolderError, match="a proxy before it changes ETags"):
        locked(again(folder))
    lock.close()


def test_a_lease_that_is_renewed_just_then_is_not_taken_over(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder was frozen for long, and comes back between the other's look and its grasp."""
    lock = locked(folder)
    assert isinstance(lock, Lease)
    lives = locks._lives

    def comes_back(*_: object) -> bool:
        monkeypatch.setattr(locks, "_lives", lives)
        lock._renew()
        return False

    monkeypatch.setattr(locks, "_lives", comes_back)
    with pytest.raises(RunFolderError, match="another run is at work"):
        locked(again(folder))
    lock._renew()
    lock.close()


def test_a_lease_that_is_removed_just_then_is_taken(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(folder)
    read = S3Path.read

    def removed(path: S3Path) -> Stored:
        again(folder).bucket.ask(path, lambda client, where: client.delete_object(**where))
        monkeypatch.setattr(S3Path, "read", read)
        return read(path)

    monkeypatch.setattr(S3Path, "read", removed)
    locked(folder).close()


def test_a_folder_is_given_free_though_an_answer_was_lost(folder: S3Path, bucket: LocalArchive) -> None:
    lock = locked(folder)
    assert isinstance(lock, Lease)
    bucket.set_faults(Faults(keys={(folder / LOCK).key: "lost"}, strikes=1))
    with pytest.raises(RunFolderError, match="S3 cannot be reached"):
        lock._renew()
    lock.close()
    assert not json.loads((again(folder) / LOCK).read_bytes())["run"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(*_: object) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(RunFolderError, match=r"lies on a file system without locks .* choose an --out on another disk"):
        locked(tmp_path)


@pytest.mark.parametrize("gone", ["removed", "replaced"])
def test_a_folder_that_goes_in_mid_run_is_noticed(tmp_path: Path, gone: str) -> None:
    lock = FileLock(tmp_path / LOCK)
    lock.check()
    (tmp_path / LOCK).unlink()
    if gone == "replaced":
        (tmp_path / LOCK).touch()
    with pytest.raises(RunFolderError, match="was removed, renamed or unmounted"):
        lock.check()
    lock.close()


def test_whether_a_folder_in_s3_is_held(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_held(folder)
    lock = locked(folder)
    assert is_held(again(folder))
    lock.close()
    assert not is_held(again(folder))
    elsewhere(folder)
    assert is_held(folder)
    monkeypatch.setattr(locks, "LEASE_S", -1.0)
    assert not is_held(folder)


def test_whether_a_folder_on_a_disk_is_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert not list(tmp_path.iterdir())  # looking leaves nothing
    lock = locked(tmp_path)
    assert is_held(tmp_path)
    lock.close()
    assert not is_held(tmp_path)
