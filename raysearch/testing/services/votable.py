"""VOTables as the services send them (VOTable 1.4, TABLEDATA), and the columns they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web

MIME = "application/x-votable+xml"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
DATATYPES = {"BIGINT": "long", "DOUBLE": "double", "REAL": "float", "SMALLINT": "short", "INTEGER": "int"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    kind: str = "VARCHAR"
    """Its type in ADQL's words; empty: as its values are."""
    ucd: str = ""
    unit: str = ""
    utype: str = ""

    @property
    def family(self) -> str:
        """`number`, `text`, `region`, or empty where its values tell."""
        if self.kind == "REGION":
            return "region"
        return "number" if self.kind in DATATYPES else "text" if self.kind else ""

    def named(self, name: str) -> Column:
        """Return it under another name."""
        return replace(self, name=name)


def columns(text: str, **ucds: str) -> dict[str, Column]:
    """Return the columns of a text `name TYPE, name TYPE`, by name in lower case."""
    pairs = [part.split() for part in text.split(",")]
    return {name.lower(): Column(name, kind, ucds.get(name, "")) for name, kind in pairs}


def votable(head: Sequence[Column], rows: Iterable[Sequence[Any]], *, overflow: bool = False, origin: str = "") -> str:
    """Return rows as a VOTable; the status OVERFLOW follows the table, where the last status counts.

    `{origin}` in a cell is where the archive answers: addresses in the holdings cannot know it before.
    """
    rows = list(rows)
    parts = [HEAD, '<RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE>']
    names: set[str] = set()
    for i, column in enumerate(head):
        name = column.name if column.name.lower() not in names else f"{column.name}_{i + 1}"
        names.add(name.lower())
        parts.append(_field(column.named(name), (row[i] for row in rows)))
    parts.append("<DATA><TABLEDATA>\n")
    for row in rows:
        cells = "".join("<TD/>" if cell is None else f"<TD>{_cell(cell)}</TD>" for cell in row)
        parts.append(f"<TR>{cells}</TR>\n")
    parts.append("</TABLEDATA></DATA></TABLE>")
    if overflow:
        parts.append('<INFO name="QUERY_STATUS" value="OVERFLOW"/>')
    return "".join([*parts, "</RESOURCE></VOTABLE>"]).replace("{origin}", origin)


def table_of(head: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, overflow: bool = False, origin: str = "") -> str:
    """Return rows given by column name as a VOTable."""
    return votable(head, [[row.get(column.name) for column in head] for row in rows], overflow=overflow, origin=origin)


def check_format(wanted: str) -> None:
    """Raise ValueError for a format of answers that is no VOTable."""
    if wanted.lower().partition(";")[0] not in {"", "votable", "text/xml", MIME}:
        raise ValueError(f"answers come as VOTables only, not as {wanted}")


def refusal(message: str, status: int = 400) -> web.Response:
    """Return the answer to a query that is not understood: a VOTable that says why."""
    info = f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO>'
    text = f'{HEAD}<RESOURCE type="results">{info}</RESOURCE></VOTABLE>'
    return web.Response(status=status, text=text, content_type=MIME)


def _cell(cell: Any) -> str:
    return escape(cell) if isinstance(cell, str) else repr(cell)


def _field(column: Column, cells: Iterable[Any]) -> str:
    datatype = DATATYPES.get(column.kind, "char") if column.kind else _guessed(cells)
    size = ' arraysize="*"' if datatype == "char" else ""
    extra = "".join(f" {name}={quoteattr(value)}" for name, value in _described(column) if value)
    return f'<FIELD name={quoteattr(column.name)} datatype="{datatype}"{size}{extra}/>'


def _described(column: Column) -> Iterable[tuple[str, str]]:
    xtype = "adql:REGION" if column.kind == "REGION" else ""
    return (("ucd", column.ucd), ("unit", column.unit), ("utype", column.utype), ("xtype", xtype))


def _guessed(cells: Iterable[Any]) -> str:
    """Return the type of a column as its values are."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {int}:
        return "long"
    return "double" if kinds and kinds <= {int, float} else "char"
