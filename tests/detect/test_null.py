"""The tail of false peaks."""

import numpy as np
import pytest

from raysearch.detect import null


def gaussian_peaks(rng, count):
    """Heights above 3 of peaks whose tail is the Gaussian random field's: exponential of 1 in t."""
    grid = np.linspace(null.LOWEST, 12, 20_000)
    return np.interp(null.coordinate(np.array([null.LOWEST]))[0] + rng.exponential(size=count), null.coordinate(grid), grid)


def true_expected(height, density, volume):
    t = null.coordinate(np.array([null.LOWEST, height]))
    return volume * density * np.exp(t[0] - t[1])


def test_expects_what_gaussian_noise_gives_or_somewhat_more():
    rng = np.random.default_rng(1)
    truth, told = [], []
    for _ in range(40):
        made = null.fit(gaussian_peaks(rng, 60), 60_000.0)
        told.append(made.expected(4.5, 10_000.0))
        truth.append(true_expected(4.5, 1e-3, 10_000.0))
    assert np.median(truth) < np.median(told) < 2.5 * np.median(truth)


def test_the_threshold_is_where_that_many_are_expected():
    made = null.fit(gaussian_peaks(np.random.default_rng(2), 100), 60_000.0)
    for asked in (0.3, 0.01, 1e-4):
        assert made.expected(made.threshold(asked, 8000.0), 8000.0) == pytest.approx(asked, rel=1e-3)


def test_more_trials_ask_for_greater_heights():
    made = null.fit(gaussian_peaks(np.random.default_rng(3), 100), 60_000.0)
    assert made.threshold(0.01, 80_000.0) > made.threshold(0.01, 8000.0)


def test_long_tails_and_few_peaks_ask_for_greater_heights():
    rng = np.random.default_rng(4)
    usual = null.fit(gaussian_peaks(rng, 60), 60_000.0).threshold(0.01, 8000.0)
    long = null.fit(gaussian_peaks(rng, 60) ** 1.5 / 3**0.5, 60_000.0).threshold(0.01, 8000.0)
    few = null.fit(gaussian_peaks(rng, 6), 6000.0).threshold(0.01, 8000.0)
    assert long > usual + 1
    assert few > usual


def test_peaks_upwards_alone_tell_where_only_they_have_a_tail():
    rng = np.random.default_rng(5)
    usual, hits = gaussian_peaks(rng, 50), np.linspace(6, 20, 15)
    one_sided = null.of_both(np.concatenate([usual, hits]), 60_000.0, gaussian_peaks(rng, 60), 60_000.0)
    two_sided = null.of_both(usual, 60_000.0, gaussian_peaks(rng, 60), 60_000.0)
    assert one_sided.threshold(0.01, 8000.0) > two_sided.threshold(0.01, 8000.0) + 2


def test_no_peaks_at_all_leave_a_threshold():
    nothing = null.of_both(np.zeros(0), 1000.0, np.zeros(0), 1000.0)
    assert 4 < nothing.threshold(0.01, 500.0) < 12


def test_what_is_rejected_for_its_shape_tells_how_often_its_like_is_not():
    usual = null.fit(gaussian_peaks(np.random.default_rng(6), 60), 60_000.0)
    heights, margins = np.array([9.0, 8.0, 4.0]), np.array([0.0, 3.0, 60.0])
    told = null.with_leaks(usual, heights, margins, 60_000.0)
    assert told.expected(8.5, 6000.0) == pytest.approx(0.5 / 10)
    assert told.expected(7.5, 6000.0) == pytest.approx((0.5 + 0.01695) / 10, rel=1e-3)
    assert told.expected(9.5, 6000.0) == usual.expected(9.5, 6000.0)
    assert told.expected(3.5, 6000.0) == usual.expected(3.5, 6000.0)
    assert told.threshold(0.02, 6000.0) > 8.9 > usual.threshold(0.02, 6000.0)


def test_no_height_of_some_standard_deviations_is_surer_than_rare_artefacts_let_it_be():
    usual = null.fit(gaussian_peaks(np.random.default_rng(6), 60), 60_000.0)
    told = null.with_rare(usual, 500.0, 6000.0)
    for height in (4.0, 6.0, 8.0):
        assert told.expected(height, 6000.0) == pytest.approx(usual.expected(height, 6000.0) + null.RARE / 2)
    assert told.expected(16.0, 6000.0) == pytest.approx(usual.expected(16.0, 6000.0) + null.RARE / 2 / 2**null.RARE_FALL, rel=1e-9)
    assert told.threshold(0.001, 6000.0) > 8.0 > usual.threshold(0.001, 6000.0)
    wide = null.with_rare(usual, 5000.0, 60_000.0)
    assert wide.expected(8.0, 60_000.0) == pytest.approx(10 * told.expected(8.0, 6000.0))
