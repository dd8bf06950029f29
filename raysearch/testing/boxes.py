"""Boxes cut out of a whole SPHEREx image with astropy, as a Reader hands them to a detector: headers and wavelengths included."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from raysearch.model import Cutout, Image, Pixels, Target

PLANES = ("IMAGE", "FLAGS", "VARIANCE", "ZODI")


def boxes_of(frame: bytes, targets: Sequence[Target], side: int, obs_id: str = "frame", planes: Sequence[str] = PLANES) -> Pixels:
    """Return the boxes of `side` pixels about each target of an image, clipped where it ends; targets off the image have none.

    With `PSF` among the planes a box has the first plane of the image's PSF, wherever it lies.
    """
    from astropy.io import fits

    with fits.open(io.BytesIO(frame)) as file:
        header, table = file["IMAGE"].header, file["WCS-WAVE"].fileinfo()
        found = [_box(file, target, side, planes) for target in targets]
        image = Image(
            obs_id=obs_id,
            uri=f"s3://frames/{obs_id}.fits",
            band=f"SPHEREx-D{header['DETECTOR']}",
            mjd=float(header["MJD-AVG"]),
            shape=file["IMAGE"].shape,
            headers={name: _text(file[name].header) for name in ("PRIMARY", *planes) if name != "PSF"},
            flags={str(key)[3:]: 1 << int(value) for key, value in file["FLAGS"].header.items() if str(key).startswith("MP_")},
            tables={"WCS-WAVE": frame[table["hdrLoc"] : table["datLoc"] + table["datSpan"]]},
            cutouts=tuple(cutout for cutout in found if cutout is not None),
        )
    return Pixels(obs_id, image.uri, targets=tuple(targets), images=(image,))


def _text(header: Any) -> str:
    return str(header.tostring(sep="", endcard=False, padding=False))


def _box(file: Any, target: Target, side: int, planes: Sequence[str]) -> Cutout | None:
    from astropy.wcs import WCS

    header = file["IMAGE"].header
    spectral = WCS(header, fobj=file, key="W")
    spectral.sip = None  # astropy applies it to every WCS of a header, its own or not
    x, y = (float(place) for place in WCS(header).all_world2pix(target.ra, target.dec, 0))
    height, width = file["IMAGE"].shape
    left, low = (round(place - (side - 1) / 2) for place in (x, y))
    columns, rows = slice(max(0, left), min(width, left + side)), slice(max(0, low), min(height, low + side))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return None
    wavelength, bandwidth = (float(value) for value in spectral.all_pix2world(x, y, 0))
    cut = {name: np.array(file[name].data[rows, columns]) for name in planes if name != "PSF"}
    native = {name: plane.astype(plane.dtype.newbyteorder("=")) for name, plane in cut.items()}
    psf = np.array(file["PSF"].data[0], np.float32) if "PSF" in planes else None
    clipped = cut["IMAGE"].shape != (side, side)
    return Cutout(target, x, y, columns.start, rows.start, native, wavelength, bandwidth, psf, 10, clipped=clipped)
