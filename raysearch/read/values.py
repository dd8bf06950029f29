"""The values that a FITS image's numbers stand for (FITS standard 4.0, sections 4.4.2.5 and 5.2.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.read.fits import Header

RAW = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""What BITPIX means."""
FLOATS = {8: "f4", 16: "f4", 32: "f8", 64: "f8", -32: "f4", -64: "f8"}
"""The floating point type that holds its values."""
OTHER_SIGN = {8: (-128.0, "i1"), 16: (2.0**15, "u2"), 32: (2.0**31, "u4"), 64: (2.0**63, "u8")}
"""BZERO by which integers are said to be unsigned (bytes: signed), and what they are then."""


def physical(raw: NDArray[Any], header: Header, bitpix: int, *, floating: bool) -> NDArray[Any]:
    """Return the values that the file's numbers stand for, a new array in native byte order.

    Parameters
    ----------
    raw
        Of the type that `RAW` names.
    floating
        Whether integers become floating point even where they are neither scaled nor have a BLANK.
    """
    scale, zero, blank = header.number("BSCALE", 1.0), header.number("BZERO", 0.0), header.value("BLANK")
    if bitpix > 0 and not floating and scale == 1 and blank is None:
        if zero == 0:
            return raw.astype(raw.dtype.newbyteorder("="))
        if zero == OTHER_SIGN[bitpix][0]:
            flipped = raw.astype(raw.dtype.newbyteorder("=")).view(f"u{bitpix // 8}") ^ (1 << bitpix - 1)
            return flipped.view(OTHER_SIGN[bitpix][1])
    values: NDArray[Any] = raw.astype(FLOATS[bitpix])
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is infinite, as in every other array
        if scale != 1:
            values *= scale
        if zero != 0:
            values += zero
    if bitpix > 0 and blank is not None:
        values[raw == blank] = np.nan
    return values
