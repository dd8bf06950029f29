import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from raysearch.testing import CubeSpec, Faults, Holdings, LocalArchive, Product, product


def gone(pid: int) -> bool:
    """Return whether a process has ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_counts_log_and_reset(archive):
    requests.get(archive.services["simbad"] + "/capabilities", timeout=10)
    requests.get(archive.services["s3"] + "/stpubdata/nope", timeout=10)
    counts = archive.counts()
    assert {name: c["requests"] for name, c in counts.items() if c["requests"]} == {"simbad": 1, "s3": 1}
    assert counts.keys() == archive.services.keys()
    first, second = archive.log()
    assert (first.service, first.method, first.status) == ("simbad", "GET", 200)
    assert (second.service, second.path, second.status) == ("s3", "/stpubdata/nope", 404)
    assert (first.bytes_sent, second.bytes_sent) == (counts["simbad"]["bytes"], counts["s3"]["bytes"])
    archive.reset()
    assert archive.log() == []


def test_reset_ends_faults(archive):
    archive.set_faults(Faults(mast="500"))
    archive.reset()
    assert requests.post(archive.url + "/api/v0/invoke", data={"request": "{}"}, timeout=10).status_code == 200


def test_ends_with_its_block_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spec = CubeSpec()
    holdings = Holdings(products=(product(spec),), bodies={spec.name: spec})
    with LocalArchive(holdings, faults=Faults(keys={product(spec).key: "403"})) as archive:
        pid, address = archive.pid, f"{archive.url}/stpubdata/{product(spec).key}"
        assert requests.get(address, timeout=10).status_code == 403
        archive.reset()
        assert len(requests.get(address, timeout=10).content) % 2880 == 0
        assert list(tmp_path.iterdir()) == []
    assert gone(pid)
    with pytest.raises(RuntimeError, match="not running"):
        _ = archive.url


def test_starting_twice_is_refused(archive):
    with pytest.raises(RuntimeError, match="running already"):
        archive.start()


def test_port_in_use_is_told(archive):
    port = int(archive.url.rsplit(":", 1)[1])
    with pytest.raises(RuntimeError, match="did not start"):
        LocalArchive(Holdings(), port=port).start()


def test_ends_when_its_parent_dies():
    code = (
        "import sys, os, signal; from raysearch.testing import Holdings, LocalArchive\n"
        "archive = LocalArchive(Holdings()); archive.start(); sys.stdout.write(f'{archive.pid}\\n'); sys.stdout.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    # not capture_output: the server shares its parent's standard error, and would keep a pipe of it open
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    pid = int(parent.stdout)
    deadline = time.monotonic() + 60
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    ended = gone(pid)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    assert ended


def test_proxies_in_the_environment_are_not_asked(archive, monkeypatch):
    monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:9")
    assert archive.counts()["s3"]["requests"] == 0


def test_products_without_a_body_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lack: missing"):
        Holdings(products=(Product("mast:x", "x", "missing"),)).write(tmp_path)


@pytest.mark.parametrize("wrong", [{"mast": "nope"}, {"keys": {"a": "599"}}, {"chance": {"503": 0.7, "stall": 0.7}}])
def test_wrong_faults_are_refused(wrong):
    with pytest.raises(ValueError, match=r"no such fault|add up"):
        Faults(**wrong)
