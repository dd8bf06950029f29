"""What a search of images leaves in its folder besides its records: cutouts, sources, their spectra, and a summary by target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .config import SearchConfig
from .engine.folder.files import Place, write_arrow
from .model import observations_from_arrow
from .report.mef import CONTENT, oldest_first
from .report.spectra import spectra_table
from .sections import Detector, Images, Spectra, Targets
from .sky.merge import firsts, within
from .worklist import WorkList

CUTOUTS = "cutouts"
"""In a run folder: a FITS file for each target."""
SOURCES = "sources.arrow"
"""The sources found, merged over the pairs."""
SPECTRA = "spectra"
"""The run folder of the search that measures the sources' spectra."""
SPECTRA_TABLE = "spectra.arrow"
"""Its measurements, one tidy table."""
CHOSEN = "spectra-targets.arrow"
"""The sources whose spectra are measured, and their neighbours: the targets of that search."""

MERGE_DEG = 6.0 / 3600.0
"""Sources of one sign nearer than this, about one pixel of SPHEREx, are the same."""
NEIGHBOUR_DEG = 50.0 / 3600.0
"""Sources nearer than this, 8 pixels of SPHEREx, are taken apart by `photometry` if it knows of both."""
_FOUND = {"ra", "dec", "kind", "snr"}
"""What the records of a source must tell."""

TARGETS_SCHEMA = pa.schema(
    [
        ("target", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("observations", pa.int64()),
        ("searched", pa.int64()),
        ("found", pa.int64()),
    ]
)
"""The columns of `targets.arrow` of a search of images: `observations` that hold the target, those `searched`, and those with a
record of it."""


def by_target(work: WorkList, outcomes: pa.Table, candidates: pa.Table) -> pa.Table:
    """Return for each target asked about, also those in no image, what was searched and found."""
    status_of = dict(zip(outcomes["obs_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True))
    pairs = candidates.select(["obs_id", "target"]).group_by(["obs_id", "target"]).aggregate([])
    found = set(zip(pairs["obs_id"].to_pylist(), pairs["target"].to_pylist(), strict=True))
    observations = observations_from_arrow(work.table)
    every = dict.fromkeys([*work.targets, *(target for observation in observations for target in observation.targets)])
    rows: dict[Any, dict[str, Any]] = {
        target: {"target": target.name, "ra": target.ra, "dec": target.dec, "observations": 0, "searched": 0, "found": 0}
        for target in every
    }
    for observation in observations:
        for target in observation.targets:
            rows[target]["observations"] += 1
            rows[target]["searched"] += status_of.get(observation.obs_id) in ("detected", "nothing")
            rows[target]["found"] += (observation.obs_id, target.name) in found
    return pa.Table.from_pylist(sorted(rows.values(), key=lambda row: row["target"]), schema=TARGETS_SCHEMA)


def cutouts(candidates: pa.Table) -> pa.Table:
    """Return the cutouts as their files have them: by target, the oldest first, numbered from 1; without the pixels.

    Raises
    ------
    ConfigError
        The candidates have no cutouts.
    """
    by_name = oldest_first(candidates)
    order = [row for rows in by_name.values() for row in rows]
    numbers = [number for rows in by_name.values() for number in range(1, len(rows) + 1)]
    kept = candidates.drop_columns([CONTENT]).take(pa.array(order, pa.int64()))
    return kept.add_column(1, "cutout_index", pa.array(numbers, pa.int32()))


def sources(candidates: pa.Table) -> pa.Table | None:
    """Return the sources found in the differences, merged over pairs and targets; None if the records tell of no sources.

    Of records of one sign within 6 arcsec that with the highest S/N stands for the source; `n_pairs` says in how many pairs it was
    found. A source is named by its position, truncated as the IAU's recommendations for nomenclature ask.
    """
    if not set(candidates.column_names) >= _FOUND:
        return None
    kept = candidates.select([field.name for field in candidates.schema if not pa.types.is_binary(field.type)])
    if "catalogue" in kept.column_names:
        kept = kept.filter(pc.equal(kept["catalogue"], "difference")).drop_columns("catalogue")
    kept = kept.drop_columns([name for name in ("source",) if name in kept.column_names])
    kept = kept.append_column("row", pa.array(range(kept.num_rows), pa.int64()))
    kept = kept.sort_by([("snr", "descending"), ("row", "ascending")]).drop_columns("row")
    kinds = kept["kind"].to_pylist()
    pairs: dict[int, set[str]] = {}
    for kind in sorted(set(kinds)):
        rows = np.flatnonzero(np.array(kinds) == kind)
        stands = rows[firsts(kept["ra"].to_numpy()[rows], kept["dec"].to_numpy()[rows], MERGE_DEG)]
        for row, first in zip(rows.tolist(), stands.tolist(), strict=True):
            pairs.setdefault(first, set()).add(kept["obs_id"][row].as_py())
    order = sorted(pairs)
    merged = kept.take(pa.array(order, pa.int64()))
    names = unique([iau_name(ra, dec) for ra, dec in zip(merged["ra"].to_pylist(), merged["dec"].to_pylist(), strict=True)])
    merged = merged.add_column(0, "source", pa.array(names, pa.string()))
    return merged.add_column(1, "n_pairs", pa.array([len(pairs[row]) for row in order], pa.int32()))


def iau_name(ra: float, dec: float) -> str:
    """Return `SPX JHHMMSS.ss+DDMMSS.s`: the position in degrees (ICRS), truncated, not rounded."""
    hours = int(np.floor(round(ra / 15.0 * 360_000.0, 4))) % (24 * 360_000)
    degrees = int(np.floor(round(abs(dec) * 36_000.0, 4)))
    sign = "-" if dec < 0.0 else "+"
    right_ascension = f"{hours // 360_000:02d}{hours // 6000 % 60:02d}{hours // 100 % 60:02d}.{hours % 100:02d}"
    declination = f"{degrees // 36_000:02d}{degrees // 600 % 60:02d}{degrees // 10 % 60:02d}.{degrees % 10}"
    return f"SPX J{right_ascension}{sign}{declination}"


def unique(names: list[str]) -> list[str]:
    """Return the names, those that come again with a letter: a red and a blue source may be at one place."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name}{chr(ord('a') + seen[name] - 1)}")
    return told


def chosen(found: pa.Table, asked: Spectra) -> pa.Table:
    """Return the name and place of the sources whose spectra are asked for."""
    wanted = pc.greater_equal(found["snr"], asked.snr)
    if asked.sources != "all":
        wanted = pc.and_(wanted, pc.equal(found["kind"], asked.sources))
    return found.filter(wanted).select(["source", "ra", "dec"]).rename_columns(["name", "ra", "dec"])


def with_neighbours(wanted: pa.Table, candidates: pa.Table) -> pa.Table:
    """Return the sources whose spectra are asked for, then all others seen near them, of whatever colour and however faint.

    Their light is in the same pixels: a spectrum measured without knowing of them would hold it. Those of no colour come from the
    bands' own lists.
    """
    others = candidates.select(["ra", "dec", "snr"]).sort_by([("snr", "descending"), ("ra", "ascending"), ("dec", "ascending")])
    ra, dec = (np.concatenate([wanted[name].to_numpy(), others[name].to_numpy()]) for name in ("ra", "dec"))
    first = firsts(ra, dec, MERGE_DEG)
    kept = np.flatnonzero((first == np.arange(len(first))) & (np.arange(len(first)) >= wanted.num_rows))
    near = kept[within(ra[kept], dec[kept], wanted["ra"].to_numpy(), wanted["dec"].to_numpy(), NEIGHBOUR_DEG)]
    names = unique([*wanted["name"].to_pylist(), *(iau_name(ra[i], dec[i]) for i in near)])[wanted.num_rows :]
    columns = [pa.array(names, pa.string()), pa.array(ra[near], pa.float64()), pa.array(dec[near], pa.float64())]
    return pa.concat_tables([wanted, pa.table(columns, schema=wanted.schema)])


def spectra_search(config: SearchConfig, found: pa.Table, folder: Place) -> SearchConfig:
    """Return the search for the sources on the images of all bands; writes their list into the folder."""
    write_arrow(folder / CHOSEN, found)
    asked = config.spectra
    options = {"apertures_px": list(asked.apertures_px), "annulus_px": list(asked.annulus_px), "psf": asked.psf}
    return replace(
        config,
        name=f"{config.name}-{SPECTRA}",
        targets=Targets(table=str((folder / CHOSEN).resolve())),
        observations=replace(config.observations, wavelength=()),
        images=replace(config.images, size=asked.size, extensions=Images().extensions, bands=(), pairs=1),
        spectra=Spectra(),
        detector=Detector("photometry", options),
        report=replace(config.report, page=False),
    )


def tidy(candidates: pa.Table, names: pa.ChunkedArray) -> pa.Table:
    """Return the measurements of sources of these names as one table, a row for each source, image and aperture."""
    return spectra_table(candidates.filter(pc.is_in(candidates["target"], value_set=names.combine_chunks())))
