"""The candidates' line maps as files of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysearch.errors import ConfigError

GZIP, FITS = b"\x1f\x8b", b"SIMPLE"
"""How the files begin that a detector may keep in a column of bytes."""
OF_NAMES = ("obs_id", "line", "target")
"""Columns that name a candidate's file."""
LONGEST = 60
"""Letters of each part of a file's name: four of them and a number stay below the 255 bytes that file systems allow."""


def write_maps(candidates: pa.Table, folder: Path) -> list[Path]:
    """Write the map of each candidate that has one into a folder, made if need be, and return the files.

    A file is named by the candidate's row in the candidate table (counted from 0, as in every export), its observation, line and
    target, so that each name is there once; letters that a file name should not have become `_`.

    Raises
    ------
    ConfigError
        The detector keeps no maps.
    OSError
        A file cannot be written.
    """
    columns = [field.name for field in candidates.schema if pa.types.is_binary(field.type)]
    names = [name for name in OF_NAMES if name in candidates.column_names]
    if not columns:
        raise ConfigError("the candidates have no maps: their detector has no column of bytes; `lines` has one with maps = true")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for column in columns:
        for row, record in enumerate(candidates.select([*names, column]).to_pylist()):
            if record[column]:
                stem = file_stem(row, record, *([column] if len(columns) > 1 else []))
                path = folder / (stem + _ending(record[column]))
                path.write_bytes(record[column])
                written.append(path)
    return written


def file_stem(row: int, record: Mapping[str, Any], *more: str) -> str:
    """Return the name of a candidate's file, without an ending: its row in the candidate table and what it is about."""
    parts = [f"{row:06d}", *(record[name] for name in OF_NAMES if name in record), *more]
    return "_".join(filter(None, map(_safe, parts)))


def _safe(text: str) -> str:
    """Return the text as part of a file's name: ASCII letters, digits, `.`, `+` and `-`."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("._")[:LONGEST]


def _ending(content: bytes) -> str:
    if content.startswith(GZIP):
        return ".fits.gz"
    return ".fits" if content.startswith(FITS) else ".bin"
