"""docs/reliability.md: what is promised, how it is tried, and what came out."""

from __future__ import annotations

import math
import os
import platform
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from obedient import SLOWED_S
from rig import BOUND_S, DETECTORS, LINGER_S, OBSERVATIONS

if TYPE_CHECKING:
    from faults import Row

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
WIDTH = 130

TITLES = {
    "processes": "Processes",
    "cluster": "Nodes of a cluster",
    "network": "The network",
    "disk": "The disk",
    "S3 folder": "Run folders in S3",
    "files": "Files",
    "configuration": "Configuration and tables",
}

_PROMISE = """
Every observation ends as exactly one outcome, whatever happens to processes, machines, networks and files, and the tables are
those of an undisturbed run. What cannot be read or searched has `failed`, with the reason; it never becomes `nothing`, and it
costs no other observation. What is broken off goes on with the same command.
"""

_HOW = """
`scripts/faults` tries it and writes this page (`--docs`). Each row runs the program itself, `raysearch run`, as a process of its
own: a search of {observations} cubes of the [embedded archive](testing.md) with {detectors} detectors, the published algorithm
slowed down by {slowed:.0f} ms a cube. Something is done to it from outside, at a moment that is seen from outside: in the run
folder, in the archive's count of requests, or in the trace that the detector leaves of what it looks at. If the moment has passed
by then, the row is tried again, three times at most, and else counts as not passed. Rows of the network run smaller searches
within the script, with every client of the stores at once; damaged inputs are handed to their readers, as `scripts/fuzz` does in
greater number. Moments and observations by chance come from a fixed seed (`--seed`). Rows with a recovery are made one after the
other; those of the network beside those of the disk, of files and of configuration, which have none.

Then every column of `outcomes` and `candidates` is compared with those of an undisturbed run in one process without Ray, but for
measured times and counts of repetitions. **Lost** are observations without an outcome, or of whose candidates some are missing;
**doubled** those with more than one outcome, or a candidate twice; **different** those that ended otherwise or with other
candidates, except observations that were to fail, which must say why. No run may take longer than {bound:.0f} s, or eight times
the undisturbed one, and no process may be left {linger:.0f} s after it. A row that misses any of this is marked, and
`scripts/faults` ends with 1.

**Recovery** is the time from the fault until every shard that was in work then was written. Where the program itself ended, it is
instead (with a sign) by how much all its sessions together took longer than one undisturbed run; starting twice is part of it.
"""

_NOT_COVERED = """
- Jumps of the machine's clock, and machines that sleep or lose power: limits are kept by a clock that does not jump, and files are
  synced before they get their names, but neither was tried.
- Disks that lie: one that loses what it has said to be synced, or returns other bytes than were written.
- The head node of a cluster lost for good: the run ends, and goes on with the same command if the run folder is still there.
- Two faults at once, but for kills that meet the remains of the Ray of the kill before.
- Without Ray (`run.engine = "inline"`) all is one process: a detector that crashes or grows ends the run, which goes on with the
  same command as far as that observation; one that stays in C code for ever is not ended.
- Detectors of one's own that write files or ask services: what they do beside their records may be done twice.
"""


def write(rows: Sequence[Row], seconds: float) -> None:
    """Write the page."""
    bad = sum(row.verdict != "good" for row in rows)
    sums = {name: sum(getattr(row, name) for row in rows) for name in ("lost", "doubled", "different")}
    linger = max((row.linger_s for row in rows if not math.isnan(row.linger_s)), default=0.0)
    verdict = "every row as it should be" if not bad else f"**{bad} rows not as they should be**"
    summary = (
        f"{len(rows)} faults in {seconds / 60:.0f} minutes: {sums['lost']} observations lost, {sums['doubled']} doubled, "
        f"{sums['different']} different; {verdict}. The last process of a run was gone at most {linger:.0f} s after its end. "
        f"{os.cpu_count()} shared cores, Python {platform.python_version()}, Ray {version('ray')}; seconds are this machine's, "
        "and depend on what else it did."
    )
    how = _HOW.format(observations=OBSERVATIONS, detectors=DETECTORS, bound=BOUND_S, linger=LINGER_S, slowed=1000 * SLOWED_S)
    parts = ["# Reliability", _PROMISE.strip(), "## How it is tried", how.strip(), "## What came out", _filled(summary)]
    for area in dict.fromkeys(row.area for row in rows):
        parts += [f"### {TITLES.get(area, area.capitalize())}", _table([row for row in rows if row.area == area])]
    parts += ["## Not covered", _NOT_COVERED.strip()]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(rows: Sequence[Row]) -> str:
    lines = ["| fault | what was done | what came out | lost | doubled | recovery |", "|---|---|---|---|---|---|"]
    for row in rows:
        came = row.came if row.verdict == "good" else f"**{row.verdict}** {row.came}"
        cells = (row.fault, row.done, came, str(row.lost), str(row.doubled), recovery(row))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def recovery(row: Row) -> str:
    """Return how long it took to recover, as the table says it."""
    if not math.isnan(row.recovery_s):
        return f"{row.recovery_s:.1f} s"
    return "" if math.isnan(row.extra_s) else f"{row.extra_s:+.1f} s"


def _filled(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))
