"""A provider of nodes for Ray's cluster launcher that are all on this host: each a folder for a HOME and a loopback address.

What a node runs is known by its environment, and ended by that: nothing else on the host is touched. Its processes see a boot_id of
its own where Linux tells that of the host (by `unshare`): so leases of run folders take the nodes for machines, as elsewhere.
"""
# ruff: noqa: ARG002, PTH111 - the signatures are Ray's; and a Path would drop the slash at the end, which rsync goes by

import json
import os
import shlex
import subprocess
import uuid
from pathlib import Path
from typing import Any

import psutil
from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_provider import NodeProvider

MARK = "RAYSEARCH_NODE"
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Provider(NodeProvider):
    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self.folder = Path(provider_config["folder"])

    def _tags(self, node_id: str) -> Path:
        return self.folder / f"{node_id}.json"

    def homes(self) -> list[Path]:
        """Return the folders of all nodes there have been."""
        return [path for path in self.folder.glob("127.*") if path.is_dir()]

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        nodes = sorted(path.stem for path in self.folder.glob("127.*.json"))
        return [node for node in nodes if tag_filters.items() <= self.node_tags(node).items()]

    def is_running(self, node_id: str) -> bool:
        return self._tags(node_id).exists()

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        return dict(json.loads(self._tags(node_id).read_text()))

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        whole = self._tags(node_id).with_suffix(".tmp")
        whole.write_text(json.dumps((self.node_tags(node_id) if self.is_running(node_id) else {}) | tags))
        whole.replace(self._tags(node_id))

    def internal_ip(self, node_id: str) -> str:
        return node_id

    external_ip = internal_ip

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        for _ in range(count):
            node = f"127.0.0.{1 + len(self.homes())}"
            (self.folder / node).mkdir()
            boot(self.folder / node)
            self.set_node_tags(node, tags)

    def terminate_node(self, node_id: str) -> None:
        self._tags(node_id).unlink(missing_ok=True)
        for process in processes(self.folder / node_id):
            process.kill()

    def get_command_runner(self, log_prefix: str, node_id: str, *args: Any, **more: Any) -> "Shell":
        return Shell(self.folder / node_id)


class Shell(CommandRunnerInterface):
    """Runs commands in a login shell whose HOME is the node's folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(
        self,
        cmd: str = "true",
        *args: Any,
        with_output: bool = False,
        environment_variables: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        if "ray stop" in cmd:  # would end every Ray on this host
            return ""
        exports = "".join(
            f"export {name}={shlex.quote(json.dumps(value))}; " for name, value in (environment_variables or {}).items()
        )
        own = {"HOME": str(self.home), MARK: str(self.home), "NODE_IP": self.home.name, "RAY_TMPDIR": str(self.home.parent)}
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
        mounted = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'mount --bind "$1" {BOOT} && shift && exec "$@"', "sh"]
        done = subprocess.run(
            [*mounted, str(_boot_id(self.home)), "bash", "--login", "-c", exports + cmd],
            env=own | kept,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if with_output else None,
            check=True,
        )
        return (done.stdout or b"").decode()

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        excluded = [f"--exclude={pattern}" for pattern in (options or {}).get("rsync_exclude") or []]
        subprocess.run(["rsync", "-a", *excluded, os.path.expanduser(source), self._here(target)], check=True)

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        subprocess.run(["rsync", "-a", self._here(source), os.path.expanduser(target)], check=True)

    def remote_shell_command_str(self) -> str:
        return f"HOME={self.home} bash --login"

    def _here(self, path: str) -> str:
        return path.replace("~", str(self.home), 1)


def _boot_id(home: Path) -> Path:
    return home.with_name(f"{home.name}.boot_id")  # no suffix: an address has points of its own


def boot(home: Path) -> None:
    """Make a node another machine than it was, for whoever looks from now on."""
    _boot_id(home).write_text(f"{uuid.uuid4()}\n")


def processes(home: Path) -> list[psutil.Process]:
    """Return what a node runs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
