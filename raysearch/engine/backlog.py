"""Which shard is handed out next, and what becomes of those whose worker died. Pure bookkeeping: no Ray, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from raysearch.engine.job import failed
from raysearch.engine.records import outcome_table
from raysearch.model import FIGURE_SCHEMA, observations_from_arrow

TRIES = 3
"""Times a shard may lose its worker before its rows are tried one by one."""
ROW_TRIES = 2
"""Times a row alone may lose its worker before it has failed."""


@dataclass(frozen=True, eq=False, slots=True)
class Attempt:
    """A shard, or one row of it, to be handed to a worker."""

    shard: int
    rows: pa.Table
    row: int | None = None
    """Which row of the shard this is; None for the whole shard."""
    deaths: int = 0
    """Workers lost with it so far."""

    @property
    def alone(self) -> bool:
        """Whether nothing else may run meanwhile, so that the blame for one more death is certain."""
        return self.row is not None or self.deaths == TRIES - 1


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """A shard's tables."""

    shard: int
    candidates: pa.Table
    outcomes: pa.Table
    figures: pa.Table


class Backlog:
    """Hands out the shards in order; a shard whose worker died comes again, then alone, then row by row."""

    def __init__(self, shards: Iterator[tuple[int, pa.Table]], candidate_schema: pa.Schema) -> None:
        self._shards = shards
        self._schema = candidate_schema
        self._suspects: deque[Attempt] = deque()
        self._out: set[Attempt] = set()
        self._pieces: dict[int, list[Result | None]] = {}

    def take(self) -> Attempt | None:
        """Return what to hand out now, or None: nothing is left, or what runs must end first."""
        if any(attempt.alone for attempt in self._out):
            return None
        if self._suspects:
            if self._suspects[0].alone and self._out:
                return None
            attempt = self._suspects.popleft()
        else:
            shard = next(self._shards, None)
            if shard is None:
                return None
            attempt = Attempt(*shard)
        self._out.add(attempt)
        return attempt

    def finished(self, attempt: Attempt, candidates: pa.Table, outcomes: pa.Table, figures: pa.Table) -> Result | None:
        """Return the shard's tables, if this was the last of it."""
        self._out.discard(attempt)
        result = Result(attempt.shard, candidates, outcomes, figures)
        if attempt.row is None:
            return result
        pieces = self._pieces[attempt.shard]
        pieces[attempt.row] = result
        ended = [piece for piece in pieces if piece is not None]
        if len(ended) < len(pieces):
            return None
        del self._pieces[attempt.shard]
        tables = ([getattr(piece, name) for piece in ended] for name in ("candidates", "outcomes", "figures"))
        return Result(attempt.shard, *map(pa.concat_tables, tables))

    def died(self, attempt: Attempt, why: str) -> Result | None:
        """Take back what lost its worker; return the shard's tables if a row has thereby failed, and was the last of it."""
        self._out.discard(attempt)
        deaths = attempt.deaths + 1
        if attempt.row is not None and deaths >= ROW_TRIES:
            (observation,) = observations_from_arrow(attempt.rows)
            outcome = failed(observation, f"the worker died {deaths} times on this observation alone: {why}")
            return self.finished(attempt, self._schema.empty_table(), outcome_table([outcome]), FIGURE_SCHEMA.empty_table())
        if attempt.row is None and deaths >= TRIES:
            self._pieces[attempt.shard] = [None] * len(attempt.rows)
            self._suspects.extend(Attempt(attempt.shard, attempt.rows.slice(row, 1), row) for row in range(len(attempt.rows)))
        else:
            self._suspects.append(Attempt(attempt.shard, attempt.rows, attempt.row, deaths))
        return None
