"""What can go wrong on the way, switched on one by one: each gives a different outcome in the real clients."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

ObjectFault = Literal["403", "404", "503", "stall", "reset", "truncate"]
"""503 is answered; a stall falls silent, a reset breaks and a truncate closes the connection half way through the body."""
SimbadFault = Literal["error", "503", "hang", "truncated"]
"""`error`: status 400 with a VOTable that says why; `truncated`: status 200 with half a VOTable."""
MastFault = Literal["error", "500", "504", "html", "hang"]
"""`error`: status 200 whose JSON says ERROR; `html`: status 200 with a page."""
LookupFault = Literal["absent", "503", "hang", "html"]
"""`absent`: unknown products are left out of path_lookup's answer, instead of null."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How the archive misbehaves; by default not at all."""

    delay: tuple[float, float] = (0.0, 0.0)
    """Seconds before the first byte of an answer about an object: uniform between the two."""
    bandwidth: float | None = None
    """Bytes per second of one response; None: as fast as it goes."""
    chance: Mapping[ObjectFault, float] = field(default_factory=dict)
    """Fault -> its probability for each request of an object."""
    keys: Mapping[str, ObjectFault] = field(default_factory=dict)
    """S3 key, or uri for Download/file, -> the fault of every request of it."""
    simbad: SimbadFault | None = None
    simbad_limit: int | None = None
    """Rows SIMBAD sends at most, whatever MAXREC says."""
    mast: MastFault | None = None
    """Of `invoke`."""
    executing: int = 0
    """How often `invoke` answers EXECUTING to a query before it is COMPLETE."""
    lookup: LookupFault | None = None
    """Of path_lookup."""
    strikes: int | None = None
    """How many requests of a service, and of each of `keys`, are struck before it recovers; None: all."""
    seed: int = 0

    def __post_init__(self) -> None:
        known = set(get_args(ObjectFault))
        unknown = (set(self.chance) | set(self.keys.values())) - known
        if unknown:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name in ("simbad", "mast", "lookup"):
            self._check(name)
        if not 0 <= sum(self.chance.values()) <= 1:
            raise ValueError("the probabilities of faults must add up to no more than 1")

    def _check(self, name: str) -> None:
        kinds = get_args({"simbad": SimbadFault, "mast": MastFault, "lookup": LookupFault}[name])
        value = getattr(self, name)
        if value is not None and value not in kinds:
            raise ValueError(f"no such fault of {name}: {value}; there are {', '.join(kinds)}")

    def to_json(self) -> dict[str, Any]:
        """Return the switches as they travel to the server."""
        return asdict(self)


class Injector:
    """Decides, request by request and reproducibly, what goes wrong (in the server process)."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)
        self._struck: Counter[str] = Counter()
        self._executing: Counter[str] = Counter()

    def of_object(self, name: str) -> ObjectFault | None:
        """Return the fault of this request of an object, if any."""
        fault = self.faults.keys.get(name)
        if fault is not None and self._strikes(name):
            return fault
        draw = self._random.random()
        for kind, chance in self.faults.chance.items():
            draw -= chance
            if draw < 0:
                return kind
        return None

    def simbad(self) -> SimbadFault | None:
        """Return the fault of this query, if any."""
        return self.faults.simbad if self.faults.simbad and self._strikes("simbad") else None

    def mast(self) -> MastFault | None:
        """Return the fault of this invoke, if any."""
        return self.faults.mast if self.faults.mast and self._strikes("mast") else None

    def lookup(self) -> LookupFault | None:
        """Return the fault of this path_lookup, if any."""
        return self.faults.lookup if self.faults.lookup and self._strikes("lookup") else None

    def still_executing(self, query: str) -> bool:
        """Return whether a query has to be asked again."""
        self._executing[query] += 1
        return self._executing[query] <= self.faults.executing

    def delay(self) -> float:
        """Return the seconds to the first byte of this answer."""
        return self._random.uniform(*self.faults.delay)

    def _strikes(self, name: str) -> bool:
        self._struck[name] += 1
        return self.faults.strikes is None or self._struck[name] <= self.faults.strikes
