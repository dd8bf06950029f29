"""The published search of a pair, with its flaws."""

import math
from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect import open_detector
from raysearch.detect.frames import celestial
from raysearch.errors import DetectorError, NothingToSearch
from raysearch.testing.spherex_pairs import make_pair


def near(truth, records):
    return [
        values for values in records if math.hypot(values["ra"] - truth.source.ra, values["dec"] - truth.source.dec) * 3600 < 6.0
    ]


def test_it_finds_blue_sources_and_misses_red_ones_as_printed():
    """The notebook says that it finds red ones, and subtracts the long wavelength from the short."""
    pixels, truths = make_pair(60_000, 100, 24, apart_px=10.0, flux_ujy=(3000.0, 9000.0))
    records = [c.values for c in open_detector("published", {}, "pairs").detect(pixels)]
    blue, red = ([t for t in truths if t.kind == kind] for kind in ("blue", "red"))
    assert sum(bool(near(t, records)) for t in blue) >= 7
    assert sum(any(values["flux_ujy"] > 0.3 * (t.flux[1] - t.flux[0]) for values in near(t, records)) for t in red) == 0
    assert {values["kind"] for values in records} == {"blue"}


def test_flagged_pixels_are_searched_as_printed():
    pixels, _ = make_pair(60_001, 60)
    image = pixels.images[0]
    box = image.cutouts[0]
    flags, light = box.planes["FLAGS"].copy(), box.planes["IMAGE"].copy()
    flags[28:30, 28:30] |= image.flags["HOT"]
    light[28:30, 28:30] += 5.0
    spoiled = replace(box, planes={**box.planes, "FLAGS": flags, "IMAGE": light})
    pair = replace(pixels, images=(replace(image, cutouts=(spoiled,)), pixels.images[1]))
    records = [c.values for c in open_detector("published", {}, "pairs").detect(pair)]
    assert max(values["snr"] for values in records) > 20


def test_what_cannot_be_searched_is_told():
    detector = open_detector("published", {}, "pairs")
    pixels, _ = make_pair(60_002, 40)
    image = pixels.images[0]
    box = image.cutouts[0]
    with pytest.raises(DetectorError, match="a pair has two images"):
        detector.detect(replace(pixels, images=(image,)))
    lacking = replace(image, cutouts=(replace(box, planes={"IMAGE": box.planes["IMAGE"]}),))
    with pytest.raises(DetectorError, match="needs SOLID_ANGLE"):
        detector.detect(replace(pixels, images=(lacking, pixels.images[1])))
    other = replace(image, cutouts=(replace(box, target=replace(box.target, name="other")),))
    with pytest.raises(NothingToSearch, match="no target lies on both images"):
        detector.detect(replace(pixels, images=(other, pixels.images[1])))


def test_a_region_that_shares_no_pixel_does_not_cost_the_others():
    pixels, _ = make_pair(60_003, 80, 9, apart_px=10.0, flux_ujy=(3000.0, 9000.0))
    short, long = pixels.images
    boxes = []
    for image, moved in ((short, 0), (long, 1000)):
        box = image.cutouts[0]
        boxes.append(replace(image, cutouts=(replace(box, target=replace(box.target, name="apart"), x0=box.x0 + moved), box)))
    detector = open_detector("published", {}, "pairs")
    assert {record.target for record in detector.detect(replace(pixels, images=tuple(boxes)))} == {"centre"}
    alone = tuple(replace(image, cutouts=image.cutouts[:1]) for image in boxes)
    with pytest.raises(NothingToSearch, match="share no pixel around apart"):
        detector.detect(replace(pixels, images=alone))


def test_pixels_without_a_value_do_not_spoil_the_others():
    pixels, truths = make_pair(60_003, 80, 9, apart_px=10.0, flux_ujy=(3000.0, 9000.0))
    image = pixels.images[0]
    box = image.cutouts[0]
    light = box.planes["IMAGE"].copy()
    light[5, 5] = np.nan
    holed = replace(image, cutouts=(replace(box, planes={**box.planes, "IMAGE": light}),))
    records = [c.values for c in open_detector("published", {}, "pairs").detect(replace(pixels, images=(holed, pixels.images[1])))]
    assert all(near(t, records) for t in truths if t.kind == "blue")


def test_it_shows_what_it_compares():
    pixels, truths = make_pair(60_004, 80, 9, apart_px=10.0, flux_ujy=(3000.0, 9000.0))
    [shown] = open_detector("published", {}, "pairs").triptych(pixels)
    image = pixels.images[1]
    assert shown.a.shape == shown.b.shape == shown.difference.shape == image.cutouts[0].shape
    np.testing.assert_allclose(shown.difference, shown.b - shown.a)
    wcs = celestial(shown.header)
    for truth in truths:
        x, y = (round(float(value)) for value in wcs.all_world2pix(truth.source.ra, truth.source.dec, 0))
        light = shown.difference[y - 1 : y + 2, x - 1 : x + 2].sum()
        assert (light > 0) == (truth.kind == "red") or truth.kind not in {"red", "blue"}
