"""Where the pixels of a SPHEREx frame look, how large they are on the sky, at which wavelength, and how sharply.

The distortion, the run of the wavelength and the nodes of its table are close to those of real frames (QR2); on smaller frames
they are shrunk, so that the solid angle varies by as much from edge to edge.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.testing.fields import Field
from raysearch.testing.spherex_spec import BANDS, SIDE, FrameSpec

Floats = NDArray[np.float64]
Sip = dict[tuple[int, int], float]

ORDER = 3
DISTORTION: tuple[Sip, Sip] = (
    {(0, 0): -0.359, (0, 1): -3.3e-6, (1, 0): 8.9e-5, (0, 2): 1.37e-6, (1, 1): 4.17e-6, (2, 0): 1.59e-6,
     (0, 3): 4.2e-12, (1, 2): 6.4e-10, (2, 1): 1.4e-10, (3, 0): 5.8e-10},
    {(0, 0): -1.108, (0, 1): -3.9e-4, (1, 0): 6.3e-5, (0, 2): 1.98e-6, (1, 1): 7.4e-7, (2, 0): 6.67e-6,
     (0, 3): 4.7e-10, (1, 2): 5.3e-11, (2, 1): 6.4e-10, (3, 0): 2.1e-11},
)  # fmt: skip
"""SIP coefficients A and B of a real D3 frame, rounded: with constant and linear terms, which the convention does not forbid."""

_EVEN9 = (1, 256, 511, 766, 1021, 1275, 1530, 1785, 2040)
_EVEN11 = (1, 205, 409, 613, 817, 1021, 1224, 1428, 1632, 1836, 2040)
_EVEN13 = (1, 171, 341, 511, 681, 851, 1021, 1190, 1360, 1530, 1700, 1870, 2040)
NODES: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    1: (_EVEN9, _EVEN9), 2: (_EVEN11, _EVEN11), 5: (_EVEN11, _EVEN11), 6: (_EVEN9, _EVEN9),
    3: (_EVEN9, (1, 36, 71, 105, 140, 141, 379, 617, 855, 1091, 1326, 1564, 1802, 2040)),
    4: (_EVEN13, (1, 151, 301, 451, 601, 751, 901, 1050, 1200, 1350, 1500, 1650, 1800, 1801, 1841, 1881, 1921, 1960, 2000, 2040)),
}  # fmt: skip
"""Detector -> columns and rows (counted from 1) at which WCS-WAVE gives wavelengths: denser near the dichroic's edge."""
ENDS = {
    1: (1.1146, 0.7349),
    2: (1.6501, 1.0859),
    3: (2.4192, 1.6163),
    4: (3.8181, 2.3980),
    5: (4.4182, 3.7920),
    6: (4.9989, 4.3954),
}
"""Detector -> wavelength of the first and the last row, in the middle column, micrometres."""
BOW = {1: 0.0115, 2: 0.0115, 3: 0.0115, 4: 0.014, 5: 0.0047, 6: 0.0038}
"""Detector -> fraction by which the wavelength at the left and right edges is longer than in the middle."""

ZONES = 11
"""Of QR2's PSF, in each direction."""
EPSF_LATTICE = {detector: (11, 41) if detector == 3 else (21, 21) for detector in BANDS}
"""Detector -> columns and rows of zones of QR3's effective PSF."""
EPSF_SIDE = 33
EPSF_OVERSAMPLING = 5
OVERSAMPLING = 10
FWHM_PX = 5.22 / 6.15
"""Of the PSF in the middle of a frame: PSF_FWHM over the pixel's side."""


class WaveTable:
    """WCS-WAVE: wavelengths and bandwidths at some columns and rows, and between them bilinearly (FITS Paper III, section 6.1)."""

    def __init__(self, x: NDArray[np.int64], y: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self.x = x
        """Columns, counted from 1."""
        self.y = y
        self.values = values
        """Wavelength and bandwidth, micrometres, shape (rows, columns, 2)."""

    def at(self, x: Any, y: Any) -> tuple[Floats, Floats]:
        """Return wavelength and bandwidth at pixels counted from 0, micrometres."""
        along, i = self._place(x, self.x)
        up, j = self._place(y, self.y)
        v = self.values.astype(np.float64)
        low = v[j, i] * (1 - along)[..., None] + v[j, i + 1] * along[..., None]
        high = v[j + 1, i] * (1 - along)[..., None] + v[j + 1, i + 1] * along[..., None]
        both: Floats = low * (1 - up)[..., None] + high * up[..., None]
        return both[..., 0], both[..., 1]

    @staticmethod
    def _place(pixel: Any, nodes: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
        index = np.interp(np.asarray(pixel, dtype=np.float64) + 1, nodes, np.arange(len(nodes)))
        whole = np.minimum(index.astype(np.int64), len(nodes) - 2)
        return index - whole, whole


@lru_cache(maxsize=64)
def wave_table(detector: int, nx: int, ny: int, real: Path | None = None) -> WaveTable:
    """Return a detector's table; with a folder of real data the real one, which holds for real frames only."""
    if real is not None:
        return _real_table(detector, real)
    x, y = (
        np.unique(np.rint(1 + (np.array(nodes) - 1) * (n - 1) / (SIDE - 1)).astype(np.int64))
        for nodes, n in zip(NODES[detector], (nx, ny), strict=True)
    )
    first, last = ENDS[detector]
    up, along = (y - 1) / (ny - 1), 2 * (x - 1) / (nx - 1) - 1
    wavelength = (first * (last / first) ** up)[:, None] * (1 + BOW[detector] * along**2)
    bandwidth = wavelength / BANDS[detector][2] * (1 + 0.03 * np.sin(7 * up)[:, None] * np.cos(3 * along))
    return WaveTable(x, y, np.stack([wavelength, bandwidth], axis=-1).astype(np.float32))


def _real_table(detector: int, real: Path) -> WaveTable:
    table = json.loads((real / "qr2_wcs_wave_tables.json").read_text(encoding="utf-8"))["tables"][f"D{detector}"]
    values = np.stack([table["wavelength_um"], table["bandwidth_um"]], axis=-1).astype(np.float32)
    return WaveTable(np.array(table["x"]), np.array(table["y"]), values)


class Optics:
    """The places, solid angles, wavelengths and PSFs of a detector pointed at a field; pixels count from 0."""

    def __init__(self, field: Field, detector: int, real: Path | None = None, lattice: tuple[int, int] = (ZONES, ZONES)) -> None:
        self.field = field
        self.lattice = lattice
        """Columns and rows of the PSF's zones."""
        self.waves = wave_table(detector, field.nx, field.ny, real)
        shrunk = SIDE / max(field.nx, field.ny)
        bent = 1 + 0.1 * (detector - 3)
        self.sip: tuple[Sip, Sip] = tuple(  # type: ignore[assignment]
            {(p, q): c * (bent * shrunk ** (p + q - 1) if p + q > 1 else 1.0) for (p, q), c in terms.items()}
            for terms in DISTORTION
        )
        """The coefficients A and B."""
        self._matrix = np.array(field.matrix)

    @classmethod
    def of(cls, spec: FrameSpec) -> Optics:
        """Return those of a frame."""
        lattice = EPSF_LATTICE[spec.detector] if spec.release == "qr3" else (ZONES, ZONES)
        return cls(spec.field, spec.detector, spec.real, lattice)

    def sky(self, x: Any, y: Any) -> tuple[Floats, Floats]:
        """Return right ascension and declination of pixels, degrees."""
        u, v = self._centred(x, y)
        du, dv = self._bend(u, v)
        xi, eta = np.radians(np.tensordot(self._matrix, np.stack([u + du, v + dv]), axes=1))
        dec0 = math.radians(self.field.dec)
        below = math.cos(dec0) - eta * math.sin(dec0)
        ra = self.field.ra + np.degrees(np.arctan2(xi, below))
        return ra % 360.0, np.degrees(np.arctan2(math.sin(dec0) + eta * math.cos(dec0), np.hypot(xi, below)))

    def pixel(self, ra: Any, dec: Any) -> tuple[Floats, Floats]:
        """Return where positions lie, to 1e-9 of a pixel; NaN for those on the other half of the sky."""
        a, d = np.radians(np.asarray(ra, dtype=np.float64) - self.field.ra), np.radians(np.asarray(dec, dtype=np.float64))
        dec0 = math.radians(self.field.dec)
        ahead = np.sin(d) * math.sin(dec0) + np.cos(d) * math.cos(dec0) * np.cos(a)
        ahead = np.where(ahead > 0.1, ahead, np.nan)
        xi = np.cos(d) * np.sin(a) / ahead
        eta = (np.sin(d) * math.cos(dec0) - np.cos(d) * math.sin(dec0) * np.cos(a)) / ahead
        flat_u, flat_v = np.tensordot(np.linalg.inv(self._matrix), np.degrees(np.stack([xi, eta])), axes=1)
        u, v = flat_u, flat_v
        for _ in range(20):  # each step leaves some percent of the error: the distortion's slope
            inside = np.hypot(u, v) < 2 * max(self.field.nx, self.field.ny)
            du, dv = self._bend(np.where(inside, u, 0.0), np.where(inside, v, 0.0))
            u, v = flat_u - du, flat_v - dv
        return u + (self.field.nx - 1) / 2, v + (self.field.ny - 1) / 2

    def solid_angle(self, x: Any, y: Any) -> Floats:
        """Return the solid angles of pixels, arcsec^2: the Jacobian of the distortion and of the projection."""
        u, v = self._centred(x, y)
        (au, av), (bu, bv) = (self._slopes(terms, u, v) for terms in self.sip)
        stretch = np.abs((1 + au) * (1 + bv) - av * bu) * abs(np.linalg.det(self._matrix)) * 3600.0**2
        du, dv = self._bend(u, v)
        squared = (np.hypot(u + du, v + dv) * math.radians(self.field.pixel_arcsec / 3600)) ** 2
        flat: Floats = stretch / (1 + squared) ** 1.5  # from the tangent plane to the sphere
        return flat

    def solid_angles(self) -> NDArray[np.float32]:
        """Return the map of all pixels, arcsec^2."""
        y, x = np.ogrid[: self.field.ny, : self.field.nx]
        x, y = np.broadcast_arrays(x.astype(np.float64), y.astype(np.float64))
        return self.solid_angle(x, y).astype(np.float32)

    def s_region(self) -> str:
        """Return the footprint as IRSA writes it: the outer corners of the pixels, the first one again at the end."""
        right, top = self.field.nx - 0.5, self.field.ny - 0.5
        ra, dec = self.sky(np.array([-0.5, right, right, -0.5, -0.5]), np.array([-0.5, -0.5, top, top, -0.5]))
        return "POLYGON ICRS " + " ".join(f"{float(a)!r} {float(d)!r}" for a, d in zip(ra, dec, strict=True))

    def zone(self, x: float, y: float) -> tuple[int, int]:
        """Return column and row of the PSF's zone in which a pixel lies; the nearest for places outside."""
        at = ((x + 0.5) / self.field.nx, (y + 0.5) / self.field.ny)
        ix, iy = (min(max(math.floor(n * where), 0), n - 1) for n, where in zip(self.lattice, at, strict=True))
        return ix, iy

    def inverse(self) -> tuple[Sip, Sip]:
        """Return the coefficients AP and BP, fitted as the pipeline does: good to a small part of a pixel."""
        return _inverse(self.field.nx, self.field.ny, tuple(tuple(terms.items()) for terms in self.sip))

    def _centred(self, x: Any, y: Any) -> tuple[Floats, Floats]:
        u = np.asarray(x, dtype=np.float64) - (self.field.nx - 1) / 2
        return u, np.asarray(y, dtype=np.float64) - (self.field.ny - 1) / 2

    def _bend(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        return _polynomial(self.sip[0], u, v), _polynomial(self.sip[1], u, v)

    @staticmethod
    def _slopes(terms: Sip, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        by_u = {(p - 1, q): p * c for (p, q), c in terms.items() if p}
        by_v = {(p, q - 1): q * c for (p, q), c in terms.items() if q}
        return _polynomial(by_u, u, v), _polynomial(by_v, u, v)


def psf_widths(ix: int, iy: int, lattice: tuple[int, int] = (ZONES, ZONES)) -> tuple[float, float]:
    """Return the standard deviations of a zone's PSF along x and y, pixels: a Gaussian, of another shape in each zone."""
    right, up = (2 * i / (n - 1) - 1 for i, n in zip((ix, iy), lattice, strict=True))
    sigma = FWHM_PX / math.sqrt(8 * math.log(2))
    return sigma * (1 + 0.08 * right + 0.02 * up), sigma * (1 + 0.08 * up - 0.05 * right)


def shares(centre: float, sigma: float, edges: NDArray[Any]) -> Floats:
    """Return how much of a Gaussian falls between edges, exactly."""
    from scipy.special import erf

    fractions: Floats = np.diff(erf((edges - centre) / (math.sqrt(2) * sigma))) / 2
    return fractions


@lru_cache(maxsize=4)
def psf_cube(side: int) -> NDArray[np.float32]:
    """Return the PSFs of all zones, x fastest, ten samples to a pixel; each sums to 1, and the pixel's own width is not in it.

    Each sample is wrong by chance, by a thousandth and by a millionth of the peak: measured PSFs are, and no file packs them well.
    """
    rng = np.random.default_rng(side)
    edges = (np.arange(side + 1) - side / 2) / OVERSAMPLING
    cube = np.empty((ZONES**2, side, side), np.float32)
    for plane in range(ZONES**2):
        wide, high = psf_widths(plane % ZONES, plane // ZONES)
        psf = np.outer(shares(0.0, high, edges), shares(0.0, wide, edges))
        psf = psf * rng.normal(1.0, 1e-3, psf.shape) + rng.normal(0.0, 1e-6 * psf.max(), psf.shape)
        cube[plane] = psf / psf.sum()
    return cube


@lru_cache(maxsize=2)
def epsf_cube(lattice: tuple[int, int]) -> NDArray[np.float64]:
    """Return the effective PSFs of all zones, x fastest, five samples to a pixel: what a pixel catches by its centre's distance.

    Each is scaled to the sum 1.
    """
    steps = (np.arange(EPSF_SIDE) - EPSF_SIDE // 2) / EPSF_OVERSAMPLING
    columns, rows = lattice
    cube = np.empty((rows * columns, EPSF_SIDE, EPSF_SIDE))
    for row in range(rows * columns):
        wide, high = psf_widths(row % columns, row // columns, lattice)
        across, up = (shares(0.0, sigma, steps[:, None] + [-0.5, 0.5])[:, 0] for sigma in (wide, high))
        psf = np.outer(up, across)
        cube[row] = psf / psf.sum()
    return cube


def _polynomial(terms: Sip, u: Floats, v: Floats) -> Floats:
    total = np.zeros(np.broadcast(u, v).shape)
    for (p, q), c in terms.items():
        total += c * u**p * v**q
    return total


@lru_cache(maxsize=64)
def _inverse(nx: int, ny: int, sip: tuple[tuple[tuple[tuple[int, int], float], ...], ...]) -> tuple[Sip, Sip]:
    y, x = np.mgrid[0 : ny - 1 : 21j, 0 : nx - 1 : 21j]
    u, v = (x - (nx - 1) / 2).ravel(), (y - (ny - 1) / 2).ravel()
    du, dv = (_polynomial(dict(terms), u, v) for terms in sip)
    powers = [(p, q) for p in range(ORDER + 1) for q in range(ORDER + 1 - p)]
    scale = max(nx, ny)
    design = np.stack([((u + du) / scale) ** p * ((v + dv) / scale) ** q for p, q in powers], axis=1)
    fits = (np.linalg.lstsq(design, -bent, rcond=None)[0] for bent in (du, dv))
    ap, bp = ({pq: float(c / scale ** sum(pq)) for pq, c in zip(powers, fit, strict=True)} for fit in fits)
    return ap, bp
