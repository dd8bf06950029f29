import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.sky.merge import distinct, firsts, within

ARCSEC = 1 / 3600


def test_the_first_of_a_group_is_kept():
    assert distinct([10, 10 + ARCSEC, 20, 10], [0, 0, 0, ARCSEC], 2 * ARCSEC).tolist() == [True, False, True, False]


def test_it_does_not_go_on_from_neighbour_to_neighbour():
    assert distinct([0, 1.5 * ARCSEC, 3 * ARCSEC], [0, 0, 0], 2 * ARCSEC).tolist() == [True, False, True]
    assert distinct([1.5 * ARCSEC, 0, 3 * ARCSEC], [0, 0, 0], 2 * ARCSEC).tolist() == [True, False, False]


def test_across_the_origin_and_at_the_pole():
    assert distinct([359.9999, 0.0001], [0, 0], 1 * ARCSEC).tolist() == [True, False]
    assert distinct([0, 180], [90 - 1e-5, 90 - 1e-5], 1 * ARCSEC).tolist() == [True, False]


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one(n):
    assert distinct(np.zeros(n), np.zeros(n), 1.0).tolist() == [True] * n


@given(st.lists(st.tuples(st.floats(0, 0.01), st.floats(-0.01, 0.01)), max_size=40))
def test_as_by_hand(positions):
    ra, dec = (np.array([p[i] for p in positions]) for i in (0, 1))
    kept: list[int] = []
    for i in range(len(positions)):
        apart = [np.hypot((ra[i] - ra[j]) * np.cos(np.radians(dec[i])), dec[i] - dec[j]) for j in kept]
        if any(abs(a - 0.002) < 1e-9 for a in apart):
            return  # on the rim, where rounding decides
        if all(a > 0.002 for a in apart):
            kept.append(i)
    assert np.flatnonzero(distinct(ra, dec, 0.002)).tolist() == kept


def test_each_counts_as_the_first_kept_one_near_it():
    """The third lies between the first two, and counts as the earlier."""
    ra = np.array([0.0, 1.6, 0.8, 50.0, 0.1]) / 3600
    assert firsts(ra, np.zeros(5), 1.0 / 3600).tolist() == [0, 1, 0, 3, 0]
    assert firsts([], [], 1.0).tolist() == []


def test_which_positions_lie_near_others_across_the_meridian_too():
    near = within([359.9999, 10.0, 10.0], [0.0, 89.9999, 50.0], [0.0001, 190.0], [0.0, 89.9999], 1.0 / 3600.0)
    assert near.tolist() == [True, True, False]
    assert within([1.0], [2.0], [], [], 1.0).tolist() == [False]
    assert within([], [], [1.0], [2.0], 1.0).tolist() == []
