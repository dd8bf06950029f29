"""What is known of each target: lines found and in which observations, limits for those searched and not found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysearch.report.folder import Run, Targets

MOST_TARGETS = 20_000
"""The page lists this many, those with most found first."""


def targets_data(run: Run, shown: Sequence[int]) -> dict[str, Any]:
    """Return the targets matched, those with most lines (or candidates) first, as columns.

    Parameters
    ----------
    run
        The run.
    shown
        Rows of the candidate table in the page's order: cells refer to places in it.
    """
    targets, cells, candidates = run.targets, *_cells(run, shown)
    found = {row: sum("best" in cell for cell in of.values()) for row, of in cells.items()}
    order = _order(targets, found, candidates)
    kept = order[:MOST_TARGETS]
    _add_limits(cells, run, kept)
    lines = _lines(run)
    number = {line["name"]: n for n, line in enumerate(lines)}
    return {
        "total": len(order),
        "min_lines": min_lines(run),
        "lines": lines,
        "name": targets.names.take(pa.array(kept)).to_pylist(),
        "ra": [_rounded(value) for value in targets.ra[kept]],
        "dec": [_rounded(value) for value in targets.dec[kept]],
        "redshift": [_rounded(value) for value in targets.redshift[kept]],
        "observations": targets.observations[kept].tolist(),
        "searched": targets.searched[kept].tolist(),
        "candidates": [candidates[row] for row in kept.tolist()],
        "found": [found.get(row, 0) for row in kept.tolist()],
        "cells": [{number[name]: cell for name, cell in cells.get(row, {}).items() if name in number} for row in kept.tolist()],
    }


def min_lines(run: Run) -> int:
    """Return how many lines make a target notable; 0 where lines are not what was searched."""
    return int(run.search.get("lines", {}).get("min_lines", 0)) if run.kind == "lines" else 0


def lines_found(run: Run) -> NDArray[np.int64]:
    """Return for each target matched how many distinct lines its candidates have over all observations."""
    if "line" not in run.candidates.column_names:
        return np.zeros(len(run.targets.names), np.int64)
    candidate, target = _pairs(run, run.candidates)
    named = np.asarray(pc.not_equal(run.candidates["line"], ""))[candidate]
    candidate, target = candidate[named], target[named]
    lines = pc.dictionary_encode(run.candidates["line"].combine_chunks())
    different = np.unique(target * len(lines.dictionary) + np.asarray(lines.indices)[candidate])
    return np.bincount(different // max(1, len(lines.dictionary)), minlength=len(run.targets.names))


def _pairs(run: Run, candidates: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each target of each candidate, as far as it was matched, the candidate's row and the target's."""
    if "targets" not in candidates.column_names:
        candidate, names = np.arange(candidates.num_rows), candidates["target"]
    else:
        lists = candidates["targets"].combine_chunks()
        candidate, names = np.asarray(pc.list_parent_indices(lists)), pc.list_flatten(lists)
    target = run.targets.rows(names)
    return candidate[target >= 0], target[target >= 0]


def _cells(run: Run, shown: Sequence[int]) -> tuple[dict[int, dict[str, Any]], Counter[int]]:
    """Return what was found of each target, by its row and the line; and how many candidates are its own.

    A cell keeps the first of those shown, which is the most significant.
    """
    table = run.candidates.take(pa.array(shown, pa.int64()))
    lines = run.column(table, "line", "")
    cells: dict[int, dict[str, Any]] = {}
    candidates: Counter[int] = Counter()
    for place, target in zip(*(rows.tolist() for rows in _pairs(run, table)), strict=True):
        candidates[target] += 1
        if lines[place]:
            cell = cells.setdefault(target, {}).setdefault(lines[place], {"best": place, "n": 0})
            cell["n"] += 1
    return cells, candidates


def _order(targets: Targets, found: Mapping[int, int], candidates: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the rows of the targets, those with most lines first, then those with most candidates, then by name."""
    counts = {"found": found, "candidates": candidates}
    columns = {name: np.zeros(len(targets.names), np.int64) for name in counts}
    for name, of in counts.items():
        columns[name][list(of)] = list(of.values())
    keys = [("found", "descending"), ("candidates", "descending"), ("name", "ascending")]
    return np.asarray(pc.sort_indices(pa.table({**columns, "name": targets.names}), sort_keys=keys), dtype=np.int64)


def _add_limits(cells: dict[int, dict[str, Any]], run: Run, kept: NDArray[np.int64]) -> None:
    """Add the lowest limit, and how many there are, to the cells of those targets that are shown."""
    target = run.targets.rows(run.limits["target"])
    wanted = np.isin(target, kept) & np.isfinite(run.limits["flux"].to_numpy())
    limits = run.limits.select(["line", "flux"]).filter(pa.array(wanted))
    for row, line, flux in zip(target[wanted].tolist(), limits["line"].to_pylist(), limits["flux"].to_pylist(), strict=True):
        cell = cells.setdefault(row, {}).setdefault(line, {})
        cell["limit"] = min(cell.get("limit", math.inf), float(f"{flux:.3g}"))
        cell["limits"] = cell.get("limits", 0) + 1


def _lines(run: Run) -> list[dict[str, Any]]:
    """Return the lines searched, by wavelength: name and rest wavelength in micrometres."""
    rest: dict[str, float] = {}
    if run.kind == "lines":
        for table in (run.candidates, run.limits):
            if "line" in table.column_names:
                each = table.select(["line", "rest_um"]).group_by("line", use_threads=False).aggregate([("rest_um", "last")])
                rest |= dict(zip(each["line"].to_pylist(), each["rest_um_last"].to_pylist(), strict=True))
        for line in run.search.get("lines", {}).get("list", ()):
            rest[str(line["name"])] = float(str(line["wavelength"]).split()[0])
    return [{"name": name, "rest_um": um} for name, um in sorted(rest.items(), key=lambda item: item[1]) if name]


def _rounded(value: float) -> float | None:
    return float(f"{value:.10g}") if math.isfinite(value) else None
