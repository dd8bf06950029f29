"""FITS files as bytes: split into HDUs, some cards changed, checksums added; all other cards stay as the archive wrote them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from raysearch.errors import FormatError

BLOCK, CARD = 2880, 80
END = "END".ljust(CARD)
LAST = END.encode()
SIZES = re.compile(r"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= *(-?\d+)")
TEXT = re.compile(r"= *'((?:[^']|'')*)' *(?:/(.*))?")
EMPTY_CHECKSUM = "0" * 16
NOT_IN_CHECKSUMS = frozenset(range(0x3A, 0x41)) | frozenset(range(0x5B, 0x61))
"""Punctuation between the digits and letters of ASCII (FITS standard 4.0, appendix J.2)."""


@dataclass(frozen=True, slots=True)
class Hdu:
    """A header and its data, neither padded."""

    header: str
    """Cards of 80 characters, without END."""
    data: bytes

    @property
    def name(self) -> str:
        """Its EXTNAME; of a first HDU without one `PRIMARY`."""
        return self.text("EXTNAME") or "PRIMARY"

    def text(self, keyword: str) -> str:
        """Return the text value of a keyword, or an empty string."""
        return self.texts(re.escape(keyword)).get(keyword, "")

    def texts(self, keywords: str) -> dict[str, str]:
        """Return the text values of the keywords that a pattern describes."""
        found = re.finditer(rf"({keywords}) *= *'((?:[^']|'')*)'", self.header)
        return {one[1]: one[2].replace("''", "'").rstrip() for one in found if one.start() % CARD == 0}

    def with_texts(self, texts: Mapping[str, str]) -> Hdu:
        """Return the same with other texts as values of these keywords, which it has; their comments stay."""
        return replace(self, header="".join(_changed(card, texts) for card in cards(self.header)))

    def with_rows(self, rows: int) -> Hdu:
        """Return a table with another number of rows in its header."""
        changed = (number_card("NAXIS2", rows, "number of rows") if card[:8] == "NAXIS2  " else card for card in cards(self.header))
        return replace(self, header="".join(changed))

    def with_checksums(self) -> bytes:
        """Return the bytes of it, padded, with DATASUM and CHECKSUM (FITS standard 4.0, section 4.4.2.7 and appendix J)."""
        data = self.data.ljust(_whole(len(self.data)), b"\0")
        datasum = ones_complement(data)
        kept = "".join(card for card in cards(self.header) if card[:8].rstrip() not in {"CHECKSUM", "DATASUM"})
        kept += text_card("DATASUM", str(datasum), "data unit checksum")
        place = len(kept) + 11
        head = kept + text_card("CHECKSUM", EMPTY_CHECKSUM, "HDU checksum") + END
        header = bytearray(head.ljust(_whole(len(head))).encode("ascii", "replace"))
        header[place : place + 16] = encoded(~ones_complement(bytes(header), datasum) & 0xFFFFFFFF)
        return bytes(header) + data


def cards(header: str) -> Iterator[str]:
    """Yield a header's cards."""
    return (header[start : start + CARD] for start in range(0, len(header), CARD))


def split(content: bytes) -> Iterator[Hdu]:
    """Yield the HDUs of a FITS file.

    Raises
    ------
    FormatError
        A header has no end, or the file ends before its data.
    """
    start = 0
    while start < len(content):
        end = content.find(LAST, start)
        while end >= 0 and (end - start) % CARD:
            end = content.find(LAST, end + 1)
        if end < 0:
            raise FormatError("a FITS header without END")
        header, begin = content[start:end].decode("ascii", "replace"), start + _whole(end + CARD - start)
        size = data_size(header)
        if begin + size > len(content):
            raise FormatError("a FITS file that ends before its data")
        yield Hdu(header, content[begin : begin + size])
        start = begin + _whole(size)


def data_size(header: str) -> int:
    """Return the bytes of data that a header promises (FITS standard 4.0, section 4.4.1)."""
    said = {found[1]: int(found[2]) for found in SIZES.finditer(header) if found.start() % CARD == 0}
    axes = [said[f"NAXIS{axis}"] for axis in range(1, said["NAXIS"] + 1)]
    if not axes:
        return 0
    return abs(said["BITPIX"]) // 8 * said.get("GCOUNT", 1) * (said.get("PCOUNT", 0) + math.prod(axes))


def _whole(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _changed(card: str, texts: Mapping[str, str]) -> str:
    keyword = card[:8].rstrip()
    found = TEXT.match(card[8:]) if keyword in texts else None
    return text_card(keyword, texts[keyword], (found[2] or "").strip()) if found else card


def text_card(keyword: str, text: str, comment: str = "") -> str:
    """Return the card of a keyword with this text (FITS standard 4.0, section 4.2.1); a comment that does not fit is cut."""
    value = "'" + text.replace("'", "''").ljust(8) + "'"
    return f"{keyword:8}= {value:20}{f' / {comment}' if comment else ''}".ljust(CARD)[:CARD]


def number_card(keyword: str, value: float | str, comment: str = "") -> str:
    """Return the card of a keyword with a number, or with T or F (the same, sections 4.2.2 to 4.2.4)."""
    return f"{keyword:8}= {value!s:>20}{f' / {comment}' if comment else ''}".ljust(CARD)[:CARD]


def ones_complement(content: bytes, begun: int = 0) -> int:
    """Return the 32-bit ones' complement sum of content of a multiple of four bytes, on top of another (the same, appendix J.1)."""
    total = int(np.frombuffer(content, ">u4").sum(dtype=np.uint64)) + begun
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encoded(value: int) -> bytes:
    """Return a checksum as 16 letters and digits (the same, appendix J.2)."""
    letters = np.zeros(16, np.uint8)
    for place, byte in enumerate(value.to_bytes(4, "big")):
        quarter = [byte // 4 + byte % 4 + 0x30] + [byte // 4 + 0x30] * 3
        for one in (0, 2):
            while NOT_IN_CHECKSUMS & set(quarter[one : one + 2]):
                quarter[one] += 1
                quarter[one + 1] -= 1
        letters[place::4] = quarter
    return bytes(np.roll(letters, 1))
