"""How `[run] memory` is shared out: among Ray, the driver, the loaders and what they hold, the object store, and the detectors.

What processes need before they do anything was measured (PSS, Linux, `scripts/benchmarks/memory.py --idle`), and is rounded up. Of
what is left, `PIXELS` is for the bytes of observations: as they are read and decoded in the loaders, and as they lie in the object
store. The rest is the detectors'.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from raysearch.engine.options import STORE_BYTES, EngineOptions
from raysearch.errors import ConfigError, TooLarge

MB = 10**6
RAY = 410 * MB
"""Ray's own processes, where it is started for the run: 360 MB."""
DRIVER = 280 * MB
"""200 to 240 MB, with the work list of some thousand observations."""
LOADER = 150 * MB
"""100 to 130 MB each."""
DETECTOR = 200 * MB
"""150 to 190 MB each, with SciPy."""
WORK = 120 * MB
"""What a detector must have for its work at the least."""
PIXELS = 0.6
"""Part of what the processes leave that is for pixels."""
STORE = 0.56
"""The object store, in parts of what the loaders may hold: an observation lies there as arrays alone, which are at most half of
what it needs to be read (bytes and arrays); and a tenth more, because the store cannot fill its gaps."""
FULL = 1.12
"""How much larger the object store is than what may lie in it."""
_HELD = 512 * 2**20
"""What a loader holds where nothing is declared."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Who may have how many bytes on one node. Where nothing is declared, nothing is refused."""

    declared: int = 0
    """What `[run] memory` says; 0: nothing."""
    processes: int = 0
    """Ray, driver and loaders, before they hold anything."""
    loaders: int = 1
    store: float = STORE
    """The object store, in parts of what the loaders hold."""
    held_bytes: int = _HELD
    """What each loader holds: the bytes of files as they come, and the arrays made of them."""
    store_bytes: int = 0
    """The object store's size; 0: that of the options."""
    detectors: int = 0
    """How many detectors a node may have; 0: any number."""
    worker_bytes: int = 0
    """A detector's own memory, above which it is ended; 0: no bound. What lies in the object store is not its own."""

    @property
    def stored_bytes(self) -> int:
        """What of each loader's observations may lie in the object store; where nothing is declared, most of the usual size."""
        return int((self.store_bytes / self.loaders if self.declared else STORE_BYTES) / FULL)

    @property
    def loader_bytes(self) -> int:
        """A loader's own memory, above which it is ended; 0: no bound. A quarter more than it should ever have."""
        return int(1.25 * (LOADER + self.held_bytes)) if self.declared else 0

    def check(self, nbytes: int) -> None:
        """Raise TooLarge where an observation needs more than a loader may hold."""
        if not self.declared or nbytes <= self.held_bytes:
            return
        enough = self.processes + self.loaders * nbytes * (1 + self.store) / PIXELS
        raise TooLarge(
            f'needs {told(nbytes)} of memory, more than the {told(self.held_bytes)} that run.memory = "{told(self.declared)}" '
            f'leaves for one observation: set run.memory to at least "{_advised(enough)}"'
        )


def shares(options: EngineOptions, cpus: int = 0) -> Shares:
    """Return how the declared memory is shared out on a node of so many CPUs (0: as many as this machine has).

    Raises
    ------
    ConfigError
        It is too little to work with.
    """
    if not options.memory:
        return Shares()
    ray = options.engine == "ray"
    loaders = options.loaders if ray else 1
    processes = DRIVER + loaders * LOADER * ray + RAY * (ray and options.address == "local")
    detector = DETECTOR + WORK if ray else WORK
    left = options.memory - processes
    if left * (1 - PIXELS) < detector:
        cure = "" if not ray else '; or set run.engine = "inline", which needs less'
        raise ConfigError(
            f'run.memory = "{told(options.memory)}" is too little: {"Ray, " if ray else ""}the libraries and one detector need '
            f'"{_advised(processes + detector / (1 - PIXELS))}"{cure}'
        )
    store = STORE if ray else 0.0
    held = int(left * PIXELS / (1 + store) / loaders)
    asked = min(options.detectors or math.inf, cpus or options.detectors or os.cpu_count() or 1) if ray else 1
    number = int(min(asked, left * (1 - PIXELS) // detector))
    return Shares(
        declared=options.memory,
        processes=processes,
        loaders=loaders,
        store=store,
        held_bytes=held,
        store_bytes=int(held * loaders * store),
        detectors=number,
        worker_bytes=int(left * (1 - PIXELS) / number),
    )


def told(nbytes: float) -> str:
    """Return a number of bytes as `[run] memory` takes it, in three digits: `1.04 GB`."""
    unit, size = next(((unit, size) for unit, size in (("TB", 1e12), ("GB", 1e9)) if nbytes >= 0.9995 * size), ("MB", 1e6))
    return f"{float(f'{nbytes / size:.3g}'):g} {unit}"


def _advised(nbytes: float) -> str:
    """Return a number of bytes in tenths of a GB, or three digits where it is longer, rounded up."""
    step = max(100 * MB, 10 ** (math.floor(math.log10(nbytes)) - 2))
    return told(math.ceil(nbytes / step) * step)
