"""A run folder as a notebook shows it: what was asked, how the observations ended, and the first rows of its tables."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from raysearch.model import Status
from raysearch.report import columns
from raysearch.report.tables import without_nested

ROWS, COLUMNS, LETTERS = 10, 12, 80
"""Of a table, at most so many rows and columns, and letters of a text, are shown."""

HIDDEN = frozenset({"uri", "config_hash", "uris"})


def result_html(about: Mapping[str, Any], totals: Mapping[Status, int], tables: Mapping[str, pa.Table]) -> str:
    """Return a piece of HTML without scripts, every text escaped.

    Parameters
    ----------
    about
        What run.json says.
    totals
        Observations by outcome; they add up to all that have ended.
    tables
        Those to show, by name; of each the first rows.
    """
    ended = ", ".join(f"{count:,} {html.escape(name)}" for name, count in totals.items())
    state = f"finished {about['finished']}" if about.get("finished") else "not finished"
    head = f"<b>{_text(about.get('name'))}</b> ({_text(about.get('config_hash'))}), {_text(state)}"
    told = f"{sum(totals.values()):,} of {int(about.get('observations') or 0):,} observations have ended: {ended}"
    return "".join(["<div>", f"<p>{head}<br>{told}</p>", *(table_html(table, name) for name, table in tables.items()), "</div>"])


def table_html(table: pa.Table, name: str) -> str:
    """Return the first rows of a table as HTML; a column's head says its unit, and what it means where the pointer rests on it."""
    flat = without_nested(table)
    shown = [label for label in flat.column_names if label not in HIDDEN][:COLUMNS]
    heads = "".join(_head(label, name) for label in shown)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(row[label])}</td>" for label in shown) + "</tr>"
        for row in flat.select(shown).slice(0, ROWS).to_pylist()
    )
    more = f"<p>and {table.num_rows - ROWS:,} rows more</p>" if table.num_rows > ROWS else ""
    caption = f"<caption>{_text(name)}: {table.num_rows:,} rows</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _head(label: str, name: str) -> str:
    known = columns.describe(label, name)
    unit = f"<br><small>{_text(known.unit)}</small>" if known.unit else ""
    return f'<th scope="col" title="{_text(known.description)}">{_text(label)}{unit}</th>'


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return _text("; ".join(str(item["name"] if isinstance(item, Mapping) and "name" in item else item) for item in value))
    return _text(value)


def _text(value: object) -> str:
    text = str(value)
    return html.escape(text if len(text) <= LETTERS else text[: LETTERS - 1] + "…")
