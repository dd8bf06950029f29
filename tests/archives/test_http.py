"""Requests that never hang, retries that stay polite, and failures that say who and where."""

import contextlib
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from raysearch.archives import http
from raysearch.archives.http import Patience, Quota, _retry_after_s, in_parallel, on_waiting, open_session, translated, waiting_for
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.read.addresses import is_astray


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


def test_a_hung_server_does_not_hang_us(serve, impatient):
    service = serve(serve.reply(manner="hang"))
    with open_session("X", impatient) as session, pytest.raises(ArchiveUnavailable, match="timed out"):
        session.get(service.url)
    assert len(service.asked) == 3


def test_all_attempts_together_end_at_the_deadline(serve):
    service = serve(serve.reply(manner="hang"))
    patience = Patience(connect_s=1.0, read_s=0.2, total_s=0.5, attempts=50, pause_s=0.01)
    with open_session("X", patience) as session, pytest.raises(ArchiveUnavailable):
        session.get(service.url)
    assert len(service.asked) <= 4


def test_the_clients_own_absence_of_a_timeout_gives_way_to_ours(serve, impatient):
    service = serve(serve.reply(manner="hang"))
    with open_session("X", impatient) as session, pytest.raises(ArchiveUnavailable):
        session.get(service.url, timeout=None, stream=True)


def test_headers_that_drip_end_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while True:
                        connection.sendall(b"x")
                        time.sleep(0.05)

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        patience = Patience(connect_s=1.0, read_s=1.0, total_s=0.5, attempts=1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with open_session("A", patience) as session, pytest.raises(ArchiveUnavailable, match="gave no answer"):
            session.get(url)
        dripping.join()


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


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://host/x", "http://[::1", "javascript:1"])
def test_a_redirect_to_no_http_address_is_not_followed(serve, hasty, there):
    service = serve(serve.reply(status=302, headers={"Location": there}))
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveError, match=r"MAST leads from .*, where we do not go"):
        session.get(service.url)
    assert len(service.asked) == 1


def test_a_redirect_from_outside_into_this_machine_is_not_followed(serve, hasty, monkeypatch):
    inside = serve(serve.reply("secret"))
    service = serve(serve.reply(status=302, headers={"Location": inside.url}))
    assert _asked(service.url, hasty) == "secret", "who is inside may lead inside"
    monkeypatch.setattr(http, "is_astray", lambda here, there: is_astray(here.replace(service.url, "https://archive.org"), there))
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveError, match="where we do not go"):
        session.get(service.url)
    assert len(inside.asked) == 1


def test_redirects_without_end_are_an_error(serve, hasty):
    service = serve(lambda asked: serve.reply(status=302, headers={"Location": asked.path + "x"}))
    with pytest.raises(ArchiveError, match="redirects"), translated("MAST", service.url), open_session("MAST", hasty) as session:
        session.get(service.url)


def test_a_server_without_tls_is_asked_once(serve, hasty):
    service = serve(serve.reply("hello"))
    address = service.url.replace("http:", "https:")
    failing = pytest.raises(ArchiveError, match=r"MAST cannot be asked at .*SSL")
    with failing as caught, translated("MAST", address), open_session("MAST", hasty) as session:
        session.get(address)
    assert not caught.value.transient, "later it is the same"


def test_a_host_nobody_knows(hasty, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveUnavailable, match=r"after 3 requests.*Name or service not"):
        session.get("https://nowhere.invalid/api")


@pytest.mark.parametrize("header", ["\u00b2", "soon", "-5", "9" * 400, "Mon, 99 Foo 9999 99:99:99 GMT", "1e999"])
def test_a_retry_after_that_says_nothing_breaks_nothing(serve, hasty, header):
    service = serve(serve.reply(status=503, headers={"Retry-After": header}))
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveUnavailable, match="503"):
        session.get(service.url)


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


@pytest.fixture
def quota(monkeypatch):
    """Return a function that sets what a service of the name TEST is asked at most."""

    def allow(**limits):
        monkeypatch.setitem(http.QUOTAS, "TEST", Quota(**limits))

    return allow


class Busy:
    """Counts the requests under way, and when each began."""

    def __init__(self, reply):
        self.reply, self.now, self.most, self.begun, self.lock = reply, 0, 0, [], threading.Lock()

    def __call__(self, _):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.begun.append(time.monotonic())
        time.sleep(0.03)
        with self.lock:
            self.now -= 1
        return self.reply("hello")


def test_a_service_is_asked_no_more_at_once_than_its_quota_whatever_asks(serve, hasty, quota):
    quota(at_once=3)
    busy = Busy(serve.reply)
    service = serve(busy)

    def ask():
        with open_session("TEST", hasty) as session:
            for _ in range(4):
                session.get(service.url)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(busy.begun) == 32
    assert busy.most == 3


def test_other_services_and_hosts_have_quotas_of_their_own(serve, hasty, impatient, quota):
    quota(at_once=1)
    slow, quick = serve(serve.reply(manner="hang")), serve(serve.reply("hello"))
    hung = threading.Thread(target=_asked, args=(slow.url, impatient))
    hung.start()
    assert _asked(quick.url, hasty) == "hello"
    hung.join()


def _asked(url, patience):
    with open_session("TEST", patience) as session:
        try:
            return session.get(url).text
        except ArchiveUnavailable:
            return ""


def test_a_rate_is_kept_by_retries_too(serve, hasty, quota):
    quota(at_once=4, per_second=5)
    busy = Busy(lambda _: serve.reply("hello", status=200 if len(busy.begun) % 3 else 503))
    service = serve(busy)
    list(in_parallel("TEST", lambda _: _asked(service.url, hasty), range(11)))
    assert len(busy.begun) > 11
    begun = sorted(busy.begun)
    # two seconds, less what a busy machine may need for the first's way to the server; unbounded, they come within milliseconds
    assert begun[-1] - begun[0] > 0.5


def test_waiting_for_a_turn_costs_no_patience(serve, quota):
    quota(at_once=1)
    service = serve(lambda _: (time.sleep(0.1), serve.reply("hello"))[1])
    answers = list(in_parallel("TEST", lambda _: _asked(service.url, Patience(1.0, 0.5, 0.5, 1, 0.01)), range(10)))
    assert answers == ["hello"] * 10


def test_parallel_answers_keep_their_order_and_the_first_error_ends_it(quota):
    quota(at_once=2)
    assert list(in_parallel("TEST", lambda n: (time.sleep(0.01 * (5 - n)), n)[1], range(5))) == list(range(5))
    asked = []

    def ask(number):
        asked.append(number)
        if number == 1:
            raise ArchiveError("refused")
        time.sleep(0.01)

    with pytest.raises(ArchiveError, match="refused"):
        list(in_parallel("TEST", ask, range(1000)))
    assert len(asked) < 100


def test_the_published_limits_are_kept():
    assert http.QUOTAS["SIMBAD"].per_second <= 6
    assert http.QUOTAS["MAST path_lookup"].at_once <= 8
    assert http.quota_of("a service nobody knows").at_once <= 4


def test_long_waiting_is_told_with_its_reason(serve, hasty, told):
    service = serve(lambda _: (told.wait(), serve.reply("hello"))[1])
    with on_waiting(told), open_session("SIMBAD", hasty) as session:
        session.get(service.url)
    assert told.lines[0] == f"waiting for SIMBAD's answer from {service.url}/, 0 s so far"


def test_the_line_comes_after_five_seconds_and_then_at_doubled_times(monkeypatch):
    assert http.WAITING_S == 5.0
    waits = []

    class Done:
        def wait(self, seconds):
            waits.append(seconds)
            return len(waits) == 4

    told = []
    http._tell_until(Done(), "SIMBAD's\n answer", told.append)
    assert waits == [5.0, 5.0, 10.0, 20.0]
    assert told == [f"waiting for SIMBAD's answer, {n} s so far" for n in (5, 10, 20)]


def test_the_outermost_wait_speaks_for_all_that_is_asked_inside(serve, hasty, told):
    service = serve(lambda _: (told.wait(2), serve.reply("hello"))[1])
    with on_waiting(told), waiting_for("SIMBAD's answer to SELECT 1"):
        list(in_parallel("TEST", lambda _: _asked(service.url, hasty), range(8)))
    assert {line.partition(", ")[0] for line in told.lines} == {"waiting for SIMBAD's answer to SELECT 1"}


def test_requests_in_parallel_are_told_of_too(serve, hasty, told):
    service = serve(lambda _: (told.wait(2), serve.reply("hello"))[1])
    with on_waiting(told):
        list(in_parallel("TEST", lambda _: _asked(service.url, hasty), range(2)))
    assert len(told.lines) >= 2


def test_a_line_being_told_is_told_to_its_end_before_the_block_ends(told):
    begun = threading.Event()

    def tell(line):
        begun.set()
        time.sleep(0.3)
        told(line)

    with on_waiting(tell), waiting_for("x"):
        assert begun.wait(60)
    assert told.lines


def test_a_quick_answer_and_an_absent_listener_say_nothing(serve, hasty, told, monkeypatch):
    slow = serve(lambda _: (time.sleep(0.2), serve.reply("hello"))[1])
    _asked(slow.url, hasty)
    monkeypatch.setattr(http, "WAITING_S", 60.0)
    with on_waiting(told):
        assert _asked(serve(serve.reply("hello")).url, hasty) == "hello"
    assert told.lines == []


def test_nothing_is_told_once_the_answer_is_there(told):
    with on_waiting(told):
        with waiting_for("x"):
            told.wait()
        said = len(told.lines)
        time.sleep(0.2)
    assert said == len(told.lines)


def test_a_long_query_is_cut_in_the_line(told):
    with on_waiting(told), waiting_for("SELECT " + "x, " * 500):
        told.wait()
    assert len(told.lines[0]) < 160


def test_an_answer_that_unpacks_without_end_is_refused(serve, hasty, monkeypatch):
    monkeypatch.setattr(http, "LARGEST_ANSWER", 1_000_000)
    service = serve(serve.reply("x" * 10_000_000, manner="gzip"))
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveError, match="more than 1,000,000 bytes"):
        session.get(service.url)
    assert len(service.asked) == 1


def test_messages_show_no_secrets_of_an_address(serve, hasty):
    service = serve(serve.reply(status=503))
    with open_session("MAST", hasty) as session, pytest.raises(ArchiveUnavailable) as caught:
        session.get(f"{service.url}/x?token=hunter2")
    assert "token=***" in str(caught.value)
    assert "hunter2" not in str(caught.value)
