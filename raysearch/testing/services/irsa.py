"""IRSA: SIA2 with its capabilities, TAP over SPHEREx's planes and artifacts, files and their cutouts under `ibe/data`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiohttp import web

from raysearch.testing.services import regions
from raysearch.testing.services.cutouts import Cutouts
from raysearch.testing.services.database import Database, Row
from raysearch.testing.services.replies import misbehave, send_text
from raysearch.testing.services.shelf import Shelf
from raysearch.testing.services.tap import Tap
from raysearch.testing.services.votable import MIME, check_format, columns, refusal, table_of

HARD_LIMIT = 1_000_000
"""Rows a query gives at most."""

SIA_COLUMNS = columns(
    "s_ra DOUBLE, s_dec DOUBLE, facility_name VARCHAR, instrument_name VARCHAR, dataproduct_subtype VARCHAR, "
    "calib_level SMALLINT, dataproduct_type VARCHAR, energy_bandpassname VARCHAR, energy_emband VARCHAR, obs_id VARCHAR, "
    "s_resolution DOUBLE, em_min DOUBLE, em_max DOUBLE, em_res_power DOUBLE, proposal_title VARCHAR, access_url VARCHAR, "
    "access_format VARCHAR, access_estsize BIGINT, t_exptime DOUBLE, s_region VARCHAR, obs_collection VARCHAR, "
    "obs_intent VARCHAR, algorithm_name VARCHAR, facility_keywords VARCHAR, instrument_keywords VARCHAR, "
    "environment_photometric VARCHAR, proposal_id VARCHAR, proposal_pi VARCHAR, proposal_project VARCHAR, "
    "target_name VARCHAR, target_type VARCHAR, target_standard VARCHAR, target_moving VARCHAR, target_keywords VARCHAR, "
    "obs_release_date VARCHAR, s_xel1 BIGINT, s_xel2 BIGINT, s_pixel_scale DOUBLE, position_timedependent VARCHAR, "
    "t_min DOUBLE, t_max DOUBLE, t_resolution DOUBLE, t_xel BIGINT, obs_publisher_did VARCHAR, s_fov DOUBLE, "
    "em_xel BIGINT, pol_states VARCHAR, pol_xel BIGINT, cloud_access VARCHAR, o_ucd VARCHAR, upload_row_id BIGINT",
    s_ra="pos.eq.ra", s_dec="pos.eq.dec", s_region="pos.outline;obs.field", em_min="em.wl;stat.min", em_max="em.wl;stat.max",
    access_url="meta.ref.url", access_format="meta.code.mime", obs_id="meta.id", obs_collection="meta.id",
    calib_level="meta.code;obs.calib", t_min="time.start;obs.exposure", t_max="time.end;obs.exposure",
)  # fmt: skip
"""The 51 columns of SIA2's answers."""

TABLES = {
    "spherex.plane": columns(
        "planeid VARCHAR, obsid VARCHAR, obs_publisher_did VARCHAR, time_bounds_lower DOUBLE, time_bounds_upper DOUBLE, "
        "energy_bounds_lower DOUBLE, energy_bounds_upper DOUBLE, energy_bandpassname VARCHAR, poly REGION, "
        "provenance_version VARCHAR, quality_flag VARCHAR, metrics_background DOUBLE, metrics_maglimit DOUBLE"
    ),
    "spherex.artifact": columns(
        "artifactid VARCHAR, planeid VARCHAR, uri VARCHAR, producttype VARCHAR, contenttype VARCHAR, contentlength BIGINT"
    ),
    "spherex.observation": columns("obsid VARCHAR, observationid VARCHAR, collection VARCHAR"),
    "caom.observation": columns("obsid VARCHAR, observationid VARCHAR, collection VARCHAR, telescope_name VARCHAR"),
    "caom.plane": columns("planeid VARCHAR, obsid VARCHAR, dataproducttype VARCHAR, calibrationlevel SMALLINT"),
}

CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<capability standardID="ivo://ivoa.net/std/VOSI#capabilities"><interface xsi:type="vs:ParamHTTP" version="1.0">
<accessURL use="full">{base}/capabilities</accessURL></interface></capability>
<capability standardID="ivo://ivoa.net/std/SIA#query-2.0"><interface xsi:type="vs:ParamHTTP" role="std" version="2.0">
<accessURL use="base">{query}</accessURL></interface></capability>
</vosi:capabilities>"""
NOWHERE = "http://127.0.0.1:9/SIA2"
"""Where nobody answers (the port of the discard protocol)."""

Test = Callable[[Row], bool]


class Irsa:
    """IRSA over a shelf's rows and files."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        database = Database()
        for name, described in TABLES.items():
            database.add(name, described, _caom(name, shelf.irsa) or shelf.tables.get(name, ()))
        self._tap = Tap(shelf, "irsa", "/TAP", database, HARD_LIMIT)
        self._cutouts = Cutouts(shelf)

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers; the one of SIA2's queries is known only from its capabilities."""
        return [
            web.get("/SIA/capabilities", self._capabilities),
            web.get("/SIA2/query", self._sia),
            web.post("/SIA2/query", self._sia),
            web.get("/SIA", self._sia),
            *self._tap.routes(),
            *self._cutouts.routes(),
        ]

    async def _capabilities(self, request: web.Request) -> web.Response:
        fault = self._shelf.injector.capabilities()
        if fault == "404":
            return web.Response(status=404, text="Not found")
        origin = request.url.origin()
        query = NOWHERE if fault == "elsewhere" else f"{origin}/SIA2/query"
        return web.Response(text=CAPABILITIES.format(base=f"{origin}/SIA", query=query), content_type="text/xml")

    async def _sia(self, request: web.Request) -> web.StreamResponse:
        fault = self._shelf.injector.service("irsa")
        refused = await misbehave(fault)
        if refused is not None:
            return refused
        asked: dict[str, list[str]] = {}
        sent = await request.post() if request.method == "POST" else request.query
        for name, value in sent.items():
            asked.setdefault(name.upper(), []).append(str(value))
        try:
            tests = [_any(name, values) for name, values in asked.items() if name in PARAMETERS]
            limit = int(asked.get("MAXREC", [str(HARD_LIMIT)])[0])
            check_format(asked.get("RESPONSEFORMAT", [""])[0])
        except ValueError as exc:
            return refusal(f"UsageFault: BAD_REQUEST: {exc}")
        limit = min(limit, HARD_LIMIT, self._shelf.injector.row_limit("irsa") or HARD_LIMIT)
        rows = [row for row in self._shelf.irsa if all(test(row) for test in tests)]
        shown = [] if fault == "empty" else rows[:limit]
        head = list(SIA_COLUMNS.values())
        origin = str(request.url.origin())
        text = await asyncio.to_thread(table_of, head, shown, overflow=len(rows) > limit, origin=origin)
        return await send_text(self._shelf, request, text, MIME, fault)


def _caom(name: str, rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a table of the common model, made of those that SIA2 finds."""
    same = {
        "obsid": "obs_id", "observationid": "obs_id", "planeid": "obs_id", "collection": "obs_collection",
        "telescope_name": "facility_name", "dataproducttype": "dataproduct_type", "calibrationlevel": "calib_level",
    }  # fmt: skip
    if not name.startswith("caom."):
        return []
    return [{column: row[same[column]] for column in TABLES[name]} for row in rows]


def _any(name: str, values: Sequence[str]) -> Test:
    """Return what a row must pass for one parameter: any of its values (SIA 2.0, section 2.1)."""
    tests = [PARAMETERS[name](value) for value in values]
    return lambda row: any(test(row) for test in tests)


def _position(value: str) -> Test:
    asked = regions.parse(value)

    def passes(row: Row) -> bool:
        try:
            footprint = regions.parse(row.get("s_region") or "")
        except ValueError:
            footprint = regions.parse(f"POINT {row['s_ra']} {row['s_dec']}")
        return regions.intersect(asked, footprint)

    return passes


def _overlap(low: str, high: str, value: str) -> Test:
    """Return whether a row's interval meets the one asked for; a single number is a point, `-Inf` and `+Inf` are open ends."""
    numbers = [float(word) for word in value.split()]
    if len(numbers) not in {1, 2} or any(map(math.isnan, numbers)) or numbers[0] > numbers[-1]:
        raise ValueError(f"not an interval: {value}")
    return lambda row: row.get(low) is not None and row[low] <= numbers[-1] and row[high] >= numbers[0]


def _band(value: str) -> Test:
    return _overlap("em_min", "em_max", value)


def _time(value: str) -> Test:
    return _overlap("t_min", "t_max", value)


def _equal(column: str) -> Callable[[str], Test]:
    def make(value: str) -> Test:
        wanted: Any = value.casefold()
        return lambda row: str(row.get(column) or "").casefold() == wanted

    return make


def _format(value: str) -> Test:
    """Return whether a row's format is the one asked for; parameters of a MIME type count only where they are asked for."""
    wanted = value.casefold()

    def passes(row: Row) -> bool:
        kind = str(row.get("access_format") or "").casefold()
        return wanted in {"all", "any", kind, kind.partition(";")[0]}

    return passes


def _calib(value: str) -> Test:
    wanted = int(value)
    return lambda row: row.get("calib_level") == wanted


PARAMETERS: dict[str, Callable[[str], Test]] = {
    "POS": _position,
    "BAND": _band,
    "TIME": _time,
    "COLLECTION": _equal("obs_collection"),
    "FACILITY": _equal("facility_name"),
    "INSTRUMENT": _equal("instrument_name"),
    "DPTYPE": _equal("dataproduct_type"),
    "TARGET": _equal("target_name"),
    "ID": _equal("obs_publisher_did"),
    "CALIB": _calib,
    "FORMAT": _format,
}
"""Parameter, in upper case -> what makes a test of one of its values; others are ignored, as the standard has it."""
