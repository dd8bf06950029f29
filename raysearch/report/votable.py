"""A table as a VOTable: units, UCDs, descriptions, the frame of positions, the scale of times, and where it came from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.report import columns, tables
from raysearch.report.provenance import Provenance
from raysearch.report.stream import Stream
from raysearch.report.texts import flat_column, joined, number_texts

if TYPE_CHECKING:
    from astropy.io.votable.tree import VOTableFile
    from astropy.table import Table

NOT_IN_XML = r"[^\t\n\r\x20-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]"
"""Letters that XML 1.0 cannot hold (its section 2.2)."""
NEW = {"version_1_4_or_later": True}
"""TIMESYS came with VOTable 1.4."""
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ROWS, _END = b"<TABLEDATA>", b"</TABLEDATA>"
POSITIONS, TIMES = ("pos.eq.ra", "pos.eq.dec"), ("time.epoch", "time.start", "time.end")
"""UCDs of what is told in a frame, and on a scale."""


def write_votable(stream: Stream, path: Path, name: str, provenance: Provenance) -> int:
    """Write a table as a VOTable, and return its rows.

    What stands around the rows is that of a document with a row in which everything is missing.

    Parameters
    ----------
    stream
        A table of a run folder.
    path
        The file.
    name
        Which table it is.
    provenance
        What its INFO elements tell.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    rows, known = tables.extents(stream)
    made = io.BytesIO()
    _document(tables.to_table(_one_row(stream.schema), name, known=known), name, provenance).to_xml(made)
    head, begin, content = made.getvalue().partition(_ROWS)
    _, end, after = content.rpartition(_END)
    with path.open("wb") as file:
        file.write(head + begin + b"\n")
        for piece in stream.pieces():
            cells = [_cells(flat_column(column)) for column in tables.without_nested(piece).columns]
            file.write(joined(cells, "<TR><TD>", "</TD><TD>", "</TD></TR>\n"))
        file.write(end + after)
    return rows


def _one_row(schema: pa.Schema) -> pa.Table:
    return pa.table({field.name: pa.nulls(1, field.type) for field in schema})


def _cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as it stands in TABLEDATA; a carriage return as a reference, as XML takes a bare one for a line's end."""
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "1", "0")
    if not pa.types.is_string(column.type):
        return number_texts(column, nan="NaN", infinity="+InF")
    texts = pc.replace_substring_regex(column, NOT_IN_XML, "\ufffd")
    for letter, reference in _REFERENCES.items():
        texts = pc.replace_substring(texts, letter, reference)
    return texts


def _document(table: Table, name: str, provenance: Provenance) -> VOTableFile:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, TimeSys

    document = from_table(table)
    resource = document.resources[0]
    made = resource.tables[0]
    made.name = name or None
    for label, value in provenance.facts(name).items():
        resource.infos.append(_info(label, value))
    for sentence, text in provenance.asked():
        resource.infos.append(_info("query", sentence, text))
    used = set()
    for field in made.fields:
        known = columns.describe(field.name, name)
        if known.ucd.startswith(POSITIONS):
            field.ref = "icrs"
        elif known.ucd.startswith(TIMES):
            field.ref = "mjd_utc"
        used.add(field.ref)
    if "icrs" in used:
        resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    if "mjd_utc" in used:
        resource.time_systems.append(
            TimeSys(ID="mjd_utc", timeorigin="MJD-origin", timescale="UTC", refposition="UNKNOWN", config=NEW)
        )
    return document


def _info(label: str, value: str, content: str = "") -> Any:
    from astropy.io.votable.tree import Info

    info = Info(name=label, value=_clean(value))
    info.content = _clean(content) or None
    return info


def _clean(text: str) -> str:
    """Return text with a replacement character for each that XML cannot hold."""
    return str(pc.replace_substring_regex(text, NOT_IN_XML, "\ufffd"))
