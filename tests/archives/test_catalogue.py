"""Large tables of targets, read a piece at a time."""

import importlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch.archives.catalogue import open_catalogue
from raysearch.archives.tables import read_targets
from raysearch.errors import TableError

module = importlib.import_module("raysearch.archives.catalogue")


@pytest.fixture
def table(monkeypatch):
    """1,000 stars; two of them without a usable position."""
    monkeypatch.setattr(module, "LARGE", 1000)
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 1000), rng.uniform(-80, 80, 1000)
    dec[7], dec[400] = np.nan, 91.0
    return pa.table({"Source": [f"star {i}" for i in range(1000)], "RA_ICRS": ra, "DE_ICRS": dec, "z": rng.uniform(0, 1, 1000)})


@pytest.fixture(params=["parquet", "arrow"])
def path(request, table, tmp_path):
    path = tmp_path / f"stars.{request.param}"
    if request.param == "parquet":
        pq.write_table(table, path, row_group_size=300)
    else:
        with pa.ipc.new_file(str(path), table.schema) as sink:
            for batch in table.to_batches(max_chunksize=300):
                sink.write_batch(batch)
    return path


def test_pieces_hold_every_usable_row_once(path, table):
    pieces = [load() for load in open_catalogue(path).pieces()]
    assert len(pieces) == 4
    number, ra, dec = (np.concatenate(column) for column in zip(*pieces, strict=True))
    assert number.tolist() == [i for i in range(1000) if i not in {7, 400}]
    np.testing.assert_array_equal(ra, table["RA_ICRS"].to_numpy()[number])
    np.testing.assert_array_equal(dec, table["DE_ICRS"].to_numpy()[number])


def test_targets_of_some_rows_are_those_of_the_whole_table(path):
    whole = {target.name: target for target in read_targets(path).targets}
    rows = np.array([0, 299, 300, 999])
    some = open_catalogue(path).targets(rows, 0.0)
    assert some.targets == [whole[f"star {row}"] for row in rows]
    assert open_catalogue(path).targets(np.array([], dtype=np.int64), 0.0).targets == []


def test_small_tables_and_other_files_are_none(path, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1001)
    assert open_catalogue(path) is None
    assert open_catalogue(tmp_path / "absent.parquet") is None
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no table")
    assert open_catalogue(broken) is None
    assert open_catalogue(tmp_path / "stars.csv") is None


def test_a_large_table_without_coordinates_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 3)
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "t.parquet")
    with pytest.raises(TableError, match="no columns of coordinates among x"):
        open_catalogue(tmp_path / "t.parquet")
