"""What a crash of the machine, or a hand, has damaged in a local run folder is found when a run goes on, and done anew.

Files are synced before they get their names; but a disk may lie about that, and people copy and rename. A part that is cut short,
filled with zeros or holds other observations than its shards' is removed, whereupon these are searched again. Nothing that can be
read and is right is touched. In S3 a file is wholly there or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from raysearch.engine.files import Place, map_arrow, sound
from raysearch.engine.parts import CANDIDATES, FIGURES, OUTCOMES, Part, conforms, parts


def mend(folder: Place, work: pa.Table, shard_size: int, schemas: Mapping[str, pa.Schema]) -> list[str]:
    """Remove the damaged parts of a run folder, and return a sentence for each.

    Parameters
    ----------
    work
        The run's work list.
    shard_size
        Observations in a shard.
    schemas
        What the parts of each kind hold.

    Raises
    ------
    RunFolderError
        A part cannot be read, or not be removed.
    """
    return list(_mended(folder, work, shard_size, schemas)) if isinstance(folder, Path) else []


def _mended(folder: Path, work: pa.Table, shard_size: int, schemas: Mapping[str, pa.Schema]) -> Iterator[str]:
    counted = parts(folder).counted
    for kind in (OUTCOMES, CANDIDATES, FIGURES):
        for part in counted[kind]:
            if not sound(part.path):
                what = "is damaged"
            elif not conforms(map_arrow(part.path), schemas[kind], part):
                what = "holds what raysearch did not write"
            elif kind == OUTCOMES and not _holds(part, work, shard_size):
                what = "holds other observations than it should"
            else:
                continue
            part.path.unlink()
            cure = f"`raysearch report {folder} --redraw` draws them" if kind == FIGURES else "its observations are searched again"
            yield f"{kind}/{part.path.name} {what}: {cure}"


def _holds(part: Part, work: pa.Table, shard_size: int) -> bool:
    """Return whether a part of outcomes has a row for each observation of its shards, in their order."""
    rows = work["obs_id"].slice(part.first * shard_size, len(part.shards) * shard_size)
    found = map_arrow(part.path)
    return "obs_id" in found.column_names and bool(found["obs_id"].equals(rows))
