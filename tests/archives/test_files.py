"""Table files of every kind, whole and broken."""

import contextlib
import gzip

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from pyarrow import feather, parquet

from raysearch.archives import files
from raysearch.archives.files import load, rows_told
from raysearch.errors import TableError

ROWS = {"name": ["a", "b", "c"], "ra": [1.5, 2.5, 3.5], "n": [1, 2, 3]}


def text(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(path)


@pytest.mark.parametrize("ending", ["ecsv", "vot", "xml", "fits", "fits.gz", "parquet", "pq", "arrow", "feather", "stream.arrow"])
def test_every_binary_and_typed_format_gives_the_same(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    kind = ending.split(".")[0]
    if kind in {"ecsv", "vot", "xml", "fits"}:
        Table(ROWS, units={"ra": "deg"}).write(path, format={"ecsv": "ascii.ecsv", "fits": "fits"}.get(kind, "votable"))
    elif kind in {"parquet", "pq"}:
        parquet.write_table(pa.table(ROWS), path)
    elif kind == "feather":
        feather.write_feather(pa.table(ROWS), path)
    else:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as out, new(out, pa.table(ROWS).schema) as writer:
            writer.write_table(pa.table(ROWS))
    sheet = load(path)
    assert sheet.data.to_pydict() == ROWS
    assert sheet.numbers.tolist() == [1, 2, 3]
    assert sheet.units == ({"ra": "deg"} if kind in {"ecsv", "vot", "xml", "fits"} else {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "name,ra,n\na,1.5,1\nb,2.5,2\n"),
        ("t.csv", "name;ra;n\na;1.5;1\nb;2.5;2\n"),
        ("t.csv", "\ufeffname,ra,n\r\na,1.5,1\r\nb,2.5,2\r\n"),
        ("t.csv", "# made by hand\n\nname,ra,n\na,1.5,1\n\nb,2.5,2"),
        ("t.csv", '"name","ra","n"\n"a","1.5","1"\n"b","2.5","2"\n'),
        ("t.tsv", "name\tra\tn\na\t1.5\t1\nb\t2.5\t2\n"),
        ("t.txt", "name ra n\na 1.5 1\nb 2.5 2\n"),
        ("t.dat", "  name   ra    n\n  a   1.5  1\n  b   2.5  2  \n"),
        ("t.txt", "name|ra|n\na|1.5|1\nb|2.5|2\n"),
    ],
)
def test_text_in_its_many_forms(tmp_path, name, content):
    assert text(tmp_path, content, name).data.to_pydict() == {"name": ["a", "b"], "ra": ["1.5", "2.5"], "n": ["1", "2"]}


def test_text_without_a_header_is_ra_and_dec(tmp_path):
    expected = {"ra": ["2.7e+02", "1.0"], "dec": ["-4.6e+00", "2.0"]}
    assert text(tmp_path, "2.7e+02 -4.6e+00\n1.0 2.0\n", "t.txt").data.to_pydict() == expected
    assert text(tmp_path, "2.7e+02,-4.6e+00\n1.0,2.0\n").data.to_pydict() == expected


def test_a_comment_may_be_the_header(tmp_path):
    assert text(tmp_path, "# id ra dec\n7 1.0 2.0\n", "t.txt").data.to_pydict() == {"id": ["7"], "ra": ["1.0"], "dec": ["2.0"]}


def test_numbers_without_names_are_not_guessed(tmp_path):
    with pytest.raises(TableError, match="no line of column names, and 3 columns"):
        text(tmp_path, "1 2 3\n4 5 6\n", "t.txt")


def test_missing_values_are_null(tmp_path):
    assert text(tmp_path, "a,b\n,nan\nNULL,--\n").data.to_pydict() == {"a": [None, None], "b": [None, None]}


def test_names_are_made_unique(tmp_path):
    assert text(tmp_path, ",x,x,\n1,2,3,4\n").data.column_names == ["column 1", "x 2", "x 3", "column 4"]


def test_rows_of_another_length_are_set_aside_and_numbered(tmp_path):
    sheet = text(tmp_path, "a,b\n1,2\n3\n4,5\n6,7,8\n9,10\n")
    assert sheet.data.to_pydict() == {"a": ["1", "4", "9"], "b": ["2", "5", "10"]}
    assert sheet.numbers.tolist() == [1, 3, 5]
    assert sheet.problems == ["row 2 left out: it has 1 fields, not 2", "row 4 left out: it has 3 fields, not 2"]


def test_quoted_text_may_hold_delimiters_and_line_ends(tmp_path):
    sheet = text(tmp_path, 'name,ra\n"A, the\nfirst",1\nB,2\n')
    assert sheet.data["name"].to_pylist() == ["A, the\nfirst", "B"]
    assert sheet.numbers.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "kept", "lost"),
    [
        (['"A,1', "B,2", "C,3"], ["B", "C"], [1]),  # up to the end of the file
        (['"A,1', "B,2", '"C",3', "D,4"], ["B", "C", "D"], [1]),  # up to the next quote
        (["A,1", '"B,2', "C,3", '"D"",4', "E,5"], ["A", "C", "E"], [2, 4]),
        (["A,1", 'B,"2', "", "C,3"], ["A", "C"], [2]),
        (['"A ""1""",1', "B,2"], ['A "1"', "B"], []),
        (['5" north,1', "B,2"], ['5" north', "B"], []),
        (['"A, the', 'first",1', '"B', "", 'and more",2', "C,3"], ["A, the\nfirst", "B\n\nand more", "C"], []),
    ],
)
def test_a_quote_that_is_not_closed_swallows_no_other_row(tmp_path, rows, kept, lost):
    """It took all rows up to the next quote into its field, and said nothing."""
    sheet = text(tmp_path, "\n".join(["name,ra", *rows, ""]))
    assert sheet.data["name"].to_pylist() == kept
    assert sheet.problems == [f"row {row} left out: a quote is opened there and not closed" for row in lost]
    assert sheet.numbers.tolist() == [n for n in range(1, len(kept) + len(lost) + 1) if n not in lost]


def test_rows_are_numbered_as_in_the_file_whatever_is_left_out(tmp_path):
    sheet = text(tmp_path, 'name,ra\n"A,1\nB\nC,3\n"D,4\nE,5,6\nF,6\n')
    assert sheet.numbers.tolist() == [3, 6]
    assert sheet.problems == [
        "row 1 left out: a quote is opened there and not closed",
        "row 4 left out: a quote is opened there and not closed",
        "row 2 left out: it has 1 fields, not 2",
        "row 5 left out: it has 3 fields, not 2",
    ]


@pytest.mark.parametrize("content", ["name,ra\n", "name,ra", "name,ra\n\n\n", "name\tra\n"])
def test_column_names_alone_are_told_as_such(tmp_path, content):
    with pytest.raises(TableError, match=r"line of column names \(name, ra\) and no rows beneath"):
        text(tmp_path, content)


def test_rows_that_are_all_damaged_leave_an_empty_sheet(tmp_path):
    sheet = text(tmp_path, 'name,ra\n"A,1\n')
    assert sheet.data.num_rows == 0
    assert len(sheet.problems) == 1


def test_latin_letters(tmp_path):
    assert text(tmp_path, "name,ra\nÅngström,1\n".encode("latin-1")).data["name"].to_pylist() == ["Ångström"]


def test_ecsv_by_another_name(tmp_path):
    path = tmp_path / "t.csv"
    Table(ROWS, units={"ra": "hourangle"}).write(path, format="ascii.ecsv")
    assert load(path).units == {"ra": "hourangle"}


def test_masked_and_missing_values_of_fits(tmp_path):
    table = Table({"ra": np.array([1.0, np.nan], ">f8"), "n": np.array([1, 2], ">i4"), "spec": np.ones((2, 3)), "s": ["x", ""]})
    table.write(tmp_path / "t.fits")
    data = load(tmp_path / "t.fits").data
    assert data["ra"].to_pylist() == [1.0, None]
    assert data["n"].to_pylist() == [1, 2]
    assert data["spec"].to_pylist() == [[1.0] * 3] * 2


def test_a_unit_off_the_standard_does_not_warn(tmp_path):
    from astropy.io import fits

    column = fits.Column("ra", "D", unit="DEGREE", array=np.array([1.0]))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "t.fits")
    assert load(tmp_path / "t.fits").units == {"ra": "DEGREE"}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.ecsv", "t.vot", "t.fits", "t.parquet", "t.arrow"])
@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 a picture", b"# only a comment\n"], ids=["empty", "jpeg", "comment"])
def test_what_is_no_table_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=name):
        load(tmp_path / name)


def test_no_such_file_and_no_such_kind(tmp_path):
    with pytest.raises(TableError, match="there is no such file"):
        load(tmp_path / "t.csv")
    with pytest.raises(TableError, match=r"must end in one of \.csv"):
        load(tmp_path / "t.xlsx")


def test_rows_are_told_in_runs():
    assert rows_told([3]) == "row 3"
    assert rows_told([3, 4, 5, 9]) == "rows 3-5, 9"
    assert rows_told(list(range(0, 200, 2))).endswith("56, 58, and more")


def test_a_packed_table_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_UNPACKED", 100_000)
    with pytest.raises(TableError, match="unpacks to more than 100,000 bytes"):
        text(tmp_path, gzip.compress(bytes(10_000_000)), "t.fits.gz")


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: packed[:40] + b"\xff" * 40 + packed[80:]])
def test_a_packed_table_that_is_damaged_is_refused(tmp_path, damage):
    Table(ROWS).write(tmp_path / "t.fits")
    with pytest.raises(TableError, match="cannot be read"):
        text(tmp_path, damage(gzip.compress((tmp_path / "t.fits").read_bytes())), "u.fits.gz")


def test_a_packed_table_takes_no_more_memory_than_it_needs(tmp_path, monkeypatch):
    Table(ROWS).write(tmp_path / "t.fits.gz")
    unpack, asked = gzip.GzipFile.read, []
    monkeypatch.setattr(gzip.GzipFile, "read", lambda file, size=-1: asked.append(size) or unpack(file, size))
    assert load(tmp_path / "t.fits.gz").data.num_rows == 3
    assert 0 < max(asked) <= files.PIECE


@pytest.mark.parametrize("ending", ["arrow", "stream.arrow", "parquet"])
def test_texts_that_are_none_are_an_error_of_ours(tmp_path, ending):
    bad = pa.Array.from_buffers(pa.string(), 1, [*pa.array(["ab"]).buffers()[:2], pa.py_buffer(b"\xff\xfe")])
    table = pa.table({"name": bad})
    if ending == "parquet":
        parquet.write_table(table, tmp_path / "t.parquet")
    else:
        new = pa.ipc.new_stream if ending == "stream.arrow" else pa.ipc.new_file
        with pa.OSFile(str(tmp_path / f"t.{ending}"), "wb") as out, new(out, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(TableError, match=r"cannot be read as .*UTF8"):
        load(tmp_path / f"t.{ending}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TFORM1  = '1A", "TFORM1  = 'PSF"),
        ("TTYPE2  = 'ra      '", "TTYPE2  =         255 "),
        ("COMMENT a comment", "COMMENT {: no YAM"),
    ],
)
def test_a_fits_table_whose_columns_are_described_wrongly_is_an_error_of_ours(tmp_path, old, new):
    table = Table({"name": ["a"], "ra": [1.5]})
    table.meta["comments"] = ["--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "a comment", "--END-ASTROPY-SERIALIZED-COLUMNS--"]
    table.write(tmp_path / "t.fits")
    content = (tmp_path / "t.fits").read_bytes()
    assert content.count(old.encode()) == 1
    with pytest.raises(TableError, match=r"t\.fits: the description of its columns is damaged"):
        text(tmp_path, content.replace(old.encode(), new.ljust(len(old)).encode()[: len(old)]), "t.fits")


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
@pytest.mark.parametrize("keyword", ["NAXIS", "TFIELDS"])
def test_a_fits_table_that_promises_endless_axes_or_columns_is_refused(tmp_path, keyword, ending):
    Table(ROWS).write(tmp_path / "t.fits")
    content = (tmp_path / "t.fits").read_bytes()
    at = content.index(f"{keyword:<8}=".encode(), 2880)
    changed = content[:at] + f"{keyword:<8}= {2**53:>20}".ljust(80).encode() + content[at + 80 :]
    with pytest.raises(TableError, match=f"a header says {keyword} = {2**53}: it is damaged"):
        text(tmp_path, gzip.compress(changed) if ending == "fits.gz" else changed, f"u.{ending}")


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_a_fits_table_whose_header_does_not_end_is_refused(tmp_path, ending):
    content = b"SIMPLE  =                    T".ljust(80) + b"COMMENT".ljust(80) * 40_000
    with pytest.raises(TableError, match="the header at byte 0 has no END within 1,048,576 bytes: it is damaged"):
        text(tmp_path, gzip.compress(content) if ending == "fits.gz" else content, f"u.{ending}")


def test_a_packed_table_is_one_whatever_its_name(tmp_path, monkeypatch):
    Table(ROWS).write(tmp_path / "t.fits")
    packed = gzip.compress((tmp_path / "t.fits").read_bytes())
    assert text(tmp_path, packed, "u.fits").data.num_rows == 3
    monkeypatch.setattr(files, "LARGEST_UNPACKED", 1000)
    with pytest.raises(TableError, match="unpacks to more than 1,000 bytes"):
        text(tmp_path, packed, "u.fits")


def test_a_votable_with_a_nameless_field_is_an_error_of_ours(tmp_path):
    document = (
        '<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD datatype="double"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA>'
        "</TABLE></RESOURCE></VOTABLE>"
    )
    with pytest.raises(TableError, match=r"cannot be read as \.vot"):
        text(tmp_path, document, "t.vot")


def test_a_votable_whose_entities_multiply_is_refused(tmp_path):
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    document = f'<!DOCTYPE VOTABLE [<!ENTITY e0 "ha">{levels}]><VOTABLE version="1.4"><DESCRIPTION>&e11;</DESCRIPTION></VOTABLE>'
    with pytest.raises(TableError, match=r"cannot be read as \.vot"):
        text(tmp_path, document, "t.vot")


def test_a_votable_that_names_a_file_as_an_entity_does_not_read_it(tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    document = (
        f'<!DOCTYPE VOTABLE [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]><VOTABLE version="1.4"><RESOURCE><TABLE>'
        '<FIELD name="a" datatype="char" arraysize="*"/><DATA><TABLEDATA><TR><TD>&s;</TD></TR></TABLEDATA></DATA></TABLE>'
        "</RESOURCE></VOTABLE>"
    )
    with contextlib.suppress(TableError):
        assert "hunter2" not in str(text(tmp_path, document, "t.vot").data.to_pydict())
