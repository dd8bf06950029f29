"""Answers of services of the Virtual Observatory, as text: VOTables and capabilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest

SIA2_CAPABILITIES = """<?xml version="1.0"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<capability standardID="ivo://ivoa.net/std/SIA#query-2.0"><interface xsi:type="vs:ParamHTTP" role="std" version="2.0">
<accessURL use="base">{url}</accessURL></interface></capability></vosi:capabilities>"""

_DATATYPES = {str: ("char", ' arraysize="*"'), float: ("double", ""), int: ("long", "")}


def votable(
    rows: Sequence[Mapping[str, Any]],
    *,
    status: str = "OK",
    units: Mapping[str, str] | None = None,
    ucds: Mapping[str, str] | None = None,
    names: Sequence[str] = ("obs_id", "access_url"),
) -> str:
    """Return rows as a service sends them; `names` are the columns where there is no row."""
    names = list(dict.fromkeys(name for row in rows for name in row)) if rows else names
    fields = (
        "".join(
            f"<FIELD name={quoteattr(name)} datatype={quoteattr(kind)}{size} unit={quoteattr((units or {}).get(name, ''))}"
            f" ucd={quoteattr((ucds or {}).get(name, ''))}/>"
            for name in names
            for kind, size in [_datatype([row.get(name) for row in rows])]
        )
        .replace(' unit=""', "")
        .replace(' ucd=""', "")
    )
    cells = "".join(
        "<TR>" + "".join(f"<TD>{escape('' if row.get(n) is None else str(row[n]))}</TD>" for n in names) + "</TR>" for row in rows
    )
    return (
        '<?xml version="1.0"?><VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="OK"/><TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>'
        f'<INFO name="QUERY_STATUS" value="{status}"/></RESOURCE></VOTABLE>'
    )


def refusal(words: str) -> str:
    """Return what a service sends that does not understand a query."""
    return (
        '<?xml version="1.0"?><VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="ERROR">{escape(words)}</INFO></RESOURCE></VOTABLE>'
    )


def recorded(*parts: str) -> str:
    """Return a real answer that pyvo carries for its own tests."""
    import pyvo

    path = Path(pyvo.__file__).parent.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"this pyvo carries no {'/'.join(parts)}")
    return path.read_text()


def _datatype(values: Sequence[Any]) -> tuple[str, str]:
    known = {type(value) for value in values if value is not None}
    return _DATATYPES[known.pop()] if len(known) == 1 else _DATATYPES[str]
