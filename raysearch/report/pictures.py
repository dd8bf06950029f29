"""The figures of candidates as files that a page loads when it needs them: scripts, for a page on disk can load nothing else.

Candidates that the page shows beside each other, because they are about as significant, share a file: one for each would be ten
thousand files, and one for all too large to wait for.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysearch.report.embed import script_json

FOLDER = "figures"
TOGETHER = 8
"""Candidates in a file."""
_OURS = re.compile(r"\d+\.js")

Place = tuple[int, int]
"""An observation's row in the work list, and a candidate's number there (-1: the whole observation)."""


class Pictures:
    """The figures of a run by the candidates that they show.

    Parameters
    ----------
    tables
        Figures as the run folder holds them (`FIGURE_SCHEMA`).
    rows
        Returns the row of each observation in the work list, by its name; -1 where there is none.
    """

    def __init__(self, tables: Sequence[pa.Table], rows: Callable[[pa.ChunkedArray], NDArray[np.int64]]) -> None:
        self._tables = tables
        self._rows: dict[Place, list[tuple[int, int]]] = {}
        for number, table in enumerate(tables):
            places = zip(rows(table["obs_id"]).tolist(), table["candidate"].to_pylist(), strict=True)
            for row, (observation, candidate) in enumerate(places):
                if observation >= 0:
                    self._rows.setdefault((observation, candidate), []).append((number, row))

    def __iter__(self) -> Iterator[Place]:
        return iter(self._rows)

    def bundles(self, order: Sequence[Place]) -> list[list[Place]]:
        """Return which figures are in which file: those of candidates in their order, then those of whole observations."""
        shown = [place for place in order if place in self._rows]
        shown += sorted(place for place in self._rows if place[1] < 0)
        return [shown[start : start + TOGETHER] for start in range(0, len(shown), TOGETHER)]

    def script(self, bundle: Sequence[Place]) -> str:
        """Return the script that hands the figures of some candidates to the page."""
        return "\n".join(
            f"raysearch.figures({script_json(file_key(place))},{script_json(self.records(place))});" for place in bundle
        )

    def records(self, place: Place) -> list[dict[str, Any]]:
        """Return a candidate's figures: name, text alternative, and the SVG compressed by gzip, in base64."""
        records = []
        for number, row in self._rows.get(place, ()):
            (figure,) = self._tables[number].slice(row, 1).select(["name", "alt", "svg"]).to_pylist()
            records.append({**figure, "svg": base64.b64encode(figure["svg"]).decode()})
        return records

    def write(self, folder: Path, order: Sequence[Place]) -> None:
        """Write the files, and remove those of an earlier page that are no more."""
        folder.mkdir(parents=True, exist_ok=True)
        bundles = self.bundles(order)
        keep = {f"{number}.js" for number in range(len(bundles))}
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in keep:
                path.unlink()
        for number, bundle in enumerate(bundles):
            (folder / f"{number}.js").write_text(self.script(bundle), encoding="utf-8")


def file_key(place: Place) -> str:
    """Return how a candidate's figures are called: `12-0`, or `12` for the whole observation."""
    row, number = place
    return str(row) if number < 0 else f"{row}-{number}"
