"""Forms of compact sources whose light is known, with and without noise, at edges and beside noisy spaxels."""

import math

import numpy as np
import pytest

from raysearch.detect.form import Form

SIZE = 31
NO_ERRORS = np.zeros(2)


def form_of(x, y, along, across=None, angle=0.0):
    """A Gaussian with these standard deviations, along `angle` (degrees from the x axis to the y axis) and across it."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    return Form(x, y, turn @ np.diag([along**2, (across or along) ** 2]) @ turn.T, NO_ERRORS, 0.0)


def everywhere():
    return np.ones((SIZE, SIZE))


def test_the_image_holds_all_light_around_its_middle():
    image = form_of(15.3, 14.6, 3.0, 1.0, 30.0).image((SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE]
    assert image.sum() == pytest.approx(1.0, abs=1e-4)
    assert (image * x).sum() == pytest.approx(15.3, abs=1e-3)
    assert (image * y).sum() == pytest.approx(14.6, abs=1e-3)
    assert form_of(15, 15, 3.0, 1.0).area == pytest.approx(3.0)


@pytest.mark.parametrize(("along", "across", "angle"), [(1.0, 1.0, 0.0), (3.5, 1.3, 25.0), (2.5, 2.5, 0.0), (4.0, 1.0, 120.0)])
def test_a_gaussian_is_found_again(along, across, angle):
    truth = form_of(15.4, 14.7, along, across, angle)
    found = form_of(14.5, 15.5, 1.5).fitted(40.0 * truth.image((SIZE, SIZE)), everywhere(), 1.0, 1e4)
    assert (found.x, found.y) == pytest.approx((15.4, 14.7), abs=0.02)
    assert found.covariance == pytest.approx(truth.covariance, rel=0.03, abs=0.05)


def test_light_beyond_the_edge_and_on_unknown_spaxels_is_told_by_the_rest():
    truth = form_of(0.6, 15.0, 1.5)
    trust = everywhere()
    trust[14:16, 1] = 0
    found = form_of(1.5, 15.0, 1.2).fitted(np.where(trust > 0, truth.image((SIZE, SIZE)), 1e3), trust, 1.0, 1e4)
    assert (found.x, found.y) == pytest.approx((0.6, 15.0), abs=0.2)
    assert found.area == pytest.approx(1.5**2, rel=0.12)


def test_noisy_spaxels_count_less():
    truth = form_of(15.0, 15.0, 2.0)
    picture, trust = truth.image((SIZE, SIZE)), everywhere()
    picture[:, 18:] += 0.05
    trust[:, 18:] = 0.02
    assert form_of(15.0, 15.0, 1.5).fitted(picture, everywhere(), 1.0, 1e4).area > 2 * truth.area
    assert form_of(15.0, 15.0, 1.5).fitted(picture, trust, 1.0, 1e4).area == pytest.approx(truth.area, rel=0.3)


def test_a_faint_source_is_a_point_unless_it_clearly_is_not():
    picture = form_of(15.0, 15.0, 1.1).image((SIZE, SIZE))
    start = form_of(15.0, 15.0, 1.0)
    faint, bright = (start.fitted(picture, everywhere(), 1.0, snr) for snr in (6.0, 1e3))
    assert faint.area == pytest.approx(1.0, abs=0.05)
    assert bright.area == pytest.approx(1.21, abs=0.02)
    assert faint.free < 0.2
    assert bright.free > 0.9
    assert faint.errors[1] > 100 * bright.errors[1]


def test_no_light_leaves_the_first_guess():
    found = form_of(10.0, 12.0, 1.0).fitted(-everywhere(), everywhere(), 1.0, 10.0)
    assert (found.x, found.y, found.area) == pytest.approx((10.0, 12.0, 1.0))
