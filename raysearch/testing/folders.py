"""Damaged run folders in great number: each ends with a result or an error of ours, and what is done anew is right.

An input is a JSON object: file of a made-up run folder -> its new content in base64, `null` where it is gone, or `"folder"` where a
folder stands in its place. The same `random.Random` gives the same damage.
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

from raysearch import pages
from raysearch.engine import Ledger, read_outcomes, status
from raysearch.engine.ledger import candidates_schema, read_run, read_work
from raysearch.engine.state import read_state
from raysearch.errors import RaysearchError
from raysearch.model import FIGURE_SCHEMA
from raysearch.result import Result
from raysearch.testing.mutations import mutated_text
from raysearch.testing.runs import made_up_run

PROGRESS = {"written": "2026-01-01T00:00:00+00:00", "last_commit": "2026-01-01T00:00:00+00:00", "seconds": 12.5}
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 10**9, 2**63, 10**40, 0.5, -1e308, float("nan"), float("inf"), "", "x", "\x00", "é" * 500),
    *([], [[]], ["x"], {}, {"a": None}, [1, None], "2026-01-01T00:00:00", "int32", "list<item: string>", "9" * 5000),
)
"""What may stand where something else should."""
_TOML = (
    *("[", "]", "=", '"', "\n", "[targets]\n", "[lines]\n", "nan", "1e400", "\x00", "é", "{", "list = 3\n"),
    *('name = ""\n', "[" * 2000),
)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="raysearch-fuzz-")


@cache
def _seeds() -> tuple[Path, ...]:
    """Return sound run folders: one finished, its parts merged, and one broken off."""
    folders = tuple(Path(_scratch().name) / name for name in ("finished", "broken-off"))
    for folder, finished in zip(folders, (True, False), strict=True):
        made_up_run(folder, 6, finished=finished, shards=3)
    return folders


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def damaged_folder(rng: random.Random) -> bytes:
    """Return an input: one of the folders, changed in one to three files."""
    number = rng.randrange(2)
    seed = _seeds()[number]
    changed: dict[str, Any] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice([*_files(seed), "run.json", "run.json", "progress.json"])
        changed[name] = _changed(seed, name, rng)
    return json.dumps({"seed": number, "files": changed}).encode()


def _changed(seed: Path, name: str, rng: random.Random) -> str | None:
    if rng.random() < 0.05:
        return rng.choice((None, "folder"))
    content = (seed / name).read_bytes() if (seed / name).exists() else json.dumps(PROGRESS).encode()
    if rng.random() < 0.25:
        content = _noise(content, rng)
    elif name.endswith(".json"):
        content = _other_json(content, rng)
    elif name.endswith(".toml"):
        content = mutated_text([content.decode()], _TOML, rng).encode("utf-8", "surrogatepass")
    elif name.endswith(".arrow"):
        content = _other_table(content, rng)
    return base64.b64encode(content).decode()


def _noise(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content or b"x")
    kind, at = rng.randrange(6), rng.randrange(len(data))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        return bytes(len(data))
    if kind == 2:
        return bytes(data) + rng.randbytes(rng.choice((1, 100)))
    length = rng.choice((1, 1, 4, 8, 64))
    data[at : at + length] = rng.choice((rng.randbytes(length), b"\xff" * length, bytes(length)))
    return bytes(data)


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
        lambda: table.append_column(name, table[name]),
        lambda: table.slice(0, max(0, table.num_rows - 1)),
        lambda: pa.concat_tables([table, table]),
        lambda: table.take(pa.array(range(table.num_rows)[::-1], pa.int64())),
        lambda: table.select([]),
    )
    sink = io.BytesIO()
    made = rng.choice(edits)()
    with pa.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


def use_folder(data: bytes) -> str:
    """Do with a damaged folder all that can be done, and return what came of it."""
    told = json.loads(data)
    seed, folder = _seeds()[told["seed"]], Path(_scratch().name) / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seed, folder)
    for name, content in told["files"].items():
        (folder / name).unlink(missing_ok=True)
        if content == "folder":
            (folder / name).mkdir()
        elif content is not None:
            (folder / name).write_bytes(base64.b64decode(content))
    refused = sum(_refused(what) for what in _uses(folder))
    ended = "refused" if _refused(lambda: _finish(folder, seed)) else "finished anew"
    return f"{'read' if not refused else 'read in part'}, {ended}"


def _refused(what: Callable[[], object]) -> bool:
    try:
        what()
    except RaysearchError:
        return True
    return False


def _uses(folder: Path) -> Iterator[Callable[[], object]]:
    result, out = Result(folder), Path(_scratch().name) / "exported"
    out.mkdir(exist_ok=True)
    yield lambda: read_state(folder)
    yield lambda: repr(result)
    yield result._repr_html_
    yield lambda: result.export(out / "candidates.csv")
    yield lambda: result.export(out / "outcomes.parquet", "outcomes")
    yield lambda: result.export(out / "limits.ecsv", "limits")
    yield lambda: result.export(out / "candidates.reg")
    yield lambda: result.export(out / "thanks.txt")
    yield lambda: pages.write(folder)


def _finish(folder: Path, seed: Path) -> None:
    """Go on with the run to its end; each observation must then have ended, once, as in the sound run.

    Raises
    ------
    AssertionError
        It has not.
    """
    finished = _seeds()[0]
    run, work, outcomes = read_run(seed), read_work(seed), read_outcomes(finished)
    schema = candidates_schema(run)
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
            ledger.commit(shard, schema.empty_table(), part, FIGURE_SCHEMA.empty_table())
        ledger.close(status(folder))
    done = read_outcomes(folder)
    if done["obs_id"].to_pylist() != outcomes["obs_id"].to_pylist():
        raise AssertionError("the run that went on has not each observation once")
    Result(folder).arrow("candidates")
