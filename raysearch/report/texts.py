"""Columns as text, a whole piece of a table at a time: one value after the other takes ten times as long.

Numbers are written with as many digits as it takes to read the same number again, of their own precision, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_string()
"""Rows that are joined may be longer together than the offsets of `string` reach."""


def flat_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text, numbers or booleans: all else (lists, times) as text that a person can read."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return flat_column(column.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return column
    if pa.types.is_int8(kind):
        return column.cast(pa.int16())  # VOTable and FITS have no signed bytes
    if pa.types.is_signed_integer(kind):
        return column
    if pa.types.is_list(kind) and (items := _items(column)) is not None:
        return items
    return pa.chunked_array([[None if v is None else _text(v) for v in column.to_pylist()]], type=pa.string())


def _items(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return lists of texts, or of records of texts and whole numbers, as `_text` does; None where they hold something else."""
    lists = column.combine_chunks()
    values = _words(lists.values)
    if values is None or values.null_count:
        return None
    kept = pa.ListArray.from_arrays(lists.offsets, values, mask=lists.is_null() if lists.null_count else None)
    return pa.chunked_array([pc.binary_join(kept, "; ")])


def _words(values: pa.Array) -> pa.Array | None:
    if pa.types.is_struct(values.type) and not values.null_count:
        named = [field.name for field in values.type if field.name == "name"]
        parts = [_words(values.field(name)) for name in named or [field.name for field in values.type]]
        return None if any(part is None for part in parts) else pc.binary_join_element_wise(*parts, " ")
    return values.cast(pa.string()) if pa.types.is_string(values.type) or pa.types.is_integer(values.type) else None


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return str(value["name"]) if "name" in value else " ".join(map(str, value.values()))
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return str(value)


def joined(cells: Sequence[pa.ChunkedArray], before: str, between: str, after: str) -> pa.Buffer:
    """Return rows of text as UTF-8, one after the other, each made of its cells and what stands around them.

    Parameters
    ----------
    cells
        Columns of text; what is missing is empty.
    before, between, after
        What stands in each row before the first cell, from cell to cell, and after the last one.
    """
    parts: list[pa.Array | pa.Scalar] = []
    for column in cells:
        parts += [pa.scalar(between if parts else before, TEXT), column.cast(TEXT).combine_chunks()]
    rows = pc.binary_join_element_wise(*parts, pa.scalar(after, TEXT), pa.scalar("", TEXT), null_handling="replace")
    return rows.buffers()[2].slice(0, pc.sum(pc.binary_length(rows)).as_py() or 0)


def number_texts(column: pa.ChunkedArray, *, nan: str, infinity: str) -> pa.ChunkedArray:
    """Return numbers as text; what is missing stays so.

    Parameters
    ----------
    column
        Numbers.
    nan, infinity
        What stands for those that are none; a minus goes before the negative one.
    """
    texts = column.cast(pa.string())
    if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column)).as_py():
        for word, other in (("nan", nan), ("-inf", f"-{infinity.removeprefix('+')}"), ("inf", infinity)):
            texts = pc.if_else(pc.equal(texts, word), other, texts)
    return texts
