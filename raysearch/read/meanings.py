"""What the answers of stores mean: which of our errors, how large the whole file is, and whether they are what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from raysearch.errors import ProductForbidden, ProductNotFound, ProductReplaced, ReadError, RequestRefused
from raysearch.masking import masked
from raysearch.model import Usage

Span = tuple[int, int]
"""First byte and the byte after the last."""

NO_NAME = ("dns error", "DNSError", "getaddrinfo", "Name or service not known", "name resolution")
"""Of the words in which clients tell that a host's name means nothing."""
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "InvalidContentType", "InvalidMessage", "SSL validation failed")
"""Of the words in which they tell that what answers speaks no TLS."""


class TransientError(Exception):
    """One attempt failed in a way that another may not."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        """How long the server asks to be left alone."""


class RangeRefused(Exception):
    """Nothing can be had by ranges, as far as the answer tells: the whole file may bring it, or say that there is nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request brought."""

    body: bytes
    size: int | None = None
    """Bytes of the whole file, where it is told."""
    version: str = ""
    """ETag, or when the file was last changed; empty where neither is told."""
    told: Span | None = None
    """Which bytes it says it has sent, of a range."""


def checked(uri: str, span: Span | None, answer: Answer, usage: Usage) -> bytes:
    """Return the body of an answer that is all of what was asked for, and of the version that `usage` knows.

    Raises
    ------
    ProductReplaced
        It is of another version, or the file has another size now.
    TransientError
        It is not what was asked for: clients compare a body with its Content-Length, and not with the range.
    """
    if answer.version and usage.versions.setdefault(uri, answer.version) != answer.version:
        raise replaced(uri)
    if answer.size is not None and usage.sizes.setdefault(uri, answer.size) != answer.size:
        raise replaced(uri)
    if span is None:
        return answer.body
    size = usage.sizes.get(uri)
    start, end = span if size is None else (min(place, size) for place in span)
    if answer.told is not None and answer.told[0] != start:
        raise TransientError(f"the server sent bytes from {answer.told[0]:,} on, not from {start:,}")
    wanted = end - start
    if size is None:
        wanted = answer.told[1] - answer.told[0] if answer.told else min(wanted, len(answer.body))
    if len(answer.body) != wanted:
        raise TransientError(f"the server sent {len(answer.body):,} bytes of the {wanted:,} at {start:,}-{end - 1:,}")
    return answer.body


def nothing(uri: str, content_range: str, usage: Usage) -> Answer:
    """Return what a 416 means: that there is nothing of the range, if the file's size is known.

    Raises
    ------
    RangeRefused
        It is not.
    """
    size = whole_size(content_range, None)
    if size is None and uri not in usage.sizes:
        raise RangeRefused
    return Answer(b"", size)


def is_strong(version: str) -> bool:
    """Return whether a version is an ETag of which a server can be asked for that very version (RFC 9110, section 8.8.1)."""
    return version.startswith('"')


def replaced(uri: str) -> ProductReplaced:
    """Return what an answer of another version means."""
    return ProductReplaced(f"{masked(uri)}: was replaced while it was read")


def untrusted(uri: str) -> ReadError:
    """Return what a certificate that cannot be verified means."""
    return ReadError(
        f"{masked(uri)}: the server's certificate cannot be verified: it is self-signed, out of date, or another host's; "
        "nothing was read from it"
    )


def broken(uri: str, told: str) -> Exception:
    """Return what a client's words about a connection mean."""
    if "CERTIFICATE_VERIFY_FAILED" in told or "InvalidCertificate" in told:
        return untrusted(uri)
    if any(words in told for words in NO_TLS):
        return ReadError(f"{masked(uri)}: what answers there speaks no TLS; is its address http:// instead of https://?")
    if "TooManyRedirects" in told or "following redirect" in told:
        return ReadError(f"{masked(uri)}: its redirects lead in a circle, or from https:// to http://; nothing was read from it")
    if any(words in told for words in NO_NAME):
        return TransientError("the connection failed: its host's name is not known")
    if re.search(r"Timeout|TimedOut|timed out", told):
        return TransientError("no answer in time")
    refused = re.search(r"refused", told, re.IGNORECASE)
    return TransientError("the connection failed: it was refused" if refused else "the connection failed")


def refusal(uri: str, status: int, retry_after: str = "") -> Exception:
    """Return what an HTTP status means; `retry_after` is the header of that name."""
    if status in {408, 429} or status >= 500:
        return TransientError(f"the server answered {status}", _seconds(retry_after))
    if status in {404, 410}:
        return ProductNotFound(f"{masked(uri)}: not found ({status})")
    if status in {401, 403}:
        hint = "; S3 says so too of a key that is not there" if uri.startswith("s3://") else ""
        return ProductForbidden(f"{masked(uri)}: access denied ({status}): private, or credentials are needed{hint}")
    if status in {301, 307} and uri.startswith("s3://"):
        return ReadError(f"{masked(uri)}: the bucket lies in another region ({status}); set services.s3_region")
    if status == 412:
        return replaced(uri)
    return (RequestRefused if status == 400 else ReadError)(f"{masked(uri)}: the server answered {status}")


def _seconds(retry_after: str) -> float:
    """Return how long a Retry-After header asks to wait (RFC 9110, section 10.2.3: seconds, or a date); 0 where it does not."""
    if retry_after.strip().isdecimal():
        return float(retry_after.strip()[:9])
    try:
        return max(0.0, (parsedate_to_datetime(retry_after).astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except ValueError:
        return 0.0


def whole_size(content_range: str, length: int | None) -> int | None:
    """Return how many bytes the whole file has: of a range (`bytes 0-99/34000`) it stands behind the stroke, else it is `length`.

    None where it is not told, as of a page that is made while it is sent.
    """
    if not content_range:
        return length
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdecimal() and len(total) < 20 else None


def span_told(content_range: str) -> Span | None:
    """Return the bytes that a Content-Range header says are sent, `bytes 0-99/34000`; None where it says none."""
    found = re.match(r"bytes (\d{1,19})-(\d{1,19})/", content_range)
    return (int(found[1]), int(found[2]) + 1) if found else None
