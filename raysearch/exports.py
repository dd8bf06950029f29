"""What `raysearch export` writes, told by the ending of the file: a table, regions, the coverage, or the bibliography."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from . import config, products
from .engine import read_candidates, read_outcomes, read_run, read_work
from .engine.files import Place
from .engine.job import Job, fetch
from .engine.ledger import SEARCH
from .errors import ConfigError, FootprintError
from .model import Circle, Footprint, Observation, Pixels, observations_from_arrow
from .report import tables
from .report.cubes import write_cube
from .report.maps import file_stem
from .report.provenance import Provenance
from .report.stream import Stream
from .sky import parse_s_region

REGIONS, BIBLIOGRAPHY = ".reg", ".txt"
SEARCHED = ("detected", "nothing")
"""Outcomes of observations whose sky was searched."""


def export(folder: Place, path: Path, table: str, stream: Callable[[str], Stream]) -> str:
    """Write what the file's name asks for, and return what that is, in words.

    Parameters
    ----------
    folder
        The run folder.
    path
        `.ecsv`, `.vot`, `.fits`, `.parquet`, `.csv`: a table; `.reg`: its rows as regions of DS9; `.moc.fits`, `.moc.json`: the sky
        that was searched; `.txt`: what to acknowledge and to cite.
    table
        Which table.
    stream
        Returns a table of the folder by its name.

    Raises
    ------
    RunFolderError
        If the folder is no run folder, or has no such table.
    ConfigError
        If the ending is none of these, or the table cannot be written so.
    OSError
        If the file cannot be written.
    """
    from .report.moc import ENDINGS

    about, name = read_run(folder), path.name.lower()
    provenance = Provenance.of(about)
    if name.endswith(tuple(ENDINGS)):
        return _coverage(folder, path, provenance)
    if name.endswith(REGIONS):
        return _regions(path, table, stream(table).table())
    if name.endswith(BIBLIOGRAPHY):
        return _bibliography(folder, path)
    _check_ending(path)
    if table == "cutouts":
        return _cutouts(folder, path, provenance)
    return f"{tables.write_stream(stream(table), path, table, provenance):,} rows"


def _check_ending(path: Path) -> None:
    try:
        tables.format_of(path)
    except ConfigError as exc:
        raise ConfigError(f"{exc}; or .reg, .moc.fits, .moc.json, or bibliography.txt") from exc


def _cutouts(folder: Place, path: Path, provenance: Provenance) -> str:
    """Write the table of cutouts: in Parquet with their pixels, which no other format holds."""
    from .report.cutouts import cutout_batches, cutouts_schema

    candidates = read_candidates(folder)
    if tables.format_of(path) == ".parquet":
        rows = tables.write_batches(cutouts_schema(candidates), cutout_batches(candidates), path, "cutouts", provenance)
        return f"{rows:,} rows, with their pixels"
    table = products.cutouts(candidates)
    tables.write(table, path, "cutouts", provenance)
    return f"{table.num_rows:,} rows"


def _regions(path: Path, table: str, rows: pa.Table) -> str:
    from .report.regions import write_regions

    footprints = dict(_footprints(rows)) if table == "observations" else None
    shown = write_regions(rows, path, table, footprints)
    left_out = f", {rows.num_rows - shown:,} without a position left out" if shown < rows.num_rows else ""
    return f"regions of {shown:,} rows{left_out}"


def _footprints(observations: pa.Table) -> Iterator[tuple[str, Footprint]]:
    """Yield obs_id and footprint of each observation that has one that can be read."""
    for obs_id, text in zip(observations["obs_id"].to_pylist(), observations["s_region"].to_pylist(), strict=True):
        try:
            yield obs_id, parse_s_region(text)
        except FootprintError:
            continue


def _coverage(folder: Place, path: Path, provenance: Provenance) -> str:
    """Write the sky that was searched: in searches of images the circles inside the boxes about the targets."""
    from .report.moc import write_coverage

    outcomes = read_outcomes(folder)
    ended = dict(zip(outcomes["obs_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True))
    work = read_work(folder)
    searched = work.filter(pa.array([ended.get(obs_id) in SEARCHED for obs_id in work["obs_id"].to_pylist()], pa.bool_()))
    search = config.load(folder / SEARCH)
    if search.kind == "lines":
        known = dict(_footprints(searched))
    else:
        circles = {
            o.obs_id: [Circle(t.ra, t.dec, search.images.size / 2) for t in o.targets] for o in observations_from_arrow(searched)
        }
        known = {obs_id: Footprint(tuple(shapes)) for obs_id, shapes in circles.items() if shapes}
    area = write_coverage(known.values(), path, provenance)
    untold = searched.num_rows - len(known)
    left_out = f", {untold:,} without a footprint left out" if untold else ""
    return f"the sky of {len(known):,} observations searched, {area:.6g} square degrees{left_out}"


def _bibliography(folder: Place, path: Path) -> str:
    from .report.bibliography import bibliography

    kind = config.load(folder / SEARCH).kind
    text = bibliography(read_run(folder), read_work(folder), read_outcomes(folder), kind)
    with tables.whole(path) as torn:
        torn.write_text(text, encoding="utf-8")
    return "what to acknowledge and to cite"


def export_cubes(folder: Place, out: Path, job: Job) -> tuple[list[Path], list[str]]:
    """Read the planes around each candidate again, write them as FITS cubes, and return the files, and a sentence for each lack.

    Parameters
    ----------
    folder
        The run folder of a line search.
    out
        Where the files go, made if need be; they are named as those of the line maps are.
    job
        Whose reader is used.

    Raises
    ------
    ConfigError
        If it is no line search.
    OSError
        If a file cannot be written.
    """
    if not job.lines:
        raise ConfigError("only searches of lines have cubes; of a search of images, export the table cutouts")
    candidates = read_candidates(folder)
    rows = candidates.select(["obs_id", "line", "target", "config_hash"]).to_pylist()
    found = {row["obs_id"] for row in rows}
    work = [one for one in observations_from_arrow(read_work(folder)) if one.obs_id in found]
    out.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_cubes(job, work, rows, out))


async def _cubes(job: Job, work: Sequence[Observation], rows: Sequence[dict[str, str]], out: Path) -> tuple[list[Path], list[str]]:
    written, notes = [], []
    try:
        for number, observation in enumerate(work):
            fetched = await fetch(job, number, observation)
            if fetched.pixels is None:
                notes.append(f"{observation.obs_id}: {fetched.verdict.reason}")
                continue
            for row, candidate in enumerate(rows):
                if candidate["obs_id"] == observation.obs_id:
                    written.append(_cube(fetched.pixels, row, candidate, out))
    finally:
        await job.reader.close()
    return written, notes


def _cube(pixels: Pixels, row: int, candidate: dict[str, str], out: Path) -> Path:
    windows = [window for window in pixels.windows if window.line.name == candidate["line"]]
    window = next((one for one in windows if one.target == candidate["target"]), windows[0])
    path = out / f"{file_stem(row, candidate)}.fits"
    write_cube(pixels, window, candidate, path)
    return path
