import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch import config, worklist
from raysearch.errors import TableError
from raysearch.model import observations_from_arrow

SQUARE = "POLYGON ICRS {0} 9.9 {1} 9.9 {1} 10.1 {0} 10.1"


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def search(table, **sections):
    lines = {"list": [{"name": "a", "wavelength": "5 um"}]}
    return config.from_dict({"observations": {"table": table}, "lines": lines, **sections})


def build(table, **sections):
    work = worklist.build(search(table, **sections))
    return work, observations_from_arrow(work.table)


@pytest.fixture
def three(tmp_path):
    """Three footprints side by side, at RA 10, 20 and 359.95-0.05."""
    return write(
        tmp_path / "three.parquet",
        obs_id=["c", "b", "a"],
        uri=["s3://b/c.fits", "s3://b/b.fits", "s3://b/a.fits"],
        s_region=[SQUARE.format(9.9, 10.1), SQUARE.format(19.9, 20.1), SQUARE.format(359.9, 0.1)],
        em_min=[4e-6, 4e-6, 6e-6],
        em_max=[6e-6, 6e-6, 8e-6],
        proposal_id=["1", "2", "3"],
    )


def test_only_what_holds_a_target_is_kept_sorted_by_obs_id(three):
    work, rows = build(three, targets={"positions": [[10.0, 10.0], [0.0, 10.05], [10.01, 10.0]]})
    assert [o.obs_id for o in rows] == ["a", "c"]
    assert [len(o.targets) for o in rows] == [1, 2]
    assert rows[1].targets[0].ra == 10.0
    assert work.funnel == {"targets": 3, "archive_rows": 3, "matched": 2, "no_footprint": 0}


def test_the_archives_own_columns_are_kept(three):
    work, _ = build(three, targets={"positions": [[10.0, 10.0]]})
    assert work.table["proposal_id"].to_pylist() == ["1"]


def test_a_target_just_outside_is_kept_within_the_radius(three):
    assert not build(three, targets={"positions": [[10.0, 10.102]]})[1]
    assert len(build(three, targets={"positions": [[10.0, 10.102]]}, match={"radius": "10 arcsec"})[1]) == 1


def test_wavelengths_without_a_line_are_skipped_with_the_reason(three):
    _, rows = build(three)
    assert [o.skip for o in rows] == ["no searched line lies within its 6.000-8.000 um", "", ""]


def test_the_redshift_decides_where_a_line_lies(three):
    _, rows = build(three, targets={"positions": [[0.0, 10.0]], "redshift": 0.4})
    assert [(o.obs_id, o.skip) for o in rows] == [("a", "")]


def test_unknown_wavelengths_are_read(tmp_path):
    table = write(tmp_path / "t.parquet", uri=["s3://b/x.fits"], em_min=pa.array([None], pa.float64()), em_max=[6e-6])
    _, rows = build(table)
    assert not rows[0].skip
    assert math.isnan(rows[0].em_min)


def test_excluded_patterns_are_skipped_with_the_pattern(three):
    _, rows = build(three, observations={"table": three, "exclude": ["b*"]})
    assert rows[1].skip == "its obs_id has the excluded pattern 'b*'"


@pytest.mark.parametrize(
    ("text", "said"), [("POLYGON ICRS 1 2 3", "POLYGON ICRS 1 2 3"), ("", "no s_region"), (None, "no s_region")]
)
def test_a_footprint_that_cannot_be_told_costs_one_observation(tmp_path, text, said):
    table = write(tmp_path / "t.parquet", uri=["s3://b/x.fits", "s3://b/y.fits"], s_region=[text, SQUARE.format(9.9, 10.1)])
    work, rows = build(table, targets={"positions": [[10.0, 10.0]]})
    assert [bool(o.skip) for o in rows] == [True, False]
    assert said in rows[0].skip
    assert len(work.notes) == 1
    assert "observation x" in work.notes[0]
    assert (work.funnel["matched"], work.funnel["no_footprint"]) == (1, 1)


def test_without_targets_each_observation_brings_its_own(tmp_path):
    table = write(
        tmp_path / "t.parquet", uri=["s3://b/x.fits", "s3://b/y.fits"], target_name=["HH 1", None], redshift=[0.0163, None]
    )
    _, rows = build(table, targets={"redshift": 0.5})
    assert [(o.targets[0].name, o.targets[0].redshift) for o in rows] == [("HH 1", 0.0163), ("y", 0.5)]


def test_an_impossible_redshift_costs_one_observation(tmp_path):
    table = write(tmp_path / "t.parquet", uri=["s3://b/x.fits", "s3://b/y.fits"], redshift=[-5.0, 0.1])
    assert [o.skip for o in build(table)[1]] == ["its redshift -5 is impossible", ""]


def test_a_row_without_a_file_is_skipped(tmp_path):
    table = write(tmp_path / "t.parquet", obs_id=["x"], uri=pa.array([None], pa.string()))
    assert "had nowhere" in build(table)[1][0].skip


def test_damaged_target_rows_are_named(tmp_path, three):
    targets = tmp_path / "targets.csv"
    targets.write_text("name,ra,dec\ngood,10.0,10.0\nbad,ten,10.0\n")
    work, rows = build(three, targets={"table": str(targets)})
    assert [o.obs_id for o in rows] == ["c"]
    assert len(work.notes) == 1
    assert "targets.csv" in work.notes[0]


def test_a_targets_table_without_coordinates(tmp_path, three):
    targets = tmp_path / "targets.csv"
    targets.write_text("name,flux\na,1\n")
    with pytest.raises(TableError, match=r"targets\.csv"):
        build(three, targets={"table": str(targets)})


def test_the_first_rows_only(three):
    work, _ = build(three)
    assert work.head(2).table["obs_id"].to_pylist() == ["a", "b"]
    assert work.head(5) is work
    assert work.head(None) is work
