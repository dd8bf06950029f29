"""`raysearch status`: how a run stands, for people and, with `--json`, for programs.

Exit status: 0 finished, and nothing failed; 1 finished, and some observations failed; 2 no run folder, or one that cannot be read;
3 at work; 4 broken off.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import config
from .engine.folder.ledger import RUN, SEARCH
from .engine.folder.state import State, Why, read_state
from .engine.progress import readable_bytes, readable_seconds
from .errors import RaysearchError
from .products import SPECTRA

SHOWN_REASONS = 20
SHOWN_HOSTS = 5
OLD_S = 60.0
"""A run at work that has not told of itself for so long is remarked upon."""


def status(options: argparse.Namespace) -> int:
    """Print how the run of a folder stands, and that of the spectra of its sources; return the exit status."""
    states = [read_state(options.dir)]
    if (options.dir / SPECTRA / RUN).exists():
        states.append(read_state(options.dir / SPECTRA))
    now = datetime.now(UTC)
    if options.json:
        first, *nested = (as_json(state, now) for state in states)
        print(json.dumps({**first, "spectra": nested[0] if nested else None}, indent=2, ensure_ascii=False))
    else:
        for state in states:
            print("\n".join(lines(state, now)))
    return max(map(_exit_status, states))


def _exit_status(state: State) -> int:
    if state.how == "finished":
        return 1 if state.totals.by_status["failed"] else 0
    return 3 if state.how == "at work" else 4


def as_json(state: State, now: datetime) -> dict[str, Any]:
    """Return the numbers of a state as JSON values; None where one cannot be told."""
    totals, progress = state.totals, state.progress
    return {
        "folder": str(state.folder),
        "name": state.run.get("name", ""),
        "config_hash": state.run.get("config_hash", ""),
        "state": state.how,
        "ended": progress.get("state", "") if state.how != "at work" else "",
        "why": progress.get("reason", ""),
        "started": state.run.get("started"),
        "finished": state.run.get("finished"),
        "seconds": state.seconds,
        **totals.counts,
        "left": totals.left,
        "busy_share": _rounded(state.busy),
        "observations_per_second": _rounded(state.rate),
        "shards": state.shards,
        "shards_left": state.shards_left,
        **{name: progress.get(name) for name in ("shards_out", "detectors", "loaders", "nodes", "doing")},
        "last_commit": state.last_commit.isoformat() if state.last_commit else None,
        "told": state.told.isoformat() if state.told else None,
        "told_seconds_ago": _ago(state.told, now),
        "reasons": [
            {"status": why.status, "count": why.count, "reason": why.reason, "obs_id": why.obs_id} for why in state.reasons
        ],
    }


def lines(state: State, now: datetime) -> Iterator[str]:
    """Yield what is said of a state."""
    totals = state.totals
    yield f"search {state.run.get('name', '')} ({state.run.get('config_hash', '')}), {_how(state, now)}"
    if state.how == "broken off":
        yield f"  {_how_to_go_on(state)}"
    yield ""
    counts = "  ".join(f"{name} {count:,}" for name, count in totals.by_status.items())
    yield f"ledger: {counts}  = {totals.done:,} of {totals.observations:,} observations"
    yield f"found {totals.candidates:,} candidates" + _speed(state)
    yield f"read {readable_bytes(totals.bytes_read)} in {totals.requests:,} requests{_retries(state)}"
    if totals.detect_seconds:
        yield f"detectors worked for {readable_seconds(totals.detect_seconds + totals.figures_seconds)}{_busy(state)}"
    if state.how != "finished":
        yield _queue(state, now)
    yield from _reasons(state.reasons)


def _how(state: State, now: datetime) -> str:
    took = f" after {readable_seconds(state.seconds)} of work" if state.seconds else ""
    if state.how == "finished":
        return f"finished {state.run['finished']}{took}"
    last = f"; the last shard was committed {_ago_told(state.last_commit, now)}" if state.last_commit else ""
    if state.how == "at work":
        doing = state.progress.get("doing", "")
        return f"at work{last}" + (f": {doing}" if doing else "")
    ended = {
        "stopped": "stopped by Ctrl-C",
        "failed": f"ended with an error: {state.progress.get('reason', '')}",
        "running": "its process died",
    }.get(state.progress.get("state", ""), "not finished, and nobody is at work")
    return f"{ended}{took}{last}"


def _how_to_go_on(state: State) -> str:
    """Return the command that goes on with a broken-off run."""
    try:
        same = config.load(state.folder / SEARCH).hash == state.run.get("config_hash")
    except (RaysearchError, OSError):
        same = False
    if not same or state.run.get("since") or not isinstance(state.folder, Path):
        return "the same command as before goes on from here; what is done is kept"
    beyond = state.run.get("funnel", {}).get("beyond_limit")
    words = ["raysearch", "run", str(state.folder / SEARCH), "--out", str(state.folder)]
    return "go on with: " + shlex.join([*words, *(["--limit", str(state.totals.observations)] if beyond else [])])


def _speed(state: State) -> str:
    if not state.rate:
        return ""
    left = state.totals.left / state.rate
    return f", {state.rate:,.3g} observations/s" + (
        f", {readable_seconds(left)} left" if state.how == "at work" and state.totals.left else ""
    )


def _retries(state: State) -> str:
    retries = state.totals.retries
    if not retries:
        return ""
    told = [f"{host} {count:,}" for host, count in list(retries.items())[:SHOWN_HOSTS]]
    more = [f"{len(retries) - SHOWN_HOSTS:,} hosts more"] if len(retries) > SHOWN_HOSTS else []
    return f", {sum(retries.values()):,} of them sent again: {', '.join(told + more)}"


def _busy(state: State) -> str:
    figures = state.totals.figures_seconds
    drawing = f", {readable_seconds(figures)} of it drawing figures" if figures else ""
    return drawing + (f"; {state.busy:.0%} of the time that they were there" if state.busy is not None else "")


def _queue(state: State, now: datetime) -> str:
    """Return what is left, and who is at it."""
    left = f"left: {state.totals.left:,} observations in {state.shards_left:,} of {state.shards:,} shards"
    told = state.progress
    if state.how != "at work" or not told:
        return left
    old = f" (told {_ago_told(state.told, now)})" if (_ago(state.told, now) or 0.0) > OLD_S else ""
    if not told["detectors"]:
        return f"{left}; no detector is at work{old}"
    who = ", ".join(_counted(told[name], name) for name in ("detectors", "loaders", "nodes"))
    return f"{left}, {told['shards_out']:,} of them in hand; at work: {who}{old}"


def _counted(count: int, names: str) -> str:
    return f"{count:,} {names.removesuffix('s') if count == 1 else names}"


def _reasons(reasons: tuple[Why, ...]) -> Iterator[str]:
    for why in reasons[:SHOWN_REASONS]:
        whose = "" if why.obs_id in why.reason and why.alike else f" ({why.obs_id})"
        yield f"  {why.status} {why.count:>4}: {why.reason}{whose}" + ("" if why.alike else " and others like it")
    if len(reasons) > SHOWN_REASONS:
        yield (
            f"  and {len(reasons) - SHOWN_REASONS:,} kinds of reasons more; raysearch export DIR outcomes.csv --table outcomes "
            "has them all"
        )


def _ago(then: datetime | None, now: datetime) -> float | None:
    return max(0.0, round((now - then).total_seconds(), 1)) if then else None


def _ago_told(then: datetime | None, now: datetime) -> str:
    return f"{readable_seconds(_ago(then, now) or 0.0)} ago"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
