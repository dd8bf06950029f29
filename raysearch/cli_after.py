"""What the command line does with a run folder once there is one: `raysearch export` and `raysearch report`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import exports, pages
from .engine import read_run
from .engine.folder.files import Place
from .engine.folder.ledger import SEARCH
from .engine.job import Job
from .errors import ConfigError
from .result import Result
from .search import Search

SHOWN_ROWS = 20


def export(options: argparse.Namespace) -> int:
    """Write a table, maps, or cubes; return the exit status."""
    result = Result(options.dir)
    if not (options.file or options.maps or options.cubes):
        raise ConfigError(
            "export: nothing to write; name a FILE for a table, --maps FOLDER for the line maps, or --cubes FOLDER for the planes"
        )
    if options.file:
        print(f"{result.export(options.file, options.table)} -> {options.file}")
    if options.maps:
        print(f"{len(result.export_maps(options.maps)):,} maps -> {options.maps}")
    return _cubes(options.dir, options.cubes) if options.cubes else 0


def _cubes(folder: Place, out: Path) -> int:
    """Write the planes around the candidates, print what came of it, and return the exit status."""
    written, notes = exports.export_cubes(folder, out, _job(folder))
    print(f"{len(written):,} cubes -> {out}")
    _say(notes)
    return 1 if notes else 0


def report(options: argparse.Namespace) -> int:
    """Write or serve the page; return the exit status."""
    undrawn = 0
    if options.marks:
        count, note = pages.take_marks(options.dir, options.marks)
        print(f"{count:,} marks from {options.marks}" + (f"\nnote: {note}" if note else ""))
    if options.redraw is not None:
        undrawn = _redraw(options.dir, options.redraw)
    if options.live:
        _live(options.dir, options.port)
    elif options.single_file is not None:
        print(f"page: {pages.write_one_file(options.dir, options.single_file if options.single_file.name else None)}")
    else:
        print(f"page: {pages.write(options.dir)}")
    return 1 if undrawn else 0


def _redraw(folder: Place, names: Sequence[str]) -> int:
    """Draw observations again, print what came of it, and return how many could not be."""
    drawn = pages.redraw(folder, names, _job(folder))
    _say([f"{one.obs_id}: {one.figures:,} figures" + (f"; {one.note}" if one.note else "") for one in drawn])
    return sum(bool(one.note) for one in drawn)


def _job(folder: Place) -> Job:
    read_run(folder)  # a folder without run.json is no run folder, whatever else it holds
    return Search.load(folder / SEARCH).job()


def _say(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN_ROWS]:
        print(line)
    if len(lines) > SHOWN_ROWS:
        print(f"and {len(lines) - SHOWN_ROWS:,} observations more")


def _live(folder: Place, port: int) -> None:
    with pages.live(folder, port) as server:
        print(f"{server.url} follows {folder}; Ctrl-C ends it", flush=True)
        server.serve()
