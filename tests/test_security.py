"""What docs/security.md promises: others' addresses lead nowhere inside, no secret is written, TLS is verified, nothing pickled."""

from __future__ import annotations

import ast
import asyncio
import http.server
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysearch import Search, worklist
from raysearch.archives.http import Patience, open_session, translated
from raysearch.config import from_dict
from raysearch.engine.folder.files import read_arrow
from raysearch.errors import ArchiveError, ReadError
from raysearch.model import Query, Usage
from raysearch.read.store import StoreConfig, open_store
from raysearch.testing import CubeSpec, make_cube

ROOT = Path(__file__).parents[1]
SECRET = "hunter2"
SIGNATURE = "X-Amz-Credential=AKIA&X-Amz-Signature="
LINE = {"name": "a", "wavelength": "25.5 um"}


class Server:
    """Serves one cube to whoever signs, and nothing to anybody else."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        cube = make_cube(CubeSpec(planes=80))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                start, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                signed = "Signature=hunter" in self.path
                body = cube[int(start) : int(last or len(cube)) + 1] if signed else b""
                self.send_response(206 if signed else 403)
                self.send_header("Content-Range", f"bytes {start}-{int(start) + len(body) - 1}/{len(cube)}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def signed_search(folder: Path, server: Server, secret: str) -> Search:
    """Return the search of a table of one's own whose addresses are signed; one of its files is refused."""
    address = f"http://me:{secret}@127.0.0.1:{server.port}/good.fits?{SIGNATURE}{secret}"
    refused = f"http://127.0.0.1:{server.port}/refused.fits?token={secret}"
    (folder / "mine.csv").write_text(f"uri,access_note\n{address},see {address}\n{refused},\n")
    document = {"observations": {"table": str(folder / "mine.csv")}, "lines": {"list": [LINE]}, "run": {"engine": "inline"}}
    return Search(from_dict(document))


def everything_written(folder: Path) -> dict[str, str]:
    """Return the content of every file beneath a folder, tables as text."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): content_of(path) for path in files}


def content_of(path: Path) -> str:
    return str(read_arrow(path).to_pylist()) if path.suffix == ".arrow" else path.read_text("latin-1")


def test_no_secret_of_an_address_is_written_and_a_run_goes_on_with_new_ones(tmp_path: Path, server: Server) -> None:
    from raysearch import pages

    out = tmp_path / "out"
    result = signed_search(tmp_path, server, SECRET).run(out)
    pages.write(out)
    ended = {row["obs_id"]: row for row in result.arrow("outcomes").to_pylist()}
    assert list(ended) == ["good", "refused"]
    assert ended["good"]["status"] in {"detected", "nothing"}
    assert ended["good"]["uri"] == f"http://127.0.0.1:{server.port}/good.fits?X-Amz-Credential=***&X-Amz-Signature=***"
    assert "access denied (403)" in ended["refused"]["reason"]
    written = everything_written(out)
    assert {"run.json", "search.toml", "observations.arrow", "report/index.html"} <= set(written)
    assert [name for name, content in written.items() if SECRET in content or "AKIA" in content] == []
    again = signed_search(tmp_path, server, "hunter3").run(out)
    assert again.totals.by_status == result.totals.by_status, "the same search, its addresses signed anew"


def test_no_secret_is_told_on_the_way(tmp_path: Path, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    from raysearch.cli import main

    signed_search(tmp_path, server, SECRET)
    (tmp_path / "s.toml").write_text(
        '[observations]\ntable = "mine.csv"\n[lines]\nlist = [{ name = "a", wavelength = "25.5 um" }]\n'
    )
    assert main(["plan", str(tmp_path / "s.toml")]) in {0, 1}
    assert main(["query", str(tmp_path / "s.toml"), "--out", str(tmp_path / "work"), "--table", str(tmp_path / "rows.csv")]) == 0
    told = [*capfd.readouterr(), (tmp_path / "rows.csv").read_text(), *everything_written(tmp_path / "work").values()]
    assert "refused.fits?token=***" in "".join(told)
    assert SECRET not in "".join(told)


def test_a_run_folder_holds_no_pickle(tmp_path: Path, server: Server) -> None:
    signed_search(tmp_path, server, SECRET).run(tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".arrow", ".json", ".toml", ".html", ".js", ".svg", ""}
    assert [path.name for path in files if re.match(rb"\x80[\x02-\x05]", path.read_bytes())] == []


def test_nothing_but_the_engine_pickles_and_only_to_its_own_workers() -> None:
    users = set()
    for path in sorted((ROOT / "raysearch").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if any("pickle" in name.lower() for name in (*names, module)):
                users.add(path.relative_to(ROOT / "raysearch").parts[0])
    assert users <= {"engine"}


class Hostile:
    """An archive whose answer names what it likes."""

    PLACES = (
        *(
            "file:///etc/passwd",
            "/etc/passwd",
            "../../x.fits",
            "http://127.0.0.1/x.fits",
            "https://169.254.169.254/latest/meta-data",
        ),
        *(
            "https://localhost/x",
            "http://[::1]/x",
            "https://[fe80::1]/x",
            "http://10.0.0.1/x",
            "memory://x",
            "https://2130706433/x",
        ),
    )

    def observations(self) -> tuple[pa.Table, list[Query]]:
        ids = ["../../../escaped", "/tmp/escaped", "plain"]
        return pa.table({"obs_id": ids, "s_region": ["CIRCLE ICRS 1 2 3"] * 3}), []

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        public = ("s3://bucket/x.fits", "https://archive.org/x.fits")
        return [(*self.PLACES, *(() if row else public)) for row in range(table.num_rows)], []


def test_no_archive_names_files_or_hosts_of_this_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist, "open_archive", lambda *_: (Hostile(), []))
    document = {"observations": {"archive": "mast", "collection": "X"}, "lines": {"list": [LINE]}}
    rows = Search(from_dict(document)).work_list().table.to_pylist()
    assert [row["uris"] for row in rows] == [["s3://bucket/x.fits", "https://archive.org/x.fits"], [], []]
    assert all("can be had nowhere" in row["skip"] for row in rows[1:])
    rows = Search(from_dict(document | {"services": {"irsa": "http://127.0.0.1:8000"}})).work_list().table.to_pylist()
    assert rows[1]["uris"] == ["http://127.0.0.1/x.fits"], "a host that the user named"


def test_whatever_observations_are_called_all_stays_in_the_run_folder(tmp_path: Path, server: Server) -> None:
    names = ["../../../escaped", "/tmp/raysearch-escaped", "a/b", "..", "~", "C:\\x", "\N{SNOWMAN}\x01"]
    good = f"http://127.0.0.1:{server.port}/good.fits?{SIGNATURE}{SECRET}"
    (tmp_path / "mine.csv").write_text("obs_id,uri\n" + "".join(f'"{name}","{good}&n={n}"\n' for n, name in enumerate(names)))
    document = {"observations": {"table": str(tmp_path / "mine.csv")}, "lines": {"list": [LINE]}, "run": {"engine": "inline"}}
    before = set(tmp_path.rglob("*"))
    result = Search(from_dict(document)).run(tmp_path / "out")
    assert result.totals.done == len(names)
    new = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert all(path.is_relative_to(tmp_path / "out") for path in new)
    assert not Path("/tmp/raysearch-escaped").exists()


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose certificate nobody vouches for."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = (tmp_path_factory.mktemp("tls") / name for name in ("key.pem", "cert.pem"))
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key)]
    subprocess.run([*made, "-out", str(certificate), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server(context) as running:
        yield f"https://localhost:{running.port}"


def read_at(uri: str, **options: Any) -> tuple[str, int]:
    usage = Usage()

    async def main() -> bytes:
        store = open_store(StoreConfig(retries=3, **options))
        try:
            return await store.get(uri, usage)
        finally:
            await store.close()

    with pytest.raises(ReadError) as caught:
        asyncio.run(main())
    return str(caught.value), usage.requests


@pytest.mark.parametrize("client", ["", "obstore", "s3fs"])
def test_no_pixel_is_read_where_the_certificate_cannot_be_verified(self_signed: str, client: str, monkeypatch: Any) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    uri, options = ("s3://bucket/x", {"s3_endpoint": self_signed, "s3_client": client}) if client else (f"{self_signed}/x", {})
    told, requests = read_at(uri, **options)
    assert "certificate cannot be verified" in told
    assert requests == 1, "a certificate does not mend itself"


def test_no_archive_is_asked_whose_certificate_cannot_be_verified(self_signed: str, monkeypatch: Any) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    patience, refused = Patience(attempts=3, pause_s=0.01), pytest.raises(ArchiveError)
    with open_session("MAST", patience) as session, refused as caught, translated("MAST", self_signed):
        session.get(self_signed)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
