"""Fluxes of known sources in both bands, and how the bands show a point."""

from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect.flags import BAD_FLAGS
from raysearch.detect.forced import fit
from raysearch.detect.frames import make_frame
from raysearch.detect.psf import on_pixels
from raysearch.detect.response import response
from raysearch.errors import DetectorError
from raysearch.testing.spherex_pairs import make_pair


def fitted(pixels, truths, off_px=0.0):
    short, long = (make_frame(image, image.cutouts[0], BAD_FLAGS) for image in pixels.images)
    seen = [response(image, image.cutouts[0]) for image in pixels.images]
    x, y = long.pixel(np.array([t.source.ra for t in truths]), np.array([t.source.dec for t in truths]))
    return fit(short, long, *seen, x + off_px, y - off_px), x, y


def test_the_response_is_the_psf_added_up_over_each_pixel():
    pixels, _ = make_pair(1, 40)
    image = pixels.images[0]
    box, seen = image.cutouts[0], response(image, image.cutouts[0])
    y, x = np.mgrid[:11, :11].astype(float)
    for at in ((5.0, 5.0), (5.43, 4.71), (4.57, 5.15)):
        wanted = on_pixels(box, *at, 11)
        assert seen.at(x - at[0], y - at[1]) == pytest.approx(wanted, abs=2e-3)
    assert seen.told


def test_without_a_psf_a_gaussian_as_wide_as_the_header_says_stands_in():
    pixels, _ = make_pair(1, 40)
    image = pixels.images[0]
    bare = replace(image.cutouts[0], psf=None)
    with pytest.raises(DetectorError, match="no PSF, and no PSF_FWHM"):
        response(image, bare)
    text = image.headers["IMAGE"] + "PSF_FWHM=                 5.22".ljust(80)
    stands_in = response(replace(image, headers={"IMAGE": text}), bare)
    assert not stands_in.told
    assert stands_in.variance == pytest.approx(response(image, image.cutouts[0]).variance, rel=0.15)


def test_fluxes_and_places_of_lone_sources():
    pixels, truths = make_pair(2, 100, 25, apart_px=12.0, flux_ujy=(5000.0, 20_000.0))
    found, x, y = fitted(pixels, truths, off_px=0.3)
    for band, number in ((found.short, 0), (found.long, 1)):
        flux = np.array([t.flux[number] for t in truths])
        assert np.median(band.flux / flux) == pytest.approx(1.0, abs=0.01)
        assert np.std((band.flux - flux) / band.error) < 1.6
        assert band.error == pytest.approx(np.array([t.error[number] for t in truths]), rel=0.1)
    assert np.hypot(found.long.x - x, found.long.y - y).max() < 0.1
    assert np.nanmedian(found.error_px) < 0.03


def test_neighbours_do_not_lend_each_other_light():
    pixels, truths = make_pair(3, 100, 90, apart_px=2.5, flux_ujy=(3000.0, 10_000.0))
    found, _, _ = fitted(pixels, truths)
    flux = np.array([t.flux[0] for t in truths])
    assert np.median(found.short.flux / flux) == pytest.approx(1.0, abs=0.01)
    assert 1.4826 * np.median(np.abs((found.short.flux - flux) / found.short.error)) < 1.5


def test_bad_pixels_are_left_out_and_too_many_leave_no_flux():
    pixels, truths = make_pair(4, 80, 8, apart_px=12.0, flux_ujy=(5000.0, 9000.0))
    image = pixels.images[1]
    box = image.cutouts[0]
    flags, light = box.planes["FLAGS"].copy(), box.planes["IMAGE"].copy()
    clean, x, y = fitted(pixels, truths)
    column, row = round(float(x[0])), round(float(y[0]))
    flags[row - 3 : row + 4, column - 3 : column + 4] |= image.flags["TRANSIENT"]
    one = (round(float(y[1])), round(float(x[1])) + 1)
    flags[one] |= image.flags["TRANSIENT"]
    light[one] = 1e4
    spoiled = replace(box, planes={**box.planes, "FLAGS": flags, "IMAGE": light})
    found, _, _ = fitted(replace(pixels, images=(pixels.images[0], replace(image, cutouts=(spoiled,)))), truths)
    assert np.isnan(found.long.flux[0])
    assert np.isfinite(found.short.flux).all()
    assert found.long.flux[1] == pytest.approx(clean.long.flux[1], abs=4 * found.long.error[1])
    assert found.long.light[1] < 1


def test_beside_a_bad_pixel_the_place_is_unsure_and_the_flux_knows():
    """What is left of the light is not even: a source a little farther off would be a little brighter."""
    pixels, truths = make_pair(5, 100, 25, apart_px=12.0, flux_ujy=(5000.0, 9000.0), blemished=True)
    found, _, _ = fitted(pixels, truths)
    lone = np.array([t.error for t in truths])
    more = np.stack([found.short.error, found.long.error], axis=1) / lone
    whole = np.array([t.light for t in truths]) > 0.99
    assert np.nanmax(more[whole]) < 1.15
    assert np.nanmax(more[~whole]) > 1.25
    pulls = (np.stack([found.short.flux, found.long.flux], axis=1) - [t.flux for t in truths]) / lone / more
    assert np.nanstd(pulls) < 1.5
