"""TAP answers: complete, or an error that says how many rows are missing."""

import contextlib
import sqlite3

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.archives import http
from raysearch.archives.answers import Answers
from raysearch.archives.tap import MAXREC, Span, _complete, _Selection, match_upload, query, select, select_uploaded
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.testing import Faults, Holdings, LocalArchive, target_row

VOTABLE = '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
ASKED = ("SERVICE", ("id",), "t", "id > 0")


def votable(rows: list[int], status: str = "OK", late: str = "") -> str:
    cells = "".join(f"<TR><TD>{row}</TD></TR>" for row in rows)
    end = f'<INFO name="QUERY_STATUS" value="{late}"/>' if late else ""
    return (
        f'{VOTABLE}<INFO name="QUERY_STATUS" value="{status}"/><TABLE><FIELD name="id" datatype="long"/>'
        f"<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>{end}</RESOURCE></VOTABLE>"
    )


def ask(service, patience, maxrec=MAXREC):
    service_name, columns, source, condition = ASKED
    return select(service_name, service.url, columns, source, condition, maxrec=maxrec, patience=patience)


def test_rows_and_what_was_asked(serve, hasty):
    service = serve(serve.reply(votable([3, 1])), serve.reply(votable([2])))
    table, asked = ask(service, hasty)
    assert table["id"].to_pylist() == [3, 1]
    assert (asked.service, asked.url, asked.text, asked.rows) == ("SERVICE", service.url, "SELECT id FROM t WHERE id > 0", 2)
    assert asked.counted == 2
    assert [a.path for a in service.asked] == ["/sync", "/sync"]
    assert service.asked[1].form["QUERY"] == ["SELECT COUNT(*) AS n FROM t WHERE id > 0"]
    assert service.asked[0].form["MAXREC"] == ["2000000"], "without MAXREC a service cuts at its own default"


def test_no_rows(serve, hasty):
    assert ask(serve(serve.reply(votable([])), serve.reply(votable([0]))), hasty)[0].num_rows == 0


def test_overflow_at_the_limit_asked_for_is_not_silent(serve, hasty):
    # pyvo says nothing here
    service = serve(serve.reply(votable([1, 2, 3], late="OVERFLOW")), serve.reply(votable([10])))
    with pytest.raises(ArchiveError, match=r"3 of 10 rows, 7 are missing"):
        ask(service, hasty, maxrec=3)
    assert service.asked[1].form["QUERY"] == ["SELECT COUNT(*) AS n FROM t WHERE id > 0"]


def test_rows_the_service_counts_but_does_not_give_are_an_error_although_it_says_nothing(serve, hasty):
    service = serve(
        serve.reply(votable([1, 2])), serve.reply(votable([5])), serve.reply(votable([1, 2])), serve.reply(votable([5]))
    )
    with pytest.raises(ArchiveError, match=r"2 of 5 rows, 3 are missing"):
        ask(service, hasty)
    assert len(service.asked) == 4, "asked once more"


def test_rows_that_come_in_between_are_asked_for_once_more(serve, hasty):
    replies = [votable([1, 2]), votable([3]), votable([1, 2, 3]), votable([3])]
    assert ask(serve(*map(serve.reply, replies)), hasty)[0].num_rows == 3


def test_a_service_that_does_not_count_is_believed_unless_its_answer_is_cut(serve, hasty):
    refusal = f'{VOTABLE}<INFO name="QUERY_STATUS" value="ERROR">no COUNT here</INFO></RESOURCE></VOTABLE>'
    table, asked = ask(serve(serve.reply(votable([1, 2])), serve.reply(refusal, status=400)), hasty)
    assert table.num_rows == 2
    assert asked.counted is None
    with pytest.raises(ArchiveError, match="truncated answer of 1 rows, and does not say how many"):
        ask(serve(serve.reply(votable([1], late="OVERFLOW")), serve.reply(refusal, status=400)), hasty)


@pytest.mark.parametrize("body", [votable([7])[:-60], "<html>maintenance</html>", ""])
def test_a_count_that_is_lost_is_not_taken_for_none(serve, hasty, body):
    with pytest.raises(ArchiveError, match="cannot be read"):
        ask(serve(serve.reply(votable([1, 2])), serve.reply(body)), hasty)


def test_a_count_that_is_no_number_is_an_error(serve, hasty):
    words = votable([7]).replace('datatype="long"', 'datatype="char" arraysize="*"').replace(">7<", ">many<")
    for body in (words, votable([7, 8]), votable([""])):
        with pytest.raises(ArchiveError, match="gives no number"):
            ask(serve(serve.reply(votable([1, 2])), serve.reply(body)), hasty)


def test_overflow_at_the_services_own_limit(serve, hasty):
    service = serve(serve.reply(votable([1, 2], late="OVERFLOW")), serve.reply(votable([5])))
    with pytest.raises(ArchiveError, match=r"2 of 5 rows, 3 are missing"):
        ask(service, hasty)


def test_as_many_rows_as_the_limit_are_counted(serve, hasty):
    with pytest.raises(ArchiveError, match="1 are missing"):
        ask(serve(serve.reply(votable([1, 2])), serve.reply(votable([3]))), hasty, maxrec=2)
    table, _ = ask(serve(serve.reply(votable([1, 2])), serve.reply(votable([2]))), hasty, maxrec=2)
    assert table.num_rows == 2


def test_an_overflow_that_cannot_be_counted_is_an_error(serve, hasty):
    with pytest.raises(ArchiveError, match="does not say how many"):
        ask(serve(serve.reply(votable([1], late="OVERFLOW")), serve.reply(votable([]))), hasty)


def test_a_refused_query_shows_the_services_words_and_the_query(serve, hasty):
    refusal = f'{VOTABLE}<INFO name="QUERY_STATUS" value="ERROR">Unknown column idd</INFO></RESOURCE></VOTABLE>'
    with pytest.raises(ArchiveError, match=r"(?s)SERVICE refused the query.*Unknown column idd.*SELECT id FROM t"):
        ask(serve(serve.reply(refusal, status=400)), hasty)


@pytest.mark.parametrize("body", [votable([1, 2, 3])[:300], "<html><body>maintenance</body></html>", ""])
def test_what_is_no_votable_is_an_error_not_an_empty_table(serve, hasty, body):
    with pytest.raises(ArchiveError, match="right address"):
        ask(serve(serve.reply(body)), hasty)


def test_a_wrong_address(serve, hasty):
    with pytest.raises(ArchiveError, match="404"):
        ask(serve(serve.reply("<html>nothing here</html>", status=404)), hasty)


@pytest.mark.parametrize("manner", ["hang", "half"])
def test_a_service_that_does_not_answer(serve, impatient, manner):
    service = serve(serve.reply(votable([1] * 100), manner=manner))
    with pytest.raises(ArchiveUnavailable, match="SERVICE gave no answer after 3 requests"):
        ask(service, impatient)


def test_overload_passes(serve, hasty):
    assert (
        ask(serve(serve.reply("<html>", status=503), serve.reply(votable([1])), serve.reply(votable([1]))), hasty)[0].num_rows == 1
    )


# What is cut is fetched on. The local archive speaks TAP over HTTP; its limit is a switch.

NAMES = {f"star {i:02d}": (f"HD {i}", f"HIP {i}") for i in range(20)}


@pytest.fixture(scope="module")
def archive():
    stars = [target_row(name, i * 18.0 + 0.5, i - 10.0, ids=ids) for i, (name, ids) in enumerate(NAMES.items())]
    with LocalArchive(Holdings(targets=tuple(stars))) as running:
        yield running


@pytest.fixture
def simbad(archive, monkeypatch):
    """The address of SIMBAD's stand-in, sound, and asked as fast as it goes."""
    monkeypatch.setitem(http.QUOTAS, "S", http.Quota(4))
    archive.reset()
    return archive.services["simbad"]


@pytest.mark.parametrize("limit", [2, 3, 7, 19, 20, 21])
@pytest.mark.parametrize("condition", ["", "dec > -100 OR dec < -100"])
def test_every_page_is_read_in_the_order_of_the_key(archive, simbad, limit, condition):
    archive.set_faults(Faults(simbad_limit=limit))
    table, asked = select("S", simbad, ["main_id"], "basic", condition, key="oid")
    assert table["main_id"].to_pylist() == list(NAMES)
    assert (asked.rows, asked.counted) == (20, 20)
    assert asked.text.endswith("ORDER BY oid")


def test_a_limit_of_ours_is_no_limit_to_the_answer(archive, simbad):
    table, _ = select("S", simbad, ["oid"], "basic", key="oid", maxrec=6)
    assert table["oid"].to_pylist() == list(range(1, 21))


@pytest.mark.parametrize("limit", [4, 5, 7])
def test_rows_that_share_a_key_are_not_parted_at_a_page(archive, simbad, limit):
    archive.set_faults(Faults(simbad_limit=limit))
    table, _ = select("S", simbad, ["ident.id", "basic.oid"], "basic JOIN ident ON basic.oid = ident.oidref", key="basic.oid")
    assert sorted(table["id"].to_pylist()) == sorted([*NAMES, *(name for ids in NAMES.values() for name in ids)])


def test_a_key_shared_by_more_rows_than_a_page_holds_is_an_error(archive, simbad):
    archive.set_faults(Faults(simbad_limit=3))
    with pytest.raises(ArchiveError, match=r"gives 3 rows at once, and cannot be asked on from basic.oid = 1"):
        select("S", simbad, ["ident.id", "basic.oid"], "basic JOIN ident ON basic.oid = ident.oidref", key="basic.oid")


def test_texts_are_keys_too(archive, simbad):
    archive.set_faults(Faults(simbad_limit=3))
    table, _ = select("S", simbad, ["main_id"], "basic", key="main_id")
    assert table["main_id"].to_pylist() == list(NAMES)


@pytest.mark.parametrize("limit", [2, 5, 19])
def test_without_a_key_a_range_is_asked_in_parts(archive, simbad, limit):
    archive.set_faults(Faults(simbad_limit=limit))
    table, asked = select("S", simbad, ["main_id"], "basic", span=Span("ra", 0.0, 360.0))
    assert sorted(table["main_id"].to_pylist()) == list(NAMES)
    assert asked.counted == 20


def test_rows_at_the_ends_of_parts_come_once(archive, simbad):
    archive.set_faults(Faults(simbad_limit=5))
    table, _ = select("S", simbad, ["main_id"], "basic", span=Span("oid", 0.0, 20.0))
    assert sorted(table["main_id"].to_pylist()) == list(NAMES)


def test_rows_outside_the_range_are_missed_aloud(archive, simbad):
    archive.set_faults(Faults(simbad_limit=7))
    with pytest.raises(ArchiveError, match=r"gave 10 of 20 rows, 10 are missing"):
        select("S", simbad, ["main_id"], "basic", span=Span("ra", 0.0, 180.0))


def test_a_range_of_one_value_cannot_be_parted(archive, simbad):
    archive.set_faults(Faults(simbad_limit=2))
    source = "basic JOIN ident ON basic.oid = ident.oidref"
    with pytest.raises(ArchiveError, match=r"2 rows at once, and more lie at basic\.oid = "):
        select("S", simbad, ["ident.id"], source, span=Span("basic.oid", 1.0, 20.0))


def test_a_whole_query_is_asked_as_it_is_written(archive, simbad):
    adql = "SELECT TOP 3 main_id, ra FROM basic ORDER BY ra DESC ;\n"
    table, asked = query("S", simbad, adql)
    assert table["main_id"].to_pylist() == ["star 19", "star 18", "star 17"]
    assert asked.text == "SELECT TOP 3 main_id, ra FROM basic ORDER BY ra DESC"


def test_a_whole_query_that_is_cut_is_read_on_by_its_key_or_is_an_error(archive, simbad):
    archive.set_faults(Faults(simbad_limit=6))
    with pytest.raises(ArchiveError, match=r"gave 6 of 20 rows"):
        query("S", simbad, "SELECT oid, main_id FROM basic")
    table, _ = query("S", simbad, "SELECT oid, main_id FROM basic", key="oid")
    assert table["main_id"].to_pylist() == list(NAMES)


def test_positions_are_matched_by_the_service_chunk_by_chunk(archive, simbad):
    positions = [(i * 18.0 + 0.5, i - 10.0) for i in (3, 17)] + [(0.0, 89.0)] + [(5 * 18.0 + 0.5001, -5.0), (54.5, -7.0)]
    for chunk, limit in ((200_000, None), (2, None), (200_000, 3)):
        archive.set_faults(Faults(simbad_limit=limit))
        table, queries = match_upload("S", simbad, ["main_id", "oid"], "basic", positions, 0.01, chunk=chunk)
        rows = sorted(zip(table["uploaded"].to_pylist(), table["main_id"].to_pylist(), strict=True))
        assert rows == [(0, "star 03"), (1, "star 17"), (3, "star 05"), (4, "star 03")]
        assert len(queries) == (1 if chunk > 5 else 3)
        assert sum(q.rows for q in queries) == sum(q.counted for q in queries) == 4
    assert "CONTAINS(POINT('ICRS', basic.ra, basic.dec), CIRCLE('ICRS', mine.mine_ra, mine.mine_dec, 0.01))" in queries[0].text


def test_no_rows_to_upload_find_nothing(archive, simbad):
    table, _ = match_upload("S", simbad, ["main_id"], "basic", [], 0.01)
    assert table.num_rows == 0
    assert table.column_names == ["uploaded", "main_id"]


def test_answers_are_kept_by_what_is_uploaded(archive, simbad, tmp_path):
    kept = Answers(tmp_path)
    for expected in (1, 1, 2):
        mine = pa.table({"wanted": pa.array([5] if expected == 1 else [5, 6], pa.int64())})
        source = "TAP_UPLOAD.mine AS mine JOIN basic ON basic.oid = mine.wanted"
        table, queries = select_uploaded("S", simbad, ["basic.main_id"], source, mine, answers=kept)
        assert table["main_id"].to_pylist() == ["star 04", "star 05"][:expected]
    assert [bool(q.reused) for q in queries] == [False]
    assert sum(request.path.endswith("/sync") for request in archive.log()) == 4, "two questions, each with its count"


def test_what_is_kept_is_whole(archive, simbad, tmp_path):
    archive.set_faults(Faults(simbad_limit=6))
    with pytest.raises(ArchiveError, match="6 of 20"):
        select("S", simbad, ["oid"], "basic", answers=Answers(tmp_path))
    assert list(tmp_path.iterdir()) == []
    whole, _ = select("S", simbad, ["oid"], "basic", key="oid", answers=Answers(tmp_path))
    archive.set_faults(Faults(simbad="503"))
    again, asked = select("S", simbad, ["oid"], "basic", key="oid", answers=Answers(tmp_path, "offline"))
    assert again.equals(whole)
    assert asked.reused


def test_a_slow_service_is_waited_for_aloud(archive, simbad, told):
    archive.set_faults(Faults(delay=(1.0, 1.0)))
    with http.on_waiting(told):
        select("S", simbad, ["oid"], "basic", key="oid")
    assert told.lines[0].startswith("waiting for S's answer to SELECT oid FROM basic ORDER BY oid, ")


class Rows:
    """A service of one table that gives a few rows at a time: SQLite behind the wire's two methods."""

    service = "S"

    def __init__(self, keys, limit, collate=""):
        self.limit = limit
        self.base = sqlite3.connect(":memory:")
        kind = "TEXT" if any(isinstance(key, str) for key in keys) else "INTEGER"
        self.type = pa.string() if kind == "TEXT" else pa.int64()
        self.base.execute(f"CREATE TABLE t (k {kind} {collate}, n INTEGER)")
        self.base.executemany("INSERT INTO t VALUES (?, ?)", [(key, n) for n, key in enumerate(keys)])

    def rows(self, adql):
        rows = self.base.execute(adql).fetchmany(self.limit + 1)
        keys, numbers = pa.array([r[0] for r in rows], self.type), pa.array([r[1] for r in rows], pa.int64())
        return pa.table({"k": keys, "n": numbers}).slice(0, self.limit), len(rows) > self.limit

    def count(self, adql):
        return self.base.execute(adql).fetchone()[0]


@settings(max_examples=300, deadline=None)
@given(
    keys=st.one_of(
        st.lists(st.one_of(st.none(), st.integers(-5, 60)), max_size=60),
        st.lists(st.sampled_from(["a", "A", "a'", "b", "B", "B ", "c", "C", "d"]), max_size=20),
    ),
    limit=st.integers(1, 8),
    collate=st.sampled_from(["", "COLLATE NOCASE"]),
)
def test_pages_hold_every_row_once_or_are_an_error(keys, limit, collate):
    wire = Rows(keys, limit, collate)
    shared = [key.lower().rstrip() if isinstance(key, str) else key for key in keys]
    if limit <= max(map(shared.count, shared), default=0):
        # it may be impossible: that is an error, and not a table with a gap
        with contextlib.suppress(ArchiveError):
            assert _complete(wire, _Selection(("k", "n"), "t", key="k"))[0].num_rows == len(keys)
        return
    table, counted = _complete(wire, _Selection(("k", "n"), "t", key="k"))
    assert counted == len(keys)
    assert sorted(table["n"].to_pylist()) == list(range(len(keys)))
    assert all(keys[n] == key for key, n in zip(table["k"].to_pylist(), table["n"].to_pylist(), strict=True))


class Unsorted(Rows):
    """A service that pays no heed to ORDER BY, and counts or does not."""

    def __init__(self, keys, limit, order, counts):
        super().__init__(keys, limit)
        self.order = order
        self.counts = counts

    def rows(self, adql):
        return super().rows(adql.partition(" ORDER BY ")[0] + f" ORDER BY {self.order}")

    def count(self, adql):
        return super().count(adql) if self.counts else None


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("order", ["k DESC", "n", "(n * 13) % 20"])
@pytest.mark.parametrize("text", [False, True])
def test_a_service_that_does_not_sort_is_found_out(order, counts, text):
    keys = [f"{(7 * n) % 20:02d}" if text else (7 * n) % 20 for n in range(20)]
    with pytest.raises(ArchiveError, match=r"does not sort|cannot be asked on"):
        _complete(Unsorted(keys, 7, order, counts), _Selection(("k", "n"), "t", key="k"))


def test_a_page_out_of_order_leaves_no_gap_behind():
    keys = [3, 0, 5, 2, 9, 8, 10, 1, 4, 6, 7, *range(11, 20)]
    with pytest.raises(ArchiveError, match="does not sort by k, and so cannot be read on"):
        _complete(Unsorted(keys, 7, "n", counts=False), _Selection(("k", "n"), "t", key="k"))
