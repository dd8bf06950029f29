"""Arrow tables of a run folder as astropy Tables with units and descriptions, and as files that other programs open.

Two kinds of column are in Parquet only: bytes (the candidates' line maps, which are written one by one as files), and the limits
of each outcome (which make a table of their own).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from raysearch.errors import ConfigError
from raysearch.model import OUTCOME_SCHEMA

if TYPE_CHECKING:
    from astropy.table import Table

UNITS: Mapping[str, str] = {
    "ra": "deg",
    "dec": "deg",
    "s_ra": "deg",
    "s_dec": "deg",
    "em_min": "m",
    "em_max": "m",
    "t_min": "d",
    "t_max": "d",
    "t_exptime": "s",
    "seconds": "s",
    "bytes_read": "byte",
    "peak_ra": "deg",
    "peak_dec": "deg",
    "direction": "deg",
    "position_angle": "deg",
}
"""Units of columns whose name does not end in one."""

SUFFIXES: Mapping[str, str] = {
    "_um": "um",
    "_deg": "deg",
    "_arcsec": "arcsec",
    "_arcsec2": "arcsec2",
    "_bytes": "byte",
    "_s": "s",
    "_kms": "km / s",
    "_w_m2": "W / m2",
    "_mjy_sr": "MJy / sr",
}
"""What a column's last part says about its unit."""

DESCRIPTIONS: Mapping[str, str] = {
    "obs_id": "Observation, as its archive names it",
    "target": "The nearest target that the record is about",
    "uri": "Where the pixels were read from",
    "config_hash": "Hash of the search that made the record",
    "line": "Spectral line",
    "rest_um": "Rest wavelength in vacuum",
    "wavelength_um": "Wavelength at which it was found, in vacuum",
    "targets": "Every target at whose redshift the line was expected there, the nearest first",
    "status": "detected, nothing, skipped or failed",
    "reason": "Why it was skipped or failed",
    "candidates": "Records in the candidate table",
    "bytes_read": "Bytes received for this observation",
    "requests": "Requests sent for this observation, retries included",
    "seconds": "Time spent reading and detecting",
}

FORMATS = (".ecsv", ".vot", ".fits", ".parquet", ".csv")


LIMITS_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("line", pa.string(), nullable=False),
        pa.field("rest_um", pa.float64(), nullable=False),
        pa.field("wavelength_um", pa.float64(), nullable=False),
        pa.field(
            "flux",
            pa.float64(),
            nullable=False,
            metadata={"unit": "W / m2", "description": "Integrated flux that would have been found with a probability of 95 %"},
        ),
        pa.field(
            "note", pa.string(), nullable=False, metadata={"description": "Where and for what shape it holds, or why there is none"}
        ),
    ]
)
"""The columns of the table of limits."""


def limits_table(outcomes: pa.Table) -> pa.Table:
    """Return one row for each searched line without a candidate, with the flux (W m^-2) it cannot exceed, from an outcome table."""
    rows = [
        {"obs_id": row["obs_id"], **limit} for row in outcomes.select(["obs_id", "limits"]).to_pylist() for limit in row["limits"]
    ]
    return pa.Table.from_pylist(rows, schema=LIMITS_SCHEMA)


def unit_of(column: str) -> str | None:
    """Return a column's unit as astropy spells it, or None where it has none."""
    if column in UNITS:
        return UNITS[column]
    return next((unit for suffix, unit in SUFFIXES.items() if column.endswith(suffix)), None)


def to_table(table: pa.Table, *, ascii_only: bool = False) -> Table:
    """Return an astropy Table with units and descriptions; lists become text, bytes and limits are left out.

    `ascii_only` writes letters beyond ASCII as escapes: FITS has no others.
    """
    import numpy as np
    from astropy.table import Column, MaskedColumn, Table

    columns = []
    table = _without_nested(table)
    for name, column in zip(table.column_names, table.columns, strict=True):
        flat = _flat(column)
        told = {key.decode(): value.decode() for key, value in (table.schema.field(name).metadata or {}).items()}
        unit, description = told.get("unit", unit_of(name)), told.get("description", DESCRIPTIONS.get(name, ""))
        about = {"name": name, "unit": unit, "description": description}
        if pa.types.is_string(flat.type):
            texts = flat.fill_null("").to_pylist()
            if ascii_only:
                texts = [text.encode("ascii", "backslashreplace").decode() for text in texts]
            values = np.array(texts, dtype=str)
        else:
            values = flat.fill_null(pa.scalar(0).cast(flat.type)).to_numpy() if flat.null_count else flat.to_numpy()
        if flat.null_count:
            columns.append(MaskedColumn(values, mask=flat.is_null().to_numpy(), **about))
        else:
            columns.append(Column(values, **about))
    return Table(columns)


def format_of(path: Path) -> str:
    """Return which of `FORMATS` a file's name ends in.

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"{path}: cannot tell a format from the ending {ending!r}; use one of {', '.join(FORMATS)}")
    return ending


def write(table: pa.Table, path: Path) -> None:
    """Write a table in the format that the file's ending names: .ecsv, .vot, .fits, .parquet or .csv.

    Raises
    ------
    ConfigError
        If the ending is none of these.
    OSError
        If the file cannot be written.
    """
    ending = format_of(path)
    if ending == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, path)
    elif ending == ".csv":
        import pyarrow.csv

        table = _without_nested(table)
        pyarrow.csv.write_csv(pa.table({name: _flat(table[name]) for name in table.column_names}), path)
    else:
        formats = {".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits"}
        to_table(table, ascii_only=ending == ".fits").write(path, format=formats[ending], overwrite=True)


def _without_nested(table: pa.Table) -> pa.Table:
    """Return the table without what only Parquet holds: bytes, and the limits of outcomes."""
    return table.select([f.name for f in table.schema if not _only_in_parquet(f.type)])


def _only_in_parquet(kind: pa.DataType) -> bool:
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(is_bytes or kind.equals(OUTCOME_SCHEMA.field("limits").type))


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text, numbers or booleans: all else (lists, times) as text that a person can read."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _flat(column.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return column
    if pa.types.is_signed_integer(kind):
        return column
    return pa.chunked_array([[None if v is None else _text(v) for v in column.to_pylist()]], type=pa.string())


def _text(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("name", value))
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return str(value)
