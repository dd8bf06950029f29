"""Coordinates as people write them."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.archives.coordinates import find_pair, read_angles


def angles(*cells, hours=False, unit=""):
    return read_angles(pa.chunked_array([pa.array(cells)]), "dec", unit, hours=hours)


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["name", "ra", "dec"], ("ra", "dec")),
        (["RA", "DEC"], ("RA", "DEC")),
        (["RAJ2000", "DEJ2000"], ("RAJ2000", "DEJ2000")),
        (["_RAJ2000", "_DEJ2000"], ("_RAJ2000", "_DEJ2000")),
        (["_RA", "_DE"], ("_RA", "_DE")),
        (["RA_ICRS", "DE_ICRS"], ("RA_ICRS", "DE_ICRS")),
        (["ra_deg", "dec_deg"], ("ra_deg", "dec_deg")),
        (["RAdeg", "DEdeg"], ("RAdeg", "DEdeg")),
        (["RA (deg)", "Dec (deg)"], ("RA (deg)", "Dec (deg)")),
        (["s_ra", "s_dec"], ("s_ra", "s_dec")),
        (["ALPHA_J2000", "DELTA_J2000"], ("ALPHA_J2000", "DELTA_J2000")),
        (["targ_ra", "targ_dec"], ("targ_ra", "targ_dec")),
        (["RAJ2000", "DEJ2000", "ra", "dec"], ("ra", "dec")),
        (["ra", "err"], None),
        (["l", "b"], None),
        (["clon", "clat"], None),
        ([], None),
    ],
)
def test_spellings(names, pair):
    assert find_pair(names) == pair


@pytest.mark.parametrize(
    ("cell", "hours", "degrees"),
    [
        ("15:39:27.753", True, 234.8656375),
        ("15 39 27.753", True, 234.8656375),
        ("15h39m27.753s", True, 234.8656375),
        ("15h 39m 27.753s", True, 234.8656375),
        ("234d51m56.295s", True, 234.8656375),
        ("-34:46:17.577", False, -34.771549166666667),
        ("-34 46 17.577", False, -34.771549166666667),
        ("-34d46m17.577s", False, -34.771549166666667),
        ("-34°46'17.577\"", False, -34.771549166666667),
        ("\N{MINUS SIGN}34\N{DEGREE SIGN}46\N{PRIME}17.577\N{DOUBLE PRIME}", False, -34.771549166666667),
        ("+29:18:19.330", False, 29.30536944444444),
        ("-00:30:00", False, -0.5),
        ("12:30", True, 187.5),
        ("12:30.5", False, 12.508333333333333),
        ("=+29:18:19.330", False, 29.30536944444444),
        ('="-00:30:00"', False, -0.5),
        ("10:59:60.0", True, 165.0),
    ],
)
def test_sexagesimal(cell, hours, degrees):
    assert angles(cell, hours=hours).degrees[0] == pytest.approx(degrees, abs=1e-12)


@given(st.floats(0, 359.9999), st.floats(-90, 90))
def test_sexagesimal_comes_back(ra, dec):
    def told(value, places):
        whole, rest = divmod(abs(value) * 3600, 3600)
        minutes, seconds = divmod(rest, 60)
        return f"{'-' if value < 0 else ''}{int(whole):02d}:{int(minutes):02d}:{seconds:0{places + 3}.{places}f}"

    arcsec = 1 / 3600
    got = angles(told(ra / 15, 6), hours=True).degrees[0]
    assert min(abs(got - ra), 360 - abs(got - ra)) < 1e-4 * arcsec
    assert angles(told(dec, 5)).degrees[0] == pytest.approx(dec, abs=1e-4 * arcsec)


@given(st.lists(st.floats(-90, 90), min_size=1))
def test_numbers_are_degrees_as_numbers_and_as_text(values):
    assert angles(*values).degrees.tolist() == values
    assert angles(*(repr(v) for v in values)).degrees.tolist() == values
    assert angles(*(f"  {v!r} " for v in values)).degrees.tolist() == values


@given(st.lists(st.text(max_size=20) | st.none(), min_size=1))
def test_no_text_is_an_accident(cells):
    column = read_angles(pa.chunked_array([pa.array(cells, pa.string())]), "dec", hours=False)
    damaged = {row for rows in column.damage.values() for row in rows}
    assert damaged == set(np.flatnonzero(np.isnan(column.degrees)).tolist())
    assert not np.any(np.abs(column.degrees) > 90)


@pytest.mark.parametrize(
    ("unit", "degrees"),
    [
        ("", 1.5),
        ("deg", 1.5),
        ("DEGREE", 1.5),
        ("hourangle", 22.5),
        ("h", 22.5),
        ("rad", math.degrees(1.5)),
        ("arcsec", 1.5 / 3600),
    ],
)
def test_units_of_numbers(unit, degrees):
    assert angles(1.5, hours=True, unit=unit).degrees[0] == pytest.approx(degrees)
    assert angles("1.5", hours=True, unit=unit).degrees[0] == pytest.approx(degrees)


@pytest.mark.parametrize(("unit", "degrees"), [("", 15.0), ('"h:m:s"', 15.0), ("deg", 1.0), ('"d:m:s"', 1.0)])
def test_units_of_sexagesimal_text(unit, degrees):
    assert angles("01:00:00", hours=True, unit=unit).degrees[0] == degrees


def test_a_unit_of_something_else():
    with pytest.raises(ValueError, match="dec is in 'Jy', which is no unit of an angle"):
        angles(1.0, unit="Jy")


def test_most_cells_decide_and_the_others_are_damaged():
    column = angles("10:00:00", "11:00:00", "12.5")
    assert column.damage == {"dec is not dd:mm:ss, for example '12.5'": [2]}
    column = angles("10.0", "11.0", "12:30:00", "x", "y")
    assert column.damage == {"dec is not a number, for example '12:30:00'": [2, 3, 4]}


@pytest.mark.parametrize("cell", ["10:60:00", "10:00:61", "abc", "10:00:00x", "=A1+B2", "1,5", "10::00"])
def test_damaged_cells(cell):
    column = angles("10:00:00", "11:00:00", cell)
    assert np.isnan(column.degrees[2])
    assert list(column.damage.values()) == [[2]]


def test_missing_and_off_the_sphere():
    column = angles(1.0, math.nan, None, 90.0001, -91.0, math.inf)
    assert column.damage == {"dec is missing": [1, 2], "dec is outside -90 to 90 degrees, for example 90.0001": [3, 4, 5]}
    assert np.isnan(column.degrees[1:]).all()
    assert angles("", None, "5").damage == {"dec is missing": [0, 1]}


def test_the_whole_circle_is_its_beginning():
    column = angles(0.0, 360.0, 360.1, -0.1, hours=True)
    assert column.degrees[:2].tolist() == [0.0, 0.0]
    assert list(column.damage.values()) == [[2, 3]]
    assert angles("24:00:00", hours=True).degrees[0] == 0.0


def test_mended_cells_are_named():
    column = angles("+10:00:00", "=+11:00:00", "=nonsense", "-12:00:00")
    assert column.mended == [1]
    assert list(column.damage.values()) == [[2]]


def test_dictionary_columns():
    column = pa.chunked_array([pa.array(["10:00:00", "10:00:00"]).dictionary_encode()])
    assert read_angles(column, "dec", hours=False).degrees.tolist() == [10.0, 10.0]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_type_of_text(kind):
    column = pa.chunked_array([pa.array(["05:36:20", "06:00:00"]).cast(kind)])
    np.testing.assert_allclose(read_angles(column, "ra", hours=True).degrees, [84.0833333, 90.0])


def test_cells_that_are_no_angle_name_their_column():
    with pytest.raises(ValueError, match="column dec holds list<item: double>, not a number or a text"):
        read_angles(pa.chunked_array([[[1.0, 2.0]]]), "dec", hours=False)
