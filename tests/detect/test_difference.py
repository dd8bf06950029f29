"""Sources that are brighter in one of two bands: found with their sign, and not where there are none."""

import math
from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect import open_detector
from raysearch.detect.catalogue import Source, joined
from raysearch.detect.difference import COLUMNS, Difference
from raysearch.detect.extract import Detection
from raysearch.detect.frames import celestial
from raysearch.errors import ConfigError, DetectorError, NothingToSearch
from raysearch.testing.spherex_pairs import as_resolved, make_pair

FIRST = 50_000
"""Seed of the first region."""


def found(pixels, catalogue="difference", **options):
    return [c.values for c in Difference(**options).detect(pixels) if c.values["catalogue"] == catalogue]


def of(truth, records, near_arcsec=6.0):
    """Return the record of an injected source, or None."""
    for values in records:
        east = (values["ra"] - truth.source.ra) * math.cos(math.radians(truth.source.dec))
        if math.hypot(east, values["dec"] - truth.source.dec) * 3600 < near_arcsec:
            return values
    return None


def account(seeds, **about):
    """Return how many sources above 5 sigma there are, how many were found with their sign, and with a wrong one; and flat ones."""
    there = right = wrong = coloured = 0
    for seed in seeds:
        pixels, truths = make_pair(seed, 80, **about)
        records = found(pixels)
        for truth in as_resolved(truths):
            values = of(truth, records)
            if truth.kind == "flat":
                coloured += values is not None
            elif min(truth.light) >= 0.5:
                wrong += values is not None and values["kind"] != truth.kind
                there += truth.sigmas >= 5
                right += truth.sigmas >= 5 and values is not None and values["kind"] == truth.kind
    return there, right, wrong, coloured


@pytest.mark.parametrize(
    ("seeds", "about", "least"),
    [
        (range(FIRST, FIRST + 4), {"sources": 9, "apart_px": 12.0}, 0.95),
        (range(FIRST + 5, FIRST + 7), {"sources": 45, "apart_px": 2.5}, 0.95),
        (range(FIRST + 14, FIRST + 16), {"sources": 50}, 0.9),
        (range(FIRST + 9, FIRST + 13), {"sources": 9, "apart_px": 12.0, "blemished": True, "bad": 1.0}, 0.95),
    ],
    ids=["alone", "crowded", "anywhere", "on bad pixels"],
)
def test_red_is_found_as_red_and_blue_as_blue(seeds, about, least):
    there, right, wrong, coloured = account(seeds, **about)
    assert there >= 15
    assert right >= least * there
    assert wrong == 0
    assert coloured <= 1


def test_a_bright_star_of_equal_fluxes_is_no_pair_of_red_and_blue():
    """The difference of two equal stars is not empty: the pixels are wider than the PSF."""
    pixels, truths = make_pair(FIRST + 20, 80, 9, apart_px=12.0, flux_ujy=(50_000.0, 90_000.0))
    flat = [truth for truth in truths if truth.kind == "flat"]
    records = found(pixels)
    assert len(flat) == 3
    assert not [truth.source.name for truth in flat if of(truth, records, 20.0)]


def test_nothing_is_found_in_noise_more_often_than_asked():
    counts = {"white": 0, "bad": 0}
    for seed in range(FIRST + 30, FIRST + 35):
        for name, about in (("white", {}), ("bad", {"bad": 1.0})):
            pixels, _ = make_pair(seed, 60, **about)
            counts[name] += len(found(pixels, false_alarm=0.5))
    assert all(count <= 7 for count in counts.values())  # 2.5 asked


def test_flagged_pixels_make_no_sources_but_do_when_their_flag_is_taken_for_good():
    """The published notebook shows its mask, and searches without it."""
    pixels, _ = make_pair(FIRST + 50, 60)
    image = pixels.images[1]
    box = image.cutouts[0]
    flags, light = box.planes["FLAGS"].copy(), box.planes["IMAGE"].copy()
    flags[20, 31] |= image.flags["HOT"]
    light[20, 31] += 5.0
    spoiled = replace(box, planes={**box.planes, "FLAGS": flags, "IMAGE": light})
    pair = replace(pixels, images=(pixels.images[0], replace(image, cutouts=(spoiled,))))
    assert not [r for r in found(pair) if r["snr"] > 8]
    (red,) = [r for r in found(pair, bad_flags=["TRANSIENT"]) if r["snr"] > 8]
    assert red["kind"] == "red"
    assert red["flags_b"] & image.flags["HOT"]


def test_the_longer_wavelength_is_b_in_whatever_order_the_bands_come():
    pixels, truths = make_pair(FIRST + 60, 80, 9, apart_px=12.0, flux_ujy=(2000.0, 9000.0))
    turned, records = replace(pixels, images=pixels.images[::-1]), found(pixels)
    assert repr(found(turned)) == repr(records)
    for truth in truths:
        values = of(truth, records)
        if truth.kind == "flat":
            continue
        assert values is not None
        assert (values["band_a"], values["band_b"]) == ("SPHEREx-D2", "SPHEREx-D4")
        assert 1.0 < values["central_wavelength_a_um"] < 1.7
        assert 2.3 < values["central_wavelength_b_um"] < 3.9
        short, long = truth.flux
        assert values["flux_a_ujy"] == pytest.approx(short, abs=5 * truth.error[0] + 0.02 * short)
        assert values["flux_b_ujy"] == pytest.approx(long, abs=5 * truth.error[1] + 0.02 * long)
        assert values["difference_ujy"] == pytest.approx(values["flux_b_ujy"] - values["flux_a_ujy"])
        assert values["colour"] == pytest.approx(-2.5 * math.log10(short / long), abs=5 * values["colour_err"] + 0.03)
        assert (values["colour"] > 0) == (values["kind"] == "red")
        assert values["false_alarm"] <= 0.1


def test_what_an_unresolved_pair_leaves_beside_it_has_no_colour():
    """A flat source and a red one, 1.47 pixels apart: their common profile fits badly, and the rest was called blue."""
    pixels, truths = make_pair(44_031, 100, 80)
    flat = min(truths, key=lambda truth: abs(truth.flux[0] - 6074) + abs(truth.flux[1] - 6074))
    assert flat.kind == "flat"
    assert {values["kind"] for values in found(pixels) if of(flat, [values], 18.0)} == {"red"}


def test_sources_that_come_too_near_to_each_other_are_one():
    sources = [Source(5.0, 5.0, {"red": Detection(5.0, 5.0, 9.0, 0.1)}), Source(6.6, 5.0, {"a": Detection(6.6, 5.0, 8.0, 0.1)})]
    places = np.array([5.0, 6.4]), np.array([5.0, 5.0])
    (one,) = joined(sources, *places)
    assert (one.x, set(one.seen)) == (5.0, {"red", "a"})
    assert joined(sources, np.array([5.0, 6.6]), places[1]) == sources


def test_each_band_has_its_own_list_beside():
    pixels, truths = make_pair(FIRST + 70, 80, 9, apart_px=12.0, flux_ujy=(2000.0, 9000.0))
    for catalogue in ("a", "b"):
        records = found(pixels, catalogue)
        assert all(of(truth, records) for truth in truths)
        assert all(values["kind"] == "" for values in records)
    short, long = (found(pixels, name) for name in ("a", "b"))
    assert all(of(truth, short)["source"] == of(truth, long)["source"] for truth in truths)
    assert {c.values["catalogue"] for c in Difference(bands=False).detect(pixels)} == {"difference"}


def test_one_colour_alone():
    pixels, _ = make_pair(FIRST + 80, 80, 9, apart_px=12.0, flux_ujy=(2000.0, 9000.0))
    assert {values["kind"] for values in found(pixels, colours="red")} == {"red"}
    assert {values["kind"] for values in found(pixels, colours="blue")} == {"blue"}


def test_records_keep_their_columns_and_come_in_the_same_order_again():
    pixels, _ = make_pair(FIRST + 90, 60, 9, bad=1.0)
    records = Difference().detect(pixels)
    assert records
    assert all(set(record.values) == set(COLUMNS) for record in records)
    assert repr([r.values for r in records]) == repr([r.values for r in Difference().detect(pixels)])
    assert all(record.target == "centre" for record in records)


def test_a_source_at_the_border_says_so():
    pixels, truths = make_pair(FIRST + 95, 60, 12, apart_px=6.0, flux_ujy=(5000.0, 9000.0))
    image = pixels.images[1]
    box = image.cutouts[0]
    x = max(truths, key=lambda t: t.sigmas)
    column = round(float(box.x) - box.x0)
    cut = replace(
        box, planes={name: np.ascontiguousarray(plane[:, : column + 4]) for name, plane in box.planes.items()}, clipped=True
    )
    records = Difference().detect(replace(pixels, images=(pixels.images[0], replace(image, cutouts=(cut,)))))
    assert x
    assert any("edge: near the border of the box in SPHEREx-D4" in record.values["note"] for record in records)


def test_one_bad_region_does_not_cost_the_others():
    pixels, _ = make_pair(FIRST + 96, 60, 9, apart_px=8.0, flux_ujy=(5000.0, 9000.0))
    images = []
    for image in pixels.images:
        box = image.cutouts[0]
        empty = {**box.planes, "IMAGE": np.full_like(box.planes["IMAGE"], np.nan)}
        images.append(replace(image, cutouts=(replace(box, target=replace(box.target, name="empty"), planes=empty), box)))
    both = replace(pixels, images=tuple(images))
    assert {record.target for record in Difference().detect(both)} == {"centre"}
    alone = replace(pixels, images=tuple(replace(image, cutouts=image.cutouts[:1]) for image in images))
    with pytest.raises(NothingToSearch, match="has 0 good pixels around empty"):
        Difference().detect(alone)


def test_a_target_beside_the_image_does_not_cost_the_others():
    """There no wavelength is known, and the mean of all was not known either."""
    pixels, _ = make_pair(FIRST + 96, 60, 9, apart_px=8.0, flux_ujy=(5000.0, 9000.0))
    images = []
    for image in pixels.images:
        box = image.cutouts[0]
        beside = replace(box, target=replace(box.target, name="beside"), wavelength_um=math.nan)
        images.append(replace(image, cutouts=(beside, box)))
    assert "centre" in {record.target for record in Difference().detect(replace(pixels, images=tuple(images)))}


def test_what_was_compared_can_be_shown_of_any_pair_at_any_time():
    pixels, truths = make_pair(FIRST + 98, 60, 6, apart_px=12.0, flux_ujy=(5000.0, 9000.0))
    other, _ = make_pair(FIRST + 99, 60)
    detector = Difference()
    (shown,) = detector.triptych(pixels)
    detector.detect(other)
    (again,) = detector.triptych(pixels)
    assert np.array_equal(shown.difference, again.difference, equal_nan=True)
    assert (shown.target, shown.unit, shown.header) == ("centre", "µJy", again.header)
    assert shown.a.shape == shown.b.shape == pixels.images[1].cutouts[0].shape
    assert np.array_equal(shown.difference, shown.b - shown.a, equal_nan=True)
    wcs = celestial(shown.header)
    for truth in truths:
        x, y = (round(float(place)) for place in wcs.all_world2pix(truth.source.ra, truth.source.dec, 0))
        around = float(np.nansum(shown.difference[y - 2 : y + 3, x - 2 : x + 3]))
        assert around == pytest.approx(truth.flux[1] - truth.flux[0], abs=0.1 * sum(truth.flux))


def test_what_is_no_pair_is_told():
    pixels, _ = make_pair(FIRST + 97, 40)
    with pytest.raises(DetectorError, match="a pair has two images, not 1"):
        Difference().detect(replace(pixels, images=pixels.images[:1]))
    blind = replace(pixels.images[0], cutouts=(replace(pixels.images[0].cutouts[0], wavelength_um=math.nan),))
    with pytest.raises(DetectorError, match="does not say at which wavelength"):
        Difference().detect(replace(pixels, images=(blind, pixels.images[1])))
    with pytest.raises(DetectorError, match="no flag WARM in this image's header: known are"):
        Difference(bad_flags=["WARM"]).detect(pixels)


@pytest.mark.parametrize(
    ("option", "value"),
    [("colours", "green"), ("false_alarm", 0), ("false_alarm", True), ("false_alarm", "0.1"), ("bad_flags", "HOT"), ("bands", 1)],
)
def test_wrong_options_are_told(option, value):
    with pytest.raises(ConfigError, match=option):
        open_detector("difference", {option: value}, "pairs")


def test_it_is_opened_by_its_name():
    detector = open_detector("difference", {"colours": "red", "bad_flags": ["HOT"]}, "pairs")
    assert isinstance(detector, Difference)
    assert set(detector.needs) >= {"IMAGE", "FLAGS", "VARIANCE", "ZODI", "SOLID_ANGLE"}
