"""One made-up observation for all tests of figures."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plot_fakes import Observed, observe


@pytest.fixture(scope="session")
def observed() -> Observed:
    return observe("lines")


@pytest.fixture(scope="session")
def published() -> Observed:
    return observe("published")
