"""From units to W m^-2, against numbers worked out by hand and by astropy."""

import math

import numpy as np
import pytest
from astropy import constants, units
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from raysearch.detect.units import flux_per_plane, parse, plane_widths

WAVELENGTH = np.array([9.99, 10.0, 10.01])
SPAXEL = 1e-12


def factor(bunit, wavelength=WAVELENGTH, spaxel=SPAXEL, **cards):
    scale = flux_per_plane(fits.Header({"BUNIT": bunit, **cards}), wavelength, spaxel)
    assert scale.problem == ""
    return scale.factor[1]


def test_surface_brightness_by_hand():
    # 1 MJy/sr = 1e-20 W m^-2 Hz^-1 sr^-1; at 10 um a plane of 0.01 um is c dl / l^2 = 2.99792458e8 * 1e-8 / 1e-10 Hz wide.
    assert factor("MJy/sr") == pytest.approx(1e-20 * 1e-12 * 2.99792458e10, rel=1e-9, abs=0)


def test_flux_density_per_spaxel_by_hand():
    assert factor("Jy/pixel", spaxel=math.nan) == pytest.approx(1e-26 * 2.99792458e10, rel=1e-9, abs=0)


def test_a_beam_is_shared_among_its_spaxels():
    beam = math.pi * math.radians(2 / 3600) * math.radians(1 / 3600) / (4 * math.log(2))
    cards = {"BMAJ": 2 / 3600, "BMIN": 1 / 3600}
    assert factor("Jy/beam", **cards) == pytest.approx(1e-26 * 2.99792458e10 * SPAXEL / beam, rel=1e-9, abs=0)


def test_kelvin_are_brightness_temperatures():
    temperature = units.Quantity(1.0, "K")
    jansky = temperature.to_value("MJy/sr", units.brightness_temperature(constants.c / units.Quantity(10.0, "um")))
    assert factor("K") == pytest.approx(factor("MJy/sr") * jansky, rel=1e-6, abs=0)


def test_muse_by_hand():
    # 1e-20 erg/s/cm^2/A = 1e-20 * 1e-7 * 1e4 W m^-2 A^-1; planes of 1.25 A.
    wavelength = np.array([0.475, 0.475125, 0.47525])
    for bunit in ("10**(-20)*erg/s/cm**2/Angstrom", "10**-20 Angstrom-1 cm-2 erg s-1", "1E-20 erg/s/cm^2/A"):
        assert factor(bunit, wavelength, math.nan) == pytest.approx(1.25e-23, rel=1e-6, abs=0)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("MJy / sr", "MJy/sr", 1),
        ("MJY/SR", "MJy/sr", 1),
        ("mJy/pix", "Jy/pixel", 1e-3),
        ("mjy/spaxel", "Jy/pixel", 1e-3),
        ("Jy", "Jy/pixel", 1),
        ("uJy/arcsec^2", "MJy/sr", 1e-12 * (180 * 3600 / math.pi) ** 2),
        ("W/m2/um", "W m-2 um-1", 1),
        ("W/m^2/um/sr", "erg/s/cm2/A/sr", 1e-1),
        ("erg.s**(-1).cm**(-2).angstrom**(-1)", "erg/s/cm2/A", 1),
        ("10^(-16) erg s^-1 cm^-2 Angstrom^-1", "erg/s/cm2/A", 1e-16),
        ("1E-17 erg/s/cm^2/Ang/spaxel", "erg/s/cm2/A", 1e-17),
        ("erg/s/(cm2 A)", "erg/s/cm2/A", 1),
        ("erg/s/cm2/Hz", "Jy", 1e23),
        ("K (Tmb)", "K", 1),
        ("K (Ta*)", "K", 1),
        ("mK", "K", 1e-3),
    ],
)
def test_spellings(one, other, ratio):
    assert factor(one) == pytest.approx(ratio * factor(other), rel=1e-9, abs=0)


def test_integrated_planes_take_no_width():
    assert factor("W/m2/sr") == pytest.approx(SPAXEL, rel=1e-9, abs=0)


@pytest.mark.parametrize("bunit", ["", "counts", "adu/s", "foo bar", "K km/s", "nonsense***", "((", "Jy/beam/Jy"])
def test_unknown_units_say_so(bunit):
    scale = flux_per_plane(fits.Header({"BUNIT": bunit}), WAVELENGTH, SPAXEL)
    assert np.isnan(scale.factor).all()
    assert "BUNIT" in scale.problem


def test_what_is_missing_is_named():
    assert "BMAJ" in flux_per_plane(fits.Header({"BUNIT": "Jy/beam"}), WAVELENGTH, SPAXEL).problem
    assert "solid angle" in flux_per_plane(fits.Header({"BUNIT": "MJy/sr"}), WAVELENGTH, math.nan).problem
    assert "absent" in flux_per_plane(fits.Header(), WAVELENGTH, SPAXEL).problem


def test_a_flat_spectrum_adds_up_to_its_flux_on_any_axis():
    wavelength = np.geomspace(5.0, 5.5, 400)  # planes of growing width
    flux = flux_per_plane(fits.Header({"BUNIT": "Jy"}), wavelength, math.nan).factor.sum()
    edges = wavelength[0] * 1.1 ** (-0.5 / 399), wavelength[-1] * 1.1 ** (0.5 / 399)
    assert flux == pytest.approx(1e-26 * 2.99792458e14 * (1 / edges[0] - 1 / edges[1]), rel=1e-4, abs=0)


def test_plane_widths():
    np.testing.assert_allclose(plane_widths(np.array([1.0, 2.0, 4.0])), [1.0, 1.5, 2.0])
    assert np.isnan(plane_widths(np.array([1.0]))).all()


@given(st.text(max_size=30))
def test_any_text_is_a_unit_or_a_sentence(text):
    unit = parse(text.strip())
    assert isinstance(unit, str) == (getattr(unit, "scale", None) is None)
