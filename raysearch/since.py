"""What is new since an earlier run: which observations need not be searched again.

An observation is left out if the earlier run has settled it and nothing that is known of it has changed since. Settled means
`detected`, `nothing`, or skipped for a reason that the archive or the search gave; one that failed, or that was skipped because of
what its file says, or that nobody had, is taken again. Nothing has changed if the name of its product, its targets with their
redshifts, the reason for which it is skipped, if any, and the columns in `RELEASES` are the same. In doubt it is taken.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from .masking import masked

EARLIER = "earlier.arrow"
"""In a run folder: the observations that were left out of it."""

EARLIER_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
    ]
)
"""How each observation ended, where, and a hash of what was known of it then."""

RELEASES = (
    *("t_obs_release", "obs_release_date", "dataRights", "data_rights", "calib_level", "t_max", "t_exptime", "em_min", "em_max"),
    *("provenance_version", "proc_version", "cal_ver", "version", "last_modified", "lastModified", "update_date"),
    *("access_estsize", "content_length", "size", "file_modified"),
)
"""Columns by which archives, and tables of one's own, say that a product is another than before."""


def settled(work: pa.Table, outcomes: pa.Table, earlier: pa.Table, folder: str) -> pa.Table:
    """Return what a run and those before it have settled, with `EARLIER_SCHEMA`.

    Parameters
    ----------
    work, outcomes
        The run's work list, and what it has done of it.
    earlier
        What was left out of it.
    folder
        What the run is called.
    """
    status_of = dict(zip(outcomes["obs_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True))
    own, rows = set(), []
    for row in _rows(work):
        status = status_of.get(row["obs_id"], "")
        own.add(row["obs_id"])
        if status in {"detected", "nothing"} or (status == "skipped" and row["skip"]):
            rows.append({"obs_id": row["obs_id"], "status": status, "fingerprint": fingerprint(row), "folder": folder})
    rows += [row for row in earlier.to_pylist() if row["obs_id"] not in own]
    return pa.Table.from_pylist(rows, schema=EARLIER_SCHEMA)


def split(work: pa.Table, before: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the rows of a work list that are to be searched, and those of `before` that stand for the others."""
    known = {(row["obs_id"], row["fingerprint"]): number for number, row in enumerate(before.to_pylist())}
    found = [known.get((row["obs_id"], fingerprint(row))) for row in _rows(work)]
    new = pa.array([number is None for number in found], pa.bool_())
    return work.filter(new), before.take(pa.array([number for number in found if number is not None], pa.int64()))


def counts(earlier: pa.Table) -> dict[str, int]:
    """Return how many observations were left out, by how they had ended."""
    return dict(sorted(Counter(earlier["status"].to_pylist()).items()))


def fingerprint(row: dict[str, Any]) -> str:
    """Return a hash of what is known of an observation, a row of a work list as Python values."""
    return hashlib.sha256(json.dumps(dict(_known(row)), sort_keys=True, default=str).encode()).hexdigest()[:16]


def _rows(work: pa.Table) -> list[dict[str, Any]]:
    names = ("obs_id", "uris", "partner", "targets", "skip", *RELEASES)
    rows: list[dict[str, Any]] = work.select([name for name in names if name in work.column_names]).to_pylist()
    return rows


def _known(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "product", PurePosixPath(masked(row["uris"][0])).name if row["uris"] else ""
    if row.get("partner"):
        yield "partner", PurePosixPath(masked(row["partner"][0])).name
    yield "targets", sorted((target["name"], target["ra"], target["dec"], target["redshift"]) for target in row["targets"])
    yield "skip", row["skip"]
    for name in RELEASES:
        if row.get(name) is not None:
            yield name, row[name]
