"""Noise of real cubes: their planes without lines, put together anew, any number of times.

A window is made from a stretch of the cube. The smooth continuum of that stretch stays; what remains of the planes nearby after
their own continuum is taken off is cut into blocks of contiguous planes, so that it keeps its correlation in wavelength and on the
sky, its fringes, outliers and gaps. The blocks are drawn at random, each with a random sign, and faded into each other; the whole
is mirrored at random. ERR, DQ and WMAP go with their voxels. Windows of one cube share blocks: thousands of windows are not
thousands of cubes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Line, Pixels, Window
from raysearch.testing.injection import C_KM_S, Scene
from raysearch.testing.noise import line_planes, mrs_psf_arcsec, mrs_resolving_power
from raysearch.testing.synthetic import BAD

if TYPE_CHECKING:
    from astropy.io import fits

KNOWN_LINES_UM = {
    "[Fe II]": (17.936, 24.519, 25.988), "[S III]": (18.713,), "[O IV]": (25.890,), "[Ne V]": (24.318,), "[Fe III]": (22.925,),
    "[Ar III]": (21.830,), "[F I]": (24.750,), "[S I]": (25.249,), "[P III]": (17.885,), "[Fe V]": (20.851, 25.931),
    "[Na IV]": (21.300,), "H2": (17.035, 28.219), "HI": (18.615, 19.062, 20.512, 21.957, 22.340, 25.685, 27.803),
}  # fmt: skip
"""Vacuum wavelengths of lines between 17 and 28.3 um (NIST Atomic Spectra Database; H2: Roueff et al. 2019, A&A 630, A58)."""
PRIMARY_CARDS = ("INSTRUME", "CHANNEL", "BAND", "GRATING", "FILTER")
"""Cards of the primary header that a reader hands on with the science extension's."""
REACH_KM_S = 1000.0
"""Planes this near to a known line are not noise."""
SMOOTH = 61
"""Planes over which the continuum is a running median: wider than the fringes, which so remain in the noise."""
BLOCK = 20
"""Planes of a block: beyond this separation real noise is uncorrelated."""
FADE = 4
"""Planes over which one block fades into the next."""
NEAR = 120
"""Blocks come from no farther away than this, so that a window's noise is that of its wavelength."""
UNKNOWN_SIGMAS = 6.0
"""A plane is no noise if a ninth of its field stands out by this, whatever it may be."""


@dataclass(frozen=True, slots=True)
class RealCube:
    """A real cube in memory, its lines known."""

    name: str
    header: str
    """Of the science extension."""
    wavelength_um: NDArray[np.float64]
    planes: dict[str, NDArray[Any]] = field(repr=False)
    """SCI, and of ERR, DQ and WMAP those there are; along increasing wavelength."""
    continuum: NDArray[np.float32] = field(repr=False)
    """Smooth, known everywhere."""
    residual: NDArray[np.float32] = field(repr=False)
    """SCI minus continuum; NaN where SCI is."""
    known: NDArray[np.bool_] = field(repr=False)
    """Planes within reach of a known line."""
    free: NDArray[np.bool_] = field(repr=False)
    """Planes that may serve as noise."""
    resolving_power: float
    """0 for the MRS's, by wavelength."""
    psf_arcsec: float
    """0 for the MRS's, by wavelength."""

    @property
    def star(self) -> tuple[int, int]:
        """(y, x) of the brightest spaxel of the continuum."""
        middle = np.nan_to_num(np.median(self.continuum, axis=0), nan=-np.inf)
        y, x = np.unravel_index(int(np.argmax(middle)), middle.shape)
        return int(y), int(x)


def read_real_cube(
    path: Path,
    redshift: float = 0.0,
    resolving_power: float = 0.0,
    psf_arcsec: float = 0.0,
    emission_um: tuple[float, float] = (0.0, 0.0),
) -> RealCube:
    """Return a cube of `*_s3d.fits` layout, of MUSE's (DATA, STAT), or a single image along VRAD.

    Known lines are those of `KNOWN_LINES_UM` at the redshift, and what lies between the wavelengths of `emission_um`.
    """
    from astropy.io import fits

    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus]
        science = hdus["SCI" if "SCI" in names else "DATA" if "DATA" in names else 0]
        planes: dict[str, NDArray[Any]] = {"SCI": _native(science.data, np.float32)}
        if "STAT" in names:
            planes["ERR"] = np.sqrt(_native(hdus["STAT"].data, np.float32))
        planes |= {name: _native(hdus[name].data, np.float32) for name in ("ERR", "WMAP") if name in names}
        if "DQ" in names:
            planes["DQ"] = _native(hdus["DQ"].data, np.uint32)
        header = fits.Header(
            [hdus[0].header.cards[key] for key in PRIMARY_CARDS if key in hdus[0].header and science is not hdus[0]]
        )
        header.extend(science.header.copy(), strip=False, bottom=True)
    wavelength = _wavelengths(header, len(planes["SCI"]))
    known = _known_lines(wavelength, redshift) | ((wavelength > emission_um[0]) & (wavelength < emission_um[1]))
    continuum = smooth_continuum(planes["SCI"], ~known)
    free = ~known & ~_unknown_lines(planes["SCI"] - continuum)
    continuum = smooth_continuum(planes["SCI"], free)
    residual = planes["SCI"] - continuum
    return RealCube(path.name.split(".")[0], header.tostring(), wavelength, planes, continuum, residual, known, free,
                    resolving_power, psf_arcsec)  # fmt: skip


def smooth_continuum(sci: NDArray[np.float32], use: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a running median along wavelength, smoothed; planes not to be used, and voxels without data, are bridged."""
    from scipy.ndimage import gaussian_filter1d, median_filter

    index = np.arange(len(sci))
    filled = np.zeros(sci.shape, dtype=np.float32)
    for y, x in np.ndindex(sci.shape[1:]):
        good = use & np.isfinite(sci[:, y, x])
        if np.count_nonzero(good) >= 10:
            filled[:, y, x] = np.interp(index, index[good], sci[good, y, x])
    smooth: NDArray[np.float32] = gaussian_filter1d(median_filter(filled, (SMOOTH, 1, 1), mode="nearest"), SMOOTH / 6, axis=0)
    return smooth


def resample(cube: RealCube, seed: int, planes: int = 91, velocity: float = 500.0, *, signs: bool = True) -> Scene:
    """Return a window made of the cube's noise; the same cube and seed give the same bytes.

    With `signs` every block's sign is drawn, which makes twice as much noise of a cube, but lets what is only ever negative in it,
    such as overcorrected cosmic rays, look like lines; without, blocks keep their own.

    Raises
    ------
    ValueError
        If the cube has too few planes, or too few without lines.
    """
    rng = np.random.default_rng(seed)
    total = len(cube.wavelength_um)
    if planes > total:
        raise ValueError(f"{cube.name}: it has {total} planes, {planes} are asked")
    start = int(rng.integers(0, total - planes + 1))
    source, weight = _blocks(cube, rng, start, planes)
    made = _assembled(cube, source, weight if signs else np.abs(weight), start)
    flips = rng.random(2) < 0.5
    mirror = (slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))
    made = {name: np.ascontiguousarray(array[mirror]) for name, array in made.items()}
    ends = np.array(made["SCI"].shape[1:]) - 1
    y, x = np.where(flips, ends - cube.star, cube.star).tolist()
    scene = _scene(cube, made, start, (y, x), velocity, float(rng.uniform(-0.5, 0.5)))
    return replace(scene, source=source[np.abs(weight).argmax(axis=0), np.arange(planes)])


def _assembled(cube: RealCube, source: NDArray[np.intp], weight: NDArray[np.float32], start: int) -> dict[str, NDArray[Any]]:
    """Return the planes made of two layers of blocks (see `_blocks`) on the continuum from plane `start` on."""
    planes = source.shape[1]
    noise = np.einsum("kn,knyx->nyx", weight, cube.residual[source])
    made: dict[str, NDArray[Any]] = {"SCI": cube.continuum[start : start + planes] + noise}
    if "ERR" in cube.planes:
        made["ERR"] = np.sqrt(np.einsum("kn,knyx->nyx", weight**2, cube.planes["ERR"][source] ** 2))
    leading = source[np.abs(weight).argmax(axis=0), np.arange(planes)]
    made |= {name: cube.planes[name][leading] for name in ("DQ", "WMAP") if name in cube.planes}
    if "DQ" in made:
        made["DQ"] = np.where(np.isnan(made["SCI"]) & (made["DQ"] == 0), BAD, made["DQ"]).astype(np.uint32)
    return made


def untouched(cube: RealCube, step: int, planes: int = 91, velocity: float = 500.0) -> Iterator[Scene]:
    """Yield windows of the cube as it is, every `step` planes, wherever no known line may be in the planes searched."""
    for start in range(0, len(cube.wavelength_um) - planes + 1, step):
        made = {name: array[start : start + planes].copy() for name, array in cube.planes.items()}
        scene = _scene(cube, made, start, cube.star, velocity, 0.0)
        if not cube.known[slice(*scene.window.searched)].any():
            yield scene


def _blocks(cube: RealCube, rng: np.random.Generator, start: int, planes: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return for two layers the plane that each plane is taken from, and its weight with its sign, both of shape (2, planes).

    Where one block fades into the next the squares of their weights add up to 1, as variances do.
    """
    low, high, length = max(0, start - NEAR), start + planes + NEAR, BLOCK + FADE
    firsts = low + np.flatnonzero(np.convolve(cube.free[low:high], np.ones(length), "valid") == length)
    if not len(firsts):
        raise ValueError(f"{cube.name}: no {length} contiguous planes without lines near plane {start}")
    source, weight = np.zeros((2, planes), np.intp), np.zeros((2, planes), np.float32)
    fade = np.sin(math.pi / 2 * (np.arange(FADE) + 0.5) / FADE)
    shape = np.concatenate([fade, np.ones(length - 2 * FADE), fade[::-1]])
    for k, at in enumerate(range(-int(rng.integers(FADE, BLOCK)), planes, BLOCK)):
        inside = slice(max(0, at), min(planes, at + length))
        part = slice(inside.start - at, inside.stop - at)
        source[k % 2, inside] = int(rng.choice(firsts)) + np.arange(length)[part]
        weight[k % 2, inside] = rng.choice([-1, 1]) * shape[part]
    return np.where(weight == 0, source[::-1], source), weight  # a plane without data is not to spoil others at weight 0


def _scene(
    cube: RealCube, planes: dict[str, NDArray[Any]], start: int, star: tuple[int, int], velocity: float, fraction: float
) -> Scene:
    """Return the window as a reader would cut it, a line in its middle, `fraction` of a plane from the middle plane."""
    count = len(planes["SCI"])
    wavelength = cube.wavelength_um[start : start + count]
    middle = count // 2
    line = float(wavelength[middle] + fraction * (wavelength[middle + 1] - wavelength[middle]))
    for array in planes.values():
        array.flags.writeable = False
    first, stop = line_planes(cube.wavelength_um, line, velocity)
    window = Window(Line("test", line), 0.0, ("star",), int(np.searchsorted(cube.wavelength_um, line)), start,
                    len(cube.wavelength_um), wavelength, planes, (first, stop))  # fmt: skip
    resolving = cube.resolving_power or mrs_resolving_power(line)
    psf = cube.psf_arcsec or mrs_psf_arcsec(line)
    return Scene(Pixels(cube.name, f"memory://{cube.name}", (window,), cube.header), star, resolving, psf, cube.name)


def _native(data: NDArray[Any], dtype: type) -> NDArray[Any]:
    return np.ascontiguousarray(data.astype(dtype))


def _wavelengths(header: fits.Header, planes: int) -> NDArray[np.float64]:
    """Return micrometres, for WAVE and AWAV in um or Angstrom, and VRAD in m/s."""
    step = header.get("CDELT3", header.get("CD3_3"))
    values = header["CRVAL3"] + (np.arange(planes) + 1 - header["CRPIX3"]) * step
    if header["CTYPE3"].startswith("VRAD"):
        return np.asarray(C_KM_S * 1e9 / (header["RESTFRQ"] * (1 - values / (C_KM_S * 1e3))))
    return np.asarray(values * {"um": 1.0, "angstrom": 1e-4}[str(header["CUNIT3"]).lower()])


def _known_lines(wavelength_um: NDArray[np.float64], redshift: float) -> NDArray[np.bool_]:
    masked = np.zeros(len(wavelength_um), dtype=bool)
    for line in (line * (1 + redshift) for lines in KNOWN_LINES_UM.values() for line in lines):
        masked |= np.abs(wavelength_um / line - 1) < REACH_KM_S / C_KM_S
    return masked


def _unknown_lines(residual: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the planes at which any ninth of the field, summed over 3 planes, stands out; and their neighbours."""
    from scipy.ndimage import binary_dilation, median_filter, uniform_filter1d

    masked = np.zeros(len(residual), dtype=bool)
    for rows in np.array_split(np.arange(residual.shape[1]), 3):
        for columns in np.array_split(np.arange(residual.shape[2]), 3):
            spectrum = np.nan_to_num(np.nansum(residual[:, rows][:, :, columns], axis=(1, 2), dtype=float))
            smooth = uniform_filter1d(spectrum, 3)
            deviation = smooth - median_filter(smooth, SMOOTH)
            scatter = 1.4826 * median_filter(np.abs(deviation), 2 * SMOOTH)
            masked |= deviation > UNKNOWN_SIGMAS * np.where(scatter > 0, scatter, np.inf)
    return np.asarray(binary_dilation(masked, iterations=3))
