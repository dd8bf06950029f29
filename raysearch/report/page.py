"""The page people look at: one folder that opens from disk, or a single file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysearch.report import funnel
from raysearch.report.cards import most_significant, page_data, places
from raysearch.report.embed import policy, script_json
from raysearch.report.folder import Run
from raysearch.report.links import AROUND, of_archive
from raysearch.report.pictures import FOLDER as FIGURES
from raysearch.report.pictures import Pictures, file_key
from raysearch.report.skymap import Outlines, SkyMap, firsts, sky_map
from raysearch.report.stream import CHUNK_ROWS
from raysearch.report.targets import lines_found, min_lines, targets_data
from raysearch.report.words import in_words

if TYPE_CHECKING:
    from jinja2 import Environment

INDEX, DATA = "index.html", "data.js"
SCRIPTS = ("core.js", "marks.js", "figures.js", "card.js", "gallery.js", "tables.js", "sky.js", "main.js")
"""In the order in which the page takes them; `live.js` follows where the page is served."""


def write_page(run: Run, pictures: Pictures, folder: Path) -> Path:
    """Write the page into a folder, made if need be, and return its index.html.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures.write(folder / FIGURES, places(run, most_significant(run)))
    _write(folder / DATA, data_script(run, pictures))
    _write(folder / INDEX, html(run, data=None))
    return folder / INDEX


def write_single(run: Run, pictures: Pictures, path: Path) -> Path:
    """Write the page, its data and all figures as one file, and return its path.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = ((file_key(place), script_json(pictures.records(place))) for place in pictures)
    _write(path, html(run, data=data_script(run, pictures), figures=packed))
    return path


def data_script(run: Run, pictures: Pictures) -> str:
    """Return the script that hands the tables to the page."""
    return f"raysearch.take({script_json(everything(run, pictures))});"


def everything(run: Run, pictures: Pictures) -> dict[str, Any]:
    """Return what the page's scripts show."""
    shown = most_significant(run)
    data = page_data(run, shown, pictures.bundles(places(run, shown)))
    data["targets"] = targets_data(run, shown)
    data["links"] = [{"label": link.label, "address": link.address} for link in (*of_archive(run.search), *AROUND)]
    return data


def html(run: Run, *, data: str | None, figures: Iterable[tuple[str, str]] = (), served: bool = False) -> str:
    """Return the page.

    Parameters
    ----------
    run
        The run.
    data
        The script of the data, to stand in the page; None: it is a file beside it.
    figures
        Names and content of figures that stand in the page too.
    served
        Whether a server gives the page, and news of the run with it.
    """
    script = "\n".join(_text(name) for name in (*SCRIPTS, *(["live.js"] if served else [])))
    inline = [script, *([data] if data is not None else [])]
    return (
        _environment()
        .get_template("index.html")
        .render(
            policy=policy(inline, served=served),
            style=_text("page.css"),
            script=script,
            data=data,
            figures=figures,
            served=served,
            **context(run),
        )
    )


def context(run: Run) -> dict[str, Any]:
    """Return what the template shows of a run without any script."""
    untold = {"service": "", "url": "", "text": "", "rows": 0, "seconds": math.nan, "counted": None, "reused": ""}
    kept = [untold | query for query in run.about.get("queries", [])]
    return {
        "run": run,
        "words": in_words(run),
        "steps": funnel.steps(run),
        "hosts": funnel.hosts(run),
        "cost": funnel.cost(run),
        "alarms": funnel.false_alarms(run),
        "headline": _headline(run),
        "sky": _sky(run),
        "queries": kept,
        "notes": run.about.get("notes", []),
        "versions": run.about.get("versions", {}),
    }


def _headline(run: Run) -> dict[str, int]:
    """Return the few numbers that stand at the top."""
    found = pc.unique(run.candidates["target"])
    least = min_lines(run)
    return {
        "candidates": run.candidates.num_rows,
        "observations": len(pc.unique(run.candidates["obs_id"])),
        "targets": int(pc.sum(pc.not_equal(found, "")).as_py() or 0),
        "matched": len(run.targets.names),
        "notable": int((lines_found(run) >= least).sum()) if least else 0,
        "min_lines": least,
    }


def _sky(run: Run) -> SkyMap:
    """Return the map of this run: targets, footprints, and candidates by their own position, else by their target's."""
    targets = np.stack([run.targets.ra, run.targets.dec], axis=1)
    nowhere = np.append(targets, [[math.nan, math.nan]], axis=0)
    candidates = nowhere[run.targets.rows(run.candidates["target"])]
    if {"ra", "dec"} <= set(run.candidates.column_names):
        own = np.stack([np.asarray(run.candidates[name], dtype=np.float64) for name in ("ra", "dec")], axis=1)
        candidates = np.where(np.isfinite(own).all(axis=1, keepdims=True), own, candidates)
    return sky_map(targets, candidates, *_outlines(run))


def _outlines(run: Run) -> tuple[Outlines, Outlines]:
    """Return the footprints searched, and the others; those that cannot be read are in neither."""
    regions = run.observations["s_region"]
    pieces = (regions.slice(start, CHUNK_ROWS).to_pylist() for start in range(0, len(regions), CHUNK_ROWS))
    first = firsts(run.footprint(text) for piece in pieces for text in piece)
    known = np.isfinite(first).all(axis=1)

    def some(rows: NDArray[np.intp]) -> Outlines:
        return Outlines(first[rows], lambda place: run.footprint(regions[int(rows[place])].as_py()))

    return some(np.flatnonzero(known & run.searched)), some(np.flatnonzero(known & ~run.searched))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("raysearch.report", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, share=_share, data=readable_bytes, span=readable_seconds, rate=_rate)
    return environment


def _text(name: str) -> str:
    return resources.files("raysearch.report").joinpath("pages", name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    """Write a file whole: whoever reads it finds the old one or the new one."""
    torn = path.with_name(path.name + ".part")
    torn.write_text(text, encoding="utf-8")
    torn.replace(path)


def _number(value: float) -> str:
    """Return a count with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def _share(part: float, whole: float) -> str:
    """Return a part as a percentage for a style: 0 to 100."""
    return f"{100 * part / whole:.2f}" if whole else "0"


def _rate(value: float) -> str:
    """Return a small expected number: one decimal, or two figures below 1."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def readable_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, three figures."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g}\u202f{unit}"
        count /= 1000
    return f"{count:.3g}\u202fPB"


def readable_seconds(seconds: float) -> str:
    """Return a time span as a person would say it; a dash where there is none."""
    if math.isnan(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
