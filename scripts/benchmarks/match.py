"""Targets in footprints: raysearch against the published practice, on one made-up sky.

The practice is that of the Fornax jets notebook: for each footprint, project every target (TAN, about the footprint's centre), then
ask a matplotlib Path which lie inside. It takes minutes, so it is timed on a sample of the footprints and scaled up.

--large: 1e6 footprints x 1e8 targets, which stream (match_large.py; its options follow).
"""

import argparse
import sys
import time

import numpy as np
from astropy.wcs import WCS
from matplotlib.path import Path

from raysearch.model import Footprint, Polygon
from raysearch.sky import match, parse_s_region


def clustered_sky(targets: int, footprints: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return targets in 60 star-forming regions, and s_regions of JWST size (about 9 arcsec), a third of them on a target."""
    rng = np.random.default_rng(seed)
    regions = np.column_stack((rng.uniform(0, 360, 60), np.degrees(np.arcsin(rng.uniform(-0.95, 0.95, 60)))))
    region = rng.integers(60, size=targets)
    dec = regions[region, 1] + rng.normal(0, 1, targets)
    ra = (regions[region, 0] + rng.normal(0, 1, targets) / np.cos(np.radians(dec))) % 360
    at = rng.integers(targets, size=footprints)
    offset = np.where(rng.random(footprints) < 1 / 3, 4 / 3600, 0.3)
    centre_dec = dec[at] + rng.normal(0, 1, footprints) * offset
    centre_ra = ra[at] + rng.normal(0, 1, footprints) * offset / np.cos(np.radians(centre_dec))
    half = rng.uniform(3, 6, footprints) / 3600
    roll = rng.uniform(0, np.pi / 2, footprints)
    corners = roll[:, None] + np.arange(4) * np.pi / 2
    decs = centre_dec[:, None] + half[:, None] * np.sqrt(2) * np.sin(corners)
    ras = centre_ra[:, None] + half[:, None] * np.sqrt(2) * np.cos(corners) / np.cos(np.radians(centre_dec))[:, None]
    vertices = np.stack((ras % 360, decs), axis=-1).reshape(footprints, 8)
    return ra, dec, ["POLYGON ICRS  " + " ".join(f"{v:.9f}" for v in row) for row in vertices]


def as_published(polygon: Polygon, targets: np.ndarray) -> np.ndarray:
    """Return the indices of the targets in one footprint."""
    turn = np.radians(polygon.ra)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [np.degrees(np.arctan2(np.sin(turn).mean(), np.cos(turn).mean())) % 360, np.mean(polygon.dec)]
    wcs.wcs.crpix = [0, 0]
    wcs.wcs.cdelt = [1, 1]
    outline = wcs.wcs_world2pix(np.column_stack((polygon.ra, polygon.dec)), 0)
    return np.flatnonzero(Path(np.vstack((outline, outline[:1])), closed=True).contains_points(wcs.wcs_world2pix(targets, 0)))


def best_of(times: int, ra: np.ndarray, dec: np.ndarray, footprints: list[Footprint]):
    """Return the matches, and the seconds of the first and of the quickest run."""
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        matches = match(ra, dec, footprints)
        seconds.append(time.perf_counter() - begin)
    return matches, seconds[0], min(seconds)


def main() -> int:
    if "--large" in sys.argv[1:]:
        import match_large

        sys.argv.remove("--large")
        return match_large.main()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=60_000)
    parser.add_argument("--footprints", type=int, default=30_000)
    parser.add_argument("--sample", type=int, default=200, help="footprints on which the published practice is timed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    ra, dec, texts = clustered_sky(options.targets, options.footprints, options.seed)
    match(ra[:10], dec[:10], [parse_s_region(texts[0])])  # imports
    begin = time.perf_counter()
    footprints = [parse_s_region(text) for text in texts]
    parsing = time.perf_counter() - begin
    matches, first, best = best_of(5, ra, dec, footprints)

    sample = np.random.default_rng(options.seed).choice(options.footprints, min(options.sample, options.footprints), replace=False)
    targets = np.column_stack((ra, dec))
    begin = time.perf_counter()
    theirs = {int(i): set(as_published(footprints[i].shapes[0], targets).tolist()) for i in sample}
    published = (time.perf_counter() - begin) / len(sample) * options.footprints
    ours = {i: set(matches.target[matches.footprint == i].tolist()) for i in theirs}
    different = sum(ours[i] != theirs[i] for i in theirs)

    print(f"{options.targets} targets x {options.footprints} footprints, one core: {len(matches.target)} pairs")
    print(f"{'':<44}{'seconds':>10}{'us a footprint':>16}{'ratio':>10}")
    rows = {
        f"published practice (scaled from {len(sample)})": published,
        "raysearch match, first run": first,
        "raysearch match, best of 5": best,
        "raysearch parse and match": parsing + first,
    }
    for name, seconds in rows.items():
        print(f"{name:<44}{seconds:>10.3f}{seconds / options.footprints * 1e6:>16.1f}{published / seconds:>10.0f}")
    pairs = sum(map(len, theirs.values()))
    print(f"footprints of the sample with other pairs than the published practice: {different} ({pairs} pairs in it)")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
