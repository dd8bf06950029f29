"""A reference for the tests of this room, by spherical trigonometry: no vectors, no projection, no prefilter."""

from types import SimpleNamespace

import numpy as np
import pytest


def separation(ra, dec, ra2, dec2):
    """Radians between positions in degrees (haversine)."""
    ra, dec, ra2, dec2 = (np.radians(np.asarray(v, dtype=float)) for v in (ra, dec, ra2, dec2))
    h = np.sin((dec2 - dec) / 2) ** 2 + np.cos(dec) * np.cos(dec2) * np.sin((ra2 - ra) / 2) ** 2
    return 2 * np.arcsin(np.sqrt(np.minimum(h, 1)))


def bearing(ra, dec, ra2, dec2):
    """Radians east of north at which the second position is seen from the first."""
    ra, dec, ra2, dec2 = (np.radians(np.asarray(v, dtype=float)) for v in (ra, dec, ra2, dec2))
    half = np.sin((ra2 - ra) / 2) ** 2
    north = np.sin(dec2 - dec) + 2 * np.sin(dec) * np.cos(dec2) * half
    return np.arctan2(np.sin(ra2 - ra) * np.cos(dec2), north)


def move(ra, dec, angle, distance):
    """Positions (degrees) reached from one position at a bearing and a distance, both in radians."""
    ra, dec = np.radians(ra), np.radians(dec)
    toward = np.cos(dec) * np.cos(distance) - np.sin(dec) * np.sin(distance) * np.cos(angle)
    east = np.sin(angle) * np.sin(distance)
    north = np.sin(dec) * np.cos(distance) + np.cos(dec) * np.sin(distance) * np.cos(angle)
    return np.degrees(ra + np.arctan2(east, toward)) % 360.0, np.degrees(np.arctan2(north, np.hypot(toward, east)))


def in_polygon(ra, dec, ra_vertices, dec_vertices):
    """Whether each point sees the outline turn around it an odd number of times.

    The outline must be narrower than 90 degrees: a point also sees what turns around the point opposite to it.
    """
    ra, dec = np.asarray(ra)[:, None], np.asarray(dec)[:, None]
    seen = bearing(ra, dec, np.asarray(ra_vertices), np.asarray(dec_vertices))
    turns = (np.roll(seen, -1, axis=1) - seen + np.pi) % (2 * np.pi) - np.pi
    windings = np.rint(turns.sum(axis=1) / (2 * np.pi)).astype(int)
    return (windings % 2 == 1) & (separation(ra, dec, ra_vertices[0], dec_vertices[0])[:, 0] < np.pi / 2)


def distance_to_outline(ra, dec, ra_vertices, dec_vertices):
    """Radians from each point to the nearest point of any edge, by looking along it in ever smaller steps."""
    ra, dec = np.asarray(ra)[:, None], np.asarray(dec)[:, None]
    nearest = np.full(len(ra), np.inf)
    for i in range(len(ra_vertices)):
        a = (ra_vertices[i - 1], dec_vertices[i - 1])
        b = (ra_vertices[i], dec_vertices[i])
        length, angle = separation(*a, *b), bearing(*a, *b)
        best, width = np.full((len(ra), 1), 0.5), 0.5
        while width > 1e-7:
            along = np.clip(best + np.linspace(-width, width, 31), 0, 1)
            distance = separation(ra, dec, *move(*a, angle, along * length))
            best = np.take_along_axis(along, distance.argmin(axis=1)[:, None], axis=1)
            nearest = np.minimum(nearest, distance.min(axis=1))
            width /= 10
    return nearest


@pytest.fixture(scope="session")
def sphere():
    """The functions of the reference."""
    return SimpleNamespace(
        separation=separation, bearing=bearing, move=move, in_polygon=in_polygon, distance_to_outline=distance_to_outline
    )
