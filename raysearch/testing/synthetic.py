"""Synthetic JWST spectral cubes (`*_s3d.fits`) with the byte layout of the real ones, and files damaged on purpose.

The layout was read from level-3 products: a PRIMARY header of 31,680 bytes, an SCI header of 8,640 (so that the science
data begin at byte 40,320), planes with the wavelength as the slowest axis, DQ as int32 with BZERO 2^31. Layout "old" is what
the pipeline wrote until 2025, "new" what version 2 writes: DQ before ERR, and a WCS-TABLE even where the axis is linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.testing.cards import card, header, padded

PRIMARY_CARDS = 375
SCI_CARDS = 90
"""Cards of the real headers, CONTINUE cards included: they decide the number of blocks, 11 and 3."""

ASDF_BYTES = 38_633
BAD = 513
"""DQ of an unusable voxel, DO_NOT_USE + NON_SCIENCE: the only value but 0 that real cubes hold."""


@dataclass(frozen=True, slots=True)
class Jet:
    """Extended emission in one line."""

    rest_um: float
    """Rest wavelength of its line, micrometres."""
    amplitude: float = 8.0
    """Brightness in the line's brightest plane, in units of the cube's background."""
    length: float = 11.0
    """Spaxels from end to end."""
    width: float = 5.0
    """Spaxels across."""
    planes: int = 1
    """Planes in which it shines, 1 to 3, the middle one at the line."""
    angle: float = 30.0
    """Direction of its long axis in the plane, degrees from +x towards +y."""
    resolving_power: float = 0.0
    """Of the instrument that spreads its line over the planes, the middle of the profile in the middle of a plane; 0: it is as
    bright in each of `planes`."""


@dataclass(frozen=True, slots=True)
class CubeSpec:
    """Everything that decides a synthetic cube: the same spec gives the same bytes."""

    name: str = "jw09001-o001_t001_miri_ch4-long"
    """The file's name without `_s3d.fits`; also the archive's obs_id."""
    target: str = "SYNTHETIC"
    instrument: str = "MIRI"
    """MIRI or NIRSPEC."""
    channel: str = "4"
    """MRS channel, or the grating for NIRSpec."""
    band: str = "LONG"
    """MRS band, or the filter for NIRSpec."""
    planes: int = 120
    ny: int = 15
    nx: int = 15
    wave_start_um: float = 25.0
    """Wavelength of the first plane, micrometres."""
    wave_step_um: float = 0.0125
    """From plane to plane, micrometres; at the blue end where `axis` is "tab"."""
    ra: float = 68.9742
    """Right ascension of the field's centre, degrees; negative as real headers have it is fine."""
    dec: float = 25.1156
    """Declination of the field's centre, degrees."""
    pixel_arcsec: float = 0.35
    rotation: float = 110.0
    """Angle of the pixel grid on the sky, degrees: the PC matrix."""
    redshift: float = 0.0
    """Of the jets' lines."""
    jets: tuple[Jet, ...] = ()
    background: float = 100.0
    """MJy/sr; the published detector needs it positive."""
    noise: float = 4.0
    """Standard deviation of a voxel, MJy/sr."""
    nan_border: float = 0.2
    """Fraction of each plane without data; 0.13 to 0.37 in real cubes."""
    nan_planes: int = 0
    """Planes without any data, at the red end; up to 133 of 717 in real cubes."""
    layout: Literal["old", "new"] = "old"
    axis: Literal["linear", "tab"] = "linear"
    exposures: int = 1
    """Above 1, layout "old" carries the HDRTAB of combined exposures."""
    seed: int = 0

    @property
    def filename(self) -> str:
        """The name of the file."""
        return f"{self.name}_s3d.fits"

    def wavelength_um(self) -> NDArray[np.float64]:
        """Return the wavelength of each plane as a reader finds it, micrometres."""
        index = np.arange(self.planes, dtype=np.float64)
        if self.axis == "linear":
            return self.wave_start_um + index * self.wave_step_um
        stretched = self.wave_start_um + index * self.wave_step_um * (1 + 0.1 * index / self.planes)
        return stretched.astype(np.float32).astype(np.float64)

    def s_region(self) -> str:
        """Return the footprint as the pipeline writes it: the box in RA and Dec around the field, not closed."""
        half = np.array([-0.5, 0.5])
        xi, eta = _standard_coordinates(self, *np.meshgrid(half * self.nx, half * self.ny))
        ra, dec = _deproject(self.ra, self.dec, xi.ravel(), eta.ravel())
        west, east = (f"{(self.ra + edge) % 360.0:.9f}" for edge in ((ra - self.ra).min(), (ra - self.ra).max()))
        south, north = f"{dec.min():.9f}", f"{dec.max():.9f}"
        return f"POLYGON ICRS  {west} {south} {west} {north} {east} {north} {east} {south}"


def science_header(spec: CubeSpec) -> str:
    """Return the header of a spec's SCI extension as text, as a reader hands it on."""
    return header(_sci_cards(spec), SCI_CARDS).decode("ascii")


def make_cube(spec: CubeSpec) -> bytes:
    """Return the bytes of the FITS file that a spec describes."""
    rng = np.random.default_rng(spec.seed)
    sci = _science(spec, rng)
    valid = np.isfinite(sci)
    images = {
        "ERR": np.where(valid, np.float32(spec.noise), np.float32(np.nan)),
        "DQ": np.where(valid, 0, BAD) - 2**31,
        "WMAP": np.where(valid, np.float32(12.0), np.float32(0.0)),
    }
    order = ("ERR", "DQ", "WMAP") if spec.layout == "old" else ("DQ", "ERR", "WMAP")
    parts = [_primary(spec), header(_sci_cards(spec), SCI_CARDS), _image_bytes(sci, ">f4")]
    for name in order:
        parts += [header(_image_cards(spec, name)), _image_bytes(images[name], ">i4" if name == "DQ" else ">f4")]
    if spec.layout == "old" and spec.exposures > 1:
        parts.append(_header_table(spec))
    if spec.layout == "new" or spec.axis == "tab":
        parts.append(_wave_table(spec))
    parts.append(_asdf())
    return b"".join(parts)


def _science(spec: CubeSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise on a sky that slopes a little in space and wavelength, the jets, and NaN where nothing was observed."""
    y, x = np.mgrid[: spec.ny, : spec.nx].astype(np.float32)
    slope = 1 + 0.1 * (x / spec.nx - 0.5) + 0.1 * (y / spec.ny - 0.5)
    colour = np.linspace(0.97, 1.03, spec.planes, dtype=np.float32)
    sci = rng.standard_normal((spec.planes, spec.ny, spec.nx), dtype=np.float32)
    sci *= np.float32(spec.noise)
    sci += np.float32(spec.background) * colour[:, None, None] * slope.astype(np.float32)
    for jet in spec.jets:
        _shine(spec, jet, sci)
    sci[:, _outside(spec)] = np.nan
    if spec.nan_planes:
        sci[-spec.nan_planes :] = np.nan
    return sci


def _shine(spec: CubeSpec, jet: Jet, sci: NDArray[np.float32]) -> None:
    """Add a jet to the planes at its line: a flat-topped ellipse through the field's centre."""
    observed = jet.rest_um * (1 + spec.redshift)
    wave = spec.wavelength_um()
    if not wave[0] <= observed <= wave[-1]:
        raise ValueError(f"{spec.name}: a jet at {observed:.4f} um lies outside the cube, {wave[0]:.4f}-{wave[-1]:.4f} um")
    along, across = _rotated(spec, jet.angle)
    inside = (2 * along / jet.length) ** 2 + (2 * across / jet.width) ** 2 <= 1
    centre = int(np.searchsorted(wave, observed))
    shares = _shares(jet, observed / spec.wave_step_um) if jet.resolving_power else np.ones(jet.planes)
    for plane, share in enumerate(shares, start=centre - (len(shares) - 1) // 2):
        if 0 <= plane < spec.planes:
            sci[plane, inside] += np.float32(jet.amplitude * spec.background * share)


def _shares(jet: Jet, planes: float) -> NDArray[np.float64]:
    """Return how bright a line is in each plane, in parts of the brightest: a Gaussian integrated over each.

    `planes` is the line's wavelength, counted in planes.
    """
    sigma = planes / jet.resolving_power / math.sqrt(8 * math.log(2))
    reach = math.ceil(4 * sigma)
    edges = np.arange(-reach - 0.5, reach + 1) / sigma / math.sqrt(2)
    light = np.diff([math.erf(edge) for edge in edges])
    return np.asarray(light / light[reach])


def _outside(spec: CubeSpec) -> NDArray[np.bool_]:
    """Return the spaxels without data: those beyond a rotated box that leaves out the fraction `nan_border`."""
    along, across = _rotated(spec, spec.rotation % 90 / 2)
    distance = np.maximum(np.abs(along) / spec.nx, np.abs(across) / spec.ny)
    outside: NDArray[np.bool_] = distance > np.quantile(distance, 1 - spec.nan_border)
    return outside


def _rotated(spec: CubeSpec, angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[: spec.ny, : spec.nx]
    x, y = x - (spec.nx - 1) / 2, y - (spec.ny - 1) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return x * cos + y * sin, y * cos - x * sin


def _standard_coordinates(
    spec: CubeSpec, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tangent-plane coordinates, degrees, of offsets from the centre in pixels."""
    cos, sin = math.cos(math.radians(spec.rotation)), math.sin(math.radians(spec.rotation))
    scale = spec.pixel_arcsec / 3600
    return scale * (-cos * x + sin * y), scale * (sin * x + cos * y)


def _deproject(
    ra: float, dec: float, xi: NDArray[np.float64], eta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sky positions, degrees, of gnomonic coordinates in degrees (Calabretta and Greisen 2002, section 5.1.3)."""
    xi, eta, dec0 = np.radians(xi), np.radians(eta), math.radians(dec)
    below = math.cos(dec0) - eta * math.sin(dec0)
    east = np.arctan2(xi, below)
    north = np.arctan2(math.sin(dec0) + eta * math.cos(dec0), np.hypot(xi, below))
    return ra + np.degrees(east), np.degrees(north)


def _image_bytes(array: NDArray[np.generic], dtype: str) -> bytes:
    return padded(array.astype(dtype).tobytes())


def _primary(spec: CubeSpec) -> bytes:
    """Return the primary header: the keywords a search may ask for, and blank cards up to the number real ones have."""
    program, observation = spec.name[2:7], spec.name[9:12]
    miri = spec.instrument == "MIRI"
    cards = [
        *card("SIMPLE", value=True, comment="conforms to FITS standard"),
        *card("BITPIX", 8, "array data type"),
        *card("NAXIS", 0, "number of array dimensions"),
        *card("EXTEND", value=True),
        *card("DATE", "2026-01-01T00:00:00.000", "UTC date file created"),
        *card("ORIGIN", "STSCI", "Organization responsible for creating file"),
        *card("FILENAME", spec.filename, "Name of the file"),
        *card("CAL_VER", "1.20.2" if spec.layout == "old" else "2.0.1", "Calibration Software Version"),
        *card("DATAMODL", "IFUCubeModel", "Type of data model"),
        *card("TELESCOP", "JWST", "Telescope used to acquire the data"),
        *card("TITLE", "Synthetic cube, made by raysearch.testing", "Proposal title"),
        *card("PROGRAM", program, "Program number"),
        *card("OBSERVTN", observation, "Observation number"),
        *card("TARGPROP", spec.target, "Proposer's name for the target"),
        *card("TARGNAME", spec.target, "Standard astronomical catalog name for target"),
        *card("TARGTYPE", "FIXED", "Type of target (fixed, moving, generic)"),
        *card("TARG_RA", spec.ra % 360, "Target RA at mid time of exposure"),
        *card("TARG_DEC", spec.dec, "Target Dec at mid time of exposure"),
        *card("INSTRUME", spec.instrument, "Instrument used to acquire the data"),
        *card("CHANNEL" if miri else "GRATING", spec.channel),
        *card("BAND" if miri else "FILTER", spec.band),
        *card("EXP_TYPE", "MIR_MRS" if miri else "NRS_IFU", "Type of data in the exposure"),
        *card("EFFEXPTM", 444.008, "[s] Effective exposure time"),
        *card("CRDS_CTX", "jwst_1364.pmap", "CRDS context used"),
    ]
    return header(cards, PRIMARY_CARDS)


def _image_cards(spec: CubeSpec, name: str) -> list[str]:
    """Return the cards every image extension has."""
    dq = name == "DQ"
    return [
        *card("XTENSION", "IMAGE", "Image extension"),
        *card("BITPIX", 32 if dq else -32, "array data type"),
        *card("NAXIS", 3, "number of array dimensions"),
        *card("NAXIS1", spec.nx),
        *card("NAXIS2", spec.ny),
        *card("NAXIS3", spec.planes),
        *card("PCOUNT", 0, "number of parameters"),
        *card("GCOUNT", 1, "number of groups"),
        *(card("BSCALE", 1) + card("BZERO", 2**31) if dq else []),
        *card("EXTNAME", name, "extension name"),
        *card("EXTVER", 1, "extension value"),
    ]


def _sci_cards(spec: CubeSpec) -> list[str]:
    area = spec.pixel_arcsec**2
    return [
        *_image_cards(spec, "SCI"),
        *card("BUNIT", "MJy/sr", "physical units of the array values"),
        *card("PIXAR_SR", area / 206264.806247**2, "Nominal pixel area in steradians"),
        *card("PIXAR_A2", area, "Nominal pixel area in arcsec^2"),
        *card("RADESYS", "ICRS", "Name of the coordinate reference frame"),
        *card("WCSAXES", 3, "number of World Coordinate System axes"),
        *_celestial_cards(spec),
        *_spectral_cards(spec),
        *card("S_REGION", spec.s_region(), "spatial extent of the observation"),
        *card("DISPAXIS", 2, "Dispersion direction"),
        *card("VELOSYS", -26524.95, "[m/s] Barycentric correction to radial velocity"),
        *card("SPECSYS", "BARYCENT", "Spectral reference frame"),
    ]


def _celestial_cards(spec: CubeSpec) -> list[str]:
    cos, sin = math.cos(math.radians(spec.rotation)), math.sin(math.radians(spec.rotation))
    cards: list[str] = []
    for axis, size, centre, kind in ((1, spec.nx, spec.ra, "RA---TAN"), (2, spec.ny, spec.dec, "DEC--TAN")):
        cards += card(f"CRPIX{axis}", (size + 1) / 2, f"axis {axis} coordinate of the reference pixel")
        cards += card(f"CRVAL{axis}", centre, "axis value at the reference pixel")
        cards += card(f"CTYPE{axis}", kind, f"Axis {axis} type")
        cards += card(f"CUNIT{axis}", "deg", f"Axis {axis} units")
        cards += card(f"CDELT{axis}", spec.pixel_arcsec / 3600, "axis coordinate increment")
    matrix = ((-cos, sin, 0), (sin, cos, 0), (0, 0, 1))
    for i, row in enumerate(matrix, start=1):
        for j, element in enumerate(row, start=1):
            cards += card(f"PC{i}_{j}", element, "linear transformation matrix element")
    return cards


def _spectral_cards(spec: CubeSpec) -> list[str]:
    unit = card("CUNIT3", "um", "Axis 3 units")
    if spec.axis == "tab":
        return [
            *card("CTYPE3", "WAVE-TAB", "Axis 3 type"),
            *unit,
            *card("CRPIX3", 1.0, "axis 3 coordinate of the reference pixel"),
            *card("CRVAL3", 1.0, "third axis value at the reference pixel"),
            *card("PS3_0", "WCS-TABLE", "table extension name"),
            *card("PS3_1", "wavelength", "column name"),
        ]
    return [
        *card("CTYPE3", "WAVE", "Axis 3 type"),
        *unit,
        *card("CRPIX3", 1.0, "axis 3 coordinate of the reference pixel"),
        *card("CRVAL3", spec.wave_start_um, "third axis value at the reference pixel"),
        *card("CDELT3", spec.wave_step_um, "Axis 3 coordinate increment at reference point"),
    ]


def _table_cards(name: str, row_bytes: int, rows: int, columns: list[tuple[str, str]], *extra: str) -> list[str]:
    cards = [
        *card("XTENSION", "BINTABLE", "binary table extension"),
        *card("BITPIX", 8, "array data type"),
        *card("NAXIS", 2, "number of array dimensions"),
        *card("NAXIS1", row_bytes, "length of dimension 1"),
        *card("NAXIS2", rows, "length of dimension 2"),
        *card("PCOUNT", 0, "number of group parameters"),
        *card("GCOUNT", 1, "number of groups"),
        *card("TFIELDS", len(columns), "number of table fields"),
    ]
    for i, (column, form) in enumerate(columns, start=1):
        cards += card(f"TTYPE{i}", column) + card(f"TFORM{i}", form)
    return [*cards, *extra, *card("EXTNAME", name, "extension name"), *card("EXTVER", 1, "extension value")]


def _wave_table(spec: CubeSpec) -> bytes:
    """Return the WCS-TABLE: one row whose one cell holds all wavelengths as float32."""
    n = spec.planes
    cards = _table_cards("WCS-TABLE", 4 * n, 1, [("wavelength", f"{n}E")], *card("TDIM1", f"(1,{n})"))
    return header(cards) + padded(spec.wavelength_um().astype(">f4").tobytes())


def _header_table(spec: CubeSpec) -> bytes:
    """Return an HDRTAB with as many columns as real ones: one row for each exposure's header."""
    columns = [(f"KEY{i:03d}", "D") for i in range(1, 415)]
    cards = _table_cards("HDRTAB", 8 * len(columns), spec.exposures, columns)
    return header(cards) + padded(np.full((spec.exposures, len(columns)), np.nan, ">f8").tobytes())


def _asdf() -> bytes:
    tree = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n--- {}\n...\n".ljust(ASDF_BYTES)
    return header(_table_cards("ASDF", ASDF_BYTES, 1, [("ASDF_METADATA", f"{ASDF_BYTES}B")])) + padded(tree)
