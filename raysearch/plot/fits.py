"""The small FITS files that records hold, read without the cost of a library made for large ones."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

GZIP = b"\x1f\x8b"
"""How compressed files begin."""

BLOCK = 2880
"""Headers and data are padded to multiples of it (FITS standard 4.0, section 3.1)."""

KINDS = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""BITPIX -> kind of number (FITS standard 4.0, table 8)."""

_END = re.compile(rb"END {77}")
_VALUE = re.compile(r" *('(?:[^']|'')*'|[^/ ]*)")


def images(content: bytes) -> dict[str, tuple[str, NDArray[np.float32]]]:
    """Return the images of a FITS file, gzipped or not, by EXTNAME: header (cards of 80 characters, without END), and pixels.

    Raises
    ------
    OSError
        It is none, or a torn one.
    """
    try:
        plain = gzip.decompress(content) if content.startswith(GZIP) else content
    except (EOFError, zlib.error) as exc:
        raise OSError(f"a torn gzip file: {exc}") from exc
    return {name: (header, image) for name, header, image in _images(plain)}


def _images(plain: bytes) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    start = 0
    while start < len(plain):
        header, begin = _header(plain, start)
        axes = [int(card(header, f"NAXIS{axis}") or 0) for axis in range(int(card(header, "NAXIS") or 0), 0, -1)]
        kind = np.dtype(KINDS.get(int(card(header, "BITPIX") or 0), "u1"))
        count = math.prod(axes) if axes else 0
        end = begin + kind.itemsize * (int(card(header, "PCOUNT") or 0) + count)
        if end > len(plain):
            raise OSError("a torn FITS file")
        if len(axes) == 2 and card(header, "XTENSION") in {None, "IMAGE"}:
            values = np.frombuffer(plain, kind, count, begin).astype(np.float64)
            scale, zero = (float(card(header, name) or default) for name, default in (("BSCALE", 1), ("BZERO", 0)))
            yield card(header, "EXTNAME") or "", header, (scale * values + zero).astype(np.float32).reshape(axes)
        start = begin + -(-(end - begin) // BLOCK) * BLOCK


def _header(plain: bytes, start: int) -> tuple[str, int]:
    """Return the header that begins here, and where its data begin."""
    for place in range(start, len(plain), 80):
        if _END.match(plain, place):
            return plain[start:place].decode("ascii", "replace"), start + -(-(place + 80 - start) // BLOCK) * BLOCK
        if place == start and not plain.startswith((b"SIMPLE  =", b"XTENSION="), start):
            break
    raise OSError("no FITS file")


def card(header: str, keyword: str) -> str | None:
    """Return the value of a card in a header of 80-character cards, without quotes."""
    place = header.find(start := f"{keyword:<8}=")
    while place % 80 and place >= 0:
        place = header.find(start, place + 1)
    found = _VALUE.match(header, place + 9) if place >= 0 else None
    return found[1].strip("' ") if found else None
