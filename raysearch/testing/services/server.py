"""The process behind `LocalArchive`: `python -m raysearch.testing.services.server FOLDER --parent PID`.

It maps the holdings in FOLDER, listens on loopback, writes its port to standard output as one line, and ends when it is told
to, or when the process PID is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Middleware

from raysearch.testing.faults import Faults, Injector
from raysearch.testing.services.heasarc import Heasarc
from raysearch.testing.services.irsa import Irsa
from raysearch.testing.services.mast import Mast
from raysearch.testing.services.objects import REQUEST
from raysearch.testing.services.registry import Registry
from raysearch.testing.services.s3 import S3
from raysearch.testing.services.shelf import Request, Shelf
from raysearch.testing.services.simbad import Simbad

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE_OF = {
    "simbad": "simbad", "api": "mast", "portal": "mast", "SIA": "irsa", "SIA2": "irsa", "TAP": "irsa", "ibe": "irsa",
    "xamin": "heasarc", "FTP": "heasarc", "regtap": "registry",
}  # fmt: skip
"""First part of a path -> its service; every other path is S3's."""
LARGEST_UPLOAD = 256 * 1024**2
CONTROL = "_archive"
WATCH_SECONDS = 0.5


def build_app(shelf: Shelf) -> web.Application:
    """Return the application that answers for every service."""
    app = web.Application(middlewares=[_recorder(shelf)], client_max_size=LARGEST_UPLOAD)
    for service in (Simbad(shelf), Mast(shelf), Irsa(shelf), Heasarc(shelf), Registry(shelf), _Control(shelf), S3(shelf)):
        app.add_routes(service.routes())
    return app


class _Control:
    """What `LocalArchive` asks its server."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"/{CONTROL}/log", self._log),
            web.get(f"/{CONTROL}/counts", self._counts),
            web.post(f"/{CONTROL}/reset", self._reset),
            web.post(f"/{CONTROL}/faults", self._faults),
        ]

    async def _log(self, _: web.Request) -> web.Response:
        return web.json_response(self._shelf.log_rows())

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response(self._shelf.counts)

    async def _reset(self, _: web.Request) -> web.Response:
        self._shelf.reset()
        return web.json_response({})

    async def _faults(self, request: web.Request) -> web.Response:
        faults = await request.json()
        self._shelf.injector = Injector(Faults(**{**faults, "delay": tuple(faults["delay"])}))
        return web.json_response({})


def _recorder(shelf: Shelf) -> Middleware:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        first = request.path.split("/")[1]
        if first == CONTROL:
            return await handler(request)
        form = await _form(request) if request.method == "POST" else ""
        entry = Request(
            SERVICE_OF.get(first, "s3"), request.method, request.rel_url.human_repr(), request.headers.get("Range", ""), form
        )
        request[REQUEST] = entry
        shelf.arrived(entry)
        await asyncio.sleep(shelf.injector.delay())
        try:
            response = await handler(request)
        except web.HTTPException as exc:
            entry.status = exc.status
            raise
        entry.status = response.status
        if isinstance(response, web.Response) and request.method != "HEAD":
            shelf.sent(entry, response.content_length or 0)
        return response

    return record


async def _form(request: web.Request) -> str:
    """Return the form of a POST as it is logged."""
    if not request.content_type.startswith("multipart/"):
        return await request.text()
    parts = await request.post()
    told = {}
    for name, part in parts.items():
        told[name] = f"{part.file.seek(0, os.SEEK_END)} bytes" if isinstance(part, web.FileField) else str(part)
        if isinstance(part, web.FileField):
            part.file.seek(0)
    return urlencode(told)


async def serve(folder: Path, port: int, parent: int) -> None:
    """Answer until a signal comes or the parent is gone."""
    runner = web.AppRunner(build_app(Shelf(folder)), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(stop.wait(), WATCH_SECONDS)
        except TimeoutError:
            continue
    await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="The process behind raysearch.testing.LocalArchive")
    parser.add_argument("folder", type=Path, help="holdings, as Holdings.write left them")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--parent", type=int, required=True, help="the process without which it ends")
    args = parser.parse_args()
    asyncio.run(serve(args.folder, args.port, args.parent))


if __name__ == "__main__":
    main()
