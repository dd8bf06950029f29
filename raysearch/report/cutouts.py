"""Cutouts as a table of arrays: a row for each, its planes as lists of numbers, for those who compute with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysearch.errors import FormatError
from raysearch.report.hdus import Hdu
from raysearch.report.mef import CONTENT, oldest_first, unpacked

KINDS: Mapping[int, np.dtype[Any]] = {
    -32: np.dtype(">f4"),
    -64: np.dtype(">f8"),
    8: np.dtype("u1"),
    16: np.dtype(">i2"),
    32: np.dtype(">i4"),
    64: np.dtype(">i8"),
}
"""BITPIX -> kind of number (FITS standard 4.0, table 8)."""

FIRST = ("IMAGE", "FLAGS", "VARIANCE", "ZODI")
"""Extensions that have a column even where no cutout has them, in this order; others follow."""


def cutouts_table(candidates: pa.Table) -> pa.Table:
    """Return one row for each cutout that has pixels: targets by name, the oldest first, numbered from 1 as in the FITS files.

    After the candidates' own columns come `shape` (rows and columns) and, row by row, the planes: `image`, `flags`, `variance`,
    `zodi`, `solid_angle`, ..., and `psf` with a `psf_shape` of its own. `np.reshape(row["image"], row["shape"])` is the cutout.
    What a cutout lacks is null.

    Raises
    ------
    ConfigError
        The candidates have no cutouts.
    FormatError
        One of them is no FITS file.
    """
    return pa.Table.from_batches(cutout_batches(candidates), cutouts_schema(candidates))


def cutouts_schema(candidates: pa.Table) -> pa.Schema:
    """Return the columns of the table: the planes are those of the first cutout; what only later ones have is left out."""
    first = next((rows[0] for rows in oldest_first(candidates).values()), None)
    images = [] if first is None else [hdu for hdu in unpacked(candidates, first)[1:] if hdu.text("XTENSION") == "IMAGE"]
    found = {_column(hdu.name): pa.from_numpy_dtype(_array(hdu).dtype) for hdu in images}
    kinds = {**{_column(name): pa.int32() if name == "FLAGS" else pa.float32() for name in FIRST}, **found}
    own = [field for field in candidates.schema if field.name != CONTENT]
    own.insert(1, pa.field("cutout_index", pa.int32()))
    shapes = [pa.field(name, pa.list_(pa.int32())) for name in ("shape", *(["psf_shape"] if "psf" in found else []))]
    return pa.schema([*own, *shapes, *(pa.field(name, pa.list_(kind)) for name, kind in kinds.items())])


def cutout_batches(candidates: pa.Table, rows: int = 256) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `cutouts_table` in batches of so many, so that never more is in memory."""
    order = [(number, row) for of_target in oldest_first(candidates).values() for number, row in enumerate(of_target, start=1)]
    schema, own = cutouts_schema(candidates), candidates.drop_columns([CONTENT])
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        columns = {
            name: column.combine_chunks() for name, column in zip(own.column_names, own.take(_rows(part)).columns, strict=True)
        }
        columns["cutout_index"] = pa.array([number for number, _ in part], pa.int32())
        planes = [_planes(unpacked(candidates, row)[1:]) for _, row in part]
        for field in schema:
            if field.name not in columns:
                columns[field.name] = pa.array([found.get(field.name) for found in planes], field.type)
        yield pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _rows(part: Sequence[tuple[int, int]]) -> pa.Array:
    return pa.array([row for _, row in part], pa.int64())


def _planes(hdus: list[Hdu]) -> dict[str, object]:
    """Return the images of a cutout as flat arrays, with their shapes, by the names of their columns."""
    found: dict[str, object] = {}
    for hdu in hdus:
        if hdu.text("XTENSION") == "IMAGE":
            array = _array(hdu)
            name = _column(hdu.name)
            found["psf_shape" if name == "psf" else "shape"] = list(array.shape)
            found[name] = array.ravel()
    return found


def _array(hdu: Hdu) -> NDArray[Any]:
    """Return an image's pixels, native byte order."""
    said = {found[1]: int(found[2]) for found in re.finditer(r"(BITPIX|NAXIS[12]) *= *(-?\d+)", hdu.header)}
    kind = KINDS.get(said["BITPIX"])
    if kind is None:
        raise FormatError(f"{hdu.name}: BITPIX = {said['BITPIX']} is none of the FITS standard's")
    pixels = np.frombuffer(hdu.data, kind).reshape(said["NAXIS2"], said["NAXIS1"])
    return pixels.astype(kind.newbyteorder("="))


def _column(extension: str) -> str:
    return re.sub(r"\W", "_", extension.lower())
