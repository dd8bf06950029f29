"""Footprints out of `s_region` text: STC-S as archives write it, with its ADQL and well-known-text cousins.

`POLYGON`, `MULTIPOLYGON`, `CIRCLE`, `BOX` and `UNION ( ... )` are read, in any letter case, with or without commas, parentheses and
quotes. Vertices may be wound either way, repeated, closed or not.

Edges are great circles and the inside is the smaller side; of an outline that crosses itself, the inside is what the even-odd rule
says. FK5, J2000, GSC1, unknown and unnamed frames are taken as ICRS, from which they differ by less than the pointing does.
A box has great-circle sides, which pass half its width and height from its centre.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.errors import FootprintError
from raysearch.model import Circle, Footprint, Polygon
from raysearch.sky.regions import TOLERANCE, Regions, middle, unit_vectors

Item: TypeAlias = "str | float | list[Item]"
"""A word in capitals, a number, or what stands in a pair of parentheses."""

Vector: TypeAlias = tuple[float, float, float]

_TOKEN = re.compile(
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<word>[-+]?[A-Za-z]\w*)|(?P<open>\()|(?P<close>\))"
    r"|[\s,'\"]+|(?P<other>\S)"
)
_ICRS_LIKE = frozenset({"ICRS", "FK5", "J2000", "GSC1", "UNKNOWNFRAME"})
_GALACTIC = frozenset({"GALACTIC", "GALACTIC_II"})
_NO_MATTER = frozenset({"BARYCENTER", "GEOCENTER", "HELIOCENTER", "TOPOCENTER", "UNKNOWNREFPOS", "SPHERICAL2"})
_DEEPEST = 8
"""Parentheses within parentheses; a well-known-text polygon in a union needs four."""


def parse_s_region(text: str) -> Footprint:
    """Return the footprint that an `s_region` describes.

    Raises
    ------
    FootprintError
        If the text cannot be read, or bounds no region.
    """
    try:
        return Footprint(tuple(_shapes(_tree(text), galactic=False)))
    except FootprintError as flaw:
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise FootprintError(f"footprint {shown!r}: {flaw}") from None


def readable_footprint(text: str) -> Footprint:
    """Return the footprint that an `s_region` describes; one without shapes where it cannot be read."""
    try:
        return parse_s_region(text)
    except FootprintError:
        return Footprint(())


def contains(footprint: Footprint, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Return whether each position (degrees) lies in the footprint or on its boundary (to 1e-6 arcsec), shape (n,)."""
    regions = Regions.of([footprint])
    points = unit_vectors(ra, dec).reshape(-1, 3)
    inside = np.zeros(len(points), dtype=np.bool_)
    for shape in range(len(regions.owner)):
        inside |= regions.holds(np.full(len(points), shape), points)
    return inside


def _tree(text: str) -> list[Item]:
    """Return the words and numbers of the text, with lists where it has parentheses."""
    levels: list[list[Item]] = [[]]
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "number":
            levels[-1].append(float(token[0]))
        elif kind == "word":
            levels[-1].append(token[0].upper())
        elif kind == "open" and len(levels) <= _DEEPEST:
            inner: list[Item] = []
            levels[-1].append(inner)
            levels.append(inner)
        elif kind == "close" and len(levels) > 1:
            levels.pop()
        elif kind is not None:
            raise FootprintError(f"{token[0]!r} at character {token.start() + 1} is out of place")
    if len(levels) > 1:
        raise FootprintError("a parenthesis is not closed")
    return levels[0]


def _shapes(items: Sequence[Item], galactic: bool) -> Iterator[Polygon | Circle]:
    """Yield every shape, each from its own word to the next one's."""
    heads = [i for i, item in enumerate(items) if isinstance(item, str) and item in _MAKERS]
    if not heads or heads[0] > 0:
        raise FootprintError(f"it must begin with one of {', '.join(_MAKERS)}")
    for head, end in zip(heads, [*heads[1:], len(items)], strict=True):
        name = str(items[head])
        own_frame, arguments = _frame(items[head + 1 : end], galactic)
        yield from _MAKERS[name](arguments, own_frame)


def _frame(items: Sequence[Item], galactic: bool) -> tuple[bool, list[Item]]:
    """Return whether the frame is galactic, and the items without the words."""
    arguments: list[Item] = []
    for item in items:
        if not isinstance(item, str):
            arguments.append(item)
        elif item in _ICRS_LIKE or item in _GALACTIC:
            galactic = item in _GALACTIC
        elif item not in _NO_MATTER:
            raise FootprintError(
                f"cannot read {item!r}: the shapes are {', '.join(_MAKERS)}, the frames ICRS, FK5, J2000, GSC1, GALACTIC, "
                "and coordinates are finite numbers"
            )
    return galactic, arguments


def _numbers(items: Sequence[Item], galactic: bool) -> tuple[bool, list[float]]:
    """Return whether the frame is galactic, and the numbers of one shape, out of the parentheses they may stand in."""
    galactic, arguments = _frame(items, galactic)
    if len(arguments) == 1 and isinstance(arguments[0], list):
        return _numbers(arguments[0], galactic)
    numbers = [a for a in arguments if isinstance(a, float)]
    if len(numbers) < len(arguments):
        raise FootprintError("a polygon has several outlines: holes are not supported, write separate polygons")
    if not all(map(math.isfinite, numbers)):
        raise FootprintError("coordinates must be finite numbers")
    return galactic, numbers


def _union(items: Sequence[Item], galactic: bool) -> Iterator[Polygon | Circle]:
    """Yield the shapes of a union."""
    if len(items) != 1 or not isinstance(items[0], list):
        raise FootprintError("the shapes of a UNION must stand in one pair of parentheses")
    yield from _shapes(items[0], galactic)


def _polygon(items: Sequence[Item], galactic: bool) -> Iterator[Polygon]:
    """Yield one polygon."""
    galactic, numbers = _numbers(items, galactic)
    if len(numbers) % 2:
        raise FootprintError(f"a polygon of {len(numbers)} numbers: they must be pairs of ra and dec")
    yield _outline(_positions(numbers[::2], numbers[1::2], galactic))


def _multipolygon(items: Sequence[Item], galactic: bool) -> Iterator[Polygon]:
    """Yield one polygon for each pair of parentheses."""
    if len(items) == 1 and isinstance(items[0], list) and any(isinstance(i, list) for i in items[0]):
        galactic, items = _frame(items[0], galactic)
    for item in items if all(isinstance(i, list) for i in items) and items else [list(items)]:
        yield from _polygon([item], galactic)


def _circle(items: Sequence[Item], galactic: bool) -> Iterator[Circle]:
    """Yield one circle."""
    galactic, numbers = _numbers(items, galactic)
    if len(numbers) != 3:
        raise FootprintError(f"a circle of {len(numbers)} numbers: it must be ra, dec and radius")
    if not 0.0 < numbers[2] <= 180.0:
        raise FootprintError(f"a circle of radius {numbers[2]:g}: it must be over 0 and at most 180 degrees")
    ((ra, dec),) = _positions(numbers[:1], numbers[1:2], galactic)
    yield Circle(ra, dec, numbers[2])


def _box(items: Sequence[Item], galactic: bool) -> Iterator[Polygon]:
    """Yield a box as a polygon; the corners are found in the plane that touches at its centre."""
    galactic, numbers = _numbers(items, galactic)
    if len(numbers) != 4:
        raise FootprintError(f"a box of {len(numbers)} numbers: it must be ra, dec, width and height")
    if not all(0.0 < size < 180.0 for size in numbers[2:]):
        raise FootprintError("the sides of a box must be over 0 and under 180 degrees")
    ((ra, dec),) = _positions(numbers[:1], numbers[1:2], galactic=False)
    half_width, half_height = (math.tan(math.radians(size / 2.0)) for size in numbers[2:])
    longitude, latitude = math.radians(ra), math.radians(dec)
    centre = np.array(_vector((ra, dec)))
    east = np.array((-math.sin(longitude), math.cos(longitude), 0.0))
    north = np.array((-math.sin(latitude) * math.cos(longitude), -math.sin(latitude) * math.sin(longitude), math.cos(latitude)))
    corners = [centre + i * half_width * east + j * half_height * north for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    ras = [math.degrees(math.atan2(y, x)) for x, y, _ in corners]
    decs = [math.degrees(math.atan2(z, math.hypot(x, y))) for x, y, z in corners]
    yield _outline(_positions(ras, decs, galactic))


_MAKERS: dict[str, Callable[[Sequence[Item], bool], Iterator[Polygon | Circle]]] = {
    "POLYGON": _polygon,
    "MULTIPOLYGON": _multipolygon,
    "CIRCLE": _circle,
    "BOX": _box,
    "UNION": _union,
}


def _positions(ra: Sequence[float], dec: Sequence[float], galactic: bool) -> list[tuple[float, float]]:
    """Return positions in ICRS degrees with 0 <= ra < 360, and ra = 0 at the poles, where it means nothing."""
    for value in dec:
        if abs(value) > 90.0:
            raise FootprintError(f"a declination of {value:g}: it must be between -90 and 90 degrees")
    if galactic:
        from astropy.coordinates import SkyCoord

        icrs = SkyCoord(ra, dec, unit="deg", frame="galactic").icrs
        ra, dec = icrs.ra.deg.tolist(), icrs.dec.deg.tolist()
    # A tiny negative ra becomes 360.0 at the first remainder.
    return [(r % 360.0 % 360.0 if abs(d) < 90.0 else 0.0, d) for r, d in zip(ra, dec, strict=True)]


def _outline(vertices: list[tuple[float, float]]) -> Polygon:
    """Return the polygon, without vertices that repeat their neighbour and without the one that closes it."""
    distinct = [v for v, following in zip(vertices, [*vertices[1:], *vertices[:1]], strict=True) if v != following]
    if len(set(distinct)) < 3:
        raise FootprintError(f"a polygon of {len(set(vertices))} distinct vertices: it needs 3")
    _require_area([_vector(v) for v in distinct])
    return Polygon(tuple(v[0] for v in distinct), tuple(v[1] for v in distinct))


def _require_area(vertices: list[Vector]) -> None:
    """Raise where the vertices lie on one great circle, or fit in no hemisphere."""
    origin = vertices[0]
    offsets = [(x - origin[0], y - origin[1], z - origin[2]) for x, y, z in vertices]
    squares = [x * x + y * y + z * z for x, y, z in offsets]
    if max(squares) > 1.0:  # some vertex is over 60 degrees from the first
        middle(np.array(vertices))
    pole = _cross(origin, offsets[squares.index(max(squares))])
    farthest = max(abs(x * pole[0] + y * pole[1] + z * pole[2]) for x, y, z in offsets)
    if farthest <= TOLERANCE * math.hypot(*pole):
        raise FootprintError("the vertices lie on one line, which bounds no region")


def _vector(position: tuple[float, float]) -> Vector:
    """Return a position in degrees as a unit vector; a few numbers are quicker without NumPy."""
    longitude, latitude = math.radians(position[0]), math.radians(position[1])
    return math.cos(latitude) * math.cos(longitude), math.cos(latitude) * math.sin(longitude), math.sin(latitude)


def _cross(one: Vector, other: Vector) -> Vector:
    """Return the vector product."""
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
