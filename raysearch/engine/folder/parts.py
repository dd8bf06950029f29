"""The parts of a run folder: which stand, which count, and what they hold.

A part is a file of one kind (candidates, figures or outcomes) that holds what came of one shard, `part-000007.arrow`, or of a run
of shards, `part-000000-000255.arrow`: many merged into one. A shard is done when its outcomes stand, and its candidates, which are
written first; there is no part of figures where nothing was drawn.

Parts are merged while others read, and the driver may be killed at any moment of it. So each kind is merged by itself, and these
rules make what is read the same at every moment, also where nothing can be renamed:

- A merged part is written whole before the small ones that it holds are removed; where both stand, the merged one counts.
- A merged part counts where every shard of its range is done. Where somebody has removed a part of another kind, to have it done
  anew, the merged one is as if it were not there: what is done anew is not read twice.
- A folder is listed twice, and what either listing shows stood there. One alone could miss a merged part, which came after it had
  begun, and the small ones too, which went before it ended.
- A part that goes between listing and reading has been merged: the folder is listed again, and the merged part read as far as it
  holds what was done at the first listing and has not been read yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.engine.folder.files import TORN, Place, map_arrow
from raysearch.errors import RunFolderError
from raysearch.model import OUTCOME_SCHEMA, STATUSES

CANDIDATES, FIGURES, OUTCOMES = PARTS = "candidates", "figures", "outcomes"
"""The kinds of parts; the folders they lie in are called so."""
NEWER = ("limits", "ranges", "figures_seconds", "file_bytes", "retries", "detect_seconds", "partner")
"""Columns that folders of earlier versions lack."""
PIECE_ROWS, PIECE_BYTES = 65_536, 64 * 2**20
"""How much is read at a time where a run is read bit by bit."""
MOST = 2**53
"""An amount of anything in an outcome is less."""
ROWS = b"shard_rows"
"""In the schema's metadata of a merged part: the rows of each of its shards, in their order, as a JSON list."""

_PART = re.compile(r"part-(\d{6,})(?:-(\d{6,}))?\.arrow")


@dataclass(frozen=True, slots=True)
class Part:
    """A file that holds what came of the shards from `first` to `last`, both included."""

    first: int
    last: int
    path: Place

    @property
    def shards(self) -> range:
        """The shards that it holds."""
        return range(self.first, self.last + 1)

    @property
    def merged(self) -> bool:
        """Whether it holds more than one."""
        return self.last > self.first


@dataclass(frozen=True, slots=True)
class Parts:
    """What stood in a run folder when it was listed."""

    done: frozenset[int]
    """The shards whose candidates and outcomes stand."""
    counted: dict[str, list[Part]]
    """By kind, the parts to read, in order: each shard that is done once."""
    spent: dict[str, list[Part]]
    """By kind, those that never count again: small ones that a merged part holds, and merged ones whose shards are not all done."""


def part_name(first: int, last: int | None = None) -> str:
    """Return what a part of any kind is called that holds one shard, or those from first to last."""
    return f"part-{first:06d}.arrow" if last is None else f"part-{first:06d}-{last:06d}.arrow"


def standing(folder: Place, kind: str) -> list[Part]:
    """Return the parts of one kind that stand, whether or not they count, in order."""
    of_kind = folder / kind
    if not of_kind.is_dir():
        return []
    found = {path.name: path for _ in range(2) for path in of_kind.iterdir()}
    named = ((_PART.fullmatch(name), path) for name, path in found.items())
    return _sorted(Part(int(match[1]), int(match[2] or match[1]), path) for match, path in named if match)


def torn_parts(folder: Place, kind: str) -> list[Place]:
    """Return the parts of one kind that a killed run left half written."""
    return [path for path in (folder / kind).iterdir() if path.suffix == TORN and _PART.fullmatch(path.name.removesuffix(TORN))]


def parts(folder: Place) -> Parts:
    """Return which parts count; of any run folder, also one in use."""
    # Outcomes first: whatever is written before them stands by the time it is listed.
    listed = {kind: standing(folder, kind) for kind in (OUTCOMES, CANDIDATES, FIGURES)}
    done = _done(listed[OUTCOMES], listed[CANDIDATES])
    counted = {kind: _counted(of_kind, done) for kind, of_kind in listed.items()}
    spent = {kind: _spent(of_kind, counted[kind]) for kind, of_kind in listed.items()}
    return Parts(frozenset(done), counted, spent)


def _done(outcomes: list[Part], candidates: list[Part]) -> set[int]:
    """Return the shards of which parts of both kinds count: merged parts that do not may be why others do not."""
    done = _shards(outcomes) & _shards(candidates)
    kept = tuple(
        [part for part in of_kind if not part.merged or done.issuperset(part.shards)] for of_kind in (outcomes, candidates)
    )
    return done if kept == (outcomes, candidates) else _done(*kept)


def _sorted(of_kind: Iterable[Part]) -> list[Part]:
    return sorted(of_kind, key=lambda part: (part.first, part.last))


def _shards(of_kind: Iterable[Part]) -> set[int]:
    return {shard for part in of_kind for shard in part.shards}


def _counted(of_kind: Iterable[Part], done: set[int]) -> list[Part]:
    merged = [part for part in of_kind if part.merged and done.issuperset(part.shards)]
    held = _shards(merged)
    return _sorted([*merged, *(part for part in of_kind if not part.merged and part.first in done and part.first not in held)])


def _spent(of_kind: Iterable[Part], counted: Collection[Part]) -> list[Part]:
    held, counting = _shards(part for part in counted if part.merged), set(counted)
    return [part for part in of_kind if part not in counting and (part.merged or part.first in held)]


def part_tables(folder: Place, kind: str, schema: pa.Schema, now: Parts | None = None) -> Iterator[pa.Table]:
    """Yield what the parts of one kind hold of the shards done so far, one part at a time, in the order of the work list.

    Parameters
    ----------
    folder
        The run folder.
    kind
        Which parts.
    schema
        What they hold.
    now
        What counted at a moment that has gone by: then the shards that were done are read, whatever has been done since.

    Raises
    ------
    RunFolderError
        A part cannot be read, or holds something else.
    """
    now = now or parts(folder)
    wanted, missed = set(now.done), None
    while True:
        for part in now.counted[kind]:
            if wanted.isdisjoint(part.shards):
                continue
            try:
                table = map_arrow(part.path)
            except RunFolderError as exc:
                if not isinstance(exc.__cause__, FileNotFoundError) or part == missed:
                    raise
                missed = part
                break
            yield conforming(_of_shards(table, part, wanted), schema, part.path)
            wanted.difference_update(part.shards)
        else:
            return
        now = parts(folder)


def _of_shards(table: pa.Table, part: Part, wanted: Collection[int]) -> pa.Table:
    """Return the rows of a part that belong to the wanted shards."""
    rows = _rows(table, part)
    table = table.replace_schema_metadata(None)
    if rows is None or all(shard in wanted for shard in part.shards):
        return table
    pieces, start = [], 0
    for shard, count in zip(part.shards, rows, strict=True):
        if shard in wanted:
            pieces.append(table.slice(start, count))
        start += count
    return pa.concat_tables(pieces)


def _rows(table: pa.Table, part: Part) -> list[int] | None:
    """Return the rows of each shard of a merged part; None of a part of one shard."""
    try:
        rows: list[int] | None = json.loads((table.schema.metadata or {}).get(ROWS, b"null"))
        sound = not part.merged if rows is None else _add_up(rows, len(part.shards), table.num_rows)
    except (ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise RunFolderError(f"{part.path} is damaged: it does not tell its shards apart; run the search again")
    return rows


def _add_up(rows: list[int], shards: int, total: int) -> bool:
    return len(rows) == shards and all(type(count) is int and count >= 0 for count in rows) and sum(rows) == total


def pieces(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables that are worth the handling: small ones together, until they are many or large."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        held.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if rows >= PIECE_ROWS or size >= PIECE_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def conforming(
    table: pa.Table, schema: pa.Schema, where: Place, cure: str = "run the search again, which makes it anew"
) -> pa.Table:
    """Return a table of `where` with all columns of its schema, those too that it lacks because it was written before they were.

    Raises
    ------
    RunFolderError
        It has others, or none where it must have something.
    """
    table = completed(table, schema)
    found = {field.name: field for field in table.schema.remove_metadata()}
    wrong = [field.name for field in schema if field.name not in found or found[field.name] != field]
    wrong += [name for name in table.column_names if name not in schema.names or table.column_names.count(name) > 1]
    wrong += [field.name for field in schema if field.name not in wrong and not field.nullable and table[field.name].null_count]
    if not wrong and schema.equals(OUTCOME_SCHEMA):
        wrong += _impossible(table)
    if wrong:
        what = f"see its column {wrong[0]}"
        raise RunFolderError(f"{where} holds what raysearch did not write ({what}): {cure}")
    return table.select(schema.names)


def _impossible(outcomes: pa.Table) -> Iterator[str]:
    """Yield the columns of outcomes in which stands what no observation can have ended with."""
    if not pc.all(pc.is_in(outcomes["status"], pa.array(STATUSES)), min_count=0).as_py():
        yield "status"
    for field in outcomes.schema:
        if not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            continue
        amounts = outcomes[field.name]
        if not pc.all(pc.and_(pc.greater_equal(amounts, 0), pc.less(amounts, MOST)), min_count=0).as_py():
            yield field.name


def conforms(table: pa.Table, schema: pa.Schema, part: Part) -> bool:
    """Return whether a part's table is of a schema, and tells the part's shards apart."""
    try:
        conforming(table, schema, part.path)
        _rows(table, part)
    except RunFolderError:
        return False
    return True


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns that it lacks because it was written before there were any: empty lists, and 0."""
    for place, field in enumerate(schema):
        if field.name in NEWER and field.name not in table.column_names:
            empty: object = [] if pa.types.is_list(field.type) else 0
            table = table.add_column(min(place, table.num_columns), field, pa.array([empty] * table.num_rows, field.type))
    return table
