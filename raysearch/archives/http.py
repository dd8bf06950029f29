"""HTTP for every archive: no request without time-outs, complete answers or an error, polite retries, bounded load.

The archives' clients (pyvo, astroquery) set no socket time-outs of their own, so they are given a `requests.Session` whose adapter
does: it reads each answer to its end, under a deadline, before the client sees it. What each service is asked at a time, and how
often, is bounded for the whole process.
"""

import contextlib
import io
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from raysearch.archives.deadline import headers_by, watch
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.masking import masked
from raysearch.read.addresses import is_astray

logger = logging.getLogger(__name__)

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
WAITING_S = 5.0
"""Seconds after which the user is told what is waited for; told again at twice, four times, ... as long."""
LARGEST_ANSWER = 2**30
"""Bytes of one answer, unpacked: what is larger fills the memory, by mistake or on purpose."""
_TOLD_CHARACTERS = 120
_CHUNK_BYTES = 1 << 16
_jitter = random.SystemRandom()

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an archive."""

    connect_s: float = 10.0
    """For a connection."""
    read_s: float = 180.0
    """For the first byte, and between bytes: a long query is silent until it is done."""
    total_s: float = 600.0
    """For one complete answer, retries and the pauses between them included."""
    attempts: int = 5
    """Requests sent at most for one answer."""
    pause_s: float = 1.0
    """Before the first retry; doubled for each further one, and jittered so that clients do not return all at once."""


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Quota:
    """What one service is asked, by all of this process together."""

    at_once: int = 4
    """Requests under way at most."""
    per_second: int | None = None
    """Requests begun within any one second at most; None: as they come."""


QUOTAS = {
    "SIMBAD": Quota(4, per_second=6),  # more, and the address may be blacklisted (CDS, simbad.cds.unistra.fr/guide/sim-url.htx)
    "MAST": Quota(4),
    "MAST path_lookup": Quota(8),
    "IRSA": Quota(4),
    "HEASARC": Quota(4),
}
"""Service, as `open_session` is told it, -> what it is asked at most; any other has what a plain `Quota()` says."""


def quota_of(service: str) -> Quota:
    """Return what a service is asked at most."""
    return QUOTAS.get(service, Quota())


def open_session(service: str, patience: Patience = DEFAULT_PATIENCE) -> requests.Session:
    """Return a session whose every request keeps to `patience` and to the service's quota, and whose errors name `service`."""
    session = requests.Session()
    session.headers["User-Agent"] = f"raysearch/{version('raysearch')} {requests.utils.default_user_agent()}"
    for scheme in ("https://", "http://"):
        session.mount(scheme, _PatientAdapter(service, patience))
    return session


def in_parallel(service: str, ask: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
    """Yield the answer about each item, in order, as many asked for at once as the service's quota allow.

    The first error ends it: what has not been asked for yet, is not.
    """
    pool = ThreadPoolExecutor(quota_of(service).at_once)
    try:
        waiting = [pool.submit(copy_context().run, ask, item) for item in items]
        for answer in waiting:
            yield answer.result()
    finally:
        pool.shutdown(cancel_futures=True)


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("raysearch_waiting", default=None)


@contextlib.contextmanager
def on_waiting(tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with a line, from another thread, whenever an archive asked inside keeps us waiting for `WAITING_S`."""
    token = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Tell the listener of `on_waiting` that `what` is waited for, as long as the block lasts; the outermost block speaks."""
    tell = _listener.get()
    if tell is None:
        yield
        return
    token = _listener.set(None)
    done = threading.Event()
    watch = threading.Thread(target=_tell_until, args=(done, what, tell), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()
        _listener.reset(token)


def _tell_until(done: threading.Event, what: str, tell: Callable[[str], None]) -> None:
    told = " ".join(what.split())
    told = told if len(told) <= _TOLD_CHARACTERS else told[: _TOLD_CHARACTERS - 3] + "..."
    waited = pause = WAITING_S
    while not done.wait(pause):
        tell(f"waiting for {told}, {waited:.0f} s so far")
        waited, pause = 2 * waited, waited


class _Gate:
    """Lets in as many requests, and as often, as one service at one host is asked."""

    def __init__(self, quota: Quota) -> None:
        self._places = threading.BoundedSemaphore(quota.at_once)
        self._begun: deque[float] | None = deque(maxlen=quota.per_second) if quota.per_second else None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a place, and hold it."""
        with self._places:
            time.sleep(self._early_s())
            yield

    def _early_s(self) -> float:
        """Return the seconds until the next request may begin, and count it as begun then."""
        if self._begun is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            full = len(self._begun) == self._begun.maxlen
            begin = max(now, self._begun[0] + 1.0) if full else now
            self._begun.append(begin)
            return begin - now


_gates: dict[tuple[str, str], _Gate] = {}
_gates_lock = threading.Lock()


def _gate(service: str, url: str) -> _Gate:
    """Return the one gate of this process to a service at a host."""
    with _gates_lock:
        return _gates.setdefault((service, urlsplit(url).netloc), _Gate(quota_of(service)))


@contextlib.contextmanager
def translated(service: str, url: str) -> Iterator[None]:
    """Turn what `requests` raises inside into an ArchiveError that names the service and the address."""
    try:
        yield
    except requests.HTTPError as exc:
        raise ArchiveError(masked(f"{service} refused the request: {exc}")) from exc
    except requests.JSONDecodeError as exc:
        raise ArchiveError(masked(f"{service} did not answer in JSON; is {url} the right address?")) from exc
    except requests.RequestException as exc:
        raise ArchiveError(masked(f"{service} cannot be asked at {url}: {exc}")) from exc


class _PatientAdapter(HTTPAdapter):
    """Sends a request until a complete answer has come, or patience is at its end."""

    def __init__(self, service: str, patience: Patience) -> None:
        super().__init__(pool_maxsize=quota_of(service).at_once)
        watch(self.poolmanager)
        self.service = service
        self.patience = patience

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ARG002
        """Return the answer with its body already received, so that a client that streams it cannot stall.

        Raises
        ------
        ArchiveUnavailable
            Time-outs, resets, half answers, 429 and 5xx, after every retry.
        ArchiveError
            It leads astray; see `is_astray`.
        """
        # requests passes these by name; the client's own `timeout` and `stream` give way to ours.
        options = {name: kwargs.get(name) for name in ("verify", "cert", "proxies")}
        with waiting_for(masked(f"{self.service}'s answer from {request.url}")):
            return self._patiently(request, options)

    def _patiently(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        gate = _gate(self.service, request.url or "")
        deadline = None
        for attempt in range(1, self.patience.attempts + 1):
            with gate.turn():
                # the wait for the first turn is due to our own requests, each of which has a deadline
                deadline = deadline or time.monotonic() + self.patience.total_s
                answer = self._attempt(request, deadline, options)
            if isinstance(answer, requests.Response) and answer.status_code not in RETRIED_STATUSES:
                return self._on_the_way(answer)
            pause = self._pause_s(attempt, answer)
            if attempt == self.patience.attempts or time.monotonic() + pause >= deadline:
                break
            logger.info("%s: %s; asking again in %.1f s", self.service, masked(_told(answer)), pause)
            time.sleep(pause)
        message = f"{self.service} gave no answer after {attempt} requests: {_told(answer)} ({request.url}). Try again later."
        raise ArchiveUnavailable(masked(message)) from (answer if isinstance(answer, Exception) else None)

    def _on_the_way(self, answer: requests.Response) -> requests.Response:
        """Return the answer, unless it is a redirect that is not followed."""
        if answer.is_redirect and is_astray(answer.url, answer.headers["Location"]):
            there = answer.headers["Location"]
            raise ArchiveError(masked(f"{self.service} leads from {answer.url} to {there!r}, where we do not go"))
        return answer

    def _attempt(
        self, request: requests.PreparedRequest, deadline: float, options: dict[str, Any]
    ) -> requests.Response | requests.RequestException:
        left = max(deadline - time.monotonic(), 0.001)
        timeout = (min(self.patience.connect_s, left), min(self.patience.read_s, left))
        try:
            with headers_by(deadline):
                response = super().send(request, stream=True, timeout=timeout, **options)
            return _received(response, deadline)
        except (requests.ConnectionError, requests.Timeout) as exc:
            if isinstance(exc, requests.exceptions.SSLError) and "EOF" not in str(exc):  # a certificate does not mend itself
                raise
            return exc
        except urllib3.exceptions.HTTPError as exc:
            return requests.ConnectionError(f"the answer broke off: {exc}")

    def _pause_s(self, attempt: int, answer: requests.Response | Exception) -> float:
        """Return the seconds until the next attempt: what the server asks for, or doubling with jitter."""
        pause = self.patience.pause_s * 2.0 ** (attempt - 1) * _jitter.uniform(0.5, 1.5)
        asked = _retry_after_s(answer.headers.get("Retry-After", "")) if isinstance(answer, requests.Response) else 0.0
        return max(pause, asked)


def _received(response: requests.Response, deadline: float) -> requests.Response:
    """Return the response with its whole body in memory, ready to be read or streamed by a client."""
    body = io.BytesIO()
    try:
        # read1, because read waits for a whole chunk, however slowly its bytes drip in
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            body.write(chunk)
            if body.tell() > LARGEST_ANSWER:
                raise ArchiveError(f"an answer of more than {LARGEST_ANSWER:,} bytes, unpacked; ask for less at a time")
            if time.monotonic() > deadline:
                raise requests.Timeout(f"the answer was not complete in time; {body.tell():,} bytes had come")
    except BaseException:
        response.close()
        raise
    body.seek(0)
    headers = {
        name: value for name, value in response.headers.items() if name.lower() not in ("content-encoding", "content-length")
    }
    response.raw = urllib3.HTTPResponse(body, headers=headers, status=response.status_code, preload_content=False)
    response.headers.pop("Content-Encoding", None)
    return response


def _retry_after_s(header: str) -> float:
    """Return the seconds a Retry-After header asks for: a number or an HTTP date; 0 where it says neither."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _told(answer: requests.Response | Exception) -> str:
    if isinstance(answer, requests.Response):
        return f"HTTP status {answer.status_code} {answer.reason}"
    return str(answer)
