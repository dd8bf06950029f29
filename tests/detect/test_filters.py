"""Gaussians integrated over pixels."""

import math

import numpy as np
import pytest

from raysearch.detect import filters


@pytest.mark.parametrize("sigma", [0.2, 0.57, 1.0, 3.0])
def test_a_profile_holds_all_of_the_light(sigma):
    parts = filters.profile(sigma, 30)
    assert parts.sum() == pytest.approx(1)
    assert np.allclose(parts, parts[::-1])
    assert parts[30] == pytest.approx(math.erf(0.5 / sigma / math.sqrt(2)))


def test_smoothing_is_that_of_each_axis():
    cube = np.zeros((2, 15, 13), np.float32)
    cube[1, 7, 6] = 1
    smooth = filters.smooth(cube, 1.2)
    parts = filters.profile(1.2, 20)
    assert not smooth[0].any()
    assert np.allclose(smooth[1], np.outer(parts[13:28], parts[14:27]), atol=1e-6)
    assert np.allclose(filters.smooth(cube, 1.2, 2)[1], np.outer(parts[13:28], parts[14:27]) ** 2, atol=1e-6)
    assert filters.smooth(cube, 0.0) is cube


def test_matrices_hold_no_numbers_that_slow_processors_down():
    matrix = filters.correlation(200, 0.7, 2)
    assert not ((matrix != 0) & (np.abs(matrix) < 1e-30)).any()
