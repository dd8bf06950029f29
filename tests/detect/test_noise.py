"""Which voxels can be used, and their noise."""

import numpy as np
import pytest

from raysearch.detect import noise

SHAPE = (90, 12, 11)


def measured(cube, error=None, good=None):
    rows = [a.reshape(len(cube), -1) for a in (cube, np.ones_like(cube) if error is None else error)]
    usable = np.ones(rows[0].shape, bool) if good is None else good.reshape(len(cube), -1)
    return noise.measured(rows[0] * usable, rows[1], usable, cube.shape[1:]).reshape(cube.shape)


def normal(seed=1):
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_errors_that_are_wrong_are_mended(factor):
    truth = np.linspace(1, 4, 12, dtype=np.float32)[None, :, None] * np.ones(SHAPE, np.float32)
    sigma = measured(normal() * truth, truth * np.float32(factor))
    assert np.median(sigma / truth) == pytest.approx(1, rel=0.05)
    assert (sigma / truth).std() < 0.1


def test_without_errors_the_scatter_tells():
    truth = np.linspace(1, 4, 12, dtype=np.float32)[None, :, None] * np.ones(SHAPE, np.float32)
    assert np.median(measured(normal() * truth) / truth) == pytest.approx(1, rel=0.1)


def test_a_noisy_plane_and_a_noisy_spaxel_are_known_for_it():
    cube = normal()
    cube[40] *= 5
    cube[:, 6, 6] *= 10
    sigma = measured(cube)
    assert np.median(sigma[40]) > 3
    assert np.median(sigma[:, 6, 6]) > 7
    assert np.median(sigma) == pytest.approx(1, rel=0.1)


def test_a_line_that_fills_the_field_is_no_noise():
    cube = normal()
    cube[40] += 5
    assert np.median(measured(cube)[40]) < 1.2


def test_spaxels_without_scatter_hold_no_data():
    cube = normal()
    cube[:, 3, 3] = 0
    sigma = measured(cube)
    assert np.isinf(sigma[:, 3, 3]).all()
    assert np.isfinite(sigma[:, 4, 4]).all()


@pytest.mark.parametrize(("name", "value"), [("DQ", 1), ("WMAP", 0)])
def test_flags_and_weights_are_heeded(name, value):
    science = normal() + 5
    plane = np.zeros(SHAPE, np.uint32) if name == "DQ" else np.ones(SHAPE, np.float32)
    plane[3, 4, 5] = value
    good = noise.usable(science, np.ones_like(science), {name: plane})
    assert np.argwhere(~good).tolist() == [[3, 4, 5]]


@pytest.mark.parametrize("error", [0.0, -1.0, np.nan, np.inf])
def test_errors_that_are_none_are_heeded(error):
    science, errors = normal() + 5, np.ones(SHAPE, np.float32)
    errors[3, 4, 5] = error
    science[6, 7, 8] = np.nan
    science[9] = 0
    bad = np.argwhere(~noise.usable(science, errors, {})).tolist()
    assert [3, 4, 5] in bad
    assert [6, 7, 8] in bad
    assert len(bad) == 2 + 12 * 11
