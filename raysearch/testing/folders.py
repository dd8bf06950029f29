"""Damaged run folders in great number: each ends with a result or an error of ours, and what is done anew is right.

Every use there is of a folder is made of each, in this process: `status`, `export`, `report`, a notebook, and a run that goes on.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from raysearch import cli_status, pages
from raysearch.engine import Ledger, read_candidates, read_figures, read_outcomes, status
from raysearch.engine.folder.ledger import candidates_schema, read_run, read_work
from raysearch.errors import RaysearchError
from raysearch.result import Result
from raysearch.testing.folder_damage import scratch, sound_folders

EXPORTED = (
    *(
        ("candidates.csv", "candidates"),
        ("outcomes.parquet", "outcomes"),
        ("limits.ecsv", "limits"),
        ("candidates.reg", "candidates"),
    ),
    *(
        ("thanks.txt", "candidates"),
        ("targets.vot", "targets"),
        ("observations.fits", "observations"),
        ("sky.moc.fits", "candidates"),
    ),
    ("observations.reg", "observations"),
)
"""Files and tables that are exported: three of each folder."""


def use_folder(data: bytes) -> str:
    """Do with a damaged folder all that can be done, and return what came of it."""
    told = json.loads(data)
    seed, folder = sound_folders()[told["seed"]], scratch() / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seed, folder)
    for name, content in told["files"].items():
        _put(folder / name, seed, content)
    refused = sum(_refused(what, folder) for what in _uses(folder, data))
    exactly = all(isinstance(content, dict) or content in {None, "folder"} for content in told["files"].values())
    ended = "refused" if _refused(lambda: _finish(folder, seed, exactly), folder) else "finished anew"
    return f"{'read' if not refused else 'read in part'}, {ended}"


def _put(path: Path, seed: Path, content: Any) -> None:
    path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif isinstance(content, dict):
        shutil.copyfile(seed / content["copy"], path)
    elif content is not None:
        path.write_bytes(base64.b64decode(content))


def _refused(what: Callable[[], object], folder: Path) -> bool:
    """Return whether it ends as an error of ours, which must name the folder or a file in it.

    Raises
    ------
    AssertionError
        It names neither.
    """
    try:
        what()
    except RaysearchError as error:
        if str(folder) not in str(error):
            raise AssertionError(f"an error that does not say where: {error}") from error
        return True
    return False


def _uses(folder: Path, data: bytes) -> Iterator[Callable[[], object]]:
    result, out = Result(folder), scratch() / "exported"
    out.mkdir(exist_ok=True)
    yield lambda: _status(folder, as_json=False)
    yield lambda: _status(folder, as_json=True)
    yield lambda: repr(result)
    yield result._repr_html_
    for name, table in random.Random(data).sample(EXPORTED, 3):
        yield partial(result.export, out / name, table)
    yield lambda: pages.write(folder)
    yield lambda: pages.take_marks(folder, folder / pages.MARKS)


def _status(folder: Path, *, as_json: bool) -> None:
    """Print what `raysearch status` does, where nobody sees it but an encoder."""
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)):
        cli_status.status(argparse.Namespace(dir=folder, json=as_json))


def _finish(folder: Path, seed: Path, exactly: bool) -> None:
    """Go on with the run to its end; each observation must then have ended, once, as in the sound run.

    Parameters
    ----------
    exactly
        Whether the tables must be the very same: so where files went, or others stand in their places; a value that somebody
        has changed in a sound table stays.

    Raises
    ------
    AssertionError
        It has not.
    """
    truth = sound_folders()[0]
    run, work, outcomes, candidates = read_run(seed), read_work(seed), read_outcomes(truth), read_candidates(truth)
    figures, schema = read_figures(truth).table, candidates_schema(run)
    about: dict[str, Any] = {"name": run["name"], "queries": run["queries"]}
    with Ledger.open(
        folder,
        search_toml=(seed / "search.toml").read_text(),
        config_hash=run["config_hash"],
        work=work,
        shard_size=run["shard_size"],
        candidate_schema=schema,
        about=about,
    ) as ledger:
        size = ledger.shard_size
        for shard in sorted(set(range(-(-len(work) // size))) - ledger.done()):
            part = outcomes.slice(shard * size, size)
            of_part = [table.filter(pc.is_in(table["obs_id"], part["obs_id"].combine_chunks())) for table in (candidates, figures)]
            ledger.commit(shard, of_part[0], part, of_part[1])
        ledger.close(status(folder))
    done = read_outcomes(folder)
    if done["obs_id"].to_pylist() != outcomes["obs_id"].to_pylist():
        raise AssertionError("the run that went on has not each observation once")
    found = Result(folder).arrow("candidates")
    if exactly and not (done.equals(outcomes) and found.equals(candidates)):
        raise AssertionError("the run that went on has other tables than an undisturbed one")
