"""The jets search against the published practice, on one local S3 with the latency and bandwidth of a real one.

The published practice, in our own words: a multiprocessing pool of round(1.5 x cores) workers; each opens a cube with
`fits.open(..., use_fsspec=True)` and s3fs at its defaults, takes the whole SCI array, computes the detector's curve over the full
spectrum, and looks for each line in it. Both find the same lines in the same cubes, which is checked. Each runs as a process of its
own, whose whole tree's memory (PSS) is sampled.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _memory import tree_pss

LINES = (25.988, 24.519, 17.936, 5.340, 1.644, 1.600, 1.257)


def whole_spectrum(cube):
    """Return the published curve: for each plane, the fraction in its largest region above 3 x the median of the 20 around it."""
    import numpy as np
    from scipy import ndimage

    values = np.zeros(len(cube))
    for i, plane in enumerate(cube):
        around = cube[max(0, i - 10) : min(len(cube), i + 10)]
        if np.isnan(around).all() or np.isnan(plane).all():
            continue
        regions, count = ndimage.label(plane > 3 * np.nanmedian(around))
        if count:
            largest = np.bincount(regions.ravel())[1:].max()
            fraction = largest / np.count_nonzero(~np.isnan(plane))
            values[i] = fraction if largest >= 10 and fraction < 0.5 else 0.0
    return values


def published_cube(uri):
    """Return the lines detected in one cube as the published practice finds them."""
    import numpy as np
    from astropy.io import fits
    from scipy.signal import find_peaks

    with fits.open(uri, use_fsspec=True, fsspec_kwargs={"anon": True}) as hdus:
        cube, header = hdus["SCI"].data, hdus["SCI"].header
    wave = header["CRVAL3"] + (np.arange(len(cube)) + 1 - header["CRPIX3"]) * header["CDELT3"]
    values = whole_spectrum(cube)
    found = []
    for line in LINES:
        if not wave[0] <= line <= wave[-1]:
            continue
        at = bisect.bisect_left(wave.tolist(), line)
        first = max(0, at - 10)
        excerpt = values[first : at + 11]
        if not excerpt.any():
            continue
        peaks, _ = find_peaks(excerpt, prominence=3 * np.nanstd(excerpt[excerpt != 0]))
        if any(abs(first + peak - at) <= 2 for peak in peaks):
            found.append(line)
    return found


def published(uris):
    """Search the cubes the published way; return obs uri -> lines."""
    workers = round(1.5 * (os.cpu_count() or 1))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return dict(zip(uris, pool.map(published_cube, uris, chunksize=1), strict=True))


def ours(services, out, engine, detector):
    """Search everything with raysearch; return uri -> lines."""
    from raysearch import Search

    settings = {f"services.{name}": url for name, url in services.items()} | {"run.engine": engine, "detector.name": detector}
    result = Search.load("jets", settings).run(out)
    found = {row["uri"]: [] for row in result.arrow("outcomes").to_pylist() if row["status"] in ("detected", "nothing")}
    for row in result.arrow("candidates").to_pylist():
        found[row["uri"]].append(row["rest_um"])
    return found


def child(task):
    """Run one practice in this process and write what it found."""
    request = json.loads(Path(task).read_text())
    found = (
        published(request["uris"])
        if request["practice"] == "published"
        else ours(request["services"], request["out"], request["engine"], request["detector"])
    )
    Path(request["answer"]).write_text(json.dumps(found))


def measure(archive, request, scratch):
    """Run one practice in a fresh process; return what it found and what it cost."""
    import psutil

    task, answer = scratch / "task.json", scratch / "answer.json"
    task.write_text(json.dumps(request | {"answer": str(answer)}))
    archive.reset()
    environment = os.environ | {"AWS_ENDPOINT_URL": archive.services["s3"], "AWS_ALLOW_HTTP": "true"}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, "--child", str(task)], env=environment)
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, tree_pss(watched))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{request['practice']}: ended with status {process.returncode}")
    seconds = time.monotonic() - started
    s3 = archive.counts()["s3"]
    return json.loads(answer.read_text()), {"seconds": seconds, "requests": s3["requests"], "bytes": s3["bytes"], "pss": peak}


def report(name, cubes, cost):
    """Print one row of the table and return its figures for each cube."""
    print(
        f"{name:<22}{cubes:>7}{cost['seconds']:>9.1f}{cubes / cost['seconds']:>10.2f}{cost['requests'] / cubes:>12.2f}"
        f"{cost['bytes'] / cubes / 1e6:>11.3f}{cost['pss'] / 1e6:>10.0f}"
    )
    return cubes / cost["seconds"], cost["bytes"] / cubes


def main():
    """Measure both practices and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--observations", type=int, default=1000, help="cubes that raysearch searches")
    parser.add_argument("--published", type=int, default=40, help="cubes that the published practice searches (the first ones)")
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"])
    parser.add_argument(
        "--detector", default="published", choices=["published", "lines"], help="raysearch's; published: like with like"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child)

    from raysearch.testing import Faults, LocalArchive, bench_holdings

    scratch = Path(tempfile.mkdtemp(prefix="raysearch-bench-"))
    try:
        with LocalArchive(bench_holdings(options.observations)) as archive:
            archive.set_faults(Faults(delay=(0.03, 0.06), bandwidth=80e6))
            request = {"practice": "raysearch", "services": archive.services, "out": str(scratch / "run")}
            request |= {"engine": options.engine, "detector": options.detector}
            found, cost = measure(archive, request, scratch)
            uris = sorted(found)[: options.published]
            reference, reference_cost = measure(archive, {"practice": "published", "uris": uris}, scratch)
    finally:
        shutil.rmtree(scratch)
    different = [uri for uri in uris if sorted(found[uri]) != sorted(reference[uri])]
    print(f"{'':<22}{'cubes':>7}{'seconds':>9}{'cubes/s':>10}{'req./cube':>12}{'MB/cube':>11}{'PSS MB':>10}")
    rate, size = report("published practice", len(uris), reference_cost)
    our_rate, our_size = report(f"{options.detector} ({options.engine})", len(found), cost)
    print(
        f"raysearch: {our_rate / rate:.1f} x the cubes/s, 1/{size / our_size:.1f} of the bytes; whole processes, start-up included"
    )
    print(f"lines found: the same in {len(uris) - len(different)} of {len(uris)} cubes, {sum(map(len, reference.values()))} lines")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
