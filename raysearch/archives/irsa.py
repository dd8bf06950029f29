"""Observations from IRSA: any collection by SIA2, and SPHEREx's images by TAP."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysearch.archives.answers import Answers
from raysearch.archives.groups import Position, circle_around, grouped
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel
from raysearch.archives.places import places_of
from raysearch.archives.products import as_products
from raysearch.archives.sia import Sia2, circles, span
from raysearch.archives.tap import select
from raysearch.archives.vo import joined, quiet
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError
from raysearch.model import Query

logger = logging.getLogger(__name__)

IRSA_URL = "https://irsa.ipac.caltech.edu"
GROUP_DEG = 0.5
"""Radius of the circle, at most, within which positions are asked about together. An image is a square of 3.5 degrees: such a
circle meets (3.5^2 + 4 * 3.5 * 0.5 + pi * 0.5^2) / 3.5^2 = 1.6 times as many as hold one position, on average."""

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


_Answer = tuple[tuple[Position, ...], pa.Table | None]
"""Positions asked about together, and the images around them; None where several were refused."""


class IrsaSpherex:
    """SPHEREx's spectral images around positions, by IRSA's TAP service, which knows new ones a day before SIA2: an `Archive`.

    Positions that lie near each other are asked about together, by the circle that holds them: the answer has some images that
    hold none of them, which the match with the footprints sorts out. Where the answer has a polygon that says nothing outside its
    database, there is nothing to match: the positions of that circle are then asked about one by one, and its images are known
    by which positions they were found for.

    `CONTAINS(POINT, p.poly)`, for a position alone, is known to work at IRSA. `INTERSECTS(CIRCLE, p.poly)`, for several or with a
    radius, is standard ADQL too, but has been tried with the embedded archive only: where a circle of several is refused, they too
    are asked about one by one.
    """

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
        self.groups = grouped(positions, GROUP_DEG)
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
        """Return the images around the positions, each once, sorted by `obs_id`, and what was asked.

        Every image that holds one of the positions, or is within the radius of it, and where several were asked about together
        also some that are not.

        Raises
        ------
        ArchiveError
            IRSA refused, or did not give all the rows there are.
        ArchiveUnavailable
            It did not answer in time.
        """
        with quiet():
            answers, queries = self._ask(self.groups)
            vague = {group for group, table in answers if len(group) > 1 and (table is None or not _all_drawn(table))}
            alone = [(position,) for group in self.groups if group in vague for position in group]
            if alone:
                logger.info("%s: no answer about circles that says enough; asking about %d positions alone", self.name, len(alone))
            again, asked = self._ask(alone)
        images: dict[str, dict[str, Any]] = {}
        for group, table in [*(answer for answer in answers if answer[0] not in vague), *again]:
            for row in table.to_pylist() if table is not None else ():
                # needed only where the polygon says nothing: there, the group is one position
                images.setdefault(row["uri"], row | {"around": []})["around"].append(group[0])
        rows = [self._row(image) for image in images.values()]
        table = joined(self.name, [pa.Table.from_pylist(rows)] if rows else [])
        return as_products(self.name, table), queries + asked

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its image can be had: the cloud first, then IRSA itself; empty: nowhere."""
        return [places_of(url, None, self.base_url) for url in table["access_url"].to_pylist()], []

    def _ask(self, groups: Sequence[tuple[Position, ...]]) -> tuple[list[_Answer], list[Query]]:
        """Return what is known of each group, and what was asked."""
        answers = list(in_parallel(self.name, self._allowed, groups))
        found = [(group, answer[0] if answer else None) for group, answer in zip(groups, answers, strict=True)]
        return found, [answer[1] for answer in answers if answer]

    def _allowed(self, group: tuple[Position, ...]) -> tuple[pa.Table, Query] | None:
        try:
            return self._around(group)
        except ArchiveUnavailable:
            raise
        except ArchiveError:  # a service need not know circles; a point is known to work
            if len(group) == 1:
                raise
            return None

    def _around(self, group: tuple[Position, ...]) -> tuple[pa.Table, Query]:
        ra, dec, reach = circle_around(group) if len(group) > 1 else (*group[0], 0.0)
        inside = f"CONTAINS(POINT('ICRS', {ra!r}, {dec!r}), p.poly)"
        if reach + self.radius_deg > 0.0:
            inside = f"INTERSECTS(CIRCLE('ICRS', {ra!r}, {dec!r}, {reach + self.radius_deg!r}), p.poly)"
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


def _all_drawn(table: pa.Table) -> bool:
    """Return whether every image has a polygon that says where it is."""
    return table.num_rows == 0 or all(_region(poly) for poly in table["poly"].to_pylist())


def _region(poly: object) -> str:
    """Return a polygon's text; empty where the service gives it in a form that says nothing outside its database."""
    if isinstance(poly, (list, tuple)) and len(poly) >= 6:
        return "POLYGON ICRS " + " ".join(repr(float(angle)) for angle in poly)
    return poly if isinstance(poly, str) and re.match(r"\s*polygon\b", poly, re.IGNORECASE) else ""
