"""From a cube's unit to W m^-2: what one plane of one spaxel adds to a line's integrated flux, per unit of its value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.io import fits

from raysearch.model import LIGHT_KM_S

LIGHT_M_S = 1000 * LIGHT_KM_S
BOLTZMANN = 1.380649e-23
"""J K^-1 (SI)."""

Per = Literal["sr", "spaxel", "beam", "kelvin"]
"""The area to which a value refers."""

Band = Literal["frequency", "wavelength", "plane"]
"""The bandwidth to which a value refers; `plane`: it is integrated over its plane already."""


@dataclass(frozen=True, slots=True)
class FluxScale:
    """What turns a cube's values into fluxes."""

    factor: NDArray[np.float64]
    """Science value -> W m^-2 of one plane of one spaxel, shape (n,); NaN where it cannot be told."""
    problem: str = ""
    """Why it cannot be told, and how to mend it; empty where it can."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit taken apart: a number times W m^-2 (K for `kelvin`), per area and per Hz or metre."""

    scale: float
    per: Per
    band: Band


def plane_widths(wavelength_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the width of each plane, micrometres: half its neighbours' distance; at the ends the distance to the only one."""
    if len(wavelength_um) < 2:
        return np.full(len(wavelength_um), math.nan)
    return np.abs(np.gradient(wavelength_um))


def flux_per_plane(header: fits.Header, wavelength_um: NDArray[np.float64], spaxel_sr: float) -> FluxScale:
    """Return what turns science values into W m^-2, from BUNIT.

    With a spaxel's solid angle Omega, a plane's width dl and its wavelength l, an intensity I_nu adds I_nu Omega c dl / l^2, an
    intensity I_l adds I_l Omega dl (Rybicki & Lightman 1979, section 1.3, with dnu = c dl / l^2); flux densities per spaxel lack
    Omega. A value per beam is shared among the Omega_beam / Omega spaxels of the beam, Omega_beam = pi BMAJ BMIN / (4 ln 2). Kelvin
    are brightness temperatures: I_nu = 2 k T / l^2 (Rayleigh and Jeans), with no correction for the beam's efficiency.

    Parameters
    ----------
    header
        Of the cube, for BUNIT (and BMAJ, BMIN).
    wavelength_um
        Of each plane, micrometres.
    spaxel_sr
        Solid angle of a spaxel, steradian; NaN where it is not known.
    """
    text = str(header.get("BUNIT", "")).strip()
    unit = parse(text)
    if isinstance(unit, str):
        return _unknown(wavelength_um, unit)
    if unit.per != "spaxel" and not math.isfinite(spaxel_sr):
        return _unknown(wavelength_um, f"no flux: BUNIT {text!r} is per solid angle, and the header does not tell a spaxel's")
    metres, widths = wavelength_um * 1e-6, plane_widths(wavelength_um) * 1e-6
    area = 1.0 if unit.per == "spaxel" else spaxel_sr
    if unit.per == "beam":
        beam = _beam_sr(header)
        if math.isnan(beam):
            return _unknown(wavelength_um, f"no flux: BUNIT {text!r}, but BMAJ and BMIN do not tell the beam")
        area /= beam
    factor = np.full(len(metres), unit.scale * area)
    if unit.band == "frequency":
        factor *= LIGHT_M_S * widths / metres**2
    elif unit.band == "wavelength":
        factor *= widths
    if unit.per == "kelvin":
        factor *= 2 * BOLTZMANN / metres**2
    return FluxScale(factor)


def _unknown(wavelength_um: NDArray[np.float64], problem: str) -> FluxScale:
    return FluxScale(np.full(len(wavelength_um), math.nan), problem)


def _beam_sr(header: fits.Header) -> float:
    """Return the solid angle of a Gaussian beam, steradian; NaN where the header has none."""
    sides = [header.get(key) for key in ("BMAJ", "BMIN")]
    major, minor = (float(s) if isinstance(s, (int, float)) and s > 0 else math.nan for s in sides)
    return math.pi * math.radians(major) * math.radians(minor) / (4 * math.log(2))


KNOWN = {
    "MJy/sr": _Unit(1e-20, "sr", "frequency"),
    "Jy/beam": _Unit(1e-26, "beam", "frequency"),
    "Jy/pixel": _Unit(1e-26, "spaxel", "frequency"),
    "K": _Unit(1.0, "kelvin", "frequency"),
}
"""Spares nearly every file the import of astropy.units."""

WORDS = {
    "a": "Angstrom", "ang": "Angstrom", "angs": "Angstrom", "angstroms": "Angstrom", "aa": "Angstrom", "angstrom": "Angstrom",
    "micron": "um", "microns": "um", "mic": "um", "um": "um", "nm": "nm", "cm": "cm", "mm": "mm", "m": "m",
    "hz": "Hz", "ghz": "GHz",
    "ergs": "erg", "erg": "erg", "s": "s", "sec": "s", "w": "W", "watt": "W", "mw": "mW",
    "jy": "Jy", "ujy": "uJy", "kjy": "kJy", "njy": "nJy",
    "sr": "sr", "ster": "sr", "steradian": "sr", "arcsec": "arcsec", "sqarcsec": "arcsec2", "arcmin": "arcmin", "deg": "deg",
    "k": "K", "kelvin": "K", "mk": "mK",
    "beam": "beam", "bm": "beam", "pixel": "pix", "pix": "pix", "pixels": "pix", "spaxel": "pix", "spax": "pix", "px": "pix",
    "bin": "",
}  # fmt: skip
"""Spellings seen in archives, in small letters -> astropy's name; of `mJy` and `MJy` see `_word`."""


@lru_cache(maxsize=64)
def parse(text: str) -> _Unit | str:
    """Return the unit that a BUNIT names, or a sentence that says why its values are no fluxes."""
    if text in KNOWN:
        return KNOWN[text]
    if not text:
        cure = "astropy.io.fits.setval(file, 'BUNIT', value='MJy/sr', ext=...)"
        return f"no flux: BUNIT is absent or cannot be read; add it, for example with {cure}"
    hint = (
        f"no flux: BUNIT {text!r} is no intensity, flux density or brightness temperature that is known, such as MJy/sr or Jy/beam"
    )
    from astropy import units

    bare = re.sub(r"\(\s*(t|ta|tmb|tr|t_?mb|ta\*|tr\*|t_?a\*?)\s*\)", "", text, flags=re.IGNORECASE)
    scale, rest = _leading_number(bare)
    spelled = re.sub(r"[A-Za-z]+", lambda match: _word(match[0]), rest)
    spelled = re.sub(r"\^|\*\*", "**", spelled).replace("{", "(").replace("}", ")").strip(" *.")
    above, *below = spelled.split("/")  # every slash divides by what follows it: W/m2/um
    try:
        unit = units.Unit(f"{above}/({'*'.join(below)})" if below else above, format="generic")
    except (ValueError, TypeError):
        return hint
    return _taken_apart(scale * unit) or hint


def _leading_number(text: str) -> tuple[float, str]:
    """Return the number before the unit, such as 1e-20, 10^(-20), 10**-20 or (10-20), and the rest."""
    power = re.match(r"\(?\s*(?:(\d+\.?\d*)\s*[*x]\s*)?10\s*(?:\*\*|\^)\s*[({]?\s*([+-]?\d+)\s*[)}]?\s*\)?", text)
    if power:
        return float(power[1] or 1.0) * 10.0 ** int(power[2]), text[power.end() :]
    plain = re.match(r"\(?\s*(\d+\.?\d*(?:[eE][+-]?\d+)?)\s*\)?", text)
    return (float(plain[1]), text[plain.end() :]) if plain else (1.0, text)


def _word(word: str) -> str:
    """Return astropy's name for a word of a unit."""
    if word.lower() in {"mjy", "mjys"}:
        return "mJy" if word.startswith("m") else "MJy"
    return WORDS.get(word.lower(), word)


def _taken_apart(unit: object) -> _Unit | None:
    """Return what an astropy unit is made of; None if it is nothing that adds up to a flux."""
    from astropy import units

    shapes: tuple[tuple[units.UnitBase, Per, Band], ...] = (
        (units.W / units.m**2 / units.Hz / units.sr, "sr", "frequency"),
        (units.W / units.m**2 / units.Hz / units.pix, "spaxel", "frequency"),
        (units.W / units.m**2 / units.Hz / units.beam, "beam", "frequency"),
        (units.W / units.m**2 / units.Hz, "spaxel", "frequency"),
        (units.W / units.m**3 / units.sr, "sr", "wavelength"),
        (units.W / units.m**3 / units.pix, "spaxel", "wavelength"),
        (units.W / units.m**3 / units.beam, "beam", "wavelength"),
        (units.W / units.m**3, "spaxel", "wavelength"),
        (units.W / units.m**2 / units.sr, "sr", "plane"),
        (units.W / units.m**2 / units.pix, "spaxel", "plane"),
        (units.W / units.m**2, "spaxel", "plane"),
        (units.K, "kelvin", "frequency"),
    )
    quantity = unit if isinstance(unit, units.Quantity) else units.Quantity(1.0, unit)
    for shape, per, band in shapes:
        if quantity.unit.is_equivalent(shape):
            return _Unit(float(quantity.to_value(shape)), per, band)
    return None
