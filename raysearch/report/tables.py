"""Arrow tables of a run folder as astropy Tables, and as files for other programs; with units, UCDs, descriptions, provenance.

Two kinds of column are in Parquet only: bytes (the candidates' line maps and cutouts, which are written as files of their own), and
lists of records (the limits of each outcome, which make a table of their own, and the byte ranges that were read for it).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raysearch.errors import ConfigError
from raysearch.model import LIMIT_TYPE, RANGE_TYPE
from raysearch.report import columns
from raysearch.report.provenance import NOTHING, Provenance
from raysearch.report.stream import Stream
from raysearch.report.texts import flat_column, joined, number_texts

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

    from raysearch.report.columns import Column

PLAIN = "^[!$-~]+$"
"""A text that needs no quotes in ECSV: of letters, digits and signs of ASCII, without `"` and `#`."""
FORMATS = (".ecsv", ".vot", ".fits", ".parquet", ".csv")

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
    import pyarrow.compute as pc

    limits = outcomes["limits"].combine_chunks()
    names = outcomes["obs_id"].take(pc.list_parent_indices(limits))
    flat = pc.list_flatten(limits)
    columns_of = [names, *(pc.struct_field(flat, field.name) for field in list(LIMITS_SCHEMA)[1:])]
    return pa.Table.from_arrays(columns_of, schema=LIMITS_SCHEMA)


@dataclass(frozen=True, slots=True)
class Extent:
    """What must be known of a column before its first value is written."""

    width: int = 1
    """Characters of its longest text, 1 at least; after escaping, where there is."""
    masked: bool = False
    """Whether a value is missing."""

    @classmethod
    def of(cls, column: pa.ChunkedArray, *, ascii_only: bool) -> Extent:
        """Return that of a column of text, numbers or booleans."""
        import pyarrow.compute as pc

        width = 1
        if pa.types.is_string(column.type):
            ascii_already = not ascii_only or pc.all(pc.string_is_ascii(column)).as_py() in {True, None}
            lengths = pc.max(pc.utf8_length(column)).as_py() if ascii_already else max(map(len, _texts(column, ascii_only=True)))
            width = max(lengths or 0, 1)
        return cls(width, column.null_count > 0)

    def __or__(self, other: Extent) -> Extent:
        """Return that of two pieces of a column."""
        return Extent(max(self.width, other.width), self.masked or other.masked)


def extents(stream: Stream, *, ascii_only: bool = False) -> tuple[int, dict[str, Extent]]:
    """Return how many rows a table has, and the extent of each column; for which it is read once."""
    rows, found = 0, dict.fromkeys(without_nested(stream.schema.empty_table()).column_names, Extent())
    for piece in stream.pieces():
        rows += piece.num_rows
        for label in found:
            found[label] |= Extent.of(flat_column(piece[label]), ascii_only=ascii_only)
    return rows, found


def to_table(table: pa.Table, name: str = "", *, ascii_only: bool = False, known: Mapping[str, Extent] | None = None) -> Table:
    """Return an astropy Table with units, UCDs and descriptions; lists become text, bytes and lists of records are left out.

    Parameters
    ----------
    table
        A table of a run folder.
    name
        Which: `candidates`, `cutouts`, ...; some columns mean something else in one table than in the others.
    ascii_only
        Whether letters beyond ASCII are written as escapes: FITS has no others.
    known
        The extents of the whole table's columns, where this is a piece of it.
    """
    import numpy as np
    from astropy.table import Column, MaskedColumn, Table

    made = []
    table = without_nested(table)
    for label, column in zip(table.column_names, table.columns, strict=True):
        flat, about_it = flat_column(column), columns.describe(label, name)
        about: dict[str, Any] = {"name": label, "unit": about_it.unit or None, "description": about_it.description}
        about["meta"] = {"ucd": about_it.ucd} if about_it.ucd else {}
        extent = known[label] if known else Extent.of(flat, ascii_only=ascii_only)
        if pa.types.is_string(flat.type):
            values = np.array(_texts(flat, ascii_only=ascii_only), dtype=f"{'S' if ascii_only else 'U'}{extent.width}")
        else:
            values = flat.fill_null(pa.scalar(0).cast(flat.type)).to_numpy() if flat.null_count else flat.to_numpy()
        if extent.masked:
            made.append(MaskedColumn(values, mask=flat.is_null().to_numpy(), **about))
        else:
            made.append(Column(values, **about))
    return Table(made)


def _texts(column: pa.ChunkedArray, *, ascii_only: bool) -> list[str]:
    texts: list[str] = column.fill_null("").to_pylist()
    return [columns.in_ascii(text) for text in texts] if ascii_only else texts


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
    """Write a table that is at hand; see `write_stream`."""
    write_stream(Stream.of(table), path, name, provenance)


def write_stream(stream: Stream, path: Path, name: str = "", provenance: Provenance = NOTHING) -> int:
    """Write a table in the format that the file's ending names: .ecsv, .vot, .fits, .parquet or .csv; return its rows.

    It is never held in memory. For .vot and .fits, in which a column of text has one width, it is read twice.

    Parameters
    ----------
    stream
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
        batches = (batch for piece in stream.pieces() for batch in piece.combine_chunks().to_batches())
        return write_batches(stream.schema, batches, path, name, provenance)
    with whole(path) as torn:
        if ending == ".csv":
            return _write_csv(stream, torn)
        if ending == ".ecsv":
            return _write_ecsv(stream, torn, name, provenance)
        if ending == ".vot":
            from raysearch.report.votable import write_votable

            return write_votable(stream, torn, name, provenance)
        from raysearch.report.bintable import write_fits

        return write_fits(stream, torn, name, provenance)


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


def _write_csv(stream: Stream, path: Path) -> int:
    import pyarrow.csv

    rows = 0
    with pyarrow.csv.CSVWriter(path, _flat_table(without_nested(stream.schema.empty_table())).schema) as writer:
        for piece in stream.pieces():
            writer.write_table(_flat_table(without_nested(piece)))
            rows += piece.num_rows
    return rows


def _write_ecsv(stream: Stream, path: Path, name: str, provenance: Provenance) -> int:
    """Write an ECSV file: the header that astropy makes of a table without rows, and lines as it writes them."""
    rows = 0
    with path.open("wb") as file:
        file.write(_ecsv_header(to_table(stream.schema.empty_table(), name), provenance.as_dict(name)).encode())
        for piece in stream.pieces():
            cells = [_ecsv_cells(flat_column(column)) for column in without_nested(piece).columns]
            file.write(joined(cells, "", " ", "\n"))
            rows += piece.num_rows
    return rows


def _ecsv_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as it stands in ECSV: what is missing is an empty text; only plain words stand without quotes."""
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        texts = pc.if_else(column, "True", "False")
    elif not pa.types.is_string(column.type):
        texts = number_texts(column, nan="nan", infinity="inf")
    else:
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        texts = pc.if_else(pc.match_substring_regex(column, PLAIN), column, quoted)
    return pc.fill_null(texts, '""')


def _ecsv_header(table: Table, meta: Mapping[str, Any]) -> str:
    table.meta.update(meta)
    made = io.StringIO(newline="")
    table.write(made, format="ascii.ecsv")
    return made.getvalue()


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


def without_nested(table: pa.Table) -> pa.Table:
    """Return the table without what only Parquet holds: bytes, and lists of limits and byte ranges."""
    return table.select([f.name for f in table.schema if not _only_in_parquet(f.type)])


def _only_in_parquet(kind: pa.DataType) -> bool:
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(is_bytes or kind in {pa.list_(LIMIT_TYPE), pa.list_(RANGE_TYPE)})
