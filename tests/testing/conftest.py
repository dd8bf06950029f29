"""One local archive for all tests here, the demo's; each test gets it without faults, counts and log."""

from collections.abc import Iterator

import pytest

from raysearch.testing import Holdings, LocalArchive, demo_holdings


@pytest.fixture(scope="session")
def holdings() -> Holdings:
    return demo_holdings(observations=24)


@pytest.fixture(scope="session")
def _archive(holdings: Holdings) -> Iterator[LocalArchive]:
    with LocalArchive(holdings) as archive:
        yield archive


@pytest.fixture
def archive(_archive: LocalArchive) -> LocalArchive:
    _archive.reset()
    return _archive
