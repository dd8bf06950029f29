"""Sums in circles above the median of a ring: against sums by hand and noise of known size."""

import math
from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect.apertures import Background, add_up, background, overlap
from raysearch.detect.stamp import UJY_PER_MJY_SR_ARCSEC2, Stamp, make_stamp
from raysearch.errors import DetectorError
from raysearch.model import Cutout, Target

HALF = 17


def _cutout(light, x=30.0, y=30.0, sigma=0.1, x0=0, y0=0):
    shape = light.shape
    planes = {
        "IMAGE": light + 0.3,
        "ZODI": np.full(shape, 0.3),
        "VARIANCE": np.full(shape, sigma**2),
        "SOLID_ANGLE": np.full(shape, 40.0),
        "FLAGS": np.zeros(shape, np.int32),
    }
    return Cutout(Target("t", 0.0, 0.0), x, y, x0, y0, planes)


def _stamp(light, **cutout) -> Stamp:
    return make_stamp(_cutout(light, **cutout), HALF, lambda flags: (flags & 1) != 0)


def test_a_megajansky_per_steradian_over_a_square_arcsecond_is_so_many_microjansky():
    from astropy import units as u

    assert (1 * u.MJy / u.sr * u.arcsec**2).to_value(u.uJy) == pytest.approx(UJY_PER_MJY_SR_ARCSEC2, rel=1e-12)


@pytest.mark.parametrize(("x0", "y0"), [(0, 0), (1000, 0), (7, 1900)])
def test_the_stamp_has_the_source_in_its_middle_pixel_wherever_the_box_lies(x0, y0):
    light = np.zeros((61, 61))
    light[30, 33] = 1.0
    stamp = _stamp(light, x=32.7 + x0, y=30.4 + y0, x0=x0, y0=y0)
    assert np.unravel_index(stamp.light.argmax(), stamp.light.shape) == (HALF, HALF)
    assert (stamp.x, stamp.y) == pytest.approx((HALF - 0.3, HALF + 0.4))
    assert (stamp.x0 + stamp.x, stamp.y0 + stamp.y) == pytest.approx((32.7 + x0, 30.4 + y0))


def test_outside_the_box_is_no_number_and_no_flag():
    stamp = _stamp(np.zeros((61, 61)), x=2.0, y=60.0)
    assert np.isnan(stamp.light[:, : HALF - 2]).all()
    assert np.isnan(stamp.light[HALF + 1 :, :]).all()
    assert stamp.good.sum() == (HALF + 3) * (HALF + 1)
    assert (stamp.flags == 0).all()


@pytest.mark.parametrize(("x", "y"), [(-50.0, 30.0), (30.0, 400.0)])
def test_a_box_far_from_its_target_has_no_good_pixel(x, y):
    assert not _stamp(np.zeros((61, 61)), x=x, y=y).finite.any()


@pytest.mark.parametrize("plane", ["IMAGE", "VARIANCE", "ZODI", "SOLID_ANGLE"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_without_a_number_in_any_plane_is_not_good(plane, value):
    cutout = _cutout(np.zeros((61, 61)))
    cutout.planes[plane][30, 30] = value
    stamp = make_stamp(cutout, HALF, lambda flags: flags < 0)
    assert not stamp.finite[HALF, HALF]
    assert stamp.finite.sum() == stamp.finite.size - 1


def test_a_missing_plane_is_told():
    cutout = _cutout(np.zeros((61, 61)))
    planes = {name: plane for name, plane in cutout.planes.items() if name not in {"ZODI", "SOLID_ANGLE"}}
    with pytest.raises(DetectorError, match="photometry needs ZODI, SOLID_ANGLE"):
        make_stamp(replace(cutout, planes=planes), HALF, lambda flags: flags < 0)


@pytest.mark.parametrize("radius", [0.3, 3.0, 5.0])
def test_the_overlap_is_the_circles_area(radius):
    within = overlap(_stamp(np.zeros((61, 61)), x=30.3, y=29.8), radius)
    assert within.sum() == pytest.approx(math.pi * radius**2, rel=1e-9)


def test_the_sum_is_brightness_times_solid_angle_above_the_background():
    stamp = _stamp(np.full((61, 61), 2.5), sigma=0.1)
    measured = add_up(stamp, overlap(stamp, 3.0), Background(0.5, 0.0, 100))
    assert measured.flux == pytest.approx(2.0 * math.pi * 9 * 40 * UJY_PER_MJY_SR_ARCSEC2)
    assert measured.n_pixels == pytest.approx(math.pi * 9)


def test_the_error_is_that_of_the_pixels_and_that_of_the_background_which_they_share():
    stamp = _stamp(np.zeros((61, 61)), sigma=0.1)
    within, scale = overlap(stamp, 3.0), 40 * UJY_PER_MJY_SR_ARCSEC2
    assert add_up(stamp, within, Background(0.0, 0.0, 9)).error == pytest.approx(0.1 * scale * np.sqrt((within**2).sum()))
    alone = replace(stamp, variance=np.full_like(stamp.variance, 1e-30))
    assert add_up(alone, within, Background(0.0, 0.02, 9)).error == pytest.approx(0.02 * scale * math.pi * 9)


def test_the_background_and_its_error_are_those_of_white_noise():
    rng = np.random.default_rng(11)
    found = [background(_stamp(rng.normal(0.7, 0.1, (61, 61))), (7.0, 16.0), []) for _ in range(300)]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    assert values.mean() == pytest.approx(0.7, abs=4 * values.std() / math.sqrt(300))
    assert values.std() == pytest.approx(errors.mean(), rel=0.15)


def test_stars_in_the_ring_are_clipped():
    rng = np.random.default_rng(12)
    light = rng.normal(0.7, 0.1, (61, 61))
    light[40:43, 30:33] += 50.0
    found = background(_stamp(light), (7.0, 16.0), [])
    assert found.value == pytest.approx(0.7, abs=5 * found.error)
    assert found.n_pixels == pytest.approx(math.pi * (16**2 - 7**2) - 9, abs=25)


def test_other_targets_in_the_ring_are_left_out_unless_they_fill_it():
    light = np.random.default_rng(13).normal(0.7, 0.1, (61, 61))
    stamp = _stamp(light)
    full = background(stamp, (7.0, 16.0), []).n_pixels
    some = background(stamp, (7.0, 16.0), [(HALF + 10.0, float(HALF))]).n_pixels
    assert full - some == pytest.approx(math.pi * 9, abs=8)
    crowd = [(float(x), float(y)) for x in range(0, 35, 3) for y in range(0, 35, 3)]
    assert background(stamp, (7.0, 16.0), crowd).n_pixels == full


def test_a_ring_with_next_to_no_good_pixels_tells_no_background():
    assert math.isnan(background(_stamp(np.zeros((9, 9)), x=4.0, y=4.0), (7.0, 16.0), []).value)


def test_a_ring_of_one_value_tells_it():
    found = background(_stamp(np.full((61, 61), 0.25)), (7.0, 16.0), [])
    assert (found.value, found.error) == (pytest.approx(0.25), 0.0)
