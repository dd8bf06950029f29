import ast
import subprocess
import sys
from pathlib import Path

import pytest

import raysearch
import raysearch.testing


@pytest.mark.parametrize("module", [raysearch, raysearch.testing], ids=lambda module: module.__name__)
def test_everything_public_is_there(module):
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_what_type_checkers_see_is_what_there_is():
    tree = ast.parse(Path(raysearch.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(raysearch.__all__) - {"__version__"}


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        raysearch.serach  # noqa: B018


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from raysearch import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'pyarrow', 'astropy', 'ray', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
