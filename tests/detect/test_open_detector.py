"""Detectors by name."""

import subprocess
import sys

import pytest

from raysearch.detect import DETECTORS, default_options, open_detector
from raysearch.detect.published import Published
from raysearch.errors import ConfigError
from raysearch.model import Detector

OWN = """
from __future__ import annotations
from dataclasses import dataclass
from raysearch.model import Candidate, Pixels

@dataclass
class Brightest:
    floor: float = 1.5
    window = 3
    columns = {"peak": "f4"}
    def detect(self, pixels: Pixels) -> list[Candidate]:
        return [Candidate("", {"peak": self.floor})]

class Needs:
    def __init__(self, level): ...

class Lacks:
    window = 3

CONSTANT = 3
"""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, shipped in DETECTORS.items() for name in shipped])
def test_shipped_detectors_open(kind, name):
    assert isinstance(open_detector(name, default_options(name, kind), kind), Detector)


def test_a_detector_of_another_kind_of_search_is_told_as_such():
    with pytest.raises(
        ConfigError, match="no detector 'cutouts' of pairs: that one is for images; known are difference, published"
    ):
        open_detector("cutouts", kind="pairs")


def test_lists_are_options_that_a_search_file_can_hold():
    options = default_options("photometry", "images")
    assert {"apertures_px": [3.0, 4.0, 5.0], "annulus_px": [7.0, 16.0], "psf": True}.items() <= options.items()


def test_the_two_published_detectors_differ():
    assert [open_detector(name).as_printed for name in ("published", "published-as-printed")] == [False, True]


def test_a_dotted_path():
    assert isinstance(open_detector("raysearch.detect.published.Published"), Published)


def test_a_file(tmp_path):
    path = tmp_path / "my detector.py"
    path.write_text(OWN)
    detector = open_detector(f"{path}:Brightest")
    assert detector.detect(None)[0].values == {"peak": 1.5}
    assert type(detector).__module__ not in sys.modules, "Ray would look for the module on machines that lack it"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("publisched", "did you mean 'published'"),
        ("zzz", "known are lines, published, published-as-printed"),
        ("no_such_package.Thing", "there is no module 'no_such_package'"),
        ("raysearch.detect.nothing.Thing", "there is no module 'raysearch.detect.nothing'"),
        ("raysearch.detect.published.Publisched", "did you mean 'Published'"),
        ("nowhere/own.py:Thing", "'nowhere/own.py' is no Python file"),
        ("{own}:Brighter", "did you mean 'Brightest'"),
        ("{own}:Needs", "missing a required argument: 'level'"),
        ("{own}:Lacks", "lacks columns, detect"),
        ("{own}:CONSTANT", "has no class 'CONSTANT'"),
        ("", "no detector ''"),
        (".", "no detector '.'"),
    ],
)
def test_what_is_no_detector_is_a_sentence(tmp_path, name, message):
    own = tmp_path / "own.py"
    own.write_text(OWN)
    with pytest.raises(ConfigError) as caught:
        open_detector(name.format(own=own))
    assert message in str(caught.value)


def test_an_import_that_fails_inside_the_users_module_is_told_with_its_place(tmp_path, monkeypatch):
    (tmp_path / "mine_that_imports.py").write_text("import a_package_they_forgot")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"a_package_they_forgot.*mine_that_imports\.py, line 1"):
        open_detector("mine_that_imports.Thing")


def test_the_room_is_light():
    code = "import sys, raysearch.detect; print([m for m in ('scipy', 'astropy', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_options_that_nobody_set_are_known(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN + "class Many:\n    def __init__(self, a, b=1.5, c='x', d=None, e=True, f=float('inf')): ...\n")
    assert default_options(f"{path}:Brightest") == {"floor": 1.5}
    assert default_options(f"{path}:Many") == {"b": 1.5, "c": "x", "e": True}
    assert default_options("published") == {}


def test_options_go_to_the_detector():
    assert open_detector("raysearch.detect.published.Published", {"as_printed": True}).as_printed


@pytest.mark.parametrize("name", ["published", "raysearch.detect.published.Published"])
def test_an_option_it_does_not_take_is_named(name):
    with pytest.raises(ConfigError, match=r"'threshold'; the options it takes: (none|as_printed)"):
        open_detector(name, {"threshold": 3})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class A(:\n    pass", "line 1"),
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("class A:\n    def __init__(self):\n        1 / 0", "ZeroDivisionError: division by zero"),
        ("class A:\n    window, columns = '5', {}\n    def detect(self, pixels): ...", "window = '5'"),
        ("class A:\n    window, columns = 2.5, {}\n    def detect(self, pixels): ...", "window = 2.5"),
        ("class A:\n    window, columns = 5, ['snr']\n    def detect(self, pixels): ...", "columns = ['snr']"),
        ("class A:\n    window, columns = 5, {'snr': 8}\n    def detect(self, pixels): ...", "columns = {'snr': 8}"),
        ("class A:\n    window, columns, velocity = 5, {}, '500'\n    def detect(self, pixels): ...", "velocity = '500'"),
        ("class A:\n    window, columns, velocity = 5, {}, -1.0\n    def detect(self, pixels): ...", "number of km/s, 0 or more"),
        ("class A:\n    window, columns, velocity = 5, {}, True\n    def detect(self, pixels): ...", "velocity = True"),
        ("class A:\n    window, columns, velocity = 5, {}, float('nan')\n    def detect(self, pixels): ...", "velocity = nan"),
        ("class A:\n    window, columns, extensions = 5, {}, 'ERR'\n    def detect(self, pixels): ...", "extensions = 'ERR'"),
        (
            "class A:\n    window, columns, extensions = 5, {}, ['ERR', 2]\n    def detect(self, pixels): ...",
            "it is a list of texts",
        ),
        ("class A:\n    window, columns, needs = 5, {}, 'FLAGS'\n    def detect(self, pixels): ...", "needs = 'FLAGS'"),
    ],
)
def test_a_users_class_that_does_not_work_is_told_with_its_place(tmp_path, text, said):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        open_detector(f"{tmp_path}/own.py:A")
    assert said in str(caught.value)
    assert "own.py" in str(caught.value)
