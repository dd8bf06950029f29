"""Byte ranges from S3, HTTP(S), files and memory: the only place that opens connections for pixels.

One router sends each address to the backend of its scheme. A backend makes exactly one attempt; the router holds the places
for requests under way, counts, waits and tries again. Clients' own retries are switched off, so that `Usage` is exact and the
budget is one budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from raysearch.errors import ConfigError, ProductForbidden, ProductNotFound, ReadError, StoreUnavailable
from raysearch.masking import MASK, masked
from raysearch.model import Store, Usage
from raysearch.read.addresses import AT_ONCE, host_of, is_astray, is_inside
from raysearch.read.meanings import TransientError, refusal, untrusted, whole_size
from raysearch.read.settings import StoreConfig

if TYPE_CHECKING:
    import aiohttp
    import obstore.store

__all__ = ["Span", "StoreConfig", "open_store"]

Span = tuple[int, int]
"""First byte and the byte after the last."""

FIRST_PAUSE_S = 0.1
"""Before the second attempt; doubled before each further one, up to `LONGEST_PAUSE_S`."""
LONGEST_PAUSE_S = 8.0
LARGEST_WHOLE = 2**30
"""Bytes of a file that is asked for as a whole, as cutouts are; more is not taken in."""


def open_store(config: StoreConfig) -> Store:
    """Return a store for every scheme; it connects on first use, and belongs to the event loop that uses it."""
    return _Router(config)


class _Backend(ABC):
    """One kind of store."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config

    @abstractmethod
    async def fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        """Return the span (None: everything) in one attempt, charging the bytes received; the request is charged already."""

    async def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Close every connection."""


class _Router:
    """The store for every scheme."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._backends: dict[str, _Backend] = {}
        self._places = asyncio.Semaphore(config.max_concurrent)
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
                    return await backend.fetch(uri, span, usage)
            except TransientError as exc:
                taken = time.monotonic() - began
                pause = _pause(attempt)
                if attempt > self._config.retries or taken + pause > self._config.retry_s:
                    attempts = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                    raise StoreUnavailable(f"{masked(uri)}: {exc}; gave up after {attempts} in {taken:.1f} s") from exc
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def _turn(self, uri: str) -> AsyncIterator[None]:
        """Hold a place; first one at the host, where that takes few at a time: who waits for it is in nobody's way."""
        host = host_of(uri)
        most = AT_ONCE.get(host, self._config.max_concurrent)
        async with self._at_hosts.setdefault(host, asyncio.Semaphore(most)), self._places:
            yield

    def _backend(self, uri: str) -> _Backend:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections cannot outlive their event loop
            self._loop, self._backends, self._at_hosts = loop, {}, {}
            self._places = asyncio.Semaphore(self._config.max_concurrent)
        scheme = uri.partition("://")[0].lower() if "://" in uri else "file"
        if (kind := _SCHEMES.get(scheme)) is None:
            raise ReadError(f"{masked(uri)}: no store for {scheme}://; use s3://, https://, http://, file:// or a path")
        name = self._config.s3_client if kind == "s3" else kind
        if name not in self._backends:
            self._backends[name] = _BACKENDS[name](self._config)
        return self._backends[name]


def _pause(attempt: int) -> float:
    """Return the seconds to wait after this many attempts: with jitter, so that readers do not come back all at once."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, no secret)


def _range_header(span: Span) -> str:
    return f"bytes={span[0]}-{span[1] - 1}"


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket or not key:
        raise ReadError(f"{masked(uri)}: no S3 address; one reads s3://bucket/key")
    return bucket, key


def _user_credentials() -> Any:
    """Return botocore's credentials object (it renews itself): the same chain for both S3 clients."""
    import botocore.session

    credentials = botocore.session.Session().get_credentials()
    if credentials is None:
        raise ConfigError(
            "services.s3_signed = true, but there are no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"
        )
    return credentials


class _Obstore(_Backend):
    """S3 through obstore (Rust's object_store)."""

    def __init__(self, config: StoreConfig) -> None:
        super().__init__(config)
        self._stores: dict[str, obstore.store.S3Store] = {}

    async def fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        import obstore
        from obstore.exceptions import BaseError

        bucket, key = _bucket_and_key(uri)
        if bucket not in self._stores:
            self._stores[bucket] = self._open(bucket)
        try:
            result = await obstore.get_async(self._stores[bucket], key, options={"range": span} if span else {})
            usage.sizes[uri] = result.meta["size"]
            body = bytes(await result.bytes_async())
        except FileNotFoundError as exc:
            raise refusal(uri, 404) from exc
        except ValueError as exc:
            raise ReadError(f"{masked(uri)}: no usable S3 key (empty or relative parts)") from exc
        except BaseError as exc:
            text = str(exc)
            if span and "status code: 416" in text:
                return b""
            if span and "NotPartial" in text:  # it ignores ranges, and obstore drops the body: ask for all, keep a part
                usage.requests += 1
                return (await self.fetch(uri, None, usage))[slice(*span)]
            raise self._translated(uri, text) from exc
        usage.bytes_read += len(body)
        return body

    @staticmethod
    def _translated(uri: str, text: str) -> Exception:
        """Return what obstore's message means: its exceptions do not carry the status."""
        status = re.search(r"status code: (\d{3})", text)
        if status:
            return refusal(uri, int(status[1]))
        if "InvalidCertificate" in text:
            return untrusted(uri)
        if "BareRedirect" in text:
            return refusal(uri, 301)
        if re.search(r"kind: (Timeout|Connect|Request|Interrupted|Decode|Unknown)\b", text):
            stalled = "kind: Timeout" in text
            return TransientError("no answer in time" if stalled else "the connection failed")
        return ReadError(f"{masked(uri)}: {text.partition('Debug source')[0].strip()}")

    def _open(self, bucket: str) -> obstore.store.S3Store:
        from datetime import timedelta

        from obstore.store import S3Store

        config, endpoint = self.config, self.config.endpoint
        options: dict[str, Any] = {"region": config.s3_region}
        if endpoint:
            options["endpoint"] = endpoint
        if config.s3_signed:
            options["credential_provider"] = _credential_provider()
        else:
            options["skip_signature"] = True
        return S3Store(
            bucket,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=config.connect_timeout_s),
                "read_timeout": timedelta(seconds=config.read_timeout_s),
                "timeout": timedelta(seconds=config.request_timeout_s),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=config.request_timeout_s)},
            **options,
        )

    async def close(self) -> None:
        self._stores.clear()


def _credential_provider() -> Any:
    """Return what obstore calls for credentials: by itself it reads no ~/.aws."""
    from datetime import UTC, datetime, timedelta

    credentials = _user_credentials()

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=5),
        }

    return provide


class _S3fs(_Backend):
    """S3 through s3fs: its session and client, without its file objects, caches, HEADs and retries.

    A second try on a connection that the server has closed (aiohttp's own) cannot be seen, and is not counted.
    """

    def __init__(self, config: StoreConfig) -> None:
        import s3fs

        super().__init__(config)
        if config.s3_signed:
            _user_credentials()
        self._client: Any = None
        self._filesystem = s3fs.S3FileSystem(
            anon=not config.s3_signed,
            asynchronous=True,
            skip_instance_cache=True,
            endpoint_url=config.endpoint or None,
            client_kwargs={"region_name": config.s3_region},
            config_kwargs={
                "connect_timeout": config.connect_timeout_s,
                "read_timeout": config.read_timeout_s,
                "max_pool_connections": config.max_concurrent,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                "response_checksum_validation": "when_required",
                "s3": {"addressing_style": "path"},
            },
        )

    async def fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        import aiohttp
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = _bucket_and_key(uri)
        asked = {"Range": _range_header(span)} if span else {}
        try:
            async with asyncio.timeout(self.config.request_timeout_s):
                self._client = await self._filesystem.set_session()
                answer = await self._client.get_object(Bucket=bucket, Key=key, **asked)
                if size := whole_size(answer.get("ContentRange", ""), answer.get("ContentLength")):
                    usage.sizes[uri] = size
                async with answer["Body"] as stream:
                    body: bytes = await stream.read()
        except ClientError as exc:
            status = exc.response["ResponseMetadata"]["HTTPStatusCode"]
            if span and status == 416:
                return b""
            raise refusal(uri, status) from exc
        except TimeoutError as exc:
            raise TransientError("no answer in time") from exc
        except (BotoCoreError, aiohttp.ClientError) as exc:
            if "CERTIFICATE_VERIFY_FAILED" in str(exc):
                raise untrusted(uri) from exc
            stalled = "Timeout" in type(exc).__name__
            raise TransientError("no answer in time" if stalled else "the connection failed") from exc
        usage.bytes_read += len(body)
        return body if span is None or "ContentRange" in answer else body[slice(*span)]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class _Http(_Backend):
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
            connector=aiohttp.TCPConnector(
                limit=config.max_concurrent, resolver=None if config.hosts is None else OutsideResolver(config.hosts)
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

    async def fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        import aiohttp
        from yarl import URL

        from raysearch.read.resolver import LeadsInside

        host = host_of(uri)
        if self.config.hosts is not None and is_inside(host) and host not in self.config.hosts:
            raise ReadError(f"{masked(uri)}: an archive names a host of this machine's own network, where we do not go")
        headers = {"Range": _range_header(span)} if span else {}
        sent: list[object] = []
        try:
            async with self._session.get(URL(uri, encoded="%" in uri), headers=headers, trace_request_ctx=sent) as response:
                if span and response.status == 416:
                    return b""
                if response.status not in {200, 206}:
                    raise refusal(uri, response.status)
                if size := whole_size(response.headers.get("Content-Range", ""), response.content_length):
                    usage.sizes[uri] = size
                return await self._body(response, span, usage)
        except TimeoutError as exc:
            raise TransientError("no answer in time") from exc
        except aiohttp.ClientConnectorCertificateError as exc:
            raise untrusted(uri) from exc
        except LeadsInside as exc:
            raise ReadError(f"{masked(uri)}: {exc}") from exc
        except (aiohttp.TooManyRedirects, aiohttp.ClientSSLError, ValueError) as exc:  # InvalidURL, UnicodeError among them
            raise ReadError(f"{masked(uri)}: {type(exc).__name__}: the address or its redirects are wrong") from exc
        except aiohttp.ClientError as exc:
            raise TransientError(f"the connection failed ({type(exc).__name__})") from exc
        finally:  # redirects, and aiohttp's own second try on a connection found closed
            usage.requests += max(0, len(sent) - 1)

    @staticmethod
    async def _body(response: aiohttp.ClientResponse, span: Span | None, usage: Usage) -> bytes:
        """Return the span's bytes; where the server ignores ranges, stop as soon as they have come."""
        ignored = span is not None and response.status == 200
        body = bytearray()
        async for chunk in response.content.iter_any():
            usage.bytes_read += len(chunk)
            body += chunk
            if span is None and len(body) > LARGEST_WHOLE:
                raise ReadError(f"{masked(str(response.url))}: more than {LARGEST_WHOLE:,} bytes came, and no end")
            if ignored and span and len(body) >= span[1]:
                response.close()
                break
        return bytes(body[slice(*span)]) if ignored and span else bytes(body)

    async def close(self) -> None:
        await self._session.close()


class _Local(_Backend):
    """Files of this machine, read in threads."""

    async def fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        try:
            body, usage.sizes[uri] = await asyncio.to_thread(self._read, self._path(uri), span)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise ProductNotFound(f"{uri}: no such file") from exc
        except PermissionError as exc:
            raise ProductForbidden(f"{uri}: this user may not read the file") from exc
        except ReadError:
            raise
        except OSError as exc:
            raise ReadError(f"{uri}: {exc.strerror or exc}") from exc
        usage.bytes_read += len(body)
        return body

    @staticmethod
    def _path(uri: str) -> Path:
        if not uri.startswith("file://"):
            return Path(uri).expanduser()
        parts = urlsplit(uri)
        if parts.netloc not in {"", "localhost"}:
            raise ReadError(f"{uri}: names the machine {parts.netloc!r}; a file of this one reads file:///path")
        return Path(unquote(parts.path))

    @staticmethod
    def _read(path: Path, span: Span | None) -> tuple[bytes, int]:
        """Return the span's bytes, and how many the file has."""
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # asked before opening, as opening a pipe may wait for ever
            raise ReadError(f"{path}: {'a folder' if path.is_dir() else 'a device or pipe'}, not a file")
        with path.open("rb") as file:
            if span is None:
                return file.read(), about.st_size
            start, end = (min(place, about.st_size) for place in span)  # a petabyte can neither be sought nor made room for
            file.seek(start)
            return file.read(end - start), about.st_size


class _Memory(_Backend):
    """Bytes held by the configuration: for tests and examples."""

    async def fetch(self, uri: str, span: Span | None, usage: Usage) -> bytes:
        if uri not in self.config.memory:
            raise ProductNotFound(f"{uri}: not in memory")
        content = self.config.memory[uri]
        usage.sizes[uri] = len(content)
        body = content[slice(*span) if span else slice(None)]
        usage.bytes_read += len(body)
        return body


_SCHEMES = {"s3": "s3", "http": "http", "https": "http", "file": "local", "memory": "memory"}
_BACKENDS: dict[str, type[_Backend]] = {
    "obstore": _Obstore,
    "s3fs": _S3fs,
    "http": _Http,
    "local": _Local,
    "memory": _Memory,
}
