"""Sends the bytes of files: ranges, pacing and faults, the same for S3 and for the archives' own downloads."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from email.utils import format_datetime
from typing import cast

from aiohttp import web

from raysearch.testing.faults import ObjectFault
from raysearch.testing.services.shelf import Body, Request, Shelf

CHUNK = 512 * 1024
TICK_SECONDS = 0.01
"""A slow line is fed this often, so that it trickles and does not burst."""
FAREWELL = 3600.0
"""Seconds a stalled answer keeps silent; the client is expected to leave first."""
REQUEST: web.RequestKey[Request] = web.RequestKey("raysearch_request", Request)


ANSWERED = {"403", "404", "429", "500", "503"}
"""Faults that are answered by their status."""
DRIP_SECONDS = 0.1


def retry_after(status: int) -> dict[str, str]:
    """Return the headers by which an answer asks to be left alone for a while."""
    return {"Retry-After": "1"} if status == 429 else {}


async def send_object(shelf: Shelf, request: web.Request, body: Body, fault: ObjectFault | None) -> web.StreamResponse:
    """Return the answer to a GET or HEAD of a file, sent."""
    if fault == "silent" or (fault == "stall" and request.method == "HEAD"):
        await asyncio.sleep(FAREWELL)
    if fault in {"redirect", "elsewhere", "loop"} and (fault == "loop" or "again" not in request.query):
        raise web.HTTPTemporaryRedirect(_elsewhere(request, cast("ObjectFault", fault)))
    if fault == "replaced":
        body = shelf.successor(body)
    if request.headers.get("If-Match", "*") not in {"*", f'"{body.etag}"'}:
        return web.Response(status=412)
    asked = "" if fault == "whole" else request.headers.get("Range", "")
    span = parse_range(asked, len(body.content))
    if span is None or (fault == "416" and asked):
        return web.Response(
            status=416,
            body=b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidRange</Code></Error>',
            content_type="application/xml",
            headers={"Content-Range": f"bytes */{len(body.content)}"},
        )
    start, end = span
    partial = asked.startswith("bytes=")  # S3 answers 206 also where the range is all there is
    headers = _headers(body, start, end, partial=partial)
    if fault in {"short", "long"}:
        headers["Content-Length"] = str((end - start) // 2 if fault == "short" else end - start + 1000)
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):  # who has enough leaves
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
        "Last-Modified": format_datetime(body.modified, usegmt=True),
    }
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body.content)}"
    return headers


async def _send(
    shelf: Shelf, request: web.Request, response: web.StreamResponse, content: memoryview, fault: ObjectFault | None
) -> None:
    """Write a body at the bandwidth allowed; a fault strikes half way."""
    faulty = fault in {"stall", "reset", "truncate", "long"}
    until = len(content) // 2 if fault in {"stall", "reset", "truncate", "short"} else len(content)
    record, bandwidth, loop = request[REQUEST], shelf.injector.faults.bandwidth, asyncio.get_running_loop()
    started = loop.time()
    if fault == "drip":
        for place in range(until):
            await response.write(content[place : place + 1])
            shelf.sent(record, 1)
            await asyncio.sleep(DRIP_SECONDS)
        return
    step = min(CHUNK, max(1, int(bandwidth * TICK_SECONDS))) if bandwidth else CHUNK
    for offset in range(0, until, step):
        chunk = content[offset : min(until, offset + step)]
        if bandwidth:  # before the write: a chunk, the last one too, arrives when the line would have carried all of it
            await _pace(started + (offset + len(chunk)) / bandwidth)
        await response.write(chunk)
        shelf.sent(record, len(chunk))
    if faulty:
        await break_off(request, cast("ObjectFault", fault))


def _elsewhere(request: web.Request, fault: ObjectFault) -> str:
    """Return where a redirect leads."""
    if fault == "loop":
        return str(request.url)
    there = request.url.update_query(again="1")
    return str(there.with_host("localhost") if fault == "elsewhere" else there)


async def _pace(due: float) -> None:
    ahead = due - asyncio.get_running_loop().time()
    if ahead > 0.001:
        await asyncio.sleep(ahead)


async def break_off(request: web.Request, fault: ObjectFault) -> None:
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
