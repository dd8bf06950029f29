"""Observations from HEASARC: of a catalogue (TAP), or of the image services (SIA1) that the registry finds; files by DataLink."""

import re
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysearch.archives.answers import Answers, through
from raysearch.archives.datalink import Link, files_of, resolve
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel, open_session
from raysearch.archives.places import allowed, places_of
from raysearch.archives.products import as_products, file_name
from raysearch.archives.registry import REGISTRY_URL, find_services
from raysearch.archives.sia import circles, span
from raysearch.archives.tap import select
from raysearch.archives.vo import is_cut, joined, pyvo_errors, quiet, table_of
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Query

HEASARC_URL = "https://heasarc.gsfc.nasa.gov"
IMAGE_RADIUS_DEG = 0.05
"""How far from a position SIA1 looks for images at least: a box of 0.1 degrees, as in the published notebook."""
_MAXREC = 1_000_000
_CONES = 40
"""Positions in one TAP query."""
_MEANINGS = {
    "obs_id": ("obsid", "seq_id", "observation_id"),
    "target_name": ("name",),
    "instrument_name": ("detector", "instrument"),
    "s_ra": ("ra",),
    "s_dec": ("dec",),
    "t_min": ("time",),
    "t_max": ("end_time",),
    "t_exptime": ("exposure",),
    "t_obs_release": ("public_date",),
}
"""ObsCore's column -> what HEASARC's catalogues call it (MJD, seconds, degrees there too)."""
_UCDS = {
    "access_url": "VOX:Image_AccessReference",
    "access_format": "VOX:Image_Format",
    "s_ra": "POS_EQ_RA_MAIN",
    "s_dec": "POS_EQ_DEC_MAIN",
}
"""ObsCore's column -> its UCD in SIA 1.0, section 4.2."""

Position = tuple[float, float]
Row = dict[str, Any]


class Heasarc:
    """HEASARC's observations around positions, a row for each FITS file of theirs: an `Archive`.

    HEASARC does not say what an observation covers. A row's `s_region` is made of small circles around those of the positions for
    which the service gave it: a target may turn out to lie beside the image.
    """

    name = "HEASARC"

    def __init__(
        self,
        url: str = HEASARC_URL,
        registry_url: str = REGISTRY_URL,
        *,
        catalog: str = "",
        keywords: Sequence[str] = (),
        positions: Sequence[Position],
        radius_deg: float = 0.0,
        wavelength_um: Sequence[float] = (),
        time: Sequence[float] = (),
        answers: Answers | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Take the positions (degrees), and either a catalogue or words by which the registry finds image services; see `Sia2`.

        A catalogue is asked for pointings within its own default radius, and `radius_deg` more.
        """
        if bool(catalog) == bool(keywords) or not re.fullmatch(r"\w*", catalog):
            raise ConfigError("HEASARC is asked either for a catalogue, such as chanmaster, or for keywords")
        self.url = url.rstrip("/")
        self.registry_url = registry_url
        self.catalog = catalog
        self.keywords = tuple(keywords)
        self.positions = [(float(ra), float(dec)) for ra, dec in positions]
        self.radius_deg = radius_deg
        self.spans = {
            ("em_min", "em_max"): span("wavelength_um", wavelength_um, 1e-6),
            ("t_min", "t_max"): span("time", time, 1.0),
        }
        self.answers = answers
        self.patience = patience

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return a row for each file of the observations around the positions, sorted by `obs_id`, and what was asked.

        Raises
        ------
        ArchiveError
            HEASARC or the registry refused, or did not give all the rows there are.
        ArchiveUnavailable
            One of them did not answer in time.
        """
        with quiet():
            rows, queries = self._from_catalog() if self.catalog else self._from_images()
            rows = [row for row in rows if all(_reaches(row, *names, ends) for names, ends in self.spans.items())]
            links, asked = self._links(rows)
        products = [product for row in rows for product in _products(row, links.get(row["datalink"] or "", []))]
        table = joined(self.name, [pa.Table.from_pylist(products)] if products else [])
        return as_products(self.name, table), queries + asked

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its file can be had: the cloud first, then HEASARC itself; empty: nowhere."""
        cells = zip(table["access_url"].to_pylist(), table["cloud_access"].to_pylist(), strict=True)
        return [places_of(url, cloud, self.url) for url, cloud in cells], []

    def _from_catalog(self) -> tuple[list[Row], list[Query]]:
        """Return the rows of the catalogue around the positions."""
        tap = f"{self.url}/xamin/vo/tap"
        radius, asked = self._radius_deg(tap)

        def ask(some: list[Position]) -> tuple[pa.Table, Query]:
            cones = (f"CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {ra!r}, {dec!r}, {radius!r})) = 1" for ra, dec in some)
            condition = " OR ".join(cones)
            return select(
                self.name, tap, ("*",), self.catalog, condition, key="__row", patience=self.patience, answers=self.answers
            )

        parts = [self.positions[start : start + _CONES] for start in range(0, len(self.positions), _CONES)]
        answers = list(in_parallel(self.name, ask, parts))
        found = {row["__row"]: row for table, _ in answers for row in table.to_pylist()}
        rows = [self._catalog_row(row, radius) for row in found.values()]
        return rows, [asked, *(query for _, query in answers)]

    def _radius_deg(self, tap: str) -> tuple[float, Query]:
        """Return how far from a position a pointing may be, as the catalogue of catalogues has it, and what was asked."""
        condition = f"relation LIKE 'defaultSearchRadius' AND (name = '{self.catalog}' OR name = '{self.catalog}.')"
        table, asked = select(self.name, tap, ("value",), "metainfo", condition, patience=self.patience, answers=self.answers)
        if not table.num_rows:
            raise ArchiveError(f"{self.name} has no catalogue {self.catalog}, or no radius for it ({tap}); is its name spelt so?")
        return float(table["value"][0].as_py()) / 60.0 + self.radius_deg, asked  # told in arcmin

    def _catalog_row(self, row: Row, radius_deg: float) -> Row:
        near = _apart_deg(np.array(self.positions), (row["ra"], row["dec"])) <= radius_deg
        around = [position for position, is_near in zip(self.positions, near.tolist(), strict=True) if is_near]
        return _as_obscore(row, around) | {
            "obs_collection": self.catalog,
            "datalink": f"{self.url}/xamin/vo/datalink/{self.catalog}?{urlencode({'ID': row['__row']})}",
        }

    def _from_images(self) -> tuple[list[Row], list[Query]]:
        """Return the rows of the image services around the positions."""
        services, asked = find_services("sia", self.keywords, url=self.registry_url, answers=self.answers, patience=self.patience)
        urls = [service.access_url for service in services if allowed(service.access_url, self.url)]
        if not urls:
            known = f"{len(services)} of them, none at an https:// address" if services else "none"
            raise ArchiveError(f"image services with the keywords {', '.join(self.keywords)}: the registry knows {known}")
        with open_session(self.name, self.patience) as session:
            wanted = [(url, position) for url in urls for position in self.positions]
            answers = list(in_parallel(self.name, lambda one: self._images(session, *one), wanted))
        found: dict[tuple[Any, ...], tuple[Row, list[Position]]] = {}
        for (url, position), (table, _) in zip(wanted, answers, strict=True):
            for row in table.to_pylist():
                identity = (url, row.get("obs_id"), row.get("access_url"), row.get("datalink"))
                found.setdefault(identity, (row, []))[1].append(position)
        rows = [_as_obscore(row, around) for row, around in found.values()]
        return rows, [asked, *(query for _, query in answers)]

    def _images(self, session: object, url: str, position: Position) -> tuple[pa.Table, Query]:
        """Return what one SIA1 service has around a position."""
        from pyvo.dal.sia import SIAQuery

        size = 2.0 * max(self.radius_deg, IMAGE_RADIUS_DEG)
        asked = SIAQuery(url, pos=position, size=size, format="image/fits", verbosity=2, session=session, maxrec=_MAXREC)
        text = urlencode(asked)

        def ask() -> tuple[pa.Table, Query]:
            started = clock.monotonic()
            with pyvo_errors(self.name, url):
                results = asked.execute()
            if is_cut(results, _MAXREC):
                raise ArchiveError(f"{self.name} gave {len(results):,} images around {position} and has more: lessen match.radius")
            table = _named_by_ucd(table_of(self.name, results), results)
            return table, Query(self.name, url, text, table.num_rows, clock.monotonic() - started)

        return through(self.answers, self.name, url, text, ask)

    def _links(self, rows: Iterable[Row]) -> tuple[dict[str, list[Link]], list[Query]]:
        """Return the links of each row's DataLink document, those of documents it leads to among them."""
        documents = [row["datalink"] for row in rows if row["datalink"] and allowed(row["datalink"], self.url)]
        if not documents:
            return {}, []
        links, queries = resolve(self.name, documents, answers=self.answers, patience=self.patience)
        further = {link.access_url for some in links.values() for link in some if link.is_data and link.is_document}
        if further := {url for url in further if allowed(url, self.url)}:
            more, asked = resolve(self.name, sorted(further), answers=self.answers, patience=self.patience)
            queries += asked
            links = {
                url: [*some, *(lead for link in some for lead in more.get(link.access_url, []))] for url, some in links.items()
            }
        return links, queries


def _products(row: Row, links: Sequence[Link]) -> list[Row]:
    """Return a row for each FITS file; without links, that of the file which the row itself names, if any.

    Where HEASARC says no more than in which `folder` the files are, it stands in the row: for the user, as no file can be told.
    """
    files = {link.access_url: link for link in files_of(links)}
    obs_id = row["obs_id"]
    row = row | {"folder": next((link.access_url for link in links if link.is_data and link.is_folder), None)}
    if not files:
        return [row]
    return [
        row
        | {
            "obs_id": f"{obs_id} {file_name(url)}",
            "archive_obs_id": obs_id,
            "access_url": url,
            "access_format": link.content_type,
            "cloud_access": link.cloud_access,
            "description": link.description,
        }
        for url, link in files.items()
    ]


def _as_obscore(row: Mapping[str, Any], around: Sequence[Position]) -> Row:
    """Return a row with ObsCore's columns beside HEASARC's own."""
    known = {name: row.get(name) for name in _MEANINGS}
    for name, others in _MEANINGS.items():
        if known[name] is None:
            known[name] = next((row[other] for other in others if row.get(other) is not None), None)
    return {**row, **known, "s_region": circles(around, 0.0) if around else None, "datalink": row.get("datalink")}


def _named_by_ucd(table: pa.Table, results: Any) -> pa.Table:
    """Return the table with the columns that SIA1 knows by their UCDs only under ObsCore's names too."""
    for name, ucd in _UCDS.items():
        own = results.fieldname_with_ucd(ucd)
        if name not in table.column_names and own in table.column_names:
            table = table.append_column(name, table[own])
    return table


def _reaches(row: Row, low: str, high: str, ends: tuple[float, float] | None) -> bool:
    """Return whether a row's range may reach into the one asked for; what is not known, may."""
    if ends is None:
        return True
    begin = row.get(low)
    end = begin if row.get(high) is None else row.get(high)
    return (begin is None or begin <= ends[1]) and (end is None or end >= ends[0])


def _apart_deg(positions: NDArray[np.float64], other: Position) -> NDArray[np.float64]:
    """Return the angles between positions and another, degrees (the haversine formula)."""
    (ra, dec), (other_ra, other_dec) = np.radians(positions).T, np.radians(other)
    square = np.sin((dec - other_dec) / 2.0) ** 2 + np.cos(dec) * np.cos(other_dec) * np.sin((ra - other_ra) / 2.0) ** 2
    apart: NDArray[np.float64] = np.degrees(2.0 * np.arcsin(np.minimum(np.sqrt(square), 1.0)))
    return apart
