"""Stand-ins for each protocol of `raysearch.model`, without I/O, for tests of engines, readers and detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from raysearch.errors import ProductNotFound
from raysearch.model import Archive, Candidate, Detector, Line, Observation, Pixels, Query, Reader, Store, Usage, Window


def fake_pixels(obs_id: str, *, planes: int = 5, ny: int = 4, nx: int = 3, value: float = 1.0, target: str = "") -> Pixels:
    """Return pixels with one window around 5.340 um, all voxels of one value."""
    sci = np.full((planes, ny, nx), value, dtype=np.float32)
    sci.flags.writeable = False
    middle = planes // 2
    window = Window(
        line=Line("[Fe II] 5.340", 5.340),
        redshift=0.0,
        targets=(target,) if target else (),
        position=middle,
        start=0,
        cube_planes=planes,
        wavelength_um=5.340 + 0.001 * (np.arange(planes, dtype=np.float64) - middle),
        planes={"SCI": sci},
    )
    return Pixels(obs_id=obs_id, uri=f"memory://{obs_id}", windows=(window,))


@dataclass
class FakeReader:
    """A Reader that has its answers ready: for each obs_id pixels, or an error to raise; small constant pixels for the rest."""

    answers: Mapping[str, Pixels | Exception] = field(default_factory=dict)
    closed: bool = False

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        """Return the answer for an observation, charged as one request of its bytes."""
        answer = self.answers.get(observation.obs_id)
        usage.requests += 1
        if isinstance(answer, Exception):
            raise answer
        pixels = answer or fake_pixels(observation.obs_id)
        usage.bytes_read += pixels.nbytes
        return pixels

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


class FakeDetector:
    """A Detector that reports the brightest voxel of each window brighter than a threshold."""

    window: int | None = 2
    columns: Mapping[str, str] = {"peak": "f4"}

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def detect(self, pixels: Pixels) -> list[Candidate]:
        """Return one record for each window whose brightest voxel exceeds the threshold."""
        peaks = [(window, float(np.nanmax(window.sci))) for window in pixels.windows]
        return [
            Candidate(
                target=window.target,
                values={"peak": peak},
                line=window.line.name,
                rest_um=window.line.rest_um,
                wavelength_um=float(window.wavelength_um[window.position - window.start]),
            )
            for window, peak in peaks
            if peak > self.threshold
        ]


@dataclass
class FakeStore:
    """A Store of files in memory: uri -> bytes, or an error to raise."""

    files: Mapping[str, bytes | Exception] = field(default_factory=dict)
    asked: list[tuple[str, tuple[int, int] | None]] = field(default_factory=list)
    """Each request: the uri, and the range or None for the whole file."""
    closed: bool = False

    async def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]], usage: Usage) -> list[bytes]:
        """Return the bytes of each `(start, end)`, end exclusive."""
        return [self._answer(uri, (start, end), usage) for start, end in ranges]

    async def get(self, uri: str, usage: Usage) -> bytes:
        """Return the whole file."""
        return self._answer(uri, None, usage)

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _answer(self, uri: str, span: tuple[int, int] | None, usage: Usage) -> bytes:
        self.asked.append((uri, span))
        usage.requests += 1
        content = self.files.get(uri)
        if content is None:
            raise ProductNotFound(f"{uri}: no such file in this FakeStore")
        if isinstance(content, Exception):
            raise content
        piece = content if span is None else content[span[0] : span[1]]
        usage.bytes_read += len(piece)
        return piece


@dataclass
class FakeArchive:
    """An Archive that knows one table, and where the product of each obs_id is."""

    table: pa.Table
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return the table."""
        return self.table, [Query("fake", "memory:", "everything", self.table.num_rows, 0.0)]

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return the places of each row's product; none for those unknown."""
        places = [self.places.get(obs_id, ()) for obs_id in table["obs_id"].to_pylist()]
        return places, [Query("fake", "memory:", "places", sum(map(bool, places)), 0.0)]


_archive: type[Archive] = FakeArchive
_detector: type[Detector] = FakeDetector
_reader: type[Reader] = FakeReader
_store: type[Store] = FakeStore
