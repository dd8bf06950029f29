"""Errors of sums over planes, where the noise is known."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from raysearch.detect.spectrum import PRIOR, Baseline, Spectrum

PLANES = 91


def spectrum_of(quiet):
    """Without a polynomial, of noise said to be 1 and independent from plane to plane, which left this in the quiet planes."""
    baseline = Baseline(45.0, 5.0, np.arange(30), np.zeros((PLANES, 30)), np.ones(1), 1.0)
    return Spectrum(np.zeros(PLANES), np.ones(PLANES), np.ones(PLANES), baseline, quiet, 1.0)


def error_of(quiet):
    weight = np.where(np.abs(np.arange(PLANES) - 45) <= 4, 1.0, 0.0)
    return spectrum_of(quiet).weighted(weight)[1] / math.sqrt(9)


def white(seed):
    return np.random.default_rng(seed).normal(size=PLANES)


def correlated(seed):
    values = gaussian_filter(np.random.default_rng(seed).normal(size=PLANES + 40), 3.0)
    return (values / 3**-0.5 / (4 * math.pi) ** -0.25)[20:-20]


def test_white_noise_has_the_error_told():
    assert np.median([error_of(white(k)) for k in range(40)]) == pytest.approx(1.0, abs=0.1)


def test_noise_that_swings_slowly_has_a_larger_one():
    """Sums over 9 planes of noise smoothed with s = 3 have the variance sum over i and j of exp(-(i - j)^2 / (4 s^2))."""
    lags = np.subtract.outer(np.arange(9), np.arange(9))
    truth = math.sqrt(np.exp(-(lags**2) / 36).sum() / 9)
    sums = 1 + (PLANES - 8) / 9
    blend = math.sqrt((PRIOR + sums * truth**2) / (PRIOR + sums))
    assert np.median([error_of(correlated(k)) for k in range(40)]) == pytest.approx(blend, rel=0.15)
    assert blend > 0.8 * truth


def test_planes_with_lines_do_not_count():
    values = white(3)
    lit = values.copy()
    lit[10:16] += 50
    assert error_of(np.where(lit == values, values, math.nan)) < 1.5
    assert error_of(np.full(PLANES, math.nan)) == pytest.approx(1.0)
