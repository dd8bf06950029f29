import asyncio

import numpy as np
import pyarrow as pa
import pytest

from raysearch.errors import ProductNotFound, StoreUnavailable
from raysearch.model import Detector, Observation, Reader, Usage
from raysearch.testing import FakeArchive, FakeDetector, FakeReader, FakeStore, fake_pixels


def test_fakes_keep_their_protocols():
    assert isinstance(FakeReader(), Reader)
    assert isinstance(FakeDetector(), Detector)


def test_reader_answers_charges_and_raises():
    usage = Usage()
    reader = FakeReader({"a": fake_pixels("a", value=7.0), "b": StoreUnavailable("busy")})
    assert asyncio.run(reader.read(Observation("a", ()), usage)).windows[0].sci[0, 0, 0] == 7.0
    assert asyncio.run(reader.read(Observation("other", ()), usage)).obs_id == "other"
    assert (usage.requests, usage.bytes_read) == (2, 2 * (5 * 4 * 3 * 4 + 5 * 8))
    with pytest.raises(StoreUnavailable, match="busy"):
        asyncio.run(reader.read(Observation("b", ()), usage))
    asyncio.run(reader.close())
    assert reader.closed


def test_detector_reports_what_is_bright_enough():
    (found,) = FakeDetector().detect(fake_pixels("a", value=7.0, target="T"))
    assert (found.target, found.line, found.rest_um, found.wavelength_um) == ("T", "[Fe II] 5.340", 5.340, 5.340)
    assert found.values == {"peak": 7.0}
    assert found.values.keys() == FakeDetector.columns.keys()
    assert FakeDetector(threshold=7.0).detect(fake_pixels("a", value=7.0)) == []


def test_pixels_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        fake_pixels("a").windows[0].sci[0] = 0


def test_store_gives_ranges_whole_files_and_errors():
    usage = Usage()
    store = FakeStore({"x": b"0123456789", "bad": StoreUnavailable("busy")})
    assert asyncio.run(store.get_ranges("x", [(2, 4), (8, 20), (20, 30)], usage)) == [b"23", b"89", b""]
    assert asyncio.run(store.get("x", usage)) == b"0123456789"
    assert (usage.requests, usage.bytes_read) == (4, 14)
    assert store.asked[0] == ("x", (2, 4))
    with pytest.raises(ProductNotFound, match="nope"):
        asyncio.run(store.get("nope", usage))
    with pytest.raises(StoreUnavailable):
        asyncio.run(store.get("bad", usage))


def test_archive_tells_rows_and_places():
    table = pa.table({"obs_id": ["a", "b"]})
    archive = FakeArchive(table, {"a": ("memory://a",)})
    assert archive.observations()[0] is table
    assert archive.locate(table)[0] == [("memory://a",), ()]
    assert np.all([q.service == "fake" for q in archive.observations()[1]])
