"""Fluxes of known sources in both bands at once, each band on its own pixels: every source's PSF, all sources together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.frames import Frame
from raysearch.detect.psf import CORE_PX
from raysearch.detect.response import HALF, SIDE, Response

ROUNDS = 3
"""Times that the places are improved."""
STEP = 0.05
"""Pixels, over which the slope of the response is taken."""
FARTHEST = 0.4
"""Pixels that a place moves at most in one round."""
MOVES = 4.0
"""A source moves only if it stands out by this many standard deviations."""
NEAR_PX = 0.5
"""How far from its peak a source may be, pixels, one standard deviation: as far as its place is allowed to spoil its flux."""
LEAST_LIGHT = 0.3
"""Of a source with less than this part of its light on good pixels no flux is told."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Band:
    """What the fit tells of every source in one band; arrays have one value for each source."""

    x: Floats
    """Place in the band's box, pixels."""
    y: Floats
    flux: Floats
    """uJy; NaN where it cannot be told."""
    error: Floats
    """Of the flux, uJy; of a source that moved with what its place may err by."""
    light: Floats
    """Which part of the source's light falls on good pixels."""
    left: Floats
    """What the fit leaves of the light within `CORE_PX`, uJy: about nothing, where there is a point source."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the fit tells of every source."""

    short: Band
    long: Band
    error_px: Floats
    """Of the place along each direction, pixels of the long band's box; NaN for those that did not move."""


def fit(short: Frame, long: Frame, of_short: Response, of_long: Response, x: Floats, y: Floats) -> Fit:
    """Return the fluxes of sources at these places of the long band's box, and better places.

    Least squares, weighed by VARIANCE. Sources move together in both bands, by a step of Gauss and Newton of each alone.

    Parameters
    ----------
    short, long
        The two bands.
    of_short, of_long
        How each shows a point.
    x, y
        In pixels of the long band's box.
    """
    start = x, y
    turn = _turn(long, short)
    error = np.full(len(x), np.nan)
    for _ in range(ROUNDS):
        sheets = _sheets(short, long, of_short, of_long, x, y)
        slopes = [sheet.slopes(turned) for sheet, turned in zip(sheets, (turn, np.eye(2)), strict=True)]
        matrix, vector = (sum(parts) for parts in zip(*(slope[:2] for slope in slopes), strict=True))
        strong = np.linalg.det(matrix) > 0
        strong &= np.nan_to_num(np.maximum(*(s.band.flux / s.band.error for s in sheets)), nan=0.0) > MOVES
        inverse = np.linalg.inv(np.where(strong[:, None, None], matrix, np.eye(2)))
        move = np.where(strong[:, None], np.einsum("nij,nj->ni", inverse, vector), 0.0)
        move *= np.minimum(1.0, FARTHEST / np.maximum(np.hypot(*move.T), 1e-9))[:, None]
        far = np.hypot(x + move[:, 0] - start[0], y + move[:, 1] - start[1]) > 2.5 * FARTHEST
        move[far] = 0.0
        x, y = x + move[:, 0], y + move[:, 1]
        error = np.where(strong, np.sqrt(np.einsum("nii->n", inverse) / 2), np.nan)
    place = np.where(
        strong[:, None, None], np.linalg.inv(np.where(strong[:, None, None], matrix, 0.0) + np.eye(2) / NEAR_PX**2), 0.0
    )
    last = _sheets(short, long, of_short, of_long, x, y)
    bands = [_with_error_of(place, tilt, sheet.band) for sheet, (_, _, tilt) in zip(last, slopes, strict=True)]
    return Fit(bands[0], bands[1], error)


def _with_error_of(place: Floats, tilt: Floats, band: Band) -> Band:
    """Return a band's fluxes with errors that know of those of the places, of this covariance, shape (n, 2, 2)."""
    return replace(band, error=np.sqrt(band.error**2 + np.einsum("nk,nkl,nl->n", tilt, place, tilt)))


def _sheets(short: Frame, long: Frame, of_short: Response, of_long: Response, x: Floats, y: Floats) -> tuple[_Sheet, _Sheet]:
    return _Sheet(short, of_short, *short.pixel(*long.sky(x, y))), _Sheet(long, of_long, x, y)


def _turn(long: Frame, short: Frame) -> Floats:
    """Return how a step on the long band's box shows on the short one's, shape (2, 2)."""
    ny, nx = long.shape
    x, y = np.array([nx / 2, nx / 2 + 1, nx / 2]), np.array([ny / 2, ny / 2, ny / 2 + 1])
    there = np.stack(short.pixel(*long.sky(x, y)))
    return np.asarray(there[:, 1:] - there[:, :1])


class _Sheet:
    """One band: the pixels around each source, and the fluxes that explain them best."""

    def __init__(self, frame: Frame, response: Response, x: Floats, y: Floats) -> None:
        self._response = response
        ny, nx = frame.shape
        steps = np.arange(-HALF, HALF + 1)
        self._columns = np.rint(x).astype(int)[:, None, None] + steps[None, None, :]
        self._rows = np.rint(y).astype(int)[:, None, None] + steps[None, :, None]
        self._dx, self._dy = self._columns - x[:, None, None], self._rows - y[:, None, None]
        inside = (self._columns >= 0) & (self._columns < nx) & (self._rows >= 0) & (self._rows < ny)
        self._index = np.where(inside, np.clip(self._rows, 0, ny - 1) * nx + np.clip(self._columns, 0, nx - 1), 0)
        self._good = inside & frame.good.ravel()[self._index]
        scale = 1 / frame.ujy.ravel()  # MJy/sr of 1 uJy in a pixel
        self._gain = np.where(self._good, (scale / np.sqrt(frame.variance.ravel()))[self._index], 0.0)
        parts = response.at(*np.broadcast_arrays(self._dx, self._dy))
        self.band = self._solve(frame, x, y, parts)

    def _solve(self, frame: Frame, x: Floats, y: Floats, parts: Floats) -> Band:
        """Return the fluxes, from the normal equations of all sources that have light enough."""
        from scipy.sparse import csr_array

        light = (parts * self._good).sum(axis=(1, 2)) / np.maximum(parts.sum(axis=(1, 2)), 1e-9)
        known = light >= LEAST_LIGHT
        self._model = model = np.where(known[:, None, None], parts * self._gain, 0.0)
        n = len(x)
        pointer = np.arange(n + 1) * SIDE * SIDE
        design = csr_array((model.ravel(), self._index.ravel(), pointer), shape=(n, frame.light.size), copy=True)
        design.eliminate_zeros()
        white = (frame.light / np.sqrt(frame.variance)).ravel() * frame.good.ravel()
        normal = (design @ design.T).toarray()
        normal[~known, ~known] = 1.0
        covariance = np.linalg.inv(normal)
        flux = covariance @ (design @ white)
        self._residual = white - design.T @ flux
        nothing = np.full(n, np.nan)
        error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        rest = (self._residual * (frame.ujy * np.sqrt(frame.variance)).ravel())[self._index]
        left = np.where(self._good & (np.hypot(self._dx, self._dy) <= CORE_PX), rest, 0.0).sum(axis=(1, 2))
        return Band(x, y, np.where(known, flux, nothing), np.where(known, error, nothing), light, left)

    def slopes(self, turn: Floats) -> tuple[Floats, Floats, Floats]:
        """Return for each source the matrix and the vector of its next step, and by how much a step changes its flux.

        Steps are in pixels of the long band's box. Place and flux of a source are fitted together, each source by itself.
        """
        dx, dy = np.broadcast_arrays(self._dx, self._dy)
        at = self._response.at
        bend = [(at(dx - STEP, dy) - at(dx + STEP, dy)) / (2 * STEP), (at(dx, dy - STEP) - at(dx, dy + STEP)) / (2 * STEP)]
        own = np.stack([part * self._gain for part in bend], axis=1) * np.nan_to_num(self.band.flux)[:, None, None, None]
        here = np.einsum("nkyx,kl->nlyx", own, turn)
        tilt = np.einsum("nkyx,nyx->nk", here, self._model) / np.maximum((self._model**2).sum(axis=(1, 2)), 1e-300)[:, None]
        free = here - tilt[:, :, None, None] * self._model[:, None]
        matrix = np.einsum("nkyx,nlyx->nkl", free, free)
        vector = np.einsum("nkyx,nyx->nk", free, self._residual[self._index])
        return matrix, vector, tilt
