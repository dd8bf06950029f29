"""Files that are whole or not there: written beside their place, synced, then moved into it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from raysearch.errors import RunFolderError

TORN = ".tmp"
"""Ending of a file that is being written."""


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file through `fill`; whoever looks sees the old one or the whole new one, also after a crash.

    Raises
    ------
    RunFolderError
        The disk is full, or the folder cannot be written.
    """
    torn = path.with_name(path.name + TORN)
    try:
        with torn.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        torn.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        raise RunFolderError(
            f"{path} cannot be written: {exc.strerror or exc}; what was done before is safe, run again to continue"
        ) from exc


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is kept by the folder, not by the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file."""

    def fill(file: IO[bytes]) -> None:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    write_whole(path, fill)


def read_arrow(path: Path) -> pa.Table:
    """Return the table of an Arrow IPC file.

    Raises
    ------
    RunFolderError
        It is not there, or no such file.
    """
    with _told(path), pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def map_arrow(path: Path) -> pa.Table:
    """Return the table of an Arrow IPC file without reading it: its columns are views of the mapped file.

    Raises
    ------
    RunFolderError
        It is not there, or no such file.
    """
    with _told(path):
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what goes wrong inside with the file's name and the cure."""
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        raise RunFolderError(f"{path} cannot be read ({exc}); remove it and run again: that part alone is done anew") from exc
