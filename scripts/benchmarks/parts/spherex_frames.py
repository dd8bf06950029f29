"""Full-size SPHEREx frames around one position, for the benchmark: few files on disk, each listed as several images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from raysearch.testing import Holdings, target_row
from raysearch.testing.fields import Field
from raysearch.testing.spherex import PIXEL_ARCSEC, SIDE, FrameSpec, PointSource
from raysearch.testing.spherex_archive import sia_row, spherex_product, tap_rows
from raysearch.testing.spherex_calibration import make_solid_angles, solid_angle_key

CENTRE = (150.7817877, 3.3502204)
"""Near the COSMOS field, where the published practice looks: degrees."""
SIZE = 71_637_120
"""Bytes of a frame."""
POINTINGS = 2
"""Of each detector, and so files: their places and rotations differ."""


def stars(count: int) -> list[PointSource]:
    """Return sources of 300 to 30,000 uJy and any colour within a degree of the centre; the first three are red, blue and flat."""
    rng = np.random.default_rng(2026)
    found = []
    for i in range(count):
        radius, angle = math.sqrt(rng.uniform(0, 1.0)), rng.uniform(0, 2 * math.pi)
        flux, index = float(10 ** rng.uniform(2.5, 4.5)), float(rng.normal(0, 1.5))
        if i < 3:
            radius, angle, flux, index = 0.02 + 0.01 * i, 2.1 * i, 3000.0, (2.0, -2.0, 0.0)[i]
        ra = CENTRE[0] + radius * math.sin(angle) / math.cos(math.radians(CENTRE[1]))
        found.append(PointSource(f"star {i:03d}", ra, CENTRE[1] + radius * math.cos(angle), flux, index))
    return found


def frames(images: int, sources: list[PointSource]) -> list[tuple[FrameSpec, FrameSpec]]:
    """Return for each image what it is called and when it was taken, and which of the files it is."""
    rng = np.random.default_rng(7)
    files = []
    for number in range(6 * POINTINGS):
        ra, dec = CENTRE[0] + rng.uniform(-0.15, 0.15), CENTRE[1] + rng.uniform(-0.15, 0.15)
        place = Field(ra, dec, SIDE, SIDE, PIXEL_ARCSEC, float(rng.uniform(0, 360)))
        files.append(
            FrameSpec(
                number, number % 6 + 1, place, sources=tuple(sources), noise=0.01, background=0.03, tails=0.002, bad=1.0,
                zodi_slope=(0.02, -0.05),
            )
        )  # fmt: skip
    listed = []
    for number in range(images):
        file = files[number % len(files)]
        listed.append((replace(file, number=number, mjd=61027.0 + 0.3 * number), file))
    return listed


def holdings(images: int, sources: list[PointSource]) -> Holdings:
    """Return an archive of so many images; the files are made when the archive starts."""
    listed = frames(images, sources)
    rows = [(spec, sia_row(spec, SIZE)) for spec, _ in listed]
    bodies: dict[str, object] = {file.key: file for _, file in listed}
    products = [spherex_product(spec.key, file.key) for spec, file in listed]
    for detector in range(1, 7):
        bodies[solid_angle_key(detector)] = make_solid_angles(detector, SIDE, SIDE)
        products.append(spherex_product(solid_angle_key(detector)))
    return Holdings(
        targets=tuple(target_row(s.name, s.ra, s.dec) for s in sources),
        products=tuple(products),
        bodies=bodies,
        irsa=tuple(row for _, row in rows),
        tables={name: tuple(table) for name, table in tap_rows(rows).items()},
    )
