"""What is asked: targets, footprints, observations, and the work list that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Kind = Literal["lines", "images", "pairs"]
"""What a search looks at: lines in spectral cubes, images one by one, or pairs of images."""

Status = Literal["detected", "nothing", "skipped", "failed"]
"""How an observation can end; every observation ends as exactly one of these."""

LIGHT_KM_S = 299_792.458
"""The speed of light, km/s."""

STATUSES: tuple[Status, ...] = ("detected", "nothing", "skipped", "failed")

HIGHEST_REDSHIFT = 30.0
"""Twice that of the farthest galaxies known: what is beyond is a velocity by mistake."""


@dataclass(frozen=True, slots=True)
class Target:
    """A position somebody is interested in."""

    name: str
    """As its catalogue names it; unique within one search."""
    ra: float
    """Right ascension, degrees, ICRS, 0 <= ra < 360."""
    dec: float
    """Declination, degrees, ICRS."""
    redshift: float = 0.0
    """Dimensionless z, so that observed = rest * (1 + z)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A spectral line."""

    name: str
    """Unique within one list, for example `[Fe II] 5.340`."""
    rest_um: float
    """Rest wavelength in vacuum, micrometres."""


@dataclass(frozen=True, slots=True)
class Polygon:
    """A region of the sphere bounded by great-circle edges: of the two sides, the smaller."""

    ra: tuple[float, ...]
    """Right ascensions of the vertices, degrees, ICRS; three or more, the first not repeated at the end."""
    dec: tuple[float, ...]
    """Declinations of the vertices, degrees, ICRS."""


@dataclass(frozen=True, slots=True)
class Circle:
    """A cap of the sphere."""

    ra: float
    """Right ascension of the centre, degrees, ICRS."""
    dec: float
    """Declination of the centre, degrees, ICRS."""
    radius: float
    """Degrees, along the sphere."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What an observation covers: the union of its shapes."""

    shapes: tuple[Polygon | Circle, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What an archive was asked, and how much it answered: kept in run.json."""

    service: str
    """For example `SIMBAD`."""
    url: str
    text: str
    """The query as sent."""
    rows: int
    """Rows that came; a count that differs from what the service says there are is an error, never a Query."""
    seconds: float
    counted: int | None = None
    """Rows the service says there are; None where it was not asked, or cannot tell."""
    reused: str = ""
    """When the kept answer was asked, ISO 8601 UTC; empty where it was asked now."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One row of the work list: one product that may be searched."""

    obs_id: str
    """Unique within a work list, which is sorted by it."""
    uris: tuple[str, ...]
    """Where the product can be had, in order of preference: `s3://`, `https://`, or a path."""
    targets: tuple[Target, ...] = ()
    """The targets inside the footprint, nearest to its centre first."""
    em_min: float = math.nan
    """Shortest wavelength, metres (ObsCore); NaN where the archive does not say."""
    em_max: float = math.nan
    """Longest wavelength, metres (ObsCore)."""
    s_region: str = ""
    """The footprint as the archive gave it (STC-S)."""
    skip: str = ""
    """Why this observation is not read; empty for those that are."""
    partner: tuple[str, ...] = ()
    """Of a pair of images: where the second can be had, in order of preference; empty in every other search."""

    @property
    def uri(self) -> str:
        """The preferred address, or an empty string."""
        return self.uris[0] if self.uris else ""


TARGET_TYPE = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("ra", pa.float64(), nullable=False),
        pa.field("dec", pa.float64(), nullable=False),
        pa.field("redshift", pa.float64(), nullable=False),
    ]
)

WORK_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("uris", pa.list_(pa.string()), nullable=False),
        pa.field("targets", pa.list_(TARGET_TYPE), nullable=False),
        pa.field("em_min", pa.float64(), nullable=False),
        pa.field("em_max", pa.float64(), nullable=False),
        pa.field("s_region", pa.string(), nullable=False),
        pa.field("skip", pa.string(), nullable=False),
        pa.field("partner", pa.list_(pa.string()), nullable=False),
    ]
)
"""The columns of a work list (`observations.arrow`); an archive's own columns may follow. Lists written before there were pairs
lack the last one, and are read with empty lists."""


def observations_to_arrow(observations: Sequence[Observation]) -> pa.Table:
    """Return the work list as an Arrow table with `WORK_SCHEMA`."""
    columns = {
        "obs_id": [o.obs_id for o in observations],
        "uris": [list(o.uris) for o in observations],
        "targets": [[{"name": t.name, "ra": t.ra, "dec": t.dec, "redshift": t.redshift} for t in o.targets] for o in observations],
        "em_min": [o.em_min for o in observations],
        "em_max": [o.em_max for o in observations],
        "s_region": [o.s_region for o in observations],
        "skip": [o.skip for o in observations],
        "partner": [list(o.partner) for o in observations],
    }
    return pa.table(columns, schema=WORK_SCHEMA)


def observations_from_arrow(table: pa.Table) -> list[Observation]:
    """Return the rows of a work list (extra columns are left behind)."""
    return [
        Observation(
            obs_id=row["obs_id"],
            uris=tuple(row["uris"]),
            targets=tuple(Target(**t) for t in row["targets"]),
            em_min=row["em_min"],
            em_max=row["em_max"],
            s_region=row["s_region"],
            skip=row["skip"],
            partner=tuple(row["partner"]),
        )
        for row in table.select(WORK_SCHEMA.names).to_pylist()
    ]
