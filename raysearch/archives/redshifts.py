"""Redshifts from the columns of a table: given as such, or as radial velocities."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysearch.archives.coordinates import plain
from raysearch.archives.files import Sheet, counted
from raysearch.errors import TableError
from raysearch.model import HIGHEST_REDSHIFT, LIGHT_KM_S

SOLAR_MOTION_KMS = (0.28999706839034606, -17.317264789717928, 10.00141199546947)
"""The Sun's motion against the kinematic local standard of rest, along the axes of ICRS: 20 km/s towards RA 18 h, Dec +30 deg of
1900 (Gordon 1975, Methods of Experimental Physics 12C, 277; the numbers are those of astropy's frame LSRK)."""

REDSHIFTS = ("redshift", "z", "rvz_redshift", "z_spec", "z_helio", "z_hel", "z_best")
"""Spellings of the column of redshifts, the likeliest first; case, and all but letters and digits, is ignored."""
MEASURES = ("rv", "radial_velocity", "cz", "vhelio", "vhel", "vrad", "rad_vel", "rvel", "hrv", "heliocentric_velocity")
"""Velocities that are c times the redshift: the barycentric radial-velocity measure of IAU 2000 Resolution C1."""
LSR = ("vlsr", "vlsrk")
"""As `MEASURES`, against the kinematic local standard of rest."""
RELATIVISTIC = ("rvz_radvel",)
"""SIMBAD's: 1 + z = sqrt((1 + v/c) / (1 - v/c))."""
_SUFFIXES: Mapping[str, float] = {"": 1.0, "kms": 1.0, "kms1": 1.0, "ms": 1e-3, "ms1": 1e-3}
"""What a velocity column's name may end in (`rv_kms`, `rv (km/s)`, `rv [m s-1]`), and the km/s in it."""


@dataclass(frozen=True, slots=True)
class _Velocities:
    column: str
    spelling: str
    kms: float
    """Kilometres per second in its unit."""


def read_redshifts(
    sheet: Sheet, rows: NDArray[np.intp], ra: NDArray[np.float64], dec: NDArray[np.float64], default: float
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the redshift of each of these rows, and sentences about what is odd.

    A redshift counts before a velocity, a velocity before the default; a cell that can be neither is told. Velocities are in the
    unit that the file or the column's name gives, km/s else. `ra` and `dec` are those of the rows, degrees.

    Raises
    ------
    TableError
        The unit of the column of velocities is none of a velocity.
    """
    column, velocities = _redshift_column(sheet), _velocity_column(sheet)
    given, no_redshift = _numbers(sheet, column, rows)
    no_redshift |= (given <= -1.0) | (given > HIGHEST_REDSHIFT)
    given[no_redshift] = np.nan
    kms, no_velocity = _numbers(sheet, velocities.column, rows)
    kms *= velocities.kms
    no_velocity |= np.abs(kms) >= LIGHT_KM_S
    kms[no_velocity] = np.nan
    measured = _to_redshift(kms, velocities.spelling, ra, dec)
    redshifts = np.select([np.isfinite(given), np.isfinite(measured)], [given, measured], default)
    told = [
        (no_redshift & np.isfinite(measured), f"searched at its {velocities.column}: {column} is no redshift", column),
        (no_redshift & np.isnan(measured), f"searched at redshift {default:g}: {column} is no redshift", column),
        (no_velocity & np.isnan(given), f"searched at redshift {default:g}: {velocities.column} is no velocity", velocities.column),
    ]
    problems = [
        f"{counted(sheet, rows[odd])} {what}, for example {_example(sheet, where, rows[odd])}"
        for odd, what, where in told
        if odd.any()
    ]
    both = np.isfinite(given) & np.isfinite(measured)
    if both.any():
        problems.append(f"{counted(sheet, rows[both])} with both {column} and {velocities.column}: the redshift counts")
    return redshifts, problems


def _redshift_column(sheet: Sheet) -> str:
    names = {plain(name): name for name in reversed(sheet.data.column_names)}
    # beside r and i, z is a magnitude; beside x and y, a coordinate
    spellings = [s for s in REDSHIFTS if s != "z" or not ({"r", "i"} <= names.keys() or {"x", "y"} <= names.keys())]
    return next((names[plain(s)] for s in spellings if plain(s) in names), "")


def _velocity_column(sheet: Sheet) -> _Velocities:
    names = {plain(name): name for name in reversed(sheet.data.column_names)}
    for spelling in (*MEASURES, *RELATIVISTIC, *LSR):
        for suffix, kms in _SUFFIXES.items():
            if column := names.get(plain(spelling) + suffix):
                unit = sheet.units.get(column, "")
                return _Velocities(column, spelling, _kms(sheet, column, unit) if unit else kms)
    return _Velocities("", "", 1.0)


def _kms(sheet: Sheet, column: str, unit: str) -> float:
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.km / units.s))
    except (ValueError, units.UnitConversionError) as exc:
        raise TableError(f"{sheet.path}: column {column} is in {unit!r}, which is no velocity; convert it to km/s") from exc


def _to_redshift(kms: NDArray[np.float64], spelling: str, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    if spelling in RELATIVISTIC:
        beta = kms / LIGHT_KM_S
        return np.asarray(np.sqrt((1.0 + beta) / (1.0 - beta)) - 1.0)
    if spelling in LSR:
        lon, lat = np.radians(ra), np.radians(dec)
        direction = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        kms = kms - np.asarray(SOLAR_MOTION_KMS) @ direction
    return kms / LIGHT_KM_S


def _numbers(sheet: Sheet, column: str, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the finite numbers in some rows of a column, NaN elsewhere, and where something else stands; no column has none."""
    if not column:
        return np.full(rows.size, np.nan), np.zeros(rows.size, dtype=np.bool_)
    cells = sheet.data[column].take(pa.array(rows)).to_pylist()
    values = np.array([_float(cell) for cell in cells], dtype=np.float64)
    odd = np.array([not _is_missing(cell) for cell in cells], dtype=np.bool_) & ~np.isfinite(values)
    return np.where(np.isfinite(values), values, np.nan), odd


def _float(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _is_missing(cell: object) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _example(sheet: Sheet, column: str, rows: NDArray[np.intp]) -> str:
    return repr(sheet.data[column][int(rows[0])].as_py())
