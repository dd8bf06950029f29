"""Synchronous TAP queries through pyvo: every row there is, or an error that says how many are missing.

A service sends at most as many rows as its limit, or ours (`MAXREC`), and does not always say so: pyvo is silent where the two
meet. So an answer is whole only if it is neither flagged OVERFLOW nor as long as the limit, and has as many rows as the service
counts. One that is cut is fetched on: in the order of a key, or in parts of a range.
"""

import hashlib
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import requests

from raysearch.archives.answers import Answers, through
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, open_session, waiting_for
from raysearch.archives.vo import is_cut, pyvo_errors, quiet, table_of
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.model import Query

if TYPE_CHECKING:
    from astropy.table import Table
    from pyvo.dal import TAPResults

MAXREC = 2_000_000
"""Rows asked for where nothing else is said: SIMBAD's hard limit. Without one, services cut at a default of their own (10,000)."""
UPLOAD_ROWS = 200_000
"""Rows uploaded at a time: SIMBAD's limit (`uploadLimit` of its capabilities)."""
MINE = "TAP_UPLOAD.mine"
"""What an uploaded table is called in a query."""
UPLOADED = "uploaded"
"""The column that says to which uploaded row a row of an answer belongs, counted from 0."""
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Span:
    """A column, and the range of its values: how an answer without a key is fetched in parts."""

    column: str
    low: float
    high: float


def select(
    service: str,
    url: str,
    columns: Sequence[str],
    source: str,
    condition: str = "",
    *,
    key: str = "",
    span: Span | None = None,
    maxrec: int = MAXREC,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
) -> tuple[pa.Table, Query]:
    """Return all rows of `source` (what follows FROM) for which the ADQL `condition` holds, and what was asked.

    An answer that is cut is fetched on in the order of the column `key`, which is then among the answer's columns, or in parts of
    `span`; without either it is an error.

    Raises
    ------
    ArchiveError
        The service refused the query, its answer cannot be read, or it does not give all the rows there are.
    ArchiveUnavailable
        It did not answer.
    """
    selection = _Selection(tuple(columns), source, condition, key, span)
    return _Manner(service, url, maxrec, patience, answers).ask(selection)


def query(
    service: str,
    url: str,
    adql: str,
    *,
    key: str = "",
    maxrec: int = MAXREC,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
) -> tuple[pa.Table, Query]:
    """Return all rows of a whole ADQL query, and what was asked; see `select`.

    With a `key`, a column of its answer, the query becomes a derived table, and must be one that can: without ORDER BY.
    """
    adql = adql.strip().rstrip(";").rstrip()
    selection = _Selection(("*",), f"({adql}) AS asked", key=key, whole="" if key else adql)
    return _Manner(service, url, maxrec, patience, answers).ask(selection)


def select_uploaded(
    service: str,
    url: str,
    columns: Sequence[str],
    source: str,
    mine: pa.Table,
    *,
    chunk: int = UPLOAD_ROWS,
    maxrec: int = MAXREC,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
) -> tuple[pa.Table, list[Query]]:
    """Return all rows of a `source` that joins `TAP_UPLOAD.mine AS mine`, with the column `uploaded`, and what was asked.

    The table is uploaded in chunks, each answered completely or an error; see `select`.
    """
    mine = mine.append_column(UPLOADED, pa.array(range(mine.num_rows), pa.int64()))
    selection = _Selection((f"mine.{UPLOADED}", *columns), source, key=f"mine.{UPLOADED}")
    manner = _Manner(service, url, maxrec, patience, answers)
    tables, queries = [], []
    for start in range(0, max(mine.num_rows, 1), chunk):
        table, asked = manner.ask(selection, mine.slice(start, chunk))
        tables.append(table)
        queries.append(asked)
    return _joined(tables), queries


def match_upload(
    service: str,
    url: str,
    columns: Sequence[str],
    source: str,
    positions: Sequence[tuple[float, float]],
    radius_deg: float,
    *,
    place: tuple[str, str] = ("ra", "dec"),
    chunk: int = UPLOAD_ROWS,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
) -> tuple[pa.Table, list[Query]]:
    """Return the rows of the table `source` within a radius of each position (ra, dec in degrees, ICRS), and what was asked.

    `place` names the table's columns of right ascension and declination. The service makes the match: ADQL 2.0, section 4.2.
    """
    name = source.rpartition(".")[2]
    ra, dec = (f"{name}.{column}" for column in place)
    inside = f"CONTAINS(POINT('ICRS', {ra}, {dec}), CIRCLE('ICRS', mine.mine_ra, mine.mine_dec, {float(radius_deg)!r}))"
    mine = pa.table({"mine_ra": [float(p[0]) for p in positions], "mine_dec": [float(p[1]) for p in positions]})
    joined = f"{MINE} AS mine JOIN {source} ON 1 = {inside}"
    own = [f"{name}.{column}" for column in columns]
    return select_uploaded(service, url, own, joined, mine, chunk=chunk, patience=patience, answers=answers)


@dataclass(frozen=True, slots=True)
class _Selection:
    """What is asked for, and how to go on where it is cut."""

    columns: tuple[str, ...]
    source: str
    condition: str = ""
    key: str = ""
    span: Span | None = None
    whole: str = ""
    """The query as its author wrote it; asked as it is, as long as no condition is added."""

    @property
    def key_name(self) -> str:
        """What the key's column is called in the answer."""
        return self.key.rpartition(".")[2].strip('"')

    def adql(self, more: str = "") -> str:
        """Return the query, with one more condition."""
        if self.whole and not more:
            return self.whole
        shown = self.columns if not self.key or {"*", self.key} & set(self.columns) else (*self.columns, self.key)
        # a qualified name is no sort key in ADQL 2.0
        order = f" ORDER BY {self.key.rpartition('.')[2]}" if self.key else ""
        return f"SELECT {', '.join(shown)} FROM {self._where(more)}{order}"  # noqa: S608 - the user's own words, to a public service

    def counting(self) -> str:
        """Return the query for the number of rows."""
        return f"SELECT COUNT(*) AS n FROM {self._where()}"  # noqa: S608 - as above

    def _where(self, more: str = "") -> str:
        conditions = [c for c in (self.condition, more) if c]
        if len(conditions) > 1:
            conditions[0] = f"({conditions[0]})"
        return self.source + (f" WHERE {' AND '.join(conditions)}" if conditions else "")


@dataclass(frozen=True, slots=True)
class _Wire:
    """One TAP service, asked in one session."""

    service: str
    url: str
    maxrec: int
    session: requests.Session
    upload: "Table | None"
    """What is uploaded with each query, as `TAP_UPLOAD.mine`."""

    def rows(self, adql: str) -> tuple[pa.Table, bool]:
        """Return the answer to a query, and whether it may be cut."""
        result = self._run(adql, self.maxrec)
        return table_of(self.service, result), is_cut(result, self.maxrec)

    def count(self, adql: str) -> int | None:
        """Return the number of rows the service says there are, or None where it does not."""
        from pyvo.dal import DALFormatError

        try:
            result = self._run(adql, 1)
        except ArchiveUnavailable:
            raise
        except ArchiveError as exc:
            if isinstance(exc.__cause__, DALFormatError):  # no refusal: the number was lost on the way
                raise
            return None
        try:
            [row] = table_of(self.service, result).to_pylist()
            return int(next(iter(row.values())))
        except (TypeError, ValueError) as exc:
            raise ArchiveError(f"{self.service} gives no number, and so does not say how many rows there are ({adql})") from exc

    def _run(self, adql: str, maxrec: int) -> "TAPResults":
        """Return pyvo's result of one query."""
        from pyvo.dal import DALQueryError, TAPService

        uploads = None if self.upload is None else {MINE.rpartition(".")[2]: self.upload}
        with quiet(), pyvo_errors(self.service, self.url):
            try:
                return TAPService(self.url, session=self.session).run_sync(adql, maxrec=maxrec, uploads=uploads)
            except DALQueryError as exc:
                raise ArchiveError(f"{self.service} refused the query: {exc}\n{adql}") from exc


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a service is asked."""

    service: str
    url: str
    maxrec: int
    patience: Patience
    answers: Answers | None

    def ask(self, selection: _Selection, mine: pa.Table | None = None) -> tuple[pa.Table, Query]:
        """Return the answer to a selection, kept or asked, and what was asked."""
        adql, url = selection.adql(), self.url.rstrip("/")

        def fetch() -> tuple[pa.Table, Query]:
            started = time.monotonic()
            with waiting_for(f"{self.service}'s answer to {adql}"), open_session(self.service, self.patience) as session:
                upload = None if mine is None else _to_astropy(mine)
                table, counted = _complete(_Wire(self.service, url, self.maxrec, session, upload), selection)
            return table, Query(self.service, url, adql, table.num_rows, time.monotonic() - started, counted)

        uploaded = "" if mine is None else f"\n-- {MINE}: {mine.num_rows} rows, SHA-256 {_digest(mine)}"
        return through(self.answers, self.service, url, adql + uploaded, fetch)


def _to_astropy(table: pa.Table) -> "Table":
    from astropy.table import Table

    return Table(table.to_pydict())


def _digest(table: pa.Table) -> str:
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


def _complete(wire: _Wire, selection: _Selection) -> tuple[pa.Table, int | None]:
    """Return every row, and how many the service counts; rows that come and go in between are asked for once more."""
    for _ in range(2):
        table, cut = wire.rows(selection.adql())
        if cut and selection.key:
            table, cut = _in_pages(wire, selection, table), False
        counted = wire.count(selection.counting())
        if cut and selection.span and counted is not None and counted > table.num_rows:
            table, cut = _in_parts(wire, selection, selection.span, counted / max(table.num_rows, 1)), False
        if counted == table.num_rows or (counted is None and not cut):
            return table, counted
        if cut:
            break
    raise ArchiveError(f"{wire.service} {_wrong(table.num_rows, counted)} ({selection.adql()})")


def _wrong(rows: int, counted: int | None) -> str:
    if counted is None:
        return f"gave a truncated answer of {rows:,} rows, and does not say how many rows there are"
    if rows > counted:
        return f"gave {rows:,} rows, but counts {counted:,}: its tables may be changing; try again"
    return (
        f"gave {rows:,} of {counted:,} rows, {counted - rows:,} are missing: "
        f"narrow the condition so that at most {rows:,} rows fulfil it"
    )


def _in_pages(wire: _Wire, selection: _Selection, page: pa.Table) -> pa.Table:
    """Return every row, page by page in the order of the key, given the first page.

    The rows that share the last key of a cut page may not be all: they are left to the next page, which begins with that key. Rows
    without a key come at the end.
    """
    if selection.key_name not in page.column_names:
        raise ArchiveError(f"{wire.service} gave no column {selection.key_name}, in whose order to read on ({selection.adql()})")
    last: Any = None
    kept, cut = [], True
    if page[selection.key_name].null_count:
        page, cut = wire.rows(selection.adql(f"{selection.key} IS NOT NULL"))
    while True:
        if not _ascends(page, selection.key_name, last):
            raise ArchiveError(f"{wire.service} does not sort by {selection.key}, and so cannot be read on ({selection.adql()})")
        if not cut:
            break
        before, (whole, last) = last, _without_last(page, selection.key_name)
        if not whole.num_rows or last == before:
            raise ArchiveError(
                f"{wire.service} gives {page.num_rows:,} rows at once, and cannot be asked on from {selection.key} = {last!r}: "
                f"narrow the condition, or name another key ({selection.adql()})"
            )
        kept.append(whole)
        page, cut = wire.rows(selection.adql(f"{selection.key} >= {_literal(last)}"))
    keyless, cut = wire.rows(selection.adql(f"{selection.key} IS NULL"))
    if cut:
        raise ArchiveError(f"{wire.service} gave {keyless.num_rows:,} of more rows without {selection.key} ({selection.adql()})")
    pages = [*kept, page]
    table = _joined([*pages, keyless])
    if sum(_distinct(one, selection.key_name) for one in pages) > _distinct(table, selection.key_name):
        raise ArchiveError(f"{wire.service} gave rows on two pages: it does not sort by {selection.key} ({selection.adql()})")
    return table


def _distinct(table: pa.Table, key: str) -> int:
    """Return how many keys there are, no key counted as none."""
    return int(pc.count_distinct(table[key]).as_py())


def _ascends(page: pa.Table, key: str, first: Any) -> bool:
    """Return whether the keys of a page go up from the first that was asked for; the order of texts is the service's own."""
    keys = page[key]
    if pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type) or not len(keys):
        return True
    if first is not None and keys[0].as_py() < first:
        return False
    return bool(pc.all(pc.less_equal(keys.slice(0, len(keys) - 1), keys.slice(1)), min_count=0).as_py())


def _without_last(page: pa.Table, key: str) -> tuple[pa.Table, Any]:
    """Return the rows of a page before those with its last key, and the key to go on from."""
    keys = page[key]
    stop = page.num_rows - 1
    while stop and _same_key(keys[stop - 1].as_py(), keys[-1].as_py()):
        stop -= 1
    return page.slice(0, stop), keys[stop].as_py()


def _same_key(one: Any, other: Any) -> bool:
    """Return whether a service may hold two keys for equal: some compare texts without regard to case or blanks at the end."""
    if isinstance(one, str):
        return bool(one.rstrip().casefold() == other.rstrip().casefold())
    return bool(one == other)


def _in_parts(wire: _Wire, selection: _Selection, span: Span, excess: float) -> pa.Table:
    """Return every row whose column lies in the span: in twice as many parts as even rows would need, halved where needed."""
    number = math.ceil(2 * excess)
    edges = [span.low + (span.high - span.low) * i / number for i in range(number)] + [span.high]
    parts = [(low, high, 0) for low, high in itertools.pairwise(edges)]
    kept = []
    while parts:
        low, high, halvings = parts.pop(0)
        end = "<=" if high == span.high else "<"
        rows, cut = wire.rows(selection.adql(f"{span.column} >= {low!r} AND {span.column} {end} {high!r}"))
        if not cut:
            kept.append(rows)
            continue
        if halvings == _HALVINGS:
            raise ArchiveError(f"{wire.service} gives {rows.num_rows:,} rows at once, and more lie at {span.column} = {low!r}")
        middle = (low + high) / 2
        parts[:0] = [(low, middle, halvings + 1), (middle, high, halvings + 1)]
    return _joined(kept)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all tables; a column without values in one takes its type from another."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as exc:
        raise ArchiveError(f"the parts of one answer have columns of different types: {exc}") from exc


def _literal(value: Any) -> str:
    """Return a value as ADQL writes it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
