"""A scripted HTTP service on loopback, for faults that no real server should be asked for."""

import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from raysearch.archives import http
from raysearch.archives.http import Patience
from raysearch.testing import Holdings

sys.path.insert(0, str(Path(__file__).parent))


@dataclass
class Reply:
    body: str | bytes = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    manner: str = ""
    """`hang`: nothing comes; `half`: the connection closes half way; `drip`: a byte every 20 ms; `gzip`."""


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    headers: dict[str, str]


class Service:
    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.asked: list[Asked] = []
        self.answer = answer
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                parts = urlsplit(self.path)
                asked = Asked(self.command, parts.path, parse_qs(parts.query), parse_qs(body), dict(self.headers))
                service.asked.append(asked)
                self._send(service.answer(asked))

            do_GET = do_POST = _do  # noqa: N815 - names that http.server looks for

            def _send(self, reply: Reply) -> None:
                if reply.manner == "hang":
                    service.closing.wait(30)
                    self.close_connection = True
                    return
                body = reply.body.encode() if isinstance(reply.body, str) else reply.body
                if reply.manner == "gzip":
                    body = gzip.compress(body)
                    self.send_response(reply.status)
                    self.send_header("Content-Encoding", "gzip")
                else:
                    self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if reply.manner == "half":
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                elif reply.manner == "drip":
                    self._drip(body)
                else:
                    self.wfile.write(body)

            def _drip(self, body: bytes) -> None:
                for i in range(len(body)):
                    try:
                        self.wfile.write(body[i : i + 1])
                        self.wfile.flush()
                    except OSError:
                        break
                    if service.closing.is_set():
                        break
                    time.sleep(0.02)
                self.close_connection = True

        return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service: one reply for all requests, several in turn (the last for good), or a function."""
    running: list[Service] = []

    def start(*replies: Reply | Callable[[Asked], Reply]) -> Service:
        if callable(replies[0]):
            service = Service(replies[0])
        else:
            turn = iter(replies)
            last = replies[-1]
            service = Service(lambda _: next(turn, last))
        running.append(service)
        return service

    start.reply = Reply
    yield start
    for service in running:
        service.close()


@pytest.fixture
def hasty() -> Patience:
    """A patience with short pauses: for services that answer, however slowly the machine does."""
    return Patience(connect_s=10.0, read_s=10.0, total_s=30.0, attempts=3, pause_s=0.01)


@pytest.fixture
def impatient() -> Patience:
    """A patience soon at its end: for services that do not answer."""
    return Patience(connect_s=1.0, read_s=0.3, total_s=3.0, attempts=3, pause_s=0.01)


class Told:
    """A listener of `on_waiting` that can be waited for, so that a test hangs on no pause of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = threading.Condition()

    def __call__(self, line: str) -> None:
        """Hear a line."""
        with self._more:
            self.lines.append(line)
            self._more.notify_all()

    def wait(self, lines: int = 1) -> None:
        """Return once so many lines were heard."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.lines) >= lines, 60)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return a listener; what is waited for is told soon."""
    monkeypatch.setattr(http, "WAITING_S", 0.1)
    return Told()


@pytest.fixture
def stars(surveys: Holdings) -> list[tuple[float, float]]:
    """Where the surveys' six stars are."""
    return [(star["ra"], star["dec"]) for star in surveys.targets]
