"""ADQL in SQLite's words: what is understood gives the right rows, and what is not is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.testing.services.adql import translate
from raysearch.testing.services.database import Database, Upload
from raysearch.testing.services.votable import columns

STARS = columns("oid BIGINT, main_id VARCHAR, ra DOUBLE, dec DOUBLE, otype VARCHAR, z DOUBLE")
ROWS = [
    {"oid": 1, "main_id": "A", "ra": 10.0, "dec": 20.0, "otype": "Y*O", "z": 0.1},
    {"oid": 2, "main_id": "B", "ra": 10.1, "dec": 20.0, "otype": "TT*", "z": None},
    {"oid": 3, "main_id": "c_", "ra": None, "dec": None, "otype": "*", "z": 0.3},
    {"oid": 4, "main_id": "it's", "ra": 359.99, "dec": -89.0, "otype": "TT?", "z": 0.2},
]


@pytest.fixture(scope="module")
def database():
    database = Database({"*": "", "Y*O": "*", "TT*": "Y*O", "TT?": "TT*"})
    database.add("basic", STARS, ROWS)
    database.add("ident", columns("id VARCHAR, oidref BIGINT"), [{"id": f"name {i}", "oidref": i} for i in (1, 1, 2)])
    shapes = [{"planeid": 1, "poly": "POLYGON ICRS 9 19 11 19 11 21 9 21"}, {"planeid": 2, "poly": "CIRCLE ICRS 10.1 20 0.05"}]
    database.add("spherex.plane", columns("planeid BIGINT, poly REGION"), shapes)
    return database


def ids(database, where, what="oid"):
    return [row[0] for row in database.answer(f"SELECT {what} FROM basic {where} ORDER BY oid", 100).rows]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("WHERE otype = 'Y*O..'", [1, 2, 4]),
        ("WHERE basic.otype='TT*..' AND ra > 11", [4]),
        ("WHERE otype = 'nope..'", []),
        ("WHERE otype IN ('TT*', '*')", [2, 3]),
        ("WHERE otype LIKE 'TT_'", [2, 4]),
        ("WHERE main_id LIKE 'C%'", []),
        ("WHERE main_id ILIKE 'C%'", [3]),
        ("WHERE main_id = 'it''s'", [4]),
        ("WHERE z IS NULL OR z BETWEEN 0.15 AND 0.25", [2, 4]),
        ("WHERE NOT (z IS NOT NULL AND z < 0.15)", [2, 3, 4]),
        ("WHERE (oid = 1 OR oid = 2) AND (ra + 1) * 2 > 22.1", [2]),
        ("WHERE oid <> 1 AND oid != 2 AND oid >= 3", [3, 4]),
        ("WHERE oid > '2'", [3, 4]),
        ('WHERE basic."oid" NOT IN (1, 2)', [3, 4]),
        ("WHERE oid IN (SELECT oidref FROM ident)", [1, 2]),
        ("WHERE EXISTS (SELECT id FROM ident WHERE oidref = oid AND id = 'name 2')", [2]),
        ("WHERE z = (SELECT MAX(z) FROM basic)", [3]),
        ("WHERE CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 20, 0.05)) = 1", [1]),
        ("WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON('', 10.05, 19.9, 10.2, 19.9, 10.2, 20.1, 10.05, 20.1))", [2]),
        ("WHERE 0 = CONTAINS(POINT('ICRS', ra, dec), BOX('ICRS', 10, 20, 0.1, 0.1))", [2, 4]),
        ("WHERE DISTANCE(POINT('ICRS', ra, dec), POINT('ICRS', 10.1, 20)) < 0.01", [2]),
        ("WHERE DISTANCE(ra, dec, 180, -89) < 2.1", [4]),
        ("WHERE -z < -0.25 -- a comment", [3]),
    ],
)
def test_conditions(database, where, expected):
    assert ids(database, f"{where}\n") == expected


def test_joins(database):
    sql = "SELECT b.main_id, i.id AS matched FROM basic AS b {} ident i ON b.oid = i.oidref ORDER BY oid, matched"
    assert database.answer(sql.format("JOIN"), 9).rows == [("A", "name 1"), ("A", "name 1"), ("B", "name 2")]
    assert len(database.answer(sql.format("LEFT OUTER JOIN"), 9).rows) == 5
    assert [c.name for c in database.answer(sql.format("JOIN"), 9).columns] == ["main_id", "matched"]
    assert len(database.answer("SELECT * FROM basic, ident", 99).rows) == 12


def test_a_polygon_column_holds_a_point(database):
    sql = "SELECT 'x' || p.planeid FROM spherex.plane p WHERE 1 = CONTAINS(POINT('ICRS', {}, {}), p.poly) ORDER BY p.planeid DESC"
    assert database.answer(sql.format(10.12, 20), 9).rows == [("x2",), ("x1",)]
    assert database.answer(sql.format(10.3, 20), 9).rows == [("x1",)]
    assert database.answer("SELECT plane.planeid FROM spherex.plane WHERE spherex.plane.planeid = 2", 9).rows == [(2,)]


def test_merged_columns(database):
    database.add("one", columns("oid BIGINT, a VARCHAR"), [{"oid": 7, "a": "x"}])
    database.add("two", columns("oid BIGINT, b VARCHAR"), [{"oid": 7, "b": "y"}])
    for join in ("one NATURAL JOIN two", "one JOIN two USING (oid)", "one NATURAL LEFT OUTER JOIN two"):
        answer = database.answer(f"SELECT * FROM {join} WHERE oid = 7", 9)
        assert ([c.name for c in answer.columns], answer.rows) == (["oid", "a", "b"], [(7, "x", "y")])
    with pytest.raises(ValueError, match="ambiguous column: oid"):
        database.answer("SELECT oid FROM one JOIN two ON a = b", 9)


def test_aggregates_and_groups(database):
    assert database.answer("SELECT COUNT(*) FROM basic", 9).rows == [(4,)]
    assert database.answer("SELECT COUNT(*) FROM basic", 9).columns[0].name == "count_all"
    assert database.answer("SELECT COUNT(z), MIN(z) AS low, MAX(oid) FROM basic", 9).rows == [(3, 0.1, 4)]
    sql = "SELECT oidref, COUNT(DISTINCT id) AS n FROM ident GROUP BY oidref HAVING COUNT(*) > 1"
    assert database.answer(sql, 9).rows == [(1, 1)]


def test_top_offset_union_and_overflow(database):
    assert database.answer("SELECT TOP 2 oid FROM basic ORDER BY z DESC", 9).rows == [(3,), (4,)]
    assert database.answer("SELECT TOP 2 oid FROM basic ORDER BY oid OFFSET 1", 9).rows == [(2,), (3,)]
    union = "SELECT TOP 1 oid FROM basic WHERE oid > 2 UNION ALL SELECT oidref FROM ident ORDER BY oid DESC"
    assert database.answer(union, 9).rows == [(3,), (2,), (1,), (1,)]
    assert len(database.answer("SELECT oidref FROM ident UNION SELECT oidref FROM ident", 9).rows) == 2
    assert database.answer("SELECT oid FROM basic", 4).overflow is False
    assert database.answer("SELECT oid FROM basic", 3).overflow is True


def test_columns_keep_their_types_under_other_names(database):
    head = database.answer("SELECT ra AS x, main_id, 2 * oid AS y FROM (SELECT * FROM basic) AS b", 9).columns
    assert [(c.name, c.kind) for c in head] == [("x", "DOUBLE"), ("main_id", "VARCHAR"), ("y", "")]


def test_pages_by_key_are_complete(database):
    seen, last = [], 0
    while rows := database.answer(f"SELECT TOP 3 oid FROM basic WHERE oid > {last} ORDER BY oid", 99).rows:
        seen += [oid for (oid,) in rows]
        last = seen[-1]
    assert seen == [1, 2, 3, 4]


def test_uploads_go_with_their_query(database):
    upload = Upload("Mine", columns("my_id VARCHAR, ra DOUBLE, dec DOUBLE"), [{"my_id": "m", "ra": 10.0, "dec": 20.0001}])
    sql = (
        "SELECT t.my_id, b.main_id, DISTANCE(POINT('ICRS', t.ra, t.dec), POINT('ICRS', b.ra, b.dec)) AS d "
        "FROM TAP_UPLOAD.mine AS t "
        "JOIN basic AS b ON 1 = CONTAINS(POINT('ICRS', b.ra, b.dec), CIRCLE('ICRS', t.ra, t.dec, 0.001))"
    )
    [(my_id, main_id, distance)] = database.answer(sql, 9, [upload]).rows
    assert (my_id, main_id) == ("m", "A")
    assert distance == pytest.approx(0.0001)
    with pytest.raises(ValueError, match="unknown table"):
        database.answer(sql, 9)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("DELETE FROM basic", "only SELECT"),
        ("SELECT * FROM nope", "unknown table: nope"),
        ("SELECT * FROM sqlite_master", "unknown table"),
        ("SELECT nope FROM basic", "unknown column: nope"),
        ('SELECT "nope" FROM basic', "unknown column"),
        ('SELECT oid FROM basic WHERE main_id = "A"', "unknown column: A"),
        ("SELECT x.oid FROM basic", "unknown column: x.oid"),
        ("SELECT oid FROM basic LIMIT 3", "syntax error at 'LIMIT'"),
        ("SELECT oid FROM basic WHERE main_id GLOB 'A*'", "expected, not 'GLOB'"),
        ("SELECT oid FROM basic WHERE RANDOM() > 1", "unknown function: RANDOM"),
        ("SELECT load_extension('x') FROM basic", "unknown function"),
        ("SELECT oid FROM basic; DROP TABLE basic", "syntax error"),
        ("SELECT oid FROM", "a name expected"),
        ("SELECT FROM basic", "a name expected"),
        ("SELECT oid", "FROM expected"),
        ("SELECT oid FROM basic WHERE", "a name expected"),
        ("SELECT oid FROM basic WHERE oid", "expected, not 'the end'"),
        ("SELECT oid FROM basic WHERE 'a' < ra", "cannot compare"),
        ("SELECT oid FROM basic WHERE main_id = 5", "cannot compare"),
        ("SELECT oid FROM basic WHERE oid IN ('a')", "cannot compare"),
        ("SELECT oid, COUNT(*) FROM basic", "must appear in GROUP BY"),
        ("SELECT oid FROM basic WHERE COUNT(*) > 1", "not allowed in WHERE"),
        ("SELECT oid FROM basic WHERE oid IN (SELECT oidref, id FROM ident)", "one column"),
        ("SELECT oid FROM basic UNION SELECT oidref, id FROM ident", "different numbers"),
        ("SELECT oid FROM basic, basic", "two tables are called"),
        ("SELECT oid FROM basic a JOIN basic b ON a.oid = b.oid", "ambiguous"),
        ("SELECT oid FROM basic WHERE 1 = CONTAINS(POINT('GALACTIC', ra, dec), CIRCLE('ICRS', 1, 2, 3))", "only ICRS"),
        ("SELECT oid FROM basic WHERE 1 = CONTAINS(CIRCLE('ICRS', ra, dec, 1), CIRCLE('ICRS', 1, 2, 3))", "only of a POINT"),
        ("SELECT oid FROM basic WHERE 1 = CONTAINS(POINT('ICRS', ra, 95), CIRCLE('ICRS', 1, 2, 3))", "outside valid interval"),
        ("SELECT oid FROM basic WHERE 1 = CONTAINS(POINT('ICRS', ra), CIRCLE('ICRS', 1, 2, 3))", "number of arguments"),
        ("SELECT AREA(CIRCLE('ICRS', 1, 2, 3)) FROM basic", "unknown function: AREA"),
        ("SELECT CAST(ra AS TIMESTAMP) FROM basic", "CAST to TIMESTAMP"),
        ("SELECT oid FROM basic WHERE main_id = 'open", "syntax error"),
        ("SELECT TOP many oid FROM basic", "whole number expected"),
        ("SELECT 1a FROM basic", "syntax error"),
    ],
)  # fmt: skip
def test_refused(database, query, reason):
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        database.answer(query, 9)
    assert len(database.answer("SELECT oid FROM basic", 9).rows) == 4


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text):
    for query in (text, f"SELECT {text} FROM basic", f"SELECT oid FROM basic WHERE {text}"):
        try:
            translate(query, {"basic": STARS})
        except ValueError:
            continue


WORDS = [
    "SELECT",
    "oid",
    "FROM",
    "basic",
    "WHERE",
    "(",
    ")",
    "=",
    "1",
    "'a'",
    ",",
    "*",
    "AND",
    "NOT",
    "IN",
    "ORDER",
    "BY",
    "COUNT",
    "UNION",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_whatever_is_understood_can_be_asked(words):
    database = Database()
    database.add("basic", STARS, ROWS)
    try:
        database.answer("SELECT oid FROM basic WHERE " + " ".join(words), 9)
    except ValueError as exc:
        assert "syntax error" not in str(exc) or "near" not in str(exc), "a syntax error of SQLite's"  # noqa: PT017
