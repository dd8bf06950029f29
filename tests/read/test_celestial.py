"""Targets lie where astropy has them, distortion included."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from raysearch.errors import FormatError
from raysearch.model import Target
from raysearch.read.celestial import Celestial

CARDS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.01, "CRVAL2": 66.0, "CRPIX1": 50.0, "CRPIX2": 50.0}
CARDS |= {"CDELT1": -0.0017, "CDELT2": 0.0017}


def text_of(cards: dict[str, object]) -> str:
    return fits.Header(cards).tostring(endcard=False, padding=False)


@pytest.mark.real
def test_a_real_header_with_its_distortion(real_data: Path) -> None:
    lines = (real_data / "spherex" / "qr2_cutout_IMAGE_header.txt").read_text().splitlines()
    text = "".join(line[:80].ljust(80) for line in lines if not line.startswith("END"))
    wcs = WCS(fits.Header.fromstring(text))
    x, y = np.random.default_rng(2).uniform(-700, 800, (2, 50))
    targets = [Target(str(n), float(ra), float(dec)) for n, (ra, dec) in enumerate(zip(*wcs.all_pix2world(x, y, 0), strict=True))]
    celestial = Celestial(text)
    assert 3600 * celestial.scale_deg == pytest.approx(6.15, abs=0.01)
    np.testing.assert_allclose(celestial.places(targets, (2040, 2040)), np.stack([x, y], axis=1), atol=1e-5)
    linear = np.stack(wcs.wcs_world2pix([t.ra for t in targets], [t.dec for t in targets], 0), axis=1)
    assert np.abs(linear - np.stack([x, y], axis=1)).max() > 1  # without it they would be off


def test_across_the_meridian_and_far_away() -> None:
    celestial = Celestial(text_of(CARDS))
    near, antipode, south = celestial.places(
        [Target("a", 359.99, 66.0), Target("b", 180.01, -66.0), Target("c", 0.01, -20.0)], (99, 99)
    )
    assert near is not None
    assert near[1] == pytest.approx(49.0, abs=0.01)
    assert antipode is None
    assert south is None


@pytest.mark.parametrize(
    "changes",
    [
        {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"},
        {"CTYPE2": "FREQ"},
        {"CDELT1": 0.0},
    ],
)
def test_what_is_no_image_of_the_sky_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="celestial WCS"):
        Celestial(text_of(CARDS | changes))


@pytest.mark.parametrize("key", ["A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"])
@pytest.mark.parametrize("order", [10, 2880, 10**9, -1])
def test_a_distortion_of_an_order_that_none_has_is_not_looked_for_coefficient_by_coefficient(key: str, order: int) -> None:
    with pytest.raises(FormatError, match=f"{key} = {order}"):
        Celestial(text_of(CARDS | {key: order}))


@pytest.mark.parametrize("change", [{"CTYPE1": 1}, {"CTYPE2": True}, {"RADESYS": 5}, {"CUNIT1": 3.0}])
def test_a_number_in_the_place_of_a_text_is_an_error_of_the_format(change: dict[str, object]) -> None:
    with contextlib.suppress(FormatError):
        Celestial(text_of(CARDS | change))


def test_cards_that_astropy_mends_are_no_matter_here() -> None:
    text = text_of(CARDS) + "EQUINOX = 1D400 abc".ljust(80) + "LONPOLE = 'x".ljust(80)
    with contextlib.suppress(FormatError):
        Celestial(text)


@pytest.mark.parametrize("card", ["A_2_0   = 1E400", "BP_1_0  = -1D999", "CRVAL1  = 1E400", "CD1_1   = 1E400"])
def test_a_distortion_beyond_all_numbers_does_not_put_targets_where_no_pixel_is(card: str) -> None:
    orders = {"A_ORDER": 2, "B_ORDER": 2, "AP_ORDER": 2, "BP_ORDER": 2, "A_1_1": 1e-5, "B_1_1": 1e-5}
    names = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    rest = {key: value for key, value in (CARDS | orders | names).items() if key != card[:8].rstrip()}
    assert Celestial(text_of(CARDS | orders | names)).scale_deg > 0
    with pytest.raises(FormatError, match="celestial WCS"):
        Celestial(text_of(rest) + card.ljust(80))
