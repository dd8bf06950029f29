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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from raysearch.engine.events import Totals, added, shard_done
from raysearch.engine.folder.files import (
    TORN,
    Place,
    is_amount,
    map_arrow,
    read_json,
    timestamp,
    write_arrow,
    write_json,
    write_whole,
)
from raysearch.engine.folder.locks import LOCK, Lock, locked
from raysearch.engine.folder.mending import mend
from raysearch.engine.folder.merge import Merger
from raysearch.engine.folder.parts import (
    CANDIDATES,
    FIGURES,
    OUTCOMES,
    PARTS,
    Parts,
    completed,
    conforming,
    part_name,
    part_tables,
    parts,
    pieces,
    standing,
    torn_parts,
)
from raysearch.errors import RunFolderError, TableError
from raysearch.masking import masked, masked_table, masked_values
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA, WORK_SCHEMA

SEARCH, RUN, WORK = "search.toml", "run.json", "observations.arrow"
FORMAT = 2
"""Version of this layout, in run.json: with merged parts, which are not in those before."""
READ = (1, FORMAT)
"""Versions that are read; a folder of an earlier one becomes one of this as soon as its run goes on."""

KEPT = "put it back as it was, or begin anew in another folder"
"""What to do where something is damaged that no run makes anew."""
_FILES = (SEARCH, RUN, WORK)
_RIGHT: Mapping[str, Callable[[Any], bool]] = {
    "observations": lambda value: type(value) is int and 0 <= value <= _MOST,
    "shard_size": lambda value: type(value) is int and 1 <= value <= _MOST,
    "config_hash": lambda value: isinstance(value, str),
    "started": lambda value: bool(datetime.fromisoformat(value).tzinfo),
    "finished": lambda value: value is None or bool(datetime.fromisoformat(value).tzinfo),
    "candidate_columns": lambda value: isinstance(value, dict) and bool(candidates_schema({"candidate_columns": value})),
}
"""What run.json must hold to be worked with, and whether a value is right."""
_TOLD: Mapping[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "versions": lambda value: all(isinstance(text, str) for text in value.values()),
    "notes": lambda value: isinstance(value, list) and all(isinstance(note, str) for note in value),
    "funnel": lambda value: all(type(count) is int and is_amount(count) for count in value.values()),
    "totals": lambda value: value is None or ({"seconds", "resumed"} <= value.keys() and all(map(_is_count, value.values()))),
    "queries": lambda value: isinstance(value, list) and all(map(_is_query, value)),
}
"""What it may tell besides, and whether a value is right."""
_MOST = 2**40
"""More observations than there are."""
_PACKAGES = ("raysearch", "ray", "numpy", "pyarrow", "astropy", "scipy")


class Ledger:
    """A run folder open for writing, by one run at a time. Use it in a `with`, so that the folder is free again afterwards."""

    def __init__(
        self, folder: Place, lock: Lock, run: dict[str, Any], schemas: Mapping[str, pa.Schema], notes: Sequence[str]
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._run = run
        self._schema = schemas[CANDIDATES]
        standing = parts(folder)
        before = status(folder, standing)
        self.resumed = replace(before, resumed=before.done)
        """What earlier sessions had done when this one began."""
        self.notes = tuple(notes)
        """What was damaged, and is done anew: a sentence for each part."""
        self._merger = Merger(folder, schemas, standing)

    @classmethod
    def open(
        cls,
        folder: Place,
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
            lock = locked(folder)
            try:
                if (folder / RUN).exists():
                    run = read_run(folder)
                    _check_same(folder, run, config_hash, work, candidate_schema)
                    if run["format"] != FORMAT:  # before parts are merged, which the earlier version would not see
                        run["format"] = FORMAT
                        write_json(folder / RUN, run)
                else:
                    run = _header(config_hash, shard_size, len(work), candidate_schema, about)
                    _create(folder, search_toml, work, run)
                for name in PARTS:
                    (folder / name).mkdir(exist_ok=True)
                schemas = {CANDIDATES: candidate_schema, FIGURES: FIGURE_SCHEMA, OUTCOMES: OUTCOME_SCHEMA}
                notes = mend(folder, work, int(run["shard_size"]), schemas)
                _sweep(folder)  # after it: a merged part of another kind than the damaged one counts no longer
                return cls(folder, lock, run, schemas, notes)
            except BaseException:
                lock.close()
                raise
        except OSError as exc:
            raise RunFolderError(f"{folder} cannot be written: {exc.strerror or exc}; choose another --out") from exc

    @property
    def folder(self) -> Place:
        """Where it is."""
        return self._folder

    @property
    def name(self) -> str:
        """What the search is called."""
        return str(self._run.get("name", ""))

    @property
    def shard_size(self) -> int:
        """Observations in a shard; the last one may have fewer."""
        return int(self._run["shard_size"])

    def done(self) -> frozenset[int]:
        """Return the shards whose candidates and outcomes stand."""
        return parts(self._folder).done

    def commit(self, shard: int, candidates: pa.Table, outcomes: pa.Table, figures: pa.Table) -> None:
        """Write a shard's parts, the outcomes last: once they stand, all do. There is no part of figures where there are none."""
        self._lock.check()
        name = part_name(shard)
        write_arrow(self._folder / CANDIDATES / name, candidates.cast(self._schema))
        if figures.num_rows:
            write_arrow(self._folder / FIGURES / name, figures.cast(FIGURE_SCHEMA))
        else:  # of an earlier, broken off run that drew
            (self._folder / FIGURES / name).unlink(missing_ok=True)
        write_arrow(self._folder / OUTCOMES / name, outcomes.cast(OUTCOME_SCHEMA))
        self._merger.done(shard)

    def close(self, totals: Totals | None = None) -> None:
        """Give the folder free; with totals, the run is over and run.json says so."""
        self._merger.close(finish=totals is not None)
        if totals is not None and not self._lock.closed:
            self._run["finished"] = timestamp()
            self._run["totals"] = {**totals.counts, "seconds": round(totals.seconds, 3), "resumed": totals.resumed}
            write_json(self._folder / RUN, self._run)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def outcome_tables(folder: Place, now: Parts | None = None) -> Iterator[pa.Table]:
    """Yield what `read_outcomes` returns, or returned when these parts counted, piece by piece."""
    return pieces(part_tables(folder, OUTCOMES, OUTCOME_SCHEMA, now))


def read_outcomes(folder: Place) -> pa.Table:
    """Return one row per observation done so far, in the order of the work list; of any run folder, also one in use."""
    return pa.concat_tables([OUTCOME_SCHEMA.empty_table(), *outcome_tables(folder)])


def candidate_tables(folder: Place, now: Parts | None = None) -> Iterator[pa.Table]:
    """Yield what `read_candidates` returns, or returned when these parts counted, piece by piece; first a table without rows."""
    schema = candidates_schema(read_run(folder))
    yield schema.empty_table()
    yield from pieces(part_tables(folder, CANDIDATES, schema, now))


def read_candidates(folder: Place) -> pa.Table:
    """Return the candidate records of every shard done so far, in the order of the work list; cutouts stay on the disk."""
    return pa.concat_tables(candidate_tables(folder))


def read_work(folder: Place) -> pa.Table:
    """Return the work list, with the archive's own columns; it stays on the disk."""
    work = completed(map_arrow(folder / WORK, KEPT), WORK_SCHEMA)
    ours = work.select([name for name in WORK_SCHEMA.names if name in work.column_names])
    conforming(ours, WORK_SCHEMA, folder / WORK, KEPT)
    return work


def read_run(folder: Place) -> dict[str, Any]:
    """Return run.json.

    Raises
    ------
    RunFolderError
        There is none, or it cannot be read.
    """
    path = folder / RUN
    try:
        run = read_json(path)
    except FileNotFoundError as exc:
        raise RunFolderError(f"{folder} is no run folder: it has no {RUN}") from exc
    except OSError as exc:
        raise RunFolderError(f"{path} cannot be read: {exc.strerror or exc}; see to that, or begin anew in another folder") from exc
    except ValueError as exc:
        raise RunFolderError(f"{path} is damaged ({exc}): {KEPT}") from exc
    if not isinstance(run, dict) or run.get("format") not in READ:
        other = "it was written by another version of raysearch, which reads it"
        raise RunFolderError(f"{path} is not of format {FORMAT}: {other}; or it is damaged: {KEPT}")
    wrong = [name for name, right in _RIGHT.items() if name not in run or not _is_right(run[name], right)]
    wrong += [name for name, right in _TOLD.items() if name in run and not _is_right(run[name], right)]
    if wrong:
        raise RunFolderError(f"{path} is damaged (see {wrong[0]}): {KEPT}")
    return run


def _is_right(value: object, right: Callable[[Any], bool]) -> bool:
    try:
        return right(value)
    except (AttributeError, TypeError, ValueError):
        return False


def _is_count(value: object) -> bool:
    """Return whether a total is a number, or numbers by host."""
    return all(map(_is_count, value.values())) if isinstance(value, dict) else is_amount(value)


def _is_query(query: Mapping[str, Any]) -> bool:
    texts = (query.get(name, "") for name in ("service", "url", "text", "reused"))
    counts = (query.get("rows", 0), query.get("seconds", 0), query.get("counted") or 0)
    return all(isinstance(text, str) for text in texts) and all(map(is_amount, counts))


def status(folder: Place, now: Parts | None = None) -> Totals:
    """Return how far a run has come, or had when these parts counted: right for finished, running and dead ones alike."""
    totals = Totals(int(read_run(folder)["observations"]))
    return reduce(added, (shard_done(0, table) for table in outcome_tables(folder, now)), totals)


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


def _check_same(folder: Place, run: Mapping[str, Any], config_hash: str, work: pa.Table, schema: pa.Schema) -> None:
    """Raise RunFolderError unless the folder was begun by this search, for this work list."""
    cure = "choose another --out, or remove this folder to begin anew"
    if run["config_hash"] != config_hash:
        raise RunFolderError(f"{folder} holds another search: its config hash is {run['config_hash']}, not {config_hash}; {cure}")
    rows = _rows_that_differ(read_work(folder), work)
    if rows:
        raise RunFolderError(f"{folder} holds the same search over another work list: {rows} rows differ; {cure}")
    if run["observations"] != len(work):
        raise RunFolderError(f"{folder / RUN} is damaged: it tells of {run['observations']} observations, not {len(work)}; {cure}")
    if not candidates_schema(run).equals(schema):
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
        "started": timestamp(),
        "finished": None,
        "totals": None,
        **about,
    }


def candidates_schema(run: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of the candidates, as run.json tells it."""
    lists = {str(kind): kind for kind in (pa.list_(pa.string()),)}  # Arrow names these, but does not read the name
    columns = run["candidate_columns"].items()
    return pa.schema([pa.field(name, lists.get(kind) or pa.type_for_alias(kind), nullable=False) for name, kind in columns])


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)


def _create(folder: Place, search_toml: str, work: pa.Table, run: Mapping[str, Any]) -> None:
    """Write a new folder, run.json last: without it there is no run folder yet."""
    write_whole(folder / SEARCH, lambda file: file.write(search_toml.encode()))
    write_arrow(folder / WORK, work)
    write_json(folder / RUN, run)


def _refuse_strange(folder: Place) -> None:
    """Raise RunFolderError where a folder without run.json holds anything but what a run killed at its very start leaves."""
    if (folder / RUN).exists():
        return
    ours = {LOCK, *PARTS, *_FILES, *(name + TORN for name in _FILES)}
    strange = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if strange or standing(folder, OUTCOMES):
        found = ", ".join(strange[:3]) or "outcomes"
        raise RunFolderError(f"{folder} is not empty and no run folder: it has {found} and no {RUN}; choose another --out")


def _sweep(folder: Place) -> None:
    """Remove what a killed run left half written, and parts in whose place others stand; nothing else."""
    over = [part.path for spent in parts(folder).spent.values() for part in spent]
    if isinstance(folder, Path):  # in S3 nothing is half written
        over += [folder / (name + TORN) for name in _FILES]
        over += [path for kind in PARTS for path in torn_parts(folder, kind)]
    for path in over:
        path.unlink(missing_ok=True)
