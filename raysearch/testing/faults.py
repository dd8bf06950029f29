"""What can go wrong on the way, switched on one by one: each gives a different outcome in the real clients."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Service = Literal["simbad", "mast", "irsa", "heasarc", "registry", "s3"]
ObjectFault = Literal[
    "403", "404", "416", "429", "500", "503", "silent", "stall", "drip", "reset", "truncate", "short", "long", "whole",
    "redirect", "elsewhere", "loop", "replaced", "expired", "skewed", "gone", "lost",
]  # fmt: skip
"""Numbers are answered, 429 with a Retry-After of a second. `silent`: nothing comes; a stall falls silent, a reset breaks and a
truncate closes the connection half way through the body; `drip`: ten bytes a second; `short`: half of what was asked for comes,
with a Content-Length of just that; `long`: less than the Content-Length; `whole`: the whole file, whatever range was asked for.
`redirect`: to another address here, `elsewhere`: on another host (localhost), `loop`: to itself. `replaced`: the file is another
version, its pixels the same but all of them one block further on. `expired`: the credentials are; `skewed`: the client's clock is
wrong; `gone`: the bucket is; `lost`: what is written stands, but the connection breaks before the answer."""
ServiceFault = Literal["error", "429", "500", "503", "504", "html", "hang", "truncated", "half", "empty"]
"""`error`: status 400 with a VOTable that says why; `html`: status 200 with a page; `truncated`: status 200 with half a VOTable;
`half`: the connection closes half way through it; `empty`: no rows, whatever there is."""
MastFault = Literal["error", "500", "503", "504", "html", "hang", "page"]
"""`error`: status 200 whose JSON says ERROR; `html`: status 200 with a page; `page`: every page but the first has no rows."""
LookupFault = Literal["absent", "null", "403", "404", "503", "hang", "html"]
"""`absent`: unknown products are left out of path_lookup's answer, instead of null; `null`: no product has a path."""
CapabilitiesFault = Literal["404", "elsewhere"]
"""`elsewhere`: the document sends clients to an address where nobody answers."""
CutoutFault = Literal["400", "500", "503", "hang", "half"]
"""`400`: as if no cutout met its image; `half`: the connection closes half way through the body."""
DatalinkFault = Literal["older", "error", "503", "hang", "empty"]
"""`older`: semantics as HEASARC's prototype of 2022 had them, without `#this`."""

KINDS: Mapping[str, Any] = {
    "simbad": ServiceFault,
    "irsa": ServiceFault,
    "heasarc": ServiceFault,
    "registry": ServiceFault,
    "mast": MastFault,
    "lookup": LookupFault,
    "capabilities": CapabilitiesFault,
    "cutout": CutoutFault,
    "datalink": DatalinkFault,
}


@dataclass(frozen=True, slots=True)
class Faults:
    """How the archive misbehaves; by default not at all."""

    delay: tuple[float, float] = (0.0, 0.0)
    """Seconds before the first byte of every answer: uniform between the two."""
    bandwidth: float | None = None
    """Bytes per second of one response about an object; None: as fast as it goes."""
    chance: Mapping[ObjectFault, float] = field(default_factory=dict)
    """Fault -> its probability for each request of an object."""
    keys: Mapping[str, ObjectFault] = field(default_factory=dict)
    """S3 key, uri for Download/file, or path at IRSA or HEASARC (`ibe/data/...`, `FTP/...`) -> the fault of every request of it."""
    simbad: ServiceFault | None = None
    """Of SIMBAD's queries."""
    simbad_limit: int | None = None
    """Rows SIMBAD sends at most, whatever MAXREC says."""
    mast: MastFault | None = None
    """Of `invoke`."""
    executing: int = 0
    """How often `invoke` answers EXECUTING to a query before it is COMPLETE."""
    lookup: LookupFault | None = None
    """Of path_lookup."""
    irsa: ServiceFault | None = None
    """Of IRSA's queries, SIA2 and TAP."""
    irsa_limit: int | None = None
    """Rows IRSA sends at most, whatever MAXREC says."""
    capabilities: CapabilitiesFault | None = None
    """Of IRSA's SIA2 capabilities."""
    cutout: CutoutFault | None = None
    """Of IRSA's cutouts."""
    heasarc: ServiceFault | None = None
    """Of HEASARC's queries, SIA1 and TAP."""
    heasarc_limit: int | None = None
    """Rows HEASARC sends at most, whatever MAXREC says."""
    datalink: DatalinkFault | None = None
    """Of HEASARC's datalink."""
    registry: ServiceFault | None = None
    """Of the registry's queries."""
    s3_limit: int | None = None
    """Names S3 lists in one answer at most."""
    after: int = 0
    """How many requests of each of `keys` pass before its fault strikes."""
    strikes: int | None = None
    """How many requests of a service, and of each of `keys`, are struck before it recovers; None: all."""
    seed: int = 0

    def __post_init__(self) -> None:
        known = set(get_args(ObjectFault))
        unknown = (set(self.chance) | set(self.keys.values())) - known
        if unknown:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name in KINDS:
            self._check(name)
        if not 0 <= sum(self.chance.values()) <= 1:
            raise ValueError("the probabilities of faults must add up to no more than 1")

    def _check(self, name: str) -> None:
        kinds = get_args(KINDS[name])
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
        self._passed: Counter[str] = Counter()
        self._executing: Counter[str] = Counter()

    def of_object(self, name: str) -> ObjectFault | None:
        """Return the fault of this request of an object, if any."""
        fault = self.faults.keys.get(name)
        if fault is not None and self._passed[name] < self.faults.after:
            self._passed[name] += 1
            return None
        if fault is not None and self._strikes(name):
            return fault
        draw = self._random.random()
        for kind, chance in self.faults.chance.items():
            draw -= chance
            if draw < 0:
                return kind
        return None

    def service(self, name: Service) -> ServiceFault | None:
        """Return the fault of this query of a service that answers in VOTables, if any."""
        fault: ServiceFault | None = self._of(name)
        return fault

    def mast(self) -> MastFault | None:
        """Return the fault of this invoke, if any."""
        fault: MastFault | None = self._of("mast")
        return fault

    def lookup(self) -> LookupFault | None:
        """Return the fault of this path_lookup, if any."""
        fault: LookupFault | None = self._of("lookup")
        return fault

    def capabilities(self) -> CapabilitiesFault | None:
        """Return the fault of this request of SIA2's capabilities, if any."""
        fault: CapabilitiesFault | None = self._of("capabilities")
        return fault

    def cutout(self) -> CutoutFault | None:
        """Return the fault of this cutout, if any."""
        fault: CutoutFault | None = self._of("cutout")
        return fault

    def datalink(self) -> DatalinkFault | None:
        """Return the fault of this datalink, if any."""
        fault: DatalinkFault | None = self._of("datalink")
        return fault

    def row_limit(self, service: Service) -> int | None:
        """Return how many rows a service sends at most, if there is such a limit."""
        limit: int | None = getattr(self.faults, f"{service}_limit", None)
        return limit

    def still_executing(self, query: str) -> bool:
        """Return whether a query has to be asked again."""
        self._executing[query] += 1
        return self._executing[query] <= self.faults.executing

    def delay(self) -> float:
        """Return the seconds to the first byte of this answer."""
        return self._random.uniform(*self.faults.delay)

    def _of(self, name: str) -> Any:
        fault = getattr(self.faults, name)
        return fault if fault and self._strikes(name) else None

    def _strikes(self, name: str) -> bool:
        self._struck[name] += 1
        return self.faults.strikes is None or self._struck[name] <= self.faults.strikes
