"""The small picture of a candidate: flux, S/N and velocity around it, as a FITS file."""

from __future__ import annotations

import gzip
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.field import Field
from raysearch.detect.light import Light
from raysearch.detect.sky import Sky
from raysearch.detect.units import FluxScale
from raysearch.model import LIGHT_KM_S, Window

MARGIN = 3
"""Spaxels shown on each side of the aperture."""

LEAST_SNR = 3.0
"""A spaxel fainter than this has no velocity."""

BLOCK = 2880


def line_map(field: Field, light: Light, window: Window, sky: Sky | None, flux: FluxScale) -> bytes:
    """Return a gzipped FITS file with the images FLUX, SNR and VELOCITY of a candidate and its surroundings.

    FLUX is the line's flux of each spaxel, W m^-2, by least squares with the profile of the whole region; where the cube's unit is
    not known it is the sum over the line's planes in that unit. SNR is that in standard deviations. VELOCITY is that of the line's
    flux-weighted middle in each spaxel of S/N 3 and more, km/s. NaN where the cube has no data. The same bytes for the same input.
    """
    cut = _around(light.aperture)
    known = light.variance > 0
    scale = float(np.interp(light.line.centre, np.arange(len(flux.factor)), flux.factor))
    unit = "W m-2" if math.isfinite(scale) else ""
    picture = np.where(known, light.picture, np.nan) * (scale if unit else 1.0)
    snr = np.where(known, light.picture / np.sqrt(np.where(known, light.variance, 1.0)), np.nan)
    velocity = np.where(known & (snr >= LEAST_SNR), _velocities(field, window, light), np.nan)
    about = {"OBJECT": window.target, "LINE": window.line.name, "RESTWAV": window.line.rest_um, "REDSHIFT": window.redshift}
    cards = sky.cards(cut[1].start, cut[0].start) if sky else {}
    images = (("FLUX", picture, unit), ("SNR", snr, ""), ("VELOCITY", velocity, "km/s"))
    parts = [_header({"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True, **about})]
    parts += [_image(name, image[cut], {**({"BUNIT": bunit} if bunit else {}), **cards}) for name, image, bunit in images]
    return gzip.compress(b"".join(parts), compresslevel=6, mtime=0)


def _around(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold these spaxels and a margin."""
    bounds = []
    for axis in (1, 0):
        held = np.flatnonzero(inside.any(axis=axis))
        bounds.append(slice(max(0, int(held[0]) - MARGIN), min(inside.shape[1 - axis], int(held[-1]) + 1 + MARGIN)))
    return bounds[0], bounds[1]


def _velocities(field: Field, window: Window, light: Light) -> NDArray[np.float64]:
    """Return the velocity of the flux-weighted middle of each spaxel's line, km/s, shape (y, x).

    The weight is the profile of the whole region times the residual, where it is positive; a product of two Gaussians has its
    middle between theirs, here half-way, which the factor 2 undoes.
    """
    planes = light.core
    values = np.maximum(field.residual[planes[0] : planes[-1] + 1], 0) * light.line.share(planes)[:, None, None]
    total = values.sum(axis=0)
    middle = (planes[:, None, None] * values).sum(axis=0) / np.where(total > 0, total, 1.0)
    centre = light.line.centre + 2 * (middle - light.line.centre)
    wavelength = np.interp(centre, np.arange(len(field.wavelength_um)), field.wavelength_um)
    return np.where(total > 0, (wavelength / window.observed_um - 1) * LIGHT_KM_S, np.nan)


def _image(name: str, image: NDArray[np.float64], cards: dict[str, Any]) -> bytes:
    """Return an image extension."""
    height, width = image.shape
    shape = {"XTENSION": "IMAGE", "BITPIX": -32, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height, "PCOUNT": 0, "GCOUNT": 1}
    data = image.astype(">f4").tobytes()
    own = {key: value for key, value in cards.items() if key not in {*shape, "EXTNAME", "WCSAXES"}}
    return _header({**shape, "EXTNAME": name, **own}) + data + bytes(-len(data) % BLOCK)


def _header(cards: dict[str, Any]) -> bytes:
    """Return a header (FITS standard 4.0, section 4): cards of 80 characters, padded to a block."""
    text = "".join(_card(key, value) for key, value in cards.items()) + "END".ljust(80)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _card(key: str, value: Any) -> str:
    """Return a card; text that is not ASCII is spelled with question marks, and cut where it is too long."""
    if isinstance(value, bool):
        shown = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        plain = value.encode("ascii", "replace").decode().replace("'", "''")[:66]
        shown = f"'{plain:8}'"
    else:
        number = int(value) if isinstance(value, int) else float(value)
        shown = f"{number!r:>20}".upper()
    return f"{key:8}= {shown}".ljust(80)[:80]
