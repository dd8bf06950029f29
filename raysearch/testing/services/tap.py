"""A TAP service over a database: capabilities, tables, and synchronous queries with uploads (TAP 1.1; no asynchronous jobs)."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Mapping
from typing import Any, cast
from xml.sax.saxutils import escape

from aiohttp import web

from raysearch.testing.faults import Service
from raysearch.testing.services.database import Database, Upload
from raysearch.testing.services.replies import misbehave, send_text
from raysearch.testing.services.shelf import Shelf
from raysearch.testing.services.votable import DATATYPES, MIME, Column, check_format, refusal, votable

UPLOAD_LIMIT = 200_000
"""Rows of an uploaded table at most, as SIMBAD has it."""

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0"
 xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
<interface role="std" version="1.1" xsi:type="vs:ParamHTTP"><accessURL use="base">{base}</accessURL></interface>
<language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>
<languageFeatures type="ivo://ivoa.net/std/TAPRegExt#features-adql-sets"><feature><form>UNION</form></feature></languageFeatures>
</language>
<outputFormat><mime>application/x-votable+xml</mime></outputFormat>
<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-inline"/>
<executionDuration><default unit="second">60</default><hard unit="second">60</hard></executionDuration>
<outputLimit><default unit="row">{limit}</default><hard unit="row">{limit}</hard></outputLimit>
<uploadLimit><default unit="row">{uploads}</default><hard unit="row">{uploads}</hard></uploadLimit>
</capability></vosi:capabilities>"""

NAMESPACES = (
    'xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


class Tap:
    """One TAP service."""

    def __init__(self, shelf: Shelf, service: Service, path: str, database: Database, hard_limit: int) -> None:
        self._shelf = shelf
        self._service: Service = service
        self._path = path
        self._database = database
        self._hard_limit = hard_limit

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return [
            web.get(f"{self._path}/capabilities", self._capabilities),
            web.get(f"{self._path}/tables", self._tables),
            web.get(f"{self._path}/tables/{{name}}", self._tables),
            web.get(f"{self._path}/sync", self._sync),
            web.post(f"{self._path}/sync", self._sync),
        ]

    async def _capabilities(self, request: web.Request) -> web.Response:
        base = f"{request.url.origin()}{self._path}"
        text = CAPABILITIES.format(base=base, limit=self._hard_limit, uploads=UPLOAD_LIMIT)
        return web.Response(text=text, content_type="text/xml")

    async def _tables(self, request: web.Request) -> web.Response:
        """Return the tables; their columns only of the one that is named, or where the detail asked for is not `min`."""
        named = request.match_info.get("name", "").lower()
        if named and named not in self._database.tables:
            return web.Response(status=404, text=f"no such table: {named}")
        if named:
            text = f"<vosi:table {NAMESPACES}>{_table(named, self._database.tables[named])}</vosi:table>"
        else:
            full = request.query.get("detail", "") != "min"
            tables = (_table(name, columns if full else {}) for name, columns in sorted(self._database.tables.items()))
            listed = "".join(f"<table>{table}</table>" for table in tables)
            text = f"<vosi:tableset {NAMESPACES}><schema><name>default</name>{listed}</schema></vosi:tableset>"
        return web.Response(text=XML + text, content_type="text/xml")

    async def _sync(self, request: web.Request) -> web.StreamResponse:
        fault = self._shelf.injector.service(self._service)
        refused = await misbehave(fault)
        if refused is not None:
            return refused
        sent = await request.post() if request.method == "POST" else request.query
        form = {name.upper(): value for name, value in sent.items()}
        try:
            limit = self._limit(form)
            uploads = [] if "UPLOAD" not in form else await asyncio.to_thread(_uploads, form)
            answer = await asyncio.to_thread(self._database.answer, str(form["QUERY"]), limit, uploads)
        except KeyError as exc:
            return refusal(f"missing parameter: {exc.args[0]}")
        except ValueError as exc:
            return refusal(str(exc))
        rows = [] if fault == "empty" else answer.rows
        text = await asyncio.to_thread(votable, answer.columns, rows, overflow=answer.overflow, origin=str(request.url.origin()))
        return await send_text(self._shelf, request, text, MIME, fault)

    def _limit(self, form: Mapping[str, Any]) -> int:
        """Return how many rows a query may give.

        Raises
        ------
        ValueError
            It asks for a language or a format that is not spoken, or not for a number.
        """
        if str(form.get("LANG", "ADQL")).partition("-")[0].upper() != "ADQL":
            raise ValueError(f"unknown query language: {form['LANG']}")
        check_format(str(form.get("RESPONSEFORMAT") or form.get("FORMAT") or ""))
        asked = int(form.get("MAXREC", self._hard_limit))
        if asked < 0:
            raise ValueError(f"MAXREC is negative: {asked}")
        return min(asked, self._hard_limit, self._shelf.injector.row_limit(self._service) or self._hard_limit)


def _table(name: str, columns: Mapping[str, Column]) -> str:
    """Return what stands in the element of a table."""
    described = "".join(
        f"<column><name>{escape(c.name)}</name><description>{escape(c.name)}</description>"
        f'<dataType xsi:type="vs:VOTableType">{DATATYPES.get(c.kind, "char")}</dataType></column>'
        for c in columns.values()
    )
    return f"<name>{escape(name)}</name><description>Table {escape(name)}</description>{described}"


def _uploads(form: Mapping[str, Any]) -> list[Upload]:
    """Return the tables of `UPLOAD=name,param:part;...`; their VOTables stand in the parts of the form."""
    uploads: list[Upload] = []
    for one in str(form["UPLOAD"]).split(";"):
        name, _, place = one.partition(",")
        if not re.fullmatch(r"[A-Za-z]\w*", name) or name.lower() in {upload.name.lower() for upload in uploads}:
            raise ValueError(f"not a name for an uploaded table: {name!r}")
        part = form.get(place.removeprefix("param:").upper())
        if not place.startswith("param:") or not isinstance(part, web.FileField):
            raise ValueError(f"the table {name} was not sent with the query")
        uploads.append(_upload(name, part.file.read()))
    return uploads


def _upload(name: str, content: bytes) -> Upload:
    from astropy.io.votable import exceptions, parse_single_table

    try:
        table = parse_single_table(io.BytesIO(content)).to_table(use_names_over_ids=True)
    except (exceptions.VOTableSpecError, ValueError, IndexError) as exc:
        raise ValueError(f"the table {name} is no VOTable: {exc}") from exc
    if len(table) > UPLOAD_LIMIT:
        raise ValueError(f"the table {name} has {len(table)} rows; at most {UPLOAD_LIMIT} can be uploaded")
    kinds = {"i": "BIGINT", "u": "BIGINT", "f": "DOUBLE"}
    head = {c.lower(): Column(c, kinds.get(table[c].dtype.kind, "VARCHAR")) for c in table.colnames}
    values = {c: cast("list[Any]", table[c].tolist()) for c in table.colnames}
    rows = [{c: values[c][i] for c in table.colnames} for i in range(len(table))]
    return Upload(name, head, rows)
