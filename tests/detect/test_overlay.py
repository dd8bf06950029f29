"""One band of a pair made ready, and both on one grid."""

from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect.flags import BAD_FLAGS
from raysearch.detect.frames import background, celestial, make_frame
from raysearch.detect.overlay import overlay, reproject, smooth
from raysearch.detect.response import response
from raysearch.errors import DetectorError, NothingToSearch
from raysearch.testing.fields import Field
from raysearch.testing.spherex_pairs import CENTRE, boxes_of, make_pair
from raysearch.testing.spherex_spec import PIXEL_ARCSEC, FrameSpec, PointSource


def frames(pixels):
    return [make_frame(image, image.cutouts[0], BAD_FLAGS) for image in pixels.images]


def specs(size, stars, turns=(12.0, 57.0), arcsec=(PIXEL_ARCSEC, PIXEL_ARCSEC), **about):
    fields = [Field(*CENTRE, size, size, wide, rotation=turn) for turn, wide in zip(turns, arcsec, strict=True)]
    return [FrameSpec(i + 1, detector, fields[i], sources=stars, **about) for i, detector in enumerate((2, 4))]


def stars(flux, places):
    return tuple(PointSource(f"s{i}", CENTRE[0] + x, CENTRE[1] + y, flux) for i, (x, y) in enumerate(places))


def sums(light, grid, sources, radius=3.0):
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    at = [grid.pixel(np.array([s.ra]), np.array([s.dec])) for s in sources]
    return np.array([light[np.hypot(x - px[0], y - py[0]) <= radius].sum() for px, py in at])


PLACES = [(-0.02, -0.03), (0.03, 0.01), (0.0, 0.035), (0.025, -0.025), (-0.035, 0.02)]


def test_light_is_brightness_above_zodi_and_background_and_bad_pixels_have_none():
    pixels, _ = make_pair(1, 60, bad=2.0)
    frame = frames(pixels)[0]
    assert abs(np.median(frame.light[frame.good])) < 0.002
    assert (frame.light[~frame.good] == 0).all()
    assert 0.02 < (~frame.good).mean() < 0.2


def test_a_box_without_data_is_nothing_to_search():
    pixels, _ = make_pair(1, 40)
    image = pixels.images[0]
    box = image.cutouts[0]
    empty = replace(box, planes={**box.planes, "IMAGE": np.full_like(box.planes["IMAGE"], np.nan)})
    with pytest.raises(NothingToSearch, match=r"SPHEREx-D2 of .* has 0 good pixels around centre"):
        make_frame(image, empty, BAD_FLAGS)


def test_a_missing_plane_is_named():
    pixels, _ = make_pair(1, 40)
    image = pixels.images[0]
    box = image.cutouts[0]
    lacking = replace(box, planes={name: plane for name, plane in box.planes.items() if name != "SOLID_ANGLE"})
    with pytest.raises(DetectorError, match="a pair needs SOLID_ANGLE of"):
        make_frame(image, lacking, BAD_FLAGS)


def test_a_header_without_a_place_on_the_sky_is_told():
    with pytest.raises(DetectorError, match="lacks CTYPE1, CTYPE2, CRVAL1"):
        celestial("EXTNAME = 'IMAGE   '".ljust(80))


def test_places_go_to_the_sky_and_back_with_the_distortion():
    pixels, truths = make_pair(3, 80, 5, apart_px=10.0, noise=1e-4, flux_ujy=(5000.0, 5000.0))
    long = frames(pixels)[1]
    for truth in truths:
        x, y = long.pixel(np.array([truth.source.ra]), np.array([truth.source.dec]))
        row, column = round(float(y[0])), round(float(x[0]))
        around = long.light[row - 1 : row + 2, column - 1 : column + 2]
        steps = np.arange(-1, 2)
        assert abs((around * steps).sum() / around.sum() + column - x[0]) < 0.15
        assert abs((around * steps[:, None]).sum() / around.sum() + row - y[0]) < 0.15


def test_the_background_follows_a_slope():
    y, x = np.mgrid[:150, :150]
    rng = np.random.default_rng(4)
    slope = 1e-3 * x
    told = background(slope + 0.02 * rng.standard_normal((150, 150)), np.ones((150, 150), bool))
    assert np.abs(told - slope)[30:120, 30:120].max() < 0.02
    assert y.shape == told.shape


def test_the_background_is_that_of_the_pixels_without_sources():
    rng = np.random.default_rng(5)
    light = 0.3 + 0.02 * rng.standard_normal((120, 120))
    stars, good = rng.integers(2, 118, (2, 150)), np.ones((120, 120), bool)
    light[tuple(stars)] += rng.uniform(0.1, 20.0, 150)
    light[50:53, :] = -9.0
    good[50:53, :] = False
    good[:60, :60] = rng.random((60, 60)) < 0.05  # one mesh has next to nothing
    assert background(light, good) == pytest.approx(0.3, abs=0.004)
    small = light[:30, 60:85].copy()
    assert background(small, np.ones(small.shape, bool)) == pytest.approx(0.3, abs=0.004)


def test_a_box_tells_the_background_that_the_whole_image_tells():
    """By the mode of each mesh, as Source Extractor has it, they would differ by three times as much."""
    apart = []
    for seed in range(10):
        light = np.random.default_rng((6, seed)).standard_normal((640, 640))
        good = np.ones(light.shape, bool)
        box = slice(245, 395), slice(245, 395)
        apart.append((background(light, good)[box] - background(light[box].copy(), good[box].copy()))[25:-25, 25:-25])
    assert np.std(apart) < 0.012


def test_reprojection_keeps_the_flux_whatever_the_areas_of_the_pixels():
    """Flux of each pixel reprojected, as the notebook has it, would be wrong by the ratio of the pixels' solid angles."""
    sources = stars(50_000.0, PLACES)
    short, long = frames(boxes_of(specs(90, sources, arcsec=(5.9, 6.4), noise=1e-5), CENTRE, 60))
    light, share, _ = reproject(short, long)
    ratio = sums(light * long.ujy, long, sources, 4.0) / 50_000.0
    assert share[20:40, 20:40] == pytest.approx(1.0)
    assert ratio == pytest.approx(1.0, abs=0.003)
    assert np.median(short.ujy) / np.median(long.ujy) < 0.9


def test_crop_first_gives_the_flux_of_whole_frames_reprojected():
    sources = stars(20_000.0, PLACES)
    wanted = specs(260, sources)
    whole, part = (frames(boxes_of(wanted, CENTRE, side)) for side in (999, 70))
    box, (ny, nx) = part[0].cutout, part[0].shape
    shared = replace(part[0], light=whole[0].light[box.y0 : box.y0 + ny, box.x0 : box.x0 + nx])
    theirs, _, _ = reproject(*whole)
    grid = part[1].cutout
    theirs = theirs[grid.y0 : grid.y0 + 70, grid.x0 : grid.x0 + 70]
    ours, share, _ = reproject(shared, part[1])
    inside = share > 0.999
    assert inside.mean() > 0.6
    assert np.abs(ours - theirs)[inside].max() < 1e-9
    own, _, _ = reproject(*part)  # with the box's own background
    assert sums(own, part[1], sources) / sums(theirs, part[1], sources) == pytest.approx(1.0, abs=2e-3)


def test_a_bad_pixel_is_kept_out_of_those_that_it_covers():
    pixels, _ = make_pair(5, 50, noise=0.01)
    short, long = frames(pixels)
    spoiled = short.good.copy()
    spoiled[25, 25] = False
    bright = short.light.copy()
    bright[25, 25] = 1e6
    light, share, _ = reproject(replace(short, light=bright, good=spoiled), long)
    assert light.max() < 0.1
    ra, dec = short.sky(np.array([25.0]), np.array([25.0]))
    x, y = long.pixel(ra, dec)
    assert share[round(float(y[0])), round(float(x[0]))] < 0.75


def test_sources_are_equally_wide_in_both_bands():
    sources = stars(50_000.0, [(0.0, 0.0)])
    pixels = boxes_of(specs(90, sources, noise=1e-5), CENTRE, 60)
    short, long = frames(pixels)
    seen = [response(image, image.cutouts[0]) for image in pixels.images]
    both = overlay(short, long, *seen)
    y, x = np.mgrid[:60, :60]
    widths = []
    for light in (both.short, both.long):
        near = np.hypot(x - 30, y - 30) < 4
        total = light[near].sum()
        cx, cy = (light * x)[near].sum() / total, (light * y)[near].sum() / total
        widths.append(((light * ((x - cx) ** 2 + (y - cy) ** 2))[near].sum() / total) / 2)
    assert widths[0] == pytest.approx(widths[1], rel=0.08)
    assert sum(widths) / 2 == pytest.approx(both.width2, rel=0.15)


def test_smoothing_keeps_the_light_and_adds_its_variance():
    light = np.zeros((21, 21))
    light[10, 10] = 1.0
    wide = smooth(light, np.ones((21, 21), bool), 0.2)
    y, x = np.mgrid[:21, :21]
    assert wide.sum() == pytest.approx(1.0)
    assert (wide * (x - 10) ** 2).sum() == pytest.approx(0.2)
    assert (wide * (y - 10) ** 2).sum() == pytest.approx(0.2)


def test_boxes_that_do_not_meet_are_nothing_to_search():
    pixels, _ = make_pair(6, 40)
    other = boxes_of(specs(60, (), turns=(0.0, 0.0)), CENTRE, 40)
    short = frames(other)[0]
    far = replace(short, wcs=short.wcs.deepcopy())
    far.wcs.wcs.crval = [CENTRE[0] + 0.5, CENTRE[1]]
    image, box = other.images[0], other.images[0].cutouts[0]
    with pytest.raises(NothingToSearch, match=r"do not overlap around centre|share no good pixel"):
        overlay(far, frames(pixels)[1], response(image, box), response(image, box))
