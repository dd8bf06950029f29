"""The compiled loops, against what numpy and scipy say."""

import numpy as np
import pytest
from scipy import ndimage

from raysearch.detect import continuum, filters, loops, sweeps

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("size", [1, 2, 3, 11, 26, 41, 52, 64, 101])
@pytest.mark.parametrize("part", [0.25, 0.4, 0.5])
def test_quantiles_are_those_of_the_good_values(size, part):
    values, good = RNG.normal(size=(size, loops.LANES)).astype(np.float32), RNG.random((size, loops.LANES)) > 0.4
    good[:, :5], good[:, 5] = True, False
    told, ordered = np.empty(loops.LANES, np.float32), np.where(good, values, np.inf).astype(np.float32)
    loops.quantile(ordered, loops.network(size), size, good.sum(axis=0).astype(np.float32), part, told)
    assert (ordered == np.sort(np.where(good, values, np.inf), axis=0)).all()
    assert told[5] == 0
    for spaxel in np.flatnonzero(good.any(axis=0)):
        assert told[spaxel] == pytest.approx(np.quantile(values[good[:, spaxel], spaxel], part), abs=1e-5)


@pytest.mark.parametrize("gap", [-1, 0, 4])
@pytest.mark.parametrize("planes", [20, 37, 103])
def test_running_sums_fit_what_the_matrix_fits(planes, gap):
    values = RNG.normal(size=(planes, loops.LANES)).astype(np.float32)
    work, found = loops.Work.of(planes), np.empty_like(values)
    loops.fitted(values, *continuum.forecast_terms(planes, gap, 18), work.sums, found)
    assert np.allclose(found, continuum.local_fits(planes, gap, 18) @ values, atol=2e-5)


def test_planes_are_correlated_along_the_spectrum():
    values, weight = RNG.normal(size=(30, 7, 90)).astype(np.float32), RNG.random(30).astype(np.float32)
    expected = np.einsum("ij,jyx->iyx", filters.correlation(30, 1.8), values) * weight[:, None, None]
    assert np.allclose(filters.along(values, 1.8, 1, weight), expected, atol=1e-5)


def test_maxima_are_the_voxels_that_no_neighbour_exceeds():
    values = RNG.normal(size=(12, 9, 10)).astype(np.float32)
    values[5, 5, 5:7] = 9  # of equal neighbours the first counts
    places = np.zeros((500, 3), np.intp)
    count = sweeps.maxima(values, np.float32(1.0), places)
    highest = (values == ndimage.maximum_filter(values, 3, mode="constant", cval=-np.inf)) & (values >= 1)
    highest[5, 5, 6] = False
    assert places[:count].tolist() == np.argwhere(highest).tolist()
    assert sweeps.maxima(values, np.float32(1.0), places[:2]) == count


def test_products_with_later_planes_are_summed():
    values = RNG.normal(size=(20, 50)).astype(np.float32)
    planes, used, found = np.array([0, 6, 18]), np.ones(20, bool), np.empty((3, 50), np.float32)
    used[8] = False
    sweeps.lagged(values, planes, used, np.float32(1.0), found)
    clipped = np.clip(values, -1, 1)
    assert np.allclose(found[1], sum(clipped[k] * clipped[k + 1] for k in planes), atol=1e-5)
    assert np.allclose(found[2], clipped[0] * clipped[2], atol=1e-5)
