"""MAST: the portal's columnsconfig and invoke, path_lookup, and Download/file."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from raysearch.testing.faults import LookupFault, MastFault
from raysearch.testing.holdings import Product, Row
from raysearch.testing.services import regions
from raysearch.testing.services.objects import ANSWERED, FAREWELL, send_object
from raysearch.testing.services.replies import html
from raysearch.testing.services.shelf import Shelf

COLUMNS = {
    "intentType": "string", "obs_collection": "string", "provenance_name": "string", "instrument_name": "string",
    "project": "string", "filters": "string", "wavelength_region": "string", "target_name": "string",
    "target_classification": "string", "obs_id": "string", "s_ra": "float", "s_dec": "float", "dataproduct_type": "string",
    "proposal_pi": "string", "calib_level": "int", "t_min": "float", "t_max": "float", "t_exptime": "float", "em_min": "float",
    "em_max": "float", "obs_title": "string", "t_obs_release": "float", "proposal_id": "string", "proposal_type": "string",
    "s_region": "string", "jpegURL": "string", "dataURL": "string", "dataRights": "string", "mtFlag": "boolean",
    "srcDen": "float", "obsid": "string", "objID": "string",
}  # fmt: skip
"""The columns of an observation and their types, as the portal's replies name them."""

SEPARATED = {"obs_collection", "project", "filters", "wavelength_region", "target_classification"}
POLL_SECONDS = 0.2
"""How long a query that is still executing is held before it is answered so."""

PRODUCT_COLUMNS = {
    "obsID": "string", "obs_collection": "string", "dataproduct_type": "string", "obs_id": "string", "description": "string",
    "type": "string", "dataURI": "string", "productType": "string", "productGroupDescription": "string",
    "productSubGroupDescription": "string", "productDocumentationURL": "string", "project": "string", "prvversion": "string",
    "proposal_id": "string", "productFilename": "string", "size": "int", "parent_obsid": "string", "dataRights": "string",
    "calib_level": "int", "filters": "string",
}  # fmt: skip
"""The columns of a product and their types."""
DATATYPES = {"float": "double", "int": "int", "string": "char", "boolean": "boolean"}
PAGE_ROWS = 50_000


class Mast:
    """The services of MAST over a shelf's observations and products."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._products = {p.uri: p for p in shelf.products if p.uri}

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return [
            web.post("/portal/Mashup/Mashup.asmx/columnsconfig", self._columns),
            web.post("/api/v0/invoke", self._invoke),
            web.get("/api/v0.1/path_lookup/", self._lookup),
            web.get("/api/v0.1/path_lookup", self._lookup),
            web.get("/api/v0.1/Download/file", self._download),
        ]

    async def _columns(self, _: web.Request) -> web.Response:
        config: dict[str, dict[str, str]] = {}
        for name, kind in COLUMNS.items():
            config[name] = {"text": name, "vot.datatype": DATATYPES[kind]}
            if name in SEPARATED:
                config[name]["separator"] = ";"
        return web.json_response(config)

    async def _invoke(self, request: web.Request) -> web.Response:
        fault = self._shelf.injector.mast()
        if fault is not None and fault != "page":
            return await _misbehave(fault)
        query = json.loads(parse_qs(await request.text())["request"][0])
        if self._shelf.injector.still_executing(query.get("cacheBreaker", "")):
            await asyncio.sleep(POLL_SECONDS)
            return web.json_response({"status": "EXECUTING", "msg": "", "data": []})
        try:
            answer = self._answer(query)
            if fault == "page" and answer["paging"]["page"] > 1:
                answer["data"] = []
            return web.json_response(answer)
        except (KeyError, TypeError, ValueError) as exc:
            return web.json_response({"status": "ERROR", "msg": f"Error converting request: {exc!r}", "data": [], "fields": []})

    def _answer(self, query: dict[str, Any]) -> dict[str, Any]:
        service, params = query["service"], query["params"]
        if service == "Mast.Caom.Products":
            return _page(self._product_rows(str(params["obsid"]).split(",")), query, PRODUCT_COLUMNS)
        if service not in {"Mast.Caom.Filtered", "Mast.Caom.Filtered.Position"}:
            raise ValueError(f"unknown service {service}")
        tests = [_test(f) for f in params["filters"]]
        if service.endswith("Position"):
            tests.append(_within(params["position"]))
        rows = [row for row in self._shelf.observations if all(test(row) for test in tests)]
        if params.get("columns") == "COUNT_BIG(*)":
            return _page([{"Column1": len(rows)}], query, {"Column1": "int"})
        return _page(rows, query, _chosen(params.get("columns", "*")))

    def _product_rows(self, obsids: list[str]) -> list[Row]:
        """Return the products of observations, by obsid."""
        wanted = {obsid.strip() for obsid in obsids}
        observed = [
            (row, self._products.get(row["dataURL"] or "")) for row in self._shelf.observations if str(row["obsid"]) in wanted
        ]
        return [self._product_row(row, product) for row, product in observed if product is not None]

    def _product_row(self, row: Row, product: Product) -> Row:
        same = ("obs_collection", "dataproduct_type", "obs_id", "project", "proposal_id", "dataRights", "calib_level", "filters")
        return {
            **{name: row[name] for name in same},
            "obsID": str(row["obsid"]),
            "parent_obsid": str(row["obsid"]),
            "description": "synthetic cube",
            "type": "S",
            "dataURI": product.uri,
            "productType": "SCIENCE",
            "productGroupDescription": "Minimum Recommended Products",
            "productSubGroupDescription": "S3D",
            "productFilename": product.uri.rsplit("/", 1)[-1],
            "size": len(self._shelf.bodies[product.body].content),
        }

    async def _lookup(self, request: web.Request) -> web.Response:
        fault = self._shelf.injector.lookup()
        if fault not in {None, "absent", "null"}:
            return await _misbehave(fault)
        answer: dict[str, Row] = {}
        as_key = request.query.get("use_cloud_path", "").lower() == "true"
        for uri in request.query.getall("uri", []):
            product = self._products.get(uri)
            if product is not None and product.located and fault != "null":
                answer[uri] = {"status_code": 200, "path": product.key if as_key else _path(product.key)}
            elif fault != "absent":
                answer[uri] = {"status_code": 404, "path": None}
        return web.json_response(answer)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        uri = request.query.get("uri", "")
        injector = self._shelf.injector
        fault = injector.of_object(uri)
        product = self._products.get(uri)
        if fault is not None and fault in ANSWERED:
            return html(int(fault))
        if product is None or not product.downloadable:
            return web.Response(status=404, text=f"Not found: {uri}")
        return await send_object(self._shelf, request, self._shelf.bodies[product.body], fault)


async def _misbehave(fault: MastFault | LookupFault) -> web.Response:
    if fault == "hang":
        await asyncio.sleep(FAREWELL)
    if fault == "error":
        return web.json_response({"status": "ERROR", "msg": "The query failed on the server", "data": [], "fields": []})
    return html(200 if fault == "html" else int(fault))


def _path(key: str) -> str:
    """Return the path that the lookup gives for a key; clients undo it (astroquery's `mast_relative_path`)."""
    if key.startswith("mast/hlsp/"):
        return f"/hlsp_local/public/{key.removeprefix('mast/')}"
    if key.startswith("panstarrs/ps1/public/"):
        return f"/ps1/{key.removeprefix('panstarrs/ps1/public/')}"
    return f"/mast/{key}" if key.startswith("galex/") else f"/{key}"


def _page(rows: list[Row], query: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return one page of rows as the portal sends it."""
    size, page = int(query.get("pagesize", PAGE_ROWS)), int(query.get("page", 1))
    if size < 1 or page < 1:
        raise ValueError(f"no such page: {page} of {size} rows")
    shown = rows[(page - 1) * size : page * size]
    return {
        "status": "COMPLETE",
        "msg": "",
        "fields": [{"name": name, "type": kind} for name, kind in names.items()],
        "data": [{name: row.get(name) for name in names} for row in shown],
        "paging": {
            "page": page,
            "pageSize": size,
            "pagesFiltered": max(1, math.ceil(len(rows) / size)),
            "rows": len(shown),
            "rowsFiltered": len(rows),
            "rowsTotal": len(rows),
        },
    }


def _chosen(columns: str) -> dict[str, str]:
    """Return the columns asked for (all, or a list with commas) and their types."""
    return COLUMNS if columns == "*" else {name.strip(): COLUMNS[name.strip()] for name in columns.split(",")}


def _test(one: dict[str, Any]) -> Callable[[Row], bool]:
    """Return what a row must pass for one filter: any of its values, ranges or its wildcard."""
    named = {name.lower(): name for name in COLUMNS}
    name = named.get(one["paramName"].lower())
    if name is None:
        raise ValueError(f"no such column: {one['paramName']}")
    ranges = [(v["min"], v["max"]) for v in one["values"] if isinstance(v, dict)]
    exact = {str(v).casefold() for v in one["values"] if not isinstance(v, dict)}
    pattern = re.escape(one.get("freeText", "")).replace("%", ".*")
    wildcard = re.compile(pattern, re.IGNORECASE) if pattern else None
    separator = one.get("separator")

    def passes(row: Row) -> bool:
        value = row.get(name)
        if value is None:
            return False
        if any(low <= value <= high for low, high in ranges):
            return True
        text = str(value)
        parts = [text, *text.split(separator)] if separator else [text]
        return any(p.strip().casefold() in exact for p in parts) or (wildcard is not None and any(map(wildcard.fullmatch, parts)))

    return passes


def _within(position: str) -> Callable[[Row], bool]:
    """Return what a row must pass for a cone `ra, dec, radius` (degrees): its footprint meets it, or without one its centre."""
    ra, dec, radius = (float(part) for part in position.split(","))
    cone = regions.parse(f"CIRCLE {ra} {dec} {radius}")

    def passes(row: Row) -> bool:
        try:
            footprint = regions.parse(row["s_region"] or "")
        except ValueError:
            footprint = regions.parse(f"POINT {row['s_ra']} {row['s_dec']}")
        return regions.intersect(cone, footprint)

    return passes
