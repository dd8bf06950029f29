"""Observations from IRSA: any collection by SIA2, and SPHEREx's images by TAP."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysearch.archives.answers import Answers
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel
from raysearch.archives.places import places_of
from raysearch.archives.products import as_products
from raysearch.archives.sia import Sia2, circles, span
from raysearch.archives.tap import select
from raysearch.archives.vo import joined, quiet
from raysearch.errors import ConfigError
from raysearch.model import Query

IRSA_URL = "https://irsa.ipac.caltech.edu"

_COLUMNS = (
    *("a.uri", "p.obs_publisher_did", "p.energy_bandpassname", "p.poly", "p.provenance_version"),
    *("p.energy_bounds_lower AS em_min", "p.energy_bounds_upper AS em_max"),  # metres, in CAOM
    *("p.time_bounds_lower AS t_min", "p.time_bounds_upper AS t_max"),  # MJD
)
_SOURCE = "spherex.artifact AS a JOIN spherex.plane AS p ON a.planeid = p.planeid"


class Irsa(Sia2):
    """The observations that IRSA's SIA2 service has (SPHEREx, SOFIA, Herschel, Spitzer, Euclid, ...): an `Archive`."""

    name = "IRSA"

    def __init__(self, url: str = IRSA_URL, **asked: Any) -> None:
        """Take IRSA's address, and what to ask: see `Sia2`."""
        super().__init__(url.rstrip("/") + "/SIA", **asked)


class IrsaSpherex:
    """SPHEREx's spectral images around positions, by IRSA's TAP service, which knows new ones a day before SIA2: an `Archive`."""

    name = "IRSA"

    def __init__(
        self,
        url: str = IRSA_URL,
        *,
        positions: Sequence[tuple[float, float]],
        radius_deg: float = 0.0,
        bands: Sequence[str] = (),
        wavelength_um: Sequence[float] = (),
        time: Sequence[float] = (),
        release: str = "qr2",
        base_url: str = "",
        answers: Answers | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Take the positions (degrees) and what else to ask; see `Sia2`.

        `bands` are detectors (`SPHEREx-D3`), `release` is `qr2` or another; `base_url` is where the files are, by default IRSA.
        """
        if not re.fullmatch(r"\w+", release):
            raise ConfigError(f"a release of SPHEREx is named by letters and digits, such as qr2, not {release!r}")
        self.url = url.rstrip("/") + "/TAP"
        self.base_url = (base_url or url).rstrip("/") + "/"
        self.positions = tuple(positions)
        self.radius_deg = radius_deg
        self.answers = answers
        self.patience = patience
        self.conditions = [f"a.uri LIKE 'ibe/data/spherex/{release}/level2/%'"]
        if bands:
            names = ", ".join("'" + band.replace("'", "''") + "'" for band in bands)
            self.conditions.append(f"p.energy_bandpassname IN ({names})")
        for column, ends in (("energy", span("wavelength_um", wavelength_um, 1e-6)), ("time", span("time", time, 1.0))):
            if ends:
                self.conditions.append(f"p.{column}_bounds_lower <= {ends[1]!r} AND p.{column}_bounds_upper >= {ends[0]!r}")

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return every image that holds one of the positions, once, sorted by `obs_id`, and what was asked: a query a position.

        Raises
        ------
        ArchiveError
            IRSA refused, or did not give all the rows there are.
        ArchiveUnavailable
            It did not answer in time.
        """
        with quiet():
            answers = list(in_parallel(self.name, self._around, self.positions))
        images: dict[str, dict[str, Any]] = {}
        for position, (table, _) in zip(self.positions, answers, strict=True):
            for row in table.to_pylist():
                images.setdefault(row["uri"], row | {"around": []})["around"].append(position)
        rows = [self._row(image) for image in images.values()]
        table = joined(self.name, [pa.Table.from_pylist(rows)] if rows else [])
        return as_products(self.name, table), [query for _, query in answers]

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its image can be had: the cloud first, then IRSA itself; empty: nowhere."""
        return [places_of(url, None, self.base_url) for url in table["access_url"].to_pylist()], []

    def _around(self, position: tuple[float, float]) -> tuple[pa.Table, Query]:
        ra, dec = (float(angle) for angle in position)
        inside = f"CONTAINS(POINT('ICRS', {ra!r}, {dec!r}), p.poly)"
        if self.radius_deg > 0.0:
            inside = f"INTERSECTS(CIRCLE('ICRS', {ra!r}, {dec!r}, {self.radius_deg!r}), p.poly)"
        condition = " AND ".join([f"1 = {inside}", *self.conditions])
        key = "p.time_bounds_lower"
        return select(self.name, self.url, _COLUMNS, _SOURCE, condition, key=key, patience=self.patience, answers=self.answers)

    def _row(self, image: Mapping[str, Any]) -> dict[str, Any]:
        """Return an image's row in ObsCore's terms; `poly` is text in most services of TAP, an array of numbers in others."""
        did, uri = image["obs_publisher_did"] or "", image["uri"] or ""
        own = {name: value for name, value in image.items() if name not in {"around", "poly"}}
        return own | {
            "obs_collection": did.partition("?")[0].rpartition("/")[2] or None,
            "instrument_name": "SPHEREx",
            "dataproduct_type": "image",
            "calib_level": 2,
            "s_region": _region(image["poly"]) or circles(image["around"], self.radius_deg),
            "access_url": self.base_url + uri.lstrip("/") if uri else None,
        }


def _region(poly: object) -> str:
    """Return a polygon's text; empty where the service gives it in a form that says nothing outside its database."""
    if isinstance(poly, (list, tuple)) and len(poly) >= 6:
        return "POLYGON ICRS " + " ".join(repr(float(angle)) for angle in poly)
    return poly if isinstance(poly, str) and re.match(r"\s*polygon\b", poly, re.IGNORECASE) else ""
