"""What a page is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysearch.model import Footprint
from raysearch.report.stamps import numbers

SEARCHED = ("detected", "nothing")
"""Outcomes of observations that were searched."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What was matched, each target once, in the order in which the work list names them."""

    names: pa.Array
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    redshift: NDArray[np.float64]
    observations: NDArray[np.int64]
    """How many hold it."""
    searched: NDArray[np.int64]
    """How many of these were searched."""

    @classmethod
    def of(cls, lists: pa.ChunkedArray, searched: NDArray[np.bool_]) -> Targets:
        """Return the targets of the work list's column; `searched` tells which of its rows were."""
        column = lists.combine_chunks()
        each, parent = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy()
        coded = pc.dictionary_encode(pc.struct_field(each, "name"))
        number = coded.indices.to_numpy()
        first = np.unique(number, return_index=True)[1]
        values = (np.asarray(pc.struct_field(each, name))[first] for name in ("ra", "dec", "redshift"))
        counts = (np.bincount(chosen, minlength=len(first)) for chosen in (number, number[searched[parent]]))
        return cls(coded.dictionary, *values, *counts)

    def rows(self, names: pa.Array) -> NDArray[np.int64]:
        """Return which of the targets each name is; -1 for none of them."""
        return rows_of(names, self.names)


def rows_of(names: pa.ChunkedArray | pa.Array, among: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """Return the row of each name in a column; -1 where it is not there."""
    return np.asarray(pc.fill_null(pc.index_in(names, among), -1), dtype=np.int64)


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
    footprint: Callable[[str], Footprint] = field(default=lambda _: Footprint(()))
    """Returns what an s_region tells; a footprint without shapes where it cannot be parsed."""
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

    def rows(self, names: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
        """Return the row of each of these observations in the work list; -1 of one that is not there."""
        return rows_of(names, self.observations["obs_id"])

    @cached_property
    def ended(self) -> NDArray[np.int64]:
        """Row of each observation in the table of outcomes; -1 of those that have not ended."""
        return rows_of(self.observations["obs_id"], self.outcomes["obs_id"])

    @cached_property
    def searched(self) -> NDArray[np.bool_]:
        """Whether each observation was searched."""
        names = self.outcomes["obs_id"].filter(pc.is_in(self.outcomes["status"], pa.array(SEARCHED)))
        return np.asarray(pc.is_in(self.observations["obs_id"], names))

    @cached_property
    def targets(self) -> Targets:
        """The targets matched."""
        return Targets.of(self.observations["targets"], self.searched)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """For each candidate, which of its observation's it is, counted from 0."""
        return numbers(self.candidates)

    @cached_property
    def names(self) -> list[str]:
        """A name for each candidate that stays, however far the run is: its observation and its number there."""
        obs_ids = self.candidates["obs_id"].to_pylist()
        return [f"{name}#{number}" for name, number in zip(obs_ids, self.numbers.tolist(), strict=True)]

    def column(self, table: pa.Table, name: str, default: Any = None) -> list[Any]:
        """Return a column's values, or the default for every row where the table has no such column."""
        return table[name].to_pylist() if name in table.column_names else [default] * table.num_rows
