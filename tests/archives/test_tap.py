"""TAP answers: complete, or an error that says how many rows are missing."""

import pytest

from raysearch.archives.tap import MAXREC, select
from raysearch.errors import ArchiveError, ArchiveUnavailable

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
    service = serve(serve.reply(votable([3, 1])))
    table, query = ask(service, hasty)
    assert table["id"].to_pylist() == [3, 1]
    assert (query.service, query.url, query.text, query.rows) == ("SERVICE", service.url, "SELECT id FROM t WHERE id > 0", 2)
    assert len(service.asked) == 1
    assert service.asked[0].path == "/sync"
    assert service.asked[0].form["MAXREC"] == ["2000000"], "without MAXREC a service cuts at its own default"


def test_no_rows(serve, hasty):
    assert ask(serve(serve.reply(votable([]))), hasty)[0].num_rows == 0


def test_overflow_at_the_limit_asked_for_is_not_silent(serve, hasty):
    # pyvo says nothing here
    service = serve(serve.reply(votable([1, 2, 3], late="OVERFLOW")), serve.reply(votable([10])))
    with pytest.raises(ArchiveError, match=r"3 of 10 rows, 7 are missing"):
        ask(service, hasty, maxrec=3)
    assert service.asked[1].form["QUERY"] == ["SELECT COUNT(*) AS n FROM t WHERE id > 0"]


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
def test_a_service_that_does_not_answer(serve, hasty, manner):
    service = serve(serve.reply(votable([1] * 100), manner=manner))
    with pytest.raises(ArchiveUnavailable, match="SERVICE gave no answer after 3 requests"):
        ask(service, hasty)


def test_overload_passes(serve, hasty):
    assert ask(serve(serve.reply("<html>", status=503), serve.reply(votable([1]))), hasty)[0].num_rows == 1
