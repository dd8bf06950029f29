"""Where each HDU's bytes lie: a walk over a FITS file's headers that fetches no data.

Only what byte planning needs is parsed, by a scanner of 80-character cards (a JWST cube has 470 of them before its first pixel).
The header text itself is kept for those who want its WCS. Sizes follow the FITS standard 4.0, section 4.4.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from raysearch.errors import FormatError, TruncatedFile

Span = tuple[int, int]
"""First byte and the byte after the last."""
Fetch = Callable[[Sequence[Span]], Awaitable[list[bytes]]]
"""Returns the bytes of each span, fewer where the file ends."""
Value = bool | int | float | str

BLOCK = 2880
CARD = 80
FIRST_FETCH = 64 * 1024
"""Bytes fetched where a header is expected: holds PRIMARY and SCI headers of a JWST cube (40,320 bytes)."""
LONGEST_HEADER = 8 * 1024 * 1024
"""A header without END within this is no header: the longest known have 0.2 MB."""
LARGEST_DATA = 2**50
"""Bytes; a header that promises more than a petabyte is damaged."""
MOST_HDUS = 10_000

LOOKS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"BZh", "a bzip2-compressed file; unpack it with `bunzip2`"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"#ASDF", "an ASDF file"),
    (b"PAR1", "a Parquet file"),
)
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?")
WHOLE_NUMBER = re.compile(r"[+-]?\d+")
STRING = re.compile(r"'((?:[^']|'')*)'")


class Header:
    """The cards of one HDU; the first of equal keywords counts."""

    def __init__(self, text: str) -> None:
        self.text = text
        """Cards of 80 characters up to and with END, ASCII."""
        self._fields: dict[str, str] = {}
        for at in range(0, len(text), CARD):
            if text[at + 8 : at + 10] == "= ":
                self._fields.setdefault(text[at : at + 8].rstrip(), text[at + 10 : at + CARD])

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._fields

    def value(self, keyword: str) -> Value | None:
        """Return the card's value, or None where there is no such card or it has no value."""
        field = self._fields.get(keyword, "").strip()
        if field.startswith("'"):
            string = STRING.match(field)
            if string is None:
                raise FormatError(f"{keyword} holds a string without its closing quote: {field[:20]}")
            return string[1].replace("''", "'").rstrip()
        word = field.partition("/")[0].strip()
        if word in {"T", "F"}:
            return word == "T"
        if WHOLE_NUMBER.fullmatch(word):
            return int(word)
        if NUMBER.fullmatch(word):
            return float(word.upper().replace("D", "E"))
        if word:
            raise FormatError(f"{keyword} = {word} is no FITS value")
        return None

    def number(self, keyword: str, default: float) -> float:
        """Return the card's number, or the default where there is none."""
        value = self.value(keyword)
        if value is None:
            return default
        if isinstance(value, bool | str):
            raise FormatError(f"{keyword} = {value!r}: a number is expected")
        if not math.isfinite(value):  # 1E400 is written as a number, and is larger than any that a computer counts with
            raise FormatError(f"{keyword} is larger than any number that can be counted with; the header is damaged")
        return value

    def integer(self, keyword: str, default: int | None, low: int = 0) -> int:
        """Return the card's whole number, at least `low`; without a default the card must be there."""
        value = self.value(keyword)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise FormatError(f"{keyword} = {value!r}: a whole number of {low} or more is expected; the header is damaged")
        return value

    def string(self, keyword: str) -> str:
        """Return the card's text without blanks at its ends; empty where there is none."""
        value = self.value(keyword)
        return value.strip() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True, eq=False)
class Hdu:
    """One header and where its data lie."""

    index: int
    """Place in the file; PRIMARY is 0."""
    name: str
    """EXTNAME in capitals; PRIMARY for the first without one."""
    kind: str
    """IMAGE, BINTABLE or TABLE, or what else XTENSION says."""
    header: Header
    header_offset: int
    data_offset: int
    data_size: int
    """Bytes of data, without the filling of the last block."""
    bitpix: int
    shape: tuple[int, ...]
    """In NumPy's order: NAXIS1 is the last."""

    @property
    def end(self) -> int:
        """Offset of the next HDU."""
        return self.data_offset + padded(self.data_size)

    @property
    def cube_shape(self) -> tuple[int, ...]:
        """The shape without axes of length 1 beyond the first two of FITS, the last ones first, down to three axes."""
        shape = list(self.shape)
        while len(shape) > 3 and 1 in shape[:-2]:
            shape.remove(1)
        return tuple(shape)

    @property
    def plane_axis(self) -> int:
        """The FITS number of the axis along which a cube's planes lie: 3, or beyond where axes of length 1 come first."""
        long = [len(self.shape) - at for at, length in enumerate(self.shape[:-2]) if length != 1]
        return long[0] if len(self.shape) > 3 and long else 3

    def __str__(self) -> str:
        if self.kind != "IMAGE":
            return f"{self.name} ({self.kind})"
        return f"{self.name} ({' x '.join(map(str, self.shape)) or 'no data'})"


def padded(size: int) -> int:
    """Return the size in whole blocks of 2,880 bytes."""
    return -(-size // BLOCK) * BLOCK


def parse_hdu(data: bytes, offset: int, index: int) -> Hdu | None:
    """Return the HDU whose header begins with `data`, which lies at `offset` of its file; None where more of it is needed.

    Raises
    ------
    FormatError
        It is no FITS header, or it says what cannot be.
    """
    if data and not data.startswith(b"SIMPLE  =" if index == 0 else b"XTENSION="):
        raise FormatError(_what_else(data) if index == 0 else f"damaged: no extension begins at byte {offset:,}, where one should")
    end = _find_end(data, offset)
    if end is None:
        return None
    header = Header(data[:end].decode("ascii", "replace").replace("\ufffd", "?"))
    bitpix = header.value("BITPIX")
    if bitpix not in {8, 16, 32, 64, -32, -64}:
        raise FormatError(f"BITPIX = {bitpix!r} in the header at byte {offset:,}: it is none of 8, 16, 32, 64, -32, -64")
    shape = tuple(header.integer(f"NAXIS{n}", None) for n in range(header.integer("NAXIS", None), 0, -1))
    size = _data_size(header, abs(int(bitpix)) // 8, shape)
    if size > LARGEST_DATA:
        raise FormatError(f"the header at byte {offset:,} promises {size:.1e} bytes of data ({shape}): it is damaged")
    name = header.string("EXTNAME").upper() or ("PRIMARY" if index == 0 else f"HDU {index}")
    kind = header.string("XTENSION").upper() or "IMAGE"
    return Hdu(index, name, kind, header, offset, offset + padded(end), size, int(bitpix), shape)


def _find_end(data: bytes, offset: int) -> int | None:
    """Return the length of the header up to and with its END card, or None where it goes on."""
    for at in range(0, min(len(data), LONGEST_HEADER) - CARD + 1, CARD):
        keyword = data[at : at + 8]
        if keyword == b"END     ":
            return at + CARD
        if not keyword.isascii() or not keyword.decode("ascii").isprintable():
            raise FormatError(f"the header at byte {offset:,} is damaged: its card {at // CARD + 1} is no text")
    if len(data) >= LONGEST_HEADER:
        raise FormatError(f"the header at byte {offset:,} has no END within {LONGEST_HEADER:,} bytes")
    return None


def _data_size(header: Header, width: int, shape: tuple[int, ...]) -> int:
    if not shape:
        return 0
    groups, parameters = header.integer("GCOUNT", 1, low=1), header.integer("PCOUNT", 0)
    if shape[-1] == 0 and header.value("GROUPS") is True:
        shape = shape[:-1]
    return width * groups * (parameters + math.prod(shape))


def _what_else(data: bytes) -> str:
    """Return why a file that does not begin as FITS is none."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip-compressed: byte ranges are impossible; unpack it with `gunzip`"
    for magic, look in LOOKS:
        if data.startswith(magic):
            return f"not FITS: it looks like {look}"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "not FITS: it looks like a web page, such as servers send for an error or a login"
    if start.startswith(b"<"):
        return "not FITS: it looks like XML, such as servers send for an error"
    if start.startswith(b"simple"):
        return "not FITS: its first card is damaged"
    return f"not FITS: it begins with {data[:16]!r} instead of SIMPLE"


class FitsFile:
    """One file being read: its bytes fetched so far, and its headers.

    Each byte is fetched at most once. A fetch that brings fewer bytes than asked tells where the file ends.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._pieces: list[tuple[int, bytes]] = []
        self._end: int | None = None
        self._hdus: dict[int, Hdu] = {}

    async def load(self, spans: Sequence[Span]) -> None:
        """Fetch the parts of the spans that are not there yet, one request each, at the same time."""
        wanted = [(start, end) for start, end in map(self.lacking, spans) if start < end]
        if not wanted:
            return
        for (start, end), data in zip(wanted, await self._fetch(wanted), strict=True):
            self._pieces.append((start, data))
            if len(data) < end - start:
                self._end = min(self._clip(end), start + len(data))

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end, fewer where the file ends; what is not there yet is fetched."""
        await self.load([(start, end)])
        parts = []
        while start < end and (part := self._piece(start, end)):
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def lacking(self, span: Span) -> Span:
        """Return what of a span is not there yet: its end is not behind its start where all is, as far as the file goes."""
        return self._known_from(span[0]), self._clip(span[1])

    @property
    def loaded(self) -> int:
        """Bytes from the file's beginning that are there without a gap."""
        return self._known_from(0)

    @property
    def ranges(self) -> tuple[Span, ...]:
        """The bytes that are there, (start, end), disjoint and in the file's order; those that touch are joined."""
        joined: list[Span] = []
        for start, end in sorted((start, start + len(data)) for start, data in self._pieces if data):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return tuple(joined)

    async def hdu(self, offset: int, index: int) -> Hdu | None:
        """Return the HDU whose header begins at the offset, or None where the file ends there."""
        if offset not in self._hdus:
            hdu = await self._parse(offset, index)
            if hdu is None:
                return None
            self._hdus[offset] = hdu
        return self._hdus[offset]

    async def hdus(self, offset: int = 0, index: int = 0) -> AsyncIterator[Hdu]:
        """Yield the HDUs in the file's order, beginning with the one whose place is given."""
        while index < MOST_HDUS and (hdu := await self.hdu(offset, index)):
            yield hdu
            offset, index = hdu.end, index + 1

    async def _parse(self, offset: int, index: int) -> Hdu | None:
        size = FIRST_FETCH
        while True:
            known = self._known_from(offset) - offset
            data = await self.read(offset, offset + known) if known >= BLOCK else await self.read(offset, offset + size)
            if not data:
                if index == 0:
                    raise FormatError("not FITS: the file is empty")
                return None
            hdu = parse_hdu(data, offset, index)
            if hdu is not None:
                return hdu
            if self._end is not None and offset + len(data) >= self._end:
                raise TruncatedFile(f"truncated: it ends at byte {self._end:,}, inside the header that begins at byte {offset:,}")
            size = 2 * max(size, len(data))
            await self.load([(offset, offset + size)])

    def _known_from(self, start: int) -> int:
        """Return how far the bytes from `start` on are there without a gap."""
        while found := self._holder(start):
            start = found[0] + len(found[1])
        return start

    def _piece(self, start: int, end: int) -> bytes:
        found = self._holder(start)
        return found[1][start - found[0] : end - found[0]] if found else b""

    def _holder(self, place: int) -> tuple[int, bytes] | None:
        """Return the piece, and its place in the file, that has the byte at a place."""
        return next(((at, data) for at, data in self._pieces if at <= place < at + len(data)), None)

    def _clip(self, end: int) -> int:
        return end if self._end is None else min(end, self._end)
