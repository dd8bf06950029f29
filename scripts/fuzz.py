"""Many broken inputs for every reader of what others wrote: none may end as anything but a result or an error of ours, in time.

One line for each subject: cases, how they ended, the slowest. Inputs that did not end so are kept in a folder, and the exit status
is 1. `--atheris` lets libFuzzer look for inputs that reach new code (`pip install atheris`; of one subject, until `--cases`).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
import traceback
from pathlib import Path

if "--atheris" in sys.argv:  # what is imported meanwhile tells libFuzzer which of its code is reached
    import atheris  # type: ignore[import-not-found, unused-ignore]

    with atheris.instrument_imports(include=["raysearch"]):
        import raysearch.testing.fuzzing  # noqa: F401

from raysearch.testing.fuzzing import SECONDS, SUBJECTS, Fault, Subject, Tally, fuzz, limit_memory, run


def main() -> int:
    """Run the subjects asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", metavar="subject", help=f"of {', '.join(SUBJECTS)}; all if none is named")
    parser.add_argument("--cases", type=int, default=1000, help="of each subject")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same cases")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for inputs that did not end as they should")
    parser.add_argument("--again", type=Path, help="run the inputs kept in this folder, instead of new ones")
    parser.add_argument("--atheris", action="store_true", help="let libFuzzer choose the inputs of one subject")
    options = parser.parse_args()
    if unknown := [name for name in options.subjects if name not in SUBJECTS]:
        parser.error(f"no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    subjects = [SUBJECTS[name] for name in options.subjects or SUBJECTS]
    if options.atheris:
        return _guided(subjects[0], options.cases, options.seed, options.keep)
    limit_memory()
    again, cases = options.again, options.cases
    tallies = [_again(subject, again) if again else _many(subject, cases, options.seed) for subject in subjects]
    for tally in tallies:
        for fault in tally.faults:
            _say(fault, options.keep)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(tally.cases for tally in tallies):,} cases; {largest:,.0f} MB of memory at most")
    return int(any(tally.faults for tally in tallies))


def _many(subject: Subject, cases: int, seed: int) -> Tally:
    began = time.monotonic()
    tally = fuzz(subject, cases, seed)
    _report(tally, time.monotonic() - began)
    return tally


def _again(subject: Subject, folder: Path) -> Tally:
    began = time.monotonic()
    tally = run(subject, (path.read_bytes() for path in sorted(folder.glob(f"{subject.name}-*"))))
    _report(tally, time.monotonic() - began)
    return tally


def _report(tally: Tally, seconds: float) -> None:
    endings = ", ".join(f"{count:,} {ending}" for ending, count in tally.endings.most_common())
    spent = f"in {seconds:,.0f} s, the slowest {tally.slowest_s:.2f} s"
    print(f"{tally.subject:<10} {tally.cases:>9,} cases {spent}: {endings}", flush=True)


def _say(fault: Fault, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{fault.subject}-{hashlib.sha256(fault.data).hexdigest()[:12]}"
    path.write_bytes(fault.data)
    told = "".join(traceback.format_exception(fault.error)[-3:])
    print(f"\n{path}:\n{told}")


def _guided(subject: Subject, cases: int, seed: int, keep: Path) -> int:
    """Let libFuzzer change inputs by what code they reach; it ends the process at the first fault."""
    corpus = keep / f"corpus-{subject.name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for case in range(64):
        (corpus / f"{case:03d}").write_bytes(subject.make(random.Random(f"{seed} {case}")))
    tally = Tally(subject.name)

    def one(data: bytes) -> None:
        tally.take(subject, data)
        if tally.faults:
            _say(tally.faults[0], keep)
            raise tally.faults[0].error

    limits = [f"-runs={cases}", f"-seed={seed + 1}", f"-timeout={SECONDS:.0f}", "-rss_limit_mb=4096", "-max_len=500000"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
