"""The detector of cutouts: nothing is looked for; every box that was read becomes a record with a small FITS file.

A box in which no pixel has a value holds nothing. Where that is true of all boxes of an image, the image is skipped, and says so;
where it is true of one among several, its record says so and has no file. Nothing stands in for pixels that are not there.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.flags import BAD_FLAGS, bad_mask
from raysearch.errors import DetectorError, NothingToSearch
from raysearch.model import Candidate, Cutout, Image, Pixels

BLOCK = 2880
BITPIX: Mapping[str, int] = {"f4": -32, "f8": -64, "u1": 8, "i2": 16, "i4": 32, "i8": 64}
"""Kind and size of a pixel -> what a header calls it (FITS standard 4.0, table 8)."""

OF_THE_STORAGE = re.compile(
    r"(?:SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|EXTEND|EXTNAME|END|CHECKSUM|DATASUM|BSCALE|BZERO|BLANK"
    r"|TFIELDS|THEAP|T(?:FORM|TYPE|DIM|UNIT)\d+"
    r"|Z(?:IMAGE|TENSION|SIMPLE|EXTEND|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK|SCALE|ZERO"
    r"|HECKSUM|DATASUM)) *"
)
"""Keywords that say how the archive's file keeps its pixels, compressed or not; a box's file says it anew."""


class Cutouts:
    """Makes a record of every box, with the box as a FITS file."""

    window: int | None = None
    columns: Mapping[str, str] = {
        "band": "str",
        "mjd": "f8",
        "central_wavelength_um": "f8",
        "bandwidth_um": "f8",
        "ra": "f8",
        "dec": "f8",
        "x": "f8",
        "y": "f8",
        "x0": "i4",
        "y0": "i4",
        "nx": "i4",
        "ny": "i4",
        "clipped": "bool",
        "good_fraction": "f4",
        "note": "str",
        "cutout": "bytes",
    }
    """Of a record.

    `mjd`
        Middle of the exposure, MJD, UTC.
    `central_wavelength_um`, `bandwidth_um`
        At the target, micrometres.
    `ra`, `dec`
        Of the target, degrees, ICRS.
    `x`, `y`
        The target's place in the box, pixels counted from 0.
    `x0`, `y0`, `nx`, `ny`
        The whole image's pixel that is the box's first, counted from 0; and the box's size.
    `clipped`
        Whether the image ends inside the box that was asked for.
    `good_fraction`
        Part of the box's pixels that have a value and none of `BAD_FLAGS`.
    `note`
        What a reader of the box should know, separated by `; `.
    `cutout`
        A FITS file, gzip-compressed: PRIMARY, the planes that were read, each with the archive's own header, PSF where it was asked
        for, and the tables that the headers refer to (WCS-WAVE). Empty where no pixel has a value. In the header of PSF stand
        OVERSAMP, its pixels to one of the image, and PIXELIN, whether a pixel's own response is in it already (`psf_effective`).
    """

    def detect(self, pixels: Pixels) -> Sequence[Candidate]:
        """Return a record for each box, in the order of the targets.

        Raises
        ------
        NothingToSearch
            No pixel of any box has a value.
        DetectorError
            The search is none of images, or a plane is of a kind that FITS does not have.
        """
        if not pixels.images:
            raise DetectorError("the detector 'cutouts' needs images: give the search file a section [images]")
        boxes = [(image, cutout) for image in pixels.images for cutout in image.cutouts]
        if not any(np.isfinite(cutout.planes["IMAGE"]).any() for _, cutout in boxes):
            raise NothingToSearch(f"no pixel around {' or '.join(cutout.target.name for _, cutout in boxes)} has a value")
        return [_record(image, cutout) for image, cutout in boxes]


def _record(image: Image, cutout: Cutout) -> Candidate:
    ny, nx = cutout.shape
    finite = np.isfinite(cutout.planes["IMAGE"])
    bad = [name for name in BAD_FLAGS if name in image.flags]
    good = finite & ~bad_mask(cutout.planes["FLAGS"], image.flags, bad) if "FLAGS" in cutout.planes else finite
    height, width = image.shape
    told = {
        "the image ends inside the box": cutout.clipped,
        "the target lies beside the image": not (-0.5 <= cutout.x <= width - 0.5 and -0.5 <= cutout.y <= height - 0.5),
        "every pixel with a value is flagged": finite.any() and not good.any(),
        "no pixel has a value": not finite.any(),
    }
    values = {
        "band": image.band,
        "mjd": image.mjd,
        "central_wavelength_um": cutout.wavelength_um,
        "bandwidth_um": cutout.bandwidth_um,
        "ra": cutout.target.ra,
        "dec": cutout.target.dec,
        "x": cutout.x - cutout.x0,
        "y": cutout.y - cutout.y0,
        "x0": cutout.x0,
        "y0": cutout.y0,
        "nx": nx,
        "ny": ny,
        "clipped": cutout.clipped,
        "good_fraction": np.float32(good.mean()),
        "note": "; ".join(note for note, holds in told.items() if holds),
        "cutout": cutout_file(image, cutout) if finite.any() else b"",
    }
    return Candidate(cutout.target.name, values)


def cutout_file(image: Image, cutout: Cutout) -> bytes:
    """Return a box as a FITS file, gzip-compressed; the same bytes for the same box."""
    primary = _cards({"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True}) + _kept(image.headers.get("PRIMARY", ""))
    parts = [_padded((primary + "END".ljust(80)).encode("ascii", "replace"), b" ")]
    for name, plane in cutout.planes.items():
        cards = _kept(image.header(name, cutout)) if name in image.headers else ""
        parts.append(_hdu(name, plane, cards))
    if cutout.psf is not None:
        parts.append(_hdu("PSF", cutout.psf, _cards({"OVERSAMP": cutout.psf_oversampling, "PIXELIN": cutout.psf_effective})))
    return gzip.compress(b"".join([*parts, *image.tables.values()]), compresslevel=6, mtime=0)


def _hdu(name: str, plane: NDArray[np.generic], cards: str) -> bytes:
    """Return an image extension: what its storage needs, then these cards."""
    kind = plane.dtype.str[1:]
    if kind not in BITPIX:
        raise DetectorError(f"the plane {name} holds {plane.dtype.name}, which no FITS image can: use one of {', '.join(BITPIX)}")
    height, width = plane.shape
    storage = {"XTENSION": "IMAGE", "BITPIX": BITPIX[kind], "NAXIS": 2, "NAXIS1": width, "NAXIS2": height, "PCOUNT": 0, "GCOUNT": 1}
    head = _cards({**storage, "EXTNAME": name}) + cards + "END".ljust(80)
    return _padded(head.encode("ascii", "replace"), b" ") + _padded(plane.astype(plane.dtype.newbyteorder(">")).tobytes(), b"\0")


def _padded(content: bytes, filling: bytes) -> bytes:
    return content.ljust(-(-len(content) // BLOCK) * BLOCK, filling)


def _kept(header: str) -> str:
    """Return a header's cards without those that say how the archive keeps the pixels."""
    cards = (header[start : start + 80].ljust(80) for start in range(0, len(header), 80))
    return "".join(card for card in cards if not OF_THE_STORAGE.fullmatch(card[:8]))


def _cards(values: Mapping[str, bool | int | str]) -> str:
    """Return cards in the fixed format (FITS standard 4.0, section 4.2)."""
    cards = ""
    for keyword, value in values.items():
        shown = f"'{value:8}'".ljust(20) if isinstance(value, str) else f"{'FT'[value] if isinstance(value, bool) else value:>20}"
        cards += f"{keyword:8}= {shown}".ljust(80)
    return cards
