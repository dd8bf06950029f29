"""Columns as text in bulk: what comes out is what one value after the other would be."""

import math

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.model import LIMIT_TYPE, RETRY_TYPE
from raysearch.report import tables
from raysearch.report.texts import _text, flat_column, joined, number_texts

READ_AS = {".ecsv": "ascii.ecsv", ".vot": "votable"}
ODD = [0.1, 1e-300, None, math.nan, math.inf, -math.inf, -0.0, 1 / 3, 1e22, 123456789.123456789, 5e-324, 1e16, 0.0, 100.0]
TEXTS = [*("a b", '<x>&"q"\'', "α𝛼 é", "#c", "n\nl", "t\tx", "'", '""', "a,b", "nan", "True", "]]>", "&amp;", "\\")]


@pytest.mark.parametrize("ending", READ_AS)
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_numbers_come_back_as_they_were(tmp_path, ending, kind):
    column = pa.array(ODD, pa.float64()).cast(kind, safe=False)
    tables.write(pa.table({"target": TEXTS, "flux": column}), tmp_path / f"t{ending}")
    read = Table.read(tmp_path / f"t{ending}", format=READ_AS[ending])["flux"]
    assert read.dtype == kind.to_pandas_dtype()
    values, expected = np.ma.filled(read, np.nan), column.to_numpy(zero_copy_only=False)
    assert values.tobytes() == np.where(np.isnan(expected), values, expected).tobytes()  # bit for bit, the sign of 0 too
    assert np.isnan(values).tolist() == np.isnan(expected).tolist()


@pytest.mark.parametrize("ending", READ_AS)
def test_texts_whole_numbers_and_flags_come_back_as_they_were(tmp_path, ending):
    whole = [2**63 - 1, -(2**63), None] + [0] * (len(TEXTS) - 3)
    flags = [True, False, None] + [True] * (len(TEXTS) - 3)
    table = pa.table(
        {"target": TEXTS, "spaxels": pa.array(whole, pa.int64()), "extended": flags, "small": pa.array(flags).cast(pa.int8())}
    )
    tables.write(table, tmp_path / f"t{ending}")
    read = Table.read(tmp_path / f"t{ending}", format=READ_AS[ending])
    assert [str(text) for text in read["target"]] == TEXTS
    for name in ("spaxels", "extended", "small"):
        assert [None if value is np.ma.masked else value for value in read[name]] == table[name].to_pylist()


@settings(max_examples=20)
@given(st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])), min_size=1))
def test_any_words_come_back(tmp_path_factory, words):
    for ending, kind in READ_AS.items():
        path = tmp_path_factory.getbasetemp() / f"words{ending}"
        tables.write(pa.table({"target": words, "plane": list(range(len(words)))}), path)
        read = Table.read(path, format=kind)
        shown = ["" if text is np.ma.masked else str(text) for text in read["target"]]
        assert shown == [votable_text(word) if ending == ".vot" else word for word in words]
        assert list(read["plane"]) == list(range(len(words)))


def votable_text(word):
    return "".join("\ufffd" if letter in "\ufffe\uffff" else letter for letter in word)


LISTS = {
    "texts": ([["a", "b; c"], [], None, [""]], pa.list_(pa.string())),
    "numbers": ([[1, 2], [], None], pa.list_(pa.int32())),
    "missing": ([["a", None], [None]], pa.list_(pa.string())),
    "reals": ([[0.0, 1e-5], [math.nan]], pa.list_(pa.float64())),
    "retries": ([[{"host": "a", "count": 3}, {"host": "b", "count": 1}], [], None], pa.list_(RETRY_TYPE)),
    "targets": (
        [[{"name": "HL Tau", "ra": 1.0}, {"name": "", "ra": 2.0}]],
        pa.list_(pa.struct({"name": pa.string(), "ra": pa.float64()})),
    ),
    "limits": ([[dict.fromkeys(field.name for field in LIMIT_TYPE) | {"note": "n"}]], None),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("start", [0, 1])
def test_lists_are_the_same_text_whichever_way_it_is_made(name, start):
    values, kind = LISTS[name]
    column = pa.chunked_array([pa.array(values, kind), pa.array(values, kind)]).slice(start)
    expected = [None if value is None else _text(value) for value in column.to_pylist()]
    assert flat_column(column).to_pylist() == expected


def test_rows_are_joined_without_what_is_missing():
    cells = [pa.chunked_array([["a"], [None, "c"]], pa.string()), pa.chunked_array([["1", "2", "3"]])]
    assert joined(cells, "<", "|", ">\n").to_pybytes() == b"<a|1>\n<|2>\n<c|3>\n"
    assert joined([cells[0].slice(3)], "<", "|", ">\n").to_pybytes() == b""


def test_what_is_no_number_is_called_as_the_format_calls_it():
    texts = number_texts(pa.chunked_array([[math.nan, math.inf, -math.inf, 1.0, None]]), nan="NaN", infinity="+InF")
    assert texts.to_pylist() == ["NaN", "+InF", "-InF", "1", None]
