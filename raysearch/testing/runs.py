"""Run folders made up without a search: for tests and benchmarks of what is made of them."""

from __future__ import annotations

import gzip
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysearch.engine import Ledger, candidate_schema
from raysearch.engine.events import Totals, column_sum, count_statuses
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA, Observation, Target, observations_to_arrow

LINES = {"[Fe II] 5.340": 5.340, "[Fe II] 17.936": 17.936, "[Fe II] 25.988": 25.988}
COLUMNS = {
    "velocity_kms": "f8",
    "velocity_err_kms": "f8",
    "flux_w_m2": "f8",
    "flux_err_w_m2": "f8",
    "snr": "f8",
    "false_alarm": "f8",
    "ra": "f8",
    "dec": "f8",
    "extended": "bool",
    "notes": "str",
}
NOTES = ("", "edge: the region touches the border of the field", "blend with H2 S(1)", "edge: it does; near all-NaN planes")
REASONS = ("no searched line lies within its 10.010-11.693 um", "not found (404)", "truncated: 7 of 12 bytes are there")


def made_up_run(
    folder: Path,
    candidates: int = 40,
    *,
    names: Sequence[str] = (),
    figures: bool = True,
    finished: bool = True,
    shards: int = 4,
    seed: int = 1,
) -> Path:
    """Write a run folder of a line search that never was, and return it.

    Parameters
    ----------
    folder
        Made if need be.
    candidates
        How many; two in each observation that has any, and as many observations without.
    names
        Of the first targets; `Star 0001` and so on for the rest.
    figures
        Whether each candidate has a small picture.
    finished
        Whether the run has ended: else its last shard is missing.
    """
    rng = np.random.default_rng(seed)
    found = max(candidates // 2, 1) if candidates else 0
    targets = _targets(rng, max(found // 2, len(names), 1), names)
    work = _work(targets, found, 2 * found + 4)
    with Ledger.open(
        folder,
        search_toml=SEARCH,
        config_hash="0123456789abcdef",
        work=observations_to_arrow(work).append_column("instrument_name", pa.array(["MIRI/IFU", "NIRSPEC/IFU"] * (len(work) // 2))),
        shard_size=-(-len(work) // shards),
        candidate_schema=candidate_schema(COLUMNS, lines=True),
        about=_about(len(targets), len(work)),
    ) as ledger:
        outcomes = []
        for shard in range(shards if finished else shards - 1):
            part = work[shard * ledger.shard_size : (shard + 1) * ledger.shard_size]
            rows = [row for observation in part for row in _candidates(rng, observation, found, candidates)]
            counts = Counter(row["obs_id"] for row in rows)
            ended = pa.Table.from_pylist(
                [_outcome(observation, counts[observation.obs_id]) for observation in part], OUTCOME_SCHEMA
            )
            drawn = _figures(rows) if figures else FIGURE_SCHEMA.empty_table()
            ledger.commit(shard, pa.Table.from_pylist(rows, schema=candidate_schema(COLUMNS, lines=True)), ended, drawn)
            outcomes.append(ended)
        if finished:
            ledger.close(_totals(pa.concat_tables(outcomes), len(work)))
    return folder


SEARCH = """
name = "made up"
[targets]
simbad = "otype = 'Y*O..'"
[observations]
archive = "mast"
collection = ["JWST"]
[match]
radius = "0.0 arcsec"
[lines]
list = [
    { name = "[Fe II] 5.340", wavelength = "5.34 um" },
    { name = "[Fe II] 17.936", wavelength = "17.936 um" },
    { name = "[Fe II] 25.988", wavelength = "25.988 um" },
]
min_lines = 3
[detector]
name = "lines"
false_alarm = 0.01
"""
"""The effective search, as far as the report reads it."""


def _targets(rng: np.random.Generator, number: int, names: Sequence[str]) -> list[Target]:
    ra, dec = rng.uniform(0, 360, number), np.rad2deg(np.arcsin(rng.uniform(-1, 1, number)))
    called = [*names, *(f"Star {i:04d}" for i in range(len(names) + 1, number + 1))]
    return [Target(name, float(a), float(d), 1e-4) for name, a, d in zip(called, ra, dec, strict=True)]


def _work(targets: Sequence[Target], found: int, number: int) -> list[Observation]:
    """Return observations in the order of the work list, those with candidates first."""
    made = []
    for i in range(number):
        target = targets[i % len(targets)]
        corners = " ".join(
            f"{target.ra + dx:.6f} {target.dec + dy:.6f}" for dx, dy in ((-1e-3, -1e-3), (-1e-3, 1e-3), (1e-3, 1e-3), (1e-3, -1e-3))
        )
        uri = f"s3://bucket/o{i:06d}_s3d.fits" if i % 5 else f"https://archive.example/o{i:06d}_s3d.fits"
        made.append(
            Observation(f"o{i:06d}_{'detected' if i < found else 'other'}", (uri,), (target,), s_region=f"POLYGON ICRS {corners}")
        )
    return made


def _candidates(rng: np.random.Generator, observation: Observation, found: int, total: int) -> list[dict[str, Any]]:
    place = int(observation.obs_id[1:7])
    if place >= found:
        return []
    number = 2 if place < found - 1 or total % 2 == 0 else total - 2 * (found - 1)
    target, lines = observation.targets[0], list(LINES)
    rows = []
    for i in range(number):
        name = lines[(place + i) % len(lines)]
        snr = float(rng.pareto(1.5) * 5 + 5)
        flux = snr * float(rng.uniform(1e-20, 3e-20))
        rows.append(
            {
                "obs_id": observation.obs_id,
                "target": target.name,
                "uri": observation.uri,
                "config_hash": "0123456789abcdef",
                "line": name,
                "rest_um": LINES[name],
                "wavelength_um": LINES[name] * (1 + 1e-4),
                "targets": [target.name],
                "velocity_kms": float(rng.normal(0, 80)),
                "velocity_err_kms": 500 / snr,
                "flux_w_m2": flux,
                "flux_err_w_m2": flux / snr,
                "snr": snr,
                "false_alarm": float(np.exp(-snr)),
                "ra": target.ra + float(rng.normal(0, 1e-4)),
                "dec": target.dec + float(rng.normal(0, 1e-4)),
                "extended": bool(rng.random() < 0.3),
                "notes": NOTES[int(rng.integers(len(NOTES)))],
            }
        )
    return rows


def _outcome(observation: Observation, mine: int) -> dict[str, Any]:
    place = int(observation.obs_id[1:7])
    status = "detected" if mine else ("nothing", "skipped", "failed")[place % 3]
    searched = status in ("detected", "nothing")
    limit = {
        "line": "[Fe II] 5.340",
        "target": observation.targets[0].name,
        "rest_um": 5.34,
        "wavelength_um": 5.3405,
        "flux": 2.5e-20,
        "note": "",
    }
    return {
        "obs_id": observation.obs_id,
        "status": status,
        "reason": "" if searched else REASONS[place % len(REASONS)],
        "uri": observation.uri,
        "candidates": mine,
        "bytes_read": 1_000_000 + place if searched else 0,
        "requests": 8 if searched else 0,
        "seconds": 0.25 if searched else 0.0,
        "limits": [limit] if status == "nothing" else [],
        "ranges": [{"start": 0, "end": 2880}, {"start": 11_520, "end": 1_008_640 + place}] if mine else [],
        "figures_seconds": 0.0,
        "file_bytes": 0,
        "retries": [{"host": "made-up.example", "count": 2}] if place % 50 == 0 and searched else [],
        "detect_seconds": 0.02 if searched else 0.0,
    }


def _figures(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return a small picture of each candidate."""
    seen: dict[str, int] = {}
    made = []
    for row in rows:
        number = seen.get(row["obs_id"], 0)
        seen[row["obs_id"]] = number + 1
        disc = f'<circle cx="80" cy="50" r="{min(45, row["snr"]):.1f}" fill="#2f8bd0"/>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 100">{disc}</svg>'
        made.append(
            {
                "obs_id": row["obs_id"],
                "candidate": number,
                "name": "map",
                "svg": gzip.compress(svg.encode(), mtime=0),
                "alt": f"a disc for S/N {row['snr']:.1f}",
            }
        )
    return pa.Table.from_pylist(made, schema=FIGURE_SCHEMA)


def _about(targets: int, observations: int) -> dict[str, Any]:
    assert tomllib.loads(SEARCH)
    query = {
        "service": "SIMBAD",
        "url": "https://simbad.example/tap",
        "text": "SELECT 1",
        "rows": targets,
        "seconds": 0.5,
        "counted": targets,
        "reused": "",
    }
    funnel = {"targets": targets, "archive_rows": observations + 10, "matched": observations, "no_footprint": 0}
    return {"name": "made up", "queries": [query], "notes": ["one note"], "funnel": funnel}


def _totals(outcomes: pa.Table, observations: int) -> Totals:
    return Totals(
        observations=observations,
        by_status=count_statuses(outcomes),
        candidates=column_sum(outcomes, "candidates"),
        bytes_read=column_sum(outcomes, "bytes_read"),
        requests=column_sum(outcomes, "requests"),
    )
