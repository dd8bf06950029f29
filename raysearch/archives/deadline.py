"""Connections whose answers' headers must have come by a deadline, however slowly their bytes drip in.

A socket's time-out runs anew with each byte; only cutting the connection ends a reader that waits for the end of a line.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

_own = threading.local()


@contextlib.contextmanager
def headers_by(deadline: float) -> Iterator[None]:
    """Have requests of this thread cut off whose headers have not come by a time (`time.monotonic`)."""
    _own.deadline = deadline
    try:
        yield
    finally:
        _own.deadline = None


def watch(manager: PoolManager) -> None:
    """Have a manager's connections keep to `headers_by`."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Cut:
    """What both kinds of connections do: a mixin before urllib3's own."""

    sock: Any

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        deadline = getattr(_own, "deadline", None)
        if deadline is None:
            return super().getresponse(*args, **kwargs)  # type: ignore[misc]
        late = threading.Event()
        timer = threading.Timer(max(deadline - time.monotonic(), 0.0), _cut, (self.sock, late))
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse(*args, **kwargs)  # type: ignore[misc]
        finally:
            timer.cancel()
        if late.is_set():  # headers that break off look as if they were complete
            response.close()
            raise TimeoutError("the answer's headers were not complete in time")
        return response


def _cut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class _Connection(_Cut, HTTPConnection):
    """Over plain HTTP."""


class _SecureConnection(_Cut, HTTPSConnection):
    """Over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
