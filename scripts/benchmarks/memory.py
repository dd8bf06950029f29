"""Declared memory against the memory that is used: searches of large cubes with a slow detector, at several `[run] memory`.

Each search is a process of its own. The proportional set size (PSS) of it and all beneath it, Ray and its object store among them,
is sampled; memory that processes share counts once. The cubes are one file under many keys of a local S3 server, which is not
counted.
`--idle` tells what the processes need before they do anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _memory import tree_pss

PLANES, ROWS = 1250, 400
LINE_UM = 5.340


class Slow:
    """A detector that takes its time, and looks at every pixel of the planes on either side of a line; 0: of the whole cube."""

    columns = {"brightest": "f4"}  # noqa: RUF012

    def __init__(self, seconds: float = 1.0, planes: int = 0) -> None:
        self.seconds = seconds
        self.window = planes or None

    def detect(self, pixels):
        """Return no candidates."""
        time.sleep(self.seconds)
        if max(float(window.sci.max()) for window in pixels.windows) > 2.0:
            raise ValueError("these are not the cubes that were made")
        return []


def cube_bytes(megabytes):
    """Return a cube of so many megabytes of 32-bit floating point."""
    columns = max(1, round(megabytes * 1e6 / 4 / PLANES / ROWS))
    cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                  -32",
        "NAXIS   =                    3",
        f"NAXIS1  = {columns:>20}",
        f"NAXIS2  = {ROWS:>20}",
        f"NAXIS3  = {PLANES:>20}",
        "CTYPE3  = 'WAVE    '",
        "CUNIT3  = 'um      '",
        "CRPIX3  =                625.0",
        f"CRVAL3  = {LINE_UM:>20}",
        "CDELT3  =               0.0008",
        "END",
    ]
    header = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    plane = np.random.default_rng(1).random((ROWS, columns), dtype="f4").astype(">f4").tobytes()
    data = header + plane * PLANES
    return data + bytes(-len(data) % 2880)


def child(request):
    """Run one search in this process; print how its observations ended, and the reason of the first that failed."""
    from raysearch import Search

    asked = json.loads(request)
    result = Search.from_dict(asked["search"]).run(asked["out"])
    rows = result.arrow("outcomes").to_pylist()
    reasons = [row["reason"] for row in rows if row["status"] == "failed"]
    print(json.dumps([Counter(row["status"] for row in rows), (reasons or [""])[0]]))


def measure(search, scratch, breakdown):
    """Return seconds, the peak of the PSS, how the observations ended, and why the first failed."""
    import psutil

    out = tempfile.mkdtemp(dir=scratch)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", json.dumps({"search": search, "out": f"{out}/run"})]
    began, peak, parts = time.monotonic(), 0, []
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            now = tree_pss(watched)
            if now > peak:
                peak, parts = now, described(watched) if breakdown else []
        time.sleep(0.2)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"a search ended with status {process.returncode}")
    print(*parts, sep="\n", end="\n" if parts else "")
    return seconds, peak, *json.loads(process.stdout.read().splitlines()[-1])


def described(process):
    """Return a line about each process: its PSS, the anonymous and the shared part of it, and its name."""
    import psutil

    lines = []
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(OSError, psutil.Error):
            rows = [line.split() for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()[1:]]
            sizes = {row[0]: int(row[1]) // 1000 for row in rows}
            name = " ".join(one.cmdline())[:60]
            lines.append(
                (
                    sizes["Pss:"],
                    f"  {sizes['Pss:']:>6} MB, {sizes['Pss_Anon:']:>5} anonymous, {sizes['Pss_Shmem:']:>5} shared  {name}",
                )
            )
    return [line for _, line in sorted(lines, reverse=True)[:8]]


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cubes", type=int, default=24)
    parser.add_argument("--megabytes", type=float, default=500.0, help="of each cube")
    parser.add_argument("--seconds", type=float, default=1.0, help="that the detector takes for each")
    parser.add_argument("--planes", type=int, nargs="*", default=[0, 150], help="on each side of the line; 0: the whole cube")
    parser.add_argument("--memory", nargs="*", default=["", "4 GB", "2 GB"], help="declared; empty: nothing")
    parser.add_argument("--detectors", type=int, default=2)
    parser.add_argument("--engine", default="ray", choices=["ray", "inline"])
    parser.add_argument("--idle", action="store_true", help="observations that cost nothing, with one, two and four detectors")
    parser.add_argument("--breakdown", action="store_true", help="tell of the largest processes at the peak")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child)

    from raysearch.testing import Holdings, LocalArchive
    from raysearch.testing.holdings import Product

    if options.idle:
        options.megabytes, options.planes, options.memory, options.seconds = 1.0, [5], [""], 0.0
    keys = [f"cube-{number:04d}.fits" for number in range(options.cubes)]
    holdings = Holdings(products=tuple(Product("", key, "cube") for key in keys), bodies={"cube": cube_bytes(options.megabytes)})
    with tempfile.TemporaryDirectory(prefix="raysearch-bench-") as scratch, LocalArchive(holdings) as archive:
        del holdings
        table = Path(scratch) / "cubes.csv"
        table.write_text("uri\n" + "".join(f"s3://stpubdata/{key}\n" for key in keys))
        print(f"{'planes':<8}{'declared':>10}{'detectors':>10}{'peak MB':>9}{'seconds':>9}{'cubes/min':>11}  ended")
        for planes in options.planes:
            for memory in options.memory:
                for detectors in [1, 2, 4] if options.idle else [options.detectors]:
                    search = {
                        "observations": {"table": str(table)},
                        "lines": {"list": [{"name": "a line", "wavelength": f"{LINE_UM} um"}]},
                        "detector": {"name": f"{Path(__file__).resolve()}:Slow", "seconds": options.seconds, "planes": planes},
                        "report": {"page": False},
                        "run": {"engine": options.engine, "detectors": detectors, "memory": memory},
                        "services": {"s3": archive.services["s3"]},
                    }
                    seconds, peak, ended, reason = measure(search, scratch, options.breakdown)
                    print(
                        f"{planes or 'all':<8}{memory or '-':>10}{detectors:>10}{peak / 1e6:>9.0f}{seconds:>9.1f}"
                        f"{60 * options.cubes / seconds:>11.1f}  {', '.join(f'{n} {status}' for status, n in ended.items())}"
                        f"{'; ' + reason if reason else ''}",
                        flush=True,
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
