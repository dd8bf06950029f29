"""Sends the bytes of files: ranges, pacing and faults, the same for S3 and for the archives' own downloads."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import cast

from aiohttp import web

from raysearch.testing.faults import ObjectFault
from raysearch.testing.services.shelf import Body, Request, Shelf

CHUNK = 512 * 1024
TICK_SECONDS = 0.01
"""A slow line is fed this often, so that it trickles and does not burst."""
FAREWELL = 3600.0
"""Seconds a stalled answer keeps silent; the client is expected to leave first."""
LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
REQUEST: web.RequestKey[Request] = web.RequestKey("raysearch_request", Request)


async def send_object(shelf: Shelf, request: web.Request, body: Body, fault: ObjectFault | None) -> web.StreamResponse:
    """Return the answer to a GET or HEAD of a file, sent."""
    if fault == "stall" and request.method == "HEAD":
        await asyncio.sleep(FAREWELL)
    span = parse_range(request.headers.get("Range", ""), len(body.content))
    if span is None:
        return web.Response(
            status=416,
            body=b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidRange</Code></Error>',
            content_type="application/xml",
            headers={"Content-Range": f"bytes */{len(body.content)}"},
        )
    start, end = span
    partial = request.headers.get("Range", "").startswith("bytes=")  # S3 answers 206 also where the range is all there is
    response = web.StreamResponse(status=206 if partial else 200, headers=_headers(body, start, end, partial=partial))
    await response.prepare(request)
    if request.method != "HEAD":
        await _send(shelf, request, response, body.content[start:end], fault)
    await response.write_eof()
    return response


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the `(start, end)` (end exclusive) that a Range header asks for; None where it lies beyond the file.

    A header that is missing or not understood means the whole file (RFC 9110, section 14.2).
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if found is None or found.group(0) == "bytes=-":
        return 0, size
    first, last = found.groups()
    if not first:
        wanted = int(last)
        return (max(0, size - wanted), size) if wanted and size else None
    start = int(first)
    if last and int(last) < start:
        return 0, size
    return (start, min(size, int(last) + 1) if last else size) if start < size else None


def _headers(body: Body, start: int, end: int, *, partial: bool) -> dict[str, str]:
    headers = {
        "Content-Length": str(end - start),
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{body.etag}"',
        "Last-Modified": LAST_MODIFIED,
    }
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body.content)}"
    return headers


async def _send(
    shelf: Shelf, request: web.Request, response: web.StreamResponse, content: memoryview, fault: ObjectFault | None
) -> None:
    """Write a body at the bandwidth allowed; a fault strikes half way."""
    faulty = fault in {"stall", "reset", "truncate"}
    until = len(content) // 2 if faulty else len(content)
    record, bandwidth, loop = request[REQUEST], shelf.injector.faults.bandwidth, asyncio.get_running_loop()
    started = loop.time()
    step = min(CHUNK, max(1, int(bandwidth * TICK_SECONDS))) if bandwidth else CHUNK
    for offset in range(0, until, step):
        chunk = content[offset : min(until, offset + step)]
        if bandwidth:  # before the write: a chunk, the last one too, arrives when the line would have carried all of it
            await _pace(started + (offset + len(chunk)) / bandwidth)
        await response.write(chunk)
        shelf.sent(record, len(chunk))
    if faulty:
        await _fail(request, cast("ObjectFault", fault))


async def _pace(due: float) -> None:
    ahead = due - asyncio.get_running_loop().time()
    if ahead > 0.001:
        await asyncio.sleep(ahead)


async def _fail(request: web.Request, fault: ObjectFault) -> None:
    """Break off: fall silent, reset the connection, or close it as if all were said."""
    transport = request.transport
    if fault == "stall":
        await asyncio.sleep(FAREWELL)
    elif transport is not None and fault == "reset":
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    elif transport is not None:
        transport.close()
