"""Targets and observations from tables of the user's own."""

import math

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from raysearch.archives.tables import OBSERVED, designation, file_stem, read_observations, read_targets
from raysearch.errors import TableError
from raysearch.model import Target


def targets(tmp_path, content, name="targets.csv", **options):
    path = tmp_path / name
    path.write_text(content)
    return read_targets(path, **options)


def observations(tmp_path, content, name="observations.csv"):
    path = tmp_path / name
    path.write_text(content)
    return read_observations(path).table


def test_targets_in_the_tables_order(tmp_path):
    table = targets(tmp_path, "name,ra,dec,redshift\nB,10,20,0.1\nA,30.5,-40.25,\n", redshift=0.5)
    assert table.targets == [Target("B", 10.0, 20.0, 0.1), Target("A", 30.5, -40.25, 0.5)]
    assert table.problems == []


@pytest.mark.parametrize("ending", ["ecsv", "vot", "fits", "parquet"])
def test_every_format(tmp_path, ending):
    columns = {"RAJ2000": [1.0, 2.0], "DEJ2000": [10.0, -10.0], "Name": ["A", "B"], "z": [0.5, np.nan]}
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        kinds = {"ecsv": "ascii.ecsv", "vot": "votable", "fits": "fits"}
        Table(columns, units={"RAJ2000": "rad", "DEJ2000": "deg"}).write(path, format=kinds[ending])
    unit = 1.0 if ending == "parquet" else math.degrees(1.0)
    assert read_targets(path).targets == [Target("A", unit, 10.0, 0.5), Target("B", 2 * unit, -10.0, 0.0)]


def test_hours_in_a_votable(tmp_path):
    Table({"ra": [1.0], "dec": [2.0]}, units={"ra": "hourangle", "dec": "deg"}).write(tmp_path / "t.vot", format="votable")
    assert read_targets(tmp_path / "t.vot").targets[0].ra == pytest.approx(15.0)


def test_damaged_rows_are_counted_and_named(tmp_path):
    rows = ["A,10,20", "B,,20", "C,10,95", "D,10,abc", "E,11", "F,NaN,1", "G,400,1", "H,12,21"]
    table = targets(tmp_path, "\n".join(["name,ra,dec", *rows]))
    assert [t.name for t in table.targets] == ["A", "H"]
    assert table.problems == [
        "row 5 left out: it has 2 fields, not 3",
        "2 rows (rows 2, 6) left out: ra is missing",
        "row 7 left out: ra is outside 0 to 360 degrees, for example 400",
        "row 4 left out: dec is not a number, for example 'abc'",
        "row 3 left out: dec is outside -90 to 90 degrees, for example 95",
    ]


def test_a_spreadsheets_equals_sign_is_mended_and_told(tmp_path):
    table = targets(tmp_path, "name,ra,dec\nA,04:13:57.378,=+29:18:19.330\nB,04:14:11.881,+28:11:53.510\nC,04:15:00,=B2*2\n")
    assert [t.name for t in table.targets] == ["A", "B"]
    assert table.targets[0].dec == pytest.approx(29.30536944)
    assert table.problems == [
        "row 3 left out: dec is not dd:mm:ss, for example '=B2*2'",
        "row 1 read after removing a spreadsheet's leading '='",
    ]


def test_no_coordinates_names_the_columns_and_the_spellings(tmp_path):
    with pytest.raises(TableError, match=r"targets\.csv: no columns of coordinates among name, glon, glat; .*ra/dec.*s_ra/s_dec"):
        targets(tmp_path, "name,glon,glat\nA,1,2\n")


def test_a_unit_that_is_no_angle(tmp_path):
    Table({"ra": [1.0], "dec": [2.0]}, units={"ra": "Jy"}).write(tmp_path / "t.ecsv")
    with pytest.raises(TableError, match=r"t\.ecsv: column ra is in 'Jy'"):
        read_targets(tmp_path / "t.ecsv")


@pytest.mark.parametrize(("content", "words"), [("ra,dec\nx,y\n1,99\n", "row 1 .* row 2"), ("ra,dec\n", "no rows"), ("", "empty")])
def test_no_usable_row_is_an_error(tmp_path, content, words):
    with pytest.raises(TableError, match="(?i)" + words):
        targets(tmp_path, content)


def test_names_are_told_apart_and_repeats_taken_once(tmp_path):
    rows = ["A,10,20", "A,10.00000001,20", "A,11,20", "A (2),12,20", "A,13,20", "A,359.99999999,0", "A,0,0"]
    table = targets(tmp_path, "\n".join(["name,ra,dec", *rows]))
    assert [(t.name, t.ra) for t in table.targets] == [
        ("A", 10.0), ("A (2)", 11.0), ("A (2) (2)", 12.0), ("A (3)", 13.0), ("A (4)", 359.99999999),
    ]  # fmt: skip
    assert table.problems == [
        "2 rows (rows 2, 7) taken once: the name and position of an earlier row",
        "4 rows (rows 3-6) renamed with a number: the name of an earlier row at another position or redshift",
    ]


def test_two_redshifts_at_one_place_are_two_targets(tmp_path):
    table = targets(tmp_path, "name,ra,dec,z\nA,10,20,0.1\nA,10,20,0.2\n")
    assert [(t.name, t.redshift) for t in table.targets] == [("A", 0.1), ("A (2)", 0.2)]


def test_rows_without_a_name_are_named_after_their_position(tmp_path):
    table = targets(tmp_path, "name,ra,dec\n,234.8656375,-34.77154916666667\nB,1,2\n")
    assert [t.name for t in table.targets] == ["J153927.75-344617.5", "B"]


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (0.0, 0.0, "J000000.00+000000.0"),
        (359.9999999, -89.9999999, "J235959.99-895959.9"),
        (15 * (27.75 / 3600), 0.1 / 3600, "J000027.75+000000.1"),
        (180.0, 90.0, "J120000.00+900000.0"),
        (10.0, -0.5, "J004000.00-003000.0"),
    ],
)
def test_designations(ra, dec, name):
    assert designation(ra, dec) == name


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_a_designation_is_its_position_cut_short(ra, dec):
    name = designation(ra, dec)
    hours, minutes, seconds = int(name[1:3]), int(name[3:5]), float(name[5:10])
    degrees, arcmin, arcsec = int(name[11:13]), int(name[13:15]), float(name[15:19])
    assert max(minutes, seconds, arcmin, arcsec) < 60
    east = (ra - 15 * (hours + minutes / 60 + seconds / 3600)) % 360
    assert min(east, 360 - east) < 0.1501 / 3600
    assert 0 <= abs(dec) - (degrees + arcmin / 60 + arcsec / 3600) + 1e-9 < 0.1001 / 3600


def test_redshifts_that_cannot_be_are_told(tmp_path):
    table = targets(tmp_path, "name,ra,dec,redshift\nA,1,2,-99\nB,2,2,abc\nC,3,2,\nD,4,2,nan\nE,5,2,6.4e-5\n", redshift=0.5)
    assert [t.redshift for t in table.targets] == [0.5, 0.5, 0.5, 0.5, 6.4e-5]
    assert table.problems == ["2 rows (rows 1-2) searched at redshift 0.5: redshift is no redshift, for example '-99'"]


def test_z_beside_other_magnitudes_is_no_redshift(tmp_path):
    assert targets(tmp_path, "name,ra,dec,g,r,i,z\nA,1,2,22,21,20.5,20.1\n").targets[0].redshift == 0.0
    assert targets(tmp_path, "name,ra,dec,z\nA,1,2,0.3\n").targets[0].redshift == 0.3


def test_whole_numbers_are_names(tmp_path):
    assert targets(tmp_path, "source_id,ra,dec\n573941431864200576,1,2\n").targets[0].name == "573941431864200576"


def test_names_of_bytes_are_text(tmp_path):
    parquet.write_table(pa.table({"ra": [10.0], "dec": [20.0], "name": [b"HH 1"]}), tmp_path / "t.parquet")
    assert [target.name for target in read_targets(tmp_path / "t.parquet").targets] == ["HH 1"]


def test_z_beside_x_and_y_is_no_redshift(tmp_path):
    assert targets(tmp_path, "name,ra,dec,x,y,z\nA,10,20,1.0,2.0,3.0\n").targets == [Target("A", 10.0, 20.0, 0.0)]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_as_spreadsheets_write_it(tmp_path, ends, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(ends.join(["name,ra,dec", "Ä,10,20", "B,11,21", ""]).encode(encoding))
    assert read_targets(path).targets == [Target("Ä", 10.0, 20.0), Target("B", 11.0, 21.0)]


def test_observations_with_what_they_need(tmp_path):
    content = "uri,obs_id,em_min,em_max,s_region,note\ns3://b/k.fits,B,4.9e-6,2.87e-5,CIRCLE ICRS 1 2 3,good\nsub/a.fits,A,,,,\n"
    table = observations(tmp_path, content)
    assert table.column_names == [*OBSERVED, "note"]
    assert table.to_pylist() == [
        {
            "obs_id": "A", "uri": str(tmp_path / "sub" / "a.fits"), "s_region": None, "em_min": None, "em_max": None, "note": None,
        },
        {
            "obs_id": "B", "uri": "s3://b/k.fits", "s_region": "CIRCLE ICRS 1 2 3", "em_min": 4.9e-6, "em_max": 2.87e-5,
            "note": "good",
        },
    ]  # fmt: skip


def test_only_a_uri_is_needed(tmp_path):
    table = observations(tmp_path, "uri\n/data/a.fits\nhttps://h/x/b.fits.gz\n../c.fits\n")
    assert table["obs_id"].to_pylist() == ["a", "b", "c"]
    assert table["uri"].to_pylist() == ["/data/a.fits", "https://h/x/b.fits.gz", str(tmp_path.parent / "c.fits")]
    assert [str(table.schema.field(name).type) for name in OBSERVED] == ["string", "string", "string", "double", "double"]


def test_a_relative_path_begins_at_the_table_wherever_we_are(tmp_path, monkeypatch):
    (tmp_path / "uris.csv").write_text("uri\na.fits\n")
    monkeypatch.chdir(tmp_path.parent)
    table = read_observations(f"{tmp_path.name}/uris.csv").table
    assert table["uri"].to_pylist() == [str(tmp_path / "a.fits")]


def test_a_row_without_address_stays_and_is_nowhere(tmp_path):
    table = observations(tmp_path, "obs_id,uri\nA,a.fits\nB,\n")
    assert table["obs_id"].to_pylist() == ["A", "B"]
    assert table["uri"].to_pylist()[1] is None


def test_a_row_without_address_and_id_is_an_error(tmp_path):
    with pytest.raises(TableError, match="row 2 with neither an obs_id nor an address"):
        observations(tmp_path, "obs_id,uri\nA,a.fits\n,\n,b.fits\n")


def test_wavelengths_in_the_units_of_the_file(tmp_path):
    Table({"uri": ["a.fits"], "em_min": [4.9], "em_max": [28700.0]}, units={"em_min": "um", "em_max": "nm"}).write(
        tmp_path / "t.ecsv"
    )
    row = read_observations(tmp_path / "t.ecsv").table.to_pylist()[0]
    assert row["em_min"] == pytest.approx(4.9e-6)
    assert row["em_max"] == pytest.approx(28.7e-6)


@pytest.mark.parametrize("unit", ["Jy", "GHz", "furlongs"])
def test_wavelengths_in_something_else(tmp_path, unit):
    Table({"uri": ["a.fits"], "em_min": [4.9]}, units={"em_min": unit}).write(tmp_path / "t.ecsv")
    with pytest.raises(TableError, match=f"em_min and em_max are in '{unit}'"):
        read_observations(tmp_path / "t.ecsv")


def test_capitals_as_in_fits_tables(tmp_path):
    columns = {"OBS_ID": ["A"], "URI": ["/a.fits"], "EM_MIN": np.array([4.9], ">f4"), "S_REGION": ["CIRCLE 1 2 3"]}
    Table(columns, units={"EM_MIN": "um"}).write(tmp_path / "t.fits")
    row = read_observations(tmp_path / "t.fits").table.to_pylist()[0]
    assert (row["obs_id"], row["uri"], row["s_region"]) == ("A", "/a.fits", "CIRCLE 1 2 3")
    assert row["em_min"] == pytest.approx(4.9e-6)


def test_other_spellings_of_the_address(tmp_path):
    assert observations(tmp_path, "access_url\nhttps://h/a.fits\n")["uri"].to_pylist() == ["https://h/a.fits"]
    mast = observations(tmp_path, "dataURI\nmast:JWST/product/jw1_s3d.fits\n").to_pylist()[0]
    assert mast["uri"] == "mast:JWST/product/jw1_s3d.fits"
    assert mast["obs_id"] == "jw1_s3d"


def test_one_id_for_two_files_names_both_and_the_cure(tmp_path):
    with pytest.raises(
        TableError, match=r"1 obs_ids stand for more than one file each.*A for /a\.fits and /b\.fits.*where that is left out"
    ):
        observations(tmp_path, "obs_id,uri\nA,/a.fits\nA,/b.fits\nB,/b.fits\n")


def test_exact_duplicates_collapse(tmp_path):
    assert observations(tmp_path, "obs_id,uri\nB,/b.fits\nA,/a.fits\nB,/b.fits\n")["obs_id"].to_pylist() == ["A", "B"]


def test_a_second_target_on_one_file_is_not_lost_without_a_word(tmp_path):
    (tmp_path / "mine.csv").write_text("uri,target_name\na.fits,x\nb.fits,x\na.fits,x\na.fits,y\n")
    read = read_observations(tmp_path / "mine.csv")
    assert read.table["target_name"].to_pylist() == ["x", "x"]
    [told] = read.problems
    assert told.startswith("row 4 left out: the file and obs_id of an earlier row; give it an obs_id of its own")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("obs_id,filename\nA,a.fits\n", "no column says where the files are; name it `uri`.*Columns: obs_id, filename"),
        ("uri\nftp://h/a.fits\n", "ftp://h/a.fits is no address we can read"),
        ("uri,em_min\na.fits,1,2\n", "row 1 left out: it has 3 fields.*must not get lost"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, content, words):
    with pytest.raises(TableError, match=r"observations\.csv: .*" + words):
        observations(tmp_path, content)


def test_a_cell_of_another_type_costs_itself_alone(tmp_path):
    """One wrongly typed column refused the whole table once."""
    content = "uri,em_min,calib_level,s_ra\na.fits,4.9 um,3,1.5\nb.fits,5e-6,two,x\nc.fits,,2.5,2.5\n"
    (tmp_path / "t.csv").write_text(content)
    read = read_observations(tmp_path / "t.csv")
    rows = read.table.select(["em_min", "calib_level", "s_ra"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(None, 3, 1.5), (5e-6, None, None), (None, None, 2.5)]
    assert read.problems == [
        "calib_level left empty in 2 rows (rows 2-3): not a whole number, for example 'two'",
        "em_min left empty in row 1: not a number, for example '4.9 um'",
        "s_ra left empty in row 2: not a number, for example 'x'",
    ]


def test_a_column_of_another_type_costs_itself_alone(tmp_path):
    columns = {"uri": ["/a.fits", "/b.fits"], "em_max": [[1.0], [2.0]], "target_name": [1, 2], "s_region": [{"x": 1}, None]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    read = read_observations(tmp_path / "t.parquet")
    assert read.table["em_max"].to_pylist() == read.table["s_region"].to_pylist() == [None, None]
    assert read.table["target_name"].to_pylist() == ["1", "2"]
    assert [problem.partition(":")[0] for problem in read.problems] == [
        "em_max left empty in 2 rows (rows 1-2)", "s_region left empty in row 1",
    ]  # fmt: skip


def test_a_folder_of_files(tmp_path):
    for name in ("b.fits", "a.fits", "notes.txt"):
        (tmp_path / name).touch()
    table = read_observations(tmp_path).table
    assert table["obs_id"].to_pylist() == ["a", "b"]
    assert table["uri"].to_pylist() == [str(tmp_path / "a.fits"), str(tmp_path / "b.fits")]
    assert tuple(table.column_names) == OBSERVED


def test_a_folder_without_files(tmp_path):
    with pytest.raises(TableError, match=r"no FITS file"):
        read_observations(tmp_path)


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("s3://b/a/x_s3d.fits", "x_s3d"),
        ("x.y.fits.gz", "x.y"),
        ("h?uri=mast:J/x.FITS", "x"),
        ("/a/x.fz", "x"),
        ("/a/x", "x"),
        (None, ""),
    ],
)
def test_file_stems(uri, stem):
    assert file_stem(uri) == stem


# Tables that others made.


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "rows", "first"),
    [
        ("pp7_cata.tsv", 891, ("Sz65", 234.8656375, -34.7715491667)),
        ("merged_complete.csv", 446, ("J184848.10-361656.4", 282.2004555, -36.2823437)),
        ("Marton+Dunham.csv", 75, ("J184848.10-361656.4", 282.2004555, -36.2823437)),
        ("protostar_list.txt", 489, ("J180444.50-043706.0", 271.1854166667, -4.6183333333)),
        ("COSMOS_chandra.fits", 1761, ("CXOC J100036.9+022614", 150.15402, 2.43724)),
        ("multiband_phot.fits", 481, ("591483", 150.008936, 2.197367)),
        ("gaia_results.fits", 4876, ("573941431864200576", 11.830257813870675, 85.24362654908974)),
    ],
)
def test_real_tables_of_targets(real_data, name, rows, first):
    table = read_targets(real_data / "tables" / name)
    assert len(table.targets) == len({t.name for t in table.targets}) == rows
    assert (table.targets[0].name, table.targets[0].ra, table.targets[0].dec) == (first[0], *map(pytest.approx, first[1:]))
    assert all(0 <= t.ra < 360 and -90 <= t.dec <= 90 and math.isfinite(t.redshift) for t in table.targets)
    mended = ["217 rows (rows 627-843) read after removing a spreadsheet's leading '='"] if name == "pp7_cata.tsv" else []
    assert table.problems == mended


@pytest.mark.real
def test_a_real_table_whose_obs_id_is_no_id(real_data):
    with pytest.raises(TableError, match=r"987 obs_ids stand for more than one file each.*where that is left out"):
        read_observations(real_data / "tables" / "jwst_miri_mrs_s3d_5372.parquet")


@pytest.mark.real
def test_a_real_table_of_observations(real_data, tmp_path):
    rows = parquet.read_table(real_data / "tables" / "jwst_miri_mrs_s3d_5372.parquet")
    parquet.write_table(rows.drop(["obs_id"]), tmp_path / "t.parquet")
    table = read_observations(tmp_path / "t.parquet").table
    assert table.num_rows == len(set(table["obs_id"].to_pylist())) == 5372
    assert set(table["obs_id"].to_pylist()) == {name.removesuffix(".fits") for name in rows["filename"].to_pylist()}
    assert table["s_region"].null_count == 0


@pytest.mark.real
def test_a_real_folder(real_data):
    table = read_observations(real_data / "cubes").table
    assert table["obs_id"].to_pylist() == sorted(p.stem for p in (real_data / "cubes").glob("*.fits"))
