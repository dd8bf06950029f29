"""Files that are not what their name says: each a way in which real archives and disks have failed."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from raysearch.testing.cards import BLOCK, card, header, padded

Damage = Literal[
    "truncated", "jpeg", "html", "gzip", "empty", "no-sci", "naxis2", "naxis4", "no-cunit", "no-wave", "float64", "bscale"
]
DAMAGES: tuple[Damage, ...] = get_args(Damage)

HTML = b"<!DOCTYPE html><html><head><title>Service unavailable</title></head><body>Please try later.</body></html>\n"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def damage(content: bytes, kind: Damage) -> bytes:
    """Return a sound cube's bytes, damaged in one way.

    truncated
        Ends within the first plane of SCI.
    jpeg, html
        Another format altogether, under a FITS name.
    gzip
        The whole file compressed.
    empty
        No bytes at all.
    no-sci
        The science extension bears another name.
    naxis2, naxis4
        SCI is one plane, or has a fourth axis of length 1.
    no-cunit, no-wave
        The third axis has no unit, or is not a spectral one.
    float64
        SCI in double precision.
    bscale
        SCI as int16 with BSCALE, BZERO and BLANK.
    """
    if kind in WHOLE:
        return WHOLE[kind](content)
    start, cards, data_start, data_end = _science(content)
    cards, data = SCIENCE[kind](cards, content[data_start:data_end])
    return content[:start] + header(cards) + padded(data) + content[-(-data_end // BLOCK) * BLOCK :]


def _truncated(content: bytes) -> bytes:
    _, _, start, _ = _science(content)
    return content[: start + 100]


WHOLE: dict[Damage, Callable[[bytes], bytes]] = {
    "truncated": _truncated,
    "jpeg": lambda content: JPEG + content[: 5 * BLOCK],
    "html": lambda _: HTML,
    "gzip": lambda content: gzip.compress(content, compresslevel=1, mtime=0),
    "empty": lambda _: b"",
}

Edit = Callable[[list[str], bytes], tuple[list[str], bytes]]


def _no_sci(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    return _replaced(cards, "EXTNAME", card("EXTNAME", "SCIENCE")), data


def _naxis2(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    plane = 4 * _integer(cards, "NAXIS1") * _integer(cards, "NAXIS2")
    return _replaced(_replaced(cards, "NAXIS", card("NAXIS", 2)), "NAXIS3", []), data[:plane]


def _naxis4(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    third = card("NAXIS3", _integer(cards, "NAXIS3"))
    return _replaced(_replaced(cards, "NAXIS", card("NAXIS", 4)), "NAXIS3", third + card("NAXIS4", 1)), data


def _no_cunit(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    return _replaced(cards, "CUNIT3", []), data


def _no_wave(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    return _replaced(cards, "CTYPE3", card("CTYPE3", "STOKES")), data


def _float64(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    return _replaced(cards, "BITPIX", card("BITPIX", -64)), np.frombuffer(data, ">f4").astype(">f8").tobytes()


def _bscale(cards: list[str], data: bytes) -> tuple[list[str], bytes]:
    values = np.frombuffer(data, ">f4")
    span = float(np.nanmax(np.abs(values)))
    stored = np.where(np.isfinite(values), np.nan_to_num(values) / span * 32000, -32768).astype(">i2")
    scaling = card("BSCALE", span / 32000) + card("BZERO", 0.0) + card("BLANK", -32768)
    cards = _replaced(cards, "BITPIX", card("BITPIX", 16))
    return _replaced(cards, "EXTNAME", scaling + card("EXTNAME", "SCI")), stored.tobytes()


SCIENCE: dict[Damage, Edit] = {
    "no-sci": _no_sci,
    "naxis2": _naxis2,
    "naxis4": _naxis4,
    "no-cunit": _no_cunit,
    "no-wave": _no_wave,
    "float64": _float64,
    "bscale": _bscale,
}


def _science(content: bytes) -> tuple[int, list[str], int, int]:
    """Return where the first extension's header begins, its cards without END, and where its data begin and end."""
    start = _header_end(content, 0)
    data_start = _header_end(content, start)
    text = content[start:data_start].decode("ascii")
    cards = [text[i : i + 80] for i in range(0, len(text), 80)]
    cards = cards[: cards.index("END".ljust(80))]
    axes = [_integer(cards, f"NAXIS{i}") for i in range(1, _integer(cards, "NAXIS") + 1)]
    size = abs(_integer(cards, "BITPIX")) // 8 * int(np.prod(axes))
    return start, cards, data_start, data_start + size


def _header_end(content: bytes, start: int) -> int:
    end = content.find(b"END".ljust(80), start)
    if end < 0:
        raise ValueError(f"no FITS header at byte {start}")
    return -(-(end + 80) // BLOCK) * BLOCK


def _integer(cards: Sequence[str], keyword: str) -> int:
    found = re.search(rf"^{keyword:<8}= *(-?\d+)", "\n".join(cards), re.MULTILINE)
    if found is None:
        raise ValueError(f"the header has no {keyword}")
    return int(found.group(1))


def _replaced(cards: Sequence[str], keyword: str, instead: Sequence[str]) -> list[str]:
    """Return the cards with those of a keyword replaced."""
    out: list[str] = []
    for one in cards:
        out += instead if one.startswith(f"{keyword:<8}=") else [one]
    return out
