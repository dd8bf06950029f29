"""The continuum beneath a line."""

import numpy as np
import pytest

from raysearch.detect import continuum

PLANES = 103


def subtracted(spectrum, good=None, gap=4, sigma=1.0):
    rows = np.tile(np.asarray(spectrum, np.float32), (6, 1)) + np.random.default_rng(1).normal(0, sigma, (6, PLANES)).astype(
        np.float32
    )
    good = np.ones(rows.shape, bool) if good is None else np.tile(good, (6, 1))
    rows[~good] = 0
    columns = (np.ascontiguousarray(array.T) for array in (rows, np.ones_like(rows), good))
    return continuum.subtract(*columns, gap, 18).T


def line(centre, height, width=1.0):
    return height * np.exp(-(((np.arange(PLANES) - centre) / width) ** 2) / 2)


@pytest.mark.parametrize("level", [-1000.0, 0.0, 1e5])
def test_slopes_and_curves_come_off(level):
    x = np.linspace(-1, 1, PLANES)
    residual = subtracted(level * (1 + 0.2 * x + 0.05 * x**2))
    assert abs(residual.mean()) < 0.2
    assert residual.std() < 1.3


def test_slow_fringes_come_off():
    residual = subtracted(20 * np.sin(np.arange(PLANES) / 12), gap=2)
    assert residual[:, 20:-20].std() < 1.5


@pytest.mark.parametrize("height", [8.0, 100.0, 1e5])
def test_a_line_keeps_its_height_and_leaves_no_trough(height):
    x = np.linspace(-1, 1, PLANES)
    residual = subtracted(1e4 * (1 + 0.2 * x) + line(51, height))
    assert residual[:, 51].mean() == pytest.approx(height, abs=1.5, rel=1e-3)
    beside = np.r_[residual[:, 30:44].ravel(), residual[:, 59:73].ravel()]
    assert abs(beside.mean()) < 0.5


def test_bad_voxels_tell_nothing():
    good = np.ones(PLANES, bool)
    good[40:60:3] = False
    residual = subtracted(np.full(PLANES, 500.0) + line(51, 50.0), good)
    assert not residual[:, ~good].any()
    assert abs(residual[:, :40].mean()) < 0.5


def test_a_forecast_leaves_its_own_plane_out():
    matrix = continuum.local_fits(PLANES, 4, 18)
    near = np.abs(np.arange(PLANES)[:, None] - np.arange(PLANES)) <= 4
    assert not matrix[near].any()
    parabola = (np.arange(PLANES) / 50.0) ** 2
    assert np.allclose(matrix @ parabola, parabola, atol=1e-3)
