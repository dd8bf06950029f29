"""For tests and demonstrations: a local archive, synthetic cubes, and fakes of every protocol.

The archive answers over the wire as SIMBAD, MAST, IRSA, HEASARC, the VO registry and S3 do, so that a search runs through the
real clients without a network:

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
from raysearch.testing.injection import Emission, Scene, Truth, inject
from raysearch.testing.noise import NOISES, NoiseSpec, make_noise
from raysearch.testing.realnoise import RealCube, read_real_cube, resample, untouched
from raysearch.testing.surveys import archives_holdings
from raysearch.testing.synthetic import CubeSpec, Jet, make_cube

__all__ = [
    "DAMAGES",
    "NOISES",
    "CubeSpec",
    "Emission",
    "FakeArchive",
    "FakeDetector",
    "FakeReader",
    "FakeStore",
    "Faults",
    "Holdings",
    "Jet",
    "LocalArchive",
    "NoiseSpec",
    "Product",
    "RealCube",
    "Scene",
    "Truth",
    "archives_holdings",
    "bench_holdings",
    "cloud_key",
    "damage",
    "demo_holdings",
    "fake_pixels",
    "inject",
    "make_cube",
    "make_noise",
    "observation_row",
    "product",
    "read_real_cube",
    "resample",
    "target_row",
    "untouched",
]
