import gzip

import numpy as np
import pyarrow as pa
import pytest

from raysearch.detect.cutouts import Cutouts
from raysearch.engine.records import candidate_schema
from raysearch.errors import ConfigError, FormatError
from raysearch.model import Target
from raysearch.report.cutouts import cutout_batches, cutouts_table
from raysearch.testing.boxes import boxes_of
from raysearch.testing.fields import Field
from raysearch.testing.spherex import FrameSpec, make_frame

FIELD = Field(10.0, 41.0, 64, 64, 6.15)
TARGETS = (Target("HL Tau", 10.0, 41.0), Target("edge", *FIELD.sky(62.0, 30.0)))


@pytest.fixture(scope="module")
def observations():
    frames = [make_frame(FrameSpec(n, 2, FIELD, mjd=mjd)) for n, mjd in ((1, 61100.0), (2, 61000.0))]
    return [boxes_of(frame, TARGETS, 15, name, ("IMAGE", "FLAGS", "PSF")) for frame, name in zip(frames, "ab", strict=True)]


@pytest.fixture(scope="module")
def candidates(observations):
    rows = [
        {"obs_id": pixels.obs_id, "target": record.target, "uri": pixels.uri, "config_hash": "cafe", **record.values}
        for pixels in observations
        for record in Cutouts().detect(pixels)
    ]
    return pa.Table.from_pylist(rows, schema=candidate_schema(Cutouts.columns, lines=False))


def test_a_row_for_each_cutout_the_oldest_first(candidates):
    table = cutouts_table(candidates)
    assert [(row["target"], row["cutout_index"], row["obs_id"]) for row in table.to_pylist()] == [
        ("HL Tau", 1, "b"), ("HL Tau", 2, "a"), ("edge", 1, "b"), ("edge", 2, "a"),
    ]  # fmt: skip
    assert "cutout" not in table.column_names


def test_the_arrays_are_those_that_were_read(candidates, observations):
    by_place = {(p.obs_id, c.target.name): c for p in observations for c in p.images[0].cutouts}
    for row in cutouts_table(candidates).to_pylist():
        box = by_place[row["obs_id"], row["target"]]
        for column, plane in (("image", box.planes["IMAGE"]), ("flags", box.planes["FLAGS"])):
            ours = np.reshape(np.array(row[column], plane.dtype), row["shape"])
            np.testing.assert_array_equal(ours, plane)
        np.testing.assert_array_equal(np.reshape(row["psf"], row["psf_shape"]), box.psf)
        assert row["variance"] is row["zodi"] is None


def test_in_pieces_it_is_the_same(candidates):
    pieces = list(cutout_batches(candidates, rows=3))
    assert [piece.num_rows for piece in pieces] == [3, 1]
    assert pa.Table.from_batches(pieces).equals(cutouts_table(candidates))


def test_none_at_all(candidates):
    assert cutouts_table(candidates.slice(0, 0)).num_rows == 0
    assert {"image", "flags", "variance", "zodi", "shape"} < set(cutouts_table(candidates.slice(0, 0)).column_names)
    with pytest.raises(ConfigError, match="hold no cutouts"):
        cutouts_table(pa.table({"obs_id": ["a"]}))


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"no FITS", mtime=0)])
def test_a_damaged_cutout_is_told(candidates, content):
    rows = candidates.to_pylist()
    rows[1]["cutout"] = content
    with pytest.raises(FormatError):
        cutouts_table(pa.Table.from_pylist(rows, schema=candidates.schema))
