"""What somebody thinks of candidates: a table that the page exports and that is read back.

A candidate is named by its observation and its number there, counted from 0: `jw01234-o001_t001_miri_ch1-short#0`. The columns
`candidate`, `mark`, `note` and `marked` are read; those after them are for the reader.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from raysearch.errors import TableError

MARKS = ("good", "bad", "unsure")
COLUMNS = ("candidate", "mark", "note", "marked")
NAMED = 5
"""Unknown candidates that a message names."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")

Mark = Mapping[str, str]
"""`mark` (one of `MARKS`, or empty where there is a note only), `note`, and `marked`: when, ISO 8601 UTC."""


def read_marks(path: Path) -> dict[str, Mark]:
    """Return the marks of a CSV file, by candidate.

    Raises
    ------
    TableError
        It cannot be read, lacks a column, or has a mark that is none or a candidate twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise TableError(f"{path}: there is no such file; the page's button `Export marks` makes one") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise TableError(f"{path} cannot be read as CSV in UTF-8: {exc}") from exc
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as exc:
        raise TableError(f"{path} is no CSV table: {exc}") from exc
    marks: dict[str, Mark] = {}
    for line, row in enumerate(rows, start=2):
        name, mark = _checked(row, f"{path}, row {line}")
        if name in marks:
            raise TableError(f"{path}, row {line}: the candidate {name!r} is there twice; keep one")
        if mark["mark"] or mark["note"]:
            marks[name] = mark
    return marks


def _checked(row: Mapping[str, str | None], where: str) -> tuple[str, Mark]:
    lacking = [column for column in ("candidate", "mark") if row.get(column) is None]
    if lacking:
        raise TableError(f"{where}: there is no {' and no '.join(lacking)}; the table has the columns {', '.join(COLUMNS)}")
    name, mark = _plain(row["candidate"] or ""), (row["mark"] or "").strip().lower()
    if mark and mark not in MARKS:
        raise TableError(f"{where}: the mark {row['mark']!r} is none of {', '.join(MARKS)}")
    return name, {"mark": mark, "note": _plain(row.get("note") or ""), "marked": row.get("marked") or ""}


def _plain(text: str) -> str:
    """Return a text without the apostrophe that keeps spreadsheets from taking it for a formula."""
    return text[1:] if text.startswith("'") and text[1:2] in _FORMULA else text


def write_marks(marks: Mapping[str, Mark], path: Path) -> None:
    """Write marks as a file that `read_marks` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, mark in sorted(marks.items()):
            writer.writerow([_guarded(name), mark["mark"], _guarded(mark["note"]), mark["marked"]])


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def known(marks: Mapping[str, Mark], names: Collection[str]) -> tuple[dict[str, Mark], list[str]]:
    """Return the marks of candidates that there are, and the names of those that there are not."""
    there = set(names)
    return {name: mark for name, mark in marks.items() if name in there}, sorted(name for name in marks if name not in there)


def told(unknown: Sequence[str]) -> str:
    """Return a sentence that names candidates of which a run knows nothing; empty where there are none."""
    if not unknown:
        return ""
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return f"this run has no candidate {', '.join(map(repr, unknown[:NAMED]))}{more}: its marks are left out"
