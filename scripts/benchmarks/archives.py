"""Questions to archives: raysearch against the published calls, on one local archive with a delayed first byte.

The published calls are those of the notebooks: `Observations.get_cloud_uris`, `Simbad.query_tap` of all columns and
`Observations.query_criteria`, of the unmodified astroquery, sent to the local archive. Cloud addresses take it minutes, so it is
timed on some of them and scaled up. The seconds of both include those the local archive, written in Python, needs to answer.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysearch.archives.cloud import look_up
from raysearch.archives.mast import Mast
from raysearch.archives.simbad import query_targets
from raysearch.testing import CubeSpec, Faults, Holdings, LocalArchive, observation_row, product
from raysearch.testing.services.simbad import BASIC

PROGRAMMES = 900
CONDITION = "otype='Y*O..'"
SAMPLES = {"DOUBLE": 12.345678, "REAL": 0.123, "SMALLINT": 7, "INTEGER": 42, "BIGINT": 123_456_789}
Calls = tuple[Callable[[], int], Callable[[], int]]
"""The published call and ours, each giving how many rows it got."""


@dataclass
class Cost:
    """What one call took."""

    seconds: float
    requests: int
    size: int
    rows: int

    def scaled(self, factor: float) -> "Cost":
        return Cost(self.seconds * factor, round(self.requests * factor), round(self.size * factor), round(self.rows * factor))


def holdings(targets: int, observations: int, products: int, seed: int) -> Holdings:
    """Return young stars with all of SIMBAD's columns filled, cubes at MAST, and the files behind some of them."""
    rng = np.random.default_rng(seed)
    filled = {name: SAMPLES.get(column.kind, "2020yCat.1350....0G") for name, column in BASIC.items() if name != "oid"}
    places = zip(rng.uniform(0, 360, targets).tolist(), rng.uniform(-90, 90, targets).tolist(), strict=True)
    stars = tuple(
        {**filled, "main_id": f"Bench YSO {i:06d}", "otype": "Y*O", "ra": ra, "dec": dec, "rvz_redshift": 5.4e-5, "rvz_type": "v"}
        for i, (ra, dec) in enumerate(places)
    )
    specs = [
        CubeSpec(name=f"jw{1000 + i // PROGRAMMES:05d}-o{i % PROGRAMMES + 1:03d}_t001_miri_ch1-short", channel="1", band="SHORT")
        for i in range(max(observations, products))
    ]
    first = observation_row(specs[0], 1)
    rows = tuple(
        {**first, "obs_id": spec.name, "dataURL": f"mast:JWST/product/{spec.filename}", "obsid": i, "objID": i + 500_000_000}
        for i, spec in enumerate(specs[:observations])
    )
    return Holdings(stars, rows, tuple(product(spec, body="one") for spec in specs[:products]), {"one": b"SIMPLE"})


def redirect(archive: LocalArchive) -> tuple[Any, Any]:
    """Return astroquery's clients of SIMBAD and MAST, sent to the local archive by the few switches that they have."""
    os.environ |= {
        "AWS_ENDPOINT_URL": archive.services["s3"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    _ensure_boto3()
    from astroquery.mast import Observations, discovery_portal, utils
    from astroquery.simbad import Simbad, SimbadClass
    from pyvo.dal import TAPService

    mast = archive.services["mast"]
    discovery_portal.PortalAPI.MAST_REQUEST_URL = mast + "/api/v0/invoke"
    discovery_portal.PortalAPI.COLUMNS_CONFIG_URL = mast + "/portal/Mashup/Mashup.asmx/columnsconfig"
    asked = utils._simple_request  # noqa: SLF001 - the one address of MAST that is written out in astroquery
    utils._simple_request = lambda url, params=None: asked(url.replace("https://mast.stsci.edu", mast), params)  # noqa: SLF001
    SimbadClass.tap = property(lambda _: TAPService(archive.services["simbad"]))
    Observations.enable_cloud_dataset()
    return Simbad, Observations


def _ensure_boto3() -> None:
    """Let `import boto3` give botocore's client where boto3 is not installed: `boto3.client` returns one, which sends the same."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        import botocore.session

        module = types.ModuleType("boto3")
        module.client = lambda name, config=None: botocore.session.get_session().create_client(name, config=config)
        sys.modules["boto3"] = module
        print("boto3 is not installed; botocore's client, which boto3 wraps, stands in for it")


def measure(archive: LocalArchive, faults: Faults, call: Callable[[], int], rounds: int) -> Cost:
    """Return what a call costs: the median of its seconds, and the requests and bytes of one."""
    seconds = []
    for _ in range(rounds):
        archive.reset()
        archive.set_faults(faults)
        begin = time.perf_counter()
        rows = call()
        seconds.append(time.perf_counter() - begin)
    counts = archive.counts().values()
    return Cost(statistics.median(seconds), sum(c["requests"] for c in counts), sum(c["bytes"] for c in counts), rows)


def cloud_calls(archive: LocalArchive, observations: Any, uris: list[str], sample: int) -> Calls:
    def published() -> int:
        found = observations.get_cloud_uris(uris[:sample], return_uri_map=True, verbose=False)
        return sum(uri is not None for uri in found.values())

    return published, lambda: len(look_up(uris, archive.services["mast"])[0])


def simbad_calls(archive: LocalArchive, simbad: Any) -> Calls:
    def published() -> int:
        simbad.clear_cache()
        return len(simbad.query_tap(f"SELECT * FROM basic WHERE {CONDITION}", maxrec=1_000_000))

    return published, lambda: len(query_targets(CONDITION, url=archive.services["simbad"])[0])


def mast_calls(archive: LocalArchive, observations: Any) -> Calls:
    def published() -> int:
        levels = [0, 1, 2, 3, 4]
        asked = {"obs_collection": "JWST", "dataproduct_type": "cube", "dataRights": "PUBLIC", "calib_level": levels}
        return len(observations.query_criteria(**asked))

    ours = Mast(archive.services["mast"], collection="JWST", product_type="cube")
    return published, lambda: ours.observations()[0].num_rows


def tell(title: str, published: Cost, ours: Cost, note: str = "") -> None:
    print(f"\n{title}\n{'':<24}{'seconds':>10}{'requests':>10}{'MB':>10}{'rows':>10}")
    for name, cost in (("published" + note, published), ("raysearch", ours)):
        print(f"{name:<24}{cost.seconds:>10.2f}{cost.requests:>10}{cost.size / 1e6:>10.2f}{cost.rows:>10}")
    print(f"{published.seconds / ours.seconds:.1f} times as quick, {published.size / ours.size:.1f} times fewer bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uris", type=int, default=5000)
    parser.add_argument("--sample", type=int, default=300, help="addresses on which the published call is timed")
    parser.add_argument("--targets", type=int, default=60_000)
    parser.add_argument("--observations", type=int, default=30_000)
    parser.add_argument("--delay", type=float, nargs=2, default=(0.03, 0.06), help="seconds to the first byte of every answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.sample = min(options.sample, options.uris)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"ASTROPY_CACHE_DIR": home, "ASTROPY_CONFIG_DIR": home}  # no file of the user's has a say
        held = holdings(options.targets, options.observations, options.uris, options.seed)
        uris = [one.uri for one in held.products]
        faults = Faults(delay=tuple(options.delay), seed=options.seed)
        with LocalArchive(held) as archive:
            complete = run(archive, faults, uris, options)
    return int(not complete)


def run(archive: LocalArchive, faults: Faults, uris: list[str], options: argparse.Namespace) -> bool:
    """Measure all three, and return whether every answer was complete: else they are not to be compared."""
    simbad, observations = redirect(archive)
    print(f"first byte after {options.delay[0] * 1e3:.0f}-{options.delay[1] * 1e3:.0f} ms, median of {options.rounds} rounds")

    theirs, our = cloud_calls(archive, observations, uris, options.sample)
    published, ours = measure(archive, faults, theirs, 1), measure(archive, faults, our, options.rounds)
    scaled = published.scaled(len(uris) / options.sample)
    tell(f"{len(uris):,} cloud addresses", scaled, ours, f" (x{len(uris) / options.sample:.1f}, once)")
    complete = (published.rows, ours.rows) == (options.sample, len(uris))

    for title, (theirs, our), wanted in (
        ("SIMBAD", simbad_calls(archive, simbad), options.targets),
        ("MAST", mast_calls(archive, observations), options.observations),
    ):
        published, ours = (measure(archive, faults, call, options.rounds) for call in (theirs, our))
        tell(f"{wanted:,} rows of {title}", published, ours)
        complete &= published.rows == ours.rows == wanted
    if not complete:
        print("\nnot every answer is complete", file=sys.stderr)
    return complete


if __name__ == "__main__":
    sys.exit(main())
