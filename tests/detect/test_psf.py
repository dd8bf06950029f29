"""The point spread function on the detector's pixels, against Gaussians integrated in closed form."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.detect.flags import BAD_FLAGS, bad_mask
from raysearch.detect.psf import fit, on_pixels
from raysearch.detect.stamp import make_stamp
from raysearch.model import Cutout, Target
from raysearch.testing.spherex_boxes import boxes, starfield
from raysearch.testing.spherex_optics import psf_cube, psf_widths, shares

SIDE = 25
PLACES = st.floats(8.0, 16.0)


def _cutout(psf, oversampling=10, is_effective=False):
    return Cutout(
        target=Target("t", 0.0, 0.0),
        x=12.0,
        y=12.0,
        x0=0,
        y0=0,
        planes={"IMAGE": np.zeros((SIDE, SIDE))},
        psf=psf,
        psf_oversampling=oversampling,
        psf_effective=is_effective,
    )


def _gaussian(x, y, wide, high):
    edges = np.arange(SIDE + 1) - 0.5
    return np.outer(shares(y, high, edges), shares(x, wide, edges))


@given(PLACES, PLACES)
def test_an_optical_psf_is_added_up_over_pixels_wherever_the_source_lies_in_one(x, y):
    ours = on_pixels(_cutout(psf_cube(101)[5]), x, y, SIDE)  # zone (5, 0): not round
    np.testing.assert_allclose(ours, _gaussian(x, y, *psf_widths(5, 0)), atol=1e-4)


@pytest.fixture(scope="module")
def epsf():
    image, _ = boxes(replace(starfield(2001, 1.0, across=1), release="qr3"))
    return image.cutouts[0]


@given(x=PLACES, y=PLACES)
def test_an_effective_psf_is_read_off_at_the_pixels_centres(epsf, x, y):
    ours = on_pixels(epsf, x, y, SIDE)
    near = np.hypot(*np.meshgrid(np.arange(SIDE) - x, np.arange(SIDE) - y)) < 3  # the plane ends 3.2 pixels away
    np.testing.assert_allclose(ours[near], _gaussian(x, y, *psf_widths(5, 5))[near], atol=3e-4)


@given(PLACES, PLACES, st.integers(45, 75), st.integers(6, 11))
def test_all_light_is_kept_and_lies_where_the_source_is(x, y, side, oversampling):
    window = np.hanning(side + 2)[1:-1]
    light = on_pixels(_cutout(np.outer(window, window), oversampling), x, y, SIDE)
    rows, columns = np.indices(light.shape)
    assert light.sum() == pytest.approx(1.0, abs=1e-9)
    assert (light * columns).sum() == pytest.approx(x, abs=0.01)
    assert (light * rows).sum() == pytest.approx(y, abs=0.01)


def test_the_first_axis_is_y():
    psf = np.zeros((21, 21))
    psf[20, 10] = 1.0  # one pixel of the detector above the centre
    light = on_pixels(_cutout(psf), 12.0, 12.0, SIDE)
    assert np.unravel_index(light.argmax(), light.shape) == (13, 12)


@pytest.mark.parametrize("psf", [None, np.zeros((5, 5)), np.full((5, 5), np.nan)])
def test_no_psf_or_one_without_light_is_none(psf):
    assert on_pixels(_cutout(psf), 12.0, 12.0, SIDE) is None


def _stamp(flux, number=2002, **changes):
    spec = replace(starfield(number, flux, across=1), **changes)
    image, _ = boxes(spec)
    cutout = image.cutouts[0]
    stamp = make_stamp(cutout, 12, lambda plane: bad_mask(plane, image.flags, BAD_FLAGS))
    return stamp, on_pixels(cutout, stamp.x, stamp.y, stamp.side)


def test_a_source_without_noise_is_measured_exactly():
    stamp, psf = _stamp(1000.0, noise=1e-6, background=0.1)
    fitted = fit(stamp, psf, [])
    assert fitted.flux == pytest.approx(1000.0, rel=2e-4)
    assert fitted.background == pytest.approx(0.1, abs=1e-4)


def test_the_error_is_the_one_of_the_linear_estimate_in_white_noise():
    stamp, psf = _stamp(0.0)
    fitted = fit(stamp, psf, [])
    disc = stamp.distance(stamp.x, stamp.y) <= 4
    template = (psf / stamp.ujy)[disc]
    expected = 0.02 / np.sqrt(((template - template.mean()) ** 2).sum())
    assert fitted.error == pytest.approx(expected, rel=0.02)


def test_variances_that_follow_the_noise_of_their_pixels_do_not_bias_the_flux():
    rng = np.random.default_rng(2003)
    stamp, psf = _stamp(1000.0, noise=1e-6)
    fluxes = []
    for _ in range(600):  # few photons, so that variances vary: weights of one over them would give 6 % too much
        light = rng.poisson(20 * (stamp.light + 0.3)) / 20
        fluxes.append(fit(replace(stamp, light=light, variance=np.maximum(light, 0.05) / 20), psf, []).flux)
    assert np.mean(fluxes) == pytest.approx(1000.0, abs=3 * np.std(fluxes) / np.sqrt(600))


def test_a_pixel_noisy_of_itself_weighs_less():
    stamp, psf = _stamp(1000.0)
    peak = np.unravel_index((psf * (stamp.distance(stamp.x, stamp.y) > 0.6)).argmax(), psf.shape)
    light, variance = stamp.light.copy(), stamp.variance.copy()
    light[peak] += 1.0
    variance[peak] = 1.0
    noisy = fit(replace(stamp, light=light, variance=variance), psf, [])
    assert noisy.flux == pytest.approx(1000.0, abs=5 * noisy.error)
    assert noisy.error < 2 * fit(stamp, psf, []).error


def test_too_few_pixels_tell_no_flux():
    stamp, psf = _stamp(1000.0)
    good = np.zeros_like(stamp.good)
    good[12, 12] = True
    assert np.isnan(fit(replace(stamp, good=good), psf, []).flux)


def test_two_neighbours_in_one_place_tell_no_flux():
    stamp, psf = _stamp(1000.0)
    other = (14.0, 12.0, np.roll(psf, 2, axis=1))
    assert np.isnan(fit(stamp, psf, [other, other]).flux)


def test_a_neighbour_without_light_on_good_pixels_is_left_out():
    stamp, psf = _stamp(1000.0)
    dark = (stamp.x, stamp.y, np.zeros_like(psf))
    assert fit(stamp, psf, [dark]) == fit(stamp, psf, [])
