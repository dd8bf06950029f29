"""How far peaks stand out of noise, and how far those of noise do."""

import numpy as np
import pytest

from raysearch.detect import tail
from raysearch.detect.extract import extract
from raysearch.detect.heights import Filter, false_peaks, scatter


def noise(seed, side=120, sigma=1.0):
    return sigma * np.random.default_rng(seed).standard_normal((side, side))


def test_heights_are_standard_deviations_whatever_the_variance():
    variance = np.where(np.arange(120) < 60, 1.0, 9.0) * np.ones((120, 120))
    heights = Filter.of(0.3, variance, np.ones((120, 120), bool)).heights(noise(1) * np.sqrt(variance))
    assert heights[:, :57].std() == pytest.approx(1.0, abs=0.03)
    assert heights[:, 63:].std() == pytest.approx(1.0, abs=0.03)


def test_the_filter_finds_what_its_theory_says():
    profile = np.exp(-((np.arange(41) - 20) ** 2) / 2 / 0.3)
    source = np.outer(profile, profile)
    heights = Filter.of(0.3, np.full((41, 41), 4.0), np.ones((41, 41), bool)).heights(10 * source)
    assert heights[20, 20] == pytest.approx(10 * np.sqrt((source**2).sum()) / 2, rel=1e-3)


def test_a_source_on_a_bad_pixel_shows_by_those_beside_and_a_bad_region_is_not_searched():
    good = np.ones((41, 41), bool)
    good[20, 20] = False
    good[:, 30:] = False
    filtered = Filter.of(0.6, np.ones((41, 41)), good)
    assert filtered.searched[20, 20]
    assert not filtered.searched[:, 31:].any()
    profile = np.exp(-((np.arange(41) - 20) ** 2) / 2 / 0.6)
    assert filtered.heights(10 * np.outer(profile, profile))[20, 20] > 5


def test_real_sources_do_not_widen_the_scatter_nor_make_false_peaks():
    rng = np.random.default_rng(2)
    difference, total = noise(3), noise(4)
    stars = rng.integers(0, 120, (2, 2000))
    difference[tuple(stars)] += 20 * rng.choice((-1, 1), 2000)
    total[tuple(stars)] += 20
    empty = total < 0
    assert scatter(difference, empty) == pytest.approx(1.0, abs=0.05)
    assert false_peaks(difference, empty).max() < 5


def test_the_tail_of_gaussian_noise_is_about_what_is_found_in_noise_not_seen():
    told, found = [], 0
    for seed in range(40):
        filtered = Filter.of(0.3, np.ones((120, 120)), np.ones((120, 120), bool))
        heights = filtered.heights(noise(100 + seed))
        least = tail.fit(false_peaks(-heights, np.ones((120, 120), bool)), 120.0**2).threshold(0.5, 120.0**2)
        told.append(least)
        found += len(extract(heights, filtered.searched, tail.fit(false_peaks(-heights, heights < 9), 120.0**2), 0.5))
    assert 10 <= found <= 40  # 20 asked
    assert 3.7 < np.median(told) < 4.6


def test_outliers_that_nobody_flagged_ask_for_greater_heights():
    rng = np.random.default_rng(5)
    gaussian = np.sqrt(9 + 2 * rng.exponential(size=40))
    wild = np.concatenate([gaussian[:30], np.sqrt(9 + 2 * 9 * rng.exponential(size=10))])
    usual, more = (tail.fit(peaks, 14_400.0).threshold(0.1, 14_400.0) for peaks in (gaussian, wild))
    assert usual < 5.2
    assert more > usual + 1.5


def test_few_peaks_leave_room_for_outliers_not_seen():
    rng = np.random.default_rng(6)
    many, few = (np.sqrt(9 + 2 * rng.exponential(size=n)) for n in (400, 4))
    assert tail.fit(few, 1440.0).threshold(0.1, 1440.0) > tail.fit(many, 144_000.0).threshold(0.1, 1440.0) + 0.2


@pytest.mark.parametrize("asked", [1.0, 0.1, 0.01])
def test_the_threshold_is_where_that_many_are_expected(asked):
    made = tail.fit(np.array([3.1, 3.3, 3.2, 3.9, 3.05]), 10_000.0)
    assert made.expected(made.threshold(asked, 10_000.0), 10_000.0) == pytest.approx(asked, rel=1e-3)


def test_places_are_those_of_the_peak_between_the_pixels():
    y, x = np.mgrid[:60, :60]
    heights = 20 * np.exp(-((x - 30.3) ** 2 + (y - 24.8) ** 2) / 2 / 1.2)
    (found,) = extract(heights, np.ones((60, 60), bool), tail.fit(np.array([]), 3600.0), 0.1)
    assert (found.x, found.y) == (pytest.approx(30.3, abs=0.05), pytest.approx(24.8, abs=0.05))
    assert found.height == pytest.approx(heights.max())
    assert found.a / found.b == pytest.approx(1.0, abs=0.1)


def test_pixels_far_noisier_than_the_others_are_expected_as_often_as_they_come():
    """Where the rarest of the false peaks are asked for, the few that were seen must foretell them."""
    rng = np.random.default_rng(7)
    beyond = 0
    for _ in range(100):
        seen, more = (np.abs(4 * rng.standard_normal(400)) for _ in range(2))
        usual = np.sqrt(9 + 2 * rng.exponential(size=1000))
        threshold = tail.fit(np.concatenate([usual, seen[seen > tail.LOWEST]]), 1e6).threshold(1.0, 1e6)
        beyond += np.count_nonzero(more > threshold)
    assert 50 <= beyond <= 170  # 100 asked


def test_peaks_however_high_leave_the_tail_a_number():
    made = tail.fit(np.array([3.1, 3.2, 500.0]), 10_000.0)
    assert np.isfinite(made.weights).all()
    assert made.threshold(0.1, 10_000.0) > 10


def test_of_several_tails_the_worst_counts():
    quiet, loud = (tail.fit(peaks, 10_000.0) for peaks in (np.array([3.1, 3.2]), np.array([3.1, 7.0, 9.0])))
    worst = tail.Worst((quiet, loud))
    assert worst.threshold(0.1, 10_000.0) == loud.threshold(0.1, 10_000.0)
    assert worst.expected(6.0, 10_000.0) == loud.expected(6.0, 10_000.0) > quiet.expected(6.0, 10_000.0)
