"""What all kinds of stores share: what each is asked for, and how a body is taken in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable

from raysearch.errors import ReadError
from raysearch.masking import masked
from raysearch.model import Usage
from raysearch.read.meanings import Answer, Span
from raysearch.read.settings import StoreConfig

LARGEST_WHOLE = 2**30
"""Bytes of a file that is asked for as a whole, as cutouts are; more is not taken in."""


class Backend(ABC):
    """One kind of store."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config

    @abstractmethod
    async def fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool = True) -> Answer:
        """Return what one request for the span (None: everything) brings, and charge its bytes; the request is charged already.

        Where it is not `ranged`, the whole file is asked for, and no more of it taken than up to the span's end.

        Raises
        ------
        RangeRefused
            It should not be ranged.
        """

    async def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Close every connection."""


def range_header(span: Span) -> str:
    """Return the Range header that asks for a span."""
    return f"bytes={span[0]}-{span[1] - 1}"


def too_large(uri: str) -> ReadError:
    """Return what is said of a file larger than `LARGEST_WHOLE`."""
    return ReadError(f"{masked(uri)}: more than {LARGEST_WHOLE:,} bytes: so large a file is not taken in as a whole")


async def collected(chunks: AsyncIterable[bytes], most: int, usage: Usage) -> bytes:
    """Return a body's first bytes, charged as they come; the rest of one that has as many as `most` or more is not waited for."""
    body = bytearray()
    async for chunk in chunks:
        usage.bytes_read += len(chunk)
        body += chunk
        if len(body) >= most:
            break
    return bytes(body)


async def body_of(uri: str, chunks: AsyncIterable[bytes], span: Span | None, told: Span | None, usage: Usage) -> bytes:
    """Return the span's bytes out of an answer's body, which begins with the file where no range is told."""
    if span is None:
        body = await collected(chunks, LARGEST_WHOLE + 1, usage)
        if len(body) > LARGEST_WHOLE:
            raise too_large(uri)
        return body
    if told is None:
        return (await collected(chunks, min(span[1], LARGEST_WHOLE), usage))[slice(*span)]
    return await collected(chunks, span[1] - span[0] + 1, usage)
