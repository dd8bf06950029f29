"""A table as a VOTable: units, UCDs, descriptions, the frame of positions, the scale of times, and where it came from."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raysearch.report import columns, tables
from raysearch.report.provenance import Provenance
from raysearch.report.stream import Stream

if TYPE_CHECKING:
    from astropy.io.votable.tree import VOTableFile
    from astropy.table import Table

NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Letters that XML 1.0 cannot hold (its section 2.2)."""
NEW = {"version_1_4_or_later": True}
"""TIMESYS came with VOTable 1.4."""
_ROWS, _END = b"<TABLEDATA>", b"</TABLEDATA>"
POSITIONS, TIMES = ("pos.eq.ra", "pos.eq.dec"), ("time.epoch", "time.start", "time.end")
"""UCDs of what is told in a frame, and on a scale."""


def write_votable(stream: Stream, path: Path, name: str, provenance: Provenance) -> int:
    """Write a table as a VOTable, and return its rows.

    What stands around the rows is that of a document of the first piece; of each further one its rows alone are kept.

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
    pieces = stream.pieces() if rows else iter([stream.schema.empty_table()])
    with path.open("wb") as file:
        end = b""
        for number, piece in enumerate(pieces):
            made = io.BytesIO()
            _document(tables.to_table(piece, name, known=known), name, provenance).to_xml(made)
            head, begin, content = made.getvalue().partition(_ROWS)
            lines, _, after = content.rpartition(_END)
            if number == 0:
                file.write(head + begin)
                end = lines[len(lines.rstrip()) :] + _END + after if rows else b""
            file.write(lines.rstrip())
        file.write(end)
    return rows


def _document(table: Table, name: str, provenance: Provenance) -> VOTableFile:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, TimeSys

    for column in table.itercols():
        if column.dtype.kind == "U":  # a replacement takes no more room than what it replaces
            texts = np.ma.getdata(column)
            texts[:] = [_clean(text) for text in texts.tolist()]
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
    return NOT_IN_XML.sub("\ufffd", text)
