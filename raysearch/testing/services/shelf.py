"""Holdings as the server process has them: tables in memory, bodies mapped from disk; and the log of what was asked."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from raysearch.testing.faults import Faults, Injector, Service
from raysearch.testing.holdings import Product, Row

LOG_LENGTH = 100_000
CARD = 80
BLOCK = 2880
"""Bytes of a FITS file's blocks."""
SERVICES: tuple[Service, ...] = get_args(Service)


@dataclass(frozen=True, slots=True)
class Body:
    """The content of a file, its checksum, and when it was written."""

    content: memoryview
    etag: str
    modified: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Request:
    """One request an archive received."""

    service: str
    """simbad, mast, irsa, heasarc, registry or s3."""
    method: str
    path: str
    """Path and query, percent-decoded."""
    range: str = ""
    """The Range header."""
    form: str = ""
    """The form of a POST, as sent; of one with files its texts, and the size of each file."""
    status: int = 0
    """Of the answer; 0 as long as there is none."""
    bytes_sent: int = 0
    """Of the answer's body."""


class Shelf:
    """Everything the services share."""

    def __init__(self, folder: Path) -> None:
        tables = json.loads((folder / "holdings.json").read_text(encoding="utf-8"))
        self.targets: list[Row] = tables["targets"]
        self.observations: list[Row] = tables["observations"]
        self.irsa: list[Row] = tables["irsa"]
        self.tables: dict[str, list[Row]] = tables["tables"]
        self.products = [Product(**row) for row in tables["products"]]
        self.writable: list[str] = tables["writable"]
        self.bodies = _map_bodies(folder / "bodies.bin", tables["bodies"])
        self._successors: dict[str, Body] = {}
        self.injector = Injector(Faults())
        self.log: deque[Request] = deque(maxlen=LOG_LENGTH)
        self.counts: dict[str, dict[str, int]] = {}
        self.reset()

    def successor(self, body: Body) -> Body:
        """Return the next version of a file: the same, with a block of blank cards in its first header."""
        if body.etag not in self._successors:
            content = bytes(body.content)
            end = next((at for at in range(0, len(content), CARD) if content[at : at + CARD].rstrip() == b"END"), 0)
            grown = memoryview(content[:end] + b" " * BLOCK + content[end:])
            etag = hashlib.md5(grown, usedforsecurity=False).hexdigest()
            self._successors[body.etag] = Body(grown, etag, body.modified + timedelta(days=1))
        return self._successors[body.etag]

    def reset(self) -> None:
        """Forget what was asked, and misbehave no longer."""
        self.injector = Injector(Faults())
        self.log.clear()
        self.counts = {service: {"requests": 0, "bytes": 0} for service in SERVICES}

    def arrived(self, request: Request) -> None:
        """Note a request."""
        self.log.append(request)
        self.counts[request.service]["requests"] += 1

    def sent(self, request: Request, size: int) -> None:
        """Note bytes of its answer's body."""
        request.bytes_sent += size
        self.counts[request.service]["bytes"] += size

    def log_rows(self) -> list[dict[str, Any]]:
        """Return the log as it travels."""
        return [asdict(request) for request in self.log]


def _map_bodies(path: Path, index: dict[str, dict[str, Any]]) -> dict[str, Body]:
    """Return views into the file of bodies: it may be deleted once it is mapped."""
    content = memoryview(b"")
    if path.stat().st_size:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return {name: Body(content[b["offset"] : b["offset"] + b["size"]], b["etag"]) for name, b in index.items()}
