"""Footprints x targets that do not fit into memory: wall time, peak memory, cost per doubling, pairs checked by brute force.

Memory is that of the whole process tree, shared memory once, without the pages of files that the system may drop.

The sky is made up, clustered like the real one: half of the targets crowd towards a galactic plane, a third sits in clusters of all
sizes, the rest is everywhere. Footprints are mostly of arcseconds (spectrographs), some of arcminutes (cameras), a few of degrees
(surveys); most lie on clusters. Targets are made chunk by chunk as they stream past, so that no run holds them.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from _memory import watched_peak

from raysearch.engine import EngineOptions
from raysearch.engine.workers.spread import spreading
from raysearch.sky.stream import match_stream

CHUNK = 1_000_000
CLUSTERS = 2000


def clusters(seed):
    """Return ra, dec and size (degrees) of the clusters, most of them small."""
    rng = np.random.default_rng([seed, 1])
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, CLUSTERS)))
    return rng.uniform(0, 360, CLUSTERS), dec, 10.0 ** rng.uniform(-1.3, 0.7, CLUSTERS)


def around(centre, size, rng):
    """Return positions scattered (degrees, Gaussian) about centres."""
    ra, dec = centre
    new = np.clip(dec + rng.normal(0, 1, len(dec)) * size, -90, 90)
    return (ra + rng.normal(0, 1, len(ra)) * size / np.maximum(np.cos(np.radians(new)), 1e-3)) % 360, new


def positions(seed, number, count):
    """Return the targets of one chunk."""
    rng = np.random.default_rng([seed, 2, number])
    kind = rng.random(count)
    ra = rng.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    plane = kind < 0.5
    dec[plane] = np.clip(62.87 * np.sin(np.radians(ra[plane] - 282.85)) + rng.laplace(0, 6, plane.sum()), -90, 90)
    crowd = kind > 0.67
    ra_c, dec_c, size = clusters(seed)
    chosen = rng.integers(CLUSTERS, size=crowd.sum())
    ra[crowd], dec[crowd] = around((ra_c[chosen], dec_c[chosen]), size[chosen], rng)
    return ra, dec


def numbered(seed, number, count):
    """Return the targets of one chunk with their numbers."""
    return (np.arange(count) + number * CHUNK, *positions(seed, number, count))


def outlines(seed, count):
    """Return ra and dec of the corners of square footprints, shape (count, 4), degrees."""
    rng = np.random.default_rng([seed, 3])
    ra_c, dec_c, size = clusters(seed)
    chosen = rng.integers(CLUSTERS, size=count)
    ra, dec = around((ra_c[chosen], dec_c[chosen]), size[chosen], rng)
    anywhere = rng.random(count) < 0.3
    ra[anywhere], dec[anywhere] = rng.uniform(0, 360, anywhere.sum()), np.degrees(np.arcsin(rng.uniform(-1, 1, anywhere.sum())))
    dec = np.clip(dec, -85, 85)
    kind = rng.random(count)
    half = np.where(kind < 0.95, rng.uniform(2, 8, count) / 3600, np.where(kind < 0.9999, rng.uniform(1, 3, count) / 60, 1.75))
    corner = rng.uniform(0, np.pi / 2, count)[:, None] + np.arange(4) * np.pi / 2
    decs = dec[:, None] + half[:, None] * np.sqrt(2) * np.sin(corner)
    return (ra[:, None] + half[:, None] * np.sqrt(2) * np.cos(corner) / np.cos(np.radians(dec))[:, None]) % 360, decs


def texts_of(ras, decs):
    """Return the footprints as archives write them."""
    rows = np.stack((ras, decs), axis=-1).reshape(len(ras), 8).tolist()
    return ["POLYGON ICRS  " + " ".join(f"{value:.9f}" for value in row) for row in rows]


def vectors(ra, dec):
    """Return unit vectors."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)


def brute_force(seed, targets, texts, sample):
    """Return the targets inside each footprint of the sample: every target against every edge's great circle."""
    corners = {}
    for number in sample:
        values = np.array(texts[number].split()[2:], dtype=float).reshape(4, 2)
        corners[number] = vectors(values[:, 0], values[:, 1])
    middles = np.array([c.mean(axis=0) / np.linalg.norm(c.mean(axis=0)) for c in corners.values()])
    far = np.array([(c @ m).min() for c, m in zip(corners.values(), middles, strict=True)])
    found = {number: set() for number in sample}
    for chunk in range(-(-targets // CHUNK)):
        points = vectors(*positions(seed, chunk, min(CHUNK, targets - chunk * CHUNK)))
        near = points @ middles.T >= far - 1e-12
        for place, number in enumerate(sample):
            rows = np.flatnonzero(near[:, place])
            c = corners[number]
            side = points[rows] @ np.cross(c, np.roll(c, -1, axis=0)).T
            inside = (side > 0).all(axis=1) | (side < 0).all(axis=1)
            found[number].update((rows[inside] + chunk * CHUNK).tolist())
    return found


def run(options, footprints, targets, folder):
    """Match once; return the matches' file, seconds and peak memory (bytes)."""
    texts = texts_of(*outlines(options.seed, footprints))
    chunks = (
        partial(numbered, options.seed, number, min(CHUNK, targets - number * CHUNK)) for number in range(-(-targets // CHUNK))
    )
    engine = EngineOptions(engine=options.engine, object_store_bytes=2 * 2**30)
    with watched_peak() as peak:
        begin = time.perf_counter()
        with spreading(engine) as spread:
            matches = match_stream(chunks, texts, folder, spread=spread)
        seconds = time.perf_counter() - begin
    return matches, texts, seconds, peak[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=100_000_000)
    parser.add_argument("--footprints", type=int, default=1_000_000)
    parser.add_argument("--doublings", type=int, default=3, help="smaller runs before, each half as large in both")
    parser.add_argument("--sample", type=int, default=100, help="footprints whose pairs are checked by brute force")
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{'footprints':>12}{'targets':>13}{'pairs':>13}{'seconds':>9}{'x the last':>11}{'memory, MB':>12}")
    before = None
    for halvings in range(options.doublings, -1, -1):
        footprints, targets = options.footprints >> halvings, options.targets >> halvings
        with tempfile.TemporaryDirectory() as folder:
            matches, texts, seconds, peak = run(options, footprints, targets, Path(folder))
            ratio = f"{seconds / before:.2f}" if before else ""
            print(f"{footprints:>12,}{targets:>13,}{matches.pairs:>13,}{seconds:>9.1f}{ratio:>11}{peak / 1e6:>12,.0f}", flush=True)
            before, found = seconds, matches.load()
    rng = np.random.default_rng([options.seed, 4])
    held = np.unique(found.footprint)
    sample = sorted(
        {*rng.choice(held, options.sample // 2).tolist(), *rng.choice(options.footprints, options.sample // 2).tolist()}
    )
    expected = brute_force(options.seed, options.targets, texts, sample)
    begin, end = np.searchsorted(found.footprint, sample), np.searchsorted(found.footprint, sample, side="right")
    ours = {number: set(found.target[a:b].tolist()) for number, a, b in zip(sample, begin, end, strict=True)}
    different = sum(ours[number] != expected[number] for number in sample)
    print(f"brute force over {len(sample)} footprints: {sum(map(len, expected.values())):,} pairs, {different} footprints differ")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
