"""From a run folder to its page: `raysearch report`, and what `raysearch run` does at its end."""

from __future__ import annotations

import asyncio
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .engine import read_candidates, read_figures, read_outcomes, read_run, read_work
from .engine.budget import postponed
from .engine.folder.files import Place, at_hand, locally, read_arrow, write_arrow
from .engine.folder.ledger import KEPT, RUN, SEARCH, WORK
from .engine.folder.parts import FIGURES, OUTCOMES, conforming, standing
from .engine.job import Job, detect, fetch
from .engine.records import figure_table
from .errors import ConfigError, RaysearchError, RunFolderError, TableError
from .model import FIGURE_SCHEMA, Observation, observations_from_arrow
from .products import SOURCES, SPECTRA_TABLE
from .report import marks as marking
from .report import stamps, tables
from .report.folder import Run
from .report.live import LiveReport
from .report.page import write_page, write_single
from .report.pictures import Pictures
from .report.searched import check_search
from .sky import readable_footprint

PAGE, SINGLE = "report", "report.html"
"""In a run folder: the page's folder, and the page as one file."""
MARKS = "marks.csv"
"""In a run folder: what somebody thinks of its candidates."""
REDRAWN = "redrawn.arrow"
"""Beside the figures of the run: those drawn again later, which take their place."""


def load(folder: Place) -> tuple[Run, Pictures]:
    """Return what the page of a run folder is made of, of a finished run or of one under way.

    Raises
    ------
    RunFolderError
        If the folder is no run folder, or a file of it cannot be read.
    """
    about = {"name": "search", **read_run(folder)}
    toml = _search_text(folder)
    observations, outcomes, candidates = read_work(folder), read_outcomes(folder), read_candidates(folder)
    _check_work(folder, observations, outcomes)
    # A shard may have ended between the two reads.
    ended = pc.is_in(candidates["obs_id"], outcomes["obs_id"].combine_chunks())
    if pc.any(pc.invert(ended)).as_py():  # else they stay on the disk
        candidates = candidates.filter(ended)
    run = Run(
        path=str(folder),
        search=tomllib.loads(toml),
        search_toml=toml,
        about=about,
        observations=observations,
        outcomes=outcomes,
        candidates=candidates,
        limits=tables.limits_table(outcomes),
        last_part=last_part(folder),
        footprint=readable_footprint,
    )
    run = replace(run, marks=_marks(folder, run), sources=_sources(folder, run))
    return run, Pictures(_figures(folder, run), run.rows)


def _check_work(folder: Place, observations: pa.Table, outcomes: pa.Table) -> None:
    if not pc.all(pc.is_in(outcomes["obs_id"], observations["obs_id"].combine_chunks()), min_count=0).as_py():
        raise RunFolderError(f"{folder / WORK} is damaged: it lacks observations that have ended; {KEPT}")


def _search_text(folder: Place) -> str:
    try:
        text = (folder / SEARCH).read_text(encoding="utf-8")
        check_search(tomllib.loads(text))
    except (OSError, ValueError, RecursionError) as exc:
        raise RunFolderError(f"{folder / SEARCH} cannot be read: {exc}; put it back as it was") from exc
    return text


def _sources(folder: Place, run: Run) -> dict[int, str]:
    """Return which candidates stand for the merged sources, once these are there."""
    if not run.finished or not (folder / SOURCES).exists():
        return {}
    return {row: name for name, row in stamps.standing(read_arrow(folder / SOURCES), run.candidates).items()}


def _figures(folder: Place, run: Run) -> list[pa.Table]:
    """Return the figures that were drawn in the run, those drawn again, and those of what the tables hold themselves."""
    found = [_drawn(folder)]
    of_tables = [stamps.stamps(run.candidates), stamps.line_maps(run.candidates, postponed(found[0]))]
    if run.finished and (folder / SOURCES).exists() and (folder / SPECTRA_TABLE).exists():
        of_tables.append(stamps.spectra(read_arrow(folder / SOURCES), read_arrow(folder / SPECTRA_TABLE), run.candidates))
    return [*found, *of_tables]


def _drawn(folder: Place) -> pa.Table:
    """Return the figures that workers drew; those drawn again in place of the run's."""
    of_run, later = read_figures(folder).table, _redrawn(folder)
    return pa.concat_tables([of_run.filter(pc.invert(pc.is_in(of_run["obs_id"], later["obs_id"].combine_chunks()))), later])


def _redrawn(folder: Place) -> pa.Table:
    """Return the figures that were drawn again."""
    path = folder / FIGURES / REDRAWN
    cure = f"remove it; `raysearch report {folder} --redraw` draws what is missing"
    return conforming(read_arrow(path, cure), FIGURE_SCHEMA, path, cure) if path.exists() else FIGURE_SCHEMA.empty_table()


def _marks(folder: Place, run: Run) -> dict[str, marking.Mark]:
    if not (folder / MARKS).exists():
        return {}
    with at_hand(folder / MARKS) as path:
        return marking.known(marking.read_marks(path), run.names)[0]


def last_part(folder: Place) -> str:
    """Return when the newest results were written, ISO 8601 UTC; empty where there are none."""
    newest = max((part.path.stat().st_mtime for part in standing(folder, OUTCOMES)), default=math.nan)
    return "" if math.isnan(newest) else datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")


def write(folder: Place) -> Place:
    """Write a run's page into its folder, and return its index.html.

    Raises
    ------
    RunFolderError
        If the folder is no run folder.
    OSError
        If the page cannot be written.
    """
    run, pictures = load(folder)
    with locally(folder / PAGE) as here:
        return folder / PAGE / write_page(run, pictures, here).name


def write_one_file(folder: Place, path: Path | None = None) -> Place:
    """Write a run's page as one file, by default into its folder, and return its path; raises as `write` does."""
    run, pictures = load(folder)
    if path:
        return write_single(run, pictures, path)
    with locally(folder) as here:
        return folder / write_single(run, pictures, here / SINGLE).name


def after_run(folder: Place) -> tuple[Place | None, str]:
    """Return the page of a run that has just ended, or None and why there is none: the run's results stand in any case."""
    from jinja2 import TemplateError

    try:
        return write(folder), ""
    # Whatever a page may stumble over, short of what nobody foresees: a search of many hours must not end as an error for its page.
    except (
        RaysearchError,
        OSError,
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as exc:
        return None, f"no page was made: {type(exc).__name__}: {exc}; `raysearch report {folder}` tries again"


def take_marks(folder: Place, path: Path) -> tuple[int, str]:
    """Read marks that the page has exported and keep them in the run folder, in place of those there.

    Returns
    -------
    tuple
        How many there are, and a sentence that names candidates which this run does not have, or an empty one.

    Raises
    ------
    TableError
        If the file is no table of marks, or none of its candidates is this run's.
    RunFolderError
        If the folder is no run folder.
    """
    run, _ = load(folder)
    read = marking.read_marks(path)
    kept, unknown = marking.known(read, run.names)
    if read and not kept:
        raise TableError(f"{path} has marks of another run: {marking.told(unknown)}")
    with locally(folder) as here:
        marking.write_marks(kept, here / MARKS)
    return len(kept), marking.told(unknown)


@dataclass(frozen=True, slots=True)
class Redrawn:
    """What came of drawing an observation's candidates again."""

    obs_id: str
    figures: int
    note: str = ""
    """Why there are none; or in what the candidates differ from those of the run."""


def redraw(folder: Place, names: Sequence[str], job: Job) -> list[Redrawn]:
    """Read the pixels of observations again, as the run did, and draw their candidates anew.

    Parameters
    ----------
    folder
        The run folder.
    names
        Observations by obs_id; none: all that have candidates and no figures, or postponed ones.
    job
        Reader, detector and illustrator of the run's search.

    Raises
    ------
    RunFolderError
        If the folder is no run folder, or has no such observation.
    """
    run, _ = load(folder)
    rows = _rows(run, pa.array(names, pa.string()))
    if strange := [name for name in names if name not in rows]:
        raise RunFolderError(f"{folder} has no observation {strange[0]!r}; `raysearch export {folder} FILE --table observations`")
    if not names:
        figures = _drawn(folder)
        drawn = set(figures["obs_id"].to_pylist()) - postponed(figures)
        rows = {name: row for name, row in _rows(run, pc.unique(run.candidates["obs_id"])).items() if name not in drawn}
    work = observations_from_arrow(run.observations.take(pa.array(rows.values(), pa.int64())))
    made, told = asyncio.run(_draw(job, work, run))
    if made.num_rows:
        _keep(folder, made)
    return told


async def _draw(job: Job, work: Sequence[Observation], run: Run) -> tuple[pa.Table, list[Redrawn]]:
    """Return figures of the observations, read one after the other, and what came of each."""
    tables_of, told = [FIGURE_SCHEMA.empty_table()], []
    try:
        for row, observation in enumerate(work):
            ended = detect(job, observation, await fetch(job, row, observation))
            then = run.candidates.filter(pc.equal(run.candidates["obs_id"], observation.obs_id))
            note = ended.outcome.reason or _difference(then, ended.rows)
            figures = [] if note else ended.figures
            tables_of.append(figure_table([(observation.obs_id, figure) for figure in figures]))
            told.append(Redrawn(observation.obs_id, len(figures), note))
    finally:
        await job.reader.close()
    return pa.concat_tables(tables_of), told


def _difference(then: pa.Table, now: Sequence[Sequence[Any]]) -> str:
    """Return in what the candidates differ from those of the run: where they do, figures would show something else."""
    if then.num_rows != len(now):
        return f"{len(now)} candidates instead of {then.num_rows}: the product or the detector has changed since the run"
    for place, field in enumerate(then.schema):
        if field.name in {"uri", "config_hash"} or pa.types.is_binary(field.type):
            continue
        values = [row[place] for row in now]
        if any(not _same(a, b) for a, b in zip(then[field.name].to_pylist(), values, strict=True)):
            return f"{field.name} of a candidate differs: the product or the detector has changed since the run"
    return ""


def _same(a: object, b: object) -> bool:
    """Return whether two values agree; numbers to a millionth, for another machine adds in another order."""
    if isinstance(a, float) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-30) or (math.isnan(a) and math.isnan(b))
    return a == b


def _rows(run: Run, names: pa.Array) -> dict[str, int]:
    """Return the row in the work list of each of these observations that it has."""
    return {name: row for name, row in zip(names.to_pylist(), run.rows(names).tolist(), strict=True) if row >= 0}


def _keep(folder: Place, made: pa.Table) -> None:
    """Put figures beside those of the run; they take the place of earlier ones of the same observations."""
    path = folder / FIGURES / REDRAWN
    path.parent.mkdir(exist_ok=True)
    before = _redrawn(folder)
    kept = before.filter(pc.invert(pc.is_in(before["obs_id"], made["obs_id"].combine_chunks())))
    write_arrow(path, pa.concat_tables([kept, made]))


def live(folder: Place, port: int = 0) -> LiveReport:
    """Return a server of a run's page, on this machine alone; it follows the run.

    Raises
    ------
    RunFolderError
        If the folder is no run folder.
    ConfigError
        If the port is taken, or the folder lies in S3.
    """
    if not isinstance(folder, Path):
        raise ConfigError(
            f"{folder}: only a run on this machine's disks can be followed; `raysearch report {folder}` writes its page"
        )
    read_run(folder)
    try:
        return LiveReport(lambda: load(folder), lambda: version(folder), port)
    except OSError as exc:
        raise ConfigError(f"port {port} cannot be listened to: {exc.strerror or exc}; choose another --port") from exc


def version(folder: Place) -> str:
    """Return a text that differs once the run folder has something new: a part, the end, marks, or figures drawn again."""
    about, marks, again = folder / RUN, folder / MARKS, folder / FIGURES / REDRAWN
    stamps = [str(path.stat().st_mtime_ns) if path.exists() else "-" for path in (about, marks, again)]
    return "-".join([str(len(standing(folder, OUTCOMES))), last_part(folder), *stamps])
