"""Which targets lie in which footprints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from raysearch.errors import ConfigError, TableError
from raysearch.model import Footprint
from raysearch.sky.index import FootprintIndex, Matches
from raysearch.sky.regions import Floats, Regions


def match(ra: ArrayLike, dec: ArrayLike, footprints: Sequence[Footprint | None], radius_deg: float = 0.0) -> Matches:
    """Return which targets lie inside which footprints, or at most `radius_deg` along the sphere outside of them.

    A region holds its boundary: it is taken 1e-6 arcsec larger than it is, so that rounding never decides.

    Parameters
    ----------
    ra, dec
        Positions of the targets, degrees, shape (n,).
    footprints
        None matches nothing.

    Raises
    ------
    TableError
        If a position is not on the sphere.
    ConfigError
        If the radius is not between 0 and 180 degrees.
    """
    checked_radius(radius_deg)
    positions = checked_positions(ra, dec)
    index = FootprintIndex.of(Regions.of(footprints), len(footprints), radius_deg)
    blocks = list(index.match(*positions))
    return blocks[0] if len(blocks) == 1 else Matches.joined(blocks)


def checked_radius(radius_deg: float) -> None:
    """Raise ConfigError if this is no radius on the sphere."""
    if not 0.0 <= radius_deg <= 180.0:
        raise ConfigError(f"the match radius is {radius_deg} deg: it must be between 0 and 180 deg")


def checked_positions(ra: ArrayLike, dec: ArrayLike) -> tuple[Floats, Floats]:
    """Return the positions as arrays, shape (n,).

    Raises
    ------
    TableError
        If one is not on the sphere.
    """
    longitude, latitude = (np.ascontiguousarray(np.ravel(column), dtype=np.float64) for column in (ra, dec))
    bad = np.flatnonzero(~(np.isfinite(longitude) & (np.abs(latitude) <= 90.0)))
    if len(bad):
        raise TableError(f"{len(bad)} targets have no position on the sphere (the first is number {bad[0]}): leave them out")
    return longitude, latitude
