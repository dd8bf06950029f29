"""The examples of README.md and docs/ run as they stand: Python and console blocks in order, files where a comment names one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)


DEMO = "$ raysearch demo --out demo-run"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A function that returns what the demo leaves in a folder: it is run for the first page that asks."""
    folder = tmp_path_factory.mktemp("demo")

    def made():
        if not (folder / "demo-run").exists():
            _run_line(DEMO, folder)
        return folder / "demo-run"

    return made


def _run_console(text, folder, demo):
    for line in text.splitlines():
        if line == DEMO:
            shutil.copytree(demo(), folder / "demo-run")
        elif line.startswith("$ raysearch "):
            _run_line(line, folder)


def _run_line(line, folder):
    command = f"{sys.executable} -m raysearch.cli {line.removeprefix('$ raysearch ')}"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    # 1: done, and some of the demo's observations are damaged on purpose
    assert done.returncode in (0, 1), f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch, one_ray, demo):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "PYTHONPATH", str(ROOT))
    names: dict[str, object] = {}
    for block in BLOCK.finditer(page.read_text()):
        if block["file"]:
            Path(block["file"]).write_text(block["text"])
        elif block["kind"] == "python":
            exec(compile(block["text"], f"{page.name}", "exec"), names)
        elif block["kind"] == "console":
            _run_console(block["text"], tmp_path, demo)


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
