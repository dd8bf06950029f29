"""Ray itself: started quietly or joined, and left as it was found; and what its workers are sent."""

from __future__ import annotations

import logging
import os
import socket
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import PicklingError
from types import ModuleType
from typing import Any

from raysearch.engine.job import Job
from raysearch.engine.options import EngineOptions
from raysearch.engine.signals import outliving_terminals
from raysearch.errors import ConfigError

# RAY_AUTH_MODE is left alone: `ray.init` lets nobody in without a token by its own default, also where ray was imported before,
# which a variable set only then would break.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_free_objects_batch_size": "4",  # by default 100 consumed objects stay in the store before one is freed
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its future default; unset, every worker warns
    # Told among the user's output, at length; the outcome says which observation it was, and why.
    "RAY_DEDUP_LOGS_SKIP_REGEX": r"A worker died or was killed while executing a task|Task (Loader|Detector)\.\w+ failed",
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
    prepare()
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ""
        return
    try:
        _knock(options.address)
        with outliving_terminals():
            context = ray.init(options.address, logging_level=logging.ERROR, log_to_driver=False, **_local(options))
    except Exception as exc:  # where a part of Ray does not start in time, it raises just that
        cure = (
            'start one with `ray start --head`, or set run.address = "local"'
            if options.address != "local"
            else 'give it room in /tmp (or RAY_TMPDIR) and /dev/shm, and a HOME for its token, or set run.engine = "inline"'
        )
        raise ConfigError(f"Ray cannot be had at address {options.address!r}: {exc}; {cure}") from exc
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def prepare() -> None:
    """Set the environment that the processes of a Ray started from here inherit; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def is_running() -> bool:
    """Return whether Ray runs in this process; does not import it."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def largest_node() -> int:
    """Return how many CPUs the largest node has that is alive; 1 where there is none yet."""
    import ray

    return max([1, *(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])])


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
