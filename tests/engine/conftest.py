"""One Ray for all tests of the engine."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def one_ray() -> Iterator[None]:
    """A small Ray of our own; runs inside use it and leave it running. It hands on metrics every second, not every ten."""
    from raysearch.engine import EngineOptions
    from raysearch.engine.cluster import ray_running

    os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")
    with ray_running(EngineOptions(detectors=2, object_store_bytes=150 * 2**20)):
        yield


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn, with what it needs."""
    if request.param == "ray":
        request.getfixturevalue("one_ray")
    return str(request.param)
