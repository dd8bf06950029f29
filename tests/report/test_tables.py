import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from raysearch.engine.records import outcome_table
from raysearch.errors import ConfigError
from raysearch.model import RETRY_TYPE, Limit, Outcome
from raysearch.report import columns, tables
from raysearch.report import stream as stream_module
from raysearch.report.bintable import Sum, encoded
from raysearch.report.provenance import Provenance
from raysearch.report.stream import Stream

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


READ_AS = {".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits"}
ABOUT = {
    "name": "jets",
    "config_hash": "cafe",
    "started": "2026-11-21T10:00:00+00:00",
    "finished": "2026-11-21T11:00:00+00:00",
    "versions": {"raysearch": "0.0.9"},
    "queries": [{"service": "SIMBAD", "url": "https://simbad", "text": "SELECT *\nFROM α\t'x' < 3 & 4", "rows": 1234}],
}
FROM = Provenance.of(ABOUT)


@pytest.mark.parametrize("ending", [".ecsv", ".vot", ".fits"])
def test_units_go_along(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    tables.write(RECORDS, path)
    read = Table.read(path, format=READ_AS[ending])
    assert str(read["wavelength_um"].unit) in {"um", "micron"}
    assert read["obs_id"].unit is None


def test_ecsv_tells_meaning_and_origin(tmp_path):
    tables.write(RECORDS, tmp_path / "t.ecsv", "candidates", FROM)
    read = Table.read(tmp_path / "t.ecsv")
    assert read["wavelength_um"].meta["ucd"] == "em.wl;spect.line"
    assert read["wavelength_um"].description == columns.describe("wavelength_um").description
    assert (read.meta["table"], read.meta["config_hash"], read.meta["queries"]) == ("candidates", "cafe", ABOUT["queries"])
    assert read.meta["searched_with"] == "raysearch 0.0.9"


def test_fits_tells_meaning_and_origin(tmp_path):
    tables.write(RECORDS, tmp_path / "t.fits", "candidates", FROM)
    with fits.open(tmp_path / "t.fits", checksum=True) as file:
        file.verify("exception")
        header = file["CANDIDATES"].header
        number = RECORDS.column_names.index("wavelength_um") + 1
        assert header[f"TUCD{number}"] == "em.wl;spect.line"
        assert header[f"TCOMM{number}"] == columns.describe("wavelength_um").description
        assert (header["SEARCH"], header["CFGHASH"], header["RUNVER"]) == ("jets", "cafe", "0.0.9")
        assert "SIMBAD, https://simbad: 1,234 rows" in str(header["HISTORY"])
        assert r"SELECT * FROM \u03b1 'x' < 3 & 4" in str(header["HISTORY"])
        assert "COMMENT" not in header


def test_parquet_tells_meaning_and_origin(tmp_path):
    tables.write(RECORDS, tmp_path / "t.parquet", "candidates", FROM)
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.field("wavelength_um").metadata[b"unit"] == b"um"
    assert schema.field("wavelength_um").metadata[b"ucd"] == b"em.wl;spect.line"
    told = json.loads(schema.metadata[b"raysearch"])
    assert (told["search"], told["queries"][0]["text"]) == ("jets", ABOUT["queries"][0]["text"])


def test_an_old_file_stays_where_the_new_one_cannot_be_made(tmp_path):
    (tmp_path / "t.csv").write_text("old")
    broken = pa.table({"a": pa.array([b"x"])})
    with pytest.raises(pa.ArrowException):
        tables.write_batches(broken.schema, _batches_that_break(broken), tmp_path / "t.csv", "")
    assert (tmp_path / "t.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def _batches_that_break(table):
    yield table.to_batches()[0]
    raise pa.ArrowInvalid("torn")


@pytest.mark.parametrize("ending", tables.FORMATS)
def test_a_table_that_is_read_in_pieces_makes_the_same_file(tmp_path, ending, monkeypatch):
    """Whatever differs from piece to piece: widths, what is missing, letters beyond ASCII."""
    monkeypatch.setattr(stream_module, "CHUNK_ROWS", 3)
    n = 10
    table = pa.table(
        {
            "obs_id": ["x" * (i + 1) for i in range(n)],
            "target": ["", "a", "b", "c", "α Tau", "d", "<&>", "e f", 'g"h', ""],
            "note": pa.array([None if i == 7 else "" for i in range(n)], pa.string()),
            "lines": [[str(i)] * i for i in range(n)],
            "em_min": [None if i in (4, 5) else i * 1e-7 for i in range(n)],
            "plane": pa.array([None if i == 9 else i for i in range(n)], pa.int64()),
            "edge": [i % 2 == 0 for i in range(n)],
            "flux": pa.array([float("nan") if i == 8 else i / 3 for i in range(n)], pa.float32()),
        }
    )
    parts = Stream(table.schema, lambda: [table.slice(0, 5), table.slice(5, 0), table.slice(5)])
    provenance = Provenance.of(ABOUT)
    assert tables.write_stream(parts, tmp_path / f"pieces{ending}", "candidates", provenance) == n
    monkeypatch.setattr(stream_module, "CHUNK_ROWS", 100)
    tables.write(table, tmp_path / f"whole{ending}", "candidates", provenance)
    if ending == ".parquet":
        assert repr(pq.read_table(tmp_path / "pieces.parquet").to_pylist()) == repr(table.to_pylist())  # NaN and all
        return
    pieces, whole = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("pieces", "whole"))
    assert re.sub(rb"HDU checksum updated \S+|data unit checksum updated \S+|CHECKSUM= '\w+'", b"", pieces) == re.sub(
        rb"HDU checksum updated \S+|data unit checksum updated \S+|CHECKSUM= '\w+'", b"", whole
    )
    if ending == ".fits":
        with fits.open(tmp_path / "pieces.fits", checksum=True) as file:  # a wrong sum is a warning
            file.verify("exception")
            assert file[1].header["NAXIS2"] == n
            assert file[1]._calculate_datasum() == int(file[1].header["DATASUM"])


@pytest.mark.parametrize("rows", [0, 1, 7, 4000])
def test_fits_checksums_are_those_that_astropy_makes(tmp_path, rows):
    rng = np.random.default_rng(rows)
    table = pa.table({"name": [str(n) for n in range(rows)], "edge": rng.random(rows) > 0.5, "flux": rng.random(rows)})
    tables.write(table, tmp_path / "t.fits", "candidates")
    with fits.open(tmp_path / "t.fits", checksum=True) as file:
        told = file[1].header["DATASUM"]
        file[1].add_checksum()
        assert file[1].header["DATASUM"] == told


@given(st.lists(st.binary(max_size=40)))
def test_a_sum_does_not_depend_on_the_pieces(contents):
    one, many = Sum(), Sum()
    one.add(b"".join(contents))
    for content in contents:
        many.add(content)
    assert one.value == many.value


@given(st.integers(0, 2**32 - 1))
def test_an_encoded_checksum_is_letters_and_digits_and_sums_to_itself(value):
    text = encoded(value)
    assert text.isalnum()
    turned = (text[1:] + text[0]).encode()
    total = Sum()
    total.add(turned)
    zeros = Sum()
    zeros.add(b"0" * 16)
    difference = (total.value - zeros.value) % 0xFFFFFFFF
    assert difference == value % 0xFFFFFFFF


def test_what_is_missing_is_masked_and_not_zero():
    assert tables.to_table(RECORDS)["em_min"].mask.tolist() == [True, False]


def test_fits_has_letters_beyond_ascii_as_escapes(tmp_path):
    tables.write(RECORDS, tmp_path / "t.fits")
    assert Table.read(tmp_path / "t.fits")["target"].tolist() == [r"\u03b1 Tau", "HL Tau"]


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
    assert Table.read(path, format=formats[ending]).colnames == [
        n for n in both.column_names if n not in ("limits", "ranges", "map")
    ]


@pytest.mark.parametrize("ending", [".ecsv", ".vot", ".fits", ".csv"])
def test_requests_sent_again_are_text_with_host_and_number(tmp_path, ending):
    retries = pa.array([[{"host": "a.example", "count": 3}, {"host": "b.example", "count": 1}], []], pa.list_(RETRY_TYPE))
    path = tmp_path / f"t{ending}"
    tables.write(pa.table({"obs_id": ["o1", "o2"], "retries": retries}), path, "outcomes")
    formats = {".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits", ".csv": "ascii.csv"}
    read = Table.read(path, format=formats[ending])
    assert str(read["retries"][0]) == "a.example 3; b.example 1"


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
