"""The page of a run that goes on, served to this machine alone."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from raysearch.report.cards import most_significant, places
from raysearch.report.embed import script_json
from raysearch.report.folder import Run
from raysearch.report.page import everything, html
from raysearch.report.pictures import Pictures

HOST = "127.0.0.1"
_FIGURES = re.compile(r"/figures/(\d{1,7})\.js")

Load = Callable[[], tuple[Run, Pictures]]


class LiveReport:
    """Serves a run's page and its news on the loopback interface, until it is closed.

    Parameters
    ----------
    load
        Returns the run as it is now.
    version
        Returns a text that differs once there is something new; cheap, for it is asked every few seconds.
    port
        Where to listen; 0: any port that is free.

    Raises
    ------
    OSError
        If the port is taken.
    """

    def __init__(self, load: Load, version: Callable[[], str], port: int = 0) -> None:
        self._load = load
        self._version = version
        self._lock = threading.Lock()
        self._kept: tuple[str, Run, Pictures] | None = None
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self._server.server_port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a browser may call this server: anything else comes from a page that has no business here."""
        return tuple(f"{name}:{self._server.server_port}" for name in (HOST, "localhost"))

    def version(self) -> str:
        """Return the version of what there is now."""
        return self._version()

    def current(self) -> tuple[str, Run, Pictures]:
        """Return the version, the run and its figures, read anew if there is something new."""
        with self._lock:
            version = self._version()
            if self._kept is None or self._kept[0] != version:
                self._kept = (version, *self._load())
            return self._kept

    def serve(self) -> None:
        """Answer requests until `close` is called, or Ctrl-C is pressed."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop, and give the port free."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LiveReport:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()


def _handler(report: LiveReport) -> type[BaseHTTPRequestHandler]:
    """Return the handler of requests for a report."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "raysearch", ""
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            if self.headers.get("Host") not in report.hosts:
                self._answer("text/plain", "this page is for this machine alone", HTTPStatus.MISDIRECTED_REQUEST)
                return
            found = answer(report, self.path.partition("?")[0])
            if found is None:
                self._answer("text/plain", "there is no such page", HTTPStatus.NOT_FOUND)
            else:
                self._answer(*found)

        def _answer(self, kind: str, text: str, status: HTTPStatus = HTTPStatus.OK) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                ("X-Frame-Options", "DENY"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
            """Say nothing: the terminal is the user's."""

    return Handler


def answer(report: LiveReport, path: str) -> tuple[str, str] | None:
    """Return the type and content of one of the report's pages; None where there is none."""
    if path == "/version":
        return "application/json", json.dumps(report.version())
    version, run, pictures = report.current()
    if path == "/":
        return "text/html", html(run, data=None, served=True)
    if path == "/data.js":
        return "text/javascript", f"raysearch.take({_data(version, run, pictures)});"
    if path == "/data.json":
        return "application/json", _data(version, run, pictures)
    if match := _FIGURES.fullmatch(path):
        bundles = pictures.bundles(places(run, most_significant(run)))
        number = int(match[1])
        return ("text/javascript", pictures.script(bundles[number])) if number < len(bundles) else None
    return None


def _data(version: str, run: Run, pictures: Pictures) -> str:
    return script_json({**everything(run, pictures), "version": version})
