"""What is known of each target: lines found and in which observations, limits for those searched and not found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.report.folder import Run
from raysearch.report.funnel import SEARCHED

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
    rows = _rows(run)
    _add_candidates(rows, run, shown)
    lines = _lines(run)
    number = {line["name"]: n for n, line in enumerate(lines)}
    for limit in run.limits.to_pylist():
        if limit["target"] in rows and math.isfinite(limit["flux"]):
            cell = rows[limit["target"]]["lines"].setdefault(limit["line"], {})
            cell["limit"] = min(cell.get("limit", math.inf), float(f"{limit['flux']:.3g}"))
            cell["limits"] = cell.get("limits", 0) + 1
    order = sorted(rows.values(), key=lambda row: (-len(row["found"]), -row["candidates"], row["name"]))
    kept = order[:MOST_TARGETS]
    return {
        "total": len(order),
        "min_lines": min_lines(run),
        "lines": lines,
        "name": [row["name"] for row in kept],
        "ra": [_rounded(row["ra"]) for row in kept],
        "dec": [_rounded(row["dec"]) for row in kept],
        "redshift": [_rounded(row["redshift"]) for row in kept],
        "observations": [row["observations"] for row in kept],
        "searched": [row["searched"] for row in kept],
        "candidates": [row["candidates"] for row in kept],
        "found": [len(row["found"]) for row in kept],
        "cells": [{number[name]: cell for name, cell in row["lines"].items() if name in number} for row in kept],
    }


def min_lines(run: Run) -> int:
    """Return how many lines make a target notable; 0 where lines are not what was searched."""
    return int(run.search.get("lines", {}).get("min_lines", 0)) if run.kind == "lines" else 0


def found_lines(run: Run) -> Mapping[str, set[str]]:
    """Return for each matched target the distinct lines of its candidates over all observations."""
    rows = _rows(run)
    _add_candidates(rows, run, range(run.candidates.num_rows))
    return {name: row["found"] for name, row in rows.items()}


def _rows(run: Run) -> dict[str, dict[str, Any]]:
    status = dict(zip(run.outcomes["obs_id"].to_pylist(), run.outcomes["status"].to_pylist(), strict=True))
    rows: dict[str, dict[str, Any]] = {}
    columns = [run.observations[name].to_pylist() for name in ("obs_id", "targets")]
    for obs_id, targets in zip(*columns, strict=True):
        for target in targets:
            row = rows.setdefault(
                target["name"], {**target, "observations": 0, "searched": 0, "candidates": 0, "found": set(), "lines": {}}
            )
            row["observations"] += 1
            row["searched"] += status.get(obs_id) in SEARCHED
    return rows


def _add_candidates(rows: dict[str, dict[str, Any]], run: Run, shown: Sequence[int]) -> None:
    """Count candidates for each of their targets; a cell keeps the first of those shown, which is the most significant."""
    table = run.candidates
    nearest, lines = table["target"].to_pylist(), run.column(table, "line", "")
    every = table["targets"].to_pylist() if "targets" in table.column_names else [[name] for name in nearest]
    for place, number in enumerate(shown):
        line = lines[number]
        for row in (rows[name] for name in every[number] if name in rows):
            row["candidates"] += 1
            if line:
                row["found"].add(line)
                cell = row["lines"].setdefault(line, {"best": place, "n": 0})
                cell["n"] += 1


def _lines(run: Run) -> list[dict[str, Any]]:
    """Return the lines searched, by wavelength: name and rest wavelength in micrometres."""
    rest: dict[str, float] = {}
    if run.kind == "lines":
        for table in (run.candidates, run.limits):
            if "line" in table.column_names:
                rest |= dict(zip(table["line"].to_pylist(), table["rest_um"].to_pylist(), strict=True))
        for line in run.search.get("lines", {}).get("list", ()):
            rest[str(line["name"])] = float(str(line["wavelength"]).split()[0])
    return [{"name": name, "rest_um": um} for name, um in sorted(rest.items(), key=lambda item: item[1]) if name]


def _rounded(value: float) -> float | None:
    return float(f"{value:.10g}") if math.isfinite(value) else None
