"""Observations from any service of Simple Image Access 2 (IVOA SIA 2.0), through pyvo.

SIA2 has neither pages nor counts. An answer is taken for whole if the service does not flag it OVERFLOW and it has fewer rows than
were asked for; one that is cut is asked for in parts: half the positions, the calibration levels one by one, half the span of
time, half the range of wavelengths. Only what was limited is halved: a row without a time would be lost between two spans.
"""

import logging
import math
import threading
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from raysearch.archives.answers import Answers, through
from raysearch.archives.datalink import locate
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel, open_session
from raysearch.archives.products import as_products
from raysearch.archives.vo import asking_capabilities, is_cut, joined, pyvo_errors, quiet, table_of
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Query
from raysearch.read.addresses import is_astray

logger = logging.getLogger(__name__)

MAXREC = 1_000_000
"""Rows asked for, always said: a service's own default is not known. One that allows fewer flags what it cuts."""
POINT_DEG = 1e-6
"""Radius of a position without one: SIA2's circles have some, and 4 milliarcseconds are less than any pointing is sure of."""
_POSITIONS = 64
"""Circles in one request: an address of at most some 5,000 characters, where servers take 8,000."""
_DEEPEST = 16

_Texts = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Request:
    """What one request asks; an empty value does not limit it."""

    words: tuple[tuple[str, tuple[str, ...]], ...]
    """pyvo's names of the parameters of text -> the values, any of which will do."""
    calib_level: tuple[int, ...]
    positions: tuple[tuple[float, float], ...]
    """Degrees, ICRS."""
    radius_deg: float
    band_m: tuple[float, float] | None
    time_mjd: tuple[float, float] | None
    maxrec: int

    def parameters(self) -> dict[str, Any]:
        """Return it as pyvo takes it."""
        from astropy.time import Time

        asked: dict[str, Any] = {name: list(values) for name, values in self.words}
        asked["calib_level"] = list(self.calib_level)
        asked["pos"] = [(ra, dec, max(self.radius_deg, POINT_DEG)) for ra, dec in self.positions]
        asked["band"] = self.band_m
        asked["time"] = tuple(Time(self.time_mjd, format="mjd")) if self.time_mjd else None
        asked["maxrec"] = self.maxrec
        return asked

    def parts(self) -> list["Request"]:
        """Return requests that together ask the same; none where it cannot be divided."""
        if len(self.positions) > 1:
            middle = len(self.positions) // 2
            return [replace(self, positions=self.positions[:middle]), replace(self, positions=self.positions[middle:])]
        if len(self.calib_level) > 1:
            return [replace(self, calib_level=(level,)) for level in self.calib_level]
        if self.time_mjd:
            return [replace(self, time_mjd=span) for span in _halves(*self.time_mjd)]
        return [replace(self, band_m=span) for span in _halves(*self.band_m)] if self.band_m else []


class Sia2:
    """The observations that one SIA2 service has, as it describes them: an `Archive`."""

    name = "SIA2"

    def __init__(
        self,
        url: str,
        *,
        collection: _Texts = "",
        product_type: _Texts = "",
        calib_level: Sequence[int] = (),
        instrument: _Texts = "",
        facility: _Texts = "",
        data_format: _Texts = "",
        wavelength_um: Sequence[float] = (),
        positions: Sequence[tuple[float, float]] | None = None,
        radius_deg: float = 0.0,
        time: Sequence[float] = (),
        answers: Answers | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        maxrec: int = MAXREC,
    ) -> None:
        """Take what to ask: texts as the service spells them, both ends of a range that products reach into.

        `time` is in MJD. With `positions` (degrees), only what reaches within `radius_deg` of one of them is asked for; where there
        are none, nothing is.
        """
        self.url = url.rstrip("/")
        self.answers = answers
        self.patience = patience
        self.positions = None if positions is None else [(float(ra), float(dec)) for ra, dec in positions]
        words = {"collection": collection, "data_type": product_type, "instrument": instrument, "facility": facility}
        self._request = Request(
            words=tuple((name, _texts(value)) for name, value in (words | {"res_format": data_format}).items() if _texts(value)),
            calib_level=tuple(calib_level),
            positions=(),
            radius_deg=radius_deg,
            band_m=span("wavelength_um", wavelength_um, 1e-6),
            time_mjd=span("time", time, 1.0),
            maxrec=maxrec,
        )

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return every product that the service says fits, sorted by `obs_id`, and what was asked.

        Raises
        ------
        ConfigError
            A value is none that SIA2 knows.
        ArchiveError
            The service refused, its answer cannot be read, or it does not give all the rows there are.
        ArchiveUnavailable
            It did not answer in time.
        """
        requests = [self._request]
        if self.positions is not None:
            parts = (self.positions[start : start + _POSITIONS] for start in range(0, len(self.positions), _POSITIONS))
            requests = [replace(self._request, positions=tuple(some)) for some in parts]
        with quiet(), open_session(self.name, self.patience) as session:
            wire = _Wire(self.name, self.url, session)
            answers = list(in_parallel(self.name, lambda request: self._answer(wire, request), requests))
        table = joined(self.name, (rows for rows, _ in answers))
        return as_products(self.name, table), [query for _, query in answers]

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its product can be had, the cloud first (empty: nowhere), and what was asked."""
        return locate(self.name, self.url, table, answers=self.answers, patience=self.patience)

    def _answer(self, wire: "_Wire", request: Request) -> tuple[pa.Table, Query]:
        """Return the whole answer to a request, kept or asked."""
        text = wire.text(request)

        def ask() -> tuple[pa.Table, Query]:
            started = clock.monotonic()
            table = joined(self.name, wire.complete(request))
            return table, Query(self.name, self.url, text, table.num_rows, clock.monotonic() - started)

        return through(self.answers, self.name, self.url, text, ask)


class _Wire:
    """One service, asked from several threads."""

    def __init__(self, name: str, url: str, session: Any) -> None:
        self.name = name
        self.url = url
        self.session = session
        self._lock = threading.Lock()
        self._found: str | ArchiveError | None = None

    def text(self, request: Request) -> str:
        """Return the request as it is sent."""
        return urlencode(self._query(self.url, request), doseq=True)

    def complete(self, request: Request, depth: int = 0) -> Iterator[pa.Table]:
        """Yield the whole answer, in as many parts as it takes."""
        address = self._address()
        query = self._query(address, request)
        with pyvo_errors(self.name, address):
            results = query.execute()
        if not is_cut(results, request.maxrec):
            yield table_of(self.name, results)
            return
        parts = request.parts() if depth < _DEEPEST else []
        if not parts:
            raise ArchiveError(
                f"{self.name} gave {len(results):,} rows and has more, how many it does not say: narrow what is asked, or give "
                f"[observations] a time or wavelength range, or positions, so that it can be asked in parts ({self.text(request)})"
            )
        logger.info("%s: cut at %d rows; asking in %d parts", self.name, len(results), len(parts))
        for part in parts:
            yield from self.complete(part, depth + 1)

    def _address(self) -> str:
        """Return where queries go: what the service's capabilities say, asked for once, also where that fails."""
        from pyvo.dal import SIA2Service

        with self._lock:
            if self._found is None:
                try:
                    with asking_capabilities(self.name, self.url, self.session):
                        self._found = str(SIA2Service(self.url, session=self.session).query_ep)
                    if is_astray(self.url, self._found):
                        raise ArchiveError(f"{self.name} at {self.url} sends queries to {self._found!r}, where we do not go")
                except ArchiveError as exc:
                    self._found = exc
        if isinstance(self._found, ArchiveError):
            raise self._found
        return self._found

    def _query(self, address: str, request: Request) -> Any:
        from pyvo.dal.sia2 import SIA2Query

        try:
            return SIA2Query(address, session=self.session, **request.parameters())
        except ValueError as exc:
            raise ConfigError(f"{self.name} cannot be asked this: {exc}") from exc


def circles(positions: Sequence[tuple[float, float]], radius_deg: float) -> str:
    """Return a footprint for an observation of which is known only that it reaches within a radius of each of these positions."""
    shapes = " ".join(f"CIRCLE ICRS {ra!r} {dec!r} {max(radius_deg, POINT_DEG)!r}" for ra, dec in positions)
    return shapes if len(positions) == 1 else f"UNION ICRS ({shapes})"


def span(name: str, ends: Sequence[float], factor: float) -> tuple[float, float] | None:
    """Return both ends of a range, times a factor; None where there is none."""
    if not ends:
        return None
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ConfigError(f"{name} must be the two ends of a range, the smaller first, not {list(ends)}")
    return ends[0] * factor, ends[1] * factor


def _texts(value: _Texts) -> tuple[str, ...]:
    return tuple(text for text in ([value] if isinstance(value, str) else value) if text)


def _halves(low: float, high: float) -> list[tuple[float, float]]:
    middle = (low + high) / 2.0
    return [(low, middle), (middle, high)] if math.isfinite(middle) and low < middle < high else []
