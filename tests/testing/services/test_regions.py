"""Regions of the embedded archive, against astropy's angles."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.testing.services import regions
from raysearch.testing.services.regions import contains, intersect, parse

RA = st.floats(0, 360)
DEC = st.floats(-89.9, 89.9)
SMALL = st.floats(0.001, 5)


@settings(deadline=None)
@given(RA, DEC, RA, DEC)
def test_angles_are_those_of_astropy(ra1, dec1, ra2, dec2):
    expected = np.degrees(angular_separation(*np.radians([ra1, dec1, ra2, dec2])))
    assert regions.angle(regions.vector(ra1, dec1), regions.vector(ra2, dec2)) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(RA, DEC, SMALL, st.floats(0, 360), st.floats(0, 2))
def test_a_box_holds_what_is_nearer_than_half_its_side(ra, dec, size, angle, fraction):
    box = parse(regions.box(ra, dec, size, size))
    point = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(angle * u.deg, fraction * size / 2 * u.deg)
    inside = contains(box, parse(f"POINT {point.ra.deg} {point.dec.deg}"))
    if fraction < 0.99:
        assert inside
    if fraction > 1.45:
        assert not inside


@settings(deadline=None)
@given(RA, DEC, SMALL, SMALL, st.floats(0, 360), st.floats(0.1, 3))
def test_circles_meet_boxes_as_points_of_them_do(ra, dec, size, radius, angle, reach):
    box = parse(regions.box(ra, dec, size, size))
    away = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(angle * u.deg, (radius + reach * size / 2) * u.deg)
    circle = parse(f"CIRCLE {away.ra.deg} {away.dec.deg} {radius}")
    if reach < 0.99:
        assert intersect(circle, box)
    if reach > 1.45:
        assert not intersect(box, circle)


def test_forms():
    assert parse("POLYGON ICRS  1 1 2 1 2 2 1 2 1 1") == parse("Polygon 1 1 2 1 2 2 1 2")
    assert contains(parse("CIRCLE ICRS 359.9 0 0.3"), parse("POINT 0.1 0"))
    assert contains(parse("POLYGON 359 -1 1 -1 1 1 359 1"), parse("POINT 0 0"))
    assert not contains(parse("POLYGON 359 -1 1 -1 1 1 359 1"), parse("POINT 180 0"))


@pytest.mark.parametrize(
    "text",
    ["", "POLYGON 1 2 3 4", "CIRCLE 1 2", "CIRCLE 1 2 -3", "POINT a b", "UNION (1)", "RANGE 3 1 0 1", "POLYGON 0 0 120 0 240 0"],
)
def test_what_is_no_region(text):
    with pytest.raises(ValueError, match=r"not a region|polygon has|must increase"):
        parse(text)


def test_polygons_that_cross_without_a_corner_in_the_other():
    wide, high = parse("POLYGON 350 -1 10 -1 10 1 350 1"), parse("POLYGON 359 -10 1 -10 1 10 359 10")
    assert intersect(wide, high)
    assert intersect(high, wide)
    assert not intersect(wide, parse("POLYGON 11 -10 13 -10 13 10 11 10"))


def test_ranges():
    box = parse("RANGE 10 20 -5 5")
    assert contains(box, parse("POINT 15 4.9"))
    assert not contains(box, parse("POINT 15 5.1"))
    assert intersect(box, parse("CIRCLE 21 0 1.1"))
    assert not intersect(box, parse("CIRCLE 21 0 0.9"))
    assert intersect(box, parse("POLYGON 14 -1 16 -1 16 1 14 1"))  # within
    assert intersect(box, parse("POLYGON 0 -20 40 -20 40 20 0 20"))  # around
    assert intersect(box, parse("POLYGON 5 -1 25 -1 25 1 5 1"))  # across, without a corner in the other
    assert not intersect(box, parse("POLYGON 25 -1 27 -1 27 1 25 1"))
    assert contains(parse("RANGE 0 360 80 90"), parse("POINT 200 85"))
