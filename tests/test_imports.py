"""The rules of the house: which room may import which."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "raysearch"
ROOMS = {"sky", "read", "detect", "engine", "plot", "report"}
STORES = {"read/store.py", "read/s3.py", "read/resolver.py"}
FRONT = {
    "search",
    "result",
    "products",
    "exports",
    "worklist",
    "pairs",
    "sources",
    "cli_after",
    "cli_status",
    "pages",
    "cli",
    "__init__",
}
SOCKETS = {"socket", "obstore", "s3fs", "aiohttp", "requests", "urllib3", "boto3", "botocore", "aiobotocore", "pyvo", "astroquery"}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(path.relative_to(PACKAGE.parent).parts[: -node.level]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def _rooms_used(path: Path) -> set[str]:
    return {name.split(".")[1] for name in _imports(path) if name.startswith("raysearch.")}


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _broken(rule):
    return [f"{path.relative_to(PACKAGE)} imports {name}" for path, room in _modules() for name in rule(path, room)]


def test_model_and_errors_import_nothing_of_ours():
    assert not _broken(lambda path, room: _rooms_used(path) - {room} if room in {"model", "errors"} else ())


def test_rooms_do_not_import_each_other():
    def rule(path, room):
        allowed = {"plot"} if room == "report" else set()
        return (_rooms_used(path) & ROOMS) - {room} - allowed if room in ROOMS else ()

    assert not _broken(rule)


def test_rooms_import_nothing_of_the_front():
    assert not _broken(lambda path, room: _rooms_used(path) & FRONT if room in ROOMS | {"archives"} else ())


def test_archives_use_nothing_of_the_rooms_but_the_store_and_the_addresses():
    def rule(path, room):
        used = {n for n in _imports(path) if n.startswith("raysearch.") and n.split(".")[1] in ROOMS}
        return {n for n in used if not n.startswith(("raysearch.read.store", "raysearch.read.addresses"))}

    assert not _broken(lambda path, room: rule(path, room) if room == "archives" else ())


def test_only_the_engine_imports_ray():
    assert not _broken(lambda path, room: {n for n in _imports(path) if n.split(".")[0] == "ray"} if room != "engine" else ())


def test_only_the_demo_command_uses_testing():
    assert not _broken(lambda path, room: _rooms_used(path) & {"testing"} if room not in {"testing", "cli"} else ())


def test_only_the_store_and_its_resolver_open_sockets_for_pixels():
    def rule(path, room):
        name = path.relative_to(PACKAGE).as_posix()
        allowed = room in {"archives", "testing"} or name in STORES or name == "engine/folder/s3.py"  # which holds run folders
        used = {n for n in _imports(path) if n.split(".")[0] in SOCKETS}
        # The engine knocks at Ray's port.
        return () if allowed else used - {"socket"} if room == "engine" else used

    assert not _broken(rule)


def test_only_the_front_imports_several_rooms():
    assert not _broken(lambda path, room: () if room in FRONT | ROOMS | {"testing", "archives"} else _rooms_used(path) & ROOMS)
