"""What scripts install is locked: each package in one version, each file by its hash; known vulnerabilities are told."""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "scripts" / "locks"


def pins(name: str) -> dict[str, tuple[Requirement, int]]:
    """Return package -> what is pinned, and the number of its hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (LOCKS / f"{name}.txt").read_text()):
        if not entry.startswith("#"):
            pin, *hashes = re.sub(r"\s*\n\s*#.*", "", entry).split(" \\\n")
            assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}\s*", one) for one in hashes)
            requirement = Requirement(pin.strip())
            assert canonicalize_name(requirement.name) not in found
            found[canonicalize_name(requirement.name)] = requirement, len(hashes)
    return found


@pytest.mark.parametrize("name", ["build", "run", "dev"])
def test_everything_is_pinned_to_one_version_with_the_hashes_of_its_files(name: str) -> None:
    for requirement, hashes in pins(name).values():
        assert re.fullmatch(r"==[\w.!+]+", str(requirement.specifier)), requirement
        assert hashes, requirement


def test_what_pyproject_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["cluster"]]
    dev = project["project"]["optional-dependencies"]["dev"]
    for wanted, locks in ((project["build-system"]["requires"], ["build"]), (run, ["run"]), (dev, ["run", "dev"])):
        locked = {package: requirement for name in locks for package, (requirement, _) in pins(name).items()}
        for requirement in map(Requirement, wanted):
            (version,) = locked[canonicalize_name(requirement.name)].specifier
            assert requirement.specifier.contains(version.version), requirement


def test_no_package_is_locked_twice() -> None:
    run, dev, build = (pins(name) for name in ("run", "dev", "build"))
    assert not set(run) & set(dev)
    for package in set(build) & (set(run) | set(dev)):
        assert str(build[package][0].specifier) == str((run | dev)[package][0].specifier)


@pytest.mark.slow
def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "six-1.17.0-py2.py3-none-any.whl").write_bytes(b"another file")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-index", "--find-links", str(tmp_path), "--dest", "there"]
    wanted = "six==1.17.0 " + " ".join(re.findall(r"--hash=\S+", (LOCKS / "run.txt").read_text().partition("\nsix==")[2])[:2])
    (tmp_path / "lock.txt").write_text(wanted)
    done = subprocess.run([*command, "-r", "lock.txt"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr


Audit = Callable[..., int]


@pytest.fixture
def audit() -> Audit:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Audit = module.main
    return main


def asked(audit: Audit, accepted: Path, answer: Callable[[int], Any]) -> int:
    """Return the audit's exit status where a database answers so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            (version,) = pins("run")["astropy"][0].specifier
            assert {"package": {"name": "astropy", "ecosystem": "PyPI"}, "version": version.version} in asked
            assert len(asked) == sum(len(pins(name)) for name in ("build", "run", "dev"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer(len(asked))).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        status = audit(f"http://127.0.0.1:{server.server_address[1]}", accepted)
        thread.join()
    return status


def one(count: int) -> Any:
    return {"results": [{"vulns": [{"id": "GHSA-x", "modified": "2026-01-01T00:00:00Z"}]}] + [{}] * (count - 1)}


@pytest.mark.parametrize(
    ("answer", "accepted", "status", "told"),
    [
        (lambda n: {"results": [{}] * n}, "", 0, "0 known vulnerabilities, 0 of them accepted"),
        (one, "", 1, "has a known vulnerability, GHSA-x; see https://osv.dev/GHSA-x"),
        (one, 'GHSA-y = "no"', 1, "accepts GHSA-y, which is not known of these versions: take it out"),
        (one, 'GHSA-x = "only on Windows"', 0, "GHSA-x; accepted: only on Windows"),
        (lambda n: {"results": [{}]}, "", 2, "about 1 of"),
        (lambda n: {"error": "no"}, "", 2, "did not answer as OSV does"),
        (lambda n: {"results": [[]] * n}, "", 2, "did not answer as OSV does"),
    ],
)
def test_the_audit_says_what_is_known(
    audit: Audit,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    answer: Callable[[int], Any],
    accepted: str,
    status: int,
    told: str,
) -> None:
    (tmp_path / "audit.toml").write_text(f"[accepted]\n{accepted}\n")
    assert asked(audit, tmp_path / "audit.toml", answer) == status
    assert told in "".join(capsys.readouterr())


def test_an_audit_that_cannot_be_made_is_not_silent(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("http://127.0.0.1:9") == 0
    assert "audit SKIPPED" in capsys.readouterr().err


def test_what_is_accepted_has_a_reason() -> None:
    accepted = tomllib.loads((ROOT / "scripts" / "audit.toml").read_text())["accepted"]
    assert all(isinstance(reason, str) and len(reason) > 20 for reason in accepted.values())
