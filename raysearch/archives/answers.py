"""Answers of archives, kept on disk: asked again only when they are old, or the user says so.

Each is an Arrow IPC file, named by a hash of the service, its address and the query; its schema's metadata say what was asked,
when, and how many rows came. A file that is torn, or another's, counts as none; one that is weeks old goes when another is
written. Nothing that opens a door is kept: no password in
an address, no signed address in a table.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from raysearch.errors import ArchiveError
from raysearch.masking import holds_secret, masked
from raysearch.model import Query

logger = logging.getLogger(__name__)

Mode = Literal["reuse", "refresh", "offline", "off"]
"""`reuse` what is young enough; `refresh`: ask, and keep; `offline`: never ask; `off`: neither read nor keep."""

DAY_S = 86_400.0
KEPT_S = 8 * 7 * DAY_S
"""The age from which a kept answer is removed."""
_META = b"raysearch.answer"
_ENDING = ".arrow"
_OURS = re.compile(r"[0-9a-f]{64}\.arrow|[0-9a-f]{16}-\w+\.tmp")
"""Names of answers, and of drafts that a process left behind."""
_TORN = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)


def default_folder() -> Path:
    """Return where answers are kept unless the user says otherwise: the user's cache folder (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "raysearch" / "answers"


@dataclass(slots=True)
class Answers:
    """A folder of kept answers; several processes may use it at once."""

    folder: Path = field(default_factory=default_folder)
    mode: Mode = "reuse"
    max_age_s: float = DAY_S
    """The age up to which an answer is reused; offline, any is."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, one sentence each: that the folder cannot be written."""
    _is_pruned: bool = field(default=False, init=False, repr=False, compare=False)

    def get(self, service: str, url: str, text: str, ask: Callable[[], tuple[pa.Table, Query]]) -> tuple[pa.Table, Query]:
        """Return the kept answer to a query, or what `ask` gives, which is then kept.

        Raises
        ------
        ArchiveError
            Offline, where no answer is kept; or whatever `ask` raises: an error is never kept.
        """
        if self.mode == "off":
            return ask()
        url = masked(url)
        path = self.folder / (hashlib.sha256("\n".join((service, url, text)).encode()).hexdigest() + _ENDING)
        kept = None if self.mode == "refresh" else _read(path)
        if kept is not None and (self.mode == "offline" or self._is_young(kept[1])):
            return kept
        if self.mode == "offline":
            raise ArchiveError(
                f"offline, and no answer of {service} ({url}) is kept in {self.folder} to this query: {text}\n"
                "Run once without --offline, and it will be."
            )
        table, query = ask()
        self._keep(path, table, replace(query, url=masked(query.url)), text)
        return table, query

    def size(self) -> tuple[int, int]:
        """Return how many answers the folder holds, and their bytes."""
        try:
            sizes = [file.stat().st_size for file in self.folder.glob("*" + _ENDING)]
        except OSError:
            return 0, 0
        return len(sizes), sum(sizes)

    def _is_young(self, query: Query) -> bool:
        age = time.time() - datetime.fromisoformat(query.reused).timestamp()
        return 0.0 <= age <= self.max_age_s

    def _keep(self, path: Path, table: pa.Table, query: Query, text: str) -> None:
        if _holds_secrets(text, table):
            logger.info("%s: an answer with signed addresses is not kept", query.service)
            return
        try:
            _write(path, table, query)
            if not self._is_pruned:
                self._is_pruned = True
                _prune(self.folder, time.time() - max(KEPT_S, self.max_age_s))
        except OSError as exc:
            note = f"{self.folder}: answers cannot be kept there ({exc.strerror or exc}); name another folder in services.answers"
            if note not in self.notes:
                self.notes.append(note)


def through(
    answers: Answers | None, service: str, url: str, text: str, ask: Callable[[], tuple[pa.Table, Query]]
) -> tuple[pa.Table, Query]:
    """Return the answer to a query, kept or asked; without `answers` it is asked."""
    return ask() if answers is None else answers.get(service, url, text, ask)


def _holds_secrets(text: str, table: pa.Table) -> bool:
    if masked(text) != text:
        return True
    texts = [table[field.name] for field in table.schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    return any(map(holds_secret, texts))


def _read(path: Path) -> tuple[pa.Table, Query] | None:
    """Return a kept answer, or None where there is none, or none that is whole and of this name."""
    try:
        with pa.OSFile(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)
        told = json.loads(table.schema.metadata[_META])
        if told.pop("name") != path.stem:
            raise ValueError("it is the answer to another query")
        datetime.fromisoformat(told["reused"])
        query = Query(**told)
    except FileNotFoundError:
        return None
    except _TORN as exc:
        logger.info("%s is no kept answer (%s)", path, exc)
        return None
    metadata = {name: value for name, value in table.schema.metadata.items() if name != _META}
    return table.replace_schema_metadata(metadata or None), query


def _write(path: Path, table: pa.Table, query: Query) -> None:
    """Write an answer so that others see all of it or nothing."""
    told = {**asdict(query), "name": path.stem, "reused": datetime.now(UTC).isoformat(timespec="seconds")}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _META: json.dumps(told)})
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=path.stem[:16] + "-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _prune(folder: Path, since: float) -> None:
    """Remove the answers written before a time (seconds since 1970); what is none of ours stays."""
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            if _OURS.fullmatch(file.name) and file.stat().st_mtime < since:
                file.unlink()
