"""What can be told apart on a pair: sources nearer to each other than the resolution are one."""

import math

import pytest

from raysearch.testing.spherex_pairs import RESOLUTION_PX, Truth, apart_px, as_resolved
from raysearch.testing.spherex_spec import PIXEL_ARCSEC, PointSource

FWHM = 2 * math.sqrt(2 * math.log(2))


def truth(name, x_px, flux, light=(1.0, 1.0)):
    dec = 60.0
    source = PointSource(name, 150.0 + x_px * PIXEL_ARCSEC / 3600 / math.cos(math.radians(dec)), dec, 0.0)
    return Truth(source, flux, (10.0 * sum(flux), 20.0), light, 0.0)


def test_the_resolution_is_that_of_the_psf_on_the_pixels_filtered_with_itself():
    profile = math.hypot(5.2 / FWHM, PIXEL_ARCSEC / math.sqrt(12))
    assert pytest.approx(math.sqrt(2) * profile * FWHM / PIXEL_ARCSEC, abs=0.05) == RESOLUTION_PX


def test_sources_that_cannot_be_told_apart_are_one_with_their_summed_fluxes():
    blend, lone = as_resolved(
        [truth("a", 0.0, (100.0, 200.0)), truth("b", 1.0, (500.0, 100.0), (1.0, 0.4)), truth("c", 9.0, (1.0, 1.0))]
    )
    assert (blend.source.name, blend.flux, blend.kind, blend.error) == ("b", (600.0, 300.0), "blue", (6000.0, 20.0))
    assert blend.light == (pytest.approx(1.0), pytest.approx(0.8))
    assert apart_px(blend.source, truth("d", 6 / 9, (1.0, 1.0)).source) == pytest.approx(0.0, abs=1e-3)
    assert (lone.source.name, lone.kind) == ("c", "flat")
    assert lone.neighbour_px == blend.neighbour_px == pytest.approx(9 - 6 / 9, abs=1e-3)


def test_a_chain_is_one_and_what_is_far_enough_stays():
    chain = [truth(str(x), x, (10.0, 30.0)) for x in (0.0, 2.8, 1.4)]
    (one,) = as_resolved(chain)
    assert one.flux == (30.0, 90.0)
    assert one.neighbour_px == math.inf
    assert len(as_resolved([chain[0], chain[1]])) == 2
