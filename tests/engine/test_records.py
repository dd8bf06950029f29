"""Schemas, and the check of a detector's records."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.engine.records import candidate_schema, candidate_table, checked, checked_limits, outcome_table
from raysearch.errors import DetectorError
from raysearch.model import OUTCOME_SCHEMA, Candidate, Limit, Line, Outcome, Window

COLUMNS = {"snr": "f4", "n": "i4"}


def test_the_common_columns_come_first() -> None:
    schema = candidate_schema({"snr": "f4", "good": "bool"}, lines=True)
    assert schema.names == ["obs_id", "target", "uri", "config_hash", "line", "rest_um", "wavelength_um", "targets", "snr", "good"]
    assert schema.field("snr").type == pa.float32()
    assert candidate_schema({}, lines=False).names == ["obs_id", "target", "uri", "config_hash"]


@pytest.mark.parametrize("name", ["obs_id", "config_hash", "wavelength_um", "targets"])
def test_common_names_are_not_free(name: str) -> None:
    with pytest.raises(DetectorError, match=f"column '{name}' has a name that raysearch gives itself"):
        candidate_schema({name: "f4"}, lines=False)


def test_an_unknown_dtype_is_named_with_the_known_ones() -> None:
    with pytest.raises(DetectorError, match="column 'snr' has dtype 'float32': choose from f4, f8, i4, i8, bool, str, bytes"):
        candidate_schema({"snr": "float32"}, lines=False)


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("f4", np.float32(1.5), 1.5),
        ("f8", 3, 3.0),
        ("f8", np.int16(3), 3.0),
        ("i4", np.int64(-(2**31)), -(2**31)),
        ("i8", 2**63 - 1, 2**63 - 1),
        ("bool", np.True_, True),
        ("str", np.str_("a"), "a"),
        ("bytes", b"\x1f\x8b\0", b"\x1f\x8b\0"),
    ],
)
def test_values_become_plain_python(dtype: str, value: object, kept: object) -> None:
    ((_, found),) = checked([Candidate("t", {"x": value})], {"x": dtype}, lines=False)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("f4", "1.0"), ("f4", True), ("f8", None), ("f8", np.ones(1)), ("i4", 1.0), ("i4", 2**31), ("i8", -(2**63) - 1), ("i8", True),
     ("bool", 1), ("str", 1), ("str", b"a")],
)  # fmt: skip
def test_nothing_is_bent_to_fit(dtype: str, value: object) -> None:
    with pytest.raises(DetectorError, match=f"record 0: column 'x' holds .* which is no '{dtype}'"):
        checked([Candidate("t", {"x": value})], {"x": dtype}, lines=False)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(width=32), st.integers(-(2**31), 2**31 - 1), st.text())))
def test_what_is_checked_comes_back(rows: list[tuple[float, int, str]]) -> None:
    columns = {"f": "f4", "i": "i4", "s": "str"}
    records = [Candidate("t", dict(zip(columns, row, strict=True))) for row in rows]
    values = checked(records, columns, lines=False)
    table = candidate_table([("o", v[0], "u", "h", *v[1:]) for v in values], candidate_schema(columns, lines=False))
    back = table.select(list(columns)).to_pydict()
    np.testing.assert_array_equal(back["f"], [row[0] for row in rows])
    assert back["i"] == [row[1] for row in rows]
    assert back["s"] == [row[2] for row in rows]


def test_the_lines_columns_are_checked_in_line_searches_only() -> None:
    record: Any = Candidate("t", {}, line="H2", rest_um="far")  # type: ignore[arg-type]
    assert checked([record], {}, lines=False) == [("t",)]
    with pytest.raises(DetectorError, match="column 'rest_um' holds 'far'"):
        checked([record], {}, lines=True)


def test_what_is_no_record_is_named() -> None:
    with pytest.raises(DetectorError, match="record 1 is dict: it must be a Candidate"):
        checked([Candidate("t", {"snr": 1.0, "n": 1}), {"snr": 1.0}], COLUMNS, lines=False)  # type: ignore[list-item]


def test_outcomes_keep_their_order_and_schema() -> None:
    table = outcome_table([Outcome("b", "failed", "why"), Outcome("a", "nothing", seconds=1.5)])
    assert table.schema == OUTCOME_SCHEMA
    assert table["obs_id"].to_pylist() == ["b", "a"]
    assert outcome_table([]).schema == OUTCOME_SCHEMA


def test_a_line_record_has_all_targets_of_its_window() -> None:
    axis, planes = np.array([1.0]), {"SCI": np.zeros((1, 1, 1), "f4")}
    windows = [Window(Line("a", 1.0), 0.0, names, 0, 0, 1, axis, planes) for names in (("near", "beside"), ("far",))]
    records = [Candidate(target, {}, "a", 1.0, 1.0) for target in ("near", "far", "somebody's own")]
    assert [row[-1] for row in checked(records, {}, lines=True, windows=windows)] == [
        ["near", "beside"],
        ["far"],
        ["somebody's own"],
    ]


@pytest.mark.parametrize(
    ("dtype", "value"), [("f4", 1e300), ("str", "\ud800"), ("bytes", "text"), ("bytes", [1]), ("str", b"text")]
)
def test_a_value_that_its_type_cannot_hold_is_named(dtype: str, value: object) -> None:
    with pytest.raises(DetectorError, match=f"is no '{dtype}'"):
        checked([Candidate("t", {"x": value})], {"x": dtype}, lines=False)


LIMIT = Limit("t", "H2", 2.12, 2.13, 3e-20, "point source")


def test_limits_and_candidates_may_come_mixed() -> None:
    records = [LIMIT, Candidate("t", {"x": 1}, "H2", 2.12, 2.13), Limit("", "a", 1.0, 1.0, float("nan"))]
    assert checked(records, {"x": "i4"}, lines=False) == [("t", 1)]
    first, second = checked_limits(records)
    assert first == LIMIT
    assert np.isnan(second.flux)


def test_a_limits_values_become_plain_python() -> None:
    [limit] = checked_limits([Limit("t", np.str_("a"), np.float32(1.5), 2, np.float64(3e-20))])
    assert [type(value) for value in (limit.line, limit.rest_um, limit.wavelength_um, limit.flux)] == [str, float, float, float]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("flux", float("inf"), "record 1: the limit's flux is infinite"),
        ("flux", "3e-20", "record 1: column 'flux' holds '3e-20' .str., which is no 'f8'"),
        ("flux", None, "column 'flux' holds None"),
        ("line", 5.34, "column 'line' holds 5.34"),
        ("rest_um", "far", "column 'rest_um'"),
        ("note", None, "column 'note'"),
    ],
)
def test_a_wrong_limit_is_told_by_name(field: str, value: Any, said: str) -> None:
    with pytest.raises(DetectorError, match=said):
        checked_limits([LIMIT, replace(LIMIT, **{field: value})])


def test_outcomes_hold_their_limits() -> None:
    table = outcome_table([Outcome("a", "nothing", limits=(LIMIT, LIMIT)), Outcome("b", "skipped", "why")])
    assert table.schema == OUTCOME_SCHEMA
    assert table["limits"].to_pylist() == [[asdict(LIMIT)] * 2, []]


@pytest.mark.parametrize("name", ["S/N", "größe", "", "2nd"])
def test_names_of_columns_fit_every_format(name: str) -> None:
    with pytest.raises(DetectorError, match="made of letters"):
        candidate_schema({name: "f4"}, lines=True)
