"""FITS headers written card by card, so that their sizes are those of the real files (FITS standard 4.0, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

BLOCK = 2880
"""Bytes of a FITS block: headers and data are padded to a multiple."""

Value = str | bool | int | float


def card(keyword: str, value: Value, comment: str = "") -> list[str]:
    """Return the 80-character card of a keyword; a text too long for one goes on in CONTINUE cards."""
    if isinstance(value, str) and len(value.replace("'", "''")) > 68:
        return _long_text(keyword, value)
    text = f"{keyword:<8}= {_literal(value)}"
    return [(f"{text} / {comment}" if comment else text)[:80].ljust(80)]


def header(cards: Sequence[str], at_least: int = 0) -> bytes:
    """Return a header as bytes, in whole blocks; blank cards before END bring it to `at_least` so many cards."""
    text = "".join([*cards, *[" " * 80] * (at_least - len(cards)), "END".ljust(80)])
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def padded(data: bytes) -> bytes:
    """Return data padded with zeros to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return f"{_quoted(value, 8):<20}"
    if isinstance(value, bool):
        return f"{'T' if value else 'F':>20}"
    if isinstance(value, int):
        return f"{value:>20}"
    return f"{repr(value).upper():>20}"


def _quoted(text: str, width: int) -> str:
    return "'" + text.replace("'", "''").ljust(width) + "'"


def _long_text(keyword: str, text: str) -> list[str]:
    step = 30 if "'" in text else 60  # quotes are written twice, and a card has room for 67 characters
    parts = [text[i : i + step] for i in range(0, len(text), step)]
    quoted = [_quoted(part + "&", 0) for part in parts[:-1]] + [_quoted(parts[-1], 0)]
    heads = [f"{keyword:<8}= "] + ["CONTINUE  "] * (len(parts) - 1)
    return [(head + body).ljust(80) for head, body in zip(heads, quoted, strict=True)]
