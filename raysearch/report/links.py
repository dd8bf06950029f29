"""Where else a candidate can be looked at: addresses with its position or observation filled in.

Forms of the addresses as their services document them: Aladin Lite and ESASky take `target` and `fov` (degrees); Firefly's
`api=hips` takes a survey's `uri`, `ra`, `dec` and the radius `sr`; MAST's portal takes a `CAOMFILTERED` search as JSON; IRSA's
SPHEREx Data Explorer takes `api=spectral-images` and a position, HEASARC's Xamin a `table`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Link:
    """An address in which `{ra}` and `{dec}` (degrees) and `{obs_id}` stand for a candidate's."""

    label: str
    address: str


AROUND = (
    Link("Aladin Lite", "https://aladin.cds.unistra.fr/AladinLite/?target={ra}%20{dec}&fov=0.05"),
    Link("ESASky", "https://sky.esa.int/?target={ra}%20{dec}&fov=0.05&cooframe=J2000&sci=true"),
    Link("Firefly", "https://irsa.ipac.caltech.edu/irsaviewer/?api=hips&uri=ivo://CDS/P/allWISE/color&ra={ra}&dec={dec}&sr=0.05d"),
    Link("SIMBAD", "https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={ra}%20{dec}&CooFrame=ICRS&Radius=10&Radius.unit=arcsec"),
)
"""What is known around a position."""


def of_archive(search: Mapping[str, Any]) -> tuple[Link, ...]:
    """Return the archive's own page of an observation, where an address leads to it."""
    asked = search.get("observations", {})
    match asked.get("archive"):
        case "mast":
            return (Link("MAST", "https://mast.stsci.edu/portal/Mashup/Clients/Mast/Portal.html?searchQuery=" + _mast_query()),)
        case "irsa" if any("spherex" in name.lower() for name in asked.get("collection", ())):
            explorer = "https://irsa.ipac.caltech.edu/applications/spherex/?api=spectral-images&ra={ra}&dec={dec}&sr=0.01d"
            return (Link("SPHEREx Data Explorer", explorer),)
        case "heasarc" if asked.get("catalog"):
            return (Link("HEASARC", "https://heasarc.gsfc.nasa.gov/xamin/?table=" + quote(asked["catalog"], safe="")),)
        case _:
            return ()


def _mast_query() -> str:
    """Return MAST's search for one observation, percent-encoded but for the place of its name."""
    name = "{obs_id}"
    asked = {
        "service": "CAOMFILTERED",
        "inputText": [
            {
                "paramName": "obs_id",
                "niceName": "obs_id",
                "values": [],
                "valString": name,
                "isDate": False,
                "freeText": name,
                "displayString": name,
            }
        ],
        "position": "undefined, undefined, undefined",
        "paramsService": "Mast.Caom.Filtered",
        "title": "MAST",
        "tooltip": name,
        "columns": "*",
    }
    return quote(json.dumps(asked, separators=(",", ":")), safe="").replace(quote(name, safe=""), name)
