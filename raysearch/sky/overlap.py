"""How much of a place on the sky footprints cover, and share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysearch.model import Footprint
from raysearch.sky.regions import Bools, Floats, Regions, unit_vectors

POINTS = 97
"""In a disc: a share of its area is told to about a hundredth."""


def covered(footprints: Sequence[Footprint], ra: float, dec: float, radius_deg: float) -> Bools:
    """Return which points of a disc each footprint holds, shape (footprints, POINTS).

    Each point stands for the same area of the disc around (ra, dec) (degrees, ICRS), so that the part held is the part covered, and
    the points held by two footprints are the part that they share.
    """
    points = _disc(ra, dec, radius_deg)
    regions = Regions.of(footprints)
    shapes, count = np.arange(len(regions.owner)), len(points)
    held = regions.holds(np.repeat(shapes, count), np.tile(points, (len(shapes), 1))).reshape(len(shapes), count)
    result = np.zeros((len(footprints), count), dtype=np.bool_)
    np.logical_or.at(result, regions.owner, held)
    return result


def _disc(ra: float, dec: float, radius_deg: float) -> Floats:
    """Return points spread evenly over a disc, as the florets of a sunflower (Vogel 1979), as unit vectors of shape (POINTS, 3)."""
    number = np.arange(POINTS)
    distance = np.radians(radius_deg) * np.sqrt((number + 0.5) / POINTS)
    turn = number * np.pi * (3.0 - np.sqrt(5.0))
    centre = unit_vectors(ra, dec)
    longitude = np.radians(ra)
    east = np.array((-np.sin(longitude), np.cos(longitude), 0.0))
    north = np.cross(centre, east)
    aside = np.cos(turn)[:, None] * east + np.sin(turn)[:, None] * north
    return np.asarray(np.cos(distance)[:, None] * centre + np.sin(distance)[:, None] * aside, dtype=np.float64)
