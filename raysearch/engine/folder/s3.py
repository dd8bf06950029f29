"""Folders in S3 buckets: as much of `pathlib.Path` as run folders need, one request for each file written.

Credentials, region and endpoint are found as every AWS tool finds them: environment (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`,
`AWS_REGION`, `AWS_ENDPOINT_URL_S3`), `~/.aws`, the role of the machine. A file is put by one request, which S3 does wholly or not
at all; nothing is ever renamed or copied.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

from raysearch.errors import RunFolderError
from raysearch.masking import masked

SCHEME = "s3://"
LARGEST_PUT = 5 * 10**9
"""Bytes that S3 takes in one request (5 GB, Amazon S3 user guide, "Uploading objects")."""
FIRST_RETRY_S, RETRY_S = 20.0, 300.0
"""How long a request is tried again where S3 does not answer, or is overloaded: before it has ever answered, and afterwards."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 20.0
"""Before the second attempt; doubled before each further one, up to the longest."""
CONNECT_S, READ_S = 10.0, 30.0
"""How long a connection may take, and how long it may be silent."""
AT_ONCE = 16
"""Requests of a run folder under way at once."""

_T = TypeVar("_T")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TRANSIENT_STATUS = {408, 409, 429, 500, 502, 503, 504}
"""409: another write is under way, and this one was not done; to be sent again (Amazon S3 API reference, PutObject)."""
_TRANSIENT_CODES = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"}
_CURES = {
    "NoSuchBucket": "there is no such bucket; make it, or choose another",
    "AccessDenied": "access is denied: the credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject below the folder",
    "ExpiredToken": "the credentials have expired: renew them (`aws sso login`, or a new session token), and run again to continue",
    "InvalidAccessKeyId": "the credentials are wrong: see AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "PermanentRedirect": "the bucket lies in another region: set AWS_REGION to its own",
    "NotImplemented": "this S3 service lacks a request that run folders need, such as conditional writes (If-None-Match, "
    "If-Match), which keep two runs in one folder apart: take a newer version of it, another service, or a local folder",
}
"""Code of S3's error -> what is wrong, and how to mend it."""
_SAME = {
    "403": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "RequestExpired": "ExpiredToken",
    "TokenRefreshRequired": "ExpiredToken",
    "InvalidToken": "InvalidAccessKeyId",
    "SignatureDoesNotMatch": "InvalidAccessKeyId",
    "301": "PermanentRedirect",
    "AuthorizationHeaderMalformed": "PermanentRedirect",
    "IllegalLocationConstraintException": "PermanentRedirect",
}
"""Codes with the same cure; an answer to HEAD has no body, and its code is its status."""


_UNSPEAKABLE = "Invalid header value"
"""So Python's http.client begins, and goes on with a key or token that has a line break in it."""
_LASTING = ("CERTIFICATE_VERIFY_FAILED", _UNSPEAKABLE)
"""What errors of connections say that do not pass."""


class Unreachable(RunFolderError):
    """S3 did not answer, or not now."""

    transient = True


def s3_path(text: str) -> S3Path:
    """Return the folder that `s3://bucket/prefix` names; asks nobody.

    Raises
    ------
    RunFolderError
        It is no such address.
    """
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    key = key.rstrip("/")
    parts = key.split("/") if key else []
    if not _BUCKET.fullmatch(bucket) or any(part in {"", ".", ".."} or not part.isprintable() or "?" in part for part in parts):
        raise RunFolderError(f"{masked(text)} names no folder in S3: write s3://bucket/folder")
    return S3Path(Bucket(bucket), key)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read."""

    content: bytes
    etag: str
    age_s: float
    """How long ago it was written, by the clock of S3; to a second."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of a file without reading it, by the names that `os.stat` has for it."""

    st_size: int
    st_mtime: float
    """Seconds since 1970."""

    @property
    def st_mtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        return int(self.st_mtime * 1e9)


@dataclass(frozen=True)
class S3Path:
    """A file in a bucket, or a folder: what the names of files begin with."""

    bucket: Bucket
    key: str
    listed: Listed | None = field(default=None, compare=False)
    """What a listing has told of it."""

    def __truediv__(self, name: str) -> S3Path:
        return S3Path(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket.name}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The name's ending."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> S3Path:
        """The folder it lies in."""
        return S3Path(self.bucket, self.key.rpartition("/")[0])

    def resolve(self) -> S3Path:
        """Return itself: there are no links and no relative addresses."""
        return self

    def __lt__(self, other: S3Path) -> bool:
        return self.key < other.key

    def exists(self) -> bool:
        """Return whether there is such a file; a folder without files does not exist, and one with files is asked for by these."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return True: a folder is there with its first file, and lists as empty before."""
        return True

    def stat(self) -> Listed:
        """Return how large it is and when it was written; asks only where no listing has told.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        """
        if self.listed:
            return self.listed
        answer = self.bucket.ask(self, lambda client, where: client.head_object(**where))
        return Listed(answer["ContentLength"], answer["LastModified"].timestamp())

    def iterdir(self) -> Iterator[S3Path]:
        """Yield the files and folders in it, by name; a thousand in a request."""
        prefix = f"{self.key}/" if self.key else ""
        more: dict[str, str] = {}
        while True:
            page = self.bucket.ask(self, partial(_listed, prefix, more))
            for entry in page.get("CommonPrefixes", ()):
                yield S3Path(self.bucket, entry["Prefix"].rstrip("/"))
            for entry in page.get("Contents", ()):
                if entry["Key"] != prefix:  # what consoles make to show an empty folder
                    yield S3Path(self.bucket, entry["Key"], Listed(entry["Size"], entry["LastModified"].timestamp()))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def read_bytes(self) -> bytes:
        """Return its content.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        """
        return self.read().content

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return its content as text; raises as `read_bytes` does."""
        return self.read_bytes().decode(encoding)

    def read(self) -> Stored:
        """Return its content, and what S3 says of it; raises as `read_bytes` does."""

        def get(client: Any, where: dict[str, str]) -> Stored:
            answer = client.get_object(**where)
            now = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
            return Stored(answer["Body"].read(), answer["ETag"], _seconds_since(answer["LastModified"], now))

        return self.bucket.ask(self, get)

    def write_bytes(self, content: bytes | memoryview, *, once: bool = False, guarded: bool = True, **condition: str) -> str:
        """Write it by one request, and return its ETag.

        Parameters
        ----------
        content
            All of it.
        once
            Make one attempt.
        guarded
            Ask the bucket's guard first.
        condition
            `IfNoneMatch="*"`: only where there is none; `IfMatch=etag`: only in place of that one.

        Raises
        ------
        FileExistsError, FileNotFoundError
            The condition does not hold: there is one, or another; or there is none.
        """
        if len(content) > LARGEST_PUT:
            raise RunFolderError(f"{self} has {len(content):,} bytes, more than S3 takes at once; write this run to a local folder")
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        kind = mimetypes.guess_type(self.name)[0] or "application/octet-stream"  # a browser goes by it
        body, about = bytes(content), {"ContentMD5": md5, "ContentType": kind}
        return self.bucket.ask(
            self,
            lambda client, where: str(client.put_object(**where, **condition, **about, Body=body)["ETag"]),
            guarded=guarded,
            once=once,
        )

    def unlink(self, missing_ok: bool = True) -> None:  # noqa: ARG002 - as Path has it; S3 does not tell
        """Remove it, if it is there."""
        self.bucket.ask(self, lambda client, where: client.delete_object(**where), guarded=True)

    def mkdir(self, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Do nothing: a folder is there with its first file."""


class Bucket:
    """A bucket, and how it is asked: what fails in passing is tried again, what fails for good is told with its cure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.guard: Callable[[], None] = allow
        """Called before every attempt to write; raises where that is no longer allowed."""
        self.retry_s = FIRST_RETRY_S

    @cached_property
    def client(self) -> Any:
        """The client: botocore's, which finds credentials, region and endpoint by itself, and follows to a bucket's region."""
        import botocore.session
        from botocore.config import Config

        session = botocore.session.Session()
        session.register_component("data_loader", _descriptions())
        return session.create_client(
            "s3",
            region_name=os.environ.get("AWS_REGION") or None,  # botocore looks for AWS_DEFAULT_REGION alone
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                max_pool_connections=AT_ONCE,
                retries={"total_max_attempts": 1, "mode": "standard"},
                request_checksum_calculation="when_required",  # Content-MD5 says the same, also to older services
                response_checksum_validation="when_required",
            ),
        )

    def ask(self, path: S3Path, send: Callable[[Any, dict[str, str]], _T], *, guarded: bool = False, once: bool = False) -> _T:
        """Return what `send(client, where)` returns, in as many attempts as that takes; each asks the guard first, if it is to.

        Raises
        ------
        FileNotFoundError, FileExistsError
            There is no such file; a condition does not hold.
        Unreachable
            S3 does not answer, or not now.
        RunFolderError
            Whatever else is wrong.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                if guarded:
                    self.guard()
                answer = send(self.client, {"Bucket": self.name, "Key": path.key})
                self.retry_s = RETRY_S
                return answer
            except (BotoCoreError, ClientError, ResponseParserError, Unreachable) as exc:
                if not _is_transient(exc):
                    raise _refusal(path, exc) from exc
                taken, pause = time.monotonic() - began, _pause(attempt)
                if once or taken + pause > self.retry_s:
                    tries = f"tried {attempt} times in {taken:.0f} s"
                    raise Unreachable(
                        f"{path}: S3 cannot be reached ({_told(exc)}), {tries}; what was done before is safe, run again to continue"
                    ) from exc
            except RecursionError as exc:  # botocore's, in search of the region, where the service does not tell it
                raise RunFolderError(f"{SCHEME}{self.name}: {_CURES['PermanentRedirect']}") from exc
            except (OSError, ValueError, RuntimeError) as exc:  # botocore's own, of settings and of who hands out credentials
                raise RunFolderError(
                    f"{path}: the settings of AWS are wrong ({masked(str(exc))}): see AWS_ENDPOINT_URL_S3, AWS_PROFILE and ~/.aws"
                ) from exc
            time.sleep(pause)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bucket) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


@cache
def _descriptions() -> Any:
    """Return what reads botocore's descriptions of services: once in a process, which takes 0.1 s."""
    from botocore.loaders import create_loader

    return create_loader()


def allow() -> None:
    """Let every write pass."""


def _pause(attempt: int) -> float:
    """Return the seconds to wait after this many attempts, with jitter."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, no secret)


def _seconds_since(written: Any, date: str) -> float:
    """Return the seconds from a time to that of an answer's Date header; 0 where it has none."""
    from email.utils import parsedate_to_datetime

    return max(0.0, (parsedate_to_datetime(date) - written).total_seconds()) if date else 0.0


def _listed(prefix: str, more: dict[str, str], client: Any, where: dict[str, str]) -> dict[str, Any]:
    """Return one page of a listing."""
    page: dict[str, Any] = client.list_objects_v2(Bucket=where["Bucket"], Prefix=prefix, Delimiter="/", **more)
    return page


def _is_transient(exc: Exception) -> bool:
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError  # noqa: A004
    from botocore.parsers import ResponseParserError

    if isinstance(exc, Unreachable | ResponseParserError):  # half an answer, or one of a proxy
        return True
    if isinstance(exc, ClientError):
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _TRANSIENT_STATUS or _code(exc) in _TRANSIENT_CODES
    if any(word in str(exc) for word in _LASTING):
        return False
    return isinstance(exc, ConnectionError | HTTPClientError | IncompleteReadError)


def _code(exc: Any) -> str:
    code = str(exc.response.get("Error", {}).get("Code", ""))
    return _SAME.get(code, code)


def _refusal(path: S3Path, exc: Exception) -> Exception:
    """Return our error for one that another attempt would not mend."""
    from botocore.exceptions import ClientError

    if not isinstance(exc, ClientError):
        return RunFolderError(f"{path}: {_told(exc)}")
    code = _code(exc)
    if code in {"404", "NoSuchKey"}:
        return FileNotFoundError(2, "there is no such file", str(path))
    if code in {"412", "PreconditionFailed", "304"}:  # 304: MinIO until 2024 (its issue 19442)
        return FileExistsError(17, "another file stands there", str(path))
    where = f"{SCHEME}{path.bucket.name}" if code in {"NoSuchBucket", "PermanentRedirect"} else str(path)
    return RunFolderError(f"{where}: {_CURES.get(code) or _told(exc)}")


def _told(exc: Exception) -> str:
    """Return in words what botocore says."""
    from botocore import exceptions

    if isinstance(exc, exceptions.ClientError):
        error = exc.response.get("Error", {})
        return masked(f"{error.get('Code', '')}: {error.get('Message', '')}".strip(": "))
    if _UNSPEAKABLE in str(exc):
        return "the credentials have a line break in them: see AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN"
    if "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return f"{masked(str(exc))}: where the service has an authority of its own, set AWS_CA_BUNDLE to its certificate"
    if isinstance(exc, _without_credentials()):
        return (
            f"no AWS credentials ({masked(str(exc))}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret, run `aws sso login`, "
            "or give the machine a role"
        )
    return masked(str(exc))


def _without_credentials() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
    )
