"""Peaks and regions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, maximum_filter

from raysearch.detect.regions import APART, peaks, region


def test_the_highest_first_and_none_near_a_higher_one():
    cube = np.zeros((9, 20, 20), np.float32)
    cube[4, 5, 5], cube[4, 5, 7], cube[6, 15, 15], cube[8, 19, 19] = 6, 5, 7, 4
    assert peaks(cube, 3.0).tolist() == [[6, 15, 15], [4, 5, 5], [8, 19, 19]]


def test_a_plateau_is_one_peak():
    cube = np.zeros((3, 9, 9), np.float32)
    cube[1, 3:5, 3:5] = 4
    assert len(peaks(cube, 3.0)) == 1


def test_nothing_high_enough():
    assert peaks(np.zeros((2, 3, 4), np.float32), 3.0).shape == (0, 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shape=st.tuples(*[st.integers(1, 12)] * 3))
def test_peaks_are_local_maxima_apart(seed, shape):
    cube = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.7).astype(np.float32)
    cube /= max(float(cube.std()), 1e-6)
    found = peaks(cube, 1.0)
    higher = maximum_filter(cube, 3, mode="constant", cval=-np.inf)
    assert all(cube[tuple(place)] == higher[tuple(place)] >= 1 for place in found)
    near = (np.abs(found[:, None] - found[None]) < APART).all(axis=2)
    assert near.sum() == len(found)


def test_a_region_is_what_is_connected():
    cube = np.zeros((3, 6, 6), np.float32)
    cube[0, 1, 1:4], cube[1, 2, 3], cube[1, 5, 5] = 4, 5, 9
    assert np.argwhere(region(cube, (1, 2, 3), 3.0)).tolist() == [[1, 2, 3]]
    cube[1, 1, 3] = 4
    assert np.argwhere(region(cube, (1, 2, 3), 3.0)).tolist() == [[0, 1, 1], [0, 1, 2], [0, 1, 3], [1, 1, 3], [1, 2, 3]]


def test_a_region_holds_its_place_at_least():
    assert np.argwhere(region(np.zeros((1, 3, 3), np.float32), (0, 2, 1), 3.0)).tolist() == [[0, 2, 1]]
