"""Ray itself: started quietly or joined, and left as it was found; and the actors on its nodes."""

from __future__ import annotations

import logging
import os
import socket
import sys
import sysconfig
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pickle import PicklingError
from types import ModuleType
from typing import Any

from raysearch.engine.job import Job
from raysearch.engine.options import EngineOptions
from raysearch.errors import ConfigError

# RAY_AUTH_MODE is left alone: `ray.init` lets nobody in without a token by its own default, also where ray was imported before,
# which a variable set only then would break.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_free_objects_batch_size": "4",  # by default 100 consumed objects stay in the store before one is freed
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its future default; unset, every worker warns
}


@contextmanager
def ray_running(options: EngineOptions) -> Iterator[str]:
    """Have Ray running inside: one that runs already in this process stays, one that was started or joined is left again.

    Yields the dashboard's address, empty where there is none.

    Raises
    ------
    ConfigError
        Ray cannot be started, or there is none at the address.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ""
        return
    try:
        _knock(options.address)
        context = ray.init(options.address, logging_level=logging.ERROR, log_to_driver=False, **_local(options))
    except (OSError, ValueError, RuntimeError, TimeoutError) as exc:
        cure = (
            'start one with `ray start --head`, or set run.address = "local"'
            if options.address != "local"
            else 'set run.engine = "inline"'
        )
        raise ConfigError(f"Ray cannot be had at address {options.address!r}: {exc}; {cure}") from exc
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def is_running() -> bool:
    """Return whether Ray runs in this process; does not import it."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray itself would try for five minutes, and then end the process."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=5).close()


def _local(options: EngineOptions) -> dict[str, Any]:
    """Return the options that only a Ray of one's own may be given."""
    if options.address != "local":
        return {}
    return {
        "num_cpus": options.detectors or None,
        "object_store_memory": options.object_store_bytes,
        "include_dashboard": options.dashboard,
    }


@dataclass(frozen=True, slots=True)
class Node:
    """The actors of one node; its detectors prefer its loaders, so that pixels stay on it."""

    loaders: tuple[Any, ...]
    detectors: tuple[Any, ...]


@contextmanager
def actors(job: Job, options: EngineOptions) -> Iterator[tuple[Node, ...]]:
    """Have loaders and detectors on every node inside, under names of their own; they are ended afterwards.

    Raises
    ------
    ConfigError
        No node has a CPU, or the Reader or Detector cannot be pickled.
    """
    import ray

    namespace = f"raysearch-{uuid.uuid4().hex[:8]}"
    # Loaders draw nothing: without the illustrator they need not import what it draws with.
    nodes = tuple(_spawn(pickled(replace(job, illustrator=None)), pickled(job), namespace, options))
    try:
        yield nodes
    finally:
        for actor in _everyone(nodes):
            ray.kill(actor)


def wait(nodes: Sequence[Node]) -> None:
    """Wait until every actor lives.

    Raises
    ------
    ConfigError
        The Reader or Detector cannot be unpickled there.
    """
    import ray

    try:
        ray.get([actor.ready.remote() for actor in _everyone(nodes)])
    except ray.exceptions.RayError as exc:
        cure = "install the module it needs on every node"
        raise ConfigError(f"the reader or the detector does not work in a Ray worker: {exc}; {cure}") from exc


def _everyone(nodes: Sequence[Node]) -> list[Any]:
    return [actor for node in nodes for actor in (*node.loaders, *node.detectors)]


def _spawn(reading: bytes, detecting: bytes, namespace: str, options: EngineOptions) -> Iterator[Node]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from raysearch.engine.actors import SHARDS_AT_ONCE, Detector, Loader

    left = options.detectors or None
    count = {"loader": 0, "detector": 0}

    def make(kind: type, role: str, payload: bytes, node_id: str, **settings: Any) -> Any:
        name = f"raysearch-{role}-{count[role]}"
        count[role] += 1
        strategy = NodeAffinitySchedulingStrategy(node_id, soft=True)
        placed = ray.remote(kind).options(name=name, namespace=namespace, max_restarts=-1, scheduling_strategy=strategy, **settings)
        return placed.remote(payload)

    for node_id, cpus in _nodes():
        detectors = cpus if left is None else min(cpus, left)
        if detectors == 0:
            continue
        left = None if left is None else left - detectors
        streams = detectors * SHARDS_AT_ONCE
        yield Node(
            loaders=tuple(
                make(Loader, "loader", reading, node_id, num_cpus=0, max_concurrency=2 * streams + 8)
                for _ in range(options.loaders)
            ),
            # One more than the shards it pulls, so that `ready` is answered while it is busy.
            detectors=tuple(
                make(Detector, "detector", detecting, node_id, num_cpus=1, max_concurrency=SHARDS_AT_ONCE + 1)
                for _ in range(detectors)
            ),
        )
    if not count["detector"]:
        raise ConfigError('no node of the Ray cluster has a CPU: add one, or set run.engine = "inline"')


def _nodes() -> list[tuple[str, int]]:
    """Return the nodes with all their CPUs: those just set free are told too late to count on."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return [(node["NodeID"], int(node["Resources"].get("CPU", 0))) for node in alive]


def pickled(job: Job) -> bytes:
    """Return the job as bytes; code outside any installed package travels with it, since workers could not import it.

    Raises
    ------
    ConfigError
        The Reader or the Detector holds something that cannot be pickled.
    """
    from ray import cloudpickle

    modules = [
        module for module in map(_root_module, (job.reader, job.detector, job.illustrator)) if module and not _installed(module)
    ]
    registered = cloudpickle.list_registry_pickle_by_value()
    ours = {module.__name__: module for module in modules if module.__name__ not in registered}
    for module in ours.values():
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(job))
    except (PicklingError, TypeError, AttributeError, ValueError, RuntimeError) as exc:
        raise ConfigError(
            f"the reader or the detector cannot be sent to a Ray worker: {exc}; open files and connections on first use"
        ) from exc
    finally:
        for module in ours.values():
            cloudpickle.unregister_pickle_by_value(module)


def _root_module(thing: object) -> ModuleType | None:
    """Return the outermost package that a thing's class comes from; None for a class of no known module, which is always sent."""
    name = type(thing).__module__
    return sys.modules.get(name.partition(".")[0]) or sys.modules.get(name)


def _installed(module: ModuleType) -> bool:
    """Return whether workers can import a module by its name; `__main__` is always sent."""
    if module.__name__ in ("raysearch", "__main__", "builtins"):
        return True
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
    return any(file.startswith(sysconfig.get_path(place) + os.sep) for place in ("stdlib", "purelib", "platlib"))
