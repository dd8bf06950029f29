"""Targets from tables too large to be held: Parquet and Arrow files, read a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from raysearch.archives.coordinates import pair_of, read_angles
from raysearch.archives.files import Sheet
from raysearch.archives.tables import TargetTable, targets_of
from raysearch.errors import TableError

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
LARGE = 2_000_000
"""Rows from which a table is streamed: as targets, they would need about 1 GB."""

Piece = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A large table of targets."""

    path: Path
    ra: str
    """Name of the column."""
    dec: str
    ends: tuple[int, ...]
    """The row after the last of each part (row group or record batch) of the file."""

    @property
    def rows(self) -> int:
        """Rows of the whole table."""
        return self.ends[-1] if self.ends else 0

    def pieces(self) -> Iterator[Callable[[], Piece]]:
        """Yield what loads each part: the indices of its rows with usable coordinates, and these, degrees."""
        return (partial(_positions, self, part) for part in range(len(self.ends)))

    def targets(self, rows: NDArray[np.int64], redshift: float) -> TargetTable:
        """Return the targets in these rows (increasing indices), as `read_targets` does those of a whole table.

        Raises
        ------
        TableError
            The file cannot be read.
        """
        taken = []
        for part, end in enumerate(self.ends):
            first = self.ends[part - 1] if part else 0
            mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, end)]
            if len(mine):
                taken.append(_part(self.path, part, None).take(pa.array(mine - first)))
        return targets_of(Sheet(self.path, pa.concat_tables(taken), rows + 1), redshift) if taken else TargetTable([])


def open_catalogue(path: str | Path) -> Catalogue | None:
    """Return the table of targets if it is a large Parquet or Arrow file; None for any other.

    Raises
    ------
    TableError
        It has no columns of coordinates, or cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in (*PARQUET, *ARROW) or not path.is_file():
        return None
    try:
        names, counts = _parquet_parts(path) if path.suffix.lower() in PARQUET else _arrow_parts(path)
    except (OSError, pa.ArrowException):
        return None  # whoever reads it whole says what is wrong with it
    if sum(counts) < LARGE:
        return None
    return Catalogue(path, *pair_of(path, names), tuple(np.cumsum(counts).tolist()))


def _parquet_parts(path: Path) -> tuple[Sequence[str], list[int]]:
    with parquet.ParquetFile(path) as file:
        about = file.metadata
        return file.schema_arrow.names, [about.row_group(part).num_rows for part in range(about.num_row_groups)]


def _arrow_parts(path: Path) -> tuple[Sequence[str], list[int]]:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        return file.schema.names, [file.get_batch(part).num_rows for part in range(file.num_record_batches)]


def _part(path: Path, part: int, columns: list[str] | None) -> pa.Table:
    try:
        if path.suffix.lower() in PARQUET:
            with parquet.ParquetFile(path) as file:
                return file.read_row_group(part, columns=columns)
        with pa.memory_map(str(path)) as source:
            table = pa.Table.from_batches([pa.ipc.open_file(source).get_batch(part)])
            return table if columns is None else table.select(columns)
    except (OSError, pa.ArrowException) as exc:
        raise TableError(f"{path}: cannot be read ({exc})") from exc


def _positions(catalogue: Catalogue, part: int) -> Piece:
    table = _part(catalogue.path, part, [catalogue.ra, catalogue.dec])
    try:
        ra = read_angles(table[catalogue.ra], catalogue.ra, hours=True).degrees
        dec = read_angles(table[catalogue.dec], catalogue.dec, hours=False).degrees
    except ValueError as exc:
        raise TableError(f"{catalogue.path}: {exc}") from exc
    usable = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    first = catalogue.ends[part - 1] if part else 0
    return usable + first, ra[usable], dec[usable]
