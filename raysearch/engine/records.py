"""The tables of a shard: their schemas, the check of a detector's records, and the rows themselves."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa

from raysearch.errors import DetectorError
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA, Candidate, Figure, Limit, Outcome, Window

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "f4": pa.float32(),
    "f8": pa.float64(),
    "i4": pa.int32(),
    "i8": pa.int64(),
    "bool": pa.bool_(),
    "str": pa.string(),
    "bytes": pa.binary(),
}
"""What a detector may declare in its `columns`."""

COMMON = ("obs_id", "target", "uri", "config_hash")
OF_LINES = ("line", "rest_um", "wavelength_um")
TARGETS = "targets"
"""Of a line search: every target whose line a record may be, the nearest first."""


def candidate_schema(columns: Mapping[str, str], lines: bool) -> pa.Schema:
    """Return the schema of the candidate table: the common columns, those of a line search, then the detector's own in its order.

    Raises
    ------
    DetectorError
        A dtype is unknown, or a name is one of the common ones.
    """
    fields = [pa.field(name, pa.string(), nullable=False) for name in COMMON]
    if lines:
        types = (pa.string(), pa.float64(), pa.float64())
        fields += [pa.field(name, kind, nullable=False) for name, kind in zip(OF_LINES, types, strict=True)]
        fields.append(pa.field(TARGETS, pa.list_(pa.string()), nullable=False))
    for name, dtype in columns.items():
        if name in (*COMMON, *OF_LINES, TARGETS):
            raise DetectorError(f"the detector's column {name!r} has a name that raysearch gives itself: choose another")
        if not (name.isidentifier() and name.isascii()):
            raise DetectorError(
                f"the detector's column {name!r}: a name is made of letters, digits and _, so that every format holds it"
            )
        if dtype not in ARROW_TYPES:
            raise DetectorError(f"the detector's column {name!r} has dtype {dtype!r}: choose from {', '.join(ARROW_TYPES)}")
        fields.append(pa.field(name, ARROW_TYPES[dtype], nullable=False))
    return pa.schema(fields)


def _real(largest: float) -> Callable[[object], float | None]:
    def convert(value: object) -> float | None:
        if not isinstance(value, Real) or isinstance(value, bool):
            return None
        number = float(value)
        return None if largest < abs(number) < float("inf") else number

    return convert


def _integer(bits: int) -> Callable[[object], int | None]:
    limit = 2 ** (bits - 1)

    def convert(value: object) -> int | None:
        if not isinstance(value, Integral) or isinstance(value, bool) or not -limit <= int(value) < limit:
            return None
        return int(value)

    return convert


def _boolean(value: object) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _text(value: object) -> str | None:
    """Return text that can be written as UTF-8: half a character pair cannot."""
    if not isinstance(value, str):
        return None
    return str(value) if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None


_CONVERT: Mapping[str, Callable[[object], Any]] = {
    "f4": _real(float(np.finfo("f4").max)),
    "f8": _real(float(np.finfo("f8").max)),
    "i4": _integer(32),
    "i8": _integer(64),
    "bool": _boolean,
    "str": _text,
    "bytes": lambda value: bytes(value) if isinstance(value, bytes) else None,
}
"""A value as plain Python, or None where it is of another kind; nothing is rounded, parsed or cut to fit."""


def checked(
    records: Sequence[Candidate | Limit], columns: Mapping[str, str], lines: bool, windows: Sequence[Window] = ()
) -> list[tuple[Any, ...]]:
    """Return each candidate's values (target, then the line's and its targets, then the detector's own) as plain Python.

    Raises
    ------
    DetectorError
        Something is no record, or one lacks a column, has one too many, or a value of another kind than declared.
    """
    if not isinstance(records, list | tuple):
        raise DetectorError(f"detect() returned {type(records).__name__}: it must return a list of Candidate and Limit")
    targets = {(window.line.name, window.target): list(window.targets) for window in windows} if lines else None
    return [_checked_record(n, record, columns, targets) for n, record in enumerate(records) if not isinstance(record, Limit)]


def checked_limits(records: Sequence[Candidate | Limit]) -> tuple[Limit, ...]:
    """Return the limits among the records, their values as plain Python.

    Raises
    ------
    DetectorError
        A value is of another kind than the field's, or a flux is infinite.
    """
    return tuple(_checked_limit(number, record) for number, record in enumerate(records) if isinstance(record, Limit))


def _checked_limit(number: int, record: Limit) -> Limit:
    kinds = {"target": "str", "line": "str", "rest_um": "f8", "wavelength_um": "f8", "flux": "f8", "note": "str"}
    limit = Limit(**{name: _value(number, name, dtype, getattr(record, name)) for name, dtype in kinds.items()})
    if math.isinf(limit.flux):
        raise DetectorError(
            f"record {number}: the limit's flux is infinite: it must be a number of W m^-2, or NaN where there is none"
        )
    return limit


def checked_figures(figures: Sequence[Figure], candidates: int) -> list[Figure]:
    """Return the figures of an observation with so many candidates.

    Raises
    ------
    DetectorError
        Something is no figure, or shows no candidate of this observation, or has another's name.
    """
    if not isinstance(figures, list | tuple) or not all(isinstance(figure, Figure) for figure in figures):
        raise DetectorError("draw() must return a list of Figure")
    seen: set[tuple[int, str]] = set()
    for figure in figures:
        _value(figure.candidate, "name", "str", figure.name)
        _value(figure.candidate, "svg", "bytes", figure.svg)
        _value(figure.candidate, "alt", "str", figure.alt)
        if not isinstance(figure.candidate, int) or not -1 <= figure.candidate < candidates:
            raise DetectorError(f"figure {figure.name!r} is of candidate {figure.candidate!r}: there are {candidates}, from 0 on")
        if (figure.candidate, figure.name) in seen:
            raise DetectorError(f"candidate {figure.candidate} has two figures named {figure.name!r}")
        seen.add((figure.candidate, figure.name))
    return list(figures)


def _checked_record(
    number: int, record: Candidate, columns: Mapping[str, str], targets: Mapping[tuple[str, str], list[str]] | None
) -> tuple[Any, ...]:
    """Return one record's values; `targets` are those of each window by its line and nearest target, None but in line searches."""
    if not isinstance(record, Candidate):
        raise DetectorError(f"record {number} is {type(record).__name__}: it must be a Candidate or a Limit")
    if record.values.keys() != columns.keys():
        wrong = [f"{name!r} is missing" for name in columns if name not in record.values]
        wrong += [f"{name!r} is not declared" for name in record.values if name not in columns]
        raise DetectorError(f"record {number}: column {', '.join(wrong)}; values must have exactly the detector's `columns`")
    common = [_value(number, "target", "str", record.target)]
    if targets is not None:
        common += [
            _value(number, name, dtype, getattr(record, name)) for name, dtype in zip(OF_LINES, ("str", "f8", "f8"), strict=True)
        ]
        common.append(targets.get((record.line, record.target), [record.target]))
    return (*common, *(_value(number, name, dtype, record.values[name]) for name, dtype in columns.items()))


def _value(number: int, name: str, dtype: str, value: object) -> Any:
    converted = _CONVERT[dtype](value)
    if converted is None:
        shown = repr(value)[:80]
        raise DetectorError(f"record {number}: column {name!r} holds {shown} ({type(value).__name__}), which is no {dtype!r}")
    return converted


def candidate_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Return the candidate table of rows in the schema's order."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def outcome_table(outcomes: Sequence[Outcome]) -> pa.Table:
    """Return the outcome table, in the order given."""
    columns = {f.name: [getattr(outcome, f.name) for outcome in outcomes] for f in fields(Outcome)}
    columns["limits"] = [[asdict(limit) for limit in outcome.limits] for outcome in outcomes]
    columns["ranges"] = [[{"start": start, "end": end} for start, end in outcome.ranges] for outcome in outcomes]
    columns["retries"] = [[{"host": host, "count": count} for host, count in outcome.retries] for outcome in outcomes]
    return pa.table(columns, schema=OUTCOME_SCHEMA)


def figure_table(figures: Sequence[tuple[str, Figure]]) -> pa.Table:
    """Return the table of figures, each given with its observation; the same bytes for the same figures."""
    columns = {
        "obs_id": [obs_id for obs_id, _ in figures],
        "candidate": [figure.candidate for _, figure in figures],
        "name": [figure.name for _, figure in figures],
        "svg": [gzip.compress(figure.svg, mtime=0) if figure.svg else b"" for _, figure in figures],
        "alt": [figure.alt for _, figure in figures],
    }
    return pa.table(columns, schema=FIGURE_SCHEMA)
