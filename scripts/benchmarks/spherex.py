"""SPHEREx: cutouts, difference images and photometry beside the published practice, on one local archive with latency.

Frames are of full size and byte-faithful (71.6 MB); 12 files stand for all images. Each practice runs as a process of its own,
start included, whose whole tree's memory (PSS) is sampled; requests and bytes are what the archive counted. See
parts/spherex_published.py for what the published practice does, and where it is given more than it has.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _memory import tree_pss
from parts import spherex_frames, spherex_published

SIZE_DEG = 0.1
REGION_PX = 150


def search_of(request):
    """Return the search of a part, as the shipped one with the archive's addresses and the part's targets."""
    from raysearch import Search

    settings = {f"services.{name}": url for name, url in request["services"].items()}
    settings |= {"run.engine": request["engine"], "targets.positions": request["positions"], **request["settings"]}
    return Search.load(request["search"], settings, answers="off")


def ours(request):
    """Run a search; return what its outcomes say."""
    search = search_of(request)
    result = search.run(request["out"], limit=request["limit"])
    outcomes, candidates = result.arrow("outcomes").to_pylist(), result.arrow("candidates")
    ended = {status: sum(row["status"] == status for row in outcomes) for status in ("detected", "nothing", "skipped", "failed")}
    reasons = sorted({row["reason"] for row in outcomes if row["status"] in ("skipped", "failed")})[:3]
    return {
        "units": candidates.num_rows,
        "requests": sum(row["requests"] for row in outcomes),
        "bytes": sum(row["bytes_read"] for row in outcomes),
        "work_s": sum(row["seconds"] for row in outcomes),
        "ended": ended,
        "reasons": reasons,
    }


def child(task):
    """Run one practice in this process and write what came of it."""
    request = json.loads(Path(task).read_text())
    if request["practice"] == "published":
        return spherex_published.child(task)
    Path(request["answer"]).write_text(json.dumps(ours(request)))
    return None


def measure(archive, request, scratch):
    """Run one practice in a fresh process; return what it did and what it cost."""
    import psutil

    task, answer = scratch / "task.json", scratch / "answer.json"
    task.write_text(json.dumps(request | {"answer": str(answer)}))
    archive.reset()
    archive.set_faults(faults())
    environment = os.environ | {"AWS_ENDPOINT_URL": archive.services["s3"], "AWS_ALLOW_HTTP": "true"}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, "--child", str(task)], env=environment)
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, tree_pss(watched))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{request['practice']}: ended with status {process.returncode}")
    counts = archive.counts()
    return json.loads(answer.read_text()) | {
        "seconds": time.monotonic() - started,
        "asked_of_archive": sum(counts[name]["requests"] for name in ("s3", "irsa")),
        "sent_by_archive": sum(counts[name]["bytes"] for name in ("s3", "irsa")),
        "pss": peak,
    }


def faults():
    """Return the line's latency (30 to 60 ms to the first byte) and bandwidth (80 MB/s a connection)."""
    from raysearch.testing import Faults

    return Faults(delay=(0.03, 0.06), bandwidth=80e6)


def row(name, units, what, cost):
    """Print one line of a table."""
    print(
        f"  {name:<34}{units:>7} {what:<9}{cost['seconds']:>8.1f} s{units / cost['seconds']:>9.2f}/s"
        f"{cost['asked_of_archive'] / units:>9.2f} req.{cost['sent_by_archive'] / units / 1e6:>9.3f} MB"
        f"{cost['pss'] / 1e6:>7.0f} MB PSS"
    )


def base(archive, scratch, options, part, **settings):
    """Return what every request to ours says."""
    shutil.rmtree(scratch / part, ignore_errors=True)
    return {
        "practice": "ours", "services": archive.services, "engine": options.engine, "out": str(scratch / part), "limit": None,
        "positions": [spherex_frames.CENTRE], "settings": settings,
    }  # fmt: skip


def cutouts(archive, scratch, options):
    """Compare the cutouts of one position."""
    print(f"cutouts of {SIZE_DEG} deg: IMAGE, FLAGS, VARIANCE, ZODI and wavelengths, as one file")
    request = {"practice": "published", "part": "cutouts", "irsa": archive.services["irsa"], "position": spherex_frames.CENTRE}
    request |= {"size_deg": SIZE_DEG, "limit": options.published, "out": str(scratch / "published.fits")}
    printed = measure(archive, request | {"ask_again": False}, scratch)
    row(f"published, as printed (of {printed['asked']})", printed["units"], "cutouts", printed)
    theirs = measure(archive, request | {"ask_again": True}, scratch)
    row("published, refused ones asked again", theirs["units"], "cutouts", theirs)
    mine = measure(archive, base(archive, scratch, options, "cutouts") | {"search": "spherex-cutouts"}, scratch)
    row("raysearch", mine["units"], "cutouts", mine)
    told(mine, options.images)
    requests, size = mine["requests"] / mine["units"], mine["bytes"] / mine["units"] / 1e6
    print(f"  of ours, reading alone: {requests:.2f} requests (asked: 8), {size:.3f} MB a cutout (asked: 2.5)")
    same, worst = compare_cutouts(Path(request["out"]), sorted((scratch / "cutouts" / "cutouts").glob("*.fits")))
    print(f"  the same pixels: {same} planes compared, largest difference {worst:g}")
    per_s = [cost["units"] / cost["seconds"] for cost in (theirs, mine)]
    sent = [cost["sent_by_archive"] / cost["units"] for cost in (theirs, mine)]
    print(f"  {per_s[1] / per_s[0]:.1f} x the cutouts/s (asked: 5), 1/{sent[0] / sent[1]:.2f} of the bytes (asked: 2)")
    return worst == 0 and same > 0


def compare_cutouts(published, mine):
    """Return how many planes of both are there, and the largest difference of their common pixels."""
    import numpy as np
    from astropy.io import fits

    def planes(path):
        with fits.open(path) as file:
            for info in file["CUTOUT_INFO"].data:
                url, index = str(info["access_url"]).partition("?")[0].rpartition("/")[2], info["cutout_index"]
                for name in ("IMAGE", "FLAGS", "VARIANCE", "ZODI"):
                    hdu = file[f"{name}{index}"]
                    yield (url, name), (hdu.data, *(int(1 - hdu.header[f"CRPIX{axis}A"]) for axis in (1, 2)))

    found = {key: value for path in mine for key, value in planes(path)}
    count, worst = 0, 0.0
    for key, (theirs, x, y) in planes(published):
        if key not in found:
            return 0, float("nan")
        ours_, x0, y0 = found[key]
        left, low = max(x, x0), max(y, y0)
        right, high = min(x + theirs.shape[1], x0 + ours_.shape[1]), min(y + theirs.shape[0], y0 + ours_.shape[0])
        a, b = theirs[low - y : high - y, left - x : right - x], ours_[low - y0 : high - y0, left - x0 : right - x0]
        worst = max(worst, float(np.nanmax(np.abs(a.astype(float) - b))), float((np.isfinite(a) != np.isfinite(b)).sum()))
        count += 1
    return count, worst


def difference(archive, scratch, options):
    """Compare the difference of two images around positions."""
    from raysearch.testing.spherex_archive import SPHEREX_BUCKET
    from raysearch.testing.spherex_calibration import solid_angle_key

    print(f"difference D2 - D4 of {REGION_PX} x {REGION_PX} pixels, with its sources")
    listed = {spec.detector: spec.key for spec, _ in reversed(spherex_frames.frames(24, []))}
    keys = {f"D{k}": [f"{SPHEREX_BUCKET}/{key}" for key in (listed[k], solid_angle_key(k))] for k in (2, 4)}
    request = {"practice": "published", "part": "difference", "position": spherex_frames.CENTRE, "keys": keys}
    theirs = measure(archive, request | {"out": str(scratch / "difference.fits")}, scratch)
    row("published: whole frames, then crop", 1, "region", theirs)
    print(f"  of it reading {theirs['read_s']:.1f} s, reprojection {theirs['reproject_s']:.1f} s")
    size = f"{REGION_PX * 6.15 / 3600:.4f} deg"
    chosen = {"images.size": size, "images.pairs": 1, "spectra.sources": "none"}
    for regions in (1, options.regions):
        asked = base(archive, scratch, options, f"difference{regions}", **chosen) | {"search": "spherex-sources"}
        asked |= {"positions": [(s.ra, s.dec) for s in spherex_frames.stars(regions)]}
        mine = measure(archive, asked, scratch)
        row("raysearch: crop, then that", regions, "regions", mine)
        told(mine, None)
        alone = (theirs["read_s"] + theirs["reproject_s"]) * regions / mine["work_s"]
        print(
            f"  {theirs['seconds'] * regions / mine['seconds']:.1f} x the regions/s; {mine['units']} records; "
            f"without start, query and report {mine['work_s'] / regions:.2f} s a region, {alone:.0f} x as fast (asked: 50)"
        )
    return True


def photometry(archive, scratch, options):
    """Measure many sources on many images."""
    print(f"photometry of {options.sources} sources on {options.photometry_images} images, three apertures and the PSF")
    stars = spherex_frames.stars(options.sources)
    request = {"practice": "published", "part": "photometry", "irsa": archive.services["irsa"], "limit": options.photometry_images}
    theirs = measure(archive, request | {"positions": [(s.ra, s.dec) for s in stars[: options.published_sources]]}, scratch)
    row("published: source by source", theirs["units"], "sources", theirs)
    chosen = {
        "detector.name": "photometry",
        "images.size": "0.06 deg",
        "images.extensions": ["IMAGE", "FLAGS", "VARIANCE", "PSF", "SOLID_ANGLE"],
    }
    asked = base(archive, scratch, options, "photometry", **chosen) | {
        "search": "spherex-cutouts",
        "limit": options.photometry_images,
    }
    mine = measure(archive, asked | {"positions": [(s.ra, s.dec) for s in stars]}, scratch)
    row("raysearch", options.sources, "sources", mine)
    told(mine, options.photometry_images)
    print(f"  {mine['units']} records, {mine['units'] / mine['seconds']:.0f}/s")
    return True


def told(cost, images):
    """Print how the observations ended, if not all as they should."""
    ended = cost["ended"]
    if ended["skipped"] or ended["failed"] or (images is not None and sum(ended.values()) != images):
        print(f"  ended: {ended}; {'; '.join(cost['reasons'])}")


PARTS = {"cutouts": cutouts, "difference": difference, "photometry": photometry}


def main():
    """Measure the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given twice")
    parser.add_argument("--images", type=int, default=400, help="that hold the position")
    parser.add_argument("--published", type=int, default=60, help="cutouts that the published practice asks for")
    parser.add_argument("--regions", type=int, default=20, help="regions that raysearch compares in one run")
    parser.add_argument("--sources", type=int, default=200, help="that are measured")
    parser.add_argument("--published-sources", type=int, default=1, help="sources that the published practice measures")
    parser.add_argument("--photometry-images", type=int, default=100, help="on which they are measured")
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child)

    from raysearch.testing import LocalArchive

    scratch = Path(tempfile.mkdtemp(prefix="raysearch-bench-"))
    try:
        started = time.monotonic()
        with LocalArchive(spherex_frames.holdings(options.images, spherex_frames.stars(max(options.sources, 200)))) as archive:
            print(f"archive of {options.images} images: {time.monotonic() - started:.1f} s")
            sound = [PARTS[name](archive, scratch, options) for name in options.only or PARTS]
    finally:
        shutil.rmtree(scratch)
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
