"""What decides a SPHEREx Level 2 frame: its place, time and release, the sources on it, and what is wrong with its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from raysearch.testing.fields import Field

BANDS = {
    1: (7.4550e-07, 1.11670e-06, 39.1), 2: (1.10330e-06, 1.64990e-06, 41.4), 3: (1.63010e-06, 2.43460e-06, 40.6),
    4: (2.40270e-06, 3.84730e-06, 34.9), 5: (3.81130e-06, 4.43000e-06, 111.6), 6: (4.41150e-06, 5.00960e-06, 127.8),
}  # fmt: skip
"""Detector -> shortest and longest wavelength (metres), and resolving power, as IRSA's SIA2 gives them."""

SOURCE_BIT = 21
"""Of FLAGS: a known source maps to the pixel; true of about half of all pixels, and no defect."""
FLAG_BITS = {
    "TRANSIENT": 0, "OVERFLOW": 1, "SUR_ERROR": 2, "PHANTOM": 4, "REFERENCE": 5, "NONFUNC": 6, "DICHROIC": 7, "MISSING_DATA": 9,
    "HOT": 10, "COLD": 11, "FULLSAMPLE": 12, "PHANMISS": 14, "NONLINEAR": 15, "PERSIST": 17, "OUTLIER": 19, "SOURCE": SOURCE_BIT,
    "GHOST": 22, "GHOST_FPA": 23, "GHOST_EXT": 24, "BLOOM": 26, "SNOWBALL": 27, "HALO": 28,
}  # fmt: skip
"""Flag -> its bit, in the second release (QR2)."""
QR3_FLAG_BITS = FLAG_BITS | {"CROSSTALK": 20, "STREAK": 25, "SATELLITE_HALO": 29}

SIDE = 2040
"""Rows and columns of a real frame."""
PIXEL_ARCSEC = 6.153
"""Side of a pixel in the middle of a frame, so that its solid angle is the 37.86 arcsec^2 of the headers' OMEGA_MEDIAN."""


@dataclass(frozen=True, slots=True)
class PointSource:
    """A star with the spectrum of a power law, or with one flux for each detector."""

    name: str
    ra: float
    """Degrees, ICRS."""
    dec: float
    flux_ujy: float
    """At `at_um`, uJy."""
    index: float = 0.0
    """Flux density goes with the wavelength to this power: positive is red, negative is blue."""
    at_um: float = 2.0
    bands: Mapping[int, float] = field(default_factory=dict)
    """Detector -> flux in uJy, in place of the power law's."""

    def flux(self, wavelength_um: float, detector: int) -> float:
        """Return the flux at a wavelength of a detector, uJy."""
        return self.bands.get(detector, self.flux_ujy * (wavelength_um / self.at_um) ** self.index)


@dataclass(frozen=True, slots=True)
class Blemish:
    """Pixels that are bad: the flag is set, and their values are wrong in the flag's way (see `spherex_pixels`)."""

    ra: float
    """Degrees, ICRS."""
    dec: float
    flag: str = "TRANSIENT"
    radius_px: float = 0.0
    """All pixels whose centres are so near; 0: the pixel at the place alone."""


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """Everything that decides a frame: the same spec gives the same bytes."""

    number: int
    """Of the exposure within its period."""
    detector: int
    """1 to 6."""
    field: Field
    """Before distortion: `spherex_optics.Optics` has the true places."""
    period: str = "2025W51_1A"
    version: str = "l2b-v21-2025-354"
    release: str = "qr2"
    """`qr2` or `qr3`: the third packs FLAGS, spells their names otherwise, and has a table EPSF in place of PSF."""
    pipeline: str = "6.5.4+psffix1"
    """Of the primary header's VERSION; up to 6.5.5 without `+psffix1` the PSF's header numbers the zones wrongly."""
    mjd: float = 61027.215
    """At its begin."""
    sources: tuple[PointSource, ...] = ()
    zodi: float = 0.3
    """Zodiacal light in the middle, MJy/sr: in IMAGE, and as ZODI."""
    zodi_slope: tuple[float, float] = (0.0, 0.0)
    """Its relative change from the first to the last column, and row."""
    background: float = 0.0
    """More diffuse light in IMAGE, which ZODI does not know, MJy/sr."""
    noise: float = 0.02
    """One standard deviation where there are no sources, MJy/sr; VARIANCE holds the square, larger upon sources."""
    tails: float = 0.0
    """Fraction of pixels with four times that noise, without a word about it in VARIANCE or FLAGS."""
    bad: float = 0.0
    """Bad pixels by chance, as a multiple of those in a real frame."""
    blemishes: tuple[Blemish, ...] = ()
    without: tuple[str, ...] = ()
    """Extensions that the file lacks."""
    psf_side: int = 0
    """Pixels across a plane of the PSF; 0: the 101 of a real frame for one of its size, else 41 (all but 1e-5 of the light)."""
    image_blocks: int = 8
    """Blocks of the IMAGE header: 7 or 8, the only one whose length varies."""
    real: Path | None = None
    """A folder with a real IMAGE header and the detectors' tables of wavelengths, to be used in place of made-up ones."""

    @property
    def obs_id(self) -> str:
        """As IRSA names it: several detectors share one."""
        return f"{self.period}_{self.number:04d}_1"

    @property
    def key(self) -> str:
        """Its key in the public bucket, which is also its path below `ibe/data/spherex`."""
        name = f"level2_{self.obs_id}D{self.detector}_spx_{self.version}.fits"
        return f"{self.release}/level2/{self.period}/{self.version}/{self.detector}/{name}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.field.ny, self.field.nx

    @property
    def flag_bits(self) -> Mapping[str, int]:
        """Flag -> its bit, of the frame's release."""
        return QR3_FLAG_BITS if self.release == "qr3" else FLAG_BITS
