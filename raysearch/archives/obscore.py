"""The columns that archives and tables of observations share (IVOA ObsCore, as far as a search needs them)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from astropy.table import Table

OBSCORE = pa.schema(
    [
        ("obs_id", pa.string()),
        ("obs_collection", pa.string()),
        ("instrument_name", pa.string()),
        ("filters", pa.string()),
        ("target_name", pa.string()),
        ("dataproduct_type", pa.string()),
        ("calib_level", pa.int64()),
        ("s_ra", pa.float64()),  # degrees, ICRS
        ("s_dec", pa.float64()),
        ("s_region", pa.string()),  # STC-S
        ("s_fov", pa.float64()),  # degrees
        ("em_min", pa.float64()),  # metres
        ("em_max", pa.float64()),
        ("t_min", pa.float64()),  # MJD
        ("t_max", pa.float64()),
        ("t_exptime", pa.float64()),  # seconds
        ("t_obs_release", pa.float64()),  # MJD
        ("proposal_id", pa.string()),
        ("dataRights", pa.string()),
        ("dataURL", pa.string()),
        ("access_url", pa.string()),
        ("access_format", pa.string()),
        ("cloud_access", pa.string()),
        ("obs_publisher_did", pa.string()),
        ("uri", pa.string()),
        ("redshift", pa.float64()),
    ]
)
"""Types of the columns known by name, whatever type they arrive in."""

UNITS = {"s_ra": "deg", "s_dec": "deg", "s_fov": "deg", "em_min": "m", "em_max": "m", "t_min": "d", "t_max": "d", "t_exptime": "s"}
"""Units of the columns known by name, whatever unit they arrive in."""


def conform(table: pa.Table, required: tuple[str, ...]) -> pa.Table:
    """Return the table with the known columns in their types, the required ones first (null where absent), the others as they are.

    Raises
    ------
    pa.ArrowException
        A value does not fit its column's type.
    """
    names = [*required, *(name for name in table.column_names if name not in required)]
    columns = {name: _typed(table, name) for name in names}
    return pa.table(columns)


def _typed(table: pa.Table, name: str) -> pa.ChunkedArray:
    known = OBSCORE.field(name).type if name in OBSCORE.names else None
    if name not in table.column_names:
        return pa.nulls(table.num_rows, known or pa.string())
    column = table[name]
    return column if known is None or column.type == known else column.cast(known)


def in_our_units(table: "Table") -> "Table":
    """Return the table with the known columns in our units, by the unit that each column itself names; without one it is ours.

    Raises
    ------
    ValueError
        A column is in a unit that is none of its kind.
    """
    from astropy import units

    for name in UNITS.keys() & set(table.colnames):
        column, ours = table[name], units.Unit(UNITS[name])
        if column.unit is None or column.unit == ours or column.dtype.kind not in "fiu":
            continue
        if column.unit.to_string().lower() == "mjd":  # no unit of the VO's, but it says what is meant
            continue
        try:
            table[name] = column.astype(float) * column.unit.to(ours)
            table[name].unit = ours
        except ValueError as exc:  # of another kind, or unknown
            raise ValueError(f"{name} is in {column.unit.to_string()!r}, which is none of its units ({UNITS[name]})") from exc
    return table


def from_astropy(table: "Table") -> pa.Table:
    """Return an astropy table as Arrow: masked values and NaN are null, bytes are text, mixin columns are spelt out."""
    from astropy.table.serialize import represent_mixins_as_columns

    plain = represent_mixins_as_columns(table)
    return pa.table({name: _to_arrow(plain[name]) for name in plain.colnames})


def _to_arrow(column: Any) -> pa.Array:
    if column.ndim > 1 or column.dtype.kind == "O":
        return pa.array([_cell(value) for value in column.tolist()])
    values, missing = np.ma.getdata(column), np.ma.getmaskarray(column)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    # FITS stores big-endian numbers, Arrow has none
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "f":
        missing = missing | np.isnan(native)
    return pa.array(np.asarray(native), mask=missing)


def _cell(value: Any) -> Any:
    """Return a cell of an array or object column as something Arrow can hold."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value if isinstance(value, (list, tuple, int, float, str, type(None))) else str(value)
