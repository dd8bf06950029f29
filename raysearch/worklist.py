"""Query -> match -> work list: which observations hold a target, where each can be had, and which need not be read, and why.

The work list is one Arrow table, sorted by obs_id: `model.WORK_SCHEMA`, then the archive's own columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa

from . import since as earlier_run
from .archives.answers import Mode
from .archives.mast import proprietary
from .config import SearchConfig
from .engine.folder.files import Place, place, write_arrow
from .errors import FootprintError, RunFolderError
from .masking import masked_table
from .model import HIGHEST_REDSHIFT, WORK_SCHEMA, Archive, Footprint, Line, Observation, Query, Target, observations_to_arrow
from .pairs import paired
from .read.addresses import may_be_read
from .sky.footprint import parse_s_region
from .sky.match import match
from .sky.merge import distinct
from .sources import Kept, OwnTable, ask_targets, large_catalogue, open_archive, targets_inside

M_PER_UM = 1e-6


@dataclass(frozen=True, slots=True)
class WorkList:
    """What a search is about to read."""

    table: pa.Table
    """`WORK_SCHEMA` and the archive's own columns, sorted by obs_id."""
    targets: tuple[Target, ...]
    """Every target asked about, matched or not; of a catalogue too large to be held, those in any footprint."""
    queries: tuple[Query, ...] = ()
    notes: tuple[str, ...] = ()
    """What was odd in the input, one sentence each: damaged rows, footprints that cannot be parsed."""
    funnel: dict[str, int] = field(default_factory=dict)
    """`targets`, `archive_rows`, `matched`, and `no_footprint`: rows kept and skipped, because a match cannot be told; `left_out`
    after `new_since`, `beyond_limit` after `head`. The table has `matched + no_footprint - left_out - beyond_limit` rows;
    in a search of pairs `pairs - paired - unpaired` more: the pairs, less the images that are in one or in none."""
    earlier: pa.Table = field(default_factory=earlier_run.EARLIER_SCHEMA.empty_table)
    """The observations that an earlier run has settled, and that are left out."""
    since: Mapping[str, Any] | None = None
    """Which run that was, for run.json."""

    def about(self) -> dict[str, Any]:
        """Return what run.json keeps of it."""
        queries = [asdict(query) for query in self.queries]
        return {"queries": queries, "notes": list(self.notes), "funnel": self.funnel} | (
            {"since": self.since} if self.since else {}
        )

    def head(self, limit: int | None) -> WorkList:
        """Return the same with the first `limit` observations only."""
        if limit is None or limit >= self.table.num_rows:
            return self
        funnel = {**self.funnel, "beyond_limit": self.table.num_rows - limit}
        return replace(self, table=self.table.slice(0, limit), funnel=funnel)

    def new_since(self, before: pa.Table, about: Mapping[str, Any]) -> WorkList:
        """Return the same without the observations that earlier runs have settled.

        Parameters
        ----------
        before
            These observations, as `since.settled` gives them.
        about
            The run, for run.json.
        """
        table, earlier = earlier_run.split(self.table, before)
        counts = {"left_out": earlier.num_rows, **earlier_run.counts(earlier)}
        funnel = {**self.funnel, "left_out": earlier.num_rows}
        return replace(self, table=table, earlier=earlier, funnel=funnel, since={**about, **counts})

    def write(self, folder: str | Place) -> Place:
        """Write it as `observations.arrow` into a folder, made if need be, and return the file's path; without secrets (`masking`).

        Raises
        ------
        RunFolderError
            If the folder is that of a run, whose work list this would replace, or cannot be written.
        """
        path = place(folder) / "observations.arrow"
        if (path.parent / "run.json").exists():
            raise RunFolderError(f"{folder} is the folder of a run; name another for the work list")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrow(path, masked_table(self.table))
        except OSError as exc:
            raise RunFolderError(f"{path} cannot be written: {exc.strerror or exc}; choose another --out") from exc
        return path


def build(config: SearchConfig, answers: Mode = "reuse") -> WorkList:
    """Return the work list of a search: asks the archives, reads no product.

    Parameters
    ----------
    config
        The search.
    answers
        Whether archives' answers are reused while they are young, asked again (`refresh`), never asked for (`offline`), or neither
        reused nor kept (`off`).

    Raises
    ------
    ArchiveError, TableError, ConfigError
        If the search cannot be run.
    """
    kept_answers = Kept.of(config, answers)
    catalogue = large_catalogue(config)
    targets, queries, notes = ask_targets(config, kept_answers) if catalogue is None else ([], [], [])
    targets = _merged(targets, config.targets.merge_radius, notes)
    asked_about = len(targets)
    archive, problems = open_archive(config, targets, kept_answers)
    table, asked = archive.observations()
    table = _with_regions(table)
    if catalogue is not None:
        targets, asked_about, notes = targets_inside(config, catalogue, table["s_region"].to_pylist())
        targets = _merged(targets, config.targets.merge_radius, notes)
    matched, broken = _match(config, targets, table)
    notes += problems + [f"{reason} (observation {table['obs_id'][row].as_py()})" for row, reason in broken.items()]
    rows = sorted(set(matched) | set(broken), key=lambda row: table["obs_id"][row].as_py())
    kept = table.take(pa.array(rows, pa.int64()))
    around = [matched.get(row, ()) for row in rows]
    skips = [broken.get(row) or _skip(config, kept, i, around[i]) for i, row in enumerate(rows)]
    places, located = _locate(archive, kept, skips)
    if config.observations.archive:  # each archive sees to it; here it is seen to for all of them
        places = [tuple(place for place in where if may_be_read(place, config.hosts)) for where in places]
    work = _work(config, kept, around, skips, places)
    funnel = {"targets": asked_about, "archive_rows": table.num_rows, "matched": len(matched), "no_footprint": len(broken)}
    if config.kind == "pairs":
        pairs = paired(config, work)
        work, funnel, notes = pairs.table, funnel | pairs.funnel, notes + pairs.notes
    notes += _nothing_found(config, asked_about, table.num_rows) + kept_answers.answers.notes
    return WorkList(work, tuple(targets), (*queries, *asked, *located), tuple(notes), funnel)


def _nothing_found(config: SearchConfig, targets: int, rows: int) -> list[str]:
    """Return sentences for an answer that is whole and empty: more often a word misspelt than a sky without it."""
    empty = ["[targets]"] if config.targets.given and not targets else []
    empty += ["[observations]"] if not rows else []
    return [f"nothing was found for {section}; are its words spelt as the service spells them?" for section in empty]


def _merged(targets: list[Target], radius_arcsec: float, notes: list[str]) -> list[Target]:
    """Return the targets without those that lie within the radius of an earlier one."""
    if not radius_arcsec or not targets:
        return targets
    first = distinct([t.ra for t in targets], [t.dec for t in targets], radius_arcsec / 3600.0)
    if gone := int((~first).sum()):
        notes.append(
            f"{gone:,} of {len(targets):,} targets lie within {radius_arcsec:g} arcsec of an earlier one, and count as that one"
        )
    return list(compress(targets, first))


def _with_regions(table: pa.Table) -> pa.Table:
    """Return the table with a circle for each row that has no s_region, but a position and a field of view (ObsCore's diameter)."""
    if not {"s_ra", "s_dec", "s_fov"} <= set(table.column_names):
        return table
    columns = [table[name].to_pylist() for name in ("s_region", "s_ra", "s_dec", "s_fov")]
    regions = [
        f"CIRCLE ICRS {ra!r} {dec!r} {fov / 2.0!r}" if not region and ra is not None and dec is not None and fov else region
        for region, ra, dec, fov in zip(*columns, strict=True)
    ]
    return table.set_column(table.column_names.index("s_region"), "s_region", pa.array(regions, pa.string()))


def _work(
    config: SearchConfig,
    kept: pa.Table,
    around: Sequence[tuple[Target, ...]],
    skips: Sequence[str],
    places: Sequence[tuple[str, ...]],
) -> pa.Table:
    """Return the rows as a work list, followed by the archive's own columns."""
    nowhere = "the product can be had nowhere: " + (
        "the archive names no file for it" if config.observations.archive else "its row has no uri"
    )
    work = observations_to_arrow(
        [
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
    )
    for name in kept.column_names:
        if name not in WORK_SCHEMA.names:
            work = work.append_column(kept.schema.field(name), kept[name])
    return work


def _match(
    config: SearchConfig, targets: Sequence[Target], table: pa.Table
) -> tuple[dict[int, tuple[Target, ...]], dict[int, str]]:
    """Return the targets of each row that has any, nearest first, and the reason for each row where that cannot be told."""
    if not config.targets.given:
        return {row: (_own_target(config, table, row),) for row in range(table.num_rows)}, {}
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
    if config.observations.archive and (private := _private(table, row)):
        return private
    return _no_line(config, table, row, targets) if config.kind == "lines" else _no_place(targets)


def _no_place(targets: Sequence[Target]) -> str:
    """Return why an image has no place to cut out around, or an empty string."""
    placed = all(math.isfinite(target.ra) and math.isfinite(target.dec) for target in targets)
    cure = "add them, or give the search [targets] and the row an s_region"
    return "" if placed else f"its row has no s_ra and s_dec to cut out around; {cure}"


def _no_line(config: SearchConfig, table: pa.Table, row: int, targets: Sequence[Target]) -> str:
    """Return why a cube can hold no searched line, or an empty string."""
    impossible = next((t.redshift for t in targets if not -1 < t.redshift <= HIGHEST_REDSHIFT), None)
    if impossible is not None:
        return f"its redshift {impossible:g} is impossible: one is above -1 and at most {HIGHEST_REDSHIFT:g}, and no velocity"
    em_min, em_max = sorted(_cell(table, name, row) / M_PER_UM for name in ("em_min", "em_max"))
    given = config.targets.redshift_range
    redshifts = {(given[0], given[1])} if given else {(t.redshift, t.redshift) for t in targets}
    if not _holds_line(config.lines.list, redshifts, em_min, em_max):
        return f"no searched line lies within its {em_min:.3f}-{em_max:.3f} um"
    return ""


def _private(table: pa.Table, row: int) -> str:
    """Return why an archive does not give a row's product to everybody yet, or an empty string."""
    rights = _text(table, "dataRights", row) or _text(table, "data_rights", row)
    return proprietary(rights.upper(), _cell(table, "t_obs_release", row))


def _holds_line(lines: Sequence[Line], redshifts: set[tuple[float, float]], em_min_um: float, em_max_um: float) -> bool:
    """Return whether any line may lie in the range, at a redshift from one of these lowest to its highest; an unknown range may."""
    if np.isnan(em_min_um) or np.isnan(em_max_um):
        return True
    return any(
        line.rest_um * (1 + low) <= em_max_um and em_min_um <= line.rest_um * (1 + high)
        for line in lines
        for low, high in redshifts
    )


def _locate(archive: Archive, table: pa.Table, skips: Sequence[str]) -> tuple[list[tuple[str, ...]], list[Query]]:
    """Return the places of each row; an archive is asked only about those that will be read."""
    wanted = [i for i, skip in enumerate(skips) if not skip or isinstance(archive, OwnTable)]
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
