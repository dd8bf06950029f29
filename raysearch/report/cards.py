"""The page's tables as JavaScript takes them: columns of plain values, short enough for ten thousand candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysearch.report import funnel
from raysearch.report.columns import describe
from raysearch.report.folder import Run
from raysearch.report.labels import label_of, note_heads, significance_of, unit_text
from raysearch.report.pictures import Place

MOST_CANDIDATES = 20_000
"""The page shows this many, the most significant; all are in the run folder's tables."""
MOST_OBSERVATIONS = 20_000
"""Likewise: those with candidates first, then those that failed, then the rest."""

_FIRST = ("detected", "failed", "nothing", "skipped")
"""The order of the others, by how they ended."""

_HIDDEN = {"obs_id", "target", "targets", "uri", "config_hash"}
"""Columns of candidates that the page tells otherwise."""
_DEGREES = {"ra", "dec", "peak_ra", "peak_dec"}


def page_data(run: Run, shown: Sequence[int], bundles: Sequence[Sequence[Place]]) -> dict[str, Any]:
    """Return everything that the page's scripts show.

    Parameters
    ----------
    run
        The run.
    shown
        Rows of the candidate table, in the page's order.
    bundles
        Whose figures are in which file.
    """
    file_of = {place: number for number, bundle in enumerate(bundles) for place in bundle}
    listed = _listed(run, shown)
    return {
        "key": run.key,
        "name": str(run.about.get("name", "search")),
        "path": run.path,
        "kind": run.kind,
        "noun": run.noun,
        "finished": run.finished,
        "candidates": candidates(run, shown, listed, file_of),
        "observations": observations(run, listed, file_of),
        "marks": {name: dict(mark) for name, mark in run.marks.items()},
    }


def most_significant(run: Run) -> list[int]:
    """Return rows of the candidate table, the most significant first, `MOST_CANDIDATES` at most."""
    name = significance_of(run.candidates.column_names)
    if not name:
        return list(range(min(run.candidates.num_rows, MOST_CANDIDATES)))
    values = np.asarray(run.candidates[name].to_numpy(), dtype=np.float64)
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
    return [int(row) for row in order[:MOST_CANDIDATES]]


def _listed(run: Run, shown: Sequence[int]) -> list[int]:
    """Return rows of the work list, in its order."""
    total = run.observations.num_rows
    if total <= MOST_OBSERVATIONS:
        return list(range(total))
    wanted = np.unique([row for row, _ in places(run, shown)]).astype(np.int64)
    ranks = pc.fill_null(pc.index_in(run.outcomes["status"], pa.array(_FIRST)), len(_FIRST))
    rank = np.append(np.asarray(ranks, dtype=np.int64), len(_FIRST))[run.ended]  # -1, not ended: the last
    rank[wanted] = -1
    order = np.argsort(rank, kind="stable")[: max(MOST_OBSERVATIONS, len(wanted))]
    return [int(row) for row in np.sort(order)]


def places(run: Run, rows: Sequence[int]) -> list[Place]:
    """Return for rows of the candidate table the observation's row in the work list, and the candidate's number there."""
    names = run.candidates["obs_id"].take(pa.array(rows, pa.int64()))
    return list(zip(run.rows(names).tolist(), run.numbers[np.asarray(rows, np.int64)].tolist(), strict=True))


def candidates(run: Run, shown: Sequence[int], listed: Sequence[int], file_of: Mapping[Place, int]) -> dict[str, Any]:
    """Return the candidates in the order of `shown`: their columns, what these mean, and which observation each belongs to."""
    table = run.candidates.take(pa.array(shown, pa.int64()))
    number = {row: n for n, row in enumerate(listed)}
    where = places(run, shown)
    own = [field for field in table.schema if field.name not in _HIDDEN and not pa.types.is_binary(field.type)]
    return {
        "total": run.candidates.num_rows,
        "significance": significance_of(table.column_names),
        "source": [run.sources.get(row, "") for row in shown] if run.sources else None,
        "columns": [_about(field, table.column_names) for field in own],
        "values": {field.name: _values(table[field.name], field.name) for field in own},
        "target": table["target"].to_pylist(),
        "targets": run.column(table, "targets"),
        "observation": [number[row] for row, _ in where],
        "number": [candidate for _, candidate in where],
        "notes": [note_heads(record) for record in _notes(table)],
        "figures": [file_of.get(place, -1) for place in where],
    }


def _notes(table: pa.Table) -> Iterable[dict[str, Any]]:
    names = [name for name in ("notes", "note", "n_bad", "clipped") if name in table.column_names]
    return table.select(names).to_pylist() if names else [{}] * table.num_rows


def _about(field: pa.Field, names: Sequence[str]) -> dict[str, Any]:
    """Return what the page says of a column."""
    kind = field.type
    name = field.name
    known = describe(name, "candidates")
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    return {
        "name": name,
        "label": label_of(name),
        "unit": unit_text(known.unit),
        "about": known.description,
        "kind": "flag" if pa.types.is_boolean(kind) else "number" if is_number else "text",
        "error": error_of(name, names),
    }


def error_of(name: str, names: Sequence[str]) -> str:
    """Return the column that holds another's error, or an empty string: that of `flux_w_m2` is `flux_err_w_m2`."""
    if "_err" in name:
        return ""
    return next((other for other in names if "_err" in other and other.replace("_err", "", 1) == name), "")


def _values(column: pa.ChunkedArray, name: str) -> list[Any]:
    """Return plain values: numbers with six figures (positions with ten), None for what is not known."""
    values = column.to_pylist()
    if not pa.types.is_floating(column.type):
        return [str(value) if isinstance(value, list) else value for value in values]
    figures = 10 if name in _DEGREES or name.startswith("mjd") else 6
    return [float(f"{value:.{figures}g}") if value is not None and math.isfinite(value) else None for value in values]


def observations(run: Run, listed: Sequence[int], file_of: Mapping[Place, int]) -> dict[str, Any]:
    """Return the observations with how each ended."""
    table = run.observations.take(pa.array(listed, pa.int64()))
    names = table["obs_id"].to_pylist()
    rows = run.ended[np.asarray(listed, np.int64)]
    reasons, numbers = funnel.reasons_of(run)
    texts = {reason.number: reason.text for group in reasons.values() for reason in group}
    # Of those that have not ended, a row without anything.
    outcomes = run.outcomes.take(pa.array(rows, mask=rows < 0))
    none = {"status": "waiting", "reason": "", "uri": "", "bytes_read": 0, "requests": 0, "seconds": 0}
    outcome = {name: pc.fill_null(outcomes[name], without).to_pylist() for name, without in none.items()}
    return {
        "total": run.observations.num_rows,
        "row": list(listed),
        "obs_id": names,
        "target": [[target["name"] for target in targets] for targets in table["targets"].to_pylist()],
        "instrument": instruments(run, table),
        "status": outcome["status"],
        "reason": np.append(numbers, -1)[rows].tolist(),
        "why": outcome["reason"],
        "reasons": [texts[number] for number in sorted(texts)],
        "uri": outcome["uri"],
        "uris": table["uris"].to_pylist(),
        "bytes": outcome["bytes_read"],
        "requests": outcome["requests"],
        "seconds": [round(seconds, 3) for seconds in outcome["seconds"]],
        "ranges": _ranges(outcomes),
        "figures": [file_of.get((row, -1), -1) for row in listed],
    }


def _ranges(outcomes: pa.Table) -> list[list[list[int]]]:
    """Return which bytes of the product were read, (start, end), end exclusive; of runs that kept them."""
    if "ranges" not in outcomes.column_names:
        return [[] for _ in range(outcomes.num_rows)]
    return [[[one["start"], one["end"]] for one in kept or ()] for kept in outcomes["ranges"].to_pylist()]


def instruments(run: Run, table: pa.Table) -> list[str]:
    """Return instrument and filter of each observation, as its archive names them; empty where it does not."""
    columns = [
        run.column(table, next((name for name in names if name in table.column_names), ""), "")
        for names in (("instrument_name", "instrument"), ("filters", "energy_bandpassname", "filter"))
    ]
    return [_called(*(str(part) if part else "" for part in parts)) for parts in zip(*columns, strict=True)]


def _called(instrument: str, band: str) -> str:
    """Return instrument and filter; the filter alone where its name begins with the instrument's."""
    return band if band.startswith(instrument) else f"{instrument} {band}".strip()
