"""Sound run folders of every kind, and how their files are damaged: what `folders` goes through.

An input is a JSON object. `seed` tells which of the folders is meant; `files` has, by its path in the folder, what becomes of a
file: its new content in base64, `null` where it is gone, `"folder"` where a folder stands in its place, and `{"copy": path}` where
another file of the folder has been copied there. The same `random.Random` gives the same damage.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysearch.engine import read_candidates, read_figures, read_outcomes, read_run, read_work
from raysearch.engine.events import AtWork, RunStarted
from raysearch.engine.folder.files import write_arrow
from raysearch.engine.folder.ledger import candidates_schema
from raysearch.engine.folder.locks import LOCK
from raysearch.engine.folder.merge import merge
from raysearch.engine.folder.parts import CANDIDATES, FIGURES, OUTCOMES, PARTS, part_name
from raysearch.engine.folder.pulse import PROGRESS, ProgressFile
from raysearch.engine.folder.state import read_state
from raysearch.model import FIGURE_SCHEMA, OUTCOME_SCHEMA
from raysearch.pages import MARKS, REDRAWN
from raysearch.products import SPECTRA
from raysearch.report.marks import write_marks
from raysearch.result import TARGETS
from raysearch.search import by_target
from raysearch.testing.mutations import mutated_bytes, mutated_text
from raysearch.testing.runs import made_up_run
from raysearch.worklist import WorkList

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 10**9, 2**63, 10**40, 10**400, 0.5, -1e308, float("nan"), float("inf"), "", "x", "\x00"),
    *("é" * 500, [], [[]], ["x"], {}, {"a": None}, [1, None], "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "int32"),
    *("list<item: string>", "9" * 5000, "\ud800"),
)
"""What may stand where something else should."""
_TOML = (
    *("[", "]", "=", '"', "\n", "[targets]\n", "[lines]\n", "nan", "1e400", "\x00", "é", "{", "list = 3\n"),
    *('name = ""\n', "[" * 2000),
)
_CSV = (
    ",",
    '"',
    "\n",
    "\r",
    "\x00",
    "good",
    "candidate",
    "o000000_detected#0",
    "o000000_detected#0,good,,\n",
    "=1+1",
    "é",
    "9" * 200_000,
)
_STRANGE = ("part-000003.arrow", "part-000000-000001.arrow", "part-000002-000003.arrow", "part-000000-000003.arrow")
"""Names under which parts may be copied, besides those there are."""
SHARDS = 4


@cache
def scratch() -> Path:
    """Return a folder for whatever is written while folders are tried; it goes when the process ends."""
    return Path(_scratch().name)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")  # noqa: S108 - every part that is written is synced, for which a disk takes its time
    return tempfile.TemporaryDirectory(prefix="raysearch-fuzz-", dir=memory if memory.is_dir() else None)


@cache
def sound_folders() -> tuple[Path, ...]:
    """Return sound folders of one search: finished, broken off, and both again with merged parts; the first is the whole truth."""
    finished, broken_off = (_sound(name, finished=name == "finished") for name in ("finished", "broken-off"))
    return (finished, broken_off, _merged(finished, SHARDS - 1), _merged(broken_off, 1))


def _sound(name: str, *, finished: bool) -> Path:
    folder = made_up_run(scratch() / name, 6, finished=finished, shards=SHARDS)
    state = read_state(folder)
    with ProgressFile(folder) as progress:
        progress(RunStarted(state.totals, state.shards_left))
        progress(AtWork(1, 1, 1, 1))
    drawn = read_figures(folder).table
    write_arrow(folder / FIGURES / REDRAWN, drawn.slice(0, 1))
    write_marks({"o000000_detected#0": {"mark": "good", "note": "=1", "marked": "2026-01-01T00:00:00+00:00"}}, folder / MARKS)
    if finished:
        work = WorkList(read_work(folder), ())
        write_arrow(folder / TARGETS, by_target(work, read_outcomes(folder), read_candidates(folder), 1))
        shutil.copytree(folder, folder / SPECTRA)
    return folder


def _merged(folder: Path, last: int) -> Path:
    made = folder.with_name(f"{folder.name}-merged")
    shutil.copytree(folder, made)
    schemas = {CANDIDATES: candidates_schema(read_run(made)), OUTCOMES: OUTCOME_SCHEMA, FIGURES: FIGURE_SCHEMA}
    merge(made, schemas, 0, last)
    return made


@cache
def _files(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != LOCK))


def damaged_folder(rng: random.Random) -> bytes:
    """Return an input: one of the folders, changed in one to three files."""
    number = rng.randrange(len(sound_folders()))
    seed = sound_folders()[number]
    changed: dict[str, Any] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.2:
            name, source = _copied(seed, rng)
            changed[name] = {"copy": source}
        else:
            name = rng.choice([*_files(seed), "run.json", "run.json", PROGRESS, TARGETS])
            changed[name] = _changed(seed, name, rng)
    return json.dumps({"seed": number, "files": changed}).encode()


def _copied(seed: Path, rng: random.Random) -> tuple[str, str]:
    """Return a place in the folder, and which file somebody has copied there: most often a part of the same kind."""
    source = rng.choice(_files(seed))
    kind = source.partition("/")[0]
    if kind in PARTS and rng.random() < 0.8:
        names = (*_STRANGE, *(part_name(shard) for shard in range(SHARDS)), part_name(0) + ".torn", part_name(7), REDRAWN)
        return f"{kind}/{rng.choice(names)}", source
    return rng.choice(_files(seed)), source


def _changed(seed: Path, name: str, rng: random.Random) -> str | None:
    if rng.random() < 0.1:
        return rng.choice((None, None, "folder"))
    path = seed / name
    content = path.read_bytes() if path.is_file() else b""
    if rng.random() < 0.25:
        content = mutated_bytes(content, rng)
    elif name.endswith(".json"):
        content = _other_json(content, rng)
    elif name.endswith((".toml", ".csv")):
        content = mutated_text([content.decode()], _TOML if name.endswith(".toml") else _CSV, rng).encode("utf-8", "surrogatepass")
    elif name.endswith(".arrow") and content:
        content = _other_table(content, rng)
    return base64.b64encode(content).decode()


def _other_json(content: bytes, rng: random.Random) -> bytes:
    """Return the object with another value, a key less, or one more, at any depth."""
    whole = copy.deepcopy(json.loads(content))
    for _ in range(rng.choice((1, 1, 2))):
        holders = [holder for holder in _holders(whole) if holder] or [whole]
        holder = whole if rng.random() < 0.6 else rng.choice(holders)
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if rng.random() < 0.3:
            del holder[key]
        else:
            holder[key] = rng.choice(VALUES)
        if not whole:
            break
    if rng.random() < 0.02:
        return b"[" * 5000
    return json.dumps(whole if rng.random() < 0.98 else rng.choice(VALUES)).encode()


def _holders(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def _other_table(content: bytes, rng: random.Random) -> bytes:
    """Return the table with other columns or rows, as a sound Arrow file."""
    table = pa.ipc.open_file(content).read_all()
    at = rng.randrange(table.num_columns)
    name = table.column_names[at]
    edits: tuple[Callable[[], pa.Table], ...] = (
        lambda: table.drop_columns([name]),
        lambda: table.rename_columns([*table.column_names[:at], "other", *table.column_names[at + 1 :]]),
        lambda: table.set_column(at, name, pa.nulls(table.num_rows, table.schema.field(name).type)),
        lambda: table.set_column(at, name, pa.array([rng.choice(("", "x", "\x00"))] * table.num_rows)),
        lambda: table.set_column(at, name, pa.array([rng.choice((0.0, -1.0, float("nan")))] * table.num_rows)),
        lambda: table.set_column(at, table.schema.field(name), _other_values(table[name], rng)),
        lambda: table.append_column(name, table[name]),
        lambda: table.slice(0, max(0, table.num_rows - 1)),
        lambda: pa.concat_tables([table, table]),
        lambda: table.take(pa.array(range(table.num_rows)[::-1], pa.int64())),
        lambda: table.replace_schema_metadata(
            {b"shard_rows": rng.choice((b"[]", b"null", b"[1", b"[1, 1]", b"{}", b"\xff", b"[-1, 9]"))}
        ),
        lambda: table.select([]),
    )
    sink = io.BytesIO()
    made = rng.choice(edits)()
    with pa.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


def _other_values(column: pa.ChunkedArray, rng: random.Random) -> pa.Array:
    """Return a column of the same type whose values are extreme, or strange texts."""
    kind = column.type
    values: tuple[Any, ...] = ("",)
    if pa.types.is_floating(kind):
        values = (float("nan"), float("inf"), -float("inf"), -1e308, 1e-310, -1.0)
    elif pa.types.is_signed_integer(kind):
        values = (-1, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1)))
    elif pa.types.is_string(kind):
        values = ("", "x", "\x00", "o000000_detected", "<script>", "://[", "🜚" * 300)
    elif pa.types.is_binary(kind):
        values = (b"", b"x", b"\x1f\x8b\x08")
    elif pa.types.is_boolean(kind):
        values = (True, False)
    elif pa.types.is_list(kind):
        values = ([],)
    else:
        return column.combine_chunks()
    return pa.array([rng.choice(values) for _ in range(len(column))], kind)
