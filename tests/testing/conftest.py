"""Two local archives for all tests here, the demo's and one of every survey; each test gets them without faults, counts and log."""

from collections.abc import Iterator

import pytest

from raysearch.testing import Holdings, LocalArchive, archives_holdings, demo_holdings


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


@pytest.fixture(scope="session")
def surveys() -> Holdings:
    return archives_holdings()


@pytest.fixture(scope="session")
def _survey_archive(surveys: Holdings) -> Iterator[LocalArchive]:
    with LocalArchive(surveys) as archive:
        yield archive


@pytest.fixture
def survey_archive(_survey_archive: LocalArchive) -> LocalArchive:
    _survey_archive.reset()
    return _survey_archive
