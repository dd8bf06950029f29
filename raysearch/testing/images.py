"""Small files of other missions: a far-infrared cube as SOFIA's FIFI-LS leaves it, and an X-ray image as Chandra does."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.testing.cards import card, header, padded
from raysearch.testing.fields import Field


def make_fifi(field: Field, start_um: float, step_um: float, planes: int, line_um: float = 0.0, seed: int = 0) -> bytes:
    """Return a FIFI-LS level 4 cube: float64 FLUX and ERROR in Jy/pixel, wavelengths in micrometres, NaN at the borders.

    With `line_um` a point-like source shines in that line, three planes wide, 40 times as bright as the noise.
    """
    rng = np.random.default_rng(seed)
    flux = rng.normal(1.0, 0.05, (planes, field.ny, field.nx))
    wave = start_um + step_um * np.arange(planes)
    if line_um:
        profile = np.exp(-0.5 * ((wave - line_um) / (1.5 * step_um)) ** 2)
        y, x = np.mgrid[: field.ny, : field.nx]
        spot = np.exp(-((x - field.nx // 2) ** 2 + (y - field.ny // 2) ** 2) / 8.0)
        flux += 2.0 * profile[:, None, None] * spot
    flux[:, :2], flux[:, -2:], flux[0] = np.nan, np.nan, np.nan
    spectral = [
        *card("CTYPE3", "WAVE"), *card("CUNIT3", "um"), *card("CRPIX3", 1.0), *card("CRVAL3", start_um), *card("CDELT3", step_um),
        *card("SPECSYS", "BARYCENT"),
    ]  # fmt: skip
    sky = [*field.cards(axes=3), *spectral]
    primary = [
        *card("SIMPLE", value=True), *card("BITPIX", 8), *card("NAXIS", 0), *card("EXTEND", value=True),
        *card("TELESCOP", "SOFIA 2.5m"), *card("INSTRUME", "FIFI-LS"), *card("PRODTYPE", "resampled"), *card("PROCSTAT", "LEVEL_4"),
        *card("DETCHAN", "RED"),
    ]  # fmt: skip
    return b"".join(
        [
            header(primary),
            _float_image("FLUX", flux, [*card("BUNIT", "Jy/pixel"), *sky]),
            _float_image("ERROR", np.where(np.isnan(flux), np.nan, 0.05), [*card("BUNIT", "Jy/pixel"), *sky]),
            _float_image("WAVELENGTH", wave, card("BUNIT", "um")),
        ]
    )


def make_chandra(field: Field, counts: int, seed: int = 0) -> bytes:
    """Return a gzipped image of counts, with a source of so many in the middle."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(0.1, (field.ny, field.nx))
    hits = np.rint(rng.normal((field.ny // 2, field.nx // 2), 1.0, (counts, 2))).astype(int)
    np.add.at(image, tuple(hits.T), 1)
    cards = [
        *card("SIMPLE", value=True), *card("BITPIX", 16), *card("NAXIS", 2), *card("NAXIS1", field.nx), *card("NAXIS2", field.ny),
        *card("TELESCOP", "CHANDRA"), *card("INSTRUME", "ACIS"), *card("CONTENT", "CNTR_IMG"), *field.cards(),
    ]  # fmt: skip
    return gzip.compress(header(cards) + padded(image.astype(">i2").tobytes()), mtime=0)


def _float_image(name: str, array: NDArray[np.floating[Any]], cards: list[str]) -> bytes:
    sizes = [c for axis, size in enumerate(reversed(array.shape), start=1) for c in card(f"NAXIS{axis}", size)]
    head = [
        *card("XTENSION", "IMAGE"),
        *card("BITPIX", -64),
        *card("NAXIS", array.ndim),
        *sizes,
        *card("PCOUNT", 0),
        *card("GCOUNT", 1),
    ]
    return header([*head, *card("EXTNAME", name), *cards]) + padded(array.astype(">f8").tobytes())
