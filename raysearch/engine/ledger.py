"""The run folder: who was asked, what came of it, and which shards are done.

::

    search.toml                      the effective search
    run.json                         versions, config hash, what the archives were asked, times, totals
    observations.arrow               the work list
    candidates/part-000007.arrow     shard 7's candidate records
    figures/part-000007.arrow        what was drawn of them, where anything was; both written before
    outcomes/part-000007.arrow       shard 7's outcomes: the shard is done when this file stands

Every file comes into being whole: written beside its place, synced, then moved there. A run that is killed at any moment leaves
a folder that can be read, and continued.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa

from raysearch.engine.events import Totals, column_sum, count_statuses, figures_seconds
from raysearch.engine.files import TORN, map_arrow, read_arrow, write_arrow, write_json, write_whole
from raysearch.errors import RunFolderError, TableError
from raysearch.masking import masked, masked_table, masked_values
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA, WORK_SCHEMA

SEARCH, RUN, WORK, LOCK = "search.toml", "run.json", "observations.arrow", ".lock"
CANDIDATES, FIGURES, OUTCOMES = PARTS = "candidates", "figures", "outcomes"
NEWER = ("limits", "ranges", "figures_seconds", "file_bytes", "partner")
"""Columns that folders of earlier versions lack."""
FORMAT = 1
"""Version of this layout, in run.json."""

_FILES = (SEARCH, RUN, WORK)
_PART = re.compile(r"part-(\d{6,})\.arrow")
_PACKAGES = ("raysearch", "ray", "numpy", "pyarrow", "astropy", "scipy")


class Ledger:
    """A run folder open for writing, by one run at a time. Use it in a `with`, so that the folder is free again afterwards."""

    def __init__(self, folder: Path, lock: IO[str], run: dict[str, Any], schema: pa.Schema) -> None:
        self._folder = folder
        self._lock = lock
        self._run = run
        self._schema = schema
        done = status(folder)
        self.resumed = replace(done, resumed=done.done)
        """What earlier sessions had done when this one began."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        search_toml: str,
        config_hash: str,
        work: pa.Table,
        shard_size: int,
        candidate_schema: pa.Schema,
        about: Mapping[str, Any],
    ) -> Self:
        """Return the ledger of a new run folder, or of one that the same search has begun; then its own shard size holds.

        Parameters
        ----------
        work
            The work list: `WORK_SCHEMA`, sorted by a unique obs_id; further columns are kept in `observations.arrow`.
        about
            What else run.json shall tell, such as the queries as sent; JSON values.

        Nothing of a password, token or signature in an address is written, of the search and the work list neither: a run can be
        finished with addresses that were signed anew.

        Raises
        ------
        RunFolderError
            The folder belongs to another search or work list, is in use, or is no run folder and not empty.
        TableError
            The work list is not sorted by a unique obs_id.
        """
        _check_work(work)
        work, about, search_toml = masked_table(work), masked_values(about), masked(search_toml)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_strange(folder)  # before anything in it is touched
            lock = _locked(folder)
        except OSError as exc:
            raise RunFolderError(f"{folder} cannot be written: {exc.strerror or exc}; choose another --out") from exc
        try:
            if (folder / RUN).exists():
                run = read_run(folder)
                _check_same(folder, run, config_hash, work, candidate_schema)
            else:
                run = _header(config_hash, shard_size, len(work), candidate_schema, about)
                _create(folder, search_toml, work, run)
            for name in PARTS:
                (folder / name).mkdir(exist_ok=True)
            _sweep(folder)
            return cls(folder, lock, run, candidate_schema)
        except BaseException:
            lock.close()
            raise

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    @property
    def shard_size(self) -> int:
        """Observations in a shard; the last one may have fewer."""
        return int(self._run["shard_size"])

    def done(self) -> set[int]:
        """Return the shards whose candidates and outcomes stand."""
        return set(_done(self._folder))

    def commit(self, shard: int, candidates: pa.Table, outcomes: pa.Table, figures: pa.Table) -> None:
        """Write a shard's parts, the outcomes last: once they stand, all do. There is no part of figures where there are none."""
        name = f"part-{shard:06d}.arrow"
        write_arrow(self._folder / CANDIDATES / name, candidates.cast(self._schema))
        if figures.num_rows:
            write_arrow(self._folder / FIGURES / name, figures.cast(FIGURE_SCHEMA))
        else:  # of an earlier, broken off run that drew
            (self._folder / FIGURES / name).unlink(missing_ok=True)
        write_arrow(self._folder / OUTCOMES / name, outcomes.cast(OUTCOME_SCHEMA))

    def close(self, totals: Totals | None = None) -> None:
        """Give the folder free; with totals, the run is over and run.json says so."""
        if totals is not None and not self._lock.closed:
            self._run["finished"] = _now()
            self._run["totals"] = _totals_json(totals)
            write_json(self._folder / RUN, self._run)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_outcomes(folder: Path) -> pa.Table:
    """Return one row per observation done so far, in the order of the work list; of any run folder, also one in use."""
    tables = [_complete(read_arrow(path), OUTCOME_SCHEMA) for path in _done(folder).values()]
    return pa.concat_tables([OUTCOME_SCHEMA.empty_table(), *tables])


def _complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns that it lacks because it was written before there were any: empty lists, and 0."""
    for place, field in enumerate(schema):
        if field.name in NEWER and field.name not in table.column_names:
            empty: object = [] if pa.types.is_list(field.type) else 0
            table = table.add_column(place, field, pa.array([empty] * table.num_rows, field.type))
    return table


def read_candidates(folder: Path) -> pa.Table:
    """Return the candidate records of every shard done so far, in the order of the work list."""
    tables = [map_arrow(path) for path in done_parts(folder, CANDIDATES)]  # cutouts may be more than fits in memory
    return pa.concat_tables([_schema(read_run(folder)).empty_table(), *tables])


def done_parts(folder: Path, kind: str) -> list[Path]:
    """Return the parts of one kind that belong to shards done so far, in the order of the work list."""
    done = _done(folder)
    return [path for shard, path in _parts(folder, kind).items() if shard in done]


def read_work(folder: Path) -> pa.Table:
    """Return the work list, with the archive's own columns."""
    return _complete(read_arrow(folder / WORK), WORK_SCHEMA)


def read_run(folder: Path) -> dict[str, Any]:
    """Return run.json.

    Raises
    ------
    RunFolderError
        There is none, or it cannot be read.
    """
    path = folder / RUN
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise RunFolderError(f"{folder} is no run folder: it has no {RUN}") from exc
    except (OSError, ValueError) as exc:
        raise RunFolderError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise RunFolderError(f"{path} is not of format {FORMAT}: it was written by another version of raysearch")
    return run


def status(folder: Path) -> Totals:
    """Return how far a run has come, counted from its parts: right for finished, running and dead ones alike."""
    observations = int(read_run(folder)["observations"])
    outcomes = read_outcomes(folder)
    return Totals(
        observations=observations,
        by_status=count_statuses(outcomes),
        candidates=column_sum(outcomes, "candidates"),
        bytes_read=column_sum(outcomes, "bytes_read"),
        requests=column_sum(outcomes, "requests"),
        figures_seconds=figures_seconds(outcomes),
    )


def _check_work(work: pa.Table) -> None:
    import pyarrow.compute as pc

    missing = [name for name in WORK_SCHEMA.names if name not in work.column_names]
    if missing:
        raise TableError(f"the work list lacks the column {', '.join(missing)}")
    names = work["obs_id"].combine_chunks()
    rising = pc.less(names[:-1], names[1:])
    if len(names) > 1 and not pc.all(rising).as_py():
        first = names[pc.index(rising, value=False).as_py() + 1].as_py()
        raise TableError(f"the work list is not sorted by a unique obs_id: see {first!r}")


def _check_same(folder: Path, run: Mapping[str, Any], config_hash: str, work: pa.Table, schema: pa.Schema) -> None:
    """Raise RunFolderError unless the folder was begun by this search, for this work list."""
    cure = "choose another --out, or remove this folder to begin anew"
    if run["config_hash"] != config_hash:
        raise RunFolderError(f"{folder} holds another search: its config hash is {run['config_hash']}, not {config_hash}; {cure}")
    rows = _rows_that_differ(read_work(folder), work)
    if rows:
        raise RunFolderError(f"{folder} holds the same search over another work list: {rows} rows differ; {cure}")
    if not _schema(run).equals(schema):
        raise RunFolderError(f"{folder} holds candidates with other columns: the detector has changed; {cure}")


def _rows_that_differ(old: pa.Table, new: pa.Table) -> int:
    """Return how many observations stand in one list only, or differ in a column of `WORK_SCHEMA`."""
    old, new = old.select(WORK_SCHEMA.names), new.select(WORK_SCHEMA.names)
    if len(old) == len(new) and all(_equal(old[name], new[name]) for name in WORK_SCHEMA.names):
        return 0
    before, after = ({row["obs_id"]: repr(row) for row in table.to_pylist()} for table in (old, new))
    return sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())


def _equal(old: pa.ChunkedArray, new: pa.ChunkedArray) -> bool:
    """Return whether two columns are equal, NaN to NaN."""
    import pyarrow.compute as pc

    if pa.types.is_floating(old.type):
        old, new = (pc.if_else(pc.is_nan(column), None, column) for column in (old, new))
    return bool(old.equals(new))


def _header(config_hash: str, shard_size: int, observations: int, schema: pa.Schema, about: Mapping[str, Any]) -> dict[str, Any]:
    if shard_size < 1:
        raise ValueError(f"a shard of {shard_size} observations")
    return {
        "format": FORMAT,
        "config_hash": config_hash,
        "observations": observations,
        "shard_size": shard_size,
        "candidate_columns": {field.name: str(field.type) for field in schema},
        "versions": dict(_versions()),
        "started": _now(),
        "finished": None,
        "totals": None,
        **about,
    }


def _schema(run: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of the candidates, as run.json tells it."""
    lists = {str(kind): kind for kind in (pa.list_(pa.string()),)}  # Arrow names these, but does not read the name
    columns = run["candidate_columns"].items()
    return pa.schema([pa.field(name, lists.get(kind) or pa.type_for_alias(kind), nullable=False) for name, kind in columns])


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)


def _create(folder: Path, search_toml: str, work: pa.Table, run: Mapping[str, Any]) -> None:
    """Write a new folder, run.json last: without it there is no run folder yet."""
    write_whole(folder / SEARCH, lambda file: file.write(search_toml.encode()))
    write_arrow(folder / WORK, work)
    write_json(folder / RUN, run)


def _locked(folder: Path) -> IO[str]:
    """Return the open lock file; the lock goes with the process, however it ends."""
    lock = (folder / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        if isinstance(exc, BlockingIOError):
            raise RunFolderError(f"another run is at work in {folder}: wait for it to end, or choose another --out") from exc
        raise
    return lock


def _refuse_strange(folder: Path) -> None:
    """Raise RunFolderError where a folder without run.json holds anything but what a run killed at its very start leaves."""
    if (folder / RUN).exists():
        return
    ours = {LOCK, *PARTS, *_FILES, *(name + TORN for name in _FILES)}
    strange = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if strange or _parts(folder, OUTCOMES):
        found = ", ".join(strange[:3]) or "outcomes"
        raise RunFolderError(f"{folder} is not empty and no run folder: it has {found} and no {RUN}; choose another --out")


def _sweep(folder: Path) -> None:
    """Remove what a killed run left half written, and nothing else."""
    torn = [folder / (name + TORN) for name in _FILES]
    for kind in PARTS:
        torn += [
            path for path in (folder / kind).iterdir() if _PART.fullmatch(path.name.removesuffix(TORN)) and path.suffix == TORN
        ]
    for path in torn:
        path.unlink(missing_ok=True)


def _done(folder: Path) -> dict[int, Path]:
    """Return the outcome parts of the shards whose candidates stand too: they are written first, but may be removed by hand."""
    candidates = _parts(folder, CANDIDATES)
    return {shard: path for shard, path in _parts(folder, OUTCOMES).items() if shard in candidates}


def _parts(folder: Path, kind: str) -> dict[int, Path]:
    """Return the parts that stand, by shard, in order."""
    place = folder / kind
    paths = place.iterdir() if place.is_dir() else ()
    found = {int(match[1]): path for path in paths if (match := _PART.fullmatch(path.name))}
    return dict(sorted(found.items()))


def _totals_json(totals: Totals) -> dict[str, Any]:
    return {
        "observations": totals.observations,
        **{str(name): count for name, count in totals.by_status.items()},
        "candidates": totals.candidates,
        "bytes_read": totals.bytes_read,
        "requests": totals.requests,
        "figures_seconds": round(totals.figures_seconds, 3),
        "seconds": round(totals.seconds, 3),
        "resumed": totals.resumed,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
