"""Damaged files among sound ones, and damaged searches, tables and footprints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import astropy
from program import Wrong
from rig import Came, Rig, Tally, Trial, sky

from raysearch.engine import read_outcomes
from raysearch.testing import CubeSpec, Holdings, LocalArchive, make_cube
from raysearch.testing.fuzzing import SUBJECTS, fuzz
from raysearch.testing.mutations import FitsSeed, mutated_fits

DAMAGED = 100
CASES = 1000


def _damaged_files(engine: str) -> Callable[[Rig], Came]:
    """Search an archive in which half the files are damaged at random places."""

    def run(rig: Rig) -> Came:
        rig.order({})
        holdings, names = _with_damage(sky(rig.observations), rig)
        out = rig.new_folder()
        with LocalArchive(holdings) as archive, rig.keeping(archive.pid):
            program = rig.start(out, engine, archive=archive)
            status = program.wait()
        if status not in {0, 1} or "Traceback" in program.output:
            raise Wrong(f"the run ended with {status}: {program.last_line}")
        return Came(rig.compare(out, open_ended=names), "nothing", _endings(out, names))

    return run


def _with_damage(holdings: Holdings, rig: Rig) -> tuple[Holdings, set[str]]:
    """Return holdings of which some files are damaged, and the observations of these."""
    chance = rig.random("damaged files")
    chosen = set(chance.sample(range(len(holdings.products)), DAMAGED))
    seeds = [FitsSeed.of(make_cube(body)) for body in holdings.bodies.values() if isinstance(body, CubeSpec)]
    bodies = dict(holdings.bodies) | {f"damaged {number}": mutated_fits(seeds, chance) for number in chosen}
    products = (
        replace(product, body=f"damaged {number}") if number in chosen else product
        for number, product in enumerate(holdings.products)
    )
    names = {str(holdings.observations[number]["obs_id"]) for number in chosen}
    return replace(holdings, products=tuple(products), bodies=bodies), names


def _endings(out: Path, names: set[str]) -> str:
    ended = Counter(row["status"] for row in read_outcomes(out).to_pylist() if row["obs_id"] in names)
    return f"of the damaged, {', '.join(f'{count} {status}' for status, count in sorted(ended.items()))}; the others as ever"


def _nowhere(rig: Rig) -> Came:
    """Search with neither a home, nor a folder for temporary files, nor letters beyond ASCII."""
    rig.order({})
    none = str(rig.folder / "nowhere")
    out = rig.new_folder().with_name("odd\n name ω")
    program = rig.start(out, "inline", environment={"HOME": none, "TMPDIR": none, "PYTHONIOENCODING": "ascii"})
    status = program.wait()
    if status != 0 or "Traceback" in program.output:
        raise Wrong(f"the run ended with {status}: {program.last_line}")
    return Came(rig.compare(out), "nothing", "the run went on")


def _fuzzed(name: str) -> Callable[[Rig], Came]:
    """Read damaged inputs of one kind, in this process: what `scripts/fuzz` does in greater number."""

    def run(rig: Rig) -> Came:
        astropy.log.setLevel("ERROR")  # it tells of every header that is odd
        tally = fuzz(SUBJECTS[name], CASES, rig.seed)
        if tally.faults:
            raise Wrong(f"{len(tally.faults)} of {tally.cases} ended in {tally.faults[0].error!r}")
        endings = ", ".join(f"{count} {ending}" for ending, count in tally.endings.most_common(4))
        return Came(Tally(), "nothing", f"{endings}; the slowest {tally.slowest_s:.2f} s")

    return run


TRIALS = [
    Trial("files", "damaged-files", f"{DAMAGED} of the files damaged at random places, on Ray", _damaged_files("ray")),
    Trial("files", "cubes", f"{CASES} damaged spectral cubes", _fuzzed("cubes")),
    Trial("files", "images", f"{CASES} damaged SPHEREx images", _fuzzed("images")),
    Trial("files", "cutouts", f"{CASES} damaged answers of the cutout service", _fuzzed("cutouts")),
    Trial(
        "configuration", "nowhere", "HOME and TMPDIR name nothing, --out has a newline, the output no letter but ASCII", _nowhere
    ),
    Trial("configuration", "searches", f"{CASES} damaged search files", _fuzzed("searches")),
    Trial("configuration", "tables", f"{CASES} damaged tables", _fuzzed("tables")),
    Trial("configuration", "regions", f"{CASES} damaged footprints (s_region)", _fuzzed("regions")),
]
