"""What came of the search in numbers: the funnel, the reasons, and what it cost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysearch.model import STATUSES
from raysearch.report.folder import Run

_ADDRESS = re.compile(r"\b(?:s3|https?|file)://\S+?(?=:? |$)")
_PLACE = "^[^:/?#]+://"
_NUMBER = re.compile(r"\d[\d.,]*")

_MEANING = {
    "detected": "with candidates",
    "nothing": "searched, nothing found",
    "skipped": "skipped",
    "failed": "failed",
    "waiting": "not done yet",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why observations were not searched."""

    number: int
    """Counted from 0 over all reasons: what the rows of the page refer to."""
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """One number of the funnel."""

    key: str
    label: str
    count: int
    sign: str = ""
    """`-` for what is taken off the number above; `=` for what is left; `+` for a part of the number above."""
    unit: str = "observations"
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """What one place delivered."""

    name: str
    observations: int
    bytes_read: int
    requests: int
    seconds: float


def steps(run: Run) -> list[Step]:
    """Return the funnel from targets and archive to the observations of this run by outcome; each `=` follows from those above."""
    told: Mapping[str, int] = run.about.get("funnel", {})
    listed = run.observations.num_rows
    found = [Step("targets", "targets asked about", told.get("targets", 0), unit="targets")] if "targets" in told else []
    if {"archive_rows", "matched", "no_footprint"} <= told.keys():
        found += _matched(told, listed)
    found.append(Step("observations", "observations in this run", listed, "="))
    counts, reasons = by_status(run), reasons_of(run)[0]
    found += [
        Step(status, _MEANING[status], counts[status], "+", reasons=tuple(reasons.get(status, ())))
        for status in (*STATUSES, "waiting")
        if status != "waiting" or counts[status]
    ]
    return found


def _matched(told: Mapping[str, int], listed: int) -> list[Step]:
    """Return the steps from the archive to the work list, as far as they add up to it."""
    asked, matched, untold = told["archive_rows"], told["matched"], told["no_footprint"]
    left, beyond = told.get("left_out", 0), told.get("beyond_limit", 0)
    found = [Step("archive", "observations the archive lists", asked)]
    if asked - matched - untold:
        found.append(Step("unmatched", "hold no target", asked - matched - untold, "-"))
    found.append(Step("matched", "hold a target", matched, "="))
    if untold:
        found.append(Step("no_footprint", "whose footprint cannot be read (listed, and skipped)", untold, "+"))
    paired, unpaired, pairs = told.get("paired", 0), told.get("unpaired", 0), told.get("pairs", 0)
    if "pairs" in told:
        found.append(Step("unpaired", "in no pair of images", unpaired, "-"))
        found.append(Step("paired", "in one pair or more", paired, "-"))
        found.append(Step("pairs", "pairs of these", pairs, "+"))
    if left:
        found.append(Step("left_out", "settled by an earlier run", left, "-"))
    if beyond:
        found.append(Step("beyond_limit", "beyond the limit asked for", beyond, "-"))
    return found if matched + untold - unpaired - paired + pairs - left - beyond == listed else found[:1]


def by_status(run: Run) -> dict[str, int]:
    """Return how many observations ended in which way; `waiting`: those that have not yet."""
    counts = {one["values"]: one["counts"] for one in pc.value_counts(run.outcomes["status"]).to_pylist()}
    return {**dict.fromkeys(STATUSES, 0), **counts, "waiting": run.observations.num_rows - run.outcomes.num_rows}


def reasons_of(run: Run) -> tuple[dict[str, list[Reason]], NDArray[np.int64]]:
    """Return the reasons of each status, the most frequent first, and for each outcome its reason's number, -1 without one.

    Reasons that differ in addresses and numbers only are one.
    """
    grouped: dict[tuple[str, str], list[int]] = {}
    told = np.flatnonzero(np.asarray(pc.not_equal(run.outcomes["reason"], "")))
    columns = [run.outcomes[name].take(pa.array(told)).to_pylist() for name in ("status", "reason", "obs_id")]
    shown: dict[int, str] = {}
    for row, status, reason, obs_id in zip(told.tolist(), *columns, strict=True):
        shown[row] = _told(reason, obs_id)
        grouped.setdefault((status, _NUMBER.sub("…", shown[row])), []).append(row)
    reasons: dict[str, list[Reason]] = {}
    number_of = np.full(run.outcomes.num_rows, -1)
    ordered = sorted(grouped.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1]))
    for number, ((status, general), rows) in enumerate(ordered):
        exact = {shown[row] for row in rows}
        reasons.setdefault(status, []).append(Reason(number, exact.pop() if len(exact) == 1 else general, len(rows)))
        number_of[rows] = number
    return reasons, number_of


def _told(reason: str, obs_id: str) -> str:
    """Return a reason without addresses and names, which its rows tell."""
    return re.sub(r"(?:: )+", ": ", _ADDRESS.sub("", reason).replace(obs_id, "")).strip(": ")


def hosts(run: Run) -> list[Host]:
    """Return what each place delivered, the most bytes first."""
    amounts = ("bytes_read", "requests", "seconds")
    uris = run.outcomes["uri"]
    begins = pc.replace_substring_regex(uris, f"({_PLACE}[^/?#]*).*", r"\1")
    of_files = pc.and_(pc.not_equal(uris, ""), pc.invert(pc.match_substring_regex(uris, _PLACE)))
    table = pa.table({"uri": pc.if_else(of_files, "file", begins), **{name: run.outcomes[name] for name in amounts}})
    summed = table.group_by("uri", use_threads=False).aggregate([("requests", "count"), *((name, "sum") for name in amounts)])
    names = ("uri", "requests_count", *(f"{name}_sum" for name in amounts))
    used: dict[str, list[float]] = {}
    for uri, *values in zip(*(summed[name].to_pylist() for name in names), strict=True):
        sums = used.setdefault(host_of(uri), [0, 0, 0, 0.0])
        for i, value in enumerate(values):
            sums[i] += value
    rows = [Host(name, int(sums[0]), int(sums[1]), int(sums[2]), sums[3]) for name, sums in used.items() if sums[2]]
    return sorted(rows, key=lambda host: -host.bytes_read)


def host_of(uri: str) -> str:
    """Return where an address leads: a bucket, a server, this machine; empty for none."""
    parts = urlsplit(uri)
    if not uri:
        return ""
    if parts.scheme == "s3":
        return f"S3 bucket {parts.netloc}"
    return parts.netloc if parts.scheme in ("http", "https") else "files on this machine"


@dataclass(frozen=True, slots=True)
class Cost:
    """What the run has read, of how much."""

    bytes_read: int
    requests: int
    held: int | None
    """Bytes of the files of those observations of which anything was read; None where nobody tells."""
    held_of: int
    """Of how many observations that is known."""
    read_of: int
    """Of how many observations anything was read."""
    seconds: float
    """From the start to the end, or to the last results of a run that has not ended; NaN where there are none."""


def cost(run: Run) -> Cost:
    """Return what the run has read, beside what the files hold: as the store told on reading, else as the archive says."""
    outcomes, told = run.outcomes, sizes_of(run)
    nbytes, sizes = (outcomes[name].to_numpy() for name in ("bytes_read", "file_bytes"))
    said = np.zeros(outcomes.num_rows)
    said[run.ended[run.ended >= 0]] = told[run.ended >= 0]
    sizes = np.where(sizes > 0, sizes, said)[nbytes > 0]
    return Cost(
        int(nbytes.sum()),
        int(pc.sum(outcomes["requests"]).as_py() or 0),
        int(sizes.sum()) if sizes.any() else None,
        int(np.count_nonzero(sizes)),
        int(np.count_nonzero(nbytes)),
        _seconds(run),
    )


def sizes_of(run: Run) -> NDArray[np.float64]:
    """Return the bytes of each observation's file, as far as the archive tells; 0 where it does not.

    ObsCore's `access_estsize` counts kilobytes of 1000 bytes (ObsCore 1.1, section 4.8); `content_length` (DataLink) and `size`
    (MAST's products) count bytes.
    """
    for name, unit in (("access_estsize", 1000), ("content_length", 1), ("size", 1)):
        if name in run.observations.column_names:
            column = run.observations[name]
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                break
            sizes = np.asarray(column.cast(pa.float64(), safe=False).fill_null(0.0)) * unit
            return np.where(np.isfinite(sizes) & (sizes > 0), np.floor(sizes), 0.0)
    return np.zeros(run.observations.num_rows)


def _seconds(run: Run) -> float:
    from datetime import datetime

    ended = run.about.get("finished") or run.last_part
    if not ended:
        return math.nan
    begun = datetime.fromisoformat(str(run.about["started"]))
    return max((datetime.fromisoformat(ended) - begun).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """How many candidates chance makes."""

    rate: float
    """False candidates expected for each window searched, as asked."""
    windows: int
    """Windows (a line in an observation, at a target's redshift) that ended with a candidate or with a limit."""

    @property
    def expected(self) -> float:
        """False candidates expected among all."""
        return self.rate * self.windows


def false_alarms(run: Run) -> FalseAlarms | None:
    """Return how many false candidates to expect; None of a detector that does not tell its rate."""
    rate = run.search.get("detector", {}).get("false_alarm")
    if run.kind != "lines" or "line" not in run.candidates.column_names or not isinstance(rate, float):
        return None
    limits = run.limits.filter(pc.is_finite(run.limits["flux"]))
    window = np.zeros(run.candidates.num_rows + limits.num_rows, np.int64)
    for name in ("obs_id", "target", "line"):  # numbers instead of texts, which would take ten times the memory
        names = pa.chunked_array([*run.candidates[name].chunks, *limits[name].chunks], pa.string())
        coded = pc.dictionary_encode(names.combine_chunks())
        window = window * len(coded.dictionary) + np.asarray(coded.indices)
    return FalseAlarms(rate, len(np.unique(window)))
