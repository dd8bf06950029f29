"""Folders in S3: one request for each file, retried or told with its cure."""

import json
import shlex
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raysearch.engine.folder import s3
from raysearch.engine.folder.s3 import Bucket, S3Path, Unreachable, s3_path
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
    [
        ("403", "access is denied: the credentials need s3:ListBucket"),
        ("expired", "credentials have expired: renew them"),
        ("skewed", "the clock of this machine is wrong: set it"),
        ("gone", "s3://runs: there is no such bucket; make it"),
    ],
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


Answer = tuple[int, Mapping[str, str], str]
"""Status, headers, and the code of S3's error."""


class Scripted(ThreadingHTTPServer):
    """A service that gives one answer after the other, and afterwards takes everything; it keeps the headers that it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.wanted_region = ""
        self.asked: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, headers: Mapping[str, str]) -> Answer:
        self.asked.append({name.lower(): value for name, value in headers.items()})
        in_region = f"/{self.wanted_region}/" in self.asked[-1]["authorization"]
        return self.answers.pop(0) if self.answers and not (self.wanted_region and in_region) else (200, {"ETag": '"1"'}, "")


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"  # else clients wait for a "100 Continue" that never comes

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, code = self.server.answer(dict(self.headers))
        region = f"<Region>{self.server.wanted_region}</Region>" if code == "AuthorizationHeaderMalformed" else ""
        body = f"<Error><Code>{code}</Code><Message>why</Message>{region}</Error>".encode() if code else b""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT  # noqa: N815 - http.server looks for it

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service(folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with Scripted() as scripted:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", scripted.url)
        thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted", ""])
def test_a_write_that_met_another_is_sent_again(service: Scripted, folder: S3Path, code: str) -> None:
    service.answers = [(409, {}, code)] * 2
    assert folder.write_bytes(b"1", IfMatch='"0"') == '"1"'
    assert [headers["if-match"] for headers in service.asked] == ['"0"'] * 3


def test_a_service_without_conditional_writes_is_told(service: Scripted, folder: S3Path) -> None:
    service.answers = [(501, {}, "NotImplemented")]
    with pytest.raises(RunFolderError, match=r"lacks .* conditional writes \(If-None-Match, If-Match\).* or a local folder"):
        folder.write_bytes(b"1", IfNoneMatch="*")
    assert len(service.asked) == 1


@pytest.mark.parametrize("answer", [(412, {}, "PreconditionFailed"), (304, {}, "")])
def test_however_a_service_says_that_another_file_stands_there(service: Scripted, folder: S3Path, answer: Answer) -> None:
    service.answers = [answer]
    with pytest.raises(FileExistsError):
        folder.write_bytes(b"1", IfNoneMatch="*")


@pytest.mark.parametrize(
    "answer",
    [
        (301, {"x-amz-bucket-region": "eu-west-1"}, "PermanentRedirect"),
        (307, {"x-amz-bucket-region": "eu-west-1"}, "TemporaryRedirect"),
        (400, {}, "AuthorizationHeaderMalformed"),
    ],
)
def test_a_bucket_of_another_region_is_followed_to_it(service: Scripted, folder: S3Path, answer: Answer) -> None:
    service.wanted_region, service.answers = "eu-west-1", [answer] * 9
    for _ in range(2):
        folder.write_bytes(b"1")
    assert ["/eu-west-1/" in headers["authorization"] for headers in service.asked] == [False, True, True]


def test_a_bucket_whose_region_nobody_tells_is_told(service: Scripted, folder: S3Path) -> None:
    service.answers = [(301, {}, "PermanentRedirect")] * 999
    with pytest.raises(RunFolderError, match="s3://runs: the bucket lies in another region: set AWS_REGION"):
        folder.write_bytes(b"1")


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_may_be_told(service: Scripted, folder: S3Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "eu-west-1")
    folder.write_bytes(b"1")
    assert "/eu-west-1/" in service.asked[0]["authorization"]


def test_a_token_of_a_session_is_sent(service: Scripted, folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of an hour")
    folder.write_bytes(b"1")
    assert service.asked[0]["x-amz-security-token"] == "of an hour"


def a_profile(monkeypatch: pytest.MonkeyPatch, file: Path, *lines: str) -> None:
    """Have credentials and settings come from a profile alone."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file.write_text("\n".join(["[profile mine]", *lines]))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mine")


def test_a_profile_has_keys_region_and_endpoint(
    service: Scripted, folder: S3Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    keys = ["aws_access_key_id = ours", "aws_secret_access_key = SECRET", "aws_session_token = of an hour"]
    a_profile(monkeypatch, tmp_path / "config", *keys, "region = eu-west-1", f"endpoint_url = {service.url}")
    folder.write_bytes(b"1")
    (headers,) = service.asked
    assert "Credential=ours/" in headers["authorization"]
    assert "/eu-west-1/" in headers["authorization"]
    assert headers["x-amz-security-token"] == "of an hour"


def test_credentials_that_a_program_hands_out(
    service: Scripted, folder: S3Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that is not there is no missing file of the run folder, and what it hands out may have expired."""
    told = {"Version": 1, "AccessKeyId": "ours", "SecretAccessKey": "SECRET", "SessionToken": "SECRET"}
    (tmp_path / "old.json").write_text(json.dumps({**told, "Expiration": "2020-01-01T00:00:00Z"}))
    (tmp_path / "odd.json").write_text("SECRET")
    commands = [f"cat {shlex.quote(str(tmp_path / name))}" for name in ("old.json", "odd.json")]
    for command in [*commands, "/no/such", "false"]:
        with monkeypatch.context() as patch:
            a_profile(patch, tmp_path / "config", f"credential_process = {command}")
            with pytest.raises(RunFolderError, match=r"see AWS_ENDPOINT_URL_S3, AWS_PROFILE|no AWS credentials") as caught:
                s3_path(str(folder)).exists()
        assert "SECRET" not in str(caught.value)
    assert not service.asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL_S3", "minio:9000"),
        ("AWS_ENDPOINT_URL_S3", "http://[::1"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_REGION", "a_b"),
    ],
)
def test_settings_that_cannot_be_are_told(folder: S3Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RunFolderError, match=rf"{folder}: .*") as caught:
        folder.write_bytes(b"1")
    assert value in str(caught.value) or name in str(caught.value)


def test_a_token_with_a_line_break_is_not_told(service: Scripted, folder: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "SEC\nRET")
    with pytest.raises(RunFolderError, match=rf"^{folder}: the credentials have a line break") as caught:
        folder.write_bytes(b"1")
    assert "SEC" not in str(caught.value)
    assert not service.asked
