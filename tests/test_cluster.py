"""What users start a cluster with: its file, its nodes' environment, and the script that they submit."""

import copy
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch import cli
from raysearch.engine.workers.cluster import ENVIRONMENT

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "cluster.yaml").read_text()))


def _validated(config: dict[str, Any]) -> dict[str, Any]:
    """Return the whole configuration as Ray's launcher takes it; private, but there is no other way without asking AWS."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = dict(prepare_config(copy.deepcopy(config)))
    validate_config(whole)
    return whole


def test_ray_takes_the_cluster_file(config: dict[str, Any]) -> None:
    whole = _validated(config)
    assert whole["available_node_types"]["worker"]["max_workers"] <= whole["max_workers"]
    assert whole["setup_commands"] == config["setup_commands"]  # none of Ray's own defaults, which install another Ray


@pytest.mark.parametrize(
    "fault", [{"max_wokers": 3}, {"max_workers": -1}, {"head_node_type": "haed"}, {"setup_commands": ["pip", 3]}]
)
def test_the_validation_finds_what_is_wrong(config: dict[str, Any], fault: dict[str, Any]) -> None:
    from jsonschema import ValidationError

    with pytest.raises((ValidationError, ValueError)):
        _validated(config | fault)


def test_workers_are_spot_instances_beside_the_data_and_the_head_has_no_detectors(config: dict[str, Any]) -> None:
    head, worker = config["available_node_types"]["head"], config["available_node_types"]["worker"]
    assert config["provider"]["region"] == "us-east-1"
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["min_workers"] == 0


def test_nobody_gets_in_without_the_token(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert _node_environment()["RAY_AUTH_MODE"] == "token"


def test_the_package_is_installed_with_the_versions_that_were_tested(config: dict[str, Any]) -> None:
    (source,) = [remote for remote, local in config["file_mounts"].items() if local == "."]
    assert f"{source}/scripts/install ~/env/bin/python" in config["setup_commands"]
    assert any(f". {source}/scripts/node_environment" in command for command in config["setup_commands"])
    assert not Path(source).name.isidentifier()  # in a login shell's folder Python would take it for the package


def test_the_walk_on_one_machine_installs_nothing(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its nodes share the environment that it is started from, which an installation would replace by a copy."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "trials")
    import cluster  # type: ignore[import-not-found,unused-ignore]

    here = cluster.on_this_host(config, tmp_path, 8265)
    commands = [command for name, commands in here.items() if name.endswith("_commands") for command in commands]
    assert any(command.startswith("ln -sfn") for command in commands)
    assert not [
        command for command in commands if any(word in command for word in ("pip", "install", "apt", "-m venv", "ray stop"))
    ]


def test_nodes_have_the_environment_that_was_measured() -> None:
    environment = _node_environment()
    told = {name: environment.get(name) for name in ("RAY_free_objects_batch_size", "RAY_USAGE_STATS_ENABLED")}
    assert told == {name: ENVIRONMENT[name] for name in told}
    assert environment["PATH"].startswith("/home/me/env/bin:")


def _node_environment() -> dict[str, str]:
    shell = ["bash", "--norc", "-c", f". {ROOT / 'scripts' / 'node_environment'}; env"]
    done = subprocess.run(shell, env={"HOME": "/home/me", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


@pytest.mark.parametrize("status", [0, 1, 2])
def test_what_is_submitted_is_a_run_on_the_cluster(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda arguments: asked.append(arguments) or status)
    monkeypatch.setattr("sys.argv", ["submit_search.py", "jets", "--out", "there", "--set", "run.detectors=64"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / "submit_search.py"), run_name="__main__")
    assert ended.value.code == status
    assert asked == [["run", "--set", "run.address=auto", "jets", "--out", "there", "--set", "run.detectors=64"]]
