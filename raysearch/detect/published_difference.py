"""The published notebook's search of a pair of images, kept as it is, so that its results can be reproduced and compared with.

Short wavelength minus long, nothing masked, nothing weighed, sources where that exceeds 1.5 times the scatter of the background.
The notebook says that it finds red sources; with this sign it finds blue ones.

Algorithm: IRSA, "SPHEREx Source Discovery Tool" (sections 8 to 10 of the notebook, and its file `default_sdt.sex`), with SEP in
place of the program SExtractor, whose code SEP is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.difference import in_every_region, regions_of
from raysearch.detect.extract import make_room
from raysearch.detect.frames import celestial
from raysearch.detect.stamp import UJY_PER_MJY_SR_ARCSEC2
from raysearch.errors import DetectorError, NothingToSearch
from raysearch.model import Candidate, Cutout, Image, Pixels, Triptych

MESH, MESHES = 64, 11
"""Of the background of each band: pixels across a mesh, and meshes over which the median is taken."""
SEARCH_MESHES = 3
"""Of the background of the difference: BACK_FILTERSIZE."""
THRESHOLD, LEAST_PIXELS = 1.5, 2
"""DETECT_THRESH in standard deviations, and DETECT_MINAREA, which is printed as 1.5 pixels: of whole ones, 2."""
NEEDS = ("IMAGE", "SOLID_ANGLE")


class PublishedDifference:
    """The published search of a pair; it has no options."""

    window: int | None = None
    needs = NEEDS
    columns: Mapping[str, str] = {
        "kind": "str",
        "ra": "f8",
        "dec": "f8",
        "snr": "f4",
        "x": "f8",
        "y": "f8",
        "flux_ujy": "f8",
        "peak_ujy": "f8",
        "a_px": "f4",
        "b_px": "f4",
        "theta_deg": "f4",
        "n_pixels": "i4",
        "sep_flags": "i4",
    }
    """Of each source: `blue`, what its sign means; its place on the sky (degrees ICRS); the highest difference over the scatter of
    the background, which is no significance; its place on the long band's box; the difference, summed and at its highest, uJy;
    standard deviations of its light along and across, and their direction; pixels above the threshold; SEP's flags."""

    def detect(self, pixels: Pixels) -> list[Candidate]:
        """Return the sources of every region, in the order in which SEP finds them.

        Raises
        ------
        DetectorError
            There are not two images, or a plane is missing.
        NothingToSearch
            No target lies on both images, or their boxes share no pixel.
        """
        return in_every_region(pixels, _region)

    def triptych(self, pixels: Pixels) -> list[Triptych]:
        """Return both bands and their difference for each region that can be searched; as in every triptych, long minus short."""
        shown = []
        for region in regions_of(pixels):
            with suppress(NothingToSearch):
                light, flux, difference = _compared(*region)
                _, _, long, box = region
                shown.append(Triptych(box.target.name, light, flux, -difference, "µJy", long.header("IMAGE", box)))
        return shown


def _compared(
    short: Image, box_a: Cutout, long: Image, box_b: Cutout
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the short band on the long one's pixels, the long band, and their difference, uJy; NaN beyond what both cover."""
    from reproject import reproject_exact

    wcs_a, wcs_b = celestial(short.header("IMAGE", box_a)), celestial(long.header("IMAGE", box_b))
    light, footprint = reproject_exact((_flux(short, box_a), wcs_a), wcs_b, shape_out=box_b.shape)
    flux = _flux(long, box_b) * np.where(footprint == 0, np.nan, footprint)
    difference = light - flux
    if not np.isfinite(difference).any():
        raise NothingToSearch(f"{short.obs_id} and {long.obs_id} share no pixel around {box_b.target.name}")
    return light, flux, difference


def _region(short: Image, box_a: Cutout, long: Image, box_b: Cutout) -> list[Candidate]:
    import sep

    difference = _compared(short, box_a, long, box_b)[2]
    values = np.where(np.isfinite(difference), difference, 0.0)  # as SExtractor takes a NaN
    sky = sep.Background(values, bw=MESH, bh=MESH, fw=SEARCH_MESHES, fh=SEARCH_MESHES)
    make_room(values.size)
    rows = sep.extract(values - sky.back(), THRESHOLD * sky.globalrms, minarea=LEAST_PIXELS)
    ra, dec = celestial(long.header("IMAGE", box_b)).all_pix2world(rows["x"], rows["y"], 0)
    return [
        Candidate(box_b.target.name, _record(row, float(a), float(d), sky.globalrms))
        for row, a, d in zip(rows, ra, dec, strict=True)
    ]


def _flux(image: Image, cutout: Cutout) -> NDArray[np.float64]:
    """Return the flux of each pixel above the background, uJy; zodiacal light is a part of the background."""
    import sep

    lacking = [name for name in NEEDS if name not in cutout.planes]
    if lacking:
        raise DetectorError(f"a pair needs {', '.join(lacking)} of {image.obs_id}: name them in `extensions` of [images]")
    planes = cutout.planes
    flux = planes["IMAGE"].astype(np.float64) * planes["SOLID_ANGLE"] * UJY_PER_MJY_SR_ARCSEC2
    known: NDArray[np.float64] = flux - sep.Background(flux, bw=MESH, bh=MESH, fw=MESHES, fh=MESHES).back()
    return known


def _record(row: Any, ra: float, dec: float, scatter: float) -> dict[str, Any]:
    return {
        "kind": "blue",
        "ra": ra,
        "dec": dec,
        "snr": float(row["peak"]) / scatter if scatter > 0 else math.nan,
        "x": float(row["x"]),
        "y": float(row["y"]),
        "flux_ujy": float(row["flux"]),
        "peak_ujy": float(row["peak"]),
        "a_px": float(row["a"]),
        "b_px": float(row["b"]),
        "theta_deg": float(np.degrees(row["theta"])),
        "n_pixels": int(row["npix"]),
        "sep_flags": int(row["flag"]),
    }
