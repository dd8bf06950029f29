"""At which wavelength a band sees each of its pixels, from the table that comes with the image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Cutout, Image

TABLE = "WCS-WAVE"


def wavelength_at(image: Image, cutout: Cutout, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the wavelengths at places in a box, micrometres; without the table that at the box's target, for all.

    The table's wavelengths stand at columns and rows of the whole image, counted from 1, and hold between them bilinearly (FITS WCS
    paper III, Greisen et al. 2006, A&A 446, 747, section 6.1). A target's own wavelength, which may come from a better source, is
    kept: what the table says of the others is moved by as much as it is wrong about the target; beside the image it has none.
    """
    if TABLE not in image.tables:
        return np.full(len(x), cutout.wavelength_um)
    from astropy.io import fits

    row = fits.BinTableHDU.fromstring(image.tables[TABLE]).data[0]
    nodes = np.asarray(row["X"], np.float64), np.asarray(row["Y"], np.float64)
    values = np.asarray(row["VALUES"], np.float64)[..., 0]
    columns, rows = np.append(x + cutout.x0, cutout.x) + 1, np.append(y + cutout.y0, cutout.y) + 1
    told = _bilinear(values, *(_place(at, node) for at, node in zip((columns, rows), nodes, strict=True)))
    wrong = cutout.wavelength_um - float(told[-1])
    return np.asarray(told[:-1] + (wrong if math.isfinite(wrong) else 0.0))


def _place(at: NDArray[np.float64], nodes: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return between which nodes places lie, and which part of the way from one to the next."""
    index = np.interp(at, nodes, np.arange(len(nodes)))
    whole = np.minimum(index.astype(np.intp), len(nodes) - 2)
    return whole, index - whole


def _bilinear(
    values: NDArray[np.float64],
    along: tuple[NDArray[np.intp], NDArray[np.float64]],
    up: tuple[NDArray[np.intp], NDArray[np.float64]],
) -> NDArray[np.float64]:
    (i, part), (j, high) = along, up
    low = values[j, i] * (1 - part) + values[j, i + 1] * part
    above = values[j + 1, i] * (1 - part) + values[j + 1, i + 1] * part
    return np.asarray(low * (1 - high) + above * high)
