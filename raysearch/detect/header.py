"""The cards of a cube's header that can be read: one that breaks the standard costs what it says, and nothing else."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.io import fits

LENGTH = 80
"""Characters of a card (FITS standard 4.0, section 3.3.1)."""

READABLE = re.compile(
    r"[A-Za-z0-9_-]{1,8} *(?<=^.{8})= *"
    r"(?:'(?:[ -&(-~]|'')*'|[TF]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?|) *(?:/[ -~]*)?"
)
"""A card with a text, a truth value, a number or nothing (the same standard, section 4.2)."""


def readable(text: str) -> fits.Header:
    """Return the header of those cards that can be read, from cards of 80 characters."""
    from astropy.io import fits

    cards = (text[start : start + LENGTH].ljust(LENGTH) for start in range(0, len(text), LENGTH))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cards that astropy mends
        return fits.Header.fromstring("".join(card for card in cards if READABLE.fullmatch(card)))
