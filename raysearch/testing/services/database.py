"""Tables in memory, asked in ADQL: what SIMBAD's, IRSA's, HEASARC's and the registry's TAP services share."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.testing.services import regions
from raysearch.testing.services.adql import translate
from raysearch.testing.services.votable import Column

AFFINITIES = {"BIGINT": "INTEGER", "INTEGER": "INTEGER", "SMALLINT": "INTEGER", "DOUBLE": "REAL", "REAL": "REAL"}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that comes with a query, as `TAP_UPLOAD.name`."""

    name: str
    columns: dict[str, Column]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a query."""

    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    overflow: bool
    """Whether there are more rows than were asked for."""


class Database:
    """SQLite behind ADQL. Queries may come from several threads; they are answered one at a time."""

    def __init__(self, hierarchy: Mapping[str, str] | None = None) -> None:
        self.tables: dict[str, dict[str, Column]] = {}
        self._hierarchy = hierarchy
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute("PRAGMA case_sensitive_like = ON")
        self._problem = ""
        for name, arguments, function in FUNCTIONS:
            self._db.create_function(name, arguments, self._guarded(function), deterministic=True)

    def add(self, name: str, columns: Mapping[str, Column], rows: Iterable[Row], index: str = "") -> None:
        """Add a table, by its full name in lower case; the column `index` is indexed."""
        self.tables[name] = dict(columns)
        described = ", ".join(f"[{c.name}] {AFFINITIES.get(c.kind, 'TEXT')}" for c in columns.values())
        self._db.execute(f"CREATE TABLE [{name}] ({described})")
        cells = ([row.get(c.name) for c in columns.values()] for row in rows)
        self._db.executemany(f"INSERT INTO [{name}] VALUES ({', '.join('?' * len(columns))})", cells)  # noqa: S608
        if index:
            self._db.execute(f"CREATE INDEX [{name}_{index}] ON [{name}] ([{index}])")

    def answer(self, query: str, limit: int, uploads: Sequence[Upload] = ()) -> Answer:
        """Return the first `limit` rows of a query's result.

        Raises
        ------
        ValueError
            The query is not understood, or cannot be answered.
        """
        with self._lock:
            try:
                for upload in uploads:
                    self.add(f"tap_upload.{upload.name.lower()}", upload.columns, upload.rows)
                return self._answer(query, limit)
            except sqlite3.Error as exc:
                raise ValueError(self._problem or str(exc)) from exc
            finally:
                self._problem = ""
                for upload in uploads:
                    self._db.execute(f"DROP TABLE IF EXISTS [tap_upload.{upload.name.lower()}]")
                    self.tables.pop(f"tap_upload.{upload.name.lower()}", None)

    def _answer(self, query: str, limit: int) -> Answer:
        done = translate(query, self.tables, self._hierarchy)
        cursor = self._db.execute(done.sql)
        rows = cursor.fetchmany(limit + 1)
        cursor.close()
        return Answer(done.columns, rows[:limit], len(rows) > limit)

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that gives null for null, and whose complaint is remembered (SQLite tells only that there was one)."""

        def call(*arguments: Any) -> Any:
            if None in arguments:
                return None
            try:
                return function(*arguments)
            except ValueError as exc:
                self._problem = str(exc)
                raise

        return call


def _shape(kind: str) -> Callable[..., str]:
    def shape(*numbers: float | str) -> str:
        text = f"{kind} " + " ".join(str(n).removeprefix("POINT ") for n in numbers)
        regions.parse(text)
        return text

    return shape


def _contains(inner: str, outer: str) -> int:
    return int(regions.contains(regions.parse(outer), regions.parse(inner)))


def _intersects(one: str, other: str) -> int:
    return int(regions.intersect(regions.parse(one), regions.parse(other)))


def _distance(*where: float | str) -> float:
    one, other = (regions.vector(where[0], where[1]), regions.vector(where[2], where[3])) if len(where) == 4 else [  # type: ignore[arg-type]
        regions.parse(str(w)).vertices[0] for w in where
    ]  # fmt: skip
    return regions.angle(one, other)


def _split_part(text: str, separator: str, number: float) -> str:
    parts = text.split(separator)
    return parts[int(number) - 1] if 0 < number <= len(parts) else ""


def _has_word(text: str, words: str) -> int:
    """Return 1 where a text has every one of some words, whatever their case (RegTAP 1.1, section 9)."""
    return int(set(re.findall(r"\w+", words.lower())) <= set(re.findall(r"\w+", text.lower())))


FUNCTIONS: tuple[tuple[str, int, Callable[..., Any]], ...] = (
    ("adql_point", 2, _shape("POINT")),
    ("adql_circle", 2, _shape("CIRCLE")),
    ("adql_circle", 3, _shape("CIRCLE")),
    ("adql_polygon", -1, _shape("POLYGON")),
    ("adql_box", 4, regions.box),
    ("adql_contains", 2, _contains),
    ("adql_intersects", 2, _intersects),
    ("adql_distance", 2, _distance),
    ("adql_distance", 4, _distance),
    ("split_part", 3, _split_part),
    ("ivo_hasword", 2, _has_word),
)
