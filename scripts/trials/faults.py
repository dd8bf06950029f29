"""Each fault in a run of a real search, and what came of it, against an undisturbed run of the same search.

One line for each fault; the exit status is 1 where anything was lost, doubled, different or did not end. `--docs` writes the table
into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import buckets
import disk
import inputs
import network
import nodes
import page
import processes
from program import Hung, Missed, Wrong
from rig import FEW, OBSERVATIONS, Came, Rig, Tally, Trial, rig

TRIALS: list[Trial] = [
    *processes.TRIALS,
    *nodes.TRIALS,
    *network.TRIALS,
    *disk.TRIALS,
    *buckets.TRIALS,
    *inputs.TRIALS,
]
TRIES = 3
"""Times to wait for the moment of a fault."""
BESIDE = "network"
WITHOUT_RECOVERY = ("disk", "files", "configuration")
"""Areas whose rows tell no recovery: those of `BESIDE`, which tell none either, are made at the same time."""
AREAS = list(dict.fromkeys(trial.area for trial in TRIALS))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    area: str
    name: str
    fault: str
    done: str
    came: str
    lost: int
    doubled: int
    different: int
    recovery_s: float
    extra_s: float
    linger_s: float
    """After the run's end, until its last process was gone."""
    verdict: str
    """`good`, or what is not."""


def tried(trial: Trial, rig: Rig) -> Row:
    """Make one fault, and return what came of it."""
    came, problems, linger = Came(Tally(), "", ""), [], math.nan
    for attempt in range(1, TRIES + 1):
        try:
            came = trial.run(rig)
        except Missed as missed:
            rig.end_all()
            if attempt < TRIES:
                continue
            problems.append(f"the fault was not made: {missed}")
        except (Hung, Wrong) as wrong:
            rig.end_all()
            problems.append(str(wrong))
        except Exception as odd:  # noqa: BLE001 - such as a run folder that cannot be read: one row costs no other
            rig.end_all()
            problems.append(f"{type(odd).__name__}: {odd}")
        break
    try:
        linger = rig.no_process_left()
    except Hung as hung:
        problems.append(str(hung))
    tally = came.tally
    problems += [f"{count} {what}" for what, count in asdict(tally).items() if count]
    return Row(
        trial.area,
        trial.name,
        trial.fault,
        came.done,
        came.told,
        tally.lost,
        tally.doubled,
        tally.different,
        came.recovery_s,
        came.extra_s,
        linger,
        "; ".join(problems) or "good",
    )


def main() -> int:
    """Make the faults asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--area", action="append", choices=AREAS, help="only these")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"of {', '.join(trial.name for trial in TRIALS)}")
    parser.add_argument("--short", action="store_true", help="a few of them, as the tests do")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--seed", type=int, default=0, help="of every choice by chance")
    options = parser.parse_args()
    chosen = [
        trial
        for trial in TRIALS
        if (not options.area or trial.area in options.area)
        and (not options.only or trial.name in options.only)
        and (not options.short or trial.short)
    ]
    if options.docs and len(chosen) < len(TRIALS):
        parser.error("the page shows every fault: --docs goes with neither --area, --only nor --short")
    began = time.monotonic()
    rows = made(chosen, options.seed, FEW if options.short else OBSERVATIONS)
    bad = [row for row in rows if row.verdict != "good"]
    print(f"{len(rows)} faults in {(time.monotonic() - began) / 60:.1f} minutes, {len(rows) - len(bad)} as they should be")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if options.docs:
        page.write(rows, time.monotonic() - began)
        print(f"page: {page.PAGE}")
    return int(bool(bad))


def made(trials: Sequence[Trial], seed: int, observations: int) -> list[Row]:
    """Make faults and return what came of them, in the order of `TRIALS`; what the network does to searches in a process beside."""
    beside = [trial for trial in trials if trial.area == BESIDE]
    rest = [trial for trial in trials if trial.area in WITHOUT_RECOVERY]
    if not (beside and rest):
        return list(_rows(trials, seed, observations))
    rows = list(_rows([trial for trial in trials if trial not in (*beside, *rest)], seed, observations))
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--seed", str(seed), "--json", str(written)]
        command += [word for trial in beside for word in ("--only", trial.name)]
        with subprocess.Popen(command) as other:
            rows += _rows(rest, seed, observations, [other.pid])
        rows += [Row(**row) for row in json.loads(written.read_text())]
    places = [(trial.area, trial.name) for trial in TRIALS]
    return sorted(rows, key=lambda row: places.index((row.area, row.name)))


def _rows(trials: Sequence[Trial], seed: int, observations: int, beside: Collection[int] = ()) -> Iterator[Row]:
    """Make one fault after the other, say what came of each, and yield it; the runs are kept where one is not as it should be.

    Processes `beside` are none of theirs, and go on.
    """
    if not trials:
        return
    folder = Path(tempfile.mkdtemp(prefix="raysearch-faults-"))
    good = True
    with rig(folder, seed, observations) as set_up:
        set_up.children.update(beside)
        set_up.kept.update(beside)
        for trial in trials:
            began = time.monotonic()
            row = tried(trial, set_up)
            _say(row, time.monotonic() - began)
            good = good and row.verdict == "good"
            yield row
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"its runs, and what they wrote: {folder}")


def _say(row: Row, seconds: float) -> None:
    print(f"{row.area} {row.name} ({seconds:.0f} s): {row.fault}", flush=True)
    print(f"  {row.done}; {row.came}", flush=True)
    counts = f"lost {row.lost}  doubled {row.doubled}  different {row.different}  recovery {page.recovery(row) or '-'}"
    print(f"  {counts}  last process gone after {row.linger_s:.0f} s  -> {row.verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
