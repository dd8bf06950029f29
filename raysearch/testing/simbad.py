"""SIMBAD's TAP service: capabilities and synchronous queries over `basic` and `ident`, answered by SQLite."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web

from raysearch.testing.mast import separation
from raysearch.testing.objects import FAREWELL
from raysearch.testing.shelf import Shelf

HARD_LIMIT = 2_000_000
"""Rows the service sends at most."""

OBJECT_TYPES = {
    "Y*O": "*", "Y*?": "Y*O", "Or*": "Y*O", "TT*": "Y*O", "TT?": "TT*", "Ae*": "Y*O", "Ae?": "Ae*", "out": "Y*O", "HH": "Y*O",
    "V*": "*", "PM*": "*", "Ma*": "*", "Ev*": "*", "RG*": "Ev*", "WD*": "Ev*",
    "G": "", "AGN": "G", "SyG": "AGN", "ISM": "", "MoC": "ISM", "*": "",
}  # fmt: skip
"""Object type -> its parent, a small part of SIMBAD's tree."""

COLUMNS = """
main_id VARCHAR, oid BIGINT, ra DOUBLE, dec DOUBLE, ra_prec SMALLINT, dec_prec SMALLINT,
coo_err_maj REAL, coo_err_min REAL, coo_err_angle SMALLINT, coo_err_maj_prec SMALLINT, coo_err_min_prec SMALLINT,
coo_qual CHAR, coo_wavelength CHAR, coo_bibcode CHAR, hpx BIGINT, nbref INTEGER, otype VARCHAR, otype_txt VARCHAR,
galdim_majaxis REAL, galdim_minaxis REAL, galdim_angle SMALLINT, galdim_majaxis_prec SMALLINT, galdim_minaxis_prec SMALLINT,
galdim_qual CHAR, galdim_wavelength CHAR, galdim_bibcode CHAR, morph_type VARCHAR, morph_qual CHAR, morph_bibcode CHAR,
plx_value DOUBLE, plx_err REAL, plx_prec SMALLINT, plx_err_prec SMALLINT, plx_qual CHAR, plx_bibcode CHAR,
pmra DOUBLE, pmdec DOUBLE, pmra_prec SMALLINT, pmdec_prec SMALLINT, pm_err_maj REAL, pm_err_min REAL, pm_err_angle SMALLINT,
pm_err_maj_prec SMALLINT, pm_err_min_prec SMALLINT, pm_qual CHAR, pm_bibcode CHAR,
rvz_radvel DOUBLE, rvz_redshift DOUBLE, rvz_type CHAR, rvz_err REAL, rvz_nature CHAR, rvz_qual CHAR, rvz_wavelength CHAR,
rvz_radvel_prec SMALLINT, rvz_redshift_prec SMALLINT, rvz_err_prec SMALLINT, rvz_bibcode CHAR,
sp_type VARCHAR, sp_qual CHAR, sp_bibcode CHAR, update_date VARCHAR,
vlsr DOUBLE, vlsr_err DOUBLE, vlsr_max REAL, vlsr_min REAL, vlsr_wavelength CHAR, vlsr_bibcode CHAR
"""
"""The 67 columns of `basic` and their types."""

BASIC = {column.split()[0]: column.split()[1] for column in COLUMNS.split(",")}
DATATYPES = {"BIGINT": "long", "DOUBLE": "double", "REAL": "float", "SMALLINT": "short", "INTEGER": "int"}

CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0"
 xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
<interface role="std" version="1.1" xsi:type="vs:ParamHTTP"><accessURL use="base">{base}</accessURL></interface>
<language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version></language>
<outputFormat><mime>application/x-votable+xml</mime></outputFormat>
<executionDuration><default>60</default><hard>60</hard></executionDuration>
<outputLimit><default unit="row">{limit}</default><hard unit="row">{limit}</hard></outputLimit>
</capability></vosi:capabilities>"""

VOTABLE = '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'


class Simbad:
    """SIMBAD over a shelf's targets."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._db = sqlite3.connect(":memory:")
        self._db.create_function("POINT", 3, _numbers, deterministic=True)
        self._db.create_function("CIRCLE", 4, _numbers, deterministic=True)
        self._db.create_function("CONTAINS", 2, _contains, deterministic=True)
        self._fill()

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return [
            web.get("/simbad/sim-tap/capabilities", self._capabilities),
            web.get("/simbad/sim-tap/sync", self._sync),
            web.post("/simbad/sim-tap/sync", self._sync),
        ]

    def _fill(self) -> None:
        self._db.execute(f"CREATE TABLE basic ({COLUMNS})")
        self._db.execute("CREATE TABLE ident (id VARCHAR, oidref BIGINT)")
        marks = ", ".join("?" * len(BASIC))
        for oid, target in enumerate(self._shelf.targets, start=1):
            row = {"oid": oid, "otype_txt": target["otype"], "coo_qual": "A", "nbref": 1, **target}
            self._db.execute(f"INSERT INTO basic VALUES ({marks})", [row.get(name) for name in BASIC])  # noqa: S608
            self._db.execute("INSERT INTO ident VALUES (?, ?)", (row["main_id"], row["oid"]))
        self._db.execute("PRAGMA query_only = ON")

    async def _capabilities(self, request: web.Request) -> web.Response:
        base = str(request.url.origin()) + "/simbad/sim-tap"
        return web.Response(text=CAPABILITIES.format(base=base, limit=HARD_LIMIT), content_type="text/xml")

    async def _sync(self, request: web.Request) -> web.Response:
        fault = self._shelf.injector.simbad()
        if fault == "hang":
            await asyncio.sleep(FAREWELL)
        if fault == "503":
            return web.Response(status=503, text="<html><body>Service unavailable</body></html>", content_type="text/html")
        if fault == "error":
            return _refusal("The query was rejected by the server")
        sent = await request.post() if request.method == "POST" else request.query
        form = {name.upper(): str(value) for name, value in sent.items()}
        try:
            text = self._answer(form["QUERY"], int(form.get("MAXREC", HARD_LIMIT)))
        except (sqlite3.Error, KeyError, ValueError) as exc:
            return _refusal(f"{type(exc).__name__}: {exc}")
        return web.Response(text=text[: len(text) // 2] if fault == "truncated" else text, content_type="application/x-votable+xml")

    def _answer(self, query: str, maxrec: int) -> str:
        """Return the VOTable of a query; one row too many tells that the answer overflows."""
        limit = min(maxrec, HARD_LIMIT, self._shelf.injector.faults.simbad_limit or HARD_LIMIT)
        cursor = self._db.execute(to_sqlite(query))
        rows = cursor.fetchmany(limit + 1)
        names = [column[0] for column in cursor.description]
        return _votable(names, rows[:limit], overflow=len(rows) > limit)


def to_sqlite(query: str) -> str:
    """Return a simple ADQL query in SQLite's words.

    TOP becomes LIMIT; `otype = 'X..'` becomes a list of X and all types below it (SIMBAD's own extension of ADQL).
    """
    if not re.match(r"\s*SELECT\b", query, re.IGNORECASE):
        raise ValueError("only SELECT is understood")
    top = re.match(r"(?i)\s*SELECT\s+TOP\s+(\d+)\b", query)
    text = f"SELECT {query[top.end() :]} LIMIT {top.group(1)}" if top else query
    return re.sub(r"(?i)((?:basic\.)?\"?\botype\"?)\s*=\s*'([^']+)\.\.'", _hierarchy, text)


def _hierarchy(found: re.Match[str]) -> str:
    column, root = found.groups()
    if root not in OBJECT_TYPES:
        return f"{column} IN ()"
    types = [root]
    for one in types:
        types += [child for child, parent in OBJECT_TYPES.items() if parent == one]
    listed = ", ".join(f"'{one}'" for one in types)
    return f"{column} IN ({listed})"


def _numbers(_frame: str, *numbers: float | None) -> str | None:
    """Return a shape as SQLite can hold it: a text of its numbers, null where one is."""
    return None if None in numbers else " ".join(str(number) for number in numbers)


def _contains(point: str | None, circle: str | None) -> int | None:
    if point is None or circle is None:
        return None
    ra, dec = map(float, point.split())
    ra0, dec0, radius = map(float, circle.split())
    return int(separation(ra0, dec0, ra, dec) <= radius)


def _votable(names: list[str], rows: list[tuple[Any, ...]], *, overflow: bool) -> str:
    """Return rows as TABLEDATA; the status OVERFLOW follows the table, where the last status counts."""
    parts = [VOTABLE, '<RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE>']
    for i, name in enumerate(names):
        parts.append(f"<FIELD name={quoteattr(name)} {_field_type(name, [row[i] for row in rows])}/>")
    parts.append("<DATA><TABLEDATA>\n")
    for row in rows:
        cells = "".join("<TD/>" if cell is None else f"<TD>{escape(str(cell))}</TD>" for cell in row)
        parts.append(f"<TR>{cells}</TR>\n")
    parts.append("</TABLEDATA></DATA></TABLE>")
    if overflow:
        parts.append('<INFO name="QUERY_STATUS" value="OVERFLOW"/>')
    return "".join([*parts, "</RESOURCE></VOTABLE>"])


def _field_type(name: str, cells: list[Any]) -> str:
    """Return a column's type: as `basic` declares it, or as its values are."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if name in BASIC:
        datatype = DATATYPES.get(BASIC[name], "char")
    elif kinds == {int}:
        datatype = "long"
    else:
        datatype = "double" if kinds and kinds <= {int, float} else "char"
    return f'datatype="{datatype}"' + (' arraysize="*"' if datatype == "char" else "")


def _refusal(message: str) -> web.Response:
    info = f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO>'
    text = f'{VOTABLE}<RESOURCE type="results">{info}</RESOURCE></VOTABLE>'
    return web.Response(status=400, text=text, content_type="application/x-votable+xml")
