"""How a work list is cut, and that the engine is light to import."""

import subprocess
import sys

import pytest

from raysearch.engine import EngineOptions, shard_size_for
from raysearch.engine.options import SHARD_SIZE


@pytest.mark.parametrize(("observations", "size"), [(0, 1), (7, 1), (80, 10), (100_000, SHARD_SIZE)])
def test_small_work_lists_have_small_shards(observations: int, size: int) -> None:
    assert shard_size_for(observations, EngineOptions(detectors=2)) == size


def test_ray_is_imported_only_when_it_runs() -> None:
    code = "import sys, raysearch.engine; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
