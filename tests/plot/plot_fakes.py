"""Made-up observations to draw: two lines in a rotated cube, one of them there; and a pair of bands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from raysearch.detect import open_detector
from raysearch.model import Candidate, Detector, Limit, Line, Pixels, Target, Triptych, Window

TARGET = Target("HL Tau", 67.910, 18.233, 0.0)
THERE, ABSENT = Line("[Fe II] 5.340", 5.340), Line("H2 S(8) <5.053>", 5.390)
PIXEL, ANGLE = 0.2, 30.0
"""Arcsec; degrees from the y axis to north, counter-clockwise."""


def header(shape: tuple[int, int]) -> str:
    """Return the header of a cube whose middle is the target."""
    turned, scale = math.radians(ANGLE), PIXEL / 3600
    cards: dict[str, Any] = {
        "NAXIS": 3, "NAXIS1": shape[1], "NAXIS2": shape[0], "NAXIS3": 100, "BUNIT": "'MJy/sr  '", "PIXAR_SR": 9.4e-13,
        "CTYPE1": "'RA---TAN'", "CTYPE2": "'DEC--TAN'", "CRVAL1": TARGET.ra, "CRVAL2": TARGET.dec,
        "CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2, "CUNIT1": "'deg     '", "CUNIT2": "'deg     '",
        "CD1_1": -scale * math.cos(turned), "CD1_2": scale * math.sin(turned),
        "CD2_1": scale * math.sin(turned), "CD2_2": scale * math.cos(turned), "RADESYS": "'ICRS    '",
    }  # fmt: skip
    spelled = {name: str(value).upper() if isinstance(value, float) else value for name, value in cards.items()}
    return "".join(f"{name:<8}= {value:>20}".ljust(80) for name, value in spelled.items())


@dataclass(frozen=True)
class Observed:
    """A detector, what it saw and what it said."""

    detector: Detector
    pixels: Pixels
    records: list[Candidate | Limit]

    @property
    def candidates(self) -> list[Candidate]:
        return [record for record in self.records if isinstance(record, Candidate)]


def observe(name: str) -> Observed:
    """Return what a detector finds in a cube with one bright line, 0.8 arcsec from the target."""
    rng = np.random.default_rng(7)
    waves = 5.28 + 0.0013 * np.arange(110)
    y, x = np.mgrid[:24, :28]
    source = np.exp(-((x - 15.0) ** 2 + (y - 14.0) ** 2) / (2 * 1.6**2))
    profile = np.exp(-0.5 * ((waves - 5.3405) / 0.0008) ** 2)
    cube = (20 + rng.normal(0, 0.5, (110, 24, 28)) + 200 * profile[:, None, None] * source).astype("f4")
    cube[:, :2, :3] = np.nan
    planes = {"SCI": cube, "ERR": np.full_like(cube, 0.5)}

    def window(line: Line) -> Window:
        position = int(np.searchsorted(waves, line.rest_um))
        return Window(line, 0.0, (TARGET.name,), position, 0, 110, waves, planes, (position - 6, position + 7))

    pixels = Pixels("obs-1", "memory://cube", (window(THERE), window(ABSENT)), header((24, 28)), (TARGET,))
    detector = open_detector(name)
    return Observed(detector, pixels, list(detector.detect(pixels)))


def pair() -> tuple[Triptych, list[dict[str, Any]]]:
    """Return two bands with a source each: a blue one at (12, 10), and a red one at (30, 25)."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, (2, 40, 44))
    a[10, 12] += 90
    b[25, 30] += 60
    a[:3], b[:3] = np.nan, np.nan
    shown = Triptych("HL Tau", a, b, b - a, "µJy", header((40, 44)))
    wcs = WCS(fits.Header.fromstring(shown.header), naxis=2)
    sources = []
    for x, y, kind, difference in ((12, 10, "blue", -90.0), (30, 25, "red", 60.0)):
        ra, dec = (float(value) for value in wcs.wcs_pix2world(x, y, 0))
        fluxes = {"difference_ujy": difference, "flux_a_ujy": 1.0, "flux_b_ujy": 2.0}
        errors = {"difference_err_ujy": 1.4, "flux_a_err_ujy": 1.0, "flux_b_err_ujy": 1.0}
        bands = {"band_a": "SPHEREx-D2", "band_b": "SPHEREx-D4", "central_wavelength_a_um": 1.3, "central_wavelength_b_um": 3.0}
        sources.append({"ra": ra, "dec": dec, "kind": kind, "snr": 9.0, **fluxes, **errors, **bands})
    return shown, sources


class Silent:
    """A detector that tells nothing of what it looks at."""

    window = None
    columns: ClassVar[dict[str, str]] = {}

    def detect(self, pixels: Pixels) -> Sequence[Candidate | Limit]:
        return []


class Telling(Silent):
    """A detector of pairs that shows what it compared."""

    def triptych(self, pixels: Pixels) -> list[Triptych]:
        return [pair()[0]]
