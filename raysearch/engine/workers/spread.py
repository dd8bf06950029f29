"""Independent pieces of work, done in this process or on every CPU of Ray: for what is no observation and needs no ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeAlias

from raysearch.engine.options import EngineOptions
from raysearch.errors import ConfigError

Spread: TypeAlias = Callable[[Callable[[Any, Any], Any], Any, Iterable[Any]], Iterator[Any]]
"""Yields `work(shared, item)` for each item, in any order."""

_WAITING = 2
"""Pieces that lie ready beyond those in work, so that no CPU waits for the driver."""


@contextmanager
def spreading(options: EngineOptions) -> Iterator[Spread]:
    """Have what spreads work inside: for `ray`, over the CPUs of a Ray that is started or joined and left again.

    Raises
    ------
    ConfigError
        Ray cannot be had.
    """
    if options.engine == "inline":
        yield lambda work, shared, items: (work(shared, item) for item in items)
        return
    from raysearch.engine.workers.cluster import ray_running

    with ray_running(options):
        yield _over_ray


def _over_ray(work: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
    """Yield the results as they come; a piece whose worker dies is done again, what a piece raises is raised here.

    Raises
    ------
    ConfigError
        A piece that ends its worker each time.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    piece = ray.remote(num_cpus=1)(_piece)
    both = ray.put((work, shared))  # once, not with every piece; its arrays are read where they lie
    left = iter(items)
    at_once = int(ray.cluster_resources().get("CPU", 1)) + _WAITING
    running = [piece.remote(both, item) for item in islice(left, at_once)]
    while running:
        (done,), running = ray.wait(running, num_returns=1)
        try:
            result = ray.get(done)
        except RayTaskError as exc:
            raise exc.cause if isinstance(exc.cause, Exception) else exc from exc
        except RayError as exc:
            raise ConfigError(
                f"a piece of the work ended its Ray worker each time ({type(exc).__name__}); where memory was short, give Ray "
                'fewer CPUs, or set run.engine = "inline"'
            ) from exc
        running += [piece.remote(both, item) for item in islice(left, 1)]
        yield result


def _piece(both: tuple[Callable[[Any, Any], Any], Any], item: Any) -> Any:
    return both[0](both[1], item)
