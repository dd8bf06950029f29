"""One row for each product, whatever the service: known columns in their types, ids that are unique, names that do not clash."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from raysearch.archives.obscore import conform
from raysearch.errors import ArchiveError
from raysearch.model import WORK_SCHEMA

OBSERVED = (
    *("obs_id", "obs_collection", "instrument_name", "target_name", "dataproduct_type", "calib_level", "s_ra", "s_dec", "s_region"),
    *("em_min", "em_max", "t_min", "t_max", "t_exptime", "t_obs_release", "access_url", "access_format", "cloud_access"),
)
"""The columns that are always there; the service's others follow."""

_IDENTITY = ("obs_id", "obs_publisher_did", "access_url")
_SHARED = frozenset({"obs_id", "s_region", "em_min", "em_max"})
_MJD_EPOCH = np.datetime64("1858-11-17", "us")


def as_products(service: str, table: pa.Table) -> pa.Table:
    """Return a service's ObsCore-like rows as an `Archive` gives them: one for each product, sorted by `obs_id`.

    An `obs_id` often stands for several products. Where the publisher's identifier goes on from it (`ivo://publisher?obs_id/part`),
    that names the product; otherwise the file's name tells those apart that share one. The service's own is then in
    `archive_obs_id`, as any column is whose name has another meaning here.

    Raises
    ------
    ArchiveError
        A column that ObsCore knows holds values of another type, or a row says nothing of what it is.
    """
    names = [f"archive_{name}" if name in set(WORK_SCHEMA.names) - _SHARED else name for name in table.column_names]
    table = _with_release(table.rename_columns(names))
    try:
        table = conform(table, OBSERVED)
    except pa.ArrowException as exc:
        raise ArchiveError(f"{service} gives values of an unexpected type in a column of ObsCore: {exc}") from exc
    table = _with_footprints(first_of_each(table, _IDENTITY))
    ids = _ids(service, table)
    if ids != table["obs_id"].to_pylist():
        table = table.append_column("archive_obs_id", table["obs_id"])
    return table.set_column(0, "obs_id", pa.array(ids, pa.string())).sort_by("obs_id")


def first_of_each(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the first row for each combination of values in those of the columns that there are."""
    columns = [table[name].to_pylist() for name in names if name in table.column_names]
    first = {key: row for row, key in reversed(list(enumerate(zip(*columns, strict=True))))}
    return table.take(pa.array(sorted(first.values()), pa.int64()))


def file_name(url: str) -> str:
    """Return the last part of an address's path; the whole address where it has a query, which then tells the file."""
    parts = urlsplit(url)
    return url if parts.query else PurePosixPath(parts.path).name


def _ids(service: str, table: pa.Table) -> list[str]:
    """Return a name for each row, each once."""
    given = table["obs_id"].to_pylist()
    dids = table["obs_publisher_did"].to_pylist() if "obs_publisher_did" in table.column_names else [None] * len(given)
    urls = [url or "" for url in table["access_url"].to_pylist()]
    ids = [_own_id(obs_id or "", did or "") or file_name(url) for obs_id, did, url in zip(given, dids, urls, strict=True)]
    if nameless := ids.count(""):
        raise ArchiveError(f"{service} gave {nameless:,} rows with neither obs_id, obs_publisher_did nor access_url")
    for telling in (file_name, str):
        shared = Counter(ids)
        ids = [f"{own} {telling(url)}" if shared[own] > 1 and url else own for own, url in zip(ids, urls, strict=True)]
    return _numbered(ids)


def _own_id(obs_id: str, did: str) -> str:
    local = did.partition("?")[2]
    return local if local.startswith(f"{obs_id}/") or (local and not obs_id) else obs_id or did


def _numbered(ids: list[str]) -> list[str]:
    """Return the ids, those that come again with a number: products that only the service can tell apart."""
    seen: Counter[str] = Counter()
    numbered = []
    for own in ids:
        seen[own] += 1
        numbered.append(own if seen[own] == 1 else f"{own} ({seen[own]})")
    return numbered


def _with_release(table: pa.Table) -> pa.Table:
    """Return the table with `t_obs_release` (MJD), from ObsCore's `obs_release_date` (ISO 8601) where only that is given."""
    if "obs_release_date" not in table.column_names or "t_obs_release" in table.column_names:
        return table
    return table.append_column(
        "t_obs_release", pa.array([_mjd(text) for text in table["obs_release_date"].to_pylist()], pa.float64())
    )


def _with_footprints(table: pa.Table) -> pa.Table:
    """Return the table with a circle where a row has no `s_region`, but a centre and `s_fov`, the diameter of what it covers."""
    if "s_fov" not in table.column_names:
        return table
    cells = zip(*(table[name].to_pylist() for name in ("s_region", "s_ra", "s_dec", "s_fov")), strict=True)
    regions = [
        region or (None if None in {ra, dec} or not fov or fov <= 0.0 else f"CIRCLE ICRS {ra!r} {dec!r} {fov / 2.0!r}")
        for region, ra, dec, fov in cells
    ]
    return table.set_column(table.column_names.index("s_region"), "s_region", pa.array(regions, pa.string()))


def _mjd(text: object) -> float | None:
    try:
        return float((np.datetime64(str(text).removesuffix("Z"), "us") - _MJD_EPOCH) / np.timedelta64(1, "D")) if text else None
    except ValueError:
        return None
