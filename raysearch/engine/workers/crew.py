"""The actors of one run: detectors wherever Ray has a CPU for them, and loaders beside them."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from raysearch.engine.job import Job
from raysearch.engine.options import EngineOptions
from raysearch.engine.workers.cluster import pickled


@contextmanager
def crew(job: Job, options: EngineOptions, labels: dict[str, str]) -> Iterator[Crew]:
    """Have actors for a job inside, under names of their own; they are ended afterwards. `labels` go with all their metrics.

    Raises
    ------
    ConfigError
        The Reader or the Detector cannot be pickled.
    """
    made = Crew(job, options, labels)
    try:
        yield made
    finally:
        made.end()


class Crew:
    """Makes the actors of one run.

    A detector claims one CPU and no node: Ray places it where one is free, and again elsewhere when its node is lost. Those that
    find none wait, and are by that what an autoscaler sees as missing; when the run ends, however it ends, they are gone and so is
    the demand. A loader belongs to one node and is lost with it.
    """

    def __init__(self, job: Job, options: EngineOptions, labels: dict[str, str]) -> None:
        self.job = job
        self._options = options
        self._labels = labels
        # Loaders draw nothing: without the illustrator they need not import what it draws with.
        self._reading, self._detecting = pickled(replace(job, illustrator=None)), pickled(job)
        self._namespace = f"raysearch-{uuid.uuid4().hex[:8]}"
        self._detectors: list[Any] = []
        self._loaders: list[Any] = []
        self._doors = _doors()

    @property
    def has_ray(self) -> bool:
        """Whether Ray's server and this node's part of it are there; asks the system, not Ray, which would wait for them."""
        try:
            for door in self._doors:
                socket.create_connection(door, timeout=2).close()
        except OSError:
            return False
        return True

    def missing_detectors(self) -> list[Any]:
        """Start the detectors that are wanted and not made yet, and return them: as many as asked for, or one for every CPU."""
        from raysearch.engine.workers.actors import LATE_AT_ONCE, SHARDS_AT_ONCE, Detector

        # All CPUs, not the free ones: those just set free are told too late to count on.
        each = self._options.detector_cpus
        wanted = self._options.detectors or max(1, sum(cpus // each for cpus in _cpus().values()))
        # One more than the shards it pulls, so that `ready` is answered while it is busy.
        at_once = SHARDS_AT_ONCE + LATE_AT_ONCE + 1
        settings = {"num_cpus": each, "max_concurrency": at_once, "scheduling_strategy": "SPREAD"}
        new = [
            self._actor(Detector, f"detector-{number}", self._detecting, settings) for number in range(len(self._detectors), wanted)
        ]
        self._detectors += new
        return new

    def loaders(self, node_id: str) -> list[Any]:
        """Start the loaders of a node, and return them."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from raysearch.engine.workers.actors import LATE_AT_ONCE, SHARDS_AT_ONCE, Loader

        streams = _cpus().get(node_id, 1) * (SHARDS_AT_ONCE + LATE_AT_ONCE)
        place = NodeAffinitySchedulingStrategy(node_id, soft=False)
        settings = {"num_cpus": 0, "max_concurrency": 2 * streams + 8, "scheduling_strategy": place}
        first = len(self._loaders)
        new = [
            self._actor(Loader, f"loader-{number}", self._reading, settings)
            for number in range(first, first + self._options.loaders)
        ]
        self._loaders += new
        return new

    def lack(self) -> str:
        """Return what detectors wait for that do not start, and the cure."""
        import ray

        cpus = sum(_cpus().values())
        if not cpus:
            return (
                "waiting for a node with a CPU: the cluster has none; an autoscaler adds one in some minutes (`ray status` tells), "
                'elsewhere `ray start --address=HOST:PORT` does, or set run.address = "local"'
            )
        if ray.available_resources().get("CPU", 0) < 1:
            # By whom, Ray does not tell: a detector holds its CPU before its process stands.
            return (
                f"waiting for a free CPU: all {cpus} of this Ray are taken; unless detectors are just starting there, end what "
                'holds them (`ray list actors` tells), add a node, or set run.engine = "inline"'
            )
        return "waiting for the detectors to start"

    def end(self) -> None:
        """End every actor."""
        import ray

        for actor in (*self._detectors, *self._loaders):
            ray.kill(actor)

    def _actor(self, kind: type, name: str, payload: bytes, settings: dict[str, Any]) -> Any:
        import ray

        named = ray.remote(kind).options(name=f"raysearch-{name}", namespace=self._namespace, max_restarts=-1, **settings)
        return named.remote(payload, self._labels)


def _doors() -> list[tuple[str, int]]:
    """Return the addresses that Ray's server and this node's part of it listen at."""
    import ray

    here = ray.get_runtime_context()
    host, _, port = here.gcs_address.rpartition(":")
    nodes = [node for node in ray.nodes() if node["NodeID"] == here.get_node_id()]
    return [(host.strip("[]"), int(port)), *((node["NodeManagerAddress"], node["NodeManagerPort"]) for node in nodes)]


def _cpus() -> dict[str, int]:
    """Return the CPUs of each node that is alive, by the node's id."""
    import ray

    return {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
