"""Places on the sky, against astropy's own way from pixels to coordinates and against geometry done by hand."""

import math

import pytest
from astropy.coordinates import Angle, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from raysearch.detect.sky import Sky, separation


def header_of(crval=(10.0, 20.0), pixel=1e-4, angle=0.0, **cards):
    """A tangential projection, its y axis `angle` degrees east of north."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    plain = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": crval[0], "CRVAL2": crval[1], "CRPIX1": 11.0, "CRPIX2": 6.0,
        "CDELT1": -pixel, "CDELT2": pixel, "CUNIT1": "deg", "CUNIT2": "deg",
        "PC1_1": cos, "PC1_2": -sin, "PC2_1": sin, "PC2_2": cos, "RADESYS": "ICRS",
    }  # fmt: skip
    return fits.Header({**plain, **cards})


def sky_of(**options):
    sky, why = Sky.from_header(header_of(**options))
    assert sky is not None, why
    return sky


def test_reference_pixel_and_scale():
    sky = sky_of()
    assert sky.to_sky(10, 5) == pytest.approx((10.0, 20.0), abs=1e-12)
    assert sky.pixel_arcsec == pytest.approx(0.36)
    assert sky.spaxel_sr == pytest.approx(math.radians(1e-4) ** 2, rel=1e-9, abs=0)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 200.0])
def test_directions_on_a_turned_grid(angle):
    sky = sky_of(angle=angle)
    centre, up = sky.to_sky(10, 5), sky.to_sky(10, 15)
    distance, direction = separation(*centre, *up)
    assert distance == pytest.approx(3.6, rel=1e-6)
    assert (direction - angle + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-3)
    assert sky.to_pixel(*up) == pytest.approx((10, 15), abs=1e-6)


def test_across_right_ascension_zero():
    assert separation(359.999, 0.0, 0.001, 0.0) == pytest.approx((7.2, 90.0), rel=1e-9)
    assert separation(0.001, 0.0, 359.999, 0.0) == pytest.approx((7.2, 270.0), rel=1e-9)
    sky = sky_of(crval=(-0.0002, 0.0))
    ra, dec = sky.to_sky(7, 5)  # three spaxels to the east of right ascension -0.0002
    assert (ra, dec) == pytest.approx((0.0001, 0.0), abs=1e-9)


def test_at_the_pole():
    assert separation(0.0, 89.999, 180.0, 89.999)[0] == pytest.approx(7.2, rel=1e-9)
    distance, direction = separation(123.0, 89.0, 0.0, 90.0)
    assert distance == pytest.approx(3600.0, rel=1e-9)
    assert math.cos(math.radians(direction)) == pytest.approx(1.0)


@given(st.floats(0, 360), st.floats(-89, 89), st.floats(1e-6, 5e-1), st.floats(0, 360))
def test_separation_is_that_of_astropy(ra, dec, distance, direction):
    second = SkyCoord(ra, dec, unit="deg").directional_offset_by(Angle(direction, "deg"), Angle(distance, "deg"))
    found, towards = separation(ra, dec, second.ra.deg, second.dec.deg)
    assert found == pytest.approx(distance * 3600, rel=1e-6, abs=1e-6)
    if distance > 1e-4:
        assert (towards - direction + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADESYS": ""},
        {"RADESYS": "FK5", "EQUINOX": 1975.0},
        {"RADESYS": "FK4", "EQUINOX": 1950.0},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    ],
)
def test_other_systems_come_out_in_icrs(cards):
    header = header_of(crval=(83.8, -5.4), angle=25.0, **cards)
    sky, _ = Sky.from_header(header)
    theirs = WCS(header).pixel_to_world(2.0, 17.0).icrs
    ours = sky.to_sky(2.0, 17.0)
    assert separation(*ours, theirs.ra.deg, theirs.dec.deg)[0] < 1e-5
    assert sky.to_pixel(*ours) == pytest.approx((2.0, 17.0), abs=1e-6)


def test_a_spectral_axis_by_table_does_not_matter():
    header = header_of(CTYPE3="WAVE-TAB", PS3_0="WCS-TABLE", PS3_1="wavelength", CRVAL3=1, CRPIX3=1, CUNIT3="um", NAXIS=3)
    assert Sky.from_header(header)[0].to_sky(10, 5) == pytest.approx((10.0, 20.0), abs=1e-12)


@pytest.mark.parametrize(
    ("cards", "says"),
    [
        ({"CTYPE1": "", "CTYPE2": ""}, "CTYPE1"),
        ({"CTYPE1": "XOFFSET", "CTYPE2": "YOFFSET"}, "not celestial"),
        ({"PC1_1": 0.0, "PC1_2": 0.0}, "no positions"),
        ({"CTYPE1": "RA---BAD", "CTYPE2": "DEC--BAD"}, "no positions"),
        ({"CUNIT1": "m", "CUNIT2": "m"}, "no positions"),
        ({"CTYPE2": "RA---TAN"}, "no positions"),
        ({"CRVAL1": "ten"}, "CRVAL1"),
        ({"CRPIX2": ""}, "CRPIX2"),
        ({"CDELT1": 0.0}, "no positions"),
        ({"CDELT1": 1e300}, "no positions"),
    ],
)
def test_broken_headers_are_told_not_raised(cards, says):
    sky, why = Sky.from_header(header_of(**cards))
    assert sky is None
    assert says in why


def test_no_header_at_all():
    assert Sky.from_header(fits.Header()) == (None, "no positions: CTYPE1 and CTYPE2 do not name a longitude and a latitude")


def test_beyond_the_projection_there_is_no_pixel():
    assert all(map(math.isnan, sky_of().to_pixel(190.0, -20.0)))
    assert all(map(math.isnan, sky_of().to_pixel(math.nan, 0.0)))


def test_cards_of_a_cutout_keep_the_places():
    sky = sky_of(angle=40.0)
    cut, _ = Sky.from_header(fits.Header(sky.cards(4, 7)))
    assert cut.to_sky(0, 0) == pytest.approx(sky.to_sky(4, 7), abs=1e-10)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")  # of the plain WCS compared with
@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("cubes/l1448_13co.fits", 0),
        ("cubes/region5_hcn_crop.fits", 0),
        ("cubes/subcub_mosaic.fits", 1),
        ("jwst/ngc7469_Level3_ch4-long_s3d.fits.gz", 1),
    ],
)
def test_real_headers(real_data, name, extension):
    header = fits.getheader(real_data / name, extension)
    sky, why = Sky.from_header(header)
    assert why == ""
    for x, y in ((0.0, 0.0), (12.5, 20.25)):
        theirs = WCS(header).celestial.pixel_to_world(x, y).icrs
        assert separation(*sky.to_sky(x, y), theirs.ra.deg, theirs.dec.deg)[0] < 1e-6
    if "PIXAR_SR" in header:
        assert sky.spaxel_sr == pytest.approx(header["PIXAR_SR"], rel=1e-4, abs=0)
