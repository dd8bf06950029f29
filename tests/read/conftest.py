"""A small file server on loopback, which S3 clients (path style) and HTTP clients can both read from, with faults."""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

S3_ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message><Resource>/</Resource></Error>'
CODES = {401: "Unauthorized", 403: "AccessDenied", 404: "NoSuchKey", 416: "InvalidRange", 503: "SlowDown"}


@dataclass
class Loopback:
    """Serves `files`; `faults[path]` are used up one a request, the last one ("!" in front) for ever.

    `versions[path]` are contents for one request each, before that of `files`. An ETag tells contents apart, unless `tags` is
    empty; `preconditions` says whether If-Match is understood.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    versions: dict[str, list[bytes]] = field(default_factory=dict)
    tags: str = '"{}"'
    preconditions: bool = True
    retry_after: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    url: str = ""
    under_way: int = 0
    most: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def fault(self, path: str) -> str:
        pending = self.faults.get(path, [])
        if not pending:
            return ""
        return pending[0][1:] if pending[0].startswith("!") else pending.pop(0)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0.001)
            return await self.respond(request)
        finally:
            self.under_way -= 1

    async def respond(self, request: web.Request) -> web.StreamResponse:
        query = request.rel_url.raw_query_string
        path = request.path.lstrip("/") + ("?" + query if query else "")
        if path in self.redirects:
            raise web.HTTPFound(self.redirects[path])
        self.log.append((request.method, path, request.headers.get("Range", "")))
        self.headers.append(dict(request.headers))
        fault = self.fault(path)
        if fault == "stall":
            await self.released.wait()
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault.isdigit() or path not in self.files:
            return self.error(int(fault) if fault.isdigit() else 404)
        data = self.versions[path].pop(0) if self.versions.get(path) else self.files[path]
        return await self.body(request, data, fault)

    def error(self, status: int) -> web.Response:
        text = S3_ERROR.format(code=CODES.get(status, "InternalError"))
        headers = {"Retry-After": self.retry_after} if self.retry_after else None
        return web.Response(status=status, text=text, content_type="application/xml", headers=headers)

    async def body(self, request: web.Request, data: bytes, fault: str) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        tag = self.tags.format(zlib.crc32(data))
        if self.preconditions and request.headers.get("If-Match", tag) != tag:
            return self.error(412)
        when = zlib.crc32(data) % 60
        status, headers = 200, {"Last-Modified": f"Wed, 21 Oct 2015 07:28:{when:02} GMT", **({"ETag": tag} if tag else {})}
        if asked and fault != "ignore-range":
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            if start >= len(data):
                return self.error(416)
            status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{len(data)}"
            if fault == "beside":
                start, end = start + 3, end + 3
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            data = data[start:end]
            data = {"short": data[: len(data) // 2], "longer": data + b"more"}.get(fault, data)
        if fault not in {"stall-body", "cut-body"}:
            return web.Response(status=status, body=data, headers=headers)
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if fault == "stall-body":
            await self.released.wait()
        assert request.transport is not None
        request.transport.abort()
        return response


async def serve(server: Loopback, ready: threading.Event, stop: asyncio.Event) -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    ready.set()
    await stop.wait()
    server.released.set()
    await runner.cleanup()


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A running server; `loopback.url` is its address."""
    server, ready, stop = Loopback(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(server, ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No proxy, no endpoint and no credentials of the machine's owner reach a test."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower() in {"http_proxy", "https_proxy"}]:
        monkeypatch.delenv(name, raising=False)
    nowhere = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
