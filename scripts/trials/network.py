"""Everything that can go wrong between a search and its files, at several rates and with every client.

The searches run in this process, without Ray: what is tried is the store, and what a search makes of what it says.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from program import Wrong
from rig import Came, Rig, Tally, Trial, sky

from raysearch import Search
from raysearch.testing import Faults
from raysearch.testing.faults import ObjectFault

OBSERVATIONS = 12
RATES = (0.1, 0.3, 0.5, 1.0)
CLIENTS = ("obstore", "s3fs", "http")
SILENCE_S = 0.6
"""`[services] timeout`: the shortest that a busy machine keeps to."""
DRIP_SILENCE_S = 0.3
"""The same where answers drip, and one is given up after ten times that: a time-out too many costs another request there."""
BOUND_S = 60.0
"""Within which every one of the searches has ended: five attempts that drip for ten times the silence, and a second's waiting."""
CURE = "run again later with --since"
HEALED = ("whole", "redirect", "elsewhere", "replaced")
"""Faults that cost nothing but requests where they strike all of them; `replaced` gives one version then, and no other."""
REFUSED: Mapping[str, str] = {"403": "access denied (403)", "404": "not found (404)", "loop": "redirect"}
"""Faults that are final, and what is said of them."""


_Rows = list[dict[str, Any]]
_Came = tuple[_Rows, _Rows, float]
"""Outcomes, candidates, seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one search."""

    client: str
    rate: float
    same: int
    """Observations that ended as they do without faults, with the same candidates."""
    failed: int
    retries: int
    seconds: float
    problems: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)


def searched(folder: Path, service: str, client: str, name: str, silence_s: float = SILENCE_S) -> _Came:
    """Return the outcomes and the candidates of a search of the first observations, and how long it took."""
    place = f"{service}/stpubdata" if client == "http" else "s3://stpubdata"
    rows = [f"{number},{place}/{key}" for number, key in enumerate(keys())]
    (folder / f"{client}.csv").write_text("\n".join(["obs_id,uri", *rows]) + "\n")
    search = folder / f"{client}.toml"
    search.write_text(SEARCH.format(table=client, s3=service, client="obstore" if client == "http" else client, silence=silence_s))
    began = time.monotonic()
    result = Search.load(search).run(folder / f"{client}-{name}")
    return result.arrow("outcomes").to_pylist(), result.arrow("candidates").to_pylist(), time.monotonic() - began


def by_all(folder: Path, service: str, name: str, silence_s: float = SILENCE_S) -> list[_Came]:
    """Search with every client at the same time."""
    with ThreadPoolExecutor(len(CLIENTS)) as executor:
        return list(executor.map(lambda client: searched(folder, service, client, name, silence_s), CLIENTS))


@cache
def keys() -> tuple[str, ...]:
    """Return the keys of the files that are searched."""
    return tuple(product.key for product in sky(OBSERVATIONS).products)


def row_of(client: str, fault: str, rate: float, base: _Came, came: _Came, host: str) -> Row:
    """Return what came of a search, against one without faults."""
    outcomes, candidates, seconds = came
    tally, problems = Tally(), []
    same = failed = 0
    for expected in base[0]:
        ours = [row for row in outcomes if row["obs_id"] == expected["obs_id"]]
        found, wanted = ([row for row in rows if row["obs_id"] == expected["obs_id"]] for rows in (candidates, base[1]))
        if len(ours) != 1:
            tally += Tally(lost=not ours, doubled=len(ours) > 1)
        elif ours[0]["status"] == expected["status"] and list(map(repr, found)) == list(map(repr, wanted)):
            same += 1
        elif ours[0]["status"] == "failed" and not found and _said(ours[0]["reason"], fault, host):
            failed += 1
        else:
            tally += Tally(different=1)
            problems.append(f"{ours[0]['status']}: {ours[0]['reason']}")
    if rate == 1 and (failed if fault in HEALED else same):
        problems.append(f"{same} the same, {failed} failed, where all requests were struck")
    if seconds > BOUND_S:
        problems.append(f"it took {seconds:.0f} s")
    retries = sum(one["count"] for row in outcomes for one in row["retries"])
    return Row(client, rate, same, failed, retries, seconds, tuple(problems), tally)


def _said(reason: str, fault: str, host: str) -> bool:
    """Return whether a reason names the host and the cure; what cannot be cured is said as what it is."""
    if fault == "replaced":
        return "was replaced while it was read, 3 times in a row" in reason and "--since" in reason
    if fault in REFUSED:
        return REFUSED[fault] in reason.lower() or REFUSED[fault] in reason
    return host in reason and CURE in reason


def struck(fault: ObjectFault) -> Callable[[Rig], Came]:
    """Strike requests at every rate, with every client."""

    def run(rig: Rig) -> Came:
        host, bases = rig.archive.url.removeprefix("http://"), undisturbed(rig)
        rows, silence_s = [], DRIP_SILENCE_S if fault == "drip" else SILENCE_S
        for rate in RATES:
            with faults(rig, Faults(chance={fault: rate}, seed=rig.seed)):
                came = by_all(folder_of(rig), rig.archive.url, f"{fault}-{rate}", silence_s)
            rows += [row_of(client, fault, rate, *two, host) for client, *two in zip(CLIENTS, bases, came, strict=True)]
        return _came(rows)

    return run


def folder_of(rig: Rig) -> Path:
    """Return where these searches lie: one folder, as an address in a search is part of its hash."""
    folder = rig.folder / "network"
    folder.mkdir(exist_ok=True)
    return folder


@cache
def undisturbed(rig: Rig) -> list[_Came]:
    """Return what comes of the search without faults, by client; it is made once."""
    return by_all(folder_of(rig), rig.archive.url, "base")


@contextlib.contextmanager
def faults(rig: Rig, chosen: Faults) -> Iterator[None]:
    """Have the archive misbehave inside."""
    rig.archive.set_faults(chosen)
    try:
        yield
    finally:
        rig.archive.set_faults(Faults())


def _came(rows: Sequence[Row]) -> Came:
    """Return what came of several searches, in a few words."""
    wrong = [f"{row.client} at {row.rate:.0%}: {problem}" for row in rows for problem in row.problems]
    if wrong:
        raise Wrong("; ".join(wrong[:3]))
    told = []
    for rate in sorted({row.rate for row in rows}):
        chosen = [row for row in rows if row.rate == rate]
        endings = Counter({"the same": sum(row.same for row in chosen), "failed": sum(row.failed for row in chosen)})
        told.append(f"{rate:.0%}: " + ", ".join(f"{count} {ending}" for ending, count in endings.items() if count))
    slowest = max(row.seconds for row in rows)
    return Came(sum((row.tally for row in rows), Tally()), "nothing", f"{'; '.join(told)}; the longest search {slowest:.0f} s")


@contextlib.contextmanager
def self_signed(folder: Path) -> Iterator[str]:
    """Have a server on this host whose certificate nobody vouches for; yields its address."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stopped = threading.Event()
        thread = threading.Thread(target=_shake_hands, args=(server, context, stopped))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stopped.set()
            thread.join()


def _shake_hands(server: socket.socket, context: ssl.SSLContext, stopped: threading.Event) -> None:
    while not stopped.is_set():
        with contextlib.suppress(OSError):  # nobody comes; the client refuses
            connection, _ = server.accept()
            connection.settimeout(5)
            with connection, context.wrap_socket(connection, server_side=True):
                pass


def nobody(where: str, said: Sequence[str]) -> Callable[[Rig], Came]:
    """Search where nobody answers as should: `where` is an address, `plain` (no TLS), or `self-signed`."""

    def run(rig: Rig) -> Came:
        folder = folder_of(rig)
        with contextlib.ExitStack() as stack:
            there = where
            if where == "self-signed":
                there = stack.enter_context(self_signed(folder))
            if where == "plain":
                there = rig.archive.url.replace("http:", "https:")
            rows = []
            for client, (outcomes, _, seconds) in zip(
                CLIENTS, by_all(folder, there, f"nobody-{said[0]}".replace(" ", "-")), strict=True
            ):
                right = [row for row in outcomes if row["status"] == "failed" and all(words in row["reason"] for words in said)]
                problems = tuple(f"{row['status']}: {row['reason']}" for row in outcomes if row not in right)
                tally = Tally(lost=OBSERVATIONS - len({row["obs_id"] for row in outcomes}))
                rows.append(Row(client, 1.0, 0, len(right), 0, seconds, problems, tally))
        return _came(rows)

    return run


def swapped(rig: Rig) -> Came:
    """Replace each file after its first request: while it is read."""
    rows = []
    for client, base in zip(CLIENTS, undisturbed(rig), strict=True):
        with faults(rig, Faults(keys=dict.fromkeys(keys(), "replaced"), after=1)):
            row = row_of(client, "replaced", 0.5, base, searched(folder_of(rig), rig.archive.url, client, "swapped"), "")
        rows.append(row if row.same == OBSERVATIONS else replace(row, problems=("not all were read again", *row.problems)))
    return _came([replace(row, rate=1.0) for row in rows])


SEARCH = """
name = "network"
[observations]
table = "{table}.csv"
[lines]
list = [{{ name = "[Fe II] 5.340", wavelength = "5.34 um" }}]
[detector]
name = "published"
[run]
engine = "inline"
[report]
page = false
figures = false
[services]
s3 = "{s3}"
s3_client = "{client}"
timeout = "{silence} s"
"""

WORDS: Mapping[ObjectFault, str] = {
    "silent": "no answer",
    "stall": "silence half way through the body",
    "drip": "ten bytes a second",
    "reset": "the connection is reset half way",
    "truncate": "the connection is closed half way",
    "short": "half of the range, with its Content-Length",
    "long": "less than the Content-Length says",
    "whole": "the whole file for a range (200)",
    "416": "a range that is there is refused (416)",
    "429": "429, Retry-After a second",
    "500": "500",
    "503": "503",
    "404": "404",
    "403": "403",
    "redirect": "a redirect on the same host",
    "elsewhere": "a redirect to another host",
    "loop": "a redirect to itself",
    "replaced": "one of two versions of the file, by chance",
}

TRIALS = [
    *(
        Trial("network", name, f"{words}: 10, 30, 50, 100 % of requests", struck(name), name == "503")
        for name, words in WORDS.items()
    ),
    Trial("network", "swapped", "each file is replaced by another version after its first request", swapped),
    Trial("network", "refused", "connection refused", nobody("http://127.0.0.1:9", ("refused", "127.0.0.1:9", CURE))),
    Trial("network", "no-name", "the host's name is gone", nobody("http://archive.invalid", ("archive.invalid", CURE))),
    Trial("network", "plain", "no TLS where TLS is expected", nobody("plain", ("no TLS",))),
    Trial("network", "certificate", "a certificate that nobody vouches for", nobody("self-signed", ("cannot be verified",))),
]
