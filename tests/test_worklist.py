import importlib
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch import config, worklist
from raysearch.errors import ConfigError, TableError
from raysearch.model import observations_from_arrow

catalogue = importlib.import_module("raysearch.archives.catalogue")

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


@pytest.mark.parametrize(("ends", "skipped"), [((0.3, 0.5), False), ((-0.5, 3.0), False), ((0.0, 0.01), True)])
def test_a_range_of_redshifts_decides_instead_of_the_targets_own(tmp_path, ends, skipped):
    table = write(tmp_path / "t.parquet", uri=["s3://b/x.fits"], redshift=[7.0], em_min=[7.4e-6], em_max=[7.6e-6])
    lines = {"list": [{"name": "a", "wavelength": "5.340 um"}]}
    _, [row] = build(table, targets={"redshift_range": list(ends)}, lines=lines)
    assert bool(row.skip) == skipped


def test_an_impossible_redshift_costs_one_observation(tmp_path):
    uris = ["s3://b/x.fits", "s3://b/y.fits", "s3://b/z.fits"]
    work, rows = build(write(tmp_path / "t.parquet", uri=uris, redshift=[-5.0, 0.1, 17000.0]))
    assert [o.skip.partition(":")[0] for o in rows] == ["its redshift -5 is impossible", "", "its redshift 17000 is impossible"]
    assert (work.funnel["matched"], work.funnel["no_footprint"]) == (3, 0)


def test_wavelengths_the_wrong_way_round_lose_no_observation(tmp_path):
    table = write(tmp_path / "t.parquet", uri=["s3://b/x.fits", "s3://b/y.fits"], em_min=[5.7e-6, np.nan], em_max=[4.9e-6, 1e-6])
    assert [o.skip for o in build(table)[1]] == ["", ""]


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


def test_near_targets_are_one_on_request(three):
    positions = [[10.0, 10.0], [10.0, 10.0 + 1 / 3600], [20.0, 10.0]]
    work, rows = build(three, targets={"positions": positions})
    assert (len(work.targets), work.notes) == (3, ())
    work, rows = build(three, targets={"positions": positions, "merge_radius": "2 arcsec"})
    assert [(o.obs_id, [t.dec for t in o.targets]) for o in rows] == [("b", [10.0]), ("c", [10.0])]
    assert work.notes == ("1 of 3 targets lie within 2 arcsec of an earlier one, and count as that one",)
    assert work.funnel["targets"] == 2


def test_a_position_listed_twice_is_one_target(three):
    work, _ = build(three, targets={"positions": [[10.0, 10.0], [10.0, 10.0]]})
    assert [(target.name, target.ra) for target in work.targets] == [("10.000000 +10.000000", 10.0)]


def test_a_field_of_view_is_a_footprint_where_there_is_no_other(tmp_path):
    table = write(
        tmp_path / "t.parquet",
        uri=["s3://b/x.fits", "s3://b/y.fits", "s3://b/z.fits"],
        s_ra=[10.0, 10.0, 10.0],
        s_dec=[10.0, 10.0, 10.0],
        s_fov=[0.2, None, 0.02],
        s_region=pa.array([None, None, SQUARE.format(9.0, 11.0)], pa.string()),
    )
    _, rows = build(table, targets={"positions": [[10.0, 10.09]]})
    assert [(o.obs_id, o.s_region, o.skip.partition(":")[0]) for o in rows] == [
        ("x", "CIRCLE ICRS 10.0 10.0 0.1", ""), ("y", "", "no s_region"), ("z", SQUARE.format(9.0, 11.0), ""),
    ]  # fmt: skip
    assert not [o for o in build(table, targets={"positions": [[10.0, 10.11]]})[1] if o.obs_id == "x"]


def test_cells_of_another_type_cost_themselves_alone(tmp_path):
    (tmp_path / "t.csv").write_text("uri,em_min,em_max\ns3://b/x.fits,short,6e-6\ns3://b/y.fits,7e-6,8e-6\n")
    work, rows = build(str(tmp_path / "t.csv"))
    assert [bool(o.skip) for o in rows] == [False, True]
    assert "em_min left empty in row 1" in work.notes[0]


def test_a_skipped_row_of_ones_own_keeps_its_address(three):
    assert build(three)[1][0].uris == ("s3://b/a.fits",)


def test_a_targets_table_without_coordinates(tmp_path, three):
    targets = tmp_path / "targets.csv"
    targets.write_text("name,flux\na,1\n")
    with pytest.raises(TableError, match=r"targets\.csv"):
        build(three, targets={"table": str(targets)})


def test_the_first_rows_only(three):
    work, _ = build(three)
    first = work.head(2)
    assert first.table["obs_id"].to_pylist() == ["a", "b"]
    assert first.funnel == {**work.funnel, "beyond_limit": work.table.num_rows - 2}
    assert work.head(5) is work
    assert work.head(None) is work


def test_a_catalogue_that_streams_gives_what_one_held_gives(three, tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    ra = np.concatenate([rng.normal(10, 0.3, 500), rng.normal(0, 0.3, 500) % 360, [np.nan, 200.0]])
    stars = write(tmp_path / "stars.parquet", name=[f"s{i}" for i in range(1002)], ra=ra, dec=rng.normal(10, 0.1, 1002))
    held, rows = build(three, targets={"table": stars})
    monkeypatch.setattr(catalogue, "LARGE", 1000)
    streamed, same_rows = build(three, targets={"table": stars}, run={"engine": "inline"})
    assert same_rows == rows
    assert len(rows) == 2
    assert sum(len(row.targets) for row in rows) > 100
    assert streamed.funnel == held.funnel
    assert held.funnel["targets"] == 1001
    assert {t.name for t in streamed.targets} == {t.name for row in rows for t in row.targets} < {t.name for t in held.targets}
    assert any("1 of 1,002 rows left out: no usable coordinates" in note for note in streamed.notes)


def test_a_catalogue_that_streams_without_one_usable_row(three, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "LARGE", 2)
    stars = write(tmp_path / "stars.parquet", ra=[500.0, 500.0], dec=[1.0, 2.0])
    with pytest.raises(TableError, match=r"stars\.parquet: no row with usable coordinates in ra and dec, of 2"):
        build(three, targets={"table": stars}, run={"engine": "inline"})


def test_a_catalogue_that_streams_cannot_be_asked_around(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "LARGE", 2)
    stars = write(tmp_path / "stars.parquet", ra=[1.0, 2.0], dec=[1.0, 2.0])
    asked = {"archive": "mast", "collection": "JWST", "near_targets": True}
    with pytest.raises(ConfigError, match="has 2 targets, too many to ask an archive around each"):
        worklist.build(config.from_dict({"observations": asked, "targets": {"table": stars}, "lines": {"list": "feii-jwst"}}))
