"""Positions from the columns of a table: which columns they are, and what their cells mean."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysearch.errors import TableError

PAIRS = (
    ("ra", "dec"),
    ("ra", "de"),
    ("ra", "decl"),
    ("s_ra", "s_dec"),
    ("ra_icrs", "dec_icrs"),
    ("ra_icrs", "de_icrs"),
    ("ra_deg", "dec_deg"),
    ("ra_deg", "de_deg"),
    ("ra_j2000", "dec_j2000"),
    ("ra_j2000", "de_j2000"),
    ("alpha_j2000", "delta_j2000"),
    ("right_ascension", "declination"),
    ("targ_ra", "targ_dec"),
)
"""Spellings of the two columns, the likeliest first; case, and all but letters and digits, is ignored."""

_DEGREES_IN = {
    **dict.fromkeys(("deg", "degree", "degrees", "d", "d:m:s", "dms"), 1.0),
    **dict.fromkeys(("hourangle", "hour", "hours", "hr", "h", "h:m:s", "hms"), 15.0),
}
"""Spellings that astropy's units do not know, or understand otherwise (`d` is a day there); the others are left to it."""
_SEXAGESIMAL = re.compile(
    r"""(?P<sign>[+-]?)\s*(?P<whole>\d{1,3})
        (?:\s*(?P<mark>[:hd°])\s*|\s+) (?P<minutes>\d{1,2}(?:\.\d*)?)
        (?:(?:\s*[:m'′]\s*|\s+) (?:(?P<seconds>\d{1,2}(?:\.\d*)?)\s*(?:s|"|″|'')?)? )?""",
    re.VERBOSE,
)
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary)
_FORMULA = re.compile(r'="?(?P<value>[^"]*)"?')


def plain(name: str) -> str:
    """Return a column's name as spellings are compared: lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the names of the right ascension and declination columns, or None."""
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    for ra, dec in PAIRS:
        if plain(ra) in by_plain and plain(dec) in by_plain:
            return by_plain[plain(ra)], by_plain[plain(dec)]
    return None


def pair_of(path: Path, names: Sequence[str]) -> tuple[str, str]:
    """Return the names of the right ascension and declination columns of a file.

    Raises
    ------
    TableError
        There are none.
    """
    pair = find_pair(names)
    if pair is None:
        spellings = ", ".join(f"{ra}/{dec}" for ra, dec in PAIRS)
        raise TableError(f"{path}: no columns of coordinates among {', '.join(names)}; rename two of them to one of {spellings}")
    return pair


@dataclass(slots=True)
class Angles:
    """A column of angles."""

    degrees: NDArray[np.float64]
    """NaN where the cell is damaged."""
    damage: dict[str, list[int]] = field(default_factory=dict)
    """What is wrong -> indices of the rows where it is."""
    mended: list[int] = field(default_factory=list)
    """Indices of rows that are read after the `=` a spreadsheet put before them was removed."""


def read_angles(column: pa.ChunkedArray, name: str, unit: str = "", *, hours: bool) -> Angles:
    """Return a column of angles in degrees.

    A column of text is sexagesimal if most of its cells are, and plain degrees else. Sexagesimal cells count in hours where
    `hours` is set, unless the unit or the cell (`12d30m`) says degrees; plain numbers are degrees unless the unit says otherwise.

    Raises
    ------
    ValueError
        The unit is none of an angle, or the cells are no numbers and no text.
    """
    scale = _scale(name, unit)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = any(holds(column.type) for holds in _TEXT)
    try:
        column = column.cast(pa.large_string()) if text else column
        angles = Angles(column.cast(pa.float64()).to_numpy(zero_copy_only=False) * (scale or 1.0))
    except pa.ArrowException as exc:
        if not text:
            raise ValueError(
                f"column {name} holds {column.type}, not a number or a text in each row; convert it to degrees"
            ) from exc
        angles = _from_text(column.to_pylist(), name, scale, hours=hours)
    return _in_range(angles, name, hours=hours)


def _scale(name: str, unit: str) -> float | None:
    """Return the degrees in a unit, or None where there is none."""
    unit = unit.strip(' "')
    if not unit:
        return None
    if unit.lower() in _DEGREES_IN:
        return _DEGREES_IN[unit.lower()]
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.deg))
    except (ValueError, units.UnitConversionError) as exc:
        raise ValueError(f"column {name} is in {unit!r}, which is no unit of an angle; convert it to degrees") from exc


def _from_text(cells: Sequence[str | None], name: str, scale: float | None, *, hours: bool) -> Angles:
    """Return the angles of cells of text, each a number or sexagesimal, whichever most of them are."""
    angles = Angles(np.full(len(cells), np.nan))
    texts = ["" if cell is None else _unwrapped(cell) for cell in cells]
    numbers = np.array([_number(text) for text in texts])
    parts = [_SEXAGESIMAL.fullmatch(text) for text in texts]
    sexagesimal = sum(part is not None for part in parts) > np.isfinite(numbers).sum()
    if sexagesimal:
        angles.degrees = np.array([_degrees(part, scale or (15.0 if hours else 1.0)) for part in parts])
    else:
        angles.degrees = numbers * (scale or 1.0)
    expected = ("hh:mm:ss" if hours else "dd:mm:ss") if sexagesimal else "a number"
    unread = [row for row, text in enumerate(texts) if text and np.isnan(angles.degrees[row])]
    if unread:
        angles.damage[f"{name} is not {expected}, for example {cells[unread[0]]!r}"] = unread
    formulas = {row for row, cell in enumerate(cells) if cell and cell.lstrip().startswith("=")}
    angles.mended = sorted(formulas.difference(unread))
    return angles


def _unwrapped(cell: str) -> str:
    """Return a cell without blanks, typographic signs, and the `=` that spreadsheets put before a leading `+`."""
    text = cell.strip().replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")
    formula = _FORMULA.fullmatch(text)
    return formula["value"].strip() if formula else text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _degrees(part: re.Match[str] | None, scale: float) -> float:
    if part is None:
        return np.nan
    minutes, seconds = float(part["minutes"]), float(part["seconds"] or 0.0)
    if minutes >= 60.0 or seconds > 60.0:
        return np.nan
    size = float(part["whole"]) + minutes / 60.0 + seconds / 3600.0
    if part["mark"] in {"d", "°"}:
        scale = 1.0
    elif part["mark"] == "h":
        scale = 15.0
    return size * scale * (-1.0 if part["sign"] == "-" else 1.0)


def _in_range(angles: Angles, name: str, *, hours: bool) -> Angles:
    """Return the angles with those missing or off the sphere counted as damage."""
    values = angles.degrees
    told = {row for rows in angles.damage.values() for row in rows}
    missing = [row for row in np.flatnonzero(np.isnan(values)).tolist() if row not in told]
    low, high = (0.0, 360.0) if hours else (-90.0, 90.0)
    off = np.flatnonzero((values < low) | (values > high))
    if missing:
        angles.damage[f"{name} is missing"] = missing
    if off.size:
        angles.damage[f"{name} is outside {low:g} to {high:g} degrees, for example {values[off[0]]:g}"] = off.tolist()
    angles.degrees = np.where((values < low) | (values > high), np.nan, values)
    if hours:
        angles.degrees = np.where(angles.degrees == high, low, angles.degrees)
    return angles
