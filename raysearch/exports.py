"""What `raysearch export` writes, told by the ending of the file: a table, regions, the coverage, or the bibliography."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from . import config, products
from .engine import read_candidates, read_run, read_work
from .engine.folder.files import Place
from .engine.folder.ledger import SEARCH, outcome_tables
from .engine.job import Job, fetch
from .errors import ConfigError
from .model import Circle, Footprint, Observation, Pixels, observations_from_arrow
from .report import tables
from .report.cubes import write_cube
from .report.maps import file_stem
from .report.provenance import Provenance
from .report.stream import Stream
from .sky import readable_footprint

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
        return _regions(path, table, Stream.of(products.cutouts(read_candidates(folder))) if table == "cutouts" else stream(table))
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


def _regions(path: Path, table: str, stream: Stream) -> str:
    from .report.regions import write_regions

    shown, missing = write_regions(stream, path, table, readable_footprint)
    left_out = f", {missing:,} without a position left out" if missing else ""
    return f"regions of {shown:,} rows{left_out}"


def _searched(folder: Place, columns: Collection[str]) -> Stream:
    """Return the observations that were searched, with such of the work list's columns as it has."""
    work = read_work(folder)
    names = [piece["obs_id"].filter(pc.is_in(piece["status"], pa.array(SEARCHED))) for piece in outcome_tables(folder)]
    found = pc.is_in(work["obs_id"], pa.chunked_array([chunk for name in names for chunk in name.chunks], pa.string()))

    kept = work.select([name for name in work.column_names if name in columns])

    def read() -> Iterator[pa.Table]:
        start = 0
        for piece in Stream.of(kept).pieces():
            yield piece.filter(found.slice(start, piece.num_rows))
            start += piece.num_rows

    return Stream(kept.schema, read)


def _coverage(folder: Place, path: Path, provenance: Provenance) -> str:
    """Write the sky that was searched: in searches of images the circles inside the boxes about the targets."""
    from .report.moc import write_coverage

    search = config.load(folder / SEARCH)
    radius = 0.0 if search.kind == "lines" else search.images.size / 2
    searched = _searched(folder, ["targets" if radius else "s_region"])
    rows = known = 0

    def footprints() -> Iterator[Footprint]:
        nonlocal rows, known
        for piece in searched.read():
            rows += piece.num_rows
            for footprint in _footprints(piece, radius):
                known += bool(footprint.shapes)
                yield footprint

    area = write_coverage(footprints(), path, provenance, sum(piece.num_rows for piece in searched.read()))
    left_out = f", {rows - known:,} without a footprint left out" if rows > known else ""
    return f"the sky of {known:,} observations searched, {area:.6g} square degrees{left_out}"


def _footprints(work: pa.Table, radius: float) -> Iterator[Footprint]:
    """Return where each observation was searched: in its footprint, or so far, in degrees, around its targets."""
    if not radius:
        return map(readable_footprint, work["s_region"].to_pylist())
    each = work["targets"].to_pylist()
    return (Footprint(tuple(Circle(target["ra"], target["dec"], radius) for target in targets)) for targets in each)


def _bibliography(folder: Place, path: Path) -> str:
    from .report.bibliography import COLUMNS, bibliography

    kind = config.load(folder / SEARCH).kind
    with tables.whole(path) as torn, torn.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in bibliography(read_run(folder), _searched(folder, COLUMNS), kind))
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
