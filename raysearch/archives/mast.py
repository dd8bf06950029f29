"""Observations from MAST: its portal, every page read and counted."""

import contextlib
import itertools
import json
import math
import time as clock
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import requests

from raysearch.archives.answers import Answers, through
from raysearch.archives.cloud import MAST_URL, places
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel, open_session, translated, waiting_for
from raysearch.archives.obscore import conform
from raysearch.archives.places import allowed
from raysearch.archives.products import first_of_each
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError, RaysearchError
from raysearch.model import Query

Criterion = str | int | float | Sequence[str] | Sequence[int] | Sequence[float]

_SERVICE = "MAST"
_FILTERED = "Mast.Caom.Filtered"
_AROUND = "Mast.Caom.Filtered.Position"
_COLUMNS_OF = "Mast.Caom.Cone"
_COLUMNS_CONFIG = "/portal/Mashup/Mashup.asmx/columnsconfig"
_COUNT = "COUNT_BIG(*)"
_NM_PER_M = 1e9
_NM_PER_UM = 1e3
_ANY = 1e15
"""Larger than any wavelength in nm and any date in MJD: MAST's ranges need both ends."""
_RADIUS_DEG = 0.2
"""Radius of a cone at least: astroquery's default. What lies inside a footprint, the match tells."""
TAKEN = (0, 1, 2, 3, 4)
"""Calibration levels of data; -1 are observations still planned."""
OBSERVED = (
    *("obs_id", "obs_collection", "instrument_name", "filters", "target_name", "dataproduct_type", "calib_level", "s_ra", "s_dec"),
    *("s_region", "em_min", "em_max", "t_min", "t_max", "t_exptime", "t_obs_release", "proposal_id", "dataRights", "dataURL"),
)
"""The columns that are always there."""
OWN = ("obsid", "intentType", "provenance_name", "proposal_pi", "obs_title")
"""MAST's own columns that follow. The others (previews, flags, keys of its database) are not asked for."""
PAGE_ROWS = 50_000
"""Rows asked for at a time: the portal's limit."""
_EXECUTING_PAUSE_S = 0.5
_MJD_0 = datetime(1858, 11, 17, tzinfo=UTC)


class Mast:
    """The observations of some collections at MAST: an `Archive`."""

    def __init__(
        self,
        url: str = MAST_URL,
        *,
        collection: str | Sequence[str],
        product_type: str | Sequence[str] = (),
        calib_level: Sequence[int] = TAKEN,
        instrument: str | Sequence[str] = (),
        filters: str | Sequence[str] = (),
        proposal: str | Sequence[str] = (),
        wavelength_um: Sequence[float] = (),
        time: Sequence[float] = (),
        positions: Sequence[tuple[float, float]] = (),
        radius_deg: float = 0.0,
        public_only: bool = True,
        criteria: Mapping[str, Criterion] | None = None,
        answers: Answers | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Take what to ask: any of several texts, which may have wildcards (`*`), and both ends of ranges (`time` in MJD).

        Observations that reach into a range are found, but not those whose own range MAST does not know. With `positions`
        (degrees, ICRS), only what MAST has within `radius_deg` of one of them, and no less than 0.2 degrees. `criteria` are any
        other of MAST's, under its names.
        """
        self.url = url.rstrip("/")
        self.answers = answers
        self.patience = patience
        self.positions = tuple(positions)
        self.radius_deg = max(radius_deg, _RADIUS_DEG)
        words = {
            "dataproduct_type": product_type,
            "obs_collection": collection,
            "dataRights": "PUBLIC" if public_only else (),
            "calib_level": [str(level) for level in calib_level or TAKEN],
            "instrument_name": instrument,
            "filters": filters,
            "proposal_id": proposal,
        }
        self.criteria: dict[str, list[Any]] = {name: _several(value) for name, value in words.items() if _several(value)}
        if wavelength_um:
            low, high = (um * _NM_PER_UM for um in wavelength_um)
            self.criteria |= {"em_min": [0.0, high], "em_max": [low, _ANY]}
        if time:
            first, last = time
            self.criteria |= {"t_min": [-_ANY, last], "t_max": [first, _ANY]}
        self.criteria.update((name, _several(value)) for name, value in (criteria or {}).items())

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return every observation that meets the criteria, sorted by obs_id, wavelengths in metres, and what was asked.

        Raises
        ------
        ConfigError
            A criterion is none of MAST's.
        ArchiveError
            MAST refused, or gave fewer rows than it counts.
        ArchiveUnavailable
            It did not answer in time.
        """
        with (
            open_session(_SERVICE, self.patience) as session,
            translated(_SERVICE, self.url),
            _client_errors(self.url),
            warnings.catch_warnings(),
        ):
            _expect_warnings()
            portal = _Portal(self.url, session, self.patience.total_s, self.answers)
            filters = [portal.filters(criteria) for criteria in _alternatives(self.criteria)]
            questions = list(itertools.product(filters, self.positions or (None,)))
            answers = list(in_parallel(_SERVICE, lambda question: self._answer(portal, *question), questions))
        table = pa.concat_tables([rows for rows, _ in answers], promote_options="permissive")
        return _obscore(table), [query for _, query in answers]

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its product can be had (the cloud first, then MAST itself; empty: nowhere), and what was asked.

        Raises
        ------
        ArchiveError
            The lookup service as a whole gave no answer; a product it does not know has MAST's own address alone.
        """
        uris = [uri or "" for uri in table["dataURL"].to_pylist()]
        wanted = [uri for uri in uris if uri.startswith("mast:")]
        found, queries = places(wanted, self.url, self.patience, self.answers)
        located = dict(zip(wanted, found, strict=True))
        own = {uri: (uri,) for uri in uris if allowed(uri, self.url)}
        return [located.get(uri) or own.get(uri, ()) for uri in uris], queries

    def _answer(
        self, portal: "_Portal", filters: list[dict[str, Any]], position: tuple[float, float] | None
    ) -> tuple[pa.Table, Query]:
        """Return the rows of one question, kept or asked."""
        service = _FILTERED if position is None else _AROUND
        params: dict[str, Any] = {"columns": portal.columns(), "filters": filters}
        if position is not None:
            params["position"] = f"{position[0]!r}, {position[1]!r}, {self.radius_deg!r}"
        text = json.dumps({"service": service, "params": params})

        def ask() -> tuple[pa.Table, Query]:
            started = clock.monotonic()
            with waiting_for(f"{_SERVICE}'s answer to {_told(filters)}"):
                pages, counted = portal.complete(service, params)
            table = _to_arrow(pages)
            return table, Query(_SERVICE, self.url, text, table.num_rows, clock.monotonic() - started, counted)

        return through(self.answers, _SERVICE, self.url, text, ask)


def proprietary(rights: str | None, release_mjd: float | None, now: datetime | None = None) -> str:
    """Return why a product cannot be had yet, `proprietary until 2026-12-01`; empty for what is public.

    Of `dataRights` and `t_obs_release` (MJD) of its row: the rights count, and where there are none, the release.
    """
    released = None if release_mjd is None or not math.isfinite(release_mjd) else _MJD_0 + timedelta(days=release_mjd)
    coming = released is not None and released > (now or datetime.now(UTC))
    if rights == "PUBLIC" or not (rights or coming):
        return ""
    return (
        f"proprietary until {released:%Y-%m-%d}"
        if coming
        else f"proprietary: the archive says {rights}, and no date of its release"
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """One page of an answer."""

    fields: dict[str, str]
    """Column -> its type, as MAST names it."""
    rows: list[dict[str, Any]]
    total: int
    """Rows of the whole answer."""
    pages: int
    """Pages of the whole answer."""


class _Portal:
    """MAST's portal: astroquery's client says how criteria are put, and the questions go through our session."""

    def __init__(self, url: str, session: requests.Session, total_s: float, answers: Answers | None) -> None:
        self._url = url
        self._session = session
        self._total_s = total_s
        self._config = self._columns_config(url, session, answers)

    def filters(self, criteria: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """Return the criteria as the portal takes them."""
        from astroquery.mast.discovery_portal import PortalAPI

        client = PortalAPI(self._session)
        client._column_configs = {_FILTERED: self._config}  # noqa: SLF001 - astroquery's own is shared by all servers
        built: list[dict[str, Any]] = client.build_filter_set(_COLUMNS_OF, _FILTERED, **criteria)
        return built

    def columns(self) -> str:
        """Return the columns to ask for: of ours, those that MAST has."""
        return ",".join(name for name in (*OBSERVED, *OWN) if name in self._config) or "*"

    def complete(self, service: str, params: Mapping[str, Any]) -> tuple[list[_Page], int]:
        """Return every page of an answer, and how many rows MAST counts; what does not fit together is asked for once more."""
        wrong = ""
        for _ in range(2):
            [count] = self._page(service, {**params, "columns": _COUNT}, 1, str(uuid.uuid4())).rows
            counted = int(next(iter(count.values())))
            pages = self._pages(service, params, counted)
            wrong = _wrong(pages, counted)
            if not wrong:
                return pages, counted
        raise ArchiveError(f"MAST {wrong}, asked twice; try again later")

    def _pages(self, service: str, params: Mapping[str, Any], counted: int) -> list[_Page]:
        breaker = str(uuid.uuid4())
        pages = [self._page(service, params, 1, breaker)]
        most = math.ceil(counted / PAGE_ROWS) + 1
        while len(pages) < min(pages[0].pages, most):
            pages.append(self._page(service, params, len(pages) + 1, breaker))
        return pages

    def _page(self, service: str, params: Mapping[str, Any], number: int, breaker: str) -> _Page:
        """Return one page; MAST says that it is still EXECUTING for as long as a query takes."""
        asked = {
            "service": service,
            "params": params,
            "format": "json",
            "pagesize": PAGE_ROWS,
            "page": number,
            "cacheBreaker": breaker,
        }
        deadline = clock.monotonic() + self._total_s
        while (answer := self._invoke(asked))["status"] == "EXECUTING":
            if clock.monotonic() > deadline:
                raise ArchiveUnavailable(
                    f"MAST had not finished the query in {self._total_s:.0f} s ({self._url}). Try again later."
                )
            clock.sleep(_EXECUTING_PAUSE_S)
        if answer["status"] != "COMPLETE":
            raise ArchiveError(f"MAST refused the query: {answer.get('msg') or answer['status']}")
        paging = answer.get("paging") or {}
        fields = {field["name"]: field["type"] for field in answer["fields"] if field["name"] != "_selected_"}
        rows = answer["data"]
        return _Page(fields, rows, int(paging.get("rowsFiltered", len(rows))), int(paging.get("pagesFiltered", 1)))

    def _invoke(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        response = self._session.post(self._url + "/api/v0/invoke", data={"request": json.dumps(asked)})
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    @staticmethod
    def _columns_config(url: str, session: requests.Session, answers: Answers | None) -> dict[str, Any]:
        """Return what MAST says of its columns: which there are, and how each is filtered."""
        address, text = url + _COLUMNS_CONFIG, f"colConfigId={_COLUMNS_OF}"

        def ask() -> tuple[pa.Table, Query]:
            started = clock.monotonic()
            response = session.post(address, data=text, headers={"Content-Type": "application/x-www-form-urlencoded"})
            response.raise_for_status()
            config = response.json()
            if not isinstance(config, dict) or not config:
                raise ArchiveError(f"MAST does not say which columns it has; is {url} its address?")
            return pa.table({"config": [response.text]}), Query(_SERVICE, address, text, 1, clock.monotonic() - started)

        table, _ = through(answers, _SERVICE, address, text, ask)
        config: dict[str, Any] = json.loads(table["config"][0].as_py())
        return config


def _expect_warnings() -> None:
    from astroquery.exceptions import InputWarning

    warnings.simplefilter("error", InputWarning)  # astroquery drops the filter it warns of, and so asks for more


@contextlib.contextmanager
def _client_errors(url: str) -> Iterator[None]:
    """Turn what astroquery raises inside into our errors; those of `requests` pass."""
    from astroquery.exceptions import InputWarning, InvalidQueryError

    try:
        yield
    except (RaysearchError, requests.RequestException):
        raise
    except (InvalidQueryError, InputWarning) as exc:
        raise ConfigError(f"MAST does not understand the criteria: {exc}") from exc
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, StopIteration, pa.ArrowException) as exc:
        raise ArchiveError(f"MAST's answer cannot be read ({type(exc).__name__}: {exc}); is {url} its address?") from exc


def _several(value: Criterion) -> list[Any]:
    return [value] if isinstance(value, (str, int, float)) else list(value)


def _alternatives(criteria: Mapping[str, Sequence[Any]]) -> list[dict[str, list[Any]]]:
    """Return criteria whose answers together are that to these: MAST takes one wildcard in each."""
    choices = []
    for name, values in criteria.items():
        wild = [value for value in values if isinstance(value, str) and {"*", "%"} & set(value)]
        exact = [value for value in values if value not in wild]
        choices.append([(name, exact + wild[:1]), *((name, [one]) for one in wild[1:])])
    return [dict(choice) for choice in itertools.product(*choices)]


def _told(filters: Sequence[Mapping[str, Any]]) -> str:
    """Return filters as a user reads them."""
    said = {f["paramName"]: [*f["values"], *([f["freeText"]] if "freeText" in f else [])] for f in filters}
    return ", ".join(f"{name} = {' or '.join(map(str, values))}" for name, values in said.items())


def _wrong(pages: Sequence[_Page], counted: int) -> str:
    """Return in which way an answer is not whole, or an empty string."""
    rows = sum(len(page.rows) for page in pages)
    if rows < counted:
        return f"gave {rows:,} of {counted:,} rows, {counted - rows:,} are missing"
    if rows > counted:
        return f"gave {rows:,} rows, but counts {counted:,}"
    if len({page.total for page in pages}) > 1:
        return f"counted {' and then '.join(f'{page.total:,}' for page in pages)} rows from one page to the next"
    if len(pages) > 1:
        seen = [{str(list(row.values())) for row in page.rows} for page in pages]
        if again := sum(map(len, seen)) - len(set().union(*seen)):
            return f"gave {again:,} rows on two pages, and as many are missing"
    return ""


_TYPES = {
    **dict.fromkeys(("double", "float", "decimal"), pa.float64()),
    **dict.fromkeys(("int", "short", "long", "number", "unsignedbyte"), pa.int64()),
    **dict.fromkeys(("boolean", "binary"), pa.bool_()),
}
"""Type as MAST names it -> ours; any other is text."""


def _to_arrow(pages: Sequence[_Page]) -> pa.Table:
    """Return the rows as Arrow; NaN and empty texts are null, as they are to astroquery."""
    rows = [row for page in pages for row in page.rows]
    columns = {}
    for name, kind in pages[0].fields.items():
        values = [row.get(name) for row in rows]
        known = _TYPES.get(kind.lower())
        texts = known is None and [None if value is None or value == "" else str(value) for value in values]
        columns[name] = pa.array(texts or values, known or pa.string(), from_pandas=True)
    return pa.table(columns)


def _obscore(table: pa.Table) -> pa.Table:
    """Return MAST's rows with our types and units, one row for each product, sorted by obs_id."""
    try:
        table = conform(table, OBSERVED)
    except pa.ArrowException as exc:
        raise ArchiveError(f"MAST's answer has values of an unexpected type: {exc}") from exc
    for name in ("em_min", "em_max"):
        table = table.set_column(table.column_names.index(name), name, pc.divide(table[name], _NM_PER_M))
    if table["obs_id"].null_count:
        raise ArchiveError(f"MAST gave {table['obs_id'].null_count:,} rows without an obs_id")
    table = first_of_each(table, ("obs_id", "dataURL")).sort_by([("obs_id", "ascending"), ("dataURL", "ascending")])
    return table.set_column(table.column_names.index("obs_id"), "obs_id", pa.array(_unique_ids(table)))


def _unique_ids(table: pa.Table) -> list[str]:
    """Return an obs_id for each row; where several products share one, their addresses tell them apart."""
    ids = table["obs_id"].to_pylist()
    shared = Counter(ids)
    files = table["dataURL"].to_pylist()
    return [f"{own} {file or ''}" if shared[own] > 1 else own for own, file in zip(ids, files, strict=True)]
