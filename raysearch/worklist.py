"""Query -> match -> work list: which observations hold a target, where each can be had, and which need not be read, and why.

The work list is one Arrow table, sorted by obs_id: `model.WORK_SCHEMA`, then the archive's own columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa

from .archives.mast import Mast
from .archives.simbad import query_targets
from .archives.tables import read_observations, read_targets
from .config import SearchConfig
from .errors import FootprintError
from .model import WORK_SCHEMA, Archive, Footprint, Line, Observation, Query, Target, observations_to_arrow
from .sky.footprint import parse_s_region
from .sky.match import match

M_PER_UM = 1e-6


@dataclass(frozen=True, slots=True)
class WorkList:
    """What a search is about to read."""

    table: pa.Table
    """`WORK_SCHEMA` and the archive's own columns, sorted by obs_id."""
    targets: tuple[Target, ...]
    """Every target asked about, matched or not."""
    queries: tuple[Query, ...] = ()
    notes: tuple[str, ...] = ()
    """What was odd in the input, one sentence each: damaged rows, footprints that cannot be parsed."""
    funnel: dict[str, int] = field(default_factory=dict)
    """`targets`, `archive_rows`, `matched`, and `no_footprint`: rows kept and skipped, because a match cannot be told."""

    def about(self) -> dict[str, Any]:
        """Return what run.json keeps of it."""
        queries = [{"service": q.service, "url": q.url, "text": q.text, "rows": q.rows, "seconds": q.seconds} for q in self.queries]
        return {"queries": queries, "notes": list(self.notes), "funnel": self.funnel}

    def head(self, limit: int | None) -> WorkList:
        """Return the same with the first `limit` observations only."""
        if limit is None or limit >= self.table.num_rows:
            return self
        return WorkList(self.table.slice(0, limit), self.targets, self.queries, self.notes, self.funnel)


def build(config: SearchConfig) -> WorkList:
    """Return the work list of a search: asks the archives, reads no product.

    Raises
    ------
    ArchiveError, TableError, ConfigError
        If the search cannot be run.
    """
    targets, queries, notes = _targets(config)
    archive, table, asked, more = _observations(config)
    notes += more
    matched, broken = _match(config, targets, table)
    notes += [f"{reason} (observation {table['obs_id'][row].as_py()})" for row, reason in broken.items()]
    rows = sorted(set(matched) | set(broken), key=lambda row: table["obs_id"][row].as_py())
    kept = table.take(pa.array(rows, pa.int64()))
    around = [matched.get(row, ()) for row in rows]
    skips = [broken.get(row) or _skip(config, kept, i, around[i]) for i, row in enumerate(rows)]
    places, located = _locate(archive, kept, skips)
    nowhere = "the product can be had nowhere: " + ("the archive names no file for it" if archive else "its row has no uri")
    observations = [
        Observation(
            obs_id=kept["obs_id"][i].as_py(),
            uris=places[i],
            targets=around[i],
            em_min=_cell(kept, "em_min", i),
            em_max=_cell(kept, "em_max", i),
            s_region=_text(kept, "s_region", i),
            skip=skip or ("" if places[i] else nowhere),
        )
        for i, skip in enumerate(skips)
    ]
    own = [name for name in kept.column_names if name not in WORK_SCHEMA.names]
    work = observations_to_arrow(observations)
    for name in own:
        work = work.append_column(kept.schema.field(name), kept[name])
    funnel = {"targets": len(targets), "archive_rows": table.num_rows, "matched": len(matched), "no_footprint": len(broken)}
    return WorkList(work, tuple(targets), (*queries, *asked, *located), tuple(notes), funnel)


def _targets(config: SearchConfig) -> tuple[list[Target], list[Query], list[str]]:
    asked = config.targets
    if asked.simbad:
        targets, queries = query_targets(asked.simbad, url=config.services.simbad, redshift=asked.redshift)
        return targets, queries, []
    if asked.table:
        read = read_targets(asked.table, redshift=asked.redshift)
        return read.targets, [], [f"{asked.table}: {problem}" for problem in read.problems]
    return [Target(f"{ra:.6f} {dec:+.6f}", ra, dec, asked.redshift) for ra, dec in asked.positions], [], []


def _observations(config: SearchConfig) -> tuple[Archive | None, pa.Table, list[Query], list[str]]:
    asked = config.observations
    if asked.table:
        return None, read_observations(asked.table), [], []
    archive = Mast(
        url=config.services.mast,
        collection=asked.collection,
        product_type=asked.product_type,
        calib_level=asked.calib_level,
        public_only=asked.public_only,
    )
    table, queries = archive.observations()
    return archive, table, queries, []


def _match(
    config: SearchConfig, targets: Sequence[Target], table: pa.Table
) -> tuple[dict[int, tuple[Target, ...]], dict[int, str]]:
    """Return the targets of each row that has any, nearest first, and the reason for each row where that cannot be told."""
    if not config.targets.given:
        own = {row: (_own_target(config, table, row),) for row in range(table.num_rows)}
        impossible = {
            row: f"its redshift {t.redshift:g} is impossible" for row, (t,) in own.items() if not -1 < t.redshift < np.inf
        }
        return {row: around for row, around in own.items() if row not in impossible}, impossible
    footprints, broken = _footprints(table)
    found = match(
        np.array([t.ra for t in targets], dtype=np.float64),
        np.array([t.dec for t in targets], dtype=np.float64),
        footprints,
        radius_deg=config.match.radius / 3600.0,
    )
    matched: dict[int, list[Target]] = {}
    for row, target in zip(found.footprint.tolist(), found.target.tolist(), strict=True):
        matched.setdefault(row, []).append(targets[target])
    return {row: tuple(around) for row, around in matched.items()}, broken


def _footprints(table: pa.Table) -> tuple[list[Footprint | None], dict[int, str]]:
    texts = table["s_region"].to_pylist() if "s_region" in table.column_names else [None] * table.num_rows
    parsed: dict[str, Footprint | FootprintError] = {}
    footprints: list[Footprint | None] = []
    broken: dict[int, str] = {}
    for row, text in enumerate(texts):
        if not text:
            broken[row] = (
                "no s_region: whether a target lies inside cannot be told; give the row a footprint, or leave [targets] out"
            )
            footprints.append(None)
            continue
        if text not in parsed:
            try:
                parsed[text] = parse_s_region(text)
            except FootprintError as error:
                parsed[text] = error
        shape = parsed[text]
        if isinstance(shape, FootprintError):
            broken[row] = str(shape)
        footprints.append(None if isinstance(shape, FootprintError) else shape)
    return footprints, broken


def _own_target(config: SearchConfig, table: pa.Table, row: int) -> Target:
    """Return the target an observation names itself, for searches without targets."""
    redshift = _cell(table, "redshift", row)
    return Target(
        _text(table, "target_name", row) or _text(table, "obs_id", row),
        _cell(table, "s_ra", row),
        _cell(table, "s_dec", row),
        config.targets.redshift if np.isnan(redshift) else redshift,
    )


def _skip(config: SearchConfig, table: pa.Table, row: int, targets: Sequence[Target]) -> str:
    """Return why a row need not be read, or an empty string."""
    obs_id = _text(table, "obs_id", row)
    pattern = next((p for p in config.observations.exclude if fnmatchcase(obs_id, p)), None)
    if pattern is not None:
        return f"its obs_id has the excluded pattern {pattern!r}"
    em_min, em_max = _cell(table, "em_min", row) / M_PER_UM, _cell(table, "em_max", row) / M_PER_UM
    if not _holds_line(config.lines.list, {t.redshift for t in targets}, em_min, em_max):
        return f"no searched line lies within its {em_min:.3f}-{em_max:.3f} um"
    return ""


def _holds_line(lines: Sequence[Line], redshifts: set[float], em_min_um: float, em_max_um: float) -> bool:
    """Return whether any line may lie in the range; a range that is not known may hold any."""
    if np.isnan(em_min_um) or np.isnan(em_max_um):
        return True
    return any(em_min_um <= line.rest_um * (1 + z) <= em_max_um for line in lines for z in redshifts)


def _locate(archive: Archive | None, table: pa.Table, skips: Sequence[str]) -> tuple[list[tuple[str, ...]], list[Query]]:
    """Return the places of each row, asking only about those that will be read."""
    if archive is None:
        uris = table["uri"].to_pylist()
        return [(uri,) if uri else () for uri in uris], []
    wanted = [i for i, skip in enumerate(skips) if not skip]
    found, queries = archive.locate(table.take(pa.array(wanted, pa.int64())))
    places: list[tuple[str, ...]] = [()] * table.num_rows
    for i, where in zip(wanted, found, strict=True):
        places[i] = where
    return places, queries


def _cell(table: pa.Table, column: str, row: int) -> float:
    value = table[column][row].as_py() if column in table.column_names else None
    return float("nan") if value is None else float(value)


def _text(table: pa.Table, column: str, row: int) -> str:
    value = table[column][row].as_py() if column in table.column_names else None
    return "" if value is None else str(value)
