"""Many broken inputs for every reader of what others wrote: none may end as anything but a result or an error of ours, in time.

One line for each subject: cases, how they ended, the slowest. Inputs that did not end so are kept in a folder, and the exit status
is 1. `--atheris` lets libFuzzer look for inputs that reach new code (of one subject, until `--cases`).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

if "--atheris" in sys.argv:  # what is imported meanwhile tells libFuzzer which of its code is reached
    import atheris  # type: ignore[import-not-found, unused-ignore]

    with atheris.instrument_imports(include=["raysearch", "tomllib"]):
        import raysearch.testing.fuzzing  # noqa: F401

from raysearch.testing.fuzzing import SECONDS, SUBJECTS, Fault, Subject, Tally, fuzz, limit_memory, run

FIRST_INPUTS = 64
"""What libFuzzer begins with, besides what it found worth keeping before."""
SHOWN_FRAMES, SHOWN_NAMES = 6, 5
"""Of inputs that went wrong at one place: how much of the first one's traceback is shown, and how many files."""


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
        _say_all(tally.faults, options.keep)
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


def _say_all(faults: Sequence[Fault], keep: Path) -> None:
    """Keep the inputs, and tell of those that went wrong at one place once."""
    of_place: dict[str, list[Fault]] = {}
    for fault in faults:
        of_place.setdefault(_place(fault.error), []).append(fault)
    for place, alike in sorted(of_place.items(), key=lambda item: -len(item[1])):
        names = [_kept(fault, keep).name for fault in alike]
        told = "".join(traceback.format_exception(alike[0].error)[-SHOWN_FRAMES:])
        print(f"\n{len(alike):,} of {place}, kept in {keep}: {' '.join(names[:SHOWN_NAMES])}\n{told}")


def _place(error: BaseException) -> str:
    """Return the kind of an error, and the last line of raysearch that it went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "raysearch" in Path(frame.filename).parts]
    return f"{type(error).__name__} in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else type(error).__name__


def _kept(fault: Fault, keep: Path) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{fault.subject}-{hashlib.sha256(fault.data).hexdigest()[:12]}"
    path.write_bytes(fault.data)
    return path


def _guided(subject: Subject, cases: int, seed: int, keep: Path) -> int:
    """Let libFuzzer change inputs by what code they reach; it ends the process at the first fault."""
    corpus = keep / f"corpus-{subject.name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for case in range(FIRST_INPUTS):
        (corpus / f"{seed}-{case:03d}").write_bytes(subject.make(random.Random(f"{seed} {case}")))
    tally, began = Tally(subject.name), time.monotonic()

    def one(data: bytes) -> None:
        tally.take(subject, data)
        if tally.cases == cases:  # libFuzzer ends the process itself
            _report(tally, time.monotonic() - began)
        if tally.faults:
            _say_all(tally.faults, keep)
            raise tally.faults[0].error

    def another(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if subject.mutate is None or rng.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return subject.mutate(data, rng)[:most]

    limits = [
        f"-runs={cases}",
        f"-seed={seed + 1}",
        f"-timeout={SECONDS:.0f}",
        "-rss_limit_mb=4096",
        "-max_len=500000",
        f"-artifact_prefix={keep}/",
    ]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=another)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
