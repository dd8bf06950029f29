"""How far lines stand out, and what is too sharp to be one."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from raysearch.detect.field import Field
from raysearch.detect.filters import profile
from raysearch.detect.statistic import Statistic

LSF, PSF = 0.65, 0.9
GAP, REACH = 4, 18
SHAPE = (91, 25, 25)


def field(cube, sigma=None, lsf=LSF):
    sigma = np.ones(cube.shape, np.float32) if sigma is None else sigma
    good = np.ones(cube.shape, bool)
    null = np.ones(len(cube), bool)
    null[36:55] = False
    zero = np.zeros(cube.shape, np.float32)
    return Field(np.linspace(17.7, 18.2, len(cube)), cube.astype(np.float32), sigma, good, zero, slice(40, 51), lsf, PSF, null)


def noise(seed):
    return np.random.default_rng(seed).normal(size=SHAPE)


def spot(sigma_planes, sigma_spaxels, height):
    """A Gaussian in the middle, its brightest voxel this high."""
    z, y, x = (np.zeros(n) for n in SHAPE)
    for axis, sigma, middle in ((z, sigma_planes, 45), (y, sigma_spaxels, 12), (x, sigma_spaxels, 12)):
        bell = profile(sigma, 8) if sigma else np.eye(17)[8]
        axis[middle - 8 : middle + 9] = bell / bell.max()
    return height * z[:, None, None] * y[:, None] * x


def sharpness(made, place=(45, 12, 12), sign=1):
    return float(Statistic(made, GAP, REACH).sharpness(np.array([place]), sign)[0])


@pytest.mark.parametrize("height", [6, 20, 2000])
@pytest.mark.parametrize("broader", [1.0, 2.0])
def test_lines_are_not_too_sharp(height, broader):
    made = field(noise(1) + spot(LSF * broader, PSF * broader, height))
    assert sharpness(made) < 0
    assert sharpness(dataclasses.replace(made, residual=-made.residual), sign=-1) == pytest.approx(sharpness(made))


@pytest.mark.parametrize(("planes", "spaxels"), [(0, PSF), (LSF, 0)])
def test_spikes_of_one_plane_or_one_spaxel_are(planes, spaxels):
    assert sharpness(field(noise(2) + spot(planes, spaxels, 20))) > 0


def test_the_sharper_the_fainter_the_less_surely():
    margins = [sharpness(field(noise(3) + spot(0, PSF, height))) for height in (6, 10, 20)]
    assert margins == sorted(margins)


def test_a_point_source_on_a_slope_of_noise_is_not_too_sharp():
    sigma = np.broadcast_to(np.geomspace(1, 40, SHAPE[2]), SHAPE).astype(np.float32)
    cube = noise(4) * sigma + spot(LSF, PSF, 12 * float(sigma[0, 0, 12]))
    assert sharpness(field(cube, sigma)) < 0


def test_a_streak_with_troughs_beside_it_is_too_sharp():
    cube = noise(5)
    for step, height in ((-1, -6), (0, 14), (1, -6)):
        cube[44:47, 12 + step, 10:15] += height * np.array([0.5, 1, 0.5])[:, None]
    assert sharpness(field(cube)) > 0


def test_a_band_of_one_plane_is_told_by_all_of_it():
    """The profile at the peak alone tells 20 of the 30 bands; a line as bright is let through."""
    bands = lines = 0
    for seed in range(30):
        cube = gaussian_filter(noise(100 + seed), (0, 0.7, 0.7))
        cube /= cube.std()
        band = np.zeros(SHAPE)
        band[45, 10:14] = 2.1
        for made, line in ((band, False), (gaussian_filter1d(band, LSF, axis=0) * 1.5, True)):
            statistic = Statistic(field(cube + made), GAP, REACH)
            near = (np.abs(np.arange(91) - 45) < 3)[:, None, None]
            place = np.unravel_index(np.argmax(statistic.highest * near), SHAPE)
            rejected = bool(statistic.sharpness(np.array([place]), 1)[0] > 0)
            bands, lines = bands + (rejected and not line), lines + (rejected and line)
    assert bands >= 24
    assert lines <= 4


def test_lines_that_swell_the_scatter_are_seen():
    """Four broad lines in one window: divided by a scatter that is mostly theirs, no spaxel reaches 6."""
    y, x = np.mgrid[:25, :25] - 12
    extended, planes = np.exp(-(y**2 + x**2) / 2 / 3.5**2), np.arange(91)[:, None, None]
    cube = noise(6) + sum(5 * np.exp(-((planes - at) ** 2) / 2 / 2.5**2) * extended for at in (20, 33, 60, 73))
    emission = Statistic(field(cube, lsf=1.5), 8, REACH).emission
    assert emission[[20, 33, 60, 73]].all()
    assert not emission[[0, 46, 90]].any()
    assert not Statistic(field(noise(7), lsf=1.5), 8, REACH).emission.any()
