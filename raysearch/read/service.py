"""The cutout service of an image archive: boxes about positions, cut and sent by the server (IRSA's IBE).

A box comes in the image's own pixels, clipped where the image ends, its WCS moved along; outside of the image the answer is 400.
What comes is a small FITS file of the same extensions (those that are no planes of pixels whole, such as the PSF of 4.9 MB).
https://irsa.ipac.caltech.edu/ibe/cutouts.html
"""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections.abc import Sequence

from raysearch.errors import FormatError, RequestRefused
from raysearch.model import Store, Target, Usage
from raysearch.read.fits import FitsFile, Span

MARGIN_DEG = 3 * 6.15 / 3600
"""By which more is asked than is wanted, three pixels: how the service rounds is its own affair."""
AT_ONCE = 4
"""Cutouts under way by one process: IRSA's service refuses the fifth at a time with 503."""
GZIP = b"\x1f\x8b"
LARGEST = 256 * 2**20
"""Bytes that a cutout may have, unpacked: three times a whole image of SPHEREx."""


class CutoutService:
    """Fetches cutouts, a few at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, uri: str, targets: Sequence[Target], size_deg: float, usage: Usage) -> list[tuple[Target, FitsFile]]:
        """Return a file for each target whose box meets the image, one request each.

        Raises
        ------
        ReadError
            The service did not answer.
        FormatError
            What came is damaged.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a semaphore belongs to one event loop
            self._loop, self._turns = loop, asyncio.Semaphore(AT_ONCE)
        tasks = [asyncio.ensure_future(self._cutout(uri, target, size_deg, usage)) for target in targets]
        try:
            files = await asyncio.gather(*tasks)
        finally:  # after a failure nothing may go on in the background and charge `usage` later
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [(target, file) for target, file in zip(targets, files, strict=True) if file is not None]

    async def _cutout(self, uri: str, target: Target, size_deg: float, usage: Usage) -> FitsFile | None:
        query = f"center={target.ra!r},{target.dec!r}&size={size_deg + MARGIN_DEG:.8f}"
        try:
            async with self._turns:
                body = await self._store.get(f"{uri}{'&' if '?' in uri else '?'}{query}", usage)
        except RequestRefused:
            return None
        return in_memory(_unzipped(body))


def _unzipped(body: bytes) -> bytes:
    if not body.startswith(GZIP):
        return body
    try:
        with gzip.open(io.BytesIO(body)) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as exc:
        raise FormatError(f"the cutout service sent a damaged file: {exc}") from exc
    if len(content) > LARGEST:
        raise FormatError(f"the cutout service sent a file that unpacks to more than {LARGEST:,} bytes: no cutout is so large")
    return content


def in_memory(data: bytes) -> FitsFile:
    """Return a file whose bytes are all there."""

    async def fetch(spans: Sequence[Span]) -> list[bytes]:
        return [data[start:end] for start, end in spans]

    return FitsFile(fetch)
