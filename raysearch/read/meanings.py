"""What the answers of stores mean: which of our errors, and how large the whole file is."""

from __future__ import annotations

from raysearch.errors import ProductForbidden, ProductNotFound, ReadError, RequestRefused
from raysearch.masking import masked


class TransientError(Exception):
    """One attempt failed in a way that another may not."""


def untrusted(uri: str) -> ReadError:
    """Return what a certificate that cannot be verified means."""
    return ReadError(
        f"{masked(uri)}: the server's certificate cannot be verified: it is self-signed, out of date, or another host's; "
        "nothing was read from it"
    )


def refusal(uri: str, status: int) -> Exception:
    """Return what an HTTP status means."""
    if status in {408, 429} or status >= 500:
        return TransientError(f"the server answered {status}")
    if status in {404, 410}:
        return ProductNotFound(f"{masked(uri)}: not found ({status})")
    if status in {401, 403}:
        hint = "; S3 says so too of a key that is not there" if uri.startswith("s3://") else ""
        return ProductForbidden(f"{masked(uri)}: access denied ({status}): private, or credentials are needed{hint}")
    if status in {301, 307} and uri.startswith("s3://"):
        return ReadError(f"{masked(uri)}: the bucket lies in another region ({status}); set services.s3_region")
    return (RequestRefused if status == 400 else ReadError)(f"{masked(uri)}: the server answered {status}")


def whole_size(content_range: str, length: int | None) -> int | None:
    """Return how many bytes the whole file has: of a range (`bytes 0-99/34000`) it stands behind the stroke, else it is `length`.

    None where it is not told, as of a page that is made while it is sent.
    """
    if not content_range:
        return length
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdecimal() and len(total) < 20 else None
