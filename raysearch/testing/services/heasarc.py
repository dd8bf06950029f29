"""HEASARC: SIA1, datalink, TAP over its catalogs, and the files under `FTP`."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from raysearch.testing.services import regions
from raysearch.testing.services.database import Database, Row
from raysearch.testing.services.objects import ANSWERED, send_object
from raysearch.testing.services.replies import html, misbehave, send_text
from raysearch.testing.services.shelf import Shelf
from raysearch.testing.services.tap import Tap
from raysearch.testing.services.votable import MIME, Column, columns, refusal, table_of

HARD_LIMIT = 1_000_000
CATALOG_COLUMNS = columns(
    "__row BIGINT, obsid VARCHAR, status VARCHAR, name VARCHAR, ra DOUBLE, dec DOUBLE, time DOUBLE, detector VARCHAR, "
    "grating VARCHAR, exposure DOUBLE, type VARCHAR, pi VARCHAR, public_date INTEGER",
    ra="pos.eq.ra;meta.main", dec="pos.eq.dec;meta.main",
)  # fmt: skip
"""The columns of a catalog of observations."""
METAINFO = columns("name VARCHAR, type VARCHAR, relation VARCHAR, value VARCHAR")
DEFAULT_RADIUS_ARCMIN = 21
SMALLEST = 1e-6
"""Degrees: a box of no size is a position."""

SIA_COLUMNS = (
    *(Column(c.name, c.kind, {"ra": "POS_EQ_RA_MAIN", "dec": "POS_EQ_DEC_MAIN"}.get(c.name, "")) for c in CATALOG_COLUMNS.values()),
    Column("datalink"),
    *columns(
        "t_min DOUBLE, t_exptime DOUBLE, s_ra DOUBLE, s_dec DOUBLE, access_estsize BIGINT, access_url VARCHAR, obs_id VARCHAR, "
        "obs_collection VARCHAR, target_name VARCHAR, calib_level SMALLINT, access_format VARCHAR, em_min DOUBLE, em_max DOUBLE"
    ).values(),
    Column("SIA_title", ucd="VOX:Image_Title"),
    Column("SIA_scale", ucd="VOX:Image_Scale"),
    Column("SIA_naxis", ucd="VOX:Image_Naxis"),
    Column("SIA_format", ucd="VOX:Image_Format"),
    Column("SIA_reference", ucd="VOX:Image_AccessReference"),
    Column("cloud_access"),
)
DATALINK_COLUMNS = tuple(
    columns(
        "ID VARCHAR, access_url VARCHAR, service_def VARCHAR, error_message VARCHAR, description VARCHAR, semantics VARCHAR, "
        "content_type VARCHAR, content_length BIGINT, cloud_access VARCHAR"
    ).values()
)


class Heasarc:
    """HEASARC over a shelf's catalogs and files."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._products = {p.path: p for p in shelf.products if p.path.startswith("FTP/")}
        self._catalogs = {name: rows for name, rows in shelf.tables.items() if "." not in name}
        database = Database()
        for name, rows in self._catalogs.items():
            database.add(name, CATALOG_COLUMNS, rows)
        database.add("metainfo", METAINFO, [row for name in self._catalogs for row in _metainfo(name)])
        self._tap = Tap(shelf, "heasarc", "/xamin/vo/tap", database, HARD_LIMIT)

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return [
            web.get("/xamin/vo/sia", self._sia),
            web.get("/xamin/vo/datalink/{catalog}", self._datalink),
            web.post("/xamin/vo/datalink/{catalog}", self._datalink),
            *self._tap.routes(),
            web.get("/FTP/{key:.+}", self._file),
        ]

    async def _sia(self, request: web.Request) -> web.StreamResponse:
        fault = self._shelf.injector.service("heasarc")
        refused = await misbehave(fault)
        if refused is not None:
            return refused
        asked = {name.upper(): value for name, value in request.query.items()}
        try:
            rows = [row for row in self._catalog(asked.get("TABLE", "")) if _inside(row, asked) and _in_format(row, asked)]
        except ValueError as exc:
            return refusal(str(exc), 200)  # as SIA 1.0 has it
        limit = self._shelf.injector.row_limit("heasarc") or HARD_LIMIT
        shown = [] if fault == "empty" else rows[:limit]
        text = table_of(SIA_COLUMNS, shown, overflow=len(rows) > limit, origin=str(request.url.origin()))
        return await send_text(self._shelf, request, text, MIME, fault)

    async def _datalink(self, request: web.Request) -> web.StreamResponse:
        fault = self._shelf.injector.datalink()
        if fault not in {None, "older", "empty"}:
            refused = await misbehave(fault)  # type: ignore[arg-type]
            if refused is not None:
                return refused
        sent = await request.post() if request.method == "POST" else request.query
        wanted = [str(value) for name, value in sent.items() if name.upper() == "ID"]
        try:
            by_row = {str(row["__row"]): row for row in self._catalog(request.match_info["catalog"])}
        except ValueError as exc:
            return refusal(str(exc))
        links = [] if fault == "empty" else [link for one in wanted for link in _links(one, by_row, older=fault == "older")]
        text = table_of(DATALINK_COLUMNS, links, origin=str(request.url.origin()))
        return web.Response(text=text, content_type=MIME)

    def _catalog(self, name: str) -> list[Row]:
        if name not in self._catalogs:
            raise ValueError(f"no such table: {name}")
        return list(self._catalogs[name])

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = re.sub("/+", "/", f"FTP/{request.match_info['key']}")
        fault = self._shelf.injector.of_object(path)
        product = self._products.get(path)
        if fault is not None and fault in ANSWERED:
            return html(int(fault))
        if product is None or not product.downloadable:
            return html(404)
        return await send_object(self._shelf, request, self._shelf.bodies[product.body], fault)


def _metainfo(name: str) -> list[Row]:
    """Return what the catalog of catalogs says of one: the order of its default columns, and the radius of its cones."""
    shown = ("obsid", "status", "name", "ra", "dec", "time", "detector", "grating", "exposure", "type", "pi", "public_date")
    order = [
        {"name": f"{name}.{c}", "type": "parameter", "relation": "order", "value": str(i)} for i, c in enumerate(shown, start=1)
    ]
    return [*order, {"name": name, "type": "table", "relation": "defaultSearchRadius", "value": str(DEFAULT_RADIUS_ARCMIN)}]


def _inside(row: Row, asked: dict[str, str]) -> bool:
    """Return whether an image meets the box asked for (SIA 1.0, section 4.1; SIZE in degrees, width and height)."""
    if "POS" not in asked:
        raise ValueError("POS is missing")
    ra, dec = (float(part) for part in asked["POS"].split(","))
    sizes = [max(float(part), SMALLEST) for part in asked.get("SIZE", "0.1").split(",")]
    box = regions.parse(regions.box(ra, dec, sizes[0], sizes[-1]))
    return regions.intersect(box, regions.parse(row["s_region"]))


def _in_format(row: Row, asked: dict[str, str]) -> bool:
    wanted = asked.get("FORMAT", "all").lower()
    return wanted in {"all", "graphic", "image/*"} or row["SIA_format"] in wanted.split(",")


def _links(row_id: str, by_row: dict[str, Row], *, older: bool) -> list[dict[str, Any]]:
    """Return the links of a row: its folder, and its images."""
    number, _, kind = row_id.partition(":")
    row = by_row.get(number)
    if row is None:
        return [
            {"ID": row_id, "access_url": "", "error_message": f"NotFoundFault: {row_id}", "content_type": "", "semantics": "#this"}
        ]
    links = []
    for link in row["links"]:
        if kind and link["content_type"] == "directory":
            continue
        semantics = link["older_semantics"] if older else link["semantics"]
        links.append({"ID": row_id, "error_message": "", "service_def": "", **link, "semantics": semantics})
    return links
