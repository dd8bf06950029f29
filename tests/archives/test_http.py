"""Requests that never hang, retries that stay polite, and failures that say who and where."""

import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from raysearch.archives.http import Patience, _retry_after_s, open_session, translated
from raysearch.errors import ArchiveError, ArchiveUnavailable


def test_a_sound_answer_needs_one_request(serve, hasty):
    service = serve(serve.reply("hello"))
    with open_session("X", hasty) as session:
        assert session.get(service.url).text == "hello"
    assert len(service.asked) == 1
    assert service.asked[0].headers["User-Agent"].startswith("raysearch/")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_overload_is_asked_again(serve, hasty, status):
    service = serve(serve.reply(status=status), serve.reply(status=status), serve.reply("hello"))
    with open_session("X", hasty) as session:
        assert session.get(service.url).text == "hello"
    assert len(service.asked) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 414])
def test_a_refusal_is_not_asked_again(serve, hasty, status):
    service = serve(serve.reply("no", status=status))
    with open_session("X", hasty) as session:
        assert session.get(service.url).status_code == status
    assert len(service.asked) == 1


def test_lasting_overload_names_service_address_and_status(serve, hasty):
    service = serve(serve.reply(status=503))
    with open_session("SIMBAD", hasty) as session, pytest.raises(ArchiveUnavailable) as failure:
        session.post(service.url + "/sync", data={"a": 1})
    assert len(service.asked) == 3
    for part in ("SIMBAD", service.url + "/sync", "503", "3 requests"):
        assert part in str(failure.value)
    assert failure.value.transient


def test_a_hung_server_does_not_hang_us(serve, hasty):
    service = serve(serve.reply(manner="hang"))
    started = time.monotonic()
    with open_session("X", hasty) as session, pytest.raises(ArchiveUnavailable, match="timed out"):
        session.get(service.url)
    assert time.monotonic() - started < 3 * hasty.read_s + 2
    assert len(service.asked) == 3


def test_the_clients_own_absence_of_a_timeout_gives_way_to_ours(serve, hasty):
    service = serve(serve.reply(manner="hang"))
    with open_session("X", hasty) as session, pytest.raises(ArchiveUnavailable):
        session.get(service.url, timeout=None, stream=True)


def test_a_body_that_drips_ends_at_the_deadline(serve, hasty):
    # every byte comes within the read time-out, the whole would take 200 s
    service = serve(serve.reply("x" * 10_000, manner="drip"))
    with open_session("X", replace(hasty, total_s=0.6)) as session, pytest.raises(ArchiveUnavailable, match="not complete in time"):
        session.get(service.url, stream=True)


def test_half_an_answer_is_asked_again(serve, hasty):
    service = serve(serve.reply("x" * 1000, manner="half"), serve.reply("whole"))
    with open_session("X", hasty) as session:
        assert session.get(service.url).text == "whole"
    assert len(service.asked) == 2


def test_only_half_answers_are_no_answer(serve, hasty):
    service = serve(serve.reply("x" * 1000, manner="half"))
    with open_session("X", hasty) as session, pytest.raises(ArchiveUnavailable, match="broke off"):
        session.get(service.url)


def test_a_compressed_answer_is_read_and_streamed(serve, hasty):
    service = serve(serve.reply("hello" * 10_000, manner="gzip"))
    with open_session("X", hasty) as session:
        assert session.get(service.url).text == "hello" * 10_000
        assert session.get(service.url, stream=True).raw.read(decode_content=True) == b"hello" * 10_000


def test_nobody_listening(hasty):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveUnavailable, match="MAST gave no answer"):
        session.get(url)


def test_a_pause_beyond_the_deadline_is_not_waited_for(serve, hasty):
    service = serve(serve.reply(status=429, headers={"Retry-After": "60"}))
    with open_session("X", hasty) as session, pytest.raises(ArchiveUnavailable, match="429"):
        session.get(service.url)
    assert len(service.asked) == 1


def test_the_servers_own_pause_is_kept(serve, hasty):
    service = serve(serve.reply(status=429, headers={"Retry-After": "1"}), serve.reply("hello"))
    started = time.monotonic()
    with open_session("X", hasty) as session:
        assert session.get(service.url).text == "hello"
    assert time.monotonic() - started >= 1


def test_retry_after_in_its_two_forms():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert _retry_after_s("7") == 7
    assert 95 < _retry_after_s(soon) <= 100
    assert _retry_after_s("") == _retry_after_s("later") == 0


def test_errors_of_requests_become_ours(serve, hasty):
    service = serve(serve.reply("<html>", status=404), serve.reply("<html>"))
    with open_session("MAST", hasty) as session:
        with pytest.raises(ArchiveError, match=r"MAST refused.*404"), translated("MAST", service.url):
            session.get(service.url).raise_for_status()
        with pytest.raises(ArchiveError, match="MAST did not answer in JSON"), translated("MAST", service.url):
            session.get(service.url).json()
        with pytest.raises(ArchiveError, match="MAST cannot be asked at mast"), translated("MAST", "mast"):
            session.get("mast")


def test_patience_is_finite_by_default():
    assert 0 < Patience().read_s <= Patience().total_s <= 600
    assert issubclass(requests.Timeout, requests.RequestException)
