"""Boxes made without a file hold what the file would."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from raysearch.testing.spherex import make_frame
from raysearch.testing.spherex_boxes import boxes, starfield


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_boxes_are_those_of_the_frame(release):
    spec = replace(starfield(3001, 1000.0, across=2, companions=1, blemish="HOT"), release=release, psf_side=101)
    image, true = boxes(spec, side=61)
    with fits.open(io.BytesIO(make_frame(spec))) as file:
        for cutout, one in zip(image.cutouts, true, strict=True):
            rows, columns = (slice(first, first + size) for first, size in zip((cutout.y0, cutout.x0), cutout.shape, strict=True))
            for name in ("IMAGE", "FLAGS", "VARIANCE", "ZODI"):
                np.testing.assert_array_equal(cutout.planes[name], file[name].data[rows, columns])
            assert (cutout.x, cutout.y) == (one.x, one.y)
            planes = file["PSF"].data if release == "qr2" else file["EPSF"].data["EPSF"].reshape(-1, *cutout.psf.shape)
            assert any(np.allclose(cutout.psf, plane) for plane in planes)
            assert cutout.psf_effective == (release == "qr3")
    assert any(cutout.clipped for cutout in image.cutouts)


def test_only_the_sources_named_get_a_box():
    image, true = boxes(starfield(3002, 1000.0, across=2, companions=2), only=["s1", "s1.0"])
    assert [cutout.target.name for cutout in image.cutouts] == [one.source.name for one in true] == ["s1", "s1.0"]


def test_the_same_number_gives_the_same_field():
    assert starfield(5, 10.0, companions=1, blemish="HOT") == starfield(5, 10.0, companions=1, blemish="HOT")
    assert starfield(5, 10.0) != starfield(6, 10.0)
