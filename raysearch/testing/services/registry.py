"""The VO registry's TAP service (RegTAP 1.1): a few resources, asked by the queries that clients generate."""

from __future__ import annotations

from aiohttp import web

from raysearch.testing.services.database import Database, Row
from raysearch.testing.services.shelf import Shelf
from raysearch.testing.services.tap import Tap
from raysearch.testing.services.votable import columns

HARD_LIMIT = 20_000

TABLES = {
    "rr.resource": columns(
        "ivoid VARCHAR, res_type VARCHAR, short_name VARCHAR, res_title VARCHAR, content_level VARCHAR, res_description VARCHAR, "
        "reference_url VARCHAR, creator_seq VARCHAR, created VARCHAR, updated VARCHAR, rights VARCHAR, content_type VARCHAR, "
        "source_format VARCHAR, source_value VARCHAR, region_of_regard REAL, waveband VARCHAR"
    ),
    "rr.capability": columns("ivoid VARCHAR, cap_index SMALLINT, cap_type VARCHAR, cap_description VARCHAR, standard_id VARCHAR"),
    "rr.interface": columns(
        "ivoid VARCHAR, cap_index SMALLINT, intf_index SMALLINT, intf_type VARCHAR, intf_role VARCHAR, access_url VARCHAR"
    ),
    "rr.res_subject": columns("ivoid VARCHAR, res_subject VARCHAR"),
}

RESOURCES = (
    ("ivo://nasa.heasarc/chanmaster", "Chandra", "Chandra Observations", "HEASARC's list of observations by Chandra, with images",
     "x-ray", "sia", "{origin}/xamin/vo/sia?table=chanmaster&"),
    ("ivo://nasa.heasarc/chanmaster", "Chandra", "", "", "", "conesearch", "{origin}/xamin/vo/cone?table=chanmaster&"),
    ("ivo://nasa.heasarc/rosmaster", "ROSAT", "ROSAT Archival Data", "Pointed ROSAT observations at the HEASARC", "x-ray", "sia",
     "{origin}/xamin/vo/sia?table=rosmaster&"),
    ("ivo://nasa.heasarc/services/xamin", "HEASARC", "HEASARC Xamin Catalog Interface", "All catalogs by TAP", "x-ray", "tap",
     "{origin}/xamin/vo/tap"),
    ("ivo://irsa.ipac/sia", "IRSA SIA", "IRSA Image Server", "Images and cubes of IRSA: SPHEREx, SOFIA", "infrared", "sia2",
     "{origin}/SIA"),
    ("ivo://irsa.ipac/tap", "IRSA TAP", "IRSA Table Access", "Catalogs of IRSA", "infrared", "tap", "{origin}/TAP"),
    ("ivo://cds.simbad/tap", "SIMBAD TAP", "SIMBAD TAP query engine", "Objects and their bibliography", "optical", "tap",
     "{origin}/simbad/sim-tap"),
)  # fmt: skip
"""ivoid, short name, title, description, waveband, kind of service, address; a further service of a resource has no title."""

STANDARDS = {
    "sia": "ivo://ivoa.net/std/sia",
    "sia2": "ivo://ivoa.net/std/sia#query-2.0",
    "tap": "ivo://ivoa.net/std/tap",
    "conesearch": "ivo://ivoa.net/std/conesearch",
}


class Registry:
    """The registry of what this archive serves."""

    def __init__(self, shelf: Shelf) -> None:
        database = Database()
        rows = _rows()
        for name, described in TABLES.items():
            database.add(name, described, rows[name])
        self._tap = Tap(shelf, "registry", "/regtap", database, HARD_LIMIT)

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return self._tap.routes()


def _rows() -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    for number, (ivoid, short, title, description, waveband, kind, address) in enumerate(RESOURCES):
        if title:
            rows["rr.resource"].append(_resource(ivoid, short, title, description, waveband))
            rows["rr.res_subject"] += [{"ivoid": ivoid, "res_subject": subject} for subject in (short, "surveys")]
        place = {"ivoid": ivoid, "cap_index": number}
        rows["rr.capability"].append({**place, "cap_type": "", "cap_description": "", "standard_id": STANDARDS[kind]})
        rows["rr.interface"].append(
            {**place, "intf_index": number, "intf_type": "vs:paramhttp", "intf_role": "std", "access_url": address}
        )
    return rows


def _resource(ivoid: str, short: str, title: str, description: str, waveband: str) -> Row:
    return {
        "ivoid": ivoid,
        "res_type": "vs:catalogservice",
        "short_name": short,
        "res_title": title,
        "content_level": "research",
        "res_description": description,
        "reference_url": "{origin}/",
        "creator_seq": "",
        "created": "2010-01-01T00:00:00",
        "updated": "2026-01-01T00:00:00",
        "rights": "",
        "content_type": "archive",
        "source_format": "",
        "source_value": "",
        "region_of_regard": None,
        "waveband": waveband,
    }
