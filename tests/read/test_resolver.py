"""Names that mean this machine or its network are refused where an archive chose them, whoever answers for the name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from raysearch.errors import ReadError, StoreUnavailable
from raysearch.model import Usage
from raysearch.read.addresses import is_astray, is_inside, may_be_read
from raysearch.read.store import StoreConfig, open_store

INSIDE = (
    *(
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ),
    *("::1", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::"),
)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let a name mean a number."""
    real = socket.getaddrinfo

    def name(host: str, number: str) -> None:
        def getaddrinfo(asked: Any, *args: Any, **kwargs: Any) -> Any:
            return real(number if asked == host else asked, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return name


def read(uri: str, **options: Any) -> bytes:
    async def main() -> bytes:
        store = open_store(StoreConfig(retries=0, **options))
        try:
            return await store.get(uri, Usage())
        finally:
            await store.close()

    return asyncio.run(main())


@pytest.mark.parametrize("number", ["127.0.0.1", "169.254.169.254", "10.1.2.3"])
def test_a_name_in_an_archives_answer_that_means_this_network_is_refused(named: Any, loopback: Any, number: str) -> None:
    named("rebound.example.org", number)
    port = loopback.url.rpartition(":")[2]
    with pytest.raises(ReadError, match=rf"the archive's host rebound.example.org is {number}, .* where we do not go"):
        read(f"http://rebound.example.org:{port}/x", hosts=())
    assert loopback.log == []


def test_a_name_that_the_user_gave_may_mean_this_network(named: Any, loopback: Any) -> None:
    named("archive.example.org", "127.0.0.1")
    loopback.files["x"] = b"pixels"
    address = f"http://archive.example.org:{loopback.url.rpartition(':')[2]}/x"
    assert read(address, hosts=("archive.example.org",)) == b"pixels"
    assert read(address) == b"pixels", "an address in the user's own table"


def test_a_redirect_to_a_name_that_means_this_network_is_refused(named: Any, loopback: Any) -> None:
    port = loopback.url.rpartition(":")[2]
    loopback.redirects["old"] = f"http://rebound.example.org:{port}/x"
    loopback.files["x"] = b"secret"
    named("rebound.example.org", "127.0.0.1")
    with pytest.raises(ReadError, match=r"rebound\.example\.org is 127"):
        read(f"{loopback.url}/old", hosts=("127.0.0.1",))
    assert loopback.log == []


def test_a_number_in_an_archives_answer_is_refused_too(loopback: Any) -> None:
    with pytest.raises(ReadError, match=r"this machine.s own network"):
        read(f"{loopback.url}/x", hosts=())
    assert loopback.log == []


def test_a_name_that_nobody_knows_is_no_matter_of_safety(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StoreUnavailable, match="the connection failed"):
        read("http://archive.example.org/x", hosts=())


@pytest.mark.parametrize("number", INSIDE)
def test_numbers_that_are_inside_in_every_spelling(number: str) -> None:
    assert is_inside(number)
    host = f"[{number}]" if ":" in number else number
    assert not may_be_read(f"https://{host}/x", ())
    assert may_be_read(f"http://{host}:80/x", (number,))


@pytest.mark.parametrize("number", ["8.8.8.8", "2606:4700::1111", "archive.org", "64:ff9b::808:808"])
def test_public_hosts_are_not_inside(number: str) -> None:
    assert not is_inside(number)


@pytest.mark.parametrize(
    "address", ["/etc/passwd", "file:///etc/passwd", "~/x", "../x", "C:\\x", "", "memory://x", "ftp://h/x", "FILE:///x", "https://"]
)
def test_what_an_archive_may_not_name(address: str) -> None:
    assert not may_be_read(address, ())


def test_nobody_leads_to_a_link_local_host() -> None:
    assert is_astray("http://127.0.0.1:9000/x", "http://169.254.169.254/latest/meta-data")
    assert is_astray("http://10.0.0.1/x", "http://[fe80::1]/")
    assert not is_astray("http://169.254.1.1/x", "/y"), "but to itself"
