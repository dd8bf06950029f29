import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from raysearch.errors import ConfigError
from raysearch.report import tables

RECORDS = pa.table(
    {
        "obs_id": ["jw01", "jw02"],
        "target": ["α Tau", "HL Tau"],
        "wavelength_um": [5.34, 17.936],
        "plane": pa.array([3, 4], pa.int64()),
        "edge": [True, False],
        "lines": [["a", "b"], []],
        "em_min": [None, 1e-6],
    }
)


@pytest.mark.parametrize("ending", tables.FORMATS)
@pytest.mark.parametrize("rows", [2, 0])
def test_every_format_reads_back(tmp_path, ending, rows):
    path = tmp_path / f"t{ending}"
    tables.write(RECORDS.slice(0, rows), path)
    tables.write(RECORDS.slice(0, rows), path)  # over an old one
    if ending == ".parquet":
        assert pq.read_table(path) == RECORDS.slice(0, rows)
        return
    formats = {".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits", ".csv": "ascii.csv"}
    read = Table.read(path, format=formats[ending])
    assert len(read) == rows
    assert read.colnames == RECORDS.column_names
    if rows:
        assert list(read["wavelength_um"]) == [5.34, 17.936]
        assert list(read["plane"]) == [3, 4]
        assert "a; b" in str(read["lines"][0])


@pytest.mark.parametrize("ending", [".ecsv", ".vot", ".fits"])
def test_units_go_along(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    tables.write(RECORDS, path)
    read = Table.read(path, format={".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits"}[ending])
    assert str(read["wavelength_um"].unit) in {"um", "micron"}
    assert read["obs_id"].unit is None


def test_what_is_missing_is_masked_and_not_zero():
    assert tables.to_table(RECORDS)["em_min"].mask.tolist() == [True, False]


def test_fits_has_letters_beyond_ascii_as_escapes(tmp_path):
    tables.write(RECORDS, tmp_path / "t.fits")
    assert Table.read(tmp_path / "t.fits")["target"].tolist() == [r"\u03b1 Tau", "HL Tau"]


@pytest.mark.parametrize(
    ("column", "unit"),
    [("rest_um", "um"), ("ra", "deg"), ("extent_arcsec", "arcsec"), ("em_min", "m"), ("obs_id", None), ("lines", None)],
)
def test_a_columns_name_says_its_unit(column, unit):
    assert tables.unit_of(column) == unit


def test_an_ending_that_says_no_format(tmp_path):
    with pytest.raises(ConfigError, match=r"'\.txt'; use one of \.ecsv"):
        tables.write(RECORDS, tmp_path / "t.txt")


@pytest.mark.parametrize("ending", [".ecsv", ".vot", ".fits", ".csv"])
def test_columns_of_any_kind_are_written(tmp_path, ending):
    odd = pa.table(
        {
            "flag": [True, None],
            "kind": pa.array(["a", None]).dictionary_encode(),
            "nothing": pa.nulls(2),
            "raw": [b"\xff", None],
            "day": pa.array([0, None], pa.date32()),
            "when": pa.array([0, None], pa.timestamp("us")),
            "half": pa.array([1.5, None], pa.float16()),
            "large": pa.array([2**64 - 1, None], pa.uint64()),
        }
    )
    tables.write(odd, tmp_path / f"t{ending}")
    assert (tmp_path / f"t{ending}").stat().st_size
