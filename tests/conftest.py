"""Fixtures that every room's tests may use."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from raysearch.testing import Holdings, LocalArchive, archives_holdings

settings.register_profile("raysearch", deadline=None)  # a shared machine is slow now and then, which is no fault of the tested
settings.load_profile("raysearch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the most slow tests first where processes share them: none begins a long one when the others are done."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module", autouse=True)
def cache_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache folder out of it: for what a module sets up once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache_of_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache folder of its own, so that none is told what another has asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    named = os.environ.get("RAYSEARCH_REAL_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set RAYSEARCH_REAL_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def one_ray() -> Iterator[None]:
    """A small Ray of our own, for tests to which its start proves nothing; runs inside use it and leave it running.

    It hands on metrics every second, not every ten.
    """
    from raysearch.engine import EngineOptions
    from raysearch.engine.workers.cluster import ray_running

    os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")
    with ray_running(EngineOptions(detectors=2, object_store_bytes=150 * 2**20)):
        yield


@pytest.fixture(scope="session")
def surveys() -> Holdings:
    """A few stars, and what every survey holds of them."""
    return archives_holdings()


@pytest.fixture(scope="session")
def _bucket() -> Iterator[LocalArchive]:
    with LocalArchive(Holdings(writable=("runs",))) as archive:
        yield archive


@pytest.fixture
def bucket(_bucket: LocalArchive, monkeypatch: pytest.MonkeyPatch) -> LocalArchive:
    """An S3 service that takes what is put into its bucket `runs`, and to which the environment leads; without faults and log."""
    _bucket.reset()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    known = {"AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_ENDPOINT_URL_S3": _bucket.services["s3"]}
    for name, value in (nowhere | known).items():
        monkeypatch.setenv(name, value)
    return _bucket


@pytest.fixture
def s3_folder(bucket: LocalArchive, tmp_path: Path) -> str:
    """A folder there that is nobody else's."""
    return f"s3://runs{tmp_path}"


@pytest.fixture(scope="session")
def _survey_archive(surveys: Holdings) -> Iterator[LocalArchive]:
    with LocalArchive(surveys) as archive:
        yield archive


@pytest.fixture
def survey_archive(_survey_archive: LocalArchive) -> LocalArchive:
    """An archive of every survey, without faults, counts and log."""
    _survey_archive.reset()
    return _survey_archive
