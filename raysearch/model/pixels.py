"""What is read: pixels with their wavelengths, and what reading cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.model.asked import Line, Target


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
