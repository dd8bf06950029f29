import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from raysearch.engine.records import outcome_table
from raysearch.errors import ConfigError
from raysearch.model import Limit, Outcome
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
    [
        ("rest_um", "um"),
        ("ra", "deg"),
        ("extent_arcsec", "arcsec"),
        ("area_arcsec2", "arcsec2"),
        ("flux_err_w_m2", "W / m2"),
        ("peak_ra", "deg"),
        ("em_min", "m"),
        ("obs_id", None),
        ("lines", None),
    ],
)
def test_a_columns_name_says_its_unit(column, unit):
    assert tables.unit_of(column) == unit


LIMITS = {"line": "H2", "target": "HL Tau", "rest_um": 2.12, "wavelength_um": 2.13, "flux": 3e-20, "note": "point source"}


def outcomes():
    return outcome_table([Outcome("a", "nothing", limits=(Limit(**LIMITS), Limit(**LIMITS))), Outcome("b", "skipped", "why")])


def test_limits_make_a_tidy_table():
    table = tables.limits_table(outcomes())
    assert table.column_names == ["obs_id", "target", "line", "rest_um", "wavelength_um", "flux", "note"]
    assert table.to_pylist() == [{"obs_id": "a", **LIMITS}] * 2
    assert tables.limits_table(outcomes().slice(1)).num_rows == 0


@pytest.mark.parametrize("ending", [".ecsv", ".vot", ".fits"])
def test_the_flux_of_limits_has_its_unit(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    tables.write(tables.limits_table(outcomes()), path)
    read = Table.read(path, format={".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits"}[ending])
    assert read["flux"].unit.is_equivalent("W m-2")
    assert read["flux"].unit.to("W m-2") == 1
    assert read["flux"][0] == 3e-20


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_bytes_and_nested_limits_are_in_parquet_only(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    both = outcomes().append_column("map", pa.array([b"\x1f\x8b\0\xff", b""], pa.binary()))
    tables.write(both, path)
    if ending == ".parquet":
        assert pq.read_table(path) == both
        return
    formats = {".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits", ".csv": "ascii.csv"}
    assert Table.read(path, format=formats[ending]).colnames == [n for n in both.column_names if n not in ("limits", "map")]


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
