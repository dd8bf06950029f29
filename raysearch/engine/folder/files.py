"""Files that are whole or not there, in a local folder or in S3.

A local file is written beside its place, synced, then moved into it; one in S3 is put by a single request. `place` is the one way
from what a user writes to a folder.
"""

from __future__ import annotations

import errno
import io
import json
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from raysearch.engine.folder.s3 import AT_ONCE, SCHEME, S3Path, s3_path
from raysearch.errors import RunFolderError
from raysearch.masking import masked

Place = Path | S3Path
"""A file or a folder, on a disk of this machine or in S3."""

TORN = ".tmp"
"""Ending of a file that is being written."""
_CURES = {
    errno.ENOSPC: "make room, and run again to continue",
    errno.EDQUOT: "make room, and run again to continue",
    errno.EROFS: "make it writable, and run again to continue",
    errno.EACCES: "make it writable, and run again to continue",
    errno.ENOENT: "its folder was removed or renamed while the run was at work: put it back, and run again to continue",
}


def place(text: str | Place) -> Place:
    """Return the folder or file that a user names: a path, or `s3://bucket/folder`; asks nobody.

    Raises
    ------
    RunFolderError
        It is an address of another kind, or none of a folder in S3; or its name is not UTF-8.
    """
    if isinstance(text, S3Path):
        return text
    name = str(text)
    if not _is_utf8(name):
        raise RunFolderError(f"{os.fsencode(name)!r} cannot be a run folder: its name is not UTF-8; choose another name")
    if name.startswith(SCHEME):
        return s3_path(name)
    if "://" in name or name.startswith(SCHEME[:-1]):  # what pathlib makes of an address has one slash less
        raise RunFolderError(f"{masked(name)}: a run folder is a path, or s3://bucket/folder (as text, not as a Path)")
    return Path(text)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python holds bytes that are none as lone surrogates
        return False
    return True


def write_whole(path: Place, fill: Callable[[IO[bytes]], object], *, once: bool = False) -> None:
    """Write a file through `fill`; whoever looks sees the old one or the whole new one, also after a crash.

    With `once`, S3 is not asked again where it does not answer: for what matters little, and comes again.

    Raises
    ------
    RunFolderError
        The disk is full, the folder cannot be written, or S3 does not take it.
    """
    if isinstance(path, S3Path):
        content = io.BytesIO()
        fill(content)
        path.write_bytes(content.getbuffer(), once=once)
        return
    torn = path.with_name(path.name + TORN)
    try:
        with torn.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        torn.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        with suppress(OSError):  # what is half written takes room that may be short
            torn.unlink()
        cure = _CURES.get(exc.errno or 0, "run again to continue")
        raise RunFolderError(f"{path} cannot be written: {exc.strerror or exc}; what was done before is safe; {cure}") from exc


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is kept by the folder, not by the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_amount(value: object) -> bool:
    """Return whether a JSON value is a number that can be counted with: JSON has room for ones that no float holds, and for NaN."""
    return type(value) in (int, float) and bool(-(2**63) < value < 2**63)  # type: ignore[operator]


def timestamp() -> str:
    """Return the time as the files of a run folder tell it: ISO 8601, UTC, to a second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Place, value: Mapping[str, Any], *, once: bool = False) -> None:
    """Write an object as indented JSON; `once` as for `write_whole`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), once=once)


def read_json(path: Place) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    OSError, RunFolderError
        It cannot be read.
    ValueError
        It is no JSON, or has what could not be written again: numbers that no float holds, halves of characters.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    return value


def write_arrow(path: Place, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file."""

    def fill(file: IO[bytes]) -> None:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    write_whole(path, fill)


def read_arrow(path: Place, cure: str = "") -> pa.Table:
    """Return the table of an Arrow IPC file.

    Raises
    ------
    RunFolderError
        It is not there, or no such file; the message ends with the cure, if there is another than a run that goes on.
    """
    with _told(path, cure):
        if isinstance(path, S3Path):
            return _valid(pa.ipc.open_file(path.read_bytes()).read_all())
        with pa.OSFile(str(path)) as file:
            return _valid(pa.ipc.open_file(file).read_all())


def map_arrow(path: Place, cure: str = "") -> pa.Table:
    """Return the table of an Arrow IPC file without holding it in memory: its columns are views of the mapped file, or of a copy.

    Raises
    ------
    RunFolderError
        It is not there, or no such file; the message ends with the cure, if there is another than a run that goes on.
    """
    with _told(path, cure):
        return _mapped(path)


def sound(path: Place) -> bool:
    """Return whether a file is an Arrow IPC file as it was written, not cut short or filled with zeros as by a loss of power.

    Raises
    ------
    RunFolderError
        It cannot be read at all.
    """
    with _told(path):
        try:
            _mapped(path)
        except pa.ArrowException:
            return False
        except OSError as exc:
            if exc.errno is None:  # Arrow's own, of what it has read
                return False
            raise
    return True


def _mapped(path: Place) -> pa.Table:
    if isinstance(path, Path):
        if path.is_dir():  # Arrow would say so without an errno
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return _valid(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
    with tempfile.TemporaryFile() as copy:  # gone from the disk with the last view of it
        copy.write(path.read_bytes() or b"\0")  # nothing cannot be mapped
        copy.flush()
        return _valid(pa.ipc.open_file(pa.py_buffer(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))).read_all())


def _valid(table: pa.Table) -> pa.Table:
    """Return the table if its offsets, texts and names are as they should be: else who looks at its rows may end the process.

    Numbers and bytes are not looked at, and stay on the disk.
    """
    try:
        table.validate(full=True)
        names = table.column_names
    except UnicodeDecodeError as exc:
        raise pa.ArrowInvalid(f"names that are no text: {exc}") from exc
    if not names:
        raise pa.ArrowInvalid("it has no columns")
    if len(set(names)) < len(names):
        raise pa.ArrowInvalid(
            f"two columns of one name: {', '.join(name for name in dict.fromkeys(names) if names.count(name) > 1)}"
        )
    return table


@contextmanager
def _told(path: Place, cure: str = "") -> Iterator[None]:
    """Tell what goes wrong inside with the file's name and the cure."""
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            gone = cure if isinstance(exc, FileNotFoundError) else ""
            raise RunFolderError(
                f"{path} cannot be read: {exc.strerror}; {gone or 'see to that, then run the search again'}"
            ) from exc
        first = "run" if isinstance(path, Path) else "remove it, and run"  # on a disk, a run looks for such parts itself
        raise RunFolderError(
            f"{path} is damaged ({exc}); {cure or f'{first} the search again: what it held is made anew'}"
        ) from exc


@contextmanager
def locally(folder: Place) -> Iterator[Path]:
    """Give a local folder to write files into: the folder itself, or one whose files are put into S3 when all is written.

    The last is that which comes last by its name and is in no folder: a page's `index.html`, after all that it needs.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-") as scratch:
        here = Path(scratch)
        yield here
        paths = sorted((path for path in here.rglob("*") if path.is_file()), key=lambda path: (-len(path.parts), path))

        def put(path: Path) -> None:
            (folder / path.relative_to(here).as_posix()).write_bytes(path.read_bytes())

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(put, paths[:-1]))
        for path in paths[-1:]:
            put(path)


@contextmanager
def at_hand(path: Place) -> Iterator[Path]:
    """Give a local file to read: the file itself, or a copy of one in S3.

    Raises
    ------
    RunFolderError
        It cannot be fetched.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-") as scratch:
        copy = Path(scratch) / path.name
        with _told(path):
            copy.write_bytes(path.read_bytes())
        yield copy
