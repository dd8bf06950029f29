"""Boxes of a made-up SPHEREx frame as a Reader hands them to a detector, without a file and without reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.model import Cutout, Image, Target
from raysearch.testing.fields import Field
from raysearch.testing.spherex_optics import EPSF_OVERSAMPLING, OVERSAMPLING, Optics, epsf_cube, psf_cube
from raysearch.testing.spherex_pixels import Injected, Planes, injected, make_planes
from raysearch.testing.spherex_spec import PIXEL_ARCSEC, Blemish, FrameSpec, PointSource

PSF_SIDE = 101
"""Of a real frame's PSF."""


def starfield(
    number: int, flux_ujy: float, *, across: int = 9, apart: int = 50, companions: int = 0, blemish: str = ""
) -> FrameSpec:
    """Return a square frame of D2 with sources of one flux in a grid, each at a random place within its pixel.

    Parameters
    ----------
    number
        Of the exposure, and the seed of everything random.
    flux_ujy
        Of each source, uJy.
    across, apart
        Sources in each direction, and pixels between them.
    companions
        Sources around each of them, 1 to 4 pixels away and with 0.2 to 5 times its flux.
    blemish
        The flag of one bad pixel for each source, up to 1.5 pixels from it in each direction; empty: none.
    """
    rng = np.random.default_rng((number, 2))
    field = Field(150.0, 20.0, across * apart, across * apart, PIXEL_ARCSEC, 30.0)
    spec = FrameSpec(number, 2, field)
    optics = Optics.of(spec)
    sources, blemishes = [], []
    for node in range(across**2):
        x, y = ((place + 0.5) * apart + rng.uniform(-0.5, 0.5) for place in (node % across, node // across))
        sources.append(_source(optics, f"s{node}", x, y, flux_ujy))
        for k in range(companions):
            distance, angle = rng.uniform(1.0, 4.0), rng.uniform(0.0, 2 * math.pi)
            flux = flux_ujy * 5 ** rng.uniform(-1, 1)
            sources.append(_source(optics, f"s{node}.{k}", x + distance * math.cos(angle), y + distance * math.sin(angle), flux))
        if blemish:
            ra, dec = optics.sky(x + rng.uniform(-1.5, 1.5), y + rng.uniform(-1.5, 1.5))
            blemishes.append(Blemish(float(ra), float(dec), blemish))
    return replace(spec, sources=tuple(sources), blemishes=tuple(blemishes))


def _source(optics: Optics, name: str, x: float, y: float, flux_ujy: float) -> PointSource:
    ra, dec = optics.sky(x, y)
    return PointSource(name, float(ra), float(dec), flux_ujy)


def boxes(spec: FrameSpec, side: int = 41, only: Sequence[str] | None = None) -> tuple[Image, list[Injected]]:
    """Return the frame with a box around each of its sources, and what is true of each.

    Parameters
    ----------
    spec
        Of the frame.
    side
        Rows and columns of a box that is not clipped.
    only
        Names of the sources that get a box; the others are on the frame, but nobody asked for them.
    """
    planes, optics = make_planes(spec), Optics.of(spec)
    planes["SOLID_ANGLE"] = _solid_angles(spec.field, spec.detector)
    true = [one for one in injected(spec) if one.inside and (only is None or one.source.name in only)]
    image = Image(
        obs_id=spec.obs_id,
        uri=f"s3://nasa-irsa-spherex/{spec.key}",
        band=f"SPHEREx-D{spec.detector}",
        mjd=spec.mjd,
        shape=spec.shape,
        headers={},
        flags={name: 1 << bit for name, bit in spec.flag_bits.items()},
        tables={},
        cutouts=tuple(_box(spec, one, planes, optics, side) for one in true),
    )
    return image, true


@lru_cache(maxsize=8)
def _solid_angles(field: Field, detector: int) -> NDArray[np.float32]:
    return Optics(field, detector).solid_angles()


def _box(spec: FrameSpec, one: Injected, planes: Planes, optics: Optics, side: int) -> Cutout:
    ny, nx = planes["IMAGE"].shape
    x0, y0 = (round(place) - side // 2 for place in (one.x, one.y))
    rows, columns = slice(max(y0, 0), min(y0 + side, ny)), slice(max(x0, 0), min(x0 + side, nx))
    return Cutout(
        target=Target(one.source.name, one.source.ra, one.source.dec),
        x=one.x,
        y=one.y,
        x0=columns.start,
        y0=rows.start,
        planes={name: np.ascontiguousarray(plane[rows, columns]) for name, plane in planes.items()},
        wavelength_um=one.wavelength_um,
        bandwidth_um=one.bandwidth_um,
        clipped=x0 < 0 or y0 < 0 or x0 + side > nx or y0 + side > ny,
        **_psf(spec, optics, one),
    )


def _psf(spec: FrameSpec, optics: Optics, one: Injected) -> dict[str, Any]:
    """Return the PSF of a source's zone as the frame's release has it."""
    ix, iy = optics.zone(one.x, one.y)
    zone = optics.lattice[0] * iy + ix
    if spec.release == "qr3":
        return {"psf": epsf_cube(optics.lattice)[zone], "psf_oversampling": EPSF_OVERSAMPLING, "psf_effective": True}
    return {"psf": psf_cube(PSF_SIDE)[zone], "psf_oversampling": OVERSAMPLING}
