"""What is found: candidates, limits, figures, and how each observation ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysearch.model.asked import Status


@dataclass(frozen=True, slots=True)
class Curve:
    """What a Detector made of one window before it decided, for the figure that shows why."""

    wavelength_um: NDArray[np.floating[Any]]
    """Micrometres, increasing, shape (n,)."""
    value: NDArray[np.floating[Any]]
    """What the detector looks at, shape (n,); NaN where there is nothing."""
    name: str
    """What that is, as an axis says it: `highest S/N of the matched filter`."""
    threshold: float = math.nan
    """Above it a line counts as found; NaN where no one value decides."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One record of a Detector; the engine adds obs_id, uri and config_hash."""

    target: str
    """The target this record is about; empty where the search has none."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The detector's own columns, exactly those of its `columns`."""
    line: str = ""
    """Name of the line; line searches only."""
    rest_um: float = math.nan
    """Rest wavelength, micrometres; line searches only."""
    wavelength_um: float = math.nan
    """Wavelength at which it was found, micrometres; line searches only."""
    curve: Curve | None = field(default=None, compare=False, repr=False)
    """What its window looked like to the detector, for the figures alone: no table keeps it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of what was found, for the report."""

    candidate: int
    """Which of the observation's candidates it shows, counted from 0; -1: the whole observation."""
    name: str
    """What it shows, unique for its candidate: `planes`, `map`, `curve`, `spectrum`, `triptych`, ..."""
    svg: bytes
    """An SVG document, UTF-8, that needs nothing from outside; empty where it could not be drawn."""
    alt: str
    """What is seen, in words and numbers, for those who cannot see it; or why there is nothing to see."""


@dataclass(frozen=True, slots=True)
class Triptych:
    """A region in two bands on one grid, as a Detector of pairs compared them, for the figure of it; arrays of shape (y, x)."""

    target: str
    """Around which the region lies."""
    a: NDArray[np.floating[Any]]
    """The band of the shorter wavelength; NaN where it was not used."""
    b: NDArray[np.floating[Any]]
    """That of the longer."""
    difference: NDArray[np.floating[Any]]
    """b - a, or whatever the detector searches; NaN where it did not."""
    unit: str
    """Of all three."""
    header: str
    """Of the grid: FITS cards of 80 characters."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a searched line without a candidate cannot exceed: the other kind of record of a Detector."""

    target: str
    """The nearest target of the line's window; empty where the search has none."""
    line: str
    """Name of the line."""
    rest_um: float
    """Rest wavelength, micrometres."""
    wavelength_um: float
    """Wavelength at which it was expected, micrometres."""
    flux: float
    """Integrated flux that would have been found with a probability of 95 %, W m^-2; NaN where it cannot be told."""
    note: str = ""
    """Where and for what shape the limit holds, or why there is none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one observation ended."""

    obs_id: str
    status: Status
    reason: str = ""
    """Why it was skipped or failed, in words a user can act on."""
    uri: str = ""
    """Where the pixels came from; for the unread, where they would have."""
    candidates: int = 0
    """Records in the candidate table."""
    bytes_read: int = 0
    requests: int = 0
    seconds: float = 0.0
    """Time spent on it, reading, detecting and drawing; waiting in queues is not counted."""
    limits: tuple[Limit, ...] = ()
    """What the searched lines without a candidate cannot exceed, from detectors that tell."""
    ranges: tuple[tuple[int, int], ...] = ()
    """Of a detected one: which bytes of the product were read, (start, end), end exclusive; none where it was read whole."""
    figures_seconds: float = 0.0
    """Of `seconds`, those in which its figures were drawn."""
    file_bytes: int = 0
    """Bytes of the whole product (of a pair, of both), as the store told while it was read; 0 where it did not."""
    retries: tuple[tuple[str, int], ...] = ()
    """Of `requests`, those sent again after a failure: (host, how many), in alphabetical order."""
    detect_seconds: float = 0.0
    """Of `seconds`, those in which its Detector was at work."""


LIMIT_TYPE = pa.struct(
    [
        pa.field("line", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("rest_um", pa.float64(), nullable=False),
        pa.field("wavelength_um", pa.float64(), nullable=False),
        pa.field("flux", pa.float64(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
    ]
)
"""A `Limit`: wavelengths in micrometres, the flux in W m^-2, NaN where it cannot be told."""

RANGE_TYPE = pa.struct([pa.field("start", pa.int64(), nullable=False), pa.field("end", pa.int64(), nullable=False)])
"""Bytes of a product, counted from 0; `end` is the one after the last."""

RETRY_TYPE = pa.struct([pa.field("host", pa.string(), nullable=False), pa.field("count", pa.int64(), nullable=False)])
"""How many requests to a host were sent again."""

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("candidates", pa.int64(), nullable=False),
        pa.field("bytes_read", pa.int64(), nullable=False),
        pa.field("requests", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("limits", pa.list_(LIMIT_TYPE), nullable=False),
        pa.field("ranges", pa.list_(RANGE_TYPE), nullable=False),
        pa.field("figures_seconds", pa.float64(), nullable=False),
        pa.field("file_bytes", pa.int64(), nullable=False),
        pa.field("retries", pa.list_(RETRY_TYPE), nullable=False),
        pa.field("detect_seconds", pa.float64(), nullable=False),
    ]
)
"""The columns of an outcome table; older parts lack some of the last six, and are read with empty lists and 0."""

FIGURE_SCHEMA = pa.schema(
    [
        pa.field("obs_id", pa.string(), nullable=False),
        pa.field("candidate", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("svg", pa.binary(), nullable=False),
        pa.field("alt", pa.string(), nullable=False),
    ]
)
"""The columns of a table of figures: those of a `Figure`, its document compressed by gzip; where it is empty, `alt` says why."""
