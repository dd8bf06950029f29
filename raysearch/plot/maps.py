"""The map of a line around its candidate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from raysearch.plot import style
from raysearch.plot.fits import card, images
from raysearch.plot.words import ARCSEC, measured, nice, number

LEVELS = (3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""Contours, in standard deviations."""

BAR = 0.4
"""The scale bar is no longer than this part of the map's width."""


@dataclass(frozen=True, slots=True)
class LineMap:
    """The images in a candidate's `map`."""

    flux: NDArray[np.float32]
    """Of the line in each spaxel, shape (y, x); NaN without data."""
    snr: NDArray[np.float32]
    header: str
    """Of the flux: FITS cards of 80 characters."""

    @classmethod
    def read(cls, content: bytes) -> LineMap:
        """Return the map that a record holds, a FITS file with the images FLUX and SNR, gzipped or not.

        Raises
        ------
        OSError
            It is none.
        """
        return _read(content)

    @property
    def unit(self) -> str:
        """Of the flux; empty where it is unknown."""
        return card(self.header, "BUNIT") or ""

    @property
    def grid(self) -> Grid | None:
        """Where it lies on the sky; None where the cube does not tell."""
        return grid_of(self.header, self.flux.shape)

    @property
    def reference(self) -> tuple[float, float]:
        """CRPIX of the map, which tells where it lies in the cube."""
        return float(card(self.header, "CRPIX1") or 0.0), float(card(self.header, "CRPIX2") or 0.0)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a small image lie on the sky."""

    ra: float
    """Of the middle, degrees ICRS."""
    dec: float
    x: float
    """The middle, pixels counted from 0."""
    y: float
    matrix: NDArray[np.float64]
    """From steps in x and y to arcsec towards east and north."""

    @classmethod
    def of(cls, header: str, shape: tuple[int, ...]) -> Grid | None:
        """Return the grid of an image with this FITS header (cards of 80 characters); None where it does not tell."""
        from astropy.wcs import WCS

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what astropy mends on the way
            wcs = WCS(header, naxis=2)
        if not wcs.has_celestial:
            return None
        x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        ra, dec = _icrs(wcs, np.array([x, x + 0.5, x - 0.5, x, x]), np.array([y, y, y, y + 0.5, y - 0.5]))
        if not np.isfinite([ra, dec]).all():
            return None
        east, north = _tangent(ra[0], dec[0], ra, dec)
        matrix = np.array([east[[1, 3]] - east[[2, 4]], north[[1, 3]] - north[[2, 4]]])
        if abs(np.linalg.det(matrix)) < 1e-12:
            return None
        return cls(float(ra[0]), float(dec[0]), x, y, matrix)

    @property
    def pixel_arcsec(self) -> float:
        """Side of a square as large as a pixel."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix))))

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return x and y, counted from 0, of a position near the image, degrees ICRS."""
        dx, dy = np.linalg.solve(self.matrix, _tangent(self.ra, self.dec, ra, dec))
        return self.x + float(dx), self.y + float(dy)

    def direction(self, angle: float) -> tuple[float, float]:
        """Return the unit vector (x, y) on the image of a direction, degrees from north to east."""
        turned = [math.sin(math.radians(angle)), math.cos(math.radians(angle))]
        dx, dy = np.linalg.solve(self.matrix, turned)
        length = math.hypot(float(dx), float(dy))
        return float(dx) / length, float(dy) / length


def _tangent(ra0: float, dec0: float, ra: Any, dec: Any) -> tuple[Any, Any]:
    """Return arcsec towards east and north from a place to others, on the plane that touches the sphere there (degrees)."""
    turn, lat, lat0 = np.radians(np.asarray(ra) - ra0), np.radians(dec), math.radians(dec0)
    near = math.sin(lat0) * np.sin(lat) + math.cos(lat0) * np.cos(lat) * np.cos(turn)
    east = np.cos(lat) * np.sin(turn) / near
    north = (math.cos(lat0) * np.sin(lat) - math.sin(lat0) * np.cos(lat) * np.cos(turn)) / near
    return np.degrees(east) * 3600, np.degrees(north) * 3600


@lru_cache(maxsize=2)
def _read(content: bytes) -> LineMap:
    """Return the map in a file; each is asked for several times in a row."""
    found = images(content)
    lacking = [name for name in ("FLUX", "SNR") if name not in found]
    if lacking:
        raise OSError(f"a map without the image {lacking[0]}")
    (header, flux), (_, snr) = found["FLUX"], found["SNR"]
    return LineMap(flux, snr, header)


@lru_cache(maxsize=2)
def grid_of(header: str, shape: tuple[int, ...]) -> Grid | None:
    """Return `Grid.of` this image; several figures ask for the same one after the other."""
    return Grid.of(header, shape)


def _icrs(wcs: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return right ascension and declination of pixels, degrees ICRS; FK5 of 2000 is taken for it: they differ by 0.03 arcsec."""
    lon, lat = wcs.all_pix2world(x, y, 0)
    frame = str(wcs.wcs.radesys or "ICRS")
    if str(wcs.wcs.ctype[0]).startswith(("RA", "DEC")) and (
        frame == "ICRS" or (frame == "FK5" and wcs.wcs.equinox in (2000.0, 0.0))
    ):
        return lon, lat
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    icrs = SkyCoord(lon, lat, unit="deg", frame=wcs_to_celestial_frame(wcs)).icrs
    return np.asarray(icrs.ra.deg), np.asarray(icrs.dec.deg)


def line_map(record: Mapping[str, Any], ax: Axes) -> Axes:
    """Draw a candidate's `map`: its continuum-subtracted line flux, with S/N contours, target, scale and compass; return the axes.

    The legend stands right of the axes: leave it about 110 points.
    """
    shown = LineMap.read(record["map"])
    height, width = shown.flux.shape
    high = float(np.nanmax(shown.flux)) if np.isfinite(shown.flux).any() else 1.0
    low = min(0.0, float(np.nanpercentile(shown.flux, 2))) if np.isfinite(shown.flux).any() else 0.0
    ax.imshow(shown.flux, cmap=style.IMAGES, vmin=low, vmax=high, interpolation="none", origin="lower")
    levels = _levels(shown)
    if levels and min(height, width) > 1:
        snr = np.where(np.isfinite(shown.snr), shown.snr, -1.0)
        ax.contour(snr, levels=levels, colors="white", linewidths=0.9)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), aspect="equal", anchor="W")
    ax.set_axis_off()
    told = [f"peak {number(high)}", f"{shown.unit or 'in the unit of the cube'} per pixel"]
    told += ["contours: S/N", ", ".join(f"{level:g}" for level in levels)] if levels else ["S/N below 3", "everywhere"]
    style.beside(ax, told)
    if shown.grid is not None:
        _scale(shown.grid, width, ax)
        _compass(shown.grid, ax)
        _target(record, shown, ax)
    return ax


def line_map_alt(record: Mapping[str, Any]) -> str:
    """Return in words what `line_map` shows."""
    shown = LineMap.read(record["map"])
    bright = int(np.count_nonzero(shown.snr >= LEVELS[0]))
    best = float(np.nanmax(shown.snr)) if np.isfinite(shown.snr).any() else math.nan
    height, width = shown.flux.shape
    size = f"{width} by {height} pixels"
    if shown.grid is not None:
        size += f" of {shown.grid.pixel_arcsec:.2g}{ARCSEC}"
    parts = [f"Map of the line's flux, {size}: {bright} pixels above S/N 3, the best at {number(best)}"]
    if "flux_w_m2" in record:
        parts.append(f"flux {measured(record['flux_w_m2'], record['flux_err_w_m2'], 'W m⁻²')}")
    if math.isfinite(record.get("offset_arcsec", math.nan)):
        offset = f"{number(record['offset_arcsec'])}{ARCSEC}"
        parts.append(f"its middle {offset} from the target, {record['direction']:.0f}° from north to east")
    return "; ".join(parts) + "."


def _levels(shown: LineMap) -> list[float]:
    """Return at most four contours that the map reaches, the lowest always among them."""
    best = float(np.nanmax(shown.snr)) if np.isfinite(shown.snr).any() else 0.0
    reached = [level for level in LEVELS if level < best]
    return reached[:1] + reached[1:][-3:]


def target_place(record: Mapping[str, Any], grid: Grid) -> tuple[float, float] | None:
    """Return x and y of the target: from the candidate's middle as far as its `offset_arcsec` says, the other way."""
    needed = [record.get(name, math.nan) for name in ("ra", "dec", "offset_arcsec", "direction")]
    if not all(map(math.isfinite, needed)):
        return None
    ra, dec, offset, direction = needed
    x, y = grid.pixel(ra, dec)
    turned = math.radians(direction)
    dx, dy = np.linalg.solve(grid.matrix, [offset * math.sin(turned), offset * math.cos(turned)])
    return x - float(dx), y - float(dy)


def _target(record: Mapping[str, Any], shown: LineMap, ax: Axes) -> None:
    """Mark the target, or say that it lies outside."""
    assert shown.grid is not None
    place = target_place(record, shown.grid)
    if place is None:
        return
    height, width = shown.flux.shape
    if -0.5 <= place[0] <= width - 0.5 and -0.5 <= place[1] <= height - 0.5:
        style.mark(ax, *place)
        style.beside(ax, ["+ target"], line=4, color=style.RED)
    else:
        style.beside(ax, [f"target {record['offset_arcsec']:.1f}{ARCSEC} away"], line=4)


def _scale(grid: Grid, width: int, ax: Axes) -> None:
    """Draw a bar of a round length beneath the legend, in the scale of the image."""
    length = nice(BAR * width * grid.pixel_arcsec)
    start = width - 0.5 + 0.06 * width
    ax.plot(
        [start, start + length / grid.pixel_arcsec], [0, 0], color=style.INK, linewidth=2.0, clip_on=False, solid_capstyle="butt"
    )
    text = f"{length:g}{ARCSEC}"
    style.say(ax, start, 0, text, transform=style.away(ax, (0, 4), ax.transData), va="bottom")


def _compass(grid: Grid, ax: Axes) -> None:
    """Draw arrows to north and east beside the map."""
    middle = (style.BESIDE + 42.0, 0.0)
    directions = {"N": grid.direction(0.0), "E": grid.direction(90.0)}
    style.arrows(ax, (1.0, 0.35), middle, {name: (24 * dx, 24 * dy) for name, (dx, dy) in directions.items()})
