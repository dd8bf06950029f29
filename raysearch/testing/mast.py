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

from raysearch.testing.faults import MastFault
from raysearch.testing.holdings import Row
from raysearch.testing.objects import FAREWELL, send_object
from raysearch.testing.shelf import Shelf

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

HTML = "<!DOCTYPE html><html><body><h1>MAST is under maintenance</h1></body></html>"


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
            config[name] = {"text": name, "type": kind}
            if name in SEPARATED:
                config[name]["separator"] = ";"
        return web.json_response(config)

    async def _invoke(self, request: web.Request) -> web.Response:
        fault = self._shelf.injector.mast()
        if fault is not None:
            return await _misbehave(fault)
        query = json.loads(parse_qs(await request.text())["request"][0])
        if self._shelf.injector.still_executing(query.get("cacheBreaker", "")):
            await asyncio.sleep(POLL_SECONDS)
            return web.json_response({"status": "EXECUTING", "msg": "", "data": []})
        try:
            return web.json_response(self._answer(query))
        except (KeyError, TypeError, ValueError) as exc:
            return web.json_response({"status": "ERROR", "msg": f"Error converting request: {exc!r}", "data": [], "fields": []})

    def _answer(self, query: dict[str, Any]) -> dict[str, Any]:
        service, params = query["service"], query["params"]
        if service == "Mast.Caom.Products":
            return _page(self._product_rows(str(params["obsid"]).split(",")), query)
        if service not in {"Mast.Caom.Filtered", "Mast.Caom.Filtered.Position"}:
            raise ValueError(f"unknown service {service}")
        tests = [_test(f) for f in params["filters"]]
        if service.endswith("Position"):
            tests.append(_within(params["position"]))
        rows = [row for row in self._shelf.observations if all(test(row) for test in tests)]
        if params.get("columns") == "COUNT_BIG(*)":
            return _page([{"Column1": len(rows)}], query)
        return _page(rows, query, COLUMNS)

    def _product_rows(self, obsids: list[str]) -> list[Row]:
        """Return the products of observations, by obsid."""
        wanted = {obsid.strip() for obsid in obsids}
        observed = [
            (row, self._products.get(row["dataURL"] or "")) for row in self._shelf.observations if str(row["obsid"]) in wanted
        ]
        return [
            {
                "obsID": str(row["obsid"]),
                "obs_collection": row["obs_collection"],
                "dataproduct_type": row["dataproduct_type"],
                "obs_id": row["obs_id"],
                "description": "synthetic cube",
                "type": "S",
                "dataURI": product.uri,
                "productType": "SCIENCE",
                "productGroupDescription": "Minimum Recommended Products",
                "productSubGroupDescription": "S3D",
                "productFilename": product.uri.rsplit("/", 1)[-1],
                "size": len(self._shelf.bodies[product.body].content),
                "dataRights": row["dataRights"],
                "calib_level": row["calib_level"],
            }
            for row, product in observed
            if product is not None
        ]

    async def _lookup(self, request: web.Request) -> web.Response:
        fault = self._shelf.injector.lookup()
        if fault is not None and fault != "absent":
            return await _misbehave(fault)
        answer: dict[str, Row] = {}
        for uri in request.query.getall("uri", []):
            product = self._products.get(uri)
            if product is not None and product.located:
                answer[uri] = {"status_code": 200, "path": f"/{product.key}"}
            elif fault != "absent":
                answer[uri] = {"status_code": 404, "path": None}
        return web.json_response(answer)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        uri = request.query.get("uri", "")
        injector = self._shelf.injector
        await asyncio.sleep(injector.delay())
        fault = injector.of_object(uri)
        product = self._products.get(uri)
        if fault in {"403", "404", "503"}:
            return web.Response(status=int(fault), text=HTML, content_type="text/html")
        if product is None or not product.downloadable:
            return web.Response(status=404, text=f"Not found: {uri}")
        return await send_object(self._shelf, request, self._shelf.bodies[product.body], fault)


async def _misbehave(fault: MastFault | str) -> web.Response:
    if fault == "hang":
        await asyncio.sleep(FAREWELL)
    if fault == "error":
        return web.json_response({"status": "ERROR", "msg": "The query failed on the server", "data": [], "fields": []})
    status = 200 if fault == "html" else int(fault)
    return web.Response(status=status, text=HTML, content_type="text/html")


def _page(rows: list[Row], query: dict[str, Any], columns: dict[str, str] | None = None) -> dict[str, Any]:
    """Return one page of rows as the portal sends it."""
    size, page = int(query.get("pagesize", 50000)), int(query.get("page", 1))
    kinds = {int: "int", float: "float"}
    names = columns or {name: kinds.get(type(value), "string") for name, value in (rows[0] if rows else {}).items()}
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
    """Return what a row must pass for a cone `ra, dec, radius`, all in degrees."""
    ra, dec, radius = (float(part) for part in position.split(","))

    def passes(row: Row) -> bool:
        return separation(ra, dec, row["s_ra"], row["s_dec"]) <= radius

    return passes


def separation(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Return the angle between two positions, all in degrees (haversine)."""
    d1, d2, dra = math.radians(dec1), math.radians(dec2), math.radians(ra2 - ra1)
    h = math.sin((d2 - d1) / 2) ** 2 + math.cos(d1) * math.cos(d2) * math.sin(dra / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(h))))
