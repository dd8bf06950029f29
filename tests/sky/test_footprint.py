"""Footprints out of text, and what they contain."""

import contextlib
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raysearch.errors import FootprintError
from raysearch.model import Circle, Footprint, Polygon
from raysearch.sky import contains, parse_s_region
from raysearch.sky.regions import Regions, unit_vectors

TRIANGLE = Polygon((1.0, 3.0, 5.0), (2.0, 4.0, 9.0))
OTHER = Polygon((11.0, 13.0, 15.0), (2.0, 4.0, 9.0))
CIRCLE = Circle(1.0, 2.0, 3.0)
ARCSEC = 1 / 3600


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("POLYGON ICRS 1 2 3 4 5 9", [TRIANGLE]),
        ("POLYGON ICRS  1.0 +2. 3e0 4.00 .5E1 9", [TRIANGLE]),
        ("POLYGON 1 2 3 4 5 9", [TRIANGLE]),
        ("Polygon J2000 1 2 3 4 5 9", [TRIANGLE]),
        ("polygon fk5 1 2 3 4 5 9", [TRIANGLE]),
        ("POLYGON GSC1  1  2  3  4  5  9 ", [TRIANGLE]),
        ("Polygon UNKNOWNFrame 1 2 3 4 5 9", [TRIANGLE]),
        ("Polygon ICRS BARYCENTER SPHERICAL2 1 2 3 4 5 9", [TRIANGLE]),
        ("Polygon ICRS GEOCENTER 1 2 3 4 5 9", [TRIANGLE]),
        ("Polygon ICRS TOPOCENTER 1 2 3 4 5 9", [TRIANGLE]),
        ("Polygon ICRS UNKNOWNREFPOS 1 2 3 4 5 9", [TRIANGLE]),
        ("POLYGON\tICRS\n1,2, 3,4, 5,9", [TRIANGLE]),
        ("POLYGON ICRS (1 2, 3 4, 5 9)", [TRIANGLE]),
        ("POLYGON('ICRS', 1, 2, 3, 4, 5, 9)", [TRIANGLE]),
        ("POLYGON ((1 2, 3 4, 5 9, 1 2))", [TRIANGLE]),
        ("POLYGON 1 2 3 4 5 9 1 2", [TRIANGLE]),
        ("POLYGON 1 2 1 2 3 4 3 4 3 4 5 9 1 2 1 2", [TRIANGLE]),
        ("POLYGON 361 2 -357 4 725 9", [TRIANGLE]),
        ("POLYGON ICRS 1 2 3 4 5 9 POLYGON ICRS 11 2 13 4 15 9", [TRIANGLE, OTHER]),
        ("POLYGON 1 2 3 4 5 9 11 2 13 4 15 9", [Polygon(TRIANGLE.ra + OTHER.ra, TRIANGLE.dec + OTHER.dec)]),
        ("UNION ICRS ( POLYGON 1 2 3 4 5 9 POLYGON 11 2 13 4 15 9 )", [TRIANGLE, OTHER]),
        ("Union ICRS (Circle 1 2 3 Union (Polygon 1 2 3 4 5 9))", [CIRCLE, TRIANGLE]),
        ("UNION (POLYGON ICRS 1 2 3 4 5 9, CIRCLE FK5 1 2 3)", [TRIANGLE, CIRCLE]),
        ("MULTIPOLYGON ICRS (((1 2, 3 4, 5 9)), ((11 2, 13 4, 15 9)))", [TRIANGLE, OTHER]),
        ("MULTIPOLYGON ((1 2, 3 4, 5 9), (11 2, 13 4, 15 9))", [TRIANGLE, OTHER]),
        ("MULTIPOLYGON ((1 2, 3 4, 5 9))", [TRIANGLE]),
        ("MULTIPOLYGON 1 2 3 4 5 9", [TRIANGLE]),
        ("CIRCLE ICRS  1 2 3", [CIRCLE]),
        ("CIRCLE('ICRS', 1, 2, 3)", [CIRCLE]),
        ("circle 361 2 3", [CIRCLE]),
        ("CIRCLE 1 2 3 POLYGON 1 2 3 4 5 9", [CIRCLE, TRIANGLE]),
    ],
)
def test_forms_that_archives_write(text, shapes):
    assert parse_s_region(text).shapes == tuple(shapes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with one of POLYGON"),
        ("1 2 3 4 5 6", "must begin with one of POLYGON"),
        ("ELLIPSE ICRS 1 2 3 4 5", "must begin with one of POLYGON"),
        ("POLYGON FK4 1 2 3 4 5 9", "cannot read 'FK4': the shapes are"),
        ("POLYGON ICRS 1 2 nan 4 5 9", "cannot read 'NAN'"),
        ("POLYGON ICRS 1 2 -inf 4 5 9", "cannot read '-INF'"),
        ("POLYGON ICRS 1 2 1e999 4 5 9", "must be finite"),
        ("POLYGON ICRS 1 2 3 4 5", "5 numbers: they must be pairs"),
        ("POLYGON ICRS 1 2 3 4", "2 distinct vertices: it needs 3"),
        ("POLYGON ICRS 1 2 3 4 1 2 3 4 361 2", "2 distinct vertices: it needs 3"),
        ("POLYGON ICRS 0 90 120 90 240 90", "1 distinct vertices: it needs 3"),
        ("POLYGON", "0 distinct vertices"),
        ("POLYGON 1 2 3 4 5 90.1", "declination of 90.1: it must be between"),
        ("POLYGON 1 2 1 3 1 4", "lie on one line"),
        ("POLYGON 10 0 11 0 10 0 12 0", "lie on one line"),
        ("POLYGON 0 0 120 0 240 0", "split it into smaller ones"),
        ("POLYGON 0 0 180 0 90 1", "split it into smaller ones"),
        ("CIRCLE 1 2", "2 numbers: it must be ra, dec and radius"),
        ("CIRCLE 1 2 3 4", "4 numbers"),
        ("CIRCLE 1 2 0", "radius 0: it must be over 0"),
        ("CIRCLE 1 2 -3", "radius -3"),
        ("CIRCLE 1 2 181", "radius 181"),
        ("CIRCLE 1 95 1", "declination of 95"),
        ("BOX 1 2 3", "3 numbers: it must be ra, dec, width and height"),
        ("BOX 1 2 3 0", "sides of a box"),
        ("BOX 1 2 180 1", "sides of a box"),
        ("POLYGON ((1 2, 3 4, 5 9), (1 2, 2 3, 2 5))", "holes are not supported"),
        ("MULTIPOLYGON (((1 2, 3 4, 5 9), (1 2, 2 3, 2 5)))", "holes are not supported"),
        ("UNION POLYGON 1 2 3 4 5 9", "in one pair of parentheses"),
        ("INTERSECTION (CIRCLE 1 2 3 CIRCLE 2 2 3)", "must begin with"),
        ("UNION (NOT CIRCLE 1 2 3)", "must begin with"),
        ("POLYGON (1 2 3 4 5 9", "not closed"),
        ("POLYGON 1 2 3 4 5 9)", "')' at character 20 is out of place"),
        ("POLYGON 1 2; 3 4; 5 9", "';' at character 12"),
        ("POLYGON 1.2.3 4 5 6 7 8", "out of place"),
        ("(" * 5000, "'(' at character 9 is out of place"),
    ],
)
def test_text_that_is_no_footprint(text, reason):
    with pytest.raises(FootprintError, match=re.escape(reason)) as caught:
        parse_s_region(text)
    assert str(caught.value).startswith(f"footprint {text[:40]!r}"[:-1])
    assert len(str(caught.value)) < 350


@given(st.text(alphabet="POLYGNCIRUEBX ICRS()12.9-+e,'\n", max_size=60))
def test_any_text_gives_a_footprint_or_our_error(text):
    with contextlib.suppress(FootprintError):
        assert parse_s_region(text).shapes


@pytest.mark.parametrize("frame", ["GALACTIC", "galactic_ii"])
def test_galactic_coordinates_are_converted(frame):
    (circle,) = parse_s_region(f"CIRCLE {frame} 0 0 1").shapes
    assert (circle.ra, circle.dec, circle.radius) == (pytest.approx(266.40499, abs=1e-5), pytest.approx(-28.93617, abs=1e-5), 1)
    united = parse_s_region(f"UNION {frame} (CIRCLE 0 0 1 CIRCLE ICRS 0 0 1)").shapes
    assert united == (circle, Circle(0.0, 0.0, 1.0))


def test_a_box_reaches_half_its_sides_from_its_centre(sphere):
    for ra, dec in ((10.0, 20.0), (0.0, -60.0), (200.0, 89.9)):
        box = parse_s_region(f"BOX ICRS {ra} {dec} 2 4")
        for angle, half in ((0, 2), (90, 1), (180, 2), (270, 1)):
            near, far = (sphere.move(ra, dec, np.radians(angle), np.radians(half + d)) for d in (-1e-7, 1e-7))
            assert contains(box, *near).all()
            assert not contains(box, *far).any()


def star(sphere, centre, size, corners, seed):
    """A concave outline around a position, and points in and around it; `size` in degrees."""
    rng = np.random.default_rng(seed)
    angles = (np.arange(corners) + rng.uniform(0, 0.8, corners)) * 2 * np.pi / corners
    outline = sphere.move(*centre, angles, np.radians(size) * rng.uniform(0.2, 1, corners))
    points = sphere.move(*centre, rng.uniform(0, 2 * np.pi, 200), np.radians(size) * rng.uniform(0, 1.3, 200))
    return outline, points


centres = st.tuples(
    st.one_of(st.sampled_from([0.0, 359.9999, 1e-6, 180.0]), st.floats(0, 359.99)),
    st.one_of(st.sampled_from([0.0, 90.0, -90.0, 89.9999, -89.9]), st.floats(-90, 90)),
)
sizes = st.sampled_from([0.01 * ARCSEC, ARCSEC, 9 * ARCSEC, 0.1, 3.5, 40.0])
stars = {"centre": centres, "size": sizes, "corners": st.integers(3, 12), "seed": st.integers(0, 10_000)}


@settings(max_examples=300, deadline=None)
@given(**stars)
def test_polygons_contain_what_the_reference_says(sphere, centre, size, corners, seed):
    (ra, dec), points = star(sphere, centre, size, corners, seed)
    # Near a pole, text and float64 round a tiny outline to another one: both sides see that one.
    text = " ".join(f"{r!r} {d!r}" for r, d in zip(ra.tolist(), dec.tolist(), strict=True))
    try:
        footprint = parse_s_region(f"POLYGON ICRS {text}")
    except FootprintError:
        assume(False)
    (polygon,) = footprint.shapes
    ra, dec = points
    wrong = contains(footprint, ra, dec) != sphere.in_polygon(ra, dec, polygon.ra, polygon.dec)
    from_outline = sphere.distance_to_outline(ra[wrong], dec[wrong], polygon.ra, polygon.dec)
    assert (np.degrees(from_outline) < 1.01e-6 * ARCSEC).all(), "only points within the tolerance may differ"


@settings(max_examples=100, deadline=None)
@given(**stars)
def test_neither_winding_nor_first_vertex_nor_closing_matters(sphere, centre, size, corners, seed):
    (ra, dec), points = star(sphere, centre, size, corners, seed)
    outlines = [(ra, dec), (ra[::-1], dec[::-1]), (np.roll(ra, 2), np.roll(dec, 2)), (np.append(ra, ra[0]), np.append(dec, dec[0]))]
    results = []
    for outline in outlines:
        text = " ".join(f"{r!r} {d!r}" for r, d in zip(*(o.tolist() for o in outline), strict=True))
        try:
            results.append(contains(parse_s_region(f"POLYGON {text}"), *points))
        except FootprintError:
            assume(False)
    assert all((result == results[0]).all() for result in results)


@settings(max_examples=100, deadline=None)
@given(**stars)
def test_vertices_and_points_of_edges_are_inside(sphere, centre, size, corners, seed):
    (ra, dec), _ = star(sphere, centre, size, corners, seed)
    footprint = Footprint((Polygon(tuple(ra), tuple(dec)),))
    assert contains(footprint, ra, dec).all()
    vertices = unit_vectors(ra, dec)
    middles = vertices + np.roll(vertices, -1, axis=0)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    assert Regions.of([footprint]).holds(np.zeros(len(ra), dtype=np.int64), middles).all()


def test_precision_at_the_edge_of_an_arcsecond_polygon():
    half = 4.5 * ARCSEC
    for ra, dec in ((0.0, 0.0), (359.9999, 0.0), (123.4, 0.0), (123.4, 57.0)):
        east = half / np.cos(np.radians(dec))
        box = Footprint((Polygon((ra - east, ra + east, ra + east, ra - east), (dec - half, dec - half, dec + half, dec + half)),))
        step = 3e-6 * ARCSEC  # larger than the tolerance
        steps = np.array([-1, 1, -1, 1]) * step
        edge = np.array([half, half, -half, -half])
        inside = np.array([True, False, False, True])
        assert (contains(box, np.full(4, ra) + (edge + steps) / np.cos(np.radians(dec)), np.full(4, dec)) == inside).all()


def test_a_polygon_around_a_pole_contains_it():
    cap = parse_s_region("POLYGON 0 80 90 80 180 80 270 80")
    assert contains(cap, [0, 77, 45, 45, 45, 0], [90, 90, 83.1, 82.8, -83.1, -90]).tolist() == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_edges_are_great_circles():
    wide = parse_s_region("POLYGON 0 40 60 40 60 50 0 50")
    # Halfway, the great circle between two points at declination 40 is at 44.09; at 50 it is at 53.99.
    assert contains(wide, [30] * 4, [44.0, 44.2, 53.9, 54.1]).tolist() == [False, True, True, False]


def test_ra_zero_is_no_edge():
    box = parse_s_region("POLYGON 359 -1 1 -1 1 1 359 1")
    assert contains(box, [0, 359.5, 0.5, 180, 90, 358.9], [0] * 6).tolist() == [True, True, True, False, False, False]


def test_an_outline_that_crosses_itself_follows_the_even_odd_rule():
    bow_tie = parse_s_region("POLYGON 0 0 2 2 2 0 0 2")
    assert contains(bow_tie, [0.2, 1.8, 1.0, 1.0], [1, 1, 0.2, 1.8]).tolist() == [True, True, False, False]
    pentagram = parse_s_region("POLYGON 0 1 0.588 -0.809 -0.951 0.309 0.951 0.309 -0.588 -0.809")
    assert contains(pentagram, [0, 0], [0, 0.8]).tolist() == [False, True]


def test_outlines_nearly_as_wide_as_a_hemisphere():
    text = "POLYGON 0 5 60 5 120 5 180 5 240 5 300 5"
    assert contains(parse_s_region(text), [0, 30, 30, 200], [90, 6, 4, -90]).tolist() == [True, True, False, False]
    lopsided = "POLYGON 0 0 1 0 2 0 3 0 4 0 5 0 160 0 80 20"
    assert contains(parse_s_region(lopsided), [80, 80, 80, 260], [10, 21, -1, -10]).tolist() == [True, False, False, False]


def test_circles():
    for ra, dec, radius in ((0.0, 0.0, 1.0), (10.0, 90.0, 5.0), (359.0, -89.0, 3.0), (40.0, 40.0, 120.0), (7.0, 7.0, 180.0)):
        rng = np.random.default_rng(5)
        points = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
        a = unit_vectors(*points) @ unit_vectors(ra, dec)
        inside = contains(Footprint((Circle(ra, dec, radius),)), *points)
        assert (inside == (np.degrees(np.arccos(np.clip(a, -1, 1))) <= radius)).all()


def test_a_point_opposite_to_a_polygon_is_outside():
    box = parse_s_region("POLYGON 9 -1 11 -1 11 1 9 1")
    assert not contains(box, [190, 190.5, 100], [0, 0.2, 0]).any()
