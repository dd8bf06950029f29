"""Photometry of sources of known flux, put on frames by code that shares nothing with the detector's."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect import open_detector
from raysearch.detect.photometry import Photometry
from raysearch.errors import ConfigError, DetectorError, NothingToSearch
from raysearch.model import Observation, Pixels, Target, Usage
from raysearch.read.image import ImageReader
from raysearch.read.store import StoreConfig
from raysearch.testing.spherex import make_frame
from raysearch.testing.spherex_boxes import boxes, starfield
from raysearch.testing.spherex_calibration import make_solid_angles
from raysearch.testing.spherex_pixels import injected
from raysearch.testing.spherex_spec import FLAG_BITS


def _measure(image, **options):
    """Return the records by target and method: `psf`, or the aperture's radius."""
    found = Photometry(**options).detect(Pixels("o", "u", images=(image,)))
    return {(c.target, c.values["method"] if c.values["method"] == "psf" else c.values["aperture_px"]): c.values for c in found}


def _compare(specs, method, change=lambda image, spec: image):
    """Return fluxes true and measured and errors, shape (3, n), of those that are told alone."""
    rows = []
    for spec in specs:
        image, true = boxes(spec)
        found = _measure(change(image, spec))
        rows += [
            (one.flux_ujy, values["flux_ujy"], values["flux_err_ujy"])
            for one in true
            if math.isfinite((values := found[one.source.name, method])["flux_ujy"]) and "one source" not in values["note"]
        ]
    return np.array(rows).T


def _own_variance(image, spec):
    """Return the image with VARIANCE as a pipeline works it out: from the noisy pixels themselves."""
    cutouts = []
    for cutout in image.cutouts:
        light = np.maximum(cutout.planes["IMAGE"], 0.03)
        cutouts.append(replace(cutout, planes={**cutout.planes, "VARIANCE": spec.noise**2 / 2 * (1 + light / spec.zodi)}))
    return replace(image, cutouts=tuple(cutouts))


SCENES = {
    "alone": ("psf", 20000.0, {}, {}, None),
    "alone, in apertures": (3.0, 1000.0, {}, {}, None),
    "crowded": ("psf", 5000.0, {"companions": 3}, {}, None),
    "on bad pixels": ("psf", 5000.0, {"blemish": "TRANSIENT"}, {"bad": 1.0}, None),
    "on bad pixels, in apertures": (3.0, 5000.0, {"blemish": "TRANSIENT"}, {}, None),
    "sloping zodiacal light": ("psf", 1000.0, {}, {"zodi_slope": (0.2, 0.4), "background": 0.05}, None),
    "variance from the data": ("psf", 1000.0, {}, {}, _own_variance),
    "third release": ("psf", 5000.0, {}, {"release": "qr3"}, None),
}


@pytest.mark.parametrize("name", SCENES)
def test_fluxes_are_true_and_so_are_their_errors(name):
    method, flux, field, changes, change = SCENES[name]
    specs = [replace(starfield(number, flux, **field), **changes) for number in (1001, 1002)]
    true, measured, error = _compare(specs, method, change or (lambda image, spec: image))
    off = measured - true
    assert abs(off.mean()) < 0.01 * true.mean() + 3 * off.std() / math.sqrt(len(off))
    by_chance = 2 / math.sqrt(2 * len(off))
    assert 0.9 - by_chance < np.std(off / error) < 1.1 + by_chance
    assert len(off) > 0.8 * 2 * 81


def test_faint_sources_in_a_crowd_are_not_swallowed():
    spec = starfield(1004, 200.0, companions=1)
    bright = tuple(replace(s, flux_ujy=20000.0) if "." in s.name else s for s in spec.sources)
    image, true = boxes(replace(spec, sources=bright))
    found = _measure(image)
    pulls = [
        (found[one.source.name, "psf"]["flux_ujy"] - 200.0) / found[one.source.name, "psf"]["flux_err_ujy"]
        for one in true
        if "." not in one.source.name
    ]
    assert np.std(pulls) < 1.25
    assert abs(np.mean(pulls)) < 0.35


@pytest.fixture(scope="module")
def single():
    return boxes(starfield(1005, 5000.0, across=1), side=61)


def _changed(image, **planes):
    """Return the image with changed planes, each by a function of the plane and the target's pixel."""
    cutouts = []
    for cutout in image.cutouts:
        copies = {name: plane.copy() for name, plane in cutout.planes.items()}
        for name, change in planes.items():
            change(copies[name], round(cutout.y) - cutout.y0, round(cutout.x) - cutout.x0)
        cutouts.append(replace(cutout, planes=copies))
    return replace(image, cutouts=tuple(cutouts))


def test_every_aperture_and_the_psf_have_a_record_with_exactly_the_declared_columns(single):
    image, _ = single
    found = Photometry().detect(Pixels("o", "u", images=(image,)))
    assert [(c.values["method"], c.values["aperture_px"]) for c in found[:3]] == [("aperture", r) for r in (3.0, 4.0, 5.0)]
    assert found[3].values["method"] == "psf"
    assert all(c.values.keys() == Photometry.columns.keys() for c in found)
    assert {c.values["band"] for c in found} == {"SPHEREx-D2"}
    assert {c.values["central_wavelength_um"] for c in found} == {image.cutouts[0].wavelength_um}
    assert {c.values["bandwidth_um"] for c in found} == {image.cutouts[0].bandwidth_um}


def test_without_psf_there_are_only_apertures_and_no_correction(single):
    found = _measure(single[0], psf=False)
    assert [method for _, method in found] == [3.0, 4.0, 5.0]
    assert {values["aperture_correction"] for values in found.values()} == {1.0}
    assert Photometry(psf=False).needs == ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "SOLID_ANGLE")
    assert Photometry().needs == (*Photometry(psf=False).needs, "PSF")


def test_the_magnitude_is_ab():
    from astropy import units as u

    image, _ = boxes(replace(starfield(1006, 5000.0, across=1), noise=1e-5))
    values = _measure(image)["s0", "psf"]
    assert values["ab_mag"] == pytest.approx((values["flux_ujy"] * u.uJy).to_value(u.ABmag), abs=1e-3)
    assert values["ab_mag_err"] == pytest.approx(1.0857 * values["flux_err_ujy"] / values["flux_ujy"], rel=1e-3)


def test_a_negative_flux_has_no_magnitude(single):
    def darken(plane, y, x):
        plane[y - 1 : y + 2, x - 1 : x + 2] = 0.0

    values = _measure(_changed(single[0], IMAGE=darken))["s0", 3.0]
    assert values["flux_ujy"] < 0
    assert math.isnan(values["ab_mag"])
    assert math.isnan(values["ab_mag_err"])


def test_a_small_aperture_is_corrected_for_the_light_outside_and_need_not_be(single):
    image, _ = single
    corrected, raw = _measure(image, apertures_px=[1.0])["s0", 1.0], _measure(image, apertures_px=[1.0], correct=False)["s0", 1.0]
    assert corrected["aperture_correction"] > 1.1
    assert corrected["flux_ujy"] == pytest.approx(raw["flux_ujy"] * corrected["aperture_correction"])
    assert corrected["flux_err_ujy"] == pytest.approx(raw["flux_err_ujy"] * corrected["aperture_correction"])
    assert corrected["flux_ujy"] == pytest.approx(5000.0, abs=5 * corrected["flux_err_ujy"])


def test_bad_pixels_are_counted_with_their_flags_and_made_up_for(single):
    def spoil(plane, y, x):
        plane[y + 1, x] |= 1 << FLAG_BITS["HOT"]

    def shine(plane, y, x):
        plane[y + 1, x] += 1000.0
        plane[y, x + 2] = np.nan

    values = _measure(_changed(single[0], FLAGS=spoil, IMAGE=shine))
    for method in (3.0, "psf"):
        of = values["s0", method]
        assert (of["n_bad"], of["n_nan"]) == (2, 1)
        assert of["flags"] & (1 << FLAG_BITS["HOT"])
        assert 0.5 < of["good_fraction"] < 0.95
        assert of["flux_ujy"] == pytest.approx(5000.0, abs=5 * of["flux_err_ujy"])
    assert values["s0", 3.0]["n_pixels"] == pytest.approx(math.pi * 9 - 2)


def test_bad_pixels_without_a_psf_are_left_out_and_told(single):
    def spoil(plane, y, x):
        plane[y, x] |= 1 << FLAG_BITS["HOT"]

    values = _measure(_changed(single[0], FLAGS=spoil), psf=False)["s0", 3.0]
    assert values["note"] == "1 pixels of the aperture are left out and, without a PSF, not made up for"
    assert values["flux_ujy"] < 4000.0


def test_a_source_whose_light_fell_on_bad_pixels_has_no_flux_but_a_note(single):
    def spoil(plane, y, x):
        plane[y - 1 : y + 2, x - 1 : x + 2] |= 1 << FLAG_BITS["NONLINEAR"]

    image = single[0]
    good, bad = image.cutouts[0], _changed(image, FLAGS=spoil).cutouts[0]
    both = replace(image, cutouts=(good, replace(bad, target=replace(bad.target, name="bad"))))
    values = _measure(both)
    for method in (3.0, 4.0, 5.0, "psf"):
        assert math.isnan(values["bad", method]["flux_ujy"])
        assert "of the source's light fell on bad pixels" in values["bad", method]["note"]


def test_flags_that_are_not_asked_for_do_no_harm(single):
    def spoil(plane, y, x):
        plane[y + 1, x] |= 1 << FLAG_BITS["HOT"]

    image = _changed(single[0], FLAGS=spoil)
    assert _measure(image)["s0", 3.0]["n_bad"] == 1
    assert _measure(image, bad_flags=["TRANSIENT"])["s0", 3.0]["n_bad"] == 0


def test_an_unknown_flag_is_told_with_the_known_ones(single):
    with pytest.raises(DetectorError, match=r"no flag WARM .*known are .*HOT"):
        _measure(single[0], bad_flags=["WARM"])


def test_a_box_clipped_by_the_images_edge_makes_up_for_what_is_outside():
    spec = starfield(1007, 5000.0, across=1)
    image, _ = boxes(spec)
    cutout = image.cutouts[0]
    cut = round(cutout.y) + 1 - cutout.y0  # rows up to the one above the target's
    clipped = replace(cutout, planes={name: plane[: cut + 1] for name, plane in cutout.planes.items()}, clipped=True)
    values = _measure(replace(image, cutouts=(clipped,)))
    for method in (3.0, "psf"):
        assert values["s0", method]["n_nan"] > 5
        assert values["s0", method]["flux_ujy"] == pytest.approx(5000.0, abs=5 * values["s0", method]["flux_err_ujy"])


def test_an_image_without_one_flux_is_skipped_with_the_reason(single):
    def blank(plane, y, x):
        plane[:] = np.nan

    with pytest.raises(NothingToSearch, match=r"s0: all pixels around the source are NaN, or outside the image"):
        _measure(_changed(single[0], IMAGE=blank))


def test_all_pixels_bad_is_another_reason(single):
    def spoil(plane, y, x):
        plane[:] |= 1 << FLAG_BITS["DICHROIC"]

    with pytest.raises(NothingToSearch, match="s0: all pixels around the source are bad or NaN"):
        _measure(_changed(single[0], FLAGS=spoil))


def test_a_box_too_small_for_the_annulus_says_so_and_its_psf_is_fitted_all_the_same():
    image, _ = boxes(starfield(1008, 5000.0, across=1), side=11)
    values = _measure(image)
    assert "`size` must hold the annulus" in values["s0", 3.0]["note"]
    assert values["s0", "psf"]["flux_ujy"] == pytest.approx(5000.0, abs=5 * values["s0", "psf"]["flux_err_ujy"])


def test_a_target_without_a_psf_says_so(single):
    image = replace(single[0], cutouts=tuple(replace(c, psf=None) for c in single[0].cutouts))
    values = _measure(image)
    assert values["s0", "psf"]["note"] == "the image has no PSF for it"
    assert values["s0", 3.0]["flux_ujy"] == pytest.approx(5000.0, abs=5 * values["s0", 3.0]["flux_err_ujy"])


def test_two_targets_in_one_place_are_told_to_be_one_source(single):
    image = single[0]
    twin = replace(image.cutouts[0], target=replace(image.cutouts[0].target, name="twin"), x=image.cutouts[0].x + 0.1)
    values = _measure(replace(image, cutouts=(*image.cutouts, twin)))
    assert values["s0", "psf"]["note"] == values["s0", 3.0]["note"] == "one source with twin, less than 0.5 pixels away"
    assert values["s0", "psf"]["flux_ujy"] == pytest.approx(5000.0, abs=5 * values["s0", "psf"]["flux_err_ujy"])


def test_three_targets_of_which_two_are_in_one_place_are_fitted(single):
    image = single[0]
    there = image.cutouts[0]
    others = [replace(there, target=replace(there.target, name=name), x=there.x + 2.0) for name in ("a", "b")]
    values = _measure(replace(image, cutouts=(there, *others)))
    assert values["s0", "psf"]["flux_ujy"] == pytest.approx(5000.0, abs=5 * values["s0", "psf"]["flux_err_ujy"])
    assert values["s0", "psf"]["neighbours"] == 1
    assert values["s0", 3.0]["note"] == "holds light of 2 of its neighbours too"
    assert values["s0", "psf"]["note"] == ""


def test_pixels_without_images_are_refused():
    with pytest.raises(DetectorError, match="photometry is of images"):
        Photometry().detect(Pixels("o", "u"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apertures_px": []}, "one or more radii above 0"),
        ({"apertures_px": [3, -1]}, "one or more radii above 0"),
        ({"apertures_px": ["three"]}, "radii in pixels"),
        ({"apertures_px": 3}, "radii in pixels"),
        ({"annulus_px": [7]}, "of the annulus two"),
        ({"annulus_px": [16, 7]}, "an inner and an outer radius"),
        ({"apertures_px": [8]}, "outside the largest aperture"),
        ({"annulus_px": [7, math.inf]}, "an inner and an outer radius"),
    ],
)
def test_radii_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        open_detector("photometry", options, "images")


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_fluxes_are_true_from_the_file_on(release):
    versions = {"qr2": "6.5.4+psffix1", "qr3": "7.0.5"}
    spec = replace(starfield(1009, 5000.0, across=3), release=release, pipeline=versions[release])
    files = {"memory://f.fits": make_frame(spec), "memory://omega2.fits": make_solid_angles(2, *spec.shape)}
    true = injected(spec)
    targets = tuple(Target(one.source.name, one.source.ra, one.source.dec) for one in true)

    async def read():
        store, detector = StoreConfig(memory=files), Photometry()
        reader = ImageReader(store, 0.07, detector.needs, solid_angles="memory://omega{detector}.fits")
        try:
            return detector.detect(await reader.read(Observation("o", ("memory://f.fits",), targets), Usage()))
        finally:
            await reader.close()

    records = asyncio.run(read())
    assert len(records) == 4 * 9
    waves = {one.source.name: one.wavelength_um for one in true}
    for values in (record.values for record in records):
        assert values["flux_ujy"] == pytest.approx(5000.0, abs=4 * values["flux_err_ujy"])
    assert all(r.values["central_wavelength_um"] == pytest.approx(waves[r.target], abs=1e-5) for r in records)
