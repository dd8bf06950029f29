"""What pyvo's clients have in common."""

import warnings

import pytest
from vo_answers import recorded, votable

from raysearch.archives.http import open_session
from raysearch.archives.vo import asking_capabilities, is_cut, pyvo_errors, quiet, table_of
from raysearch.errors import ArchiveError, ArchiveUnavailable


def results_of(text):
    import io

    from astropy.io.votable import parse
    from pyvo.dal import DALResults

    with quiet():
        return DALResults(parse(io.BytesIO(text.encode())))


def test_the_filters_of_warnings_are_left_as_they_were():
    before = list(warnings.filters)
    with quiet():
        assert warnings.filters != before
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("status", "maxrec", "cut"), [("OK", 3, False), ("OK", 2, True), ("OVERFLOW", 3, True), ("overflow", 9, True)]
)
def test_an_answer_is_cut_where_it_says_so_or_is_as_long_as_was_asked(status, maxrec, cut):
    assert is_cut(results_of(votable([{"obs_id": "a"}, {"obs_id": "b"}], status=status)), maxrec) is cut


def test_a_real_answer_that_is_cut():
    assert is_cut(results_of(recorded("dal", "tests", "data", "query", "overflowstatus.xml")), 10**6)


@pytest.mark.parametrize("name", ["basic", "rootinfo", "tableinfo", "firstresource"])
def test_real_answers_with_their_status_in_odd_places(name):
    results = results_of(recorded("dal", "tests", "data", "query", f"{name}.xml"))
    assert not is_cut(results, 10**6)
    assert table_of("TAP", results).num_rows == len(results)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("errorstatus", "refused the query"),
        ("missingtable", "cannot be read"),
        ("missingcolumns", "cannot be read"),
        ("missingresource", "cannot be read"),
    ],
)
def test_real_answers_that_are_none(name, words):
    with pytest.raises(ArchiveError, match=words), pyvo_errors("TAP", "https://archive.org/tap"):
        results_of(recorded("dal", "tests", "data", "query", f"{name}.xml"))


def test_a_silent_service_stays_silent_where_pyvo_asks_its_capabilities(serve, hasty):
    from pyvo.dal import SIA2Service

    service = serve(serve.reply(status=503))
    with open_session("SIA2", hasty) as session:
        own_send = session.send
        with pytest.raises(ArchiveUnavailable, match="HTTP status 503"), asking_capabilities("SIA2", service.url, session):
            SIA2Service(service.url, session=session)
        assert session.send == own_send
