"""For tests and demonstrations: a local archive, synthetic cubes, and fakes of every protocol.

The archive answers over the wire as SIMBAD, MAST and S3 do, so that a search runs through the real clients without a network:

>>> from raysearch.testing import LocalArchive, demo_holdings
>>> with LocalArchive(demo_holdings(observations=20)) as archive:
...     archive.counts()["s3"]
{'requests': 0, 'bytes': 0}
"""

from raysearch.testing.archive import LocalArchive
from raysearch.testing.damaged import DAMAGES, damage
from raysearch.testing.demo import bench_holdings, demo_holdings
from raysearch.testing.fakes import FakeArchive, FakeDetector, FakeReader, FakeStore, fake_pixels
from raysearch.testing.faults import Faults
from raysearch.testing.holdings import Holdings, Product, cloud_key, observation_row, product, target_row
from raysearch.testing.synthetic import CubeSpec, Jet, make_cube

__all__ = [
    "DAMAGES",
    "CubeSpec",
    "FakeArchive",
    "FakeDetector",
    "FakeReader",
    "FakeStore",
    "Faults",
    "Holdings",
    "Jet",
    "LocalArchive",
    "Product",
    "bench_holdings",
    "cloud_key",
    "damage",
    "demo_holdings",
    "fake_pixels",
    "make_cube",
    "observation_row",
    "product",
    "target_row",
]
