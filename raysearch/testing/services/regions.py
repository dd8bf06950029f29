"""Regions of the sphere as archives write them, and whether they hold a point or touch each other (for the server process).

Written apart from `raysearch.sky`, so that neither hides the other's mistakes. Everything in degrees, ICRS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

Vector = tuple[float, float, float]

SAMPLES = 64
"""Points on each side of a range, whose sides along parallels are no great circles."""


@dataclass(frozen=True, slots=True)
class Region:
    """A point, circle, polygon or range; a point is a circle without a radius."""

    kind: str
    vertices: tuple[Vector, ...]
    """The centre of a circle, the corners of a polygon, points on the border of a range."""
    radius: float = 0.0
    limits: tuple[float, float, float, float] | None = None
    """Of a range: right ascension from and to, declination from and to."""

    @property
    def centre(self) -> Vector:
        """The direction of the vertices' mean."""
        return _unit(tuple(sum(parts) for parts in zip(*self.vertices, strict=True)))


@lru_cache(maxsize=100_000)
def parse(text: str) -> Region:
    """Return the region of a text such as `CIRCLE ICRS 10 20 0.1`, `POLYGON 1 2 3 4 5 6`, `POINT 1 2`, `RANGE 1 2 3 4`.

    Raises
    ------
    ValueError
        It is none of these, or has a wrong number of coordinates, or one beyond the sphere.
    """
    kind, *words = text.upper().replace(",", " ").split() or [""]
    if words and words[0] in {"ICRS", "J2000", "FK5", "GSC1"}:
        del words[0]
    try:
        numbers = [float(word) for word in words]
    except ValueError as exc:
        raise ValueError(f"not a region: {text[:80]!r}") from exc
    if kind == "POINT" and len(numbers) == 2:
        return Region(kind, (vector(*numbers),))
    if kind == "CIRCLE" and len(numbers) == 3 and 0 <= numbers[2] <= 180:
        return Region(kind, (vector(*numbers[:2]),), numbers[2])
    if kind == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
        return _polygon(numbers)
    if kind == "RANGE" and len(numbers) == 4:
        return _range(*numbers)
    raise ValueError(f"not a region: {text[:80]!r}")


def vector(ra: float, dec: float) -> Vector:
    """Return the unit vector of a position."""
    if not -90 <= dec <= 90:
        raise ValueError(f"dec value {dec:g} lies outside valid interval [-90, 90]")
    a, d = math.radians(ra), math.radians(dec)
    return math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)


def box(ra: float, dec: float, width: float, height: float) -> str:
    """Return the polygon of a box whose sides are given along the great circles through its centre (ADQL's BOX)."""
    vector(ra, dec)
    corners = []
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        east, north = math.tan(math.radians(x * width / 2)), math.tan(math.radians(y * height / 2))
        below = math.cos(math.radians(dec)) - north * math.sin(math.radians(dec))
        corner_ra = ra + math.degrees(math.atan2(east, below))
        up = math.sin(math.radians(dec)) + north * math.cos(math.radians(dec))
        corners += [corner_ra % 360.0, math.degrees(math.atan2(up, math.hypot(east, below)))]
    return "POLYGON " + " ".join(map(str, corners))


def angle(a: Vector, b: Vector) -> float:
    """Return the angle between two directions, degrees; exact for small ones too."""
    return math.degrees(2 * math.asin(min(1.0, math.dist(a, b) / 2)))


def contains(outer: Region, inner: Region) -> bool:
    """Return whether a region holds a point.

    Raises
    ------
    ValueError
        The inner one is no point.
    """
    if inner.kind != "POINT":
        raise ValueError(f"CONTAINS of a {inner.kind} is not understood, only of a POINT")
    return _holds(outer, inner.vertices[0])


def intersect(one: Region, other: Region) -> bool:
    """Return whether two regions have a point in common."""
    if one.kind in {"CIRCLE", "POINT"} and other.kind in {"CIRCLE", "POINT"}:
        return angle(one.vertices[0], other.vertices[0]) <= one.radius + other.radius
    if one.kind in {"CIRCLE", "POINT"}:
        one, other = other, one
    if other.kind in {"CIRCLE", "POINT"}:
        centre = other.vertices[0]
        return _holds(one, centre) or any(_arc_distance(centre, a, b) <= other.radius for a, b in _edges(one))
    if any(_holds(one, v) for v in other.vertices) or any(_holds(other, v) for v in one.vertices):
        return True
    return any(_cross(a, b, c, d) for a, b in _edges(one) for c, d in _edges(other))


def _polygon(numbers: list[float]) -> Region:
    vertices = [vector(ra, dec) for ra, dec in zip(numbers[::2], numbers[1::2], strict=True)]
    if vertices[0] == vertices[-1]:
        del vertices[-1]
    region = Region("POLYGON", tuple(vertices))
    if len(vertices) < 3 or any(_dot(region.centre, v) < 0.1 for v in vertices):
        raise ValueError("a polygon has three or more corners, and is smaller than a hemisphere")
    return region


def _range(ra1: float, ra2: float, dec1: float, dec2: float) -> Region:
    if not (ra1 <= ra2 and dec1 <= dec2):
        raise ValueError("the limits of a RANGE must increase")
    ra1, ra2, dec1, dec2 = max(ra1, 0.0), min(ra2, 360.0), max(dec1, -90.0), min(dec2, 90.0)
    steps = [i / SAMPLES for i in range(SAMPLES)]
    border = [
        *((ra1 + t * (ra2 - ra1), dec1) for t in steps),
        *((ra2, dec1 + t * (dec2 - dec1)) for t in steps),
        *((ra2 - t * (ra2 - ra1), dec2) for t in steps),
        *((ra1, dec2 - t * (dec2 - dec1)) for t in steps),
    ]
    return Region("RANGE", tuple(vector(ra, dec) for ra, dec in border), limits=(ra1, ra2, dec1, dec2))


def _holds(region: Region, point: Vector) -> bool:
    if region.limits is not None:
        ra1, ra2, dec1, dec2 = region.limits
        ra = math.degrees(math.atan2(point[1], point[0])) % 360.0
        dec = math.degrees(math.asin(max(-1.0, min(1.0, point[2]))))
        return dec1 <= dec <= dec2 and (ra1 <= ra <= ra2 or (ra == 0.0 and ra2 == 360.0))
    if region.kind == "POLYGON":
        return _inside(region, point)
    return angle(region.vertices[0], point) <= region.radius


def _inside(region: Region, point: Vector) -> bool:
    """Return whether a point lies in a polygon: great circles are straight lines in the gnomonic projection about its centre."""
    centre = region.centre
    if _dot(centre, point) <= 0:
        return False
    east = _unit(_cross_product((0.0, 0.0, 1.0) if abs(centre[2]) < 0.9 else (1.0, 0.0, 0.0), centre))
    north = _cross_product(centre, east)

    def flat(v: Vector) -> tuple[float, float]:
        depth = _dot(v, centre)
        return _dot(v, east) / depth, _dot(v, north) / depth

    x, y = flat(point)
    corners = [flat(v) for v in region.vertices]
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside


def _edges(region: Region) -> list[tuple[Vector, Vector]]:
    return list(zip(region.vertices, [*region.vertices[1:], region.vertices[0]], strict=True))


def _arc_distance(point: Vector, a: Vector, b: Vector) -> float:
    """Return the angle from a point to the shorter great-circle arc between two others, degrees."""
    normal = _cross_product(a, b)
    if _dot(normal, normal) == 0:
        return angle(point, a)
    normal = _unit(normal)
    if _dot(_cross_product(normal, a), point) >= 0 and _dot(_cross_product(b, normal), point) >= 0:
        return math.degrees(abs(math.asin(max(-1.0, min(1.0, _dot(point, normal))))))
    return min(angle(point, a), angle(point, b))


def _cross(a: Vector, b: Vector, c: Vector, d: Vector) -> bool:
    """Return whether the arcs ab and cd, each shorter than a half circle, cross."""
    n, m = _cross_product(a, b), _cross_product(c, d)
    meeting = _cross_product(n, m)
    if _dot(meeting, meeting) == 0:
        return False
    sides = (_dot(_cross_product(n, a), meeting), _dot(_cross_product(b, n), meeting))
    others = (_dot(_cross_product(m, c), meeting), _dot(_cross_product(d, m), meeting))
    signs = [*sides, *others]
    return all(s >= 0 for s in signs) or all(s <= 0 for s in signs)


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross_product(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(v: Vector) -> Vector:
    length = math.sqrt(_dot(v, v))
    return v[0] / length, v[1] / length, v[2] / length
