"""Groups of positions that are asked about at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.archives.groups import circle_around, grouped
from raysearch.testing.services.regions import angle, vector

PLACES = st.tuples(st.floats(0, 360), st.floats(-90, 90))
NEAR_A_SEAM = st.tuples(st.one_of(st.floats(0, 1), st.floats(359, 360)), st.one_of(st.floats(-1, 1), st.floats(89.5, 90)))


@given(st.lists(st.one_of(PLACES, NEAR_A_SEAM), max_size=40), st.sampled_from([0.1, 0.5]))
def test_every_position_is_in_one_group_and_in_its_circle(positions, reach_deg):
    groups = grouped(positions, reach_deg)
    assert sorted(place for group in groups for place in group) == sorted(set(positions))
    for group in groups:
        ra, dec, radius = circle_around(group)
        assert (ra, dec) == group[0]
        assert radius <= reach_deg + 2e-4
        assert all(angle(vector(ra, dec), vector(*place)) < radius for place in group)


@given(st.lists(NEAR_A_SEAM, max_size=40))
def test_the_firsts_are_apart(positions):
    firsts = [vector(*group[0]) for group in grouped(positions, 0.5)]
    assert all(angle(one, other) > 0.5 - 1e-9 for i, one in enumerate(firsts) for other in firsts[:i])


def test_a_circle_is_hardly_wider_than_it_must_be():
    assert circle_around(((10.0, 0.0), (10.3, 0.0), (9.9, 0.0))) == (10.0, 0.0, pytest.approx(0.3, abs=2e-4))


def test_across_the_seams_of_the_sky():
    assert len(grouped([(359.9, 0.0), (0.1, 0.0), (0.0, 0.1)], 0.5)) == 1
    assert len(grouped([(ra, 89.9) for ra in range(0, 360, 30)], 0.5)) == 1


def test_the_same_twice_is_one():
    assert grouped([(1.0, 2.0), (np.float64(1.0), 2.0), (1.0, 2.0)], 0.5) == [((1.0, 2.0),)]
