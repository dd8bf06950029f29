"""Byte ranges from S3, HTTP(S), files and memory: the only way to pixels.

One router sends each address to the backend of its scheme. A backend makes exactly one attempt; the router holds the places
for requests under way, counts, waits and tries again. Clients' own retries are switched off, so that `Usage` is exact and the
budget is one budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import stat
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from raysearch.errors import ProductForbidden, ProductNotFound, ReadError, StoreUnavailable
from raysearch.masking import MASK, masked
from raysearch.model import Store, Usage
from raysearch.read.addresses import AT_ONCE, host_of, is_astray, is_inside
from raysearch.read.backend import Backend, body_of, range_header
from raysearch.read.meanings import (
    Answer,
    RangeRefused,
    Span,
    TransientError,
    broken,
    checked,
    nothing,
    refusal,
    span_told,
    untrusted,
    whole_size,
)
from raysearch.read.s3 import Obstore, S3fs
from raysearch.read.settings import StoreConfig

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Span", "StoreConfig", "open_store"]

FIRST_PAUSE_S = 0.1
"""Before the second attempt; doubled before each further one, up to `LONGEST_PAUSE_S`."""
LONGEST_PAUSE_S = 8.0


def open_store(config: StoreConfig) -> Store:
    """Return a store for every scheme; it connects on first use, and belongs to the event loop that uses it."""
    return _Router(config)


class _Router:
    """The store for every scheme."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._backends: dict[str, Backend] = {}
        self._at_hosts: dict[str, asyncio.Semaphore] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get_ranges(self, uri: str, ranges: Sequence[Span], usage: Usage) -> list[bytes]:
        for start, end in ranges:
            if not 0 <= start <= end:
                raise ValueError(f"{masked(uri)}: {start}-{end} is no range of bytes")
        tasks = [asyncio.ensure_future(self._fetch(uri, span, usage)) for span in ranges]
        try:
            return await asyncio.gather(*tasks)
        finally:  # after a failure nothing may go on in the background and charge `usage` later
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, uri: str, usage: Usage) -> bytes:
        return await self._fetch(uri, None, usage)

    async def close(self) -> None:
        backends, self._backends = self._backends, {}
        for backend in backends.values():
            await backend.close()

    async def _fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        if span and span[0] == span[1]:
            return b""
        if f"={MASK}" in uri:
            raise ProductForbidden(f"{uri}: its signature was left out when it was written; run the search itself again")
        backend = self._backend(uri)
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                async with self._turn(uri):
                    usage.requests += 1
                    answer = await _answer(backend, uri, span, usage)
                return checked(uri, span, answer, usage)
            except TransientError as exc:
                taken = time.monotonic() - began
                pause = max(_pause(attempt), exc.wait_s)
                if attempt > self._config.retries or taken + pause > self._config.retry_s:
                    attempts = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                    asked = f", asked to be left alone for {exc.wait_s:.0f} s" if exc.wait_s else ""
                    raise StoreUnavailable(
                        f"{masked(uri)}: {exc}; gave up after {attempts} in {taken:.1f} s: {self._config.service(uri)} may be "
                        f"down, overloaded or out of reach{asked}; run again later with --since"
                    ) from exc
            await asyncio.sleep(pause)
            host = host_of(uri)
            usage.retries[host] = usage.retries.get(host, 0) + 1

    @contextlib.asynccontextmanager
    async def _turn(self, uri: str) -> AsyncIterator[None]:
        """Hold one of the places at the host: who waits for a host that is slow, or takes few at a time, is in nobody's way."""
        host = host_of(uri)
        most = AT_ONCE.get(host, self._config.max_concurrent)
        async with self._at_hosts.setdefault(host, asyncio.Semaphore(most)):
            yield

    def _backend(self, uri: str) -> Backend:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections cannot outlive their event loop
            self._loop, self._backends, self._at_hosts = loop, {}, {}
        scheme = uri.partition("://")[0].lower() if "://" in uri else "file"
        if (kind := _SCHEMES.get(scheme)) is None:
            raise ReadError(f"{masked(uri)}: no store for {scheme}://; use s3://, https://, http://, file:// or a path")
        name = self._config.s3_client if kind == "s3" else kind
        if name not in self._backends:
            self._backends[name] = _BACKENDS[name](self._config)
        return self._backends[name]


async def _answer(backend: Backend, uri: str, span: Span | None, usage: Usage) -> Answer:
    try:
        return await backend.fetch(uri, span, usage)
    except RangeRefused:
        usage.requests += 1
        return await backend.fetch(uri, span, usage, ranged=False)


def _pause(attempt: int) -> float:
    """Return the seconds to wait after this many attempts: with jitter, so that readers do not come back all at once."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, no secret)


class _Http(Backend):
    """HTTP(S) through aiohttp: obstore's HTTP store cannot ask for an address with a query, as MAST's downloads have."""

    def __init__(self, config: StoreConfig) -> None:
        import aiohttp

        from raysearch import __version__
        from raysearch.read.resolver import OutsideResolver

        super().__init__(config)
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(self._count)
        trace.on_request_redirect.append(self._follow)
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(  # how many are under way at a host is `_turn`'s affair
                limit=0, resolver=None if config.hosts is None else OutsideResolver(config.hosts)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": f"raysearch/{__version__}"},
            timeout=aiohttp.ClientTimeout(
                total=config.request_timeout_s, sock_connect=config.connect_timeout_s, sock_read=config.read_timeout_s
            ),
            trace_configs=[trace],
            trust_env=True,
        )

    @staticmethod
    async def _count(session: object, context: Any, sent: object) -> None:  # noqa: ARG004 (aiohttp's signature)
        context.trace_request_ctx.append(sent)

    @staticmethod
    async def _follow(session: object, context: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:  # noqa: ARG004
        here, there = str(redirect.url), redirect.response.headers.get("Location") or ""
        if is_astray(here, there):
            raise ReadError(f"{masked(here)}: leads to {masked(there)!r}, where we do not go")

    async def fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool = True) -> Answer:
        import aiohttp
        from yarl import URL

        from raysearch.read.resolver import LeadsInside

        host = host_of(uri)
        if self.config.hosts is not None and is_inside(host) and host not in self.config.hosts:
            raise ReadError(f"{masked(uri)}: an archive names a host of this machine's own network, where we do not go")
        headers = {"Range": range_header(span)} if span and ranged else {}
        sent: list[object] = []
        try:
            async with self._session.get(URL(uri, encoded="%" in uri), headers=headers, trace_request_ctx=sent) as response:
                return await self._answer(uri, response, span, usage)
        except aiohttp.ClientConnectorCertificateError as exc:
            raise untrusted(uri) from exc
        except LeadsInside as exc:
            raise ReadError(f"{masked(uri)}: {exc}") from exc
        except (aiohttp.TooManyRedirects, ValueError) as exc:  # InvalidURL, UnicodeError among them
            raise ReadError(f"{masked(uri)}: {type(exc).__name__}: the address or its redirects are wrong") from exc
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise broken(uri, f"{type(exc).__name__} {exc} {getattr(exc, 'os_error', None)!r}") from exc
        finally:  # redirects, and aiohttp's own second try on a connection found closed
            usage.requests += max(0, len(sent) - 1)

    @staticmethod
    async def _answer(uri: str, response: aiohttp.ClientResponse, span: Span | None, usage: Usage) -> Answer:
        headers = response.headers
        placed = headers.get("Content-Range", "")
        if span and response.status == 416 and "Range" in response.request_info.headers:
            return nothing(uri, placed, usage)
        if response.status not in {200, 206}:
            raise refusal(uri, response.status, headers.get("Retry-After", ""))
        told = span_told(placed) if span and response.status == 206 else None
        body = await body_of(uri, response.content.iter_any(), span, told, usage)
        return Answer(
            body, whole_size(placed, response.content_length), headers.get("ETag") or headers.get("Last-Modified") or "", told
        )

    async def close(self) -> None:
        await self._session.close()


class _Local(Backend):
    """Files of this machine, read in threads."""

    async def fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool = True) -> Answer:  # noqa: ARG002
        try:
            answer = await asyncio.to_thread(self._read, self._path(uri), span)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise ProductNotFound(f"{uri}: no such file") from exc
        except PermissionError as exc:
            raise ProductForbidden(f"{uri}: this user may not read the file") from exc
        except ReadError:
            raise
        except OSError as exc:
            raise ReadError(f"{uri}: {exc.strerror or exc}") from exc
        usage.bytes_read += len(answer.body)
        return answer

    @staticmethod
    def _path(uri: str) -> Path:
        if not uri.startswith("file://"):
            return Path(uri).expanduser()
        parts = urlsplit(uri)
        if parts.netloc not in {"", "localhost"}:
            raise ReadError(f"{uri}: names the machine {parts.netloc!r}; a file of this one reads file:///path")
        return Path(unquote(parts.path))

    @staticmethod
    def _read(path: Path, span: Span | None) -> Answer:
        if not stat.S_ISREG(path.stat().st_mode):  # asked before opening, as opening a pipe may wait for ever
            raise ReadError(f"{path}: {'a folder' if path.is_dir() else 'a device or pipe'}, not a file")
        with path.open("rb") as file:
            about = os.fstat(file.fileno())  # of what is open, whatever has the name by now
            start, end = (min(place, about.st_size) for place in span or (0, about.st_size))
            file.seek(start)  # not beyond the end: a petabyte can neither be sought nor made room for
            return Answer(file.read(end - start), about.st_size, f"{about.st_ino}-{about.st_mtime_ns}")


class _Memory(Backend):
    """Bytes held by the configuration: for tests and examples."""

    async def fetch(self, uri: str, span: Span | None, usage: Usage, *, ranged: bool = True) -> Answer:  # noqa: ARG002
        if uri not in self.config.memory:
            raise ProductNotFound(f"{uri}: not in memory")
        content = self.config.memory[uri]
        body = content[slice(*span) if span else slice(None)]
        usage.bytes_read += len(body)
        return Answer(body, len(content), str(hash(content)))


_SCHEMES = {"s3": "s3", "http": "http", "https": "http", "file": "local", "memory": "memory"}
_BACKENDS: dict[str, type[Backend]] = {
    "obstore": Obstore,
    "s3fs": S3fs,
    "http": _Http,
    "local": _Local,
    "memory": _Memory,
}
