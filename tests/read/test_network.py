"""Requests that are struck, through the unmodified clients and a whole search: nothing is lost, doubled or mixed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysearch import Search
from raysearch.read import store as store_module
from raysearch.testing import Faults, LocalArchive, bench_holdings
from raysearch.testing.faults import ObjectFault

OBSERVATIONS = 6
HOLDINGS = bench_holdings(OBSERVATIONS, bodies=2, planes=240, side=25)
KEYS = [product.key for product in HOLDINGS.products]
SEARCH = """
[observations]
table = "table.csv"
[lines]
list = [{{ name = "[Fe II] 5.340", wavelength = "5.34 um" }}]
[detector]
name = "published"
[run]
engine = "inline"
[report]
page = false
figures = false
[services]
s3 = "{s3}"
s3_client = "{client}"
timeout = "1 s"
"""


@pytest.fixture(scope="module")
def archive() -> Iterator[LocalArchive]:
    with LocalArchive(HOLDINGS) as archive:
        yield archive


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(params=["obstore", "s3fs", "http"])
def search(request: pytest.FixtureRequest, archive: LocalArchive, tmp_path: Path) -> Search:
    archive.reset()
    place = f"{archive.url}/stpubdata" if request.param == "http" else "s3://stpubdata"
    rows = [f"{number},{place}/{key}" for number, key in enumerate(KEYS)]
    (tmp_path / "table.csv").write_text("\n".join(["obs_id,uri", *rows]))
    client = "s3fs" if request.param == "s3fs" else "obstore"
    (tmp_path / "search.toml").write_text(SEARCH.format(s3=archive.url, client=client))
    return Search.load(tmp_path / "search.toml")


def ended(search: Search, folder: Path) -> tuple[list[Any], dict[str, Any], int]:
    """Return the candidates, each observation's ending, and how many requests were sent again."""
    result = search.run(folder)
    rows = result.arrow("outcomes").to_pylist()
    assert len(rows) == len({row["obs_id"] for row in rows}) == OBSERVATIONS
    endings = {row["obs_id"]: (row["status"], row["reason"]) for row in rows}
    return result.arrow("candidates").to_pylist(), endings, sum(one["count"] for row in rows for one in row["retries"])


@pytest.mark.parametrize("fault", ["503", "416", "short", "whole", "reset", "redirect"])
def test_the_first_requests_of_each_file_struck_cost_requests_and_no_records(
    search: Search, archive: LocalArchive, tmp_path: Path, fault: ObjectFault
) -> None:
    candidates, endings, _ = ended(search, tmp_path / "undisturbed")
    assert candidates
    archive.set_faults(Faults(keys=dict.fromkeys(KEYS, fault), strikes=2))
    again, ways, retries = ended(search, tmp_path / "struck")
    assert repr(again) == repr(candidates)
    assert ways == endings
    assert retries > 0 or fault != "503"


@pytest.mark.parametrize("fault", ["503", "short", "truncate"])
def test_all_requests_struck_is_told_for_each(search: Search, archive: LocalArchive, tmp_path: Path, fault: ObjectFault) -> None:
    archive.set_faults(Faults(chance={fault: 1.0}))
    candidates, endings, _ = ended(search, tmp_path / "struck")
    assert not candidates
    host = archive.url.removeprefix("http://")
    for status, reason in endings.values():
        assert status == "failed"
        assert host in reason
        assert "run again later with --since" in reason


def test_files_that_are_replaced_while_they_are_read_are_read_again(search: Search, archive: LocalArchive, tmp_path: Path) -> None:
    candidates, endings, _ = ended(search, tmp_path / "undisturbed")
    archive.set_faults(Faults(keys=dict.fromkeys(KEYS, "replaced"), after=1))
    again, ways, _ = ended(search, tmp_path / "replaced")
    assert repr(again) == repr(candidates)
    assert ways == endings
