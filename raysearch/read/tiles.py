"""Boxes of tile-compressed images (FITS standard 4.0, section 10): only the tiles needed are fetched and unpacked."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import FormatError, TruncatedFile
from raysearch.read.boxes import Box
from raysearch.read.fits import BLOCK, CARD, FitsFile, Hdu, Span, padded

STORAGE = re.compile(
    r"(?:XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|T(?:TYPE|FORM|UNIT|DIM|NULL|SCAL|ZERO)\d+"
    r"|Z(?:IMAGE|TENSION|SIMPLE|EXTEND|BLOCKED|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|MASKCMP|QUANTIZ|DITHER0"
    r"|BLANK|HECKSUM|DATASUM)|CHECKSUM|DATASUM|END) *"
)
"""Keywords of the table in which the image is kept, and of the way it is: the image itself has none of them."""
DESCRIPTORS = {"P": ">i4", "Q": ">i8"}
GZIP = b"\x1f\x8b"
MOST_BYTES = 8
"""Of a pixel."""


@dataclass(frozen=True, slots=True)
class _Tiles:
    """A block of tiles, counted from 0, ends exclusive."""

    columns: tuple[int, int]
    rows: tuple[int, int]


class TiledPlane:
    """An image extension of integers kept as a table of compressed tiles (ZIMAGE)."""

    def __init__(self, hdu: Hdu) -> None:
        header = hdu.header
        bitpix = header.value("ZBITPIX")
        sizes = tuple(header.integer(f"ZNAXIS{axis}", None, low=1) for axis in range(header.integer("ZNAXIS", None), 0, -1))
        if len(sizes) != 2 or hdu.kind != "BINTABLE" or bitpix not in {8, 16, 32}:
            raise FormatError(f"{hdu}: a compressed image of {len(sizes)} axes and BITPIX {bitpix}; unpack it with `funpack`")
        form = re.fullmatch(r"1?([PQ])\w+(?:\(\d+\))?", header.string("TFORM1"))
        if header.string("TTYPE1") != "COMPRESSED_DATA" or header.integer("TFIELDS", None) != 1 or form is None:
            raise FormatError(f"{hdu}: its tiles are not in one column COMPRESSED_DATA; unpack it with `funpack`")
        self.hdu = hdu
        self.bitpix = int(bitpix)
        self.shape = (sizes[0], sizes[1])
        self._tile = header.integer("ZTILE2", 1, low=1), header.integer("ZTILE1", sizes[1], low=1)
        self._descriptor = np.dtype((DESCRIPTORS[form[1]], 2))
        self._per_row = -(-sizes[1] // self._tile[1])
        if hdu.shape != (self._per_row * -(-sizes[0] // self._tile[0]), self._descriptor.itemsize):
            raise FormatError(
                f"{hdu}: {hdu.shape[0]} rows of {hdu.shape[1]} bytes do not fit tiles of {self._tile} on {self.shape}"
            )
        self._heap = hdu.data_offset + header.integer("THEAP", hdu.shape[0] * hdu.shape[1])

    @property
    def header(self) -> str:
        """The image's header as text: nothing in it tells of tiles."""
        ny, nx = self.shape
        first = {"XTENSION": "'IMAGE   '", "BITPIX": self.bitpix, "NAXIS": 2, "NAXIS1": nx, "NAXIS2": ny, "PCOUNT": 0, "GCOUNT": 1}
        text = self.hdu.header.text
        cards = [text[at : at + CARD] for at in range(0, len(text), CARD)]
        kept = [card for card in cards if not STORAGE.fullmatch(card[:8])]
        return "".join([f"{key:<8}= {value:>20}".ljust(CARD) for key, value in first.items()] + kept)

    async def spans(self, file: FitsFile, box: Box) -> list[Span]:
        """Return where the tiles that a box touches lie; the table of tiles is read for that."""
        found = await self._descriptors(file, self._touched(box))
        return [(self._heap + int(at), self._heap + int(at + size)) for size, at in found]

    async def load(self, file: FitsFile, box: Box) -> NDArray[Any]:
        """Return a box's values.

        Raises
        ------
        FormatError
            They cannot be unpacked.
        """
        tiles = self._touched(box)
        spans = await self.spans(file, box)
        parts = [await file.read(start, end) for start, end in spans]
        if any(len(part) < end - start for part, (start, end) in zip(parts, spans, strict=True)):
            raise TruncatedFile(f"truncated: it ends in the tiles of {self.hdu.name}, of rows {box.y0}-{box.y1 - 1}")
        values = self._unpacked(tiles, parts)
        at = box.seen_from(tiles.columns[0] * self._tile[1], tiles.rows[0] * self._tile[0])
        cut = values[at.y0 : at.y1, at.x0 : at.x1]
        cut = cut.astype(cut.dtype.newbyteorder("="))
        cut.setflags(write=False)
        return cut

    def held(self, box: Box) -> int:
        """Return how many bytes loading a box takes: the tiles that it touches, unpacked, and their values, handed on as a copy."""
        (top, bottom), (left, right) = self._pixels_of(self._touched(box))
        return 3 * 8 * (bottom - top) * (right - left)  # no more than 8 bytes, where they are scaled

    def _touched(self, box: Box) -> _Tiles:
        high, wide = self._tile
        return _Tiles((box.x0 // wide, -(-box.x1 // wide)), (box.y0 // high, -(-box.y1 // high)))

    async def _descriptors(self, file: FitsFile, tiles: _Tiles) -> NDArray[np.int64]:
        """Return size and place in the heap of each tile, bytes, row after row."""
        width, first, (left, right) = self._descriptor.itemsize, self.hdu.data_offset, tiles.columns
        start, end = (first + row * self._per_row * width for row in tiles.rows)
        data = await file.read(start, end)
        if len(data) < end - start:
            raise TruncatedFile(f"truncated: it ends in the table of {self.hdu.name}'s tiles")
        rows = np.frombuffer(data, self._descriptor).reshape(-1, self._per_row, 2)
        descriptors = rows[:, left:right].reshape(-1, 2).astype(np.int64)
        if (descriptors < 0).any() or (descriptors.sum(axis=1) > self.hdu.data_size).any():
            raise FormatError(f"{self.hdu.name} is damaged: tiles are said to lie outside of its data")
        return descriptors

    def _unpacked(self, tiles: _Tiles, parts: list[bytes]) -> NDArray[Any]:
        """Return the pixels of a block of tiles: they are made a compressed image of their own, which astropy unpacks."""
        from astropy.io import fits

        self._refuse_bombs(parts)
        sizes = np.array([len(part) for part in parts])
        table = np.stack([sizes, np.cumsum(sizes) - sizes], axis=1).astype(self._descriptor.base).tobytes()
        heap = b"".join(parts)
        data = table + heap
        header = self._header_of(tiles, len(parts), len(heap))
        file = fits.PrimaryHDU().header.tostring().encode() + header + data + bytes(padded(len(data)) - len(data))
        try:
            with fits.open(io.BytesIO(file), memmap=False) as hdus:
                values: NDArray[Any] = hdus[1].data
        except Exception as exc:  # the class of the unpacker's own errors is private to astropy
            raise FormatError(f"{self.hdu.name} is damaged: its tiles cannot be unpacked ({exc})") from exc
        (top, bottom), (left, right) = self._pixels_of(tiles)
        if values is None or values.shape != (bottom - top, right - left):  # a card that stands twice, the second time otherwise
            raise FormatError(f"{self.hdu.name} is damaged: its tiles do not unpack to an image")
        return values

    def _refuse_bombs(self, parts: list[bytes]) -> None:
        """Raise FormatError where gzip would unpack a tile to more than its pixels have: a megabyte can hold a gigabyte."""
        most = MOST_BYTES * self._tile[0] * self._tile[1]
        for part in parts:
            if part.startswith(GZIP):
                try:
                    size = len(zlib.decompressobj(wbits=31).decompress(part, most + 1))
                except zlib.error as exc:
                    raise FormatError(f"{self.hdu.name} is damaged: its tiles cannot be unpacked ({exc})") from exc
                if size > most:
                    raise FormatError(f"{self.hdu.name} is damaged: a tile unpacks to more than its {most // MOST_BYTES:,} pixels")

    def _pixels_of(self, tiles: _Tiles) -> tuple[tuple[int, int], ...]:
        """Return the first row and the one after the last of a block of tiles, and the same of its columns."""
        spans = zip((tiles.rows, tiles.columns), self._tile, self.shape, strict=True)
        return tuple((first * size, min(stop * size, length)) for (first, stop), size, length in spans)

    def _header_of(self, tiles: _Tiles, count: int, heap: int) -> bytes:
        (top, bottom), (left, right) = self._pixels_of(tiles)
        new = {"NAXIS2": count, "PCOUNT": heap, "THEAP": None, "ZNAXIS1": right - left, "ZNAXIS2": bottom - top}
        text = self.hdu.header.text
        cards = []
        for card in (text[at : at + CARD] for at in range(0, len(text), CARD)):
            keyword = card[:8].rstrip()
            if keyword not in new:
                cards.append(card if STORAGE.fullmatch(card[:8]) or keyword in {"BSCALE", "BZERO", "BLANK"} else "")
            elif new[keyword] is not None:
                cards.append(f"{keyword:<8}= {new[keyword]:>20}".ljust(CARD))
        header = "".join(cards)
        return header.ljust(-(-len(header) // BLOCK) * BLOCK).encode("ascii", "replace")
