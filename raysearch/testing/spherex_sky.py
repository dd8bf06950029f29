"""A ready sky of SPHEREx: three fields seen in all six bands at three epochs, with sources of known flux and some mishaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysearch.model import Target
from raysearch.testing.fields import Field
from raysearch.testing.holdings import Holdings, Row, target_row
from raysearch.testing.spherex import PIXEL_ARCSEC, Blemish, FrameSpec, Injected, PointSource, injected, make_frame
from raysearch.testing.spherex_archive import sia_row, spherex_product, tap_rows
from raysearch.testing.spherex_calibration import make_solid_angles, make_spectral_wcs, solid_angle_key, spectral_wcs_key

CENTRES = ((68.97, 25.11), (270.0, 66.56), (0.01, -30.0))
"""Of the fields A, B and C, degrees: in Taurus; at the north ecliptic pole; across the meridian of right ascension 0."""
EPOCHS = (
    ("2025W51_1A", "l2b-v21-2025-354", 61027.215, 31.0),
    ("2026W24_2B", "l2b-v24-2026-170", 61204.631, 211.0),
    ("2026W50_1A", "l2b-v30-2026-349", 61386.077, 118.0),
)
"""Period, version, MJD of the first exposure, and rotation of the frames in degrees."""
TOGETHER = ((1, 4), (2, 5), (3, 6))
"""Detectors that see the same sky at the same time."""


@dataclass(frozen=True, slots=True)
class SpherexSky:
    """The holdings, and everything that is true of them."""

    holdings: Holdings
    targets: tuple[Target, ...]
    """Those that SIMBAD knows too, with `otype` `Y*O`: `SPX Red A`, `SPX Blue A`, ... of each field."""
    sources: tuple[PointSource, ...]
    """Every source of the sky; a target's has the target's name, its neighbour in a pair the name and `b`."""
    frames: Mapping[str, FrameSpec]
    """`obs_id/Dk`, as in `spherex.plane.planeid` -> what decides the frame."""
    special: Mapping[str, str]
    """Mishap -> the frame it befell: see `spherex_sky`."""
    seen: Mapping[str, Mapping[str, Injected]]
    """Frame -> the sources whose centres lie on it, by name: places, wavelengths, fluxes."""

    def injected(self, frame: str) -> Mapping[str, Injected]:
        """Return the sources whose centres lie on a frame, by name."""
        return self.seen[frame]

    def holding(self, target: str, detector: int = 0, release: str = "") -> list[str]:
        """Return the frames that hold a target, the oldest first; of one detector or release where these are named."""
        found = [
            (spec.mjd, spec.detector, name)
            for name, spec in self.frames.items()
            if detector in {0, spec.detector} and release in {"", spec.release} and target in self.seen[name]
        ]
        return [name for *_, name in sorted(found)]


def spherex_holdings(side: int = 160, epochs: int = 3, seed: int = 2026) -> Holdings:
    """Return the holdings of `spherex_sky`, for an archive of them."""
    return spherex_sky(side, epochs, seed).holdings


def spherex_sky(side: int = 160, epochs: int = 3, seed: int = 2026) -> SpherexSky:
    """Return a sky that an archive serves by TAP, SIA2, the cutout service and S3; made in about a second.

    Three fields (A, B, C: `CENTRES`) of `side` pixels; at each epoch three exposures follow each other, a little apart, in which D1
    and D4, then D2 and D5, then D3 and D6 see the field: `epochs` frames of a field in each band, so that frames of D2 and D4
    overlap nearly everywhere. The rotation changes from epoch to epoch. The third epoch of field C is of the release QR3.

    Each field has these targets, well inside but for the last, all of them sources: `SPX Red` (flux rises with wavelength^2),
    `SPX Blue` (falls so), `SPX Flat`, `SPX Pair` (red; 2.6 pixels beside it `SPX Pair b`, blue), `SPX Spoiled` (flat; upon it
    a TRANSIENT in D2 of the first epoch, NONFUNC in D4 of the second), `SPX Bright` (overflows) and `SPX Edge` (flat, near the
    frames' edge, so that a box of 0.1 degrees is clipped); the name ends in ` A`, ` B` or ` C`. About 25 more sources of random
    flux and colour (`field A 01` ...) lie at least 7 pixels from every other, and bad pixels everywhere.

    `special` names the frames (field A but where told) that are: `irsa_only` (not in S3), `absent` (listed, and nowhere),
    `no_variance` (the extension is missing; field B), `blank` (NaN around `SPX Flat B`), `old_psf` (field B: VERSION 6.5.4, whose
    PSF header is wrong), `unsaid` (SIA2 says no place in the cloud). With fewer epochs those of the later ones are not there.

    `holdings.truth` has the fluxes in uJy of the sources on each frame by `obs_publisher_did`. Solid angle maps and wavelengths
    of the six detectors are at their public keys, for frames of this size.
    """
    rng = np.random.default_rng(seed)
    frames: dict[str, FrameSpec] = {}
    sources: list[PointSource] = []
    for number, (ra, dec) in enumerate(CENTRES):
        stars = _stars(rng, number, ra, dec, side)
        sources += stars
        for spec in _exposures(rng, number, stars, side, epochs):
            frames[f"{spec.obs_id}/D{spec.detector}"] = spec
    special = _mishaps(frames, {s.name: s for s in sources}, side)
    named = [s for s in sources if s.name.startswith("SPX") and not s.name.endswith(" b")]
    seen = {name: {one.source.name: one for one in injected(spec) if one.inside} for name, spec in frames.items()}
    return SpherexSky(
        holdings=_holdings(frames, seen, special, named, side),
        targets=tuple(Target(s.name, s.ra, s.dec) for s in named),
        sources=tuple(sources),
        frames=frames,
        special=special,
        seen=seen,
    )


def _stars(rng: np.random.Generator, number: int, ra: float, dec: float, side: int) -> list[PointSource]:
    """Return a field's sources; places are pixels from its centre on an unrotated, undistorted grid."""
    letter, half = "ABC"[number], side / 2
    grid = Field(ra, dec, side, side, PIXEL_ARCSEC)
    plan: list[tuple[str, float, float, float, float]] = [
        ("SPX Red", 0.0, 0.0, 3000, 2.0), ("SPX Blue", 0.14, 0.1, 3000, -2.0), ("SPX Flat", -0.15, 0.11, 2500, 0.0),
        ("SPX Pair", 0.12, -0.15, 2500, 1.5), ("SPX Spoiled", -0.13, -0.13, 2500, 0.0), ("SPX Bright", -0.3, 0.25, 4e5, -1.0),
        ("SPX Edge", 0.37, 0.0, 2500, 0.0),
    ]  # fmt: skip
    places = [(x * side, y * side) for _, x, y, _, _ in plan]
    stars = [(f"{name} {letter}", flux, index) for name, _, _, flux, index in plan]
    x, y = places[3]
    places.append((x + 2.6, y))
    stars.append((f"SPX Pair {letter} b", 2000.0, -1.5))
    while len(stars) < 33:
        x, y = rng.uniform(-0.85 * half, 0.85 * half, 2)
        if min(np.hypot(x - a, y - b) for a, b in places) >= 7:
            places.append((float(x), float(y)))
            stars.append((f"field {letter} {len(stars) - 7:02d}", float(10 ** rng.uniform(2.3, 4.2)), float(rng.normal(0, 1.5))))
    at = [grid.sky(half - 0.5 + x, half - 0.5 + y) for x, y in places]
    return [PointSource(name, *where, flux, index) for (name, flux, index), where in zip(stars, at, strict=True)]


def _exposures(rng: np.random.Generator, number: int, stars: Sequence[PointSource], side: int, epochs: int) -> list[FrameSpec]:
    specs: list[FrameSpec] = []
    grid = Field(*CENTRES[number], side, side, PIXEL_ARCSEC)
    for epoch, (period, version, mjd, rotation) in enumerate(EPOCHS[:epochs]):
        for step, detectors in enumerate(TOGETHER):
            x, y = (side - 1) / 2 + rng.uniform(-0.03 * side, 0.03 * side, 2)
            field = Field(*grid.sky(x, y), side, side, PIXEL_ARCSEC, rotation + number + rng.uniform(-0.5, 0.5))
            first = FrameSpec(
                10 * number + step + 1, detectors[0], field, period, version, mjd=mjd + 0.1 * number + 0.00149 * step,
                sources=tuple(stars), zodi_slope=(0.02, -0.05), background=0.03, noise=0.01, tails=0.002, bad=1.0,
            )  # fmt: skip
            if (number, epoch) == (2, 2):
                first = replace(first, release="qr3", pipeline="7.0.1")
            specs += [replace(first, detector=k, zodi=0.2 + 0.05 * k) for k in detectors]
    return specs


def _mishaps(frames: dict[str, FrameSpec], stars: Mapping[str, PointSource], side: int) -> dict[str, str]:
    """Give frames what is special about them, in place; return which they are."""
    names = {(spec.number // 10, spec.period, spec.detector): name for name, spec in frames.items()}
    plan = {"irsa_only": (0, 1, 3), "absent": (0, 2, 6), "no_variance": (1, 1, 5), "blank": (1, 2, 1), "old_psf": (1, 0, 4)}
    plan |= {"unsaid": (0, 0, 1)}
    at = {mishap: (number, EPOCHS[epoch][0], detector) for mishap, (number, epoch, detector) in plan.items()}
    special = {mishap: names[where] for mishap, where in at.items() if where in names}
    flat = stars["SPX Flat B"]
    changes = {
        "no_variance": {"without": ("VARIANCE",)},
        "blank": {"blemishes": (Blemish(flat.ra, flat.dec, "MISSING_DATA", side / 4),)},
        "old_psf": {"pipeline": "6.5.4"},
    }
    for mishap, change in changes.items():
        if mishap in special:
            frames[special[mishap]] = replace(frames[special[mishap]], **change)  # type: ignore[arg-type]
    for (number, period, detector), name in names.items():
        flag = {(EPOCHS[0][0], 2): "TRANSIENT", (EPOCHS[1][0], 4): "NONFUNC"}.get((period, detector))
        if flag:
            star = stars[f"SPX Spoiled {'ABC'[number]}"]
            frames[name] = replace(frames[name], blemishes=(Blemish(star.ra, star.dec, flag),))
    return special


def _holdings(
    frames: Mapping[str, FrameSpec],
    seen: Mapping[str, Mapping[str, Injected]],
    special: Mapping[str, str],
    named: Sequence[PointSource],
    side: int,
) -> Holdings:
    befell = {name: mishap for mishap, name in special.items()}
    bodies: dict[str, bytes] = {}
    rows: list[tuple[FrameSpec, Row]] = []
    products, truth = [], {}
    for name, spec in frames.items():
        mishap = befell.get(name)
        bodies[spec.key] = make_frame(spec)
        row = sia_row(spec, len(bodies[spec.key]), said=mishap != "unsaid")
        rows.append((spec, row))
        truth[row["obs_publisher_did"]] = tuple(one.flux_ujy for one in seen[name].values())
        products.append(spherex_product(spec.key, in_cloud=mishap not in {"irsa_only", "absent"}, downloadable=mishap != "absent"))
    for detector in range(1, 7):
        for key, content in (
            (solid_angle_key(detector), make_solid_angles(detector, side, side)),
            (spectral_wcs_key(detector), make_spectral_wcs(detector, side, side)),
        ):
            bodies[key] = content
            products.append(spherex_product(key))
    return Holdings(
        targets=tuple(target_row(s.name, s.ra, s.dec) for s in named),
        products=tuple(products),
        bodies=bodies,
        truth=truth,
        irsa=tuple(row for _, row in rows),
        tables={name: tuple(table) for name, table in tap_rows(rows).items()},
    )
