"""HTTP for every archive: no request without time-outs, complete answers or an error, polite retries.

The archives' clients (pyvo, astroquery) set no socket time-outs of their own, so they are given a `requests.Session` whose adapter
does: it reads each answer to its end, under a deadline, before the client sees it.
"""

import contextlib
import io
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from raysearch.errors import ArchiveError, ArchiveUnavailable

logger = logging.getLogger(__name__)

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
_CHUNK_BYTES = 1 << 16
_jitter = random.SystemRandom()


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


def open_session(service: str, patience: Patience = DEFAULT_PATIENCE, connections: int = 8) -> requests.Session:
    """Return a session whose every request keeps to `patience`, and whose errors name `service`."""
    session = requests.Session()
    session.headers["User-Agent"] = f"raysearch/{version('raysearch')} {requests.utils.default_user_agent()}"
    for scheme in ("https://", "http://"):
        session.mount(scheme, _PatientAdapter(service, patience, connections))
    return session


@contextlib.contextmanager
def translated(service: str, url: str) -> Iterator[None]:
    """Turn what `requests` raises inside into an ArchiveError that names the service and the address."""
    try:
        yield
    except requests.HTTPError as exc:
        raise ArchiveError(f"{service} refused the request: {exc}") from exc
    except requests.JSONDecodeError as exc:
        raise ArchiveError(f"{service} did not answer in JSON; is {url} the right address?") from exc
    except requests.RequestException as exc:
        raise ArchiveError(f"{service} cannot be asked at {url}: {exc}") from exc


class _PatientAdapter(HTTPAdapter):
    """Sends a request until a complete answer has come, or patience is at its end."""

    def __init__(self, service: str, patience: Patience, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self.service = service
        self.patience = patience

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ARG002
        """Return the answer with its body already received, so that a client that streams it cannot stall.

        Raises
        ------
        ArchiveUnavailable
            Time-outs, resets, half answers, 429 and 5xx, after every retry.
        """
        # requests passes these by name; the client's own `timeout` and `stream` give way to ours.
        options = {name: kwargs.get(name) for name in ("verify", "cert", "proxies")}
        deadline = time.monotonic() + self.patience.total_s
        for attempt in range(1, self.patience.attempts + 1):
            answer = self._attempt(request, deadline, options)
            if isinstance(answer, requests.Response) and answer.status_code not in RETRIED_STATUSES:
                return answer
            pause = self._pause_s(attempt, answer)
            if attempt == self.patience.attempts or time.monotonic() + pause >= deadline:
                break
            logger.info("%s: %s; asking again in %.1f s", self.service, _told(answer), pause)
            time.sleep(pause)
        message = f"{self.service} gave no answer after {attempt} requests: {_told(answer)} ({request.url}). Try again later."
        raise ArchiveUnavailable(message) from (answer if isinstance(answer, Exception) else None)

    def _attempt(
        self, request: requests.PreparedRequest, deadline: float, options: dict[str, Any]
    ) -> requests.Response | requests.RequestException:
        left = max(deadline - time.monotonic(), 0.001)
        timeout = (min(self.patience.connect_s, left), min(self.patience.read_s, left))
        try:
            response = super().send(request, stream=True, timeout=timeout, **options)
            return _received(response, deadline)
        except (requests.ConnectionError, requests.Timeout) as exc:
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
    if header.isdigit():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _told(answer: requests.Response | Exception) -> str:
    if isinstance(answer, requests.Response):
        return f"HTTP status {answer.status_code} {answer.reason}"
    return str(answer)
