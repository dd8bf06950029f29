"""Resolving powers and point-spread functions at wavelengths for which publications print numbers."""

import math

import pytest
from astropy.io import fits

from raysearch.detect.instruments import spread


def of(wavelength, plane=0.001, pixel=0.2, **cards):
    return spread(fits.Header(cards), wavelength, plane, pixel)


def test_miri():
    short, long = of(5.34, INSTRUME="MIRI"), of(25.988, INSTRUME="MIRI")
    assert short.resolving_power == pytest.approx(3919, abs=1)
    assert long.resolving_power == pytest.approx(1277, abs=1)
    assert short.psf_fwhm_arcsec == pytest.approx(0.282, abs=0.001)
    assert "Law et al. 2023" in long.source


@pytest.mark.parametrize(
    ("grating", "wavelength", "power"),
    # JWST User Documentation: nominal 1000 and 2700 in the middle of each band; the prism from 30 (near 1.2 um) to 300 (5.2 um)
    [("G140M", 1.4, 1000), ("G235M", 2.4, 1000), ("G395M", 4.0, 1000), ("G140H", 1.4, 2700), ("G235H", 2.4, 2700),
     ("G395H", 4.0, 2700), ("PRISM", 1.2, 30), ("PRISM", 5.2, 310)],
)  # fmt: skip
def test_nirspec(grating, wavelength, power):
    found = of(wavelength, INSTRUME="NIRSPEC", GRATING=grating)
    assert found.resolving_power == pytest.approx(power, rel=0.05)
    assert 0.12 <= found.psf_fwhm_arcsec < 0.22


def test_nirspec_without_its_grating_has_two_planes():
    found = of(2.4, plane=0.0004, INSTRUME="NIRSPEC")
    assert found.resolving_power == pytest.approx(3000)
    assert "two planes" in found.source


def test_muse():
    # Bacon et al. 2017: the full width falls from 3.0 at 4750 to 2.4 Angstrom at 7500
    assert 4750 / of(0.4750, INSTRUME="MUSE").resolving_power == pytest.approx(3.0, abs=0.05)
    assert 7500 / of(0.7500, INSTRUME="MUSE").resolving_power == pytest.approx(2.45, abs=0.05)
    assert of(0.6, INSTRUME="MUSE").psf_fwhm_arcsec == pytest.approx(0.67, abs=0.01)


@pytest.mark.parametrize(("wavelength", "kms"), [(60.0, 98), (90.0, 121), (105.0, 318), (158.0, 239), (175.0, 212)])
def test_pacs(wavelength, kms):
    """Of the Observer's Manual, table 4.1."""
    found = of(wavelength, INSTRUME="PACS")
    assert 299792.458 / found.resolving_power == pytest.approx(kms, rel=1e-6)
    assert 9.5 <= found.psf_fwhm_arcsec < 13.5


def test_fifi_takes_the_header_s_power_and_beam():
    found = of(157.7, INSTRUME="FIFI-LS", RESOLUN=1167.0)
    assert found.resolving_power == 1167
    assert found.psf_fwhm_arcsec == pytest.approx(13.4, abs=0.1)
    assert of(157.7, INSTRUME="FIFI-LS", BMAJ=0.004, BMIN=0.004).psf_fwhm_arcsec == pytest.approx(14.4)


def test_spitzer_tells_low_from_high_resolution_by_its_planes():
    assert of(12.0, plane=0.06, INSTRUME="IRSX").resolving_power == pytest.approx(99.2, abs=0.1)
    assert of(6.0, plane=0.03, INSTRUME="IRS").resolving_power == pytest.approx(99.2, abs=0.1)
    assert of(12.0, plane=0.01, INSTRUME="IRSX").resolving_power == 600
    assert of(17.0, plane=0.08, INSTRUME="IRS").psf_fwhm_arcsec == pytest.approx(4.25, abs=0.01)


def test_heterodyne_channels():
    found = of(3382.0, plane=0.001, CTYPE3="VRAD", BMAJ=0.01, BMIN=0.01)
    assert found.resolving_power == pytest.approx(3382.0 / 0.001)
    assert found.psf_fwhm_arcsec == pytest.approx(36.0)


def test_unknown_cubes_have_two_planes_and_two_spaxels():
    found = of(2.0, plane=0.001, pixel=0.3, INSTRUME="NEWSPEC")
    assert (found.resolving_power, found.psf_fwhm_arcsec) == pytest.approx((1000, 0.6))
    assert "two planes" in found.source
    assert "two spaxels" in found.source


def test_without_a_scale_there_is_no_point_spread_function():
    assert math.isnan(of(2.0, pixel=math.nan).psf_fwhm_arcsec)


def test_cards_of_the_wrong_kind_do_not_count():
    found = of(2.0, plane=0.001, RESOLUN="high", BMAJ="wide", BMIN=-1.0)
    assert (found.resolving_power, found.psf_fwhm_arcsec) == pytest.approx((1000, 0.4))
