"""A table of any length as a FITS binary table with checksums, written piece by piece."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from raysearch.report import columns, tables
from raysearch.report.provenance import NOTHING, Provenance
from raysearch.report.stream import Stream

if TYPE_CHECKING:
    from astropy.io import fits

BLOCK = 2880
"""Bytes in a block of a FITS file."""


def write_fits(stream: Stream, path: Path, name: str, provenance: Provenance) -> int:
    """Write a FITS file with a table, and return the table's rows.

    The table's header is that of the table without rows; it is written again at the end, when the sum of the data is known.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    rows, known = tables.extents(stream, ascii_only=True)
    labels = list(known)

    def written(piece: pa.Table, about: Provenance = NOTHING) -> tuple[bytes, fits.Header, bytes]:
        table = tables.to_table(piece, name, ascii_only=True, known=known)
        hdu = tables.fits_table(table, [columns.describe(label, name) for label in labels], name.upper() or "TABLE")
        for keyword, value, comment in about.cards():
            hdu.header[keyword] = (value, comment)
        for line in about.history():
            hdu.header.add_history(line)
        return _taken_apart(hdu)

    primary, header, _ = written(stream.schema.empty_table(), provenance)
    with path.open("wb") as file:
        file.write(primary + _text(header))
        total, size = Sum(), 0
        for piece in stream.pieces():
            _, _, content = written(piece)
            total.add(content)
            size += file.write(content)
        padding = b"\0" * (-size % BLOCK)
        file.write(padding)
        total.add(padding)
        header["NAXIS2"], header["DATASUM"], header["CHECKSUM"] = rows, str(total.value), "0" * 16
        total.add(_text(header))
        header["CHECKSUM"] = encoded(~total.value & 0xFFFFFFFF)
        file.seek(len(primary))
        file.write(_text(header))
    return rows


def _taken_apart(hdu: fits.BinTableHDU) -> tuple[bytes, fits.Header, bytes]:
    """Return the bytes that stand before a table in a file of its own, its header with places for the checksums, and its rows."""
    from astropy.io import fits

    made = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(made, checksum=True)
    made.seek(0)
    with fits.open(made) as file:
        header, place = file[1].header, file.fileinfo(1)
        content = made.getvalue()
        rows = content[place["datLoc"] : place["datLoc"] + header["NAXIS1"] * header["NAXIS2"]]
        return content[: place["hdrLoc"]], header.copy(), rows


def _text(header: fits.Header) -> bytes:
    return str(header.tostring()).encode("ascii")


class Sum:
    """The checksum of FITS (standard 4.0, section 4.4.2.7 and appendix J): of 32-bit words in ones' complement."""

    def __init__(self) -> None:
        self._total = 0
        self._rest = b""

    def add(self, content: bytes) -> None:
        """Add what comes next, of any length."""
        content = self._rest + content
        whole = len(content) // 4 * 4
        self._rest = content[whole:]
        self._total += int(np.frombuffer(content, ">u4", whole // 4).sum(dtype=np.uint64))

    @property
    def value(self) -> int:
        """The sum so far, with zeros after it."""
        total = self._total + int.from_bytes(self._rest.ljust(4, b"\0"), "big")
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        return total


def encoded(value: int) -> str:
    """Return a checksum in 16 letters and digits, as appendix J of the standard makes them."""
    letters = [0] * 16
    for place in range(4):
        quotient, remainder = divmod(value >> (24 - 8 * place) & 0xFF, 4)
        four = [quotient + remainder + 48, *[quotient + 48] * 3]
        while any(58 <= one <= 64 or 91 <= one <= 96 for one in four):  # neither digits nor letters
            for pair in (0, 2):
                if any(58 <= one <= 64 or 91 <= one <= 96 for one in four[pair : pair + 2]):
                    four[pair], four[pair + 1] = four[pair] + 1, four[pair + 1] - 1
        for number, one in enumerate(four):
            letters[(4 * number + place + 1) % 16] = one
    return bytes(letters).decode("ascii")
