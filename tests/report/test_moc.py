import math

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC

from raysearch.model import Circle, Footprint, Polygon
from raysearch.report import moc as moc_module
from raysearch.report.moc import coverage, order_of, write_coverage
from raysearch.report.provenance import Provenance

SQUARE_DEGREES = 4 * math.pi * math.degrees(1) ** 2


def box(ra, dec, side):
    """A square about a place: edges are great circles."""
    half = side / 2
    wide = half / math.cos(math.radians(dec))
    return Polygon(tuple((ra + d) % 360 for d in (-wide, wide, wide, -wide)), (dec - half, dec - half, dec + half, dec + half))


def holds(moc, ra, dec):
    return bool(moc.contains_lonlat(np.atleast_1d(ra) * u.deg, np.atleast_1d(dec) * u.deg).all())


def area(moc):
    return moc.sky_fraction * SQUARE_DEGREES


@pytest.mark.parametrize(
    ("shape", "inside", "outside", "square_degrees"),
    [
        (box(10.0, 41.0, 5 / 3600), (10.0, 41.0), (10.1, 41.0), (5 / 3600) ** 2),
        (box(0.0, 0.0, 0.2), (359.95, 0.05), (180.0, 0.0), 0.04),
        (box(200.0, -60.0, 3.5), (200.0, -60.0), (200.0, -55.0), 12.25),
        (Circle(0.0, 89.999, 0.01), (180.0, 89.995), (0.0, 89.9), math.pi * 1e-4),
        (Circle(30.0, -5.0, 10 / 3600), (30.0, -5.0), (31.0, -5.0), math.pi * (10 / 3600) ** 2),
    ],
)
def test_it_is_what_the_footprint_is(shape, inside, outside, square_degrees):
    moc = coverage([Footprint((shape,))])
    assert holds(moc, *inside)
    assert not holds(moc, *outside)
    assert square_degrees * 0.99 < area(moc) < square_degrees * 1.12


def test_the_union_of_all():
    whole = coverage([Footprint((box(10.0, 0.0, 1.0), Circle(50.0, 0.0, 0.5))), Footprint((box(10.5, 0.0, 1.0),))])
    assert holds(whole, [10.0, 10.9, 50.2], [0.0, 0.0, 0.2])
    assert area(whole) == pytest.approx(1.5 + math.pi / 4, rel=0.08)
    assert coverage([]).empty()


@given(ra=st.floats(0, 359.999), dec=st.floats(-89, 89), size=st.floats(1e-4, 20), round_=st.booleans())
@settings(max_examples=40)
def test_no_place_of_a_footprint_is_left_out(ra, dec, size, round_):
    shape = Circle(ra, dec, size / 2) if round_ else box(ra, min(max(dec, -60), 60), size)
    places = (shape.ra, shape.dec) if not round_ else ([ra], [dec])
    assert holds(coverage([Footprint((shape,))]), np.array(places[0]), np.array(places[1]))


def test_very_many_are_told_less_finely_and_in_pieces_as_at_once(monkeypatch):
    rng = np.random.default_rng(1)
    places = np.stack([rng.uniform(0, 360, 60), rng.uniform(-60, 60, 60)], axis=1).tolist()
    footprints = [Footprint((Circle(ra, dec, 0.1) if n % 2 else box(ra, dec, 0.1 + n % 3),)) for n, (ra, dec) in enumerate(places)]
    whole = coverage(footprints)
    assert coverage(iter(footprints * 2), 65_536) == whole
    monkeypatch.setattr(moc_module, "TOGETHER", 7)
    assert coverage(footprints) == whole
    assert [moc_module.cells_of(count) for count in (0, 65_536, 65_537, 200_000, 10**6, 10**9)] == [64, 64, 32, 16, 8, 8]
    coarse = coverage(footprints, 10**6)
    assert whole.difference(coarse).empty()
    assert area(whole) < area(coarse) < 1.5 * area(whole)


def test_small_shapes_are_told_finely_and_large_ones_are_not():
    assert order_of(Circle(0.0, 0.0, 90.0)) < order_of(box(0.0, 0.0, 3.5)) < order_of(box(0.0, 0.0, 5 / 3600)) <= 29
    assert order_of(Circle(0.0, 0.0, 0.0)) == 29


def test_files_are_read_back(tmp_path):
    footprints = [Footprint((box(10.0, 41.0, 1.0),))]
    told = Provenance(search="jets", config_hash="cafe")
    for name, kind in (("c.moc.fits", "fits"), ("C.MOC.JSON", "json")):
        assert write_coverage(footprints, tmp_path / name, told) == pytest.approx(1.0, rel=0.1)
        write_coverage(footprints, tmp_path / name, told)  # over an old one
        assert MOC.load(tmp_path / name, format=kind) == coverage(footprints)
    header = fits.getheader(tmp_path / "c.moc.fits", 1)
    assert (header["SEARCH"], header["CFGHASH"]) == ("jets", "cafe")
