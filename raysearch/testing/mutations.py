"""Broken inputs in great number: sound files and texts, changed at random where it hurts.

The same `random.Random` gives the same changes. FITS files are changed where readers believe them: values of cards, names of
keywords, ends of headers, sizes, descriptors of tables, numbers that are none; and as any file may be: cut short, overwritten, out
of order.
"""

from __future__ import annotations

import gzip
import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from raysearch.read.fits import LONGEST_HEADER
from raysearch.testing.cards import BLOCK

CARD = 80
STRUCTURE = (
    *("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS4", "PCOUNT", "GCOUNT", "GROUPS", "EXTNAME", "XTENSION", "END"),
    *("TFIELDS", "TFORM1", "TTYPE1", "TFORM2", "TTYPE2", "TDIM1", "THEAP", "TSCAL1", "TZERO1", "BSCALE", "BZERO", "BLANK"),
    *("ZIMAGE", "ZCMPTYPE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZNAME1", "ZVAL1", "ZVAL2"),
    *("CTYPE1", "CTYPE2", "CTYPE3", "CUNIT1", "CUNIT3", "CRVAL1", "CRVAL2", "CRVAL3", "CRPIX1", "CRPIX2", "CRPIX3"),
    *("CDELT1", "CDELT3", "CD1_1", "CD3_3", "PC1_1", "PC3_3", "PC3_1", "PS3_0", "PS3_1", "PS3_2", "RESTFRQ", "RESTWAV", "VELREF"),
    *("A_ORDER", "A_2_0", "AP_ORDER", "B_ORDER", "WCSAXES", "LONPOLE", "RADESYS", "EQUINOX", "CRPIX1A", "CRPIX2A", "CTYPE1W"),
    *("DETECTOR", "VERSION", "OVERSAMP", "OVSMPX", "XCTR_1", "YCTR_121", "MSKN0000", "MJD-AVG", "OBSID"),
)
"""Keywords that decide how a file is read."""
NUMBERS = (
    *(-(2**63), -(2**31), -64, -33, -32, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 32, 64, 255, 999, 2880, 32768, 65536, 10**6),
    *(2**31 - 1, 2**31, 2**32, 2**40, 2**50, 2**53, 2**62, 2**63 - 1, 2**63, 10**30, 10**60),
    *(1.5, -0.0, 1e-5, 1e-310, -1e-310, 1e38, 1e39, 1e308, -1e308),
)
WORDS = (
    *("1E400", "-1D400", "1e", ".", "+", "-", "0x10", "(1.0, 2.0)", "NaN", "INF", "T", "F", "", "abc", "1 2", "9" * 70, "\x00"),
    *("\xff",),
    *("'", "'unclosed", "''", "'''", "'   '", "'SCI'", "'IMAGE'", "'FLAGS'", "'PSF'", "'EPSF'", "'WCS-TABLE'", "'WCS-WAVE'"),
    *("'PRIMARY'", "'ERR'", "'DQ'", "'BINTABLE'", "'TABLE'", "'COMPRESSED_DATA'", "'RICE_1'", "'GZIP_1'", "'PLIO_1'"),
    *("'HCOMPRESS_1'",),
    *("'1PB(999)'", "'1QI(9)'", "'PB'", "'0E'", "'99999999999E'", "'1X'", "'3A'", "'WAVE'", "'WAVE-TAB'", "'WAVE-LOG'", "'AWAV'"),
    *("'FREQ'", "'VRAD'", "'VOPT-F2W'", "'VELO-LSR'", "'ENER'", "'ZOPT'", "'BETA'", "'RA---TAN-SIP'", "'DEC--TAN-SIP'"),
    *("'RA---XYZ'",),
    *("'um'", "'nm'", "'Angstrom'", "'GHz'", "'km/s'", "'parsec'", "'um^^2'", "'m('", "'10**-6 m'", "'deg'", "'6.5.4'", "'7.0.5'"),
)
VALUES = (*(f"{number!r:>20}".upper() for number in NUMBERS), *WORDS)
FLOATS = (float("nan"), float("inf"), float("-inf"), 1e-310, -1e-310, 1e-40, -0.0, 0.0, 3.4e38, -3.4e38, 1e308)


@dataclass(frozen=True, slots=True)
class FitsSeed:
    """A sound FITS file, and where its headers are."""

    content: bytes
    headers: tuple[tuple[int, int], ...]
    """First byte, and the number of cards with END, of each."""

    @classmethod
    def of(cls, content: bytes) -> FitsSeed:
        """Take a file apart, as far as its headers end."""
        found = []
        for start in range(0, len(content), BLOCK):
            if content.startswith((b"SIMPLE  =", b"XTENSION="), start):
                end = content.find(b"END".ljust(CARD), start)
                if end < 0:
                    break
                found.append((start, (end - start) // CARD + 1))
        return cls(content, tuple(found))


def mutated_fits(seeds: Sequence[FitsSeed], rng: random.Random) -> bytes:
    """Return one of the files, changed in one to five ways."""
    seed = rng.choice(seeds)
    data = bytearray(seed.content)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        rng.choice(_EDITS)(data, seed, rng)
    if rng.random() < 0.3:
        data = rng.choice(_CUTS)(data, rng)
    return bytes(data)


def mutated_file(content: bytes, rng: random.Random) -> bytes:
    """Return a file, sound or not, changed as `mutated_fits` does; one without a header only grows."""
    seed = FitsSeed.of(content)
    return mutated_fits((seed,), rng) if seed.headers else content + b"SIMPLE  =".ljust(CARD)


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return any file, cut short, zeroed, longer, or with some bytes overwritten."""
    data = bytearray(content or b"x")
    kind, at = rng.randrange(6), rng.randrange(len(data))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        return bytes(len(data))
    if kind == 2:
        return bytes(data) + rng.randbytes(rng.choice((1, 100)))
    length = rng.choice((1, 1, 4, 8, 64))
    data[at : at + length] = rng.choice((rng.randbytes(length), b"\xff" * length, bytes(length)))
    return bytes(data)


@cache
def bomb(size: int) -> bytes:
    """Return a small gzip file that unpacks to so many bytes: a FITS header without end."""
    packer, piece = zlib.compressobj(9, wbits=31), b" " * 2**20
    parts = [packer.compress(b"SIMPLE  =                    T".ljust(CARD) + b" " * ((size - CARD) % len(piece)))]
    parts += [packer.compress(piece) for _ in range((size - CARD) // len(piece))]
    return b"".join(parts) + packer.flush()


def mutated_text(seeds: Sequence[str], tokens: Sequence[str], rng: random.Random) -> str:
    """Return one of the texts, words or pieces of which are repeated, left out, or replaced by tokens or by any character."""
    text = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        words = [found.span() for found in re.finditer(r"[\w.+-]+|\S", text)]
        at = rng.randrange(len(text) + 1)
        at, to = rng.choice(words) if words and rng.random() < 0.7 else (at, at + rng.randrange(40))
        token = rng.choice(tokens)
        new = rng.choice((token, token, token, "", text[at:to] * rng.choice((2, 3, 20)), chr(rng.randrange(0x3000))))
        text = text[:at] + new + text[to:]
    return text


def _card_at(seed: FitsSeed, rng: random.Random) -> int:
    """Return where a card begins: rather one of the first of its header, which decide most."""
    start, count = rng.choice(seed.headers)
    return start + CARD * (rng.randrange(min(count, 12)) if rng.random() < 0.4 else rng.randrange(count))


def _place_of(data: bytearray, keyword: str, seed: FitsSeed, rng: random.Random) -> int:
    """Return where a header has a keyword, or else any card."""
    start, count = rng.choice(seed.headers)
    wanted = keyword.ljust(8).encode()
    places = (at for at in range(start, start + CARD * count, CARD) if data[at : at + 8] == wanted)
    return next(places, _card_at(seed, rng))


def _written(keyword: str, value: str) -> bytes:
    return f"{keyword:<8}= {value}".ljust(CARD)[:CARD].encode("latin-1")


def _another_value(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    keyword = rng.choice(STRUCTURE)
    at = _place_of(data, keyword, seed, rng)
    data[at : at + CARD] = _written(keyword, rng.choice(VALUES))


def _value_in_place(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    at = _card_at(seed, rng)
    data[at + 10 : at + CARD] = rng.choice(VALUES).ljust(CARD - 10)[: CARD - 10].encode("latin-1")


def _another_keyword(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    at = _card_at(seed, rng)
    data[at : at + 8] = rng.choice(STRUCTURE).ljust(8).encode()


def _card_of_elsewhere(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    at, other = _card_at(seed, rng), _card_at(seed, rng)
    data[at : at + CARD] = data[other : other + CARD]


def _no_end(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    start, count = rng.choice(seed.headers)
    at = start + CARD * (count - 1)
    data[at : at + CARD] = b"COMMENT".ljust(CARD)


def _cards_without_end(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    start, count = rng.choice(seed.headers)
    del data[start + CARD * (count - 1) :]
    count = LONGEST_HEADER // CARD + 1 if rng.random() < 0.15 else rng.randrange(1, 4000)
    data += rng.choice((b"COMMENT", b"KEY     = 1", b"")).ljust(CARD) * count


def _promise(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    """Promise more data than there are, into the next header, beyond the file, or a petabyte; or less than none."""
    keyword = rng.choice(("NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "THEAP", "ZNAXIS1", "ZNAXIS2"))
    at = _place_of(data, keyword, seed, rng)
    there = re.fullmatch(rb"[^=]*= +(\d{1,18})[ /].*", bytes(data[at : at + CARD]), re.DOTALL)
    much = int(there[1]) if there else rng.choice((1, 8, BLOCK))
    value = rng.choice((much + 1, much * 2, much * 1000, 2**48, 2**50, 2**50 + 1, 2**62, -1, -much, 0))
    data[at : at + CARD] = _written(keyword, f"{value:>20}")


def _twin(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    """Give an extension the name of another."""
    names = [
        at for start, count in seed.headers for at in range(start, start + CARD * count, CARD) if data[at : at + 8] == b"EXTNAME "
    ]
    if len(names) > 1:
        at, other = rng.sample(names, 2)
        data[at : at + CARD] = data[other : other + CARD]


def _whole_plane(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    """Fill all data of an extension with one number: NaN, an infinity, a denormal, or nothing."""
    at = rng.randrange(len(seed.headers))
    start, count = seed.headers[at]
    begin = min(start + -(-count * CARD // BLOCK) * BLOCK, len(data))
    end = min(seed.headers[at + 1][0] if at + 1 < len(seed.headers) else len(data), len(data))
    width, value = rng.choice(((">f", 4), (">f", 4), (">d", 8))), rng.choice(FLOATS[:-1])
    data[begin:end] = (struct.pack(width[0], value) * (-(-max(end - begin, 0) // width[1])))[: max(end - begin, 0)]


def _numbers_that_are_none(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    pattern = struct.pack(*((">f", rng.choice(FLOATS[:-1])) if rng.random() < 0.7 else (">d", rng.choice(FLOATS))))
    if rng.random() < 0.3:
        pattern = struct.pack(">i", rng.choice((-1, 0, 1, -(2**31), 2**31 - 1, 65536)))
    start = _data_at(data, seed, rng)
    count = rng.choice((1, 2, 16, 1000, 100_000))
    end = min(len(data), start + count * len(pattern))
    data[start:end] = (pattern * count)[: end - start]


def _noise(data: bytearray, seed: FitsSeed, rng: random.Random) -> None:
    start = _data_at(data, seed, rng) if rng.random() < 0.7 else rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 1, 4, 8, 80, 2880)))
    data[start:end] = rng.randbytes(end - start)


def _data_at(data: bytearray, seed: FitsSeed, rng: random.Random) -> int:
    start, count = rng.choice(seed.headers)
    begin = start + -(-count * CARD // BLOCK) * BLOCK
    return min(begin + 4 * rng.choice((0, 0, rng.randrange(16), rng.randrange(1024))), max(len(data) - 1, 0))


_EDITS: tuple[Callable[[bytearray, FitsSeed, random.Random], None], ...] = (
    *(_another_value,) * 6,
    *(_value_in_place,) * 3,
    _another_keyword,
    _card_of_elsewhere,
    _no_end,
    _cards_without_end,
    *(_promise,) * 2,
    _twin,
    _whole_plane,
    *(_numbers_that_are_none,) * 2,
    *(_noise,) * 2,
)


def _cut_short(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _cut_at_block(data: bytearray, rng: random.Random) -> bytearray:
    return data[: BLOCK * rng.randrange(len(data) // BLOCK + 1)]


def _block_less(data: bytearray, rng: random.Random) -> bytearray:
    at = BLOCK * rng.randrange(len(data) // BLOCK + 1)
    return data[:at] + data[at + BLOCK :]


def _block_twice(data: bytearray, rng: random.Random) -> bytearray:
    at = BLOCK * rng.randrange(len(data) // BLOCK + 1)
    return data[: at + BLOCK] + data[at:]


def _packed(data: bytearray, rng: random.Random) -> bytearray:
    packed = bytearray(gzip.compress(bytes(data), compresslevel=1, mtime=0))
    if rng.random() < 0.5:
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    return packed[: rng.randrange(len(packed))] if rng.random() < 0.3 else packed


_CUTS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (_cut_short, _cut_at_block, _block_less, _block_twice, _packed)
