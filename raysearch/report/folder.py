"""What a page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from raysearch.model import Footprint
from raysearch.report.stamps import numbers


@dataclass(frozen=True)
class Run:
    """A run folder's tables, of a finished run or of one under way."""

    path: str
    """The folder as the user names it: commands in the page say it."""
    search: Mapping[str, Any]
    """The effective search, as search.toml holds it."""
    search_toml: str
    about: Mapping[str, Any]
    """What run.json says."""
    observations: pa.Table
    """The work list."""
    outcomes: pa.Table
    candidates: pa.Table
    limits: pa.Table
    last_part: str = ""
    """When the last results were written, ISO 8601 UTC; empty where there are none."""
    footprints: Mapping[str, Footprint] = field(default_factory=dict)
    """Of each observation whose s_region can be parsed."""
    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What somebody thinks of candidates, by their names (see `marks.py`)."""
    sources: Mapping[int, str] = field(default_factory=dict)
    """Of a search of pairs: rows of the candidates that stand for a merged source, and its name."""

    @property
    def kind(self) -> str:
        """What was searched: `lines`, `images` or `pairs`."""
        if self.search.get("lines", {}).get("list") or "line" in self.candidates.column_names:
            return "lines"
        return "pairs" if self.search.get("images", {}).get("bands") else "images"

    @property
    def noun(self) -> str:
        """What one record is: a candidate, a cutout, a source."""
        if "cutout" in self.candidates.column_names:
            return "cutout"
        return "source" if self.kind == "pairs" else "candidate"

    @property
    def key(self) -> str:
        """Names this run among all: marks are kept under it."""
        return f"{self.about.get('config_hash', '')}:{self.about.get('started', '')}"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return bool(self.about.get("finished"))

    @cached_property
    def place(self) -> dict[str, int]:
        """Row of each observation in the work list."""
        return {name: row for row, name in enumerate(self.observations["obs_id"].to_pylist())}

    @cached_property
    def numbers(self) -> list[int]:
        """For each candidate, which of its observation's it is, counted from 0."""
        return numbers(self.candidates)

    @cached_property
    def names(self) -> list[str]:
        """A name for each candidate that stays, however far the run is: its observation and its number there."""
        return [f"{name}#{number}" for name, number in zip(self.candidates["obs_id"].to_pylist(), self.numbers, strict=True)]

    def column(self, table: pa.Table, name: str, default: Any = None) -> list[Any]:
        """Return a column's values, or the default for every row where the table has no such column."""
        return table[name].to_pylist() if name in table.column_names else [default] * table.num_rows
