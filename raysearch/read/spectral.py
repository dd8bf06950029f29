"""Kinds of spectral axes: what a coordinate of each means as a wavelength.

FITS WCS paper III (Greisen et al. 2006, A&A 446, 747), tables 1 to 3: each kind is linear in one of three basic variables,
frequency, wavelength and velocity; an axis may be linear in another of them, which an algorithm code such as `F2W` says. The AIPS
forms `VELO-LSR`, `FELO-HEL` and their like are understood as WCSLIB does (`spcaips`). The frame of rest stays the file's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError
from raysearch.model import LIGHT_KM_S
from raysearch.read.fits import Header

Values = NDArray[np.float64] | np.float64

C = 1000 * LIGHT_KM_S
"""Speed of light, m/s."""
C_UM = C * 1e6
PLANCK = 6.62607015e-34
"""J s (SI 2019)."""
EV = 1.602176634e-19
"""J (SI 2019)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A spectral variable."""

    unit: str
    """That of its values here, as astropy spells it."""
    basic: str
    """The basic variable in which it is linear: `F` (Hz), `W` (um, in vacuum), `V` (m/s), `A` (um, in air)."""
    scale: float = 1.0
    """The basic variable of a value is `scale * value`, or, for a kind told from the line's rest, `rest * (1 + scale * value)`."""
    from_rest: bool = False
    unit_needed: bool = False
    """Whether CUNIT must be there. The standard has a default for each kind, and files without CUNIT mean it for frequencies and
    velocities (Hz, m/s: the headers of radio cubes are older than CUNIT), but hardly ever for the others (m, 1/m, J)."""


KINDS: Mapping[str, Kind] = {
    "WAVE": Kind("um", "W", unit_needed=True),
    "AWAV": Kind("um", "A", unit_needed=True),
    "FREQ": Kind("Hz", "F"),
    "WAVN": Kind("1 / m", "F", C, unit_needed=True),
    "ENER": Kind("J", "F", 1 / PLANCK, unit_needed=True),
    "VRAD": Kind("m / s", "F", -1 / C, from_rest=True),
    "VOPT": Kind("m / s", "W", 1 / C, from_rest=True),
    "ZOPT": Kind("", "W", from_rest=True),
    "VELO": Kind("m / s", "V"),
    "BETA": Kind("", "V", C),
}
"""By the first four letters of CTYPE."""

UNITS: Mapping[str, Mapping[str, float]] = {
    "um": {"um": 1.0, "nm": 1e-3, "m": 1e6, "Angstrom": 1e-4},
    "Hz": {"Hz": 1.0, "HZ": 1.0, "kHz": 1e3, "KHZ": 1e3, "MHz": 1e6, "MHZ": 1e6, "GHz": 1e9, "GHZ": 1e9},
    "m / s": {"m/s": 1.0, "m s-1": 1.0, "M/S": 1.0, "km/s": 1e3, "km s-1": 1e3, "KM/S": 1e3},
    "1 / m": {"m-1": 1.0, "1/m": 1.0, "/m": 1.0, "cm-1": 1e2, "1/cm": 1e2, "/cm": 1e2},
    "J": {"J": 1.0, "eV": EV, "keV": 1e3 * EV},
    "": {"": 1.0},
}
"""Spellings of units, old ones in capitals among them, and the factor to ours: spares the import of astropy.units for nearly every
file."""

FRAMES = ("LSR", "HEL", "OBS")
"""What the AIPS forms of CTYPE end in."""
ALGORITHMS: Mapping[str, tuple[str, ...]] = {"F": ("W2F", "V2F"), "W": ("F2W", "V2W"), "V": ("F2V", "W2V"), "A": ()}
"""Codes of axes that are linear in another basic variable than their kind."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What CTYPE says."""

    name: str
    """A key of `KINDS`."""
    code: str = ""
    """`TAB`, `LOG`, one such as `F2W`, or empty for an axis linear in its own kind."""

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return KINDS[self.name]


def axis_of(header: Header, number: int) -> Axis:
    """Return what a header says of its spectral axis, the one with this FITS number.

    Raises
    ------
    FormatError
        The axis is none, or its algorithm is not supported.
    """
    key = f"CTYPE{number}"
    text = header.string(key).upper()
    if not text:
        raise FormatError(f"the header has no {key}: the axis of its planes is not said to be spectral; add {key} = 'WAVE'")
    name, _, code = text.partition("-")
    name, code = _modern(header, name, code.strip("- "))
    if name not in KINDS:
        raise FormatError(
            f"{key} = {text!r} is not a spectral axis; those that can be searched are {', '.join(KINDS)}: "
            "convert the cube first (spectral_cube: cube.with_spectral_unit('um').write(...)), or correct the header"
        )
    if code in {"", "TAB", "LOG"} or code in ALGORITHMS[KINDS[name].basic]:
        return Axis(name, code)
    raise FormatError(
        f"{key} = {text!r}: the algorithm {code} is not supported on such an axis; those that are: a linear axis, -TAB, -LOG, "
        "and those between frequency, wavelength and velocity, such as VOPT-F2W"
    )


def _modern(header: Header, name: str, code: str) -> tuple[str, str]:
    """Return kind and algorithm of an AIPS form: VELREF says whether its velocities are optical or, from 256 on, radio ones."""
    framed = code in FRAMES
    if name == "FELO" and (framed or not code):
        return "VOPT", "F2W"
    if name == "VELO" and (framed or not code):
        reference = header.number("VELREF", 0.0)
        if framed or 0 < reference % 256 <= 7:
            return ("VRAD" if reference >= 256 else "VOPT"), ""
    return name, "" if framed else code


def to_um(header: Header, axis: Axis, values: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
    """Return the wavelengths (of AWAV: in air) of an axis.

    Parameters
    ----------
    values
        Of each plane in the kind's own unit, as if the axis were linear in its kind.
    reference
        That at the reference point.
    """
    kind = axis.kind
    rest = _rest_um(header, axis) if kind.from_rest or kind.basic == "V" or axis.code == "V2" + kind.basic else 1.0
    with np.errstate(all="ignore"):  # what is no number is told by the caller
        if axis.code == "LOG":
            values = reference * np.exp((values - reference) / np.float64(reference))
        basic = _basic(kind, values, rest)
        if "2" not in axis.code:
            return np.asarray(_um(kind.basic, basic, rest))
        at = _basic(kind, np.float64(reference), rest)
        um, linear = _um(kind.basic, at, rest), axis.code[0]
        slope = _slope(linear, um, rest) / _slope(kind.basic, um, rest)
        return np.asarray(_um(linear, _variable(linear, um, rest) + (basic - at) * slope, rest))


def _basic(kind: Kind, values: Values, rest_um: float) -> Values:
    """Return the basic variable of values of a kind."""
    if kind.from_rest:
        return _variable(kind.basic, np.float64(rest_um), rest_um) * (1.0 + kind.scale * values)
    return kind.scale * values


def _um(basic: str, values: Values, rest_um: float) -> Values:
    """Return the wavelengths of values of a basic variable."""
    if basic == "F":
        return C_UM / values
    return rest_um * np.sqrt((C + values) / (C - values)) if basic == "V" else values


def _variable(basic: str, um: Values, rest_um: float) -> Values:
    """Return the values of a basic variable at wavelengths: the inverse of `_um`."""
    if basic == "F":
        return C_UM / um
    return C * (um**2 - rest_um**2) / (um**2 + rest_um**2) if basic == "V" else um


def _slope(basic: str, um: Values, rest_um: float) -> Values:
    """Return by how much a basic variable grows for each micrometre."""
    if basic == "F":
        return -C_UM / um**2
    return 4 * C * um * rest_um**2 / (um**2 + rest_um**2) ** 2 if basic == "V" else np.float64(1.0)


def _rest_um(header: Header, axis: Axis) -> float:
    """Return the rest wavelength of an axis of velocities."""
    rests = {"RESTWAV": header.number("RESTWAV", 0.0) * 1e6}
    for key in ("RESTFREQ", "RESTFRQ"):
        if (frequency := header.number(key, 0.0)) > 0:
            rests[key] = C_UM / frequency
    order = ("RESTFRQ", "RESTFREQ", "RESTWAV") if axis.kind.basic != "W" else ("RESTWAV", "RESTFRQ", "RESTFREQ")
    rest = next((rests[key] for key in order if rests.get(key, 0.0) > 0), None)
    if rest is None:
        raise FormatError(
            f"the axis is one of velocities ({axis.name}), but the header has no RESTFRQ (Hz) and no RESTWAV (m): which line they "
            "belong to is unknown; add one, for example with astropy.io.fits.setval(file, 'RESTFRQ', value=110.201354e9)"
        )
    return rest


def unit_factor(axis: Axis, unit: str, key: str) -> float:
    """Return how many of the kind's own units one `unit` is; `key` is where the header says it."""
    kind = axis.kind
    if not unit and kind.unit_needed:
        raise FormatError(
            f"the header has no {key}: the unit of the wavelength axis is unknown; "
            f"add it, for example with astropy.io.fits.setval(file, '{key}', value='um', ext=...)"
        )
    return 1.0 if not unit else UNITS[kind.unit].get(unit) or _astropy_factor(unit, kind.unit, key)


@lru_cache
def _astropy_factor(unit: str, ours: str, key: str) -> float:
    from astropy import units

    for spelling in (unit, unit.lower(), unit.lower().removesuffix("s")):
        try:
            return float(units.Unit(spelling).to(units.Unit(ours)))
        except (ValueError, OverflowError, units.UnitConversionError):
            continue
    examples = {"um": "'um', 'nm' or 'Angstrom'", "Hz": "'Hz' or 'GHz'", "m / s": "'m/s' or 'km/s'", "J": "'J' or 'eV'"}
    what = {"um": "length", "Hz": "frequency", "m / s": "velocity", "1 / m": "wave number", "J": "energy", "": "a pure number"}
    raise FormatError(f"{key} = {unit!r} is no unit of {what[ours]}; it should be, for example, {examples.get(ours, repr(ours))}")
