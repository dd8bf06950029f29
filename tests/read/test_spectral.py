"""Spectral axes of every kind agree with WCSLIB."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.read.fits import Header
from raysearch.read.wave import wavelengths

REST_HZ = 110.201354e9
C = 299_792_458.0


def cards_of(kind: str, value: float, step: float, unit: str | None, reference: float = 1.0, **more: Any) -> fits.Header:
    cards = fits.Header({"NAXIS": 3, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": kind})
    cards.update({"CRVAL3": value, "CDELT3": step, "CRPIX3": reference, **({"CUNIT3": unit} if unit else {}), **more})
    return cards


def theirs_um(cards: fits.Header, planes: int) -> np.ndarray:
    """Return what WCSLIB makes of an axis when it is asked for wavelengths."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it changed an old form
        wcs = WCS(cards)
        if not wcs.wcs.ctype[2].startswith(("WAVE", "AWAV")):
            wcs.wcs.sptr("WAVE-???")
    pixels = np.ones((planes, 3))
    pixels[:, 2] = np.arange(1, planes + 1)
    return np.asarray(wcs.wcs_pix2world(pixels, 1)[:, 2]) * 1e6


def assert_as_wcslib(cards: fits.Header, planes: int = 40, rtol: float = 1e-11) -> None:
    np.testing.assert_allclose(wavelengths(Header(cards.tostring()), planes), theirs_um(cards, planes), rtol=rtol)


LINEAR = {  # kind: value, step, unit, what else; a few hundred km/s around 13CO 1-0, and as far as the kind goes beyond
    "FREQ": (110.1, 0.002, "GHz", {}),
    "WAVN": (3.675, 1e-4, "cm-1", {}),
    "VRAD": (-200.0, 10.0, "km/s", {"RESTFRQ": REST_HZ}),
    "VOPT": (-2e5, 1e4, "m/s", {"RESTFRQ": REST_HZ}),
    "ZOPT": (0.5, 0.002, "", {"RESTWAV": 2.12e-6}),
    "VELO": (2e7, 1e6, "m/s", {"RESTFRQ": REST_HZ}),
    "BETA": (-0.3, 0.002, "", {"RESTFRQ": REST_HZ}),
}


@pytest.mark.parametrize("kind", LINEAR)
@given(start=st.floats(-3, 3), step=st.floats(0.2, 3), reference=st.floats(-20, 60), falling=st.booleans())
@settings(max_examples=25, deadline=None)
def test_linear_axes_of_every_kind(kind: str, start: float, step: float, reference: float, falling: bool) -> None:
    value, width, unit, more = LINEAR[kind]
    assert_as_wcslib(cards_of(kind, value + start * width, width * step * (-1 if falling else 1), unit, reference, **more))


def test_energies() -> None:
    # WCSLIB has Planck's constant of 1986, so that the factor between the two is that of the constants
    cards = cards_of("ENER", 0.5, 0.01, "eV")
    found = wavelengths(Header(cards.tostring()), 20)
    np.testing.assert_allclose(found, theirs_um(cards, 20), rtol=2e-6)
    np.testing.assert_allclose(found, (np.arange(20) * 0.01 + 0.5) ** -1 * (1 * u.eV).to_value(u.um, u.spectral()), rtol=1e-12)


NONLINEAR = [
    ("WAVE-F2W", 2.7e-3, 1e-6, "m"),
    ("WAVE-V2W", 2.7e-3, 1e-6, "m"),
    ("VOPT-F2W", 3e6, 2e4, "m/s"),
    ("VOPT-V2W", 3e6, 2e4, "m/s"),
    ("ZOPT-F2W", 0.2, 0.001, ""),
    ("FREQ-W2F", 1.1e11, 1e8, "Hz"),
    ("FREQ-V2F", 1.1e11, 1e8, "Hz"),
    ("VRAD-W2F", 3e6, 2e4, "m/s"),
    ("VRAD-V2F", 3e6, 2e4, "m/s"),
    ("WAVN-W2F", 367.0, 0.1, "m-1"),
    ("VELO-F2V", 3e6, 2e4, "m/s"),
    ("VELO-W2V", 3e6, 2e4, "m/s"),
    ("BETA-F2V", 0.2, 0.001, ""),
]


@pytest.mark.parametrize(("kind", "value", "step", "unit"), NONLINEAR)
@pytest.mark.parametrize("reference", [1.0, -300.0, 25.5])
def test_axes_linear_in_another_variable(kind: str, value: float, step: float, unit: str, reference: float) -> None:
    assert_as_wcslib(cards_of(kind, value, step, unit, reference, RESTFRQ=REST_HZ))
    assert_as_wcslib(cards_of(kind, value, -step, unit, reference, RESTFRQ=REST_HZ))


@pytest.mark.parametrize(("kind", "unit"), [("WAVE-LOG", "um"), ("FREQ-LOG", "GHz")])
def test_logarithmic_axes(kind: str, unit: str) -> None:
    cards = cards_of(kind, 110.0, 0.01, unit, 7.0)
    expected = 110.0 * np.exp((np.arange(1, 41) - 7.0) * 0.01 / 110.0)
    found = wavelengths(Header(cards.tostring()), 40)
    np.testing.assert_allclose(found, expected if kind.startswith("WAVE") else C / expected * 1e-3, rtol=1e-13)
    if kind == "WAVE-LOG":
        np.testing.assert_allclose(found, theirs_um(cards, 40), rtol=1e-12)


@pytest.mark.parametrize("kind", ["VELO-LSR", "VELO-HEL", "VELO-OBS", "FELO-LSR", "FELO-HEL", "FREQ-LSR", "FREQ-OBS", "VELO"])
@pytest.mark.parametrize("velref", [None, 1, 2, 256, 257, 258])
def test_aips_forms(kind: str, velref: int | None) -> None:
    value, step, unit = (REST_HZ, 1e6, "Hz") if kind.startswith("FREQ") else (3e7, 2e5, "m/s")
    more = {} if velref is None else {"VELREF": velref}
    assert_as_wcslib(cards_of(kind, value, step, unit, 9.0, RESTFRQ=REST_HZ, **more))


def test_the_rest_may_be_told_in_three_ways() -> None:
    for kind in ("VRAD", "VOPT", "VELO"):
        axes = [
            wavelengths(Header(cards_of(kind, 1e6, 1e4, "m/s", **more).tostring()), 5)
            for more in ({"RESTFRQ": REST_HZ}, {"RESTFREQ": REST_HZ}, {"RESTWAV": C / REST_HZ})
        ]
        np.testing.assert_allclose(axes[1:], [axes[0]] * 2, rtol=1e-14)


def test_radio_and_optical_velocities_are_told_apart() -> None:
    radio, optical = (wavelengths(Header(cards_of(k, 3e7, 1e4, "m/s", RESTFRQ=REST_HZ).tostring()), 3)[0] for k in ("VRAD", "VOPT"))
    rest = C / REST_HZ * 1e6
    assert radio / rest == pytest.approx(1 / (1 - 3e7 / C), rel=1e-14)
    assert optical / rest == pytest.approx(1 + 3e7 / C, rel=1e-14)


@pytest.mark.parametrize("kind", LINEAR)
def test_where_there_is_no_unit_the_standards_holds_for_frequencies_and_velocities(kind: str) -> None:
    value, step, unit, more = LINEAR[kind]
    if kind == "WAVN":
        return
    factor = u.Unit(unit).to({"GHz": "Hz", "km/s": "m/s"}.get(unit, unit))
    with_unit = wavelengths(Header(cards_of(kind, value, step, unit, **more).tostring()), 5)
    without = wavelengths(Header(cards_of(kind, value * factor, step * factor, None, **more).tostring()), 5)
    np.testing.assert_allclose(without, with_unit, rtol=1e-13)


@pytest.mark.parametrize(("unit", "hz"), [("Hz", 1), ("HZ", 1), ("kHz", 1e3), ("MHz", 1e6), ("GHZ", 1e9), ("THz", 1e12)])
def test_units_of_frequency(unit: str, hz: float) -> None:
    found = wavelengths(Header(cards_of("FREQ", 100.0, 1.0, unit).tostring()), 3)
    np.testing.assert_allclose(found, C * 1e6 / (np.array([100.0, 101, 102]) * hz), rtol=1e-13)


def test_the_axis_may_be_the_fourth() -> None:
    cards = cards_of("STOKES", 1.0, 1.0, None)
    cards.update({"CTYPE4": "FREQ", "CRVAL4": 1e11, "CDELT4": 1e6, "CRPIX4": 1.0, "CUNIT4": "Hz"})
    found = wavelengths(Header(cards.tostring()), 4, axis=4)
    np.testing.assert_allclose(found, C * 1e6 / (1e11 + np.arange(4) * 1e6), rtol=1e-14)


@pytest.mark.real
@pytest.mark.parametrize(("name", "rest"), [("l1448_13co.fits", REST_HZ), ("region5_hcn_crop.fits", None)])
def test_real_radio_cubes(real_data: Path, name: str, rest: float | None) -> None:
    cards = fits.getheader(real_data / "cubes" / name)
    if rest:
        cards["RESTFRQ"] = rest
    spectral = cards.copy()
    for key in [key for key in cards if key.endswith("A") and key[:-1] in cards]:
        del spectral[key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(spectral).spectral
        wcs.wcs.sptr("WAVE-???")
    theirs = wcs.wcs_pix2world(np.arange(1, cards["NAXIS3"] + 1)[:, None], 1)[:, 0] * 1e6
    np.testing.assert_allclose(wavelengths(Header(cards.tostring()), cards["NAXIS3"]), theirs, rtol=1e-13)
