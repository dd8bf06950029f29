"""Folders in S3: one request for each file, retried or told with its cure."""

import pytest

from raysearch.engine import s3
from raysearch.engine.s3 import Bucket, S3Path, Unreachable, s3_path
from raysearch.errors import RunFolderError
from raysearch.testing import Faults, LocalArchive


@pytest.fixture
def folder(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> S3Path:
    monkeypatch.setattr(s3, "FIRST_PAUSE_S", 0.01)
    return s3_path(s3_folder)


def asked(bucket: LocalArchive) -> list[tuple[str, str]]:
    """Return method and last part of the path of each request."""
    return [(request.method, request.path.partition("?")[0].rpartition("/")[2]) for request in bucket.log()]


def key(path: S3Path) -> str:
    return path.key


def test_a_file_is_put_by_one_request_and_read_by_one(bucket: LocalArchive, folder: S3Path) -> None:
    path = folder / "päge +1.html"
    path.write_bytes(b"<html>")
    assert path.read_bytes() == b"<html>"
    assert path.read_text() == "<html>"
    assert asked(bucket) == [("PUT", path.name), ("GET", path.name), ("GET", path.name)]
    assert path.read().age_s < 60


def test_paths_are_as_those_of_pathlib() -> None:
    folder = s3_path("s3://runs/deep/jets/")
    path = folder / "outcomes" / "part-000001.arrow"
    assert str(path) == "s3://runs/deep/jets/outcomes/part-000001.arrow"
    assert (path.name, path.suffix, path.parent.name) == ("part-000001.arrow", ".arrow", "outcomes")
    assert path.parent.parent == folder == folder.resolve()
    assert {path: 1}[s3_path(str(path))] == 1
    assert folder < path
    assert str(s3_path("s3://runs")) == "s3://runs"
    assert str(s3_path("s3://runs") / "run.json") == "s3://runs/run.json"


def test_a_listing_tells_files_and_folders_with_size_and_time(bucket: LocalArchive, folder: S3Path) -> None:
    (folder / "a.arrow").write_bytes(b"12345")
    (folder / "b" / "c.arrow").write_bytes(b"")
    s3_path(f"{folder}-other").write_bytes(b"")
    bucket.reset()
    found = sorted(folder.iterdir())
    assert [path.name for path in found] == ["a.arrow", "b"]
    assert found[0].stat().st_size == 5
    assert found[0].stat().st_mtime_ns == int(found[0].stat().st_mtime * 1e9)
    assert found[0].exists()
    assert len(asked(bucket)) == 1  # what the listing told is not asked again


def test_a_long_listing_comes_in_pages(bucket: LocalArchive, folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        (folder / f"{number}").write_bytes(b"")
    listed = s3._listed

    def three(prefix: str, more: dict[str, str], client: object, where: dict[str, str]) -> dict[str, object]:
        return listed(prefix, {**more, "MaxKeys": 3}, client, where)  # type: ignore[dict-item]

    monkeypatch.setattr(s3, "_listed", three)
    bucket.reset()
    assert [path.name for path in folder.iterdir()] == [str(number) for number in range(7)]
    assert len(asked(bucket)) == 3


def test_what_is_not_there_is_a_missing_file(folder: S3Path) -> None:
    path = folder / "nothing"
    assert not path.exists()
    assert list(folder.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    path.unlink(missing_ok=True)
    path.write_bytes(b"1")
    assert path.exists()
    path.unlink()
    assert not path.exists()


def test_conditions_are_kept(folder: S3Path) -> None:
    path = folder / "once"
    with pytest.raises(FileNotFoundError):
        path.write_bytes(b"1", IfMatch='"other"')
    etag = path.write_bytes(b"1", IfNoneMatch="*")
    with pytest.raises(FileExistsError):
        path.write_bytes(b"2", IfNoneMatch="*")
    path.write_bytes(b"2", IfMatch=etag)
    with pytest.raises(FileExistsError):
        path.write_bytes(b"3", IfMatch=etag)
    assert path.read_bytes() == b"2"


@pytest.mark.parametrize("fault", ["503", "500", "reset", "lost", "truncate"])
def test_what_fails_in_passing_is_tried_again(bucket: LocalArchive, folder: S3Path, fault: str) -> None:
    path = folder / "file"
    bucket.set_faults(Faults(keys={key(path): fault}, strikes=2))  # type: ignore[dict-item]
    path.write_bytes(b"whole" * 1000)
    assert path.read_bytes() == b"whole" * 1000
    assert len(asked(bucket)) == 4


@pytest.mark.parametrize(
    ("fault", "told"),
    [("403", "access is denied: the credentials need s3:ListBucket"), ("expired", "credentials have expired: renew them")],
)
def test_what_fails_for_good_is_told_with_its_cure(bucket: LocalArchive, folder: S3Path, fault: str, told: str) -> None:
    path = folder / "file"
    bucket.set_faults(Faults(keys={key(path): fault}))  # type: ignore[dict-item]
    for attempt in (lambda: path.write_bytes(b""), path.read_bytes, path.unlink):
        with pytest.raises(RunFolderError, match=told) as caught:
            attempt()
        assert not caught.value.transient
        assert "SECRET" not in str(caught.value)
    assert len(asked(bucket)) == 3


def test_an_s3_that_stays_away_ends_it(bucket: LocalArchive, folder: S3Path) -> None:
    path = folder / "file"
    assert not path.exists()
    folder.bucket.retry_s = 0.3
    bucket.reset()
    bucket.set_faults(Faults(keys={key(path): "503"}))
    with pytest.raises(Unreachable, match=r"file: S3 cannot be reached \(SlowDown.*\), tried \d+ times .* run again to continue"):
        path.write_bytes(b"1")
    assert len(asked(bucket)) >= 2


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch, folder: S3Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    folder.bucket.retry_s = 0.0
    with pytest.raises(Unreachable, match=r"S3 cannot be reached \(Could not connect"):
        folder.write_bytes(b"1")


def test_no_credentials_are_told(monkeypatch: pytest.MonkeyPatch, folder: S3Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(RunFolderError, match=r"no AWS credentials .* set AWS_PROFILE"):
        folder.write_bytes(b"1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(RunFolderError, match=r"no AWS credentials .*nobody"):
        s3_path("s3://runs/x").write_bytes(b"1")


def test_an_unknown_bucket_is_told(bucket: LocalArchive) -> None:
    with pytest.raises(RunFolderError, match="s3://no-bucket: there is no such bucket"):
        list(s3_path("s3://no-bucket/x").iterdir())


def test_what_is_too_large_for_one_request_is_refused(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "LARGEST_PUT", 10)
    with pytest.raises(RunFolderError, match="11 bytes, more than S3 takes at once"):
        folder.write_bytes(b"0" * 11)


def test_every_attempt_to_write_asks_the_guard(bucket: LocalArchive, folder: S3Path) -> None:
    calls = []
    folder.bucket.guard = lambda: calls.append(1)
    path = folder / "file"
    bucket.set_faults(Faults(keys={key(path): "503"}, strikes=2))
    path.write_bytes(b"1")
    assert len(calls) == 3
    path.read_bytes()
    path.write_bytes(b"1", guarded=False)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "text", ["s3://", "s3://a", "s3://Abc/x", "s3:///x", "s3://runs/a//b", "s3://runs/../b", "s3://runs/a\nb", "s3://runs/x?y=1"]
)
def test_what_names_no_folder_is_refused(text: str) -> None:
    with pytest.raises(RunFolderError, match="names no folder in S3"):
        s3_path(text)


def test_a_password_in_an_address_is_not_told() -> None:
    with pytest.raises(RunFolderError) as caught:
        s3_path("s3://key:SECRET@runs/x")
    assert "SECRET" not in str(caught.value)


def test_buckets_of_one_name_are_one() -> None:
    assert Bucket("runs") == Bucket("runs") != Bucket("other")
