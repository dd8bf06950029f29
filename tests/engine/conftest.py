"""Both engines, for all tests of the engine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn, with what it needs."""
    if request.param == "ray":
        request.getfixturevalue("one_ray")
    return str(request.param)
