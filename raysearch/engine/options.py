"""Where and how large the engine runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

SHARD_SIZE = 64
"""Observations in a shard of a large work list: measured, see scripts/benchmarks/engine.py."""
STORE_BYTES = 512 * 2**20
"""Shared memory for pixels between loaders and detectors, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where and how large the engine runs; nothing here changes a result."""

    engine: str = "ray"
    """`ray`, or `inline`: in this process, without Ray."""
    address: str = "local"
    """`local` starts a Ray of its own on this machine; `auto` or `host:port` joins a cluster."""
    detectors: int = 0
    """Detectors in all, one CPU each; 0 for one on every CPU. Those that find no CPU free start when one is, or a node joins."""
    detector_cpus: int = 1
    """CPUs that each claims: more where a node has no memory for one on each."""
    loaders: int = 1
    """Loaders on each node."""
    object_store_bytes: int = STORE_BYTES
    """Shared memory for pixels between loader and detector, for `local`; it is reserved, and used as far as needed."""
    memory: int = 0
    """Bytes that all processes on a node may have together, see `engine.memory`; 0: no bound, and the sizes given elsewhere."""
    dashboard: bool = False
    """Start Ray's dashboard, for `local`: 3 s and 1 GB more."""


def shard_size_for(observations: int, options: EngineOptions) -> int:
    """Return how many observations make a shard: `SHARD_SIZE`, or fewer where some workers would otherwise have none."""
    workers = options.detectors or os.cpu_count() or 1
    return max(1, min(SHARD_SIZE, observations // (4 * workers)))
