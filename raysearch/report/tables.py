"""Arrow tables of a run folder as astropy Tables, and as files for other programs; with units, UCDs, descriptions, provenance.

Two kinds of column are in Parquet only: bytes (the candidates' line maps and cutouts, which are written as files of their own), and
lists of records (the limits of each outcome, which make a table of their own, and the byte ranges that were read for it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raysearch.errors import ConfigError
from raysearch.model import LIMIT_TYPE, RANGE_TYPE
from raysearch.report import columns
from raysearch.report.provenance import NOTHING, Provenance

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

    from raysearch.report.columns import Column

FORMATS = (".ecsv", ".vot", ".fits", ".parquet", ".csv")

CHUNK_ROWS = 65_536
"""Rows that are converted at a time where a format is written bit by bit."""

LIMITS_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("line", pa.string(), nullable=False),
        pa.field("rest_um", pa.float64(), nullable=False),
        pa.field("wavelength_um", pa.float64(), nullable=False),
        pa.field("flux", pa.float64(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
    ]
)
"""The columns of the table of limits."""


def limits_table(outcomes: pa.Table) -> pa.Table:
    """Return one row for each searched line without a candidate, with the flux (W m^-2) it cannot exceed, from an outcome table."""
    rows = [
        {"obs_id": row["obs_id"], **limit} for row in outcomes.select(["obs_id", "limits"]).to_pylist() for limit in row["limits"]
    ]
    return pa.Table.from_pylist(rows, schema=LIMITS_SCHEMA)


def to_table(table: pa.Table, name: str = "", *, ascii_only: bool = False) -> Table:
    """Return an astropy Table with units, UCDs and descriptions; lists become text, bytes and lists of records are left out.

    Parameters
    ----------
    table
        A table of a run folder.
    name
        Which: `candidates`, `cutouts`, ...; some columns mean something else in one table than in the others.
    ascii_only
        Whether letters beyond ASCII are written as escapes: FITS has no others.
    """
    import numpy as np
    from astropy.table import Column, MaskedColumn, Table

    made = []
    table = without_nested(table)
    for label, column in zip(table.column_names, table.columns, strict=True):
        flat, known = flat_column(column), columns.describe(label, name)
        about: dict[str, Any] = {"name": label, "unit": known.unit or None, "description": known.description}
        about["meta"] = {"ucd": known.ucd} if known.ucd else {}
        if pa.types.is_string(flat.type):
            texts = flat.fill_null("").to_pylist()
            values = np.array([columns.in_ascii(text) for text in texts] if ascii_only else texts, dtype=str)
        else:
            values = flat.fill_null(pa.scalar(0).cast(flat.type)).to_numpy() if flat.null_count else flat.to_numpy()
        if flat.null_count:
            made.append(MaskedColumn(values, mask=flat.is_null().to_numpy(), **about))
        else:
            made.append(Column(values, **about))
    return Table(made)


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


def write(table: pa.Table, path: Path, name: str = "", provenance: Provenance = NOTHING) -> None:
    """Write a table in the format that the file's ending names: .ecsv, .vot, .fits, .parquet or .csv.

    Parameters
    ----------
    table
        A table of a run folder.
    path
        The file; an old one is replaced once the new one is whole.
    name
        Which table it is: `candidates`, `outcomes`, ...
    provenance
        What the file shall say of its origin; CSV has no place for it.

    Raises
    ------
    ConfigError
        If the ending is none of these.
    OSError
        If the file cannot be written.
    """
    ending = format_of(path)
    if ending == ".parquet":
        write_batches(table.schema, table.to_batches(CHUNK_ROWS), path, name, provenance)
        return
    with whole(path) as torn:
        if ending == ".csv":
            _write_csv(table, torn)
        elif ending == ".vot":
            from raysearch.report.votable import write_votable

            write_votable(to_table(table, name), torn, name, provenance)
        elif ending == ".fits":
            _write_fits(to_table(table, name, ascii_only=True), torn, name, provenance)
        else:
            made = to_table(table, name)
            made.meta.update(provenance.as_dict(name))
            made.write(torn, format="ascii.ecsv", overwrite=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the name of a file to write beside its place, and move it into it once it is whole."""
    torn = path.with_name(path.name + ".tmp")
    try:
        yield torn
        torn.replace(path)
    finally:
        torn.unlink(missing_ok=True)


def described(schema: pa.Schema, name: str, provenance: Provenance) -> pa.Schema:
    """Return an Arrow schema whose fields tell unit, UCD and description, and which itself tells where the table came from."""
    fields = []
    for field in schema:
        known = columns.describe(field.name, name)
        told = {"unit": known.unit, "ucd": known.ucd, "description": known.description}
        fields.append(field.with_metadata({**(field.metadata or {}), **{key: text for key, text in told.items() if text}}))
    return pa.schema(fields, {**(schema.metadata or {}), "raysearch": provenance.as_json(name)})


def write_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path, name: str, provenance: Provenance = NOTHING
) -> int:
    """Write batches as a Parquet file, one after the other, and return how many rows they have."""
    import pyarrow.parquet as pq

    told, rows = described(schema, name, provenance), 0
    with whole(path) as torn, pq.ParquetWriter(torn, told) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(told))
            rows += batch.num_rows
    return rows


def _write_csv(table: pa.Table, path: Path) -> None:
    import pyarrow.csv

    table = without_nested(table)
    with pyarrow.csv.CSVWriter(path, _flat_table(table.slice(0, 0)).schema) as writer:
        for start in range(0, table.num_rows, CHUNK_ROWS):
            writer.write_table(_flat_table(table.slice(start, CHUNK_ROWS)))


def _flat_table(table: pa.Table) -> pa.Table:
    return pa.table({label: flat_column(table[label]) for label in table.column_names})


def fits_table(table: Table, known: Sequence[Column], extension: str) -> fits.BinTableHDU:
    """Return a FITS table of an astropy Table in ASCII, with what is known of its columns as TUNITn, TUCDn and TCOMMn."""
    from astropy.io import fits

    for column in table.itercols():
        column.unit = None  # told below
    hdu = fits.table_to_hdu(table)
    hdu.name = extension
    for number, about in enumerate(known, start=1):
        columns.tell(hdu.header, number, about)
    return hdu


def _write_fits(table: Table, path: Path, name: str, provenance: Provenance) -> None:
    """Write a FITS file with a table and its checksums."""
    from astropy.io import fits

    hdu = fits_table(table, [columns.describe(label, name) for label in table.colnames], name.upper() or "TABLE")
    for keyword, value, comment in provenance.cards():
        hdu.header[keyword] = (value, comment)
    for line in provenance.history():
        hdu.header.add_history(line)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True, checksum=True)


def without_nested(table: pa.Table) -> pa.Table:
    """Return the table without what only Parquet holds: bytes, and lists of limits and byte ranges."""
    return table.select([f.name for f in table.schema if not _only_in_parquet(f.type)])


def _only_in_parquet(kind: pa.DataType) -> bool:
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(is_bytes or kind in {pa.list_(LIMIT_TYPE), pa.list_(RANGE_TYPE)})


def flat_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text, numbers or booleans: all else (lists, times) as text that a person can read."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return flat_column(column.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return column
    if pa.types.is_signed_integer(kind):
        return column
    return pa.chunked_array([[None if v is None else _text(v) for v in column.to_pylist()]], type=pa.string())


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return str(value.get("name", value))
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return str(value)
