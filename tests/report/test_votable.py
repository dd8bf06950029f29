"""VOTables that other programs take: valid, with units, UCDs, frames and origin."""

import io
import xml.etree.ElementTree as ET

import pyarrow as pa
import pytest
from astropy.io.votable import parse, validate
from hypothesis import given
from hypothesis import strategies as st

from raysearch.report import columns, tables
from raysearch.report.provenance import Provenance

ABOUT = {
    "name": "jets & <b>",
    "config_hash": "cafe",
    "started": "2026-11-21T10:00:00+00:00",
    "queries": [{"service": "SIMBAD", "url": "https://simbad", "text": "SELECT *\nFROM basic WHERE z < 3 AND n = 'α'", "rows": 12}],
}
RECORDS = pa.table(
    {
        "obs_id": ["jw01", "jw02"],
        "target": ["α Tau", "<script>"],
        "ra": [10.0, None],
        "dec": [20.0, -30.0],
        "mjd": [61000.5, 61001.5],
        "wavelength_um": pa.array([5.34, None], pa.float32()),
        "spaxels": pa.array([3, None], pa.int64()),
        "extended": [True, None],
        "flux_w_m2": [1e-18, float("nan")],
        "targets": [["a", "b"], []],
    }
)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "t.vot"
    tables.write(RECORDS, path, "candidates", Provenance.of(ABOUT))
    return path


def test_it_is_valid(written):
    said = io.StringIO()
    assert validate(str(written), output=said), said.getvalue()


def test_every_field_has_its_unit_ucd_and_description(written):
    table = parse(written, verify="exception").get_first_table()
    for field in table.fields:
        known = columns.describe(field.name, "candidates")
        assert (field.ucd or "", field.description or "") == (known.ucd, known.description)
        assert (str(field.unit) if field.unit else "") == known.unit
    assert table.name == "candidates"


def test_values_come_back(written):
    read = parse(written).get_first_table().to_table()
    assert list(read["target"]) == ["α Tau", "<script>"]
    assert read["spaxels"].mask.tolist() == [False, True]
    assert read["wavelength_um"].dtype == "f4"
    assert read["ra"].mask.tolist() == [False, True]
    assert read["flux_w_m2"][0] == 1e-18
    assert list(read["targets"]) == ["a; b", ""]
    assert read["extended"].mask.tolist() == [False, True]


def test_positions_have_their_frame_and_times_their_scale(written):
    root = ET.parse(written).getroot()
    space = root.tag.removesuffix("VOTABLE")
    [frame], [scale] = root.iter(space + "COOSYS"), root.iter(space + "TIMESYS")
    assert (frame.get("system"), scale.get("timeorigin"), scale.get("timescale")) == ("ICRS", "MJD-origin", "UTC")
    refs = {field.get("name"): field.get("ref") for field in root.iter(space + "FIELD")}
    assert {name for name, ref in refs.items() if ref == frame.get("ID")} == {"ra", "dec"}
    assert {name for name, ref in refs.items() if ref == scale.get("ID")} == {"mjd"}


def test_it_says_where_it_came_from(written):
    infos = {info.name: info for info in parse(written).resources[0].infos}
    assert {"table", "search", "config_hash", "started", "creator", "date", "query"} == set(infos)
    assert (infos["search"].value, infos["table"].value) == ("jets & <b>", "candidates")
    assert infos["query"].value == "SIMBAD, https://simbad: 12 rows"
    assert infos["query"].content == ABOUT["queries"][0]["text"]


def test_a_table_without_rows(tmp_path):
    tables.write(RECORDS.slice(0, 0), tmp_path / "t.vot", "candidates")
    assert validate(str(tmp_path / "t.vot"), output=io.StringIO())
    assert len(parse(tmp_path / "t.vot").get_first_table().array) == 0


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_leaves_a_file_that_can_be_read(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.vot"
    provenance = Provenance(search=text, queries=[{"service": text, "url": text, "text": text, "rows": 0}])
    tables.write(pa.table({"target": [text]}), path, "candidates", provenance)
    document = parse(path, verify="exception")
    [read] = document.get_first_table().to_table()["target"]
    if text.isprintable() and text == text.strip():
        assert read == text
