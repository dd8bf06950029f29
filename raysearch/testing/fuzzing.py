"""Fuzzing: every reader of what others wrote, given broken input, ends with a result or with an error of ours, and soon.

A `Subject` makes inputs out of a `random.Random` and handles one. Anything that `handle` raises but a RaysearchError is a fault,
and so is a case that takes too long or too much memory. `scripts/fuzz` runs many, `tests/test_fuzz.py` a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import random
import resource
import signal
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from time import perf_counter
from types import FrameType

import pyarrow as pa
from pyarrow import csv as pacsv
from pyarrow import parquet

from raysearch import config
from raysearch.archives import tables
from raysearch.detect import open_detector
from raysearch.errors import RaysearchError
from raysearch.model import Line, Observation, Pixels, Target, Usage
from raysearch.read.cube import CubeReader
from raysearch.read.frame import Known, open_frame
from raysearch.read.image import ImageReader
from raysearch.read.service import LARGEST, CutoutService
from raysearch.read.store import StoreConfig
from raysearch.report.tables import to_table
from raysearch.sky import contains, parse_s_region
from raysearch.testing.damaged import damage
from raysearch.testing.fields import Field
from raysearch.testing.folder_damage import damaged_folder
from raysearch.testing.folders import use_folder
from raysearch.testing.mutations import FitsSeed, bomb, mutated_bytes, mutated_file, mutated_fits, mutated_text
from raysearch.testing.spherex import FrameSpec, make_frame
from raysearch.testing.spherex_optics import Optics
from raysearch.testing.synthetic import CubeSpec, make_cube

URI = "memory://fuzzed.fits"
SECONDS = 10.0
"""The longest that one case may take, of a CPU; a busy machine may give it a twelfth of one."""
PATIENCE = 12
MEMORY_BYTES = 2 * 2**30
"""What all cases together may add to the process's address space: the inputs have a few hundred kilobytes."""


class TookTooLong(BaseException):
    """A case had not ended in time; no handler of errors catches it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A reader under test."""

    name: str
    make: Callable[[random.Random], bytes]
    """Returns an input."""
    handle: Callable[[bytes], str]
    """Reads an input and returns what came of it."""
    mutate: Callable[[bytes, random.Random], bytes] | None = None
    """Returns another input made out of any: what libFuzzer is lent, whose own changes seldom get beyond the first card."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An input that did not end as it should."""

    subject: str
    data: bytes
    error: BaseException


@dataclass(slots=True)
class Tally:
    """How the cases of one subject ended."""

    subject: str
    endings: Counter[str] = field(default_factory=Counter)
    """Kind of result or of error -> cases."""
    faults: list[Fault] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def cases(self) -> int:
        """All of them."""
        return sum(self.endings.values())

    def take(self, subject: Subject, data: bytes, seconds: float = SECONDS) -> None:
        """Run one case."""
        began = perf_counter()
        try:
            with _at_most(seconds), warnings.catch_warnings():
                warnings.simplefilter("error")
                ending = subject.handle(data)
        except RaysearchError as exc:
            ending = type(exc).__name__
        except (Exception, TookTooLong) as exc:  # noqa: BLE001 - the very thing that is looked for
            ending = f"FAULT {type(exc).__name__}"
            self.faults.append(Fault(subject.name, data, exc))
        self.endings[ending] += 1
        self.slowest_s = max(self.slowest_s, perf_counter() - began)


def fuzz(subject: Subject, cases: int, seed: int = 0) -> Tally:
    """Return how the cases of a seed ended: the same seed gives the same inputs."""
    return run(subject, (subject.make(random.Random(f"{seed} {subject.name} {case}")) for case in range(cases)))


def run(subject: Subject, inputs: Iterable[bytes], seconds: float = SECONDS) -> Tally:
    """Return how these inputs ended."""
    tally = Tally(subject.name)
    for data in inputs:
        tally.take(subject, data, seconds)
    return tally


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TookTooLong inside when that much CPU time has gone, or many times as much by the clock; of the main thread only."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (Python's signature)
        raise TookTooLong(f"not done after {seconds:g} s")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, PATIENCE * seconds))
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def limit_memory(more: int = MEMORY_BYTES) -> None:
    """Let this process have only so much more address space than it has: what wants more gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


LINES = (Line("A", 25.2), Line("B", 25.31))
FIELD = Field(10.0, 41.0, 48, 40, 6.153, rotation=25.0)
EXTENSIONS = ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF")


@cache
def cube_seeds() -> tuple[FitsSeed, ...]:
    """Return sound cubes of the kinds that are read."""
    small = CubeSpec(planes=40, ny=5, nx=6)
    linear, others = make_cube(small), (replace(small, axis="tab"), replace(small, layout="new"))
    kinds = (linear, *map(make_cube, others), *(damage(linear, kind) for kind in ("bscale", "float64", "naxis4")))
    return tuple(map(FitsSeed.of, kinds))


@cache
def _frame_spec(release: str) -> FrameSpec:
    version = {"qr2": "6.5.4+psffix1", "qr3": "7.0.5"}[release]
    return FrameSpec(1, 3, FIELD, release=release, pipeline=version, bad=1.0, psf_side=7)


@cache
def image_seeds() -> tuple[FitsSeed, ...]:
    """Return sound SPHEREx images of two releases: plain planes and a cube of PSFs; RICE tiles and a table of PSFs."""
    return tuple(FitsSeed.of(make_frame(_frame_spec(release))) for release in ("qr2", "qr3"))


@cache
def _targets() -> tuple[Target, ...]:
    optics = Optics.of(_frame_spec("qr2"))
    places = [optics.sky(x, y) for x, y in ((20.0, 18.0), (1.0, 38.0))]
    return tuple(Target(f"T{n}", float(ra), float(dec)) for n, (ra, dec) in enumerate(places))


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def read_cube(data: bytes) -> Pixels:
    """Return the windows of a cube's file, or, for every second content, the whole of it."""
    store = StoreConfig(memory={URI: data}, retries=0)
    reader = CubeReader(store, LINES, 3 if zlib.crc32(data) % 2 else None, velocity=300.0, extensions=("ERR", "DQ", "WMAP"))
    return _runner().run(reader.read(Observation("fuzzed", (URI,), (Target("T", 69.0, 25.1),)), Usage()))


def _cube(data: bytes) -> str:
    return type(read_cube(data)).__name__


def _make_detection(rng: random.Random) -> bytes:
    _compile()
    return mutated_fits(cube_seeds(), rng)


@cache
def _compile() -> None:
    """Let numba compile what is detected with: that takes as long as the machine is busy, and no case is to be blamed for it."""
    _detection(cube_seeds()[0].content)


def _detection(data: bytes) -> str:
    pixels = read_cube(data)
    records = open_detector("lines", {}, "lines").detect(pixels)
    return "records" if records else "nothing"


def _image(data: bytes) -> str:
    reader = ImageReader(StoreConfig(memory={URI: data}, retries=0), 0.02, EXTENSIONS)
    return type(_runner().run(reader.read(Observation("fuzzed", (URI,), _targets()), Usage()))).__name__


@dataclass(frozen=True, slots=True)
class _Service:
    """A store of one answer."""

    body: bytes

    async def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]], usage: Usage) -> list[bytes]:
        raise NotImplementedError

    async def get(self, uri: str, usage: Usage) -> bytes:  # noqa: ARG002 (the protocol's)
        return self.body

    async def close(self) -> None: ...


def _cutout(data: bytes) -> str:
    async def fetched() -> None:
        for _, file in await CutoutService(_Service(data)).fetch(URI, _targets()[:1], 0.02, Usage()):
            frame = await open_frame(file, EXTENSIONS, Known())
            for plane in frame.planes.values():
                await plane.load(file, frame.here.seen_from(frame.x0, frame.y0))

    _runner().run(fetched())
    return "planes"


def _make_cutout(rng: random.Random) -> bytes:
    if rng.random() < 0.01:
        return bomb(LARGEST + rng.choice((0, 1)))
    data = mutated_fits(image_seeds(), rng)
    return gzip.compress(data, compresslevel=1, mtime=0) if rng.random() < 0.5 else data


TABLES = {
    ".csv": 'obs_id,uri,s_region,em_min,em_max\na,a.fits,CIRCLE ICRS 1 2 3,5e-6,28e-6\n"b, c",https://h/b.fits,,,\n',
    ".txt": "# name ra dec\nM31  10.684 41.269\n'x y' 1 2\n",
    ".ecsv": "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: ra, unit: deg, datatype: float64}\n# - {name: dec, datatype: float64}\n"
    "ra dec\n1.5 2.5\n",
    ".vot": '<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="ra" datatype="double" unit="deg"/>'
    '<FIELD name="id" datatype="char" arraysize="*"/><DATA><TABLEDATA><TR><TD>1.5</TD><TD>a</TD></TR></TABLEDATA></DATA></TABLE>'
    "</RESOURCE></VOTABLE>\n",
}
_TABLE_TOKENS = (
    *(
        ",",
        '"',
        "\n",
        "\t",
        "\r",
        "\x00",
        "nan",
        "1e999",
        "<",
        "&a;",
        "<TR>",
        "</TABLE>",
        "]]>",
        "#",
        "- {",
        ":",
        "'",
        "é",
        "  ",
        "--",
    ),
    *(
        '<!DOCTYPE a [<!ENTITY a "b">]>',
        'arraysize="*"',
        'arraysize="99999999999"',
        'datatype="bit"',
        "float64",
        "object",
        "\ud7ff",
    ),
)


@cache
def binary_tables() -> dict[str, bytes]:
    """Return the first of the tables above in the formats that are not text, by ending."""
    table = pacsv.read_csv(io.BytesIO(TABLES[".csv"].encode()))
    made = {".arrow": io.BytesIO(), ".parquet": io.BytesIO(), ".fits": io.BytesIO()}
    with pa.ipc.new_file(made[".arrow"], table.schema) as writer:
        writer.write_table(table)
    parquet.write_table(table, made[".parquet"])
    to_table(table).write(made[".fits"], format="fits")
    return {ending: file.getvalue() for ending, file in made.items()}


def _make_table(rng: random.Random) -> bytes:
    """Return a table's file, behind a line that tells its ending."""
    ending = rng.choice((*TABLES, *TABLES, *binary_tables(), ".fits.gz"))
    if ending == ".fits.gz" and rng.random() < 0.02:
        return f"{ending}\n".encode() + bomb(2**26)
    if ending in TABLES:
        content = mutated_text([TABLES[ending]], _TABLE_TOKENS, rng).encode("utf-8", "surrogatepass")
    elif ending == ".fits.gz":
        content = mutated_bytes(gzip.compress(mutated_file(binary_tables()[".fits"], rng), compresslevel=1, mtime=0), rng)
    elif ending == ".fits":
        content = mutated_file(binary_tables()[ending], rng)
    else:
        content = mutated_bytes(binary_tables()[ending], rng)
    return f"{ending}\n".encode() + content


def _table(data: bytes) -> str:
    """Read a table as what it is made as, one of observations or of targets; every eighth content as the other."""
    ending, _, content = data.partition(b"\n")
    known = ending.decode("latin-1")
    path = _scratch() / f"fuzzed{known if known in {*TABLES, *binary_tables(), '.fits.gz'} else '.csv'}"
    path.write_bytes(content)
    of_targets = known in {".txt", ".ecsv", ".vot"} and bool(zlib.crc32(data) % 8)
    return type(tables.read_targets(path) if of_targets else tables.read_observations(path)).__name__


@cache
def _scratch() -> Path:
    return Path(_keep_folder().name)


@cache
def _keep_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="raysearch-fuzz-")


_TOML_TOKENS = (
    *("[", "]", "[[", "{", "}", "=", '"', "'", '"""', "\n", "#", ",", ".", "nan", "inf", "-inf", "-1", "0", "true"),
    *("1e400", "9" * 5000, "false"),
    *("[lines]\n", "[images]\n", "[targets]\n", "[observations]\n", "[match]\n", "[detector]\n", "[run]\n"),
    *("[services]\n", "[spectra]\n"),
    *('"0.1 deg"', '"-1 arcsec"', '"1e400 deg"', '"5 um"', '"um"', '"1 m/s"', '"nan deg"', "2024-01-01", "0001-01-01", "12:00:00"),
    *(
        "[1, 2]",
        "positions = [[10, 41]]\n",
        'names = ["M 31"]\n',
        'simbad = "1=1"\n',
        'table = "~nobody/x.csv"\n',
        'table = "\\u0000"\n',
    ),
    *('archive = "tap"\n',),
    *(
        'url = "http://[::1"\n',
        'bands = ["D1", "D2"]\n',
        'sources = "all"\n',
        'name = "x.py:Y"\n',
        'wavelength = ["5 um", "4 um"]\n',
    ),
    *(
        "size = ",
        "list = ",
        "redshift_range = [0.0, 0.1]\n",
        'time = ["2024", "x"]\n',
        "[" * 2000,
        "\x00",
        "\ud7ff",
        "é",
        "a.b.c = 1\n",
    ),
)


@cache
def _search_seeds() -> tuple[str, ...]:
    folder = resources.files("raysearch.searches")
    shipped = [(folder / f"{name}.toml").read_text() for name in config.shipped()]
    own = 'name = "a"\n[observations]\ntable = "b.csv"\n[lines]\nlist = [{ name = "x", wavelength = "5.34 um" }]\n'
    return (
        *shipped,
        own,
        '[targets]\nnames = ["M 31"]\n[observations]\narchive = "heasarc"\ncatalog = "c"\n[images]\nsize = "1 deg"\n',
    )


def _search(data: bytes) -> str:
    path = _scratch() / "fuzzed.toml"
    path.write_bytes(data)
    search = config.load(path)
    again = _scratch() / "again.toml"
    again.write_text(search.to_toml(), encoding="utf-8")
    if config.load(again) != search:
        raise AssertionError("the effective search, written out and read again, is another")
    return type(search).__name__


REGIONS = (
    "POLYGON ICRS 1 2 3 4 5 9",
    "POLYGON 261.1 -29.3 261.1 -29.2 261.2 -29.2 261.2 -29.3",
    "CIRCLE ICRS 10.68 41.27 0.1",
    "BOX GALACTIC 10 20 3 4",
    "UNION ICRS (POLYGON 1 2 3 4 5 9 CIRCLE 11 2 13)",
    "MULTIPOLYGON ICRS (((1 2, 3 4, 5 9)), ((11 2, 13 4, 15 9)))",
)
_REGION_TOKENS = (
    *("POLYGON", "CIRCLE", "BOX", "UNION", "MULTIPOLYGON", "ICRS", "FK5", "GALACTIC", "J2000", "NOT", "(", ")", ",", "'", '"'),
    *(
        "0",
        "90",
        "-90",
        "90.0000001",
        "180",
        "360",
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "1e-320",
        "1e308",
        "9" * 400,
        "+",
        "-",
        "1.2.3",
    ),
    *map(str, range(-85, 86, 5)),
    *("12.5", "-33.25", "1e-6", "179.999", "0x1", "٣", ".", "((((((((((("),
    *("1 1 1 1 1 1", "0 0 90 0 180 0", "0 90 90 90 180 90", "0 0 120 0 240 0", "\x00", "é", "\n"),
)


def _region(data: bytes) -> str:
    footprint = parse_s_region(data.decode("utf-8", "replace"))
    contains(footprint, [0.0, 10.0], [0.0, -90.0])
    return type(footprint).__name__


def _mutated(seeds: Callable[[], Sequence[str]], tokens: Sequence[str], rng: random.Random) -> bytes:
    return mutated_text(seeds(), tokens, rng).encode("utf-8", "surrogatepass")


def _again(tokens: Sequence[str], data: bytes, rng: random.Random) -> bytes:
    return _mutated(lambda: (data.decode("utf-8", "replace"),), tokens, rng)


def _table_again(data: bytes, rng: random.Random) -> bytes:
    ending, _, content = data.partition(b"\n")
    name = ending.decode("latin-1")
    if name in {".arrow", ".parquet", ".fits.gz"}:
        return ending + b"\n" + mutated_bytes(content, rng)
    if name == ".fits":
        return ending + b"\n" + mutated_file(content, rng)
    known = ending if name in TABLES else rng.choice(tuple(TABLES)).encode()
    return known + b"\n" + _again(_TABLE_TOKENS, content, rng)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("cubes", lambda rng: mutated_fits(cube_seeds(), rng), _cube, mutated_file),
        Subject("detection", _make_detection, _detection, mutated_file),
        Subject("images", lambda rng: mutated_fits(image_seeds(), rng), _image, mutated_file),
        Subject("cutouts", _make_cutout, _cutout, mutated_file),
        Subject("tables", _make_table, _table, _table_again),
        Subject("searches", partial(_mutated, _search_seeds, _TOML_TOKENS), _search, partial(_again, _TOML_TOKENS)),
        Subject("folders", damaged_folder, use_folder),
        Subject("regions", partial(_mutated, lambda: REGIONS, _REGION_TOKENS), _region, partial(_again, _REGION_TOKENS)),
    )
}
"""By name."""
