"""The vocabulary: the values that pass between rooms, and the protocols their makers keep.

Values are frozen dataclasses of plain Python and NumPy, cheap to pickle, with a docstring under each field that names its unit.
Angles are degrees (ICRS), wavelengths end in `_um` (micrometres) or are metres where ObsCore names them (`em_min`, `em_max`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Kind = Literal["lines", "images", "pairs"]
"""What a search looks at: lines in spectral cubes, images one by one, or pairs of images."""

Status = Literal["detected", "nothing", "skipped", "failed"]
"""How an observation can end; every observation ends as exactly one of these."""

LIGHT_KM_S = 299_792.458
"""The speed of light, km/s."""

STATUSES: tuple[Status, ...] = ("detected", "nothing", "skipped", "failed")

HIGHEST_REDSHIFT = 30.0
"""Twice that of the farthest galaxies known: what is beyond is a velocity by mistake."""


@dataclass(frozen=True, slots=True)
class Target:
    """A position somebody is interested in."""

    name: str
    """As its catalogue names it; unique within one search."""
    ra: float
    """Right ascension, degrees, ICRS, 0 <= ra < 360."""
    dec: float
    """Declination, degrees, ICRS."""
    redshift: float = 0.0
    """Dimensionless z, so that observed = rest * (1 + z)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A spectral line."""

    name: str
    """Unique within one list, for example `[Fe II] 5.340`."""
    rest_um: float
    """Rest wavelength in vacuum, micrometres."""


@dataclass(frozen=True, slots=True)
class Polygon:
    """A region of the sphere bounded by great-circle edges: of the two sides, the smaller."""

    ra: tuple[float, ...]
    """Right ascensions of the vertices, degrees, ICRS; three or more, the first not repeated at the end."""
    dec: tuple[float, ...]
    """Declinations of the vertices, degrees, ICRS."""


@dataclass(frozen=True, slots=True)
class Circle:
    """A cap of the sphere."""

    ra: float
    """Right ascension of the centre, degrees, ICRS."""
    dec: float
    """Declination of the centre, degrees, ICRS."""
    radius: float
    """Degrees, along the sphere."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What an observation covers: the union of its shapes."""

    shapes: tuple[Polygon | Circle, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What an archive was asked, and how much it answered: kept in run.json."""

    service: str
    """For example `SIMBAD`."""
    url: str
    text: str
    """The query as sent."""
    rows: int
    """Rows that came; a count that differs from what the service says there are is an error, never a Query."""
    seconds: float
    counted: int | None = None
    """Rows the service says there are; None where it was not asked, or cannot tell."""
    reused: str = ""
    """When the kept answer was asked, ISO 8601 UTC; empty where it was asked now."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One row of the work list: one product that may be searched."""

    obs_id: str
    """Unique within a work list, which is sorted by it."""
    uris: tuple[str, ...]
    """Where the product can be had, in order of preference: `s3://`, `https://`, or a path."""
    targets: tuple[Target, ...] = ()
    """The targets inside the footprint, nearest to its centre first."""
    em_min: float = math.nan
    """Shortest wavelength, metres (ObsCore); NaN where the archive does not say."""
    em_max: float = math.nan
    """Longest wavelength, metres (ObsCore)."""
    s_region: str = ""
    """The footprint as the archive gave it (STC-S)."""
    skip: str = ""
    """Why this observation is not read; empty for those that are."""
    partner: tuple[str, ...] = ()
    """Of a pair of images: where the second can be had, in order of preference; empty in every other search."""

    @property
    def uri(self) -> str:
        """The preferred address, or an empty string."""
        return self.uris[0] if self.uris else ""


TARGET_TYPE = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("ra", pa.float64(), nullable=False),
        pa.field("dec", pa.float64(), nullable=False),
        pa.field("redshift", pa.float64(), nullable=False),
    ]
)

WORK_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("uris", pa.list_(pa.string()), nullable=False),
        pa.field("targets", pa.list_(TARGET_TYPE), nullable=False),
        pa.field("em_min", pa.float64(), nullable=False),
        pa.field("em_max", pa.float64(), nullable=False),
        pa.field("s_region", pa.string(), nullable=False),
        pa.field("skip", pa.string(), nullable=False),
        pa.field("partner", pa.list_(pa.string()), nullable=False),
    ]
)
"""The columns of a work list (`observations.arrow`); an archive's own columns may follow. Lists written before there were pairs
lack the last one, and are read with empty lists."""


def observations_to_arrow(observations: Sequence[Observation]) -> pa.Table:
    """Return the work list as an Arrow table with `WORK_SCHEMA`."""
    columns = {
        "obs_id": [o.obs_id for o in observations],
        "uris": [list(o.uris) for o in observations],
        "targets": [[{"name": t.name, "ra": t.ra, "dec": t.dec, "redshift": t.redshift} for t in o.targets] for o in observations],
        "em_min": [o.em_min for o in observations],
        "em_max": [o.em_max for o in observations],
        "s_region": [o.s_region for o in observations],
        "skip": [o.skip for o in observations],
        "partner": [list(o.partner) for o in observations],
    }
    return pa.table(columns, schema=WORK_SCHEMA)


def observations_from_arrow(table: pa.Table) -> list[Observation]:
    """Return the rows of a work list (extra columns are left behind)."""
    return [
        Observation(
            obs_id=row["obs_id"],
            uris=tuple(row["uris"]),
            targets=tuple(Target(**t) for t in row["targets"]),
            em_min=row["em_min"],
            em_max=row["em_max"],
            s_region=row["s_region"],
            skip=row["skip"],
            partner=tuple(row["partner"]),
        )
        for row in table.select(WORK_SCHEMA.names).to_pylist()
    ]


@dataclass(slots=True)
class Usage:
    """What reading one product has cost so far: the one mutable value here, so that failed reads are charged too."""

    requests: int = 0
    """Requests sent, retries included."""
    bytes_read: int = 0
    """Bytes of bodies received."""
    retries: dict[str, int] = field(default_factory=dict)
    """Host -> requests to it that were sent again after it had failed."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Address -> bytes of the whole file there, as its answers to range requests tell."""
    versions: dict[str, str] = field(default_factory=dict)
    """Address -> the version of the file there (its ETag, or when it was last changed) that its first answer was of. An answer of
    another one is refused, so that what is read with one `Usage` is of one version."""

    async def room(self, nbytes: int) -> None:
        """Wait until so many bytes may be held in all: a Reader asks once, before it fetches more than headers.

        They are those of the file, as they come, and of the arrays made of them. An engine that holds many observations gives its
        Readers a Usage that waits here; this one does not.

        Raises
        ------
        TooLarge
            They are more than the search may use.
        """


@dataclass(frozen=True, slots=True)
class Window:
    """The planes of a cube around one expected line."""

    line: Line
    """The line searched."""
    redshift: float
    """At which the line is expected."""
    targets: tuple[str, ...]
    """The matched targets at whose redshifts the line lies in this plane, the nearest first; empty where the search has none."""
    position: int
    """Index in the cube of the first plane at or beyond the observed wavelength; `cube_planes` for a line in the outer half of the
    last plane's bin."""
    start: int
    """Index in the cube of `planes[0]`."""
    cube_planes: int
    """Planes in the whole cube, so that a detector knows a cut window from the cube's own edge."""
    wavelength_um: NDArray[np.float64]
    """Wavelength of each plane here, micrometres, shape (n,), increasing."""
    planes: Mapping[str, NDArray[Any]]
    """Role or name of an extension -> array of shape (n, y, x), native byte order, read-only; `SCI` is always there, what else the
    detector asks for (`ERR`, `DQ`, `WMAP`) as far as the file has it."""
    searched: tuple[int, int] = (0, 0)
    """Indices in the cube of the first plane in which the line may lie, and of the one after the last: those around the line's
    wavelength at every one of the targets' redshifts, give or take the detector's `velocity`. Empty: `position` alone."""

    @property
    def target(self) -> str:
        """The nearest of the targets; empty where there are none."""
        return self.targets[0] if self.targets else ""

    @property
    def observed_um(self) -> float:
        """The wavelength at which the line is expected, micrometres."""
        return self.line.rest_um * (1.0 + self.redshift)

    @property
    def sci(self) -> NDArray[np.floating[Any]]:
        """The science planes, shape (n, y, x), in the width of the file: float32, in some archives float64."""
        return self.planes["SCI"]


@dataclass(frozen=True, slots=True)
class Cutout:
    """A box of an image around one target."""

    target: Target
    x: float
    """The target's place on the whole image, in pixels counted from 0 at the centre of the first."""
    y: float
    x0: int
    """The whole image's pixel that is the box's first, counted from 0."""
    y0: int
    planes: Mapping[str, NDArray[Any]]
    """Name of an extension -> array of shape (ny, nx), native byte order, read-only; all of one shape, `IMAGE` always there."""
    wavelength_um: float = math.nan
    """At the target, micrometres; NaN where the image does not say."""
    bandwidth_um: float = math.nan
    """Full width of the band at the target, micrometres."""
    psf: NDArray[np.floating[Any]] | None = None
    """The point spread function around the target, shape (n, n), oversampled, where it was asked for."""
    psf_oversampling: int = 1
    """Pixels of `psf` to one of the image."""
    clipped: bool = False
    """Whether the image ends inside the box that was asked for."""
    psf_effective: bool = False
    """Whether `psf` holds a pixel's own response already, and is read off at the pixels' centres (EPSF of SPHEREx QR3); else it
    is light as it falls on the detector, and is added up over each pixel (PSF of QR2)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        ny, nx = self.planes["IMAGE"].shape
        return ny, nx


@dataclass(frozen=True, slots=True)
class Image:
    """An image of which boxes were read."""

    obs_id: str
    uri: str
    """Where it was read from."""
    band: str
    """For example `SPHEREx-D3`."""
    mjd: float
    """The middle of the exposure, modified Julian date, UTC, days."""
    shape: tuple[int, int]
    """Rows and columns of the whole image."""
    headers: Mapping[str, str]
    """Name of an extension -> the whole image's header as text (FITS cards of 80 characters, without END); `PRIMARY` too. A box's
    own is `header(extension, cutout)`."""
    flags: Mapping[str, int]
    """Name of a flag, as the header of FLAGS spells it (`TRANSIENT`) -> its value, a power of two."""
    tables: Mapping[str, bytes]
    """Name of an extension -> the whole HDU as it stands in the file, header and data: `WCS-WAVE`."""
    cutouts: tuple[Cutout, ...]
    """One for each target."""

    def header(self, extension: str, cutout: Cutout) -> str:
        """Return the extension's header for a box: its size, and every WCS's reference pixel moved by the box's first pixel."""
        return moved_header(self.headers[extension], cutout.shape, cutout.x0, cutout.y0)


def moved_header(header: str, shape: tuple[int, int], x0: int, y0: int) -> str:
    """Return the header of a box of so many rows and columns, whose first pixel is the image's (x0, y0), counted from 0."""
    moved = {"NAXIS1": shape[1], "NAXIS2": shape[0]}
    cards = []
    for card in (header[i : i + 80] for i in range(0, len(header), 80)):
        keyword, value = card[:8].rstrip(), card[10:].partition("/")
        if keyword in moved:
            cards.append(_card(keyword, str(moved[keyword]), value[2]))
        elif keyword[:6] in {"CRPIX1", "CRPIX2"} and card[8:10] == "= ":
            cards.append(_card(keyword, repr(float(value[0]) - (x0 if keyword[5] == "1" else y0)), value[2]))
        else:
            cards.append(card)
    return "".join(cards)


def _card(keyword: str, value: str, comment: str) -> str:
    return (f"{keyword:<8}= {value:>20}" + (f" /{comment.rstrip()}" if comment.strip() else "")).ljust(80)[:80]


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a Reader hands to a Detector: windows of a cube, or boxes of images."""

    obs_id: str
    uri: str
    """Where the pixels were read from."""
    windows: tuple[Window, ...] = ()
    """One for each line and redshift within the cube, in order of observed wavelength."""
    header: str = ""
    """The science extension's header as text (FITS cards of 80 characters), for its WCS and units; before it the primary header's
    cards that say what made the cube (instrument, filter, beam, unit, ...), as far as the science header lacks them."""
    targets: tuple[Target, ...] = ()
    """The matched targets, the nearest to the footprint's centre first: where those that the windows name lie."""
    images: tuple[Image, ...] = ()
    """Of an image search: the image, or the two of a pair in the order of the search's bands; none in a line search."""
    ranges: tuple[tuple[int, int], ...] = ()
    """Which bytes of the product (`uri`) were read: (start, end), end exclusive, in the file's order; none where that was all."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Every array of pixels; one that several windows share is there once."""
        boxes = [cutout for image in self.images for cutout in image.cutouts]
        of_windows = [array for window in self.windows for array in (window.wavelength_um, *window.planes.values())]
        of_boxes = [array for box in boxes for array in (*box.planes.values(), *(() if box.psf is None else (box.psf,)))]
        return tuple({id(array): array for array in (*of_windows, *of_boxes)}.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays; one that several windows share counts once."""
        return sum(array.nbytes for array in self.arrays)


@dataclass(frozen=True, slots=True)
class Curve:
    """What a Detector made of one window before it decided, for the figure that shows why."""

    wavelength_um: NDArray[np.floating[Any]]
    """Micrometres, increasing, shape (n,)."""
    value: NDArray[np.floating[Any]]
    """What the detector looks at, shape (n,); NaN where there is nothing."""
    name: str
    """What that is, as an axis says it: `highest S/N of the matched filter`."""
    threshold: float = math.nan
    """Above it a line counts as found; NaN where no one value decides."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One record of a Detector; the engine adds obs_id, uri and config_hash."""

    target: str
    """The target this record is about; empty where the search has none."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The detector's own columns, exactly those of its `columns`."""
    line: str = ""
    """Name of the line; line searches only."""
    rest_um: float = math.nan
    """Rest wavelength, micrometres; line searches only."""
    wavelength_um: float = math.nan
    """Wavelength at which it was found, micrometres; line searches only."""
    curve: Curve | None = field(default=None, compare=False, repr=False)
    """What its window looked like to the detector, for the figures alone: no table keeps it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of what was found, for the report."""

    candidate: int
    """Which of the observation's candidates it shows, counted from 0; -1: the whole observation."""
    name: str
    """What it shows, unique for its candidate: `planes`, `map`, `curve`, `spectrum`, `triptych`, ..."""
    svg: bytes
    """An SVG document, UTF-8, that needs nothing from outside; empty where it could not be drawn."""
    alt: str
    """What is seen, in words and numbers, for those who cannot see it; or why there is nothing to see."""


@dataclass(frozen=True, slots=True)
class Triptych:
    """A region in two bands on one grid, as a Detector of pairs compared them, for the figure of it; arrays of shape (y, x)."""

    target: str
    """Around which the region lies."""
    a: NDArray[np.floating[Any]]
    """The band of the shorter wavelength; NaN where it was not used."""
    b: NDArray[np.floating[Any]]
    """That of the longer."""
    difference: NDArray[np.floating[Any]]
    """b - a, or whatever the detector searches; NaN where it did not."""
    unit: str
    """Of all three."""
    header: str
    """Of the grid: FITS cards of 80 characters."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a searched line without a candidate cannot exceed: the other kind of record of a Detector."""

    target: str
    """The nearest target of the line's window; empty where the search has none."""
    line: str
    """Name of the line."""
    rest_um: float
    """Rest wavelength, micrometres."""
    wavelength_um: float
    """Wavelength at which it was expected, micrometres."""
    flux: float
    """Integrated flux that would have been found with a probability of 95 %, W m^-2; NaN where it cannot be told."""
    note: str = ""
    """Where and for what shape the limit holds, or why there is none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one observation ended."""

    obs_id: str
    status: Status
    reason: str = ""
    """Why it was skipped or failed, in words a user can act on."""
    uri: str = ""
    """Where the pixels came from; for the unread, where they would have."""
    candidates: int = 0
    """Records in the candidate table."""
    bytes_read: int = 0
    requests: int = 0
    seconds: float = 0.0
    """Time spent on it, reading, detecting and drawing; waiting in queues is not counted."""
    limits: tuple[Limit, ...] = ()
    """What the searched lines without a candidate cannot exceed, from detectors that tell."""
    ranges: tuple[tuple[int, int], ...] = ()
    """Of a detected one: which bytes of the product were read, (start, end), end exclusive; none where it was read whole."""
    figures_seconds: float = 0.0
    """Of `seconds`, those in which its figures were drawn."""
    file_bytes: int = 0
    """Bytes of the whole product (of a pair, of both), as the store told while it was read; 0 where it did not."""
    retries: tuple[tuple[str, int], ...] = ()
    """Of `requests`, those sent again after a failure: (host, how many), in alphabetical order."""
    detect_seconds: float = 0.0
    """Of `seconds`, those in which its Detector was at work."""


LIMIT_TYPE = pa.struct(
    [
        pa.field("line", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("rest_um", pa.float64(), nullable=False),
        pa.field("wavelength_um", pa.float64(), nullable=False),
        pa.field("flux", pa.float64(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
    ]
)
"""A `Limit`: wavelengths in micrometres, the flux in W m^-2, NaN where it cannot be told."""

RANGE_TYPE = pa.struct([pa.field("start", pa.int64(), nullable=False), pa.field("end", pa.int64(), nullable=False)])
"""Bytes of a product, counted from 0; `end` is the one after the last."""

RETRY_TYPE = pa.struct([pa.field("host", pa.string(), nullable=False), pa.field("count", pa.int64(), nullable=False)])
"""How many requests to a host were sent again."""

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("candidates", pa.int64(), nullable=False),
        pa.field("bytes_read", pa.int64(), nullable=False),
        pa.field("requests", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("limits", pa.list_(LIMIT_TYPE), nullable=False),
        pa.field("ranges", pa.list_(RANGE_TYPE), nullable=False),
        pa.field("figures_seconds", pa.float64(), nullable=False),
        pa.field("file_bytes", pa.int64(), nullable=False),
        pa.field("retries", pa.list_(RETRY_TYPE), nullable=False),
        pa.field("detect_seconds", pa.float64(), nullable=False),
    ]
)
"""The columns of an outcome table; older parts lack some of the last six, and are read with empty lists and 0."""

FIGURE_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("candidate", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("svg", pa.binary(), nullable=False),
        pa.field("alt", pa.string(), nullable=False),
    ]
)
"""The columns of a table of figures: those of a `Figure`, its document compressed by gzip; where it is empty, `alt` says why."""


class Store(Protocol):
    """Byte ranges of products. Every request is charged to `usage`, has time-outs, and is retried within a budget."""

    async def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]], usage: Usage) -> list[bytes]:
        """Return the bytes of each `(start, end)` (end exclusive), in the order asked, one request each, at the same time.

        A range that begins inside the file and ends beyond it gives what there is; one that begins beyond it gives `b""`.

        Raises
        ------
        ReadError
            The most fitting of its kind; `ProductReplaced` where an answer is of another version than the one in `usage.versions`.
        """
        ...

    async def get(self, uri: str, usage: Usage) -> bytes:
        """Return the whole file in one request."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Turns an observation into pixels. Picklable; opens connections on first use, in the process that uses it.

    One more attribute is optional: `asks_for_room` (False if absent), where `read` awaits `usage.room` before it fetches more than
    headers. Without it, what was read before tells how many reads fit into memory, and nothing is refused for its size.
    """

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        """Return the pixels asked for; many reads run at the same time.

        Raises
        ------
        NothingToSearch
            The product is sound but holds nothing to search: the observation becomes `skipped`.
        RaysearchError
            Anything else: it becomes `failed`.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Turns pixels into records: no I/O, no state from one observation to the next.

    A few more attributes are optional. `velocity` (km/s, 0 if absent): how far from its target's redshift a line may lie; the
    planes that this covers are `Window.searched`, and windows of targets whose ranges overlap or touch become one. `extensions`
    (texts, none if absent): what `Window.planes` shall hold beside `SCI`, by role: `ERR` (one standard deviation, in SCI's unit),
    `DQ` (integers, not 0: bad), `WMAP` (weight, coverage or exposure, 0: no data), or by an extension's own name. What a file
    lacks, or has in another shape than SCI, is absent there. `needs` (texts, none if absent): the extensions that it must have of
    an image, beside those that the search asks for. `triptych(pixels)`, called for a pair where figures are drawn: one `Triptych`
    for each region that can be searched.
    """

    window: int | None
    """Planes needed on each side of a line, or of the range in which it is searched; None for the whole cube."""
    columns: Mapping[str, str]
    """Name -> type of the values in its candidates: a NumPy dtype ("f8", "f4", "i8", "i4", "bool"), "str", or "bytes" (a file's
    content, such as a small FITS map)."""

    def detect(self, pixels: Pixels) -> Sequence[Candidate | Limit]:
        """Return the records, in a list: a Candidate for what was found, a Limit for a searched line that was not, if it can tell.

        A list without candidates means that everything was searched and nothing found.
        """
        ...


@runtime_checkable
class Illustrator(Protocol):
    """Draws what a Detector found while the pixels are at hand. Picklable; no I/O."""

    def draw(self, pixels: Pixels, records: Sequence[Candidate | Limit]) -> Sequence[Figure]:
        """Return figures of the observation's candidates, counted in the order of the records."""
        ...


class Archive(Protocol):
    """Answers which observations exist, and where their products are."""

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return ObsCore-like rows (obs_id, s_region, em_min and em_max in metres, the archive's own columns), and what was asked.

        Raises
        ------
        ArchiveError
            Also where the answer is incomplete.
        """
        ...

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its product can be had, in order of preference (empty: nowhere), and what was asked."""
        ...
