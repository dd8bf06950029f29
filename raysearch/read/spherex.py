"""What SPHEREx Level 2 images look like (SPHEREx Explanatory Supplement; quick releases QR2, pipeline 6, and QR3, pipeline 7).

Nothing here is trusted for where pixels lie: `USUAL` says where headers are looked for first, so that they come together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysearch.errors import FormatError
from raysearch.read.fits import BLOCK, Hdu, Header

HEAD = 10 * BLOCK
"""Bytes that hold the headers of PRIMARY (one block) and IMAGE (seven or eight)."""
SOLID_ANGLES = (
    "s3://nasa-irsa-spherex/qr2/solid_angle_pixel_map/cal-sapm-v2-2025-164/{detector}/"
    "solid_angle_pixel_map_D{detector}_spx_cal-sapm-v2-2025-164.fits"
)
"""Where the pixels' solid angles (arcsec^2) are: the map that IRSA's SPHEREx Source Discovery Tool names."""
SIDE = 2040
"""Rows, and columns, of an image."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An extension as files of one version have it."""

    name: str
    header: int
    """Bytes of its header."""
    data: int | None = None
    """Bytes of its data; None where they differ from file to file."""
    more: int = 0
    """Bytes of data that are wanted together with the header: a short table, or that of an image's tiles."""

    @classmethod
    def like(cls, hdu: Hdu) -> Expected:
        """Return what another file may have where this one has an HDU."""
        header = hdu.data_offset - hdu.header_offset
        if hdu.header.value("ZIMAGE") is True:
            return cls(hdu.name, header, None, hdu.shape[0] * hdu.shape[1])
        return cls(hdu.name, header, hdu.data_size, hdu.data_size if hdu.kind == "BINTABLE" and hdu.data_size <= SHORT else 0)


SHORT = 64 * 1024
"""Bytes of a table that is worth no request of its own."""
_PLANES = (Expected("VARIANCE", 4 * BLOCK, 4 * SIDE**2), Expected("ZODI", 4 * BLOCK, 4 * SIDE**2))
_WAVES = Expected("WCS-WAVE", BLOCK, BLOCK, BLOCK)
USUAL: Mapping[int, tuple[Expected, ...]] = {
    6: (Expected("FLAGS", 5 * BLOCK, 4 * SIDE**2), *_PLANES, Expected("PSF", 15 * BLOCK, 4 * 121 * 101**2), _WAVES),
    7: (Expected("FLAGS", 6 * BLOCK, None, 8 * SIDE), *_PLANES, Expected("EPSF", 2 * BLOCK), _WAVES),
}
"""Pipeline's major version -> the extensions behind IMAGE: FLAGS are compressed since version 7."""


def usual(version: str) -> Sequence[Expected]:
    """Return what is expected behind IMAGE in a file of a pipeline's version; nothing of versions unknown."""
    return USUAL.get(version_of(version)[0], ())


def version_of(text: str) -> tuple[int, int, int]:
    """Return the numbers of VERSION (`6.5.4+psffix1`: 6, 5, 4); 0 where there is none."""
    found = re.match(r"\D{0,2}(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    if found is None:
        return 0, 0, 0
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major, minor, patch


def flags_of(header: str) -> dict[str, int]:
    """Return the flags that a header of FLAGS names, and their values, by growing value.

    QR2 writes `MP_TRANSIENT = 0`, as HIERARCH where the keyword is longer than eight characters; QR3 writes
    `MSKN0000= 'TRANSIENT'`. The numbers are those of bits.

    Raises
    ------
    FormatError
        A bit is none of an integer of 32 bits.
    """
    bits: dict[str, int] = {}
    for card in (header[at : at + 80] for at in range(0, len(header), 80)):
        if found := re.match(r"(?:HIERARCH )?MP_(\w+) *= *(\d+)", card):
            bits[found[1]] = int(found[2])
        elif found := re.match(r"MSKN(\d{4})= *'([^']*)'", card):
            bits[found[2].strip()] = int(found[1])
    for name, bit in bits.items():
        if bit > 31:
            raise FormatError(f"FLAGS: the flag {name} is said to be bit {bit}; an integer has 32")
    return {name: 1 << bit for name, bit in sorted(bits.items(), key=lambda pair: pair[1])}


def detector_of(header: Header) -> int | None:
    """Return the detector, 1 to 6; None where the header of IMAGE does not say."""
    detector = header.value("DETECTOR")
    return detector if isinstance(detector, int) and not isinstance(detector, bool) else None


def mjd_of(header: Header) -> float:
    """Return the middle of the exposure, MJD, days, in the header's scale of time; NaN where it does not say."""
    begin, end = header.number("MJD-BEG", math.nan), header.number("MJD-END", math.nan)
    return header.number("MJD-AVG", (begin + end) / 2)


def calibration_of(header: Header, kind: str) -> str:
    """Return the identity of a calibration (`spectral_wcs`) that went into an image, as its history tells; empty where not."""
    found = re.search(rf"HISTORY \[CALIB\] {kind} ([0-9a-f-]+)", header.text)
    return found[1] if found else ""
