"""A flat field on the sky: its header cards, its footprint, and the positions of its pixels (TAN projection)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raysearch.testing.cards import card


@dataclass(frozen=True, slots=True)
class Field:
    """A grid of square pixels, gnomonic about its centre (Calabretta and Greisen 2002, section 5.1.3)."""

    ra: float
    """Of the centre, degrees."""
    dec: float
    nx: int
    ny: int
    pixel_arcsec: float
    rotation: float = 0.0
    """Angle of the grid on the sky, degrees."""

    @property
    def matrix(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Degrees on the tangent plane per pixel: the PC matrix where CDELT is 1."""
        cos, sin = math.cos(math.radians(self.rotation)), math.sin(math.radians(self.rotation))
        scale = self.pixel_arcsec / 3600
        return (-scale * cos, scale * sin), (scale * sin, scale * cos)

    def sky(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a pixel, counted from 0 at the centre of the first one; degrees."""
        dx, dy = x - (self.nx - 1) / 2, y - (self.ny - 1) / 2
        (a, b), (c, d) = self.matrix
        xi, eta, dec0 = math.radians(a * dx + b * dy), math.radians(c * dx + d * dy), math.radians(self.dec)
        below = math.cos(dec0) - eta * math.sin(dec0)
        ra = self.ra + math.degrees(math.atan2(xi, below))
        return ra % 360.0, math.degrees(math.atan2(math.sin(dec0) + eta * math.cos(dec0), math.hypot(xi, below)))

    def s_region(self) -> str:
        """Return the footprint, its first corner repeated at the end as IRSA writes it."""
        right, top = self.nx - 0.5, self.ny - 0.5
        corners = [self.sky(x, y) for x, y in ((-0.5, -0.5), (right, -0.5), (right, top), (-0.5, top), (-0.5, -0.5))]
        return "POLYGON ICRS " + " ".join(f"{ra!r} {dec!r}" for ra, dec in corners)

    def cards(self, kind: str = "TAN", axes: int = 2) -> list[str]:
        """Return the celestial cards: CDELT is 1, and the PC matrix holds degrees per pixel."""
        cards = card("WCSAXES", axes)
        for axis, size, name, value in ((1, self.nx, "RA---", self.ra), (2, self.ny, "DEC--", self.dec)):
            cards += card(f"CTYPE{axis}", f"{name}{kind}") + card(f"CRPIX{axis}", (size + 1) / 2)
            cards += card(f"CRVAL{axis}", value) + card(f"CDELT{axis}", 1.0) + card(f"CUNIT{axis}", "deg")
        for i, row in enumerate(self.matrix, start=1):
            for j, element in enumerate(row, start=1):
                cards += card(f"PC{i}_{j}", element)
        return [*cards, *card("RADESYS", "ICRS")]
