"""Numbers and names as figures say them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from raysearch.model import Candidate

MINUS, ARCSEC = "\u2212", "\u2033"


def record_of(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as the row of the candidate table that it becomes, as far as the detector tells it."""
    line = (
        {"line": candidate.line, "rest_um": candidate.rest_um, "wavelength_um": candidate.wavelength_um} if candidate.line else {}
    )
    return {"target": candidate.target, **line, **candidate.values}


def subject(record: Mapping[str, Any]) -> str:
    """Return what a record is about: its line, and its target where it has one."""
    parts = [str(record.get(name, "")) for name in ("line", "target")]
    return " of ".join(part for part in parts if part) or "the candidate"


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, large and small ones as powers of ten: 0.0312, 45,300, 3.2 × 10⁻¹⁹."""
    if not math.isfinite(value):
        return "unknown"
    if 1e3 <= abs(value) < 1e5:
        return f"{float(f'{value:.{digits}g}'):,.0f}".replace("-", MINUS)
    text = f"{value:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    if e:
        text = f"{mantissa} × 10{raised(exponent)}"
    return text.replace("-", MINUS)


def raised(exponent: str) -> str:
    """Return an exponent in superscript."""
    return str(int(exponent.replace(MINUS, "-"))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def measured(value: float, error: float, unit: str = "") -> str:
    """Return a number with its error, both to the error's second digit: 3.21 ± 0.45."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{number(value)} {unit}".strip()
    power = math.floor(math.log10(max(abs(value), error)))
    scale = 10.0**power if not -3 <= power <= 4 else 1.0
    decimals = max(0, 1 - math.floor(math.log10(error / scale)))
    both = f"{value / scale:,.{decimals}f} ± {error / scale:,.{decimals}f}".replace("-", MINUS)
    told = both if scale == 1.0 else f"({both}) × {number(scale, 1).partition(' × ')[2]}"
    return f"{told} {unit}".strip()


def nice(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a positive value."""
    power: float = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))
