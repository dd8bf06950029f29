"""How much of a disc footprints cover."""

import numpy as np
import pytest

from raysearch.model import Circle, Footprint, Polygon
from raysearch.sky.overlap import POINTS, covered


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 20.0), (0.0, 0.0), (359.999, -60.0), (123.0, 90.0), (45.0, -90.0)])
def test_the_part_covered_is_the_part_of_the_points(ra, dec):
    whole = Footprint((Circle(ra, dec, 1.0),))
    half_area = Footprint((Circle(ra, dec, 0.1 / np.sqrt(2.0)),))
    held = covered([whole, half_area, Footprint((Circle(ra, -dec / 2 - 20, 0.1),))], ra, dec, 0.1)
    assert held.shape == (3, POINTS)
    assert held[0].all()
    assert held[1].mean() == pytest.approx(0.5, abs=0.02)
    assert not held[2].any()


def test_what_two_halves_share_is_nothing_and_together_they_are_all():
    west = Polygon((9.0, 10.0, 10.0, 9.0), (-1.0, -1.0, 1.0, 1.0))
    east = Polygon((10.0, 11.0, 11.0, 10.0), (-1.0, -1.0, 1.0, 1.0))
    first, second, both = covered([Footprint((west,)), Footprint((east,)), Footprint((west, east))], 10.0, 0.0, 0.5)
    assert (first & second).sum() <= 1
    assert both.all()
    assert first.mean() == pytest.approx(0.5, abs=0.02)
