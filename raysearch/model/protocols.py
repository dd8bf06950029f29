"""Who does it: the protocols of stores, readers, detectors, illustrators and archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import pyarrow as pa

from raysearch.model.asked import Observation, Query
from raysearch.model.found import Candidate, Figure, Limit
from raysearch.model.pixels import Pixels, Usage


class Store(Protocol):
    """Byte ranges of products. Every request is charged to `usage`, has time-outs, and is retried within a budget."""

    async def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]], usage: Usage) -> list[bytes]:
        """Return the bytes of each `(start, end)` (end exclusive), in the order asked, one request each, at the same time.

        A range that begins inside the file and ends beyond it gives what there is; one that begins beyond it gives `b""`.

        Raises
        ------
        ReadError
            The most fitting of its kind; `ProductReplaced` where an answer is of another version than the one in `usage.versions`.
        """
        ...

    async def get(self, uri: str, usage: Usage) -> bytes:
        """Return the whole file in one request."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Turns an observation into pixels. Picklable; opens connections on first use, in the process that uses it.

    One more attribute is optional: `asks_for_room` (False if absent), where `read` awaits `usage.room` before it fetches more than
    headers. Without it, what was read before tells how many reads fit into memory, and nothing is refused for its size.
    """

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        """Return the pixels asked for; many reads run at the same time.

        Raises
        ------
        NothingToSearch
            The product is sound but holds nothing to search: the observation becomes `skipped`.
        RaysearchError
            Anything else: it becomes `failed`.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Turns pixels into records: no I/O, no state from one observation to the next.

    A few more attributes are optional. `velocity` (km/s, 0 if absent): how far from its target's redshift a line may lie; the
    planes that this covers are `Window.searched`, and windows of targets whose ranges overlap or touch become one. `extensions`
    (texts, none if absent): what `Window.planes` shall hold beside `SCI`, by role: `ERR` (one standard deviation, in SCI's unit),
    `DQ` (integers, not 0: bad), `WMAP` (weight, coverage or exposure, 0: no data), or by an extension's own name. What a file
    lacks, or has in another shape than SCI, is absent there. `needs` (texts, none if absent): the extensions that it must have of
    an image, beside those that the search asks for. `triptych(pixels)`, called for a pair where figures are drawn: one `Triptych`
    for each region that can be searched.
    """

    window: int | None
    """Planes needed on each side of a line, or of the range in which it is searched; None for the whole cube."""
    columns: Mapping[str, str]
    """Name -> type of the values in its candidates: a NumPy dtype ("f8", "f4", "i8", "i4", "bool"), "str", or "bytes" (a file's
    content, such as a small FITS map)."""

    def detect(self, pixels: Pixels) -> Sequence[Candidate | Limit]:
        """Return the records, in a list: a Candidate for what was found, a Limit for a searched line that was not, if it can tell.

        A list without candidates means that everything was searched and nothing found.
        """
        ...


@runtime_checkable
class Illustrator(Protocol):
    """Draws what a Detector found while the pixels are at hand. Picklable; no I/O."""

    def draw(self, pixels: Pixels, records: Sequence[Candidate | Limit]) -> Sequence[Figure]:
        """Return figures of the observation's candidates, counted in the order of the records."""
        ...


class Archive(Protocol):
    """Answers which observations exist, and where their products are."""

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return ObsCore-like rows (obs_id, s_region, em_min and em_max in metres, the archive's own columns), and what was asked.

        Raises
        ------
        ArchiveError
            Also where the answer is incomplete.
        """
        ...

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its product can be had, in order of preference (empty: nowhere), and what was asked."""
        ...
