"""Which shard is handed out next, and what becomes of those whose worker died. Pure bookkeeping: no Ray, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pyarrow as pa

from raysearch.engine.job import failed
from raysearch.engine.records import outcome_table
from raysearch.model import FIGURE_SCHEMA, observations_from_arrow

TRIES = 3
"""Times a shard may lose its worker, nobody knows by which row, before its rows are tried one by one."""
ROW_TRIES = 2
"""Times a row alone may lose its worker before it has failed."""


@dataclass(frozen=True, eq=False, slots=True)
class Attempt:
    """A shard, or some rows of it in a run, to be handed to a worker."""

    shard: int
    rows: pa.Table
    first: int = 0
    """Which row of the shard is the first of these."""
    suspect: bool = False
    """Whether this is one row, which may be what kills workers."""
    deaths: int = 0
    """Workers lost with these very rows so far."""

    @property
    def alone(self) -> bool:
        """Whether nothing else may run meanwhile, so that the blame for one more death is certain."""
        return self.suspect or self.deaths == TRIES - 1


@dataclass(frozen=True, slots=True)
class Blame:
    """Whose fault it was that a worker died, as far as its last words tell."""

    row: int | None
    """Which row of the attempt; None: something else than this attempt."""
    reason: str = ""
    """What it did; empty where nobody knows."""
    certain: bool = False
    """Whether the row has failed without another try; else it is only a suspect."""


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """A shard's tables."""

    shard: int
    candidates: pa.Table
    outcomes: pa.Table
    figures: pa.Table


class Backlog:
    """Hands out the shards in order; one whose worker died comes again, without the row that did it, or row by row."""

    def __init__(self, shards: Iterator[tuple[int, pa.Table]], candidate_schema: pa.Schema) -> None:
        self._shards = shards
        self._schema = candidate_schema
        self._suspects: deque[Attempt] = deque()
        self._out: set[Attempt] = set()
        # Of each shard that was split: the first row of every piece, and what came of it.
        self._pieces: dict[int, dict[int, Result | None]] = {}

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
        if attempt.shard not in self._pieces:
            return result
        pieces = self._pieces[attempt.shard]
        pieces[attempt.first] = result
        ended = [piece for _, piece in sorted(pieces.items(), key=lambda item: item[0]) if piece is not None]
        if len(ended) < len(pieces):
            return None
        del self._pieces[attempt.shard]
        tables = ([getattr(piece, name) for piece in ended] for name in ("candidates", "outcomes", "figures"))
        return Result(attempt.shard, *map(pa.concat_tables, tables))

    def died(self, attempt: Attempt, why: str, blame: Blame | None = None) -> Result | None:
        """Take back what lost its worker; return the shard's tables if a row has thereby failed, and was the last of it."""
        self._out.discard(attempt)
        if blame is None or (attempt.suspect and blame.row is not None and not blame.certain):
            return self._counted(replace(attempt, deaths=attempt.deaths + 1), why, blame)
        if blame.row is None:
            self._suspects.append(attempt)
            return None
        row = self._isolated(attempt, blame.row)
        if blame.certain:
            return self._failed(row, blame.reason)
        self._suspects.append(row)
        return None

    def _counted(self, attempt: Attempt, why: str, blame: Blame | None) -> Result | None:
        """Try again what may have killed its worker, as often as it may."""
        if attempt.suspect and attempt.deaths >= ROW_TRIES:
            known = blame.reason if blame else ""
            return self._failed(attempt, known or f"the worker died {attempt.deaths} times on this observation alone: {why}")
        if not attempt.suspect and attempt.deaths >= TRIES:
            rows = self._split(attempt, range(len(attempt.rows) + 1))
            self._suspects.extend(replace(row, suspect=True) for row in rows)
        else:
            self._suspects.append(attempt)
        return None

    def _failed(self, attempt: Attempt, reason: str) -> Result | None:
        (observation,) = observations_from_arrow(attempt.rows)
        outcomes = outcome_table([failed(observation, reason)])
        return self.finished(attempt, self._schema.empty_table(), outcomes, FIGURE_SCHEMA.empty_table())

    def _isolated(self, attempt: Attempt, row: int) -> Attempt:
        """Return the row as a suspect; what stands before and after it comes again without it."""
        pieces = self._split(attempt, [0, row, row + 1, len(attempt.rows)])
        suspect = next(piece for piece in pieces if piece.first == attempt.first + row)
        self._suspects.extend(piece for piece in pieces if piece is not suspect)
        return replace(suspect, suspect=True)

    def _split(self, attempt: Attempt, cuts: Sequence[int]) -> list[Attempt]:
        """Return the attempt in pieces, each from one of these rows to before the next; of equal cuts comes none."""
        pieces = [
            Attempt(attempt.shard, attempt.rows.slice(start, end - start), attempt.first + start)
            for start, end in pairwise(cuts)
            if start < end
        ]
        known = self._pieces.setdefault(attempt.shard, {})
        known.pop(attempt.first, None)
        known.update(dict.fromkeys(piece.first for piece in pieces))
        return pieces
