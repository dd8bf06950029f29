"""Measure the search of pairs: injected sources found and missed, false alarms, fluxes, time, and the order of the steps.

Sources that no image at this resolution can tell apart (`spherex_pairs.as_resolved`) are one, with their summed fluxes; only
`anywhere, one by one` counts each of them.

python scripts/benchmarks/sources.py --regions 100 --side 100
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from raysearch.detect.difference import Difference
from raysearch.detect.flags import BAD_FLAGS
from raysearch.detect.frames import Frame, make_frame
from raysearch.detect.overlay import reproject
from raysearch.detect.published_difference import PublishedDifference
from raysearch.testing.fields import Field
from raysearch.testing.spherex_pairs import CENTRE, RESOLUTION_PX, Truth, apart_px, as_resolved, boxes_of, make_pair
from raysearch.testing.spherex_spec import PIXEL_ARCSEC, FrameSpec, PointSource

FIRST = 100_000
"""Seed of the first region; those below 100 000 were used to make the detector."""
NEAR_PX = 1.0
"""A candidate within this of a source is the source's."""
ONE_BY_ONE = "anywhere, one by one"
KINDS = {
    "alone": {"sources": 12, "apart_px": 12.0},
    "crowded": {"sources": 80, "apart_px": 2.5},
    "on bad pixels": {"sources": 12, "apart_px": 12.0, "blemished": True, "bad": 1.0},
    "anywhere": {"sources": 80},
    ONE_BY_ONE: {"sources": 80},
}
NOISE = {"white": {}, "bad pixels": {"bad": 1.0}, "unflagged": {"tails": 0.003}, "both": {"bad": 1.0, "tails": 0.003}}
BINS = ((5, 7), (7, 10), (10, 20), (20, math.inf))


def distance(values: dict, truth: Truth) -> float:
    east = (values["ra"] - truth.source.ra) * math.cos(math.radians(truth.source.dec))
    return math.hypot(east, values["dec"] - truth.source.dec) * 3600 / PIXEL_ARCSEC


def matched(records: list[dict], truths: list[Truth]) -> Iterator[tuple[Truth, dict | None]]:
    for truth in truths:
        near = min(records, key=lambda values: distance(values, truth), default=None)
        yield truth, near if near is not None and distance(near, truth) < NEAR_PX else None


def told_apart(values: dict, records: list[dict], each: list[Truth]) -> Truth | None:
    """Return the source of a blend that a candidate stands for, if there is a candidate for another source of it too."""
    own = min(each, key=lambda truth: distance(values, truth))
    others = [truth for truth in each if truth is not own and apart_px(truth.source, own.source) < RESOLUTION_PX]
    both = any(distance(other, truth) < NEAR_PX for truth in others for other in records if other is not values)
    return own if both and distance(values, own) < NEAR_PX else None


def injections(kind: str, seeds: range, side: int) -> str:
    detector, published = Difference(), PublishedDifference()
    found = {limits: [0, 0] for limits in BINS}
    wrong = flat = flats = extra = as_blue = reds = unmeasured = 0
    ratios, pulls = [], []
    for seed in seeds:
        pixels, truths = make_pair(seed, side, **KINDS[kind])
        each, truths = truths, truths if kind == ONE_BY_ONE else as_resolved(truths)
        every = [candidate.values for candidate in detector.detect(pixels)]
        records = [values for values in every if values["catalogue"] == "difference"]
        named = set()
        for truth, values in matched(records, truths):
            named |= {id(values)}
            true = truth if values is None else told_apart(values, records, each) or truth
            blended = all(truth.source != one.source for one in each)
            if truth.kind == "flat" or (blended and truth.sigmas < BINS[0][0]):  # or red and blue ones that cancel out
                flats, flat = flats + 1, flat + (values is not None and values["kind"] != true.kind)
            elif min(truth.light) < 0.5:
                unmeasured += 1
            else:
                wrong += values is not None and values["kind"] != true.kind
                for limits, counts in found.items():
                    if limits[0] <= truth.sigmas < limits[1]:
                        counts[0] += values is not None and values["kind"] == truth.kind
                        counts[1] += 1
        for values in (values for values in records if id(values) not in named):  # of one source of a blend, or of none
            own = min(each, key=lambda truth: distance(values, truth))
            near = distance(values, own) < NEAR_PX
            extra, wrong = extra + (not near), wrong + (near and values["kind"] != own.kind)
        for truth, values in matched(every, each):
            if values is None or truth.neighbour_px < 4 or min(truth.light) < 0.5:
                continue
            for band, name in enumerate("ab"):
                if truth.flux[band] > 20 * truth.error[band]:
                    ratios.append(values[f"flux_{name}_ujy"] / truth.flux[band])
                    pulls.append((values[f"flux_{name}_ujy"] - truth.flux[band]) / values[f"flux_{name}_err_ujy"])
        printed = [candidate.values for candidate in published.detect(pixels)]
        for truth, values in matched(printed, truths):
            if truth.kind == "red" and truth.sigmas >= 5 and min(truth.light) >= 0.5:
                reds, as_blue = reds + 1, as_blue + (values is not None)
    ratios, pulls = np.array(ratios), np.array(pulls)
    right, of = (sum(counts[i] for counts in found.values()) for i in (0, 1))
    parts = "; ".join(f"{low}-{high}: {100 * a / max(b, 1):.1f} % of {b}" for (low, high), (a, b) in found.items())
    error = 100 * np.std(ratios) / len(ratios) ** 0.5
    width = 1.4826 * np.median(np.abs(pulls - np.median(pulls)))
    return (
        f"{kind}: {100 * right / max(of, 1):.2f} % of {of} found with their sign ({parts}); wrong sign {wrong}; "
        f"flat called coloured {flat} of {flats}; candidates without a source {extra / len(seeds):.3f} a region; "
        f"left out for bad pixels {unmeasured}; flux {100 * (np.mean(ratios) - 1):+.2f} +- {error:.2f} %, "
        f"median {100 * (np.median(ratios) - 1):+.2f} %; "
        f"pulls {np.mean(pulls):+.2f}, {np.std(pulls):.2f} ({width:.2f} robust) of {len(pulls)}; "
        f"published: {as_blue} of {reds} red ones have a record"
    )


def false_alarms(kind: str, asked: float, seeds: range, side: int) -> str:
    detector, published = Difference(false_alarm=asked), PublishedDifference()
    counts = dict.fromkeys(("difference", "a", "b"), 0)
    printed = 0
    for seed in seeds:
        pixels, _ = make_pair(seed, side, **NOISE[kind])
        for candidate in detector.detect(pixels):
            counts[candidate.values["catalogue"]] += 1
        printed += len(published.detect(pixels))
    told = ", ".join(f"{name} {count / len(seeds):.3f} +- {count**0.5 / len(seeds):.3f}" for name, count in counts.items())
    return f"{kind}, asked {asked}: {told}; published {printed / len(seeds):.0f}"


def speed(side: int) -> str:
    detector, times = Difference(), []
    pixels, _ = make_pair(FIRST, side, 100, bad=1.0)
    detector.detect(pixels)
    for _ in range(9):
        began, worked = time.perf_counter(), time.process_time()
        detector.detect(pixels)
        times.append((time.perf_counter() - began, time.process_time() - worked))
    wall, work = np.median(times, axis=0)
    return f"a region of {side} x {side} pixels with 100 sources: {wall:.3f} s, of which {work:.3f} s of the processor"


def order(size: int, side: int) -> str:
    """Compare whole frames reprojected and cropped with boxes cropped and reprojected."""
    rng = np.random.default_rng(FIRST)
    reach = (side / 2 - 8) * PIXEL_ARCSEC / 3600
    places = rng.uniform(-reach, reach, (40, 2)) / math.sqrt(2)
    stars = tuple(PointSource(f"star-{i}", CENTRE[0] + float(x), CENTRE[1] + float(y), 20_000.0) for i, (x, y) in enumerate(places))
    fields = [Field(*CENTRE, size, size, PIXEL_ARCSEC, rotation=turn) for turn in (12.0, 57.0)]
    specs = [FrameSpec(i + 1, detector, fields[i], sources=stars, bad=0.0) for i, detector in enumerate((2, 4))]
    whole, part = (_frames(specs, wide) for wide in (4 * size, side))
    began = time.perf_counter()
    all_of_it, _, _ = reproject(*whole)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    ours, share, _ = reproject(*part)
    ours_s = time.perf_counter() - began
    box = part[1].cutout
    rows, columns = slice(box.y0, box.y0 + side), slice(box.x0, box.x0 + side)
    theirs = all_of_it[rows, columns]
    shared, _, _ = reproject(_with_light_of(*whole[:1], *part[:1]), part[1])
    flux, others, same = (_sums(light, part[1], share, stars) for light in (ours, theirs, shared))
    apart, alone = (100 * np.nanmax(np.abs(one / others - 1)) for one in (flux, same))
    return (
        f"frames of {size} x {size}, region {side} x {side}: fluxes of {np.isfinite(flux).sum()} sources within 3 pixels differ by "
        f"{alone:.6f} % at most, and by {apart:.3f} % with each its own background; reprojection {seconds:.2f} s and {ours_s:.3f} s"
    )


def _with_light_of(whole: Frame, part: Frame) -> Frame:
    box, (ny, nx) = part.cutout, part.shape
    return replace(part, light=whole.light[box.y0 : box.y0 + ny, box.x0 : box.x0 + nx])


def _frames(specs: list[FrameSpec], side: int) -> list[Frame]:
    pixels = boxes_of(specs, CENTRE, side)
    return [make_frame(image, image.cutouts[0], BAD_FLAGS) for image in pixels.images]


def _sums(light: np.ndarray, grid: Frame, share: np.ndarray, stars: tuple[PointSource, ...]) -> np.ndarray:
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    sums = []
    for star in stars:
        at, up = grid.pixel(np.array([star.ra]), np.array([star.dec]))
        disc = np.hypot(x - at[0], y - up[0]) <= 3
        sums.append((light * grid.ujy)[disc].sum() if (share[disc] > 0.999).all() else math.nan)
    return np.array(sums)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--first", type=int, default=FIRST, help="seed of the first region; those of the others follow")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="of injected sources")
    parser.add_argument("--noise", nargs="*", default=list(NOISE), choices=list(NOISE), help="in which false alarms are counted")
    parser.add_argument("--side", type=int, default=100, help="pixels")
    parser.add_argument("--frame", type=int, default=2040, help="pixels of the whole frames that are reprojected; 0: none")
    options = parser.parse_args()
    print(speed(150), flush=True)
    if options.frame:
        print(order(options.frame, 150), flush=True)
    seeds = range(options.first, options.first + options.regions)
    for asked in (1.0, 0.1):
        for kind in options.noise:
            print(false_alarms(kind, asked, seeds, options.side), flush=True)
    for kind in options.kinds:
        print(injections(kind, seeds, options.side), flush=True)


if __name__ == "__main__":
    main()
