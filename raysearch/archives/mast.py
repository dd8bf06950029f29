"""Observations from MAST."""

import contextlib
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import requests

from raysearch.archives.cloud import MAST_URL, download_url, look_up
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, open_session, translated
from raysearch.archives.obscore import conform, from_astropy
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError, RaysearchError
from raysearch.model import Query

if TYPE_CHECKING:
    from astropy.table import Table
    from astroquery.mast.discovery_portal import PortalAPI

Criterion = str | int | float | Sequence[str] | Sequence[int] | Sequence[float]

_SERVICE = "MAST"
_FILTERED = "Mast.Caom.Filtered"
_COLUMNS_OF = "Mast.Caom.Cone"
_NM_PER_M = 1e9
OBSERVED = (
    *("obs_id", "obs_collection", "instrument_name", "filters", "target_name", "dataproduct_type", "calib_level", "s_ra", "s_dec"),
    *("s_region", "em_min", "em_max", "t_min", "t_max", "t_exptime", "t_obs_release", "proposal_id", "dataRights", "dataURL"),
)
"""The columns that are always there; MAST's others follow."""
_EXECUTING_PAUSE_S = 0.5


class Mast:
    """The observations of one collection at MAST: an `Archive`."""

    def __init__(
        self,
        url: str = MAST_URL,
        *,
        collection: str | Sequence[str],
        product_type: str | Sequence[str],
        calib_level: Sequence[int] = (0, 1, 2, 3, 4),
        public_only: bool = True,
        criteria: Mapping[str, Criterion] | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self.criteria: dict[str, Any] = {"dataproduct_type": product_type, "obs_collection": collection}
        if public_only:
            self.criteria["dataRights"] = "PUBLIC"
        self.criteria["calib_level"] = list(calib_level)
        self.criteria.update(criteria or {})

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
        started = time.monotonic()
        with (
            open_session(_SERVICE, self.patience) as session,
            translated(_SERVICE, self.url),
            _client_errors(self.url),
            warnings.catch_warnings(),
        ):
            _expect_warnings()
            portal = _open_portal(self.url, session, self.patience.total_s)
            filters = portal.build_filter_set(_COLUMNS_OF, _FILTERED, **self.criteria)
            answer = portal.service_request(_FILTERED, {"columns": "COUNT_BIG(*)", "filters": filters})
            there_are = int(answer[0][0])
            asked = {"columns": "*", "filters": filters}
            rows = portal.service_request(_FILTERED, asked)
        if len(rows) < there_are:
            raise ArchiveError(f"MAST gave {len(rows):,} of {there_are:,} rows, {there_are - len(rows):,} are missing; try again")
        table = _obscore(rows)
        text = json.dumps({"service": _FILTERED, "params": asked})
        return table, [Query(_SERVICE, self.url, text, len(rows), time.monotonic() - started)]

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its product can be had (the cloud first, then MAST itself; empty: nowhere), and what was asked.

        Raises
        ------
        ArchiveError
            The lookup service as a whole gave no answer; a product it does not know has MAST's own address alone.
        """
        uris = [uri or "" for uri in table["dataURL"].to_pylist()]
        wanted = [uri for uri in uris if uri.startswith("mast:")]
        if not wanted:
            return [self._places(uri, {}) for uri in uris], []
        found, query = look_up(wanted, self.url, self.patience)
        return [self._places(uri, found) for uri in uris], [query]

    def _places(self, uri: str, found: Mapping[str, str]) -> tuple[str, ...]:
        if not uri.startswith("mast:"):
            # An archive names no file of this machine.
            return (uri,) if uri.startswith(("https://", "s3://")) else ()
        download = download_url(uri, self.url)
        return (found[uri], download) if uri in found else (download,)


def _open_portal(url: str, session: requests.Session, total_s: float) -> "PortalAPI":
    """Return astroquery's client of MAST's portal, at our address and with our session."""
    from astroquery.mast.discovery_portal import PortalAPI

    class Portal(PortalAPI):  # type: ignore[misc]
        MAST_REQUEST_URL = url + "/api/v0/invoke"
        COLUMNS_CONFIG_URL = url + "/portal/Mashup/Mashup.asmx/columnsconfig"
        TIMEOUT = total_s  # compared after each answer: ends a query that stays EXECUTING
        _column_configs: dict[str, Any] = {}  # noqa: RUF012 - of its own, because astroquery's is shared by all servers

    session.hooks["response"].append(_pause_while_executing)
    return Portal(session)


def _pause_while_executing(response: requests.Response, **_: Any) -> None:
    """Wait before astroquery asks after a running query again: it does not wait itself."""
    if len(response.content) < 4096 and b'"EXECUTING"' in response.content:
        time.sleep(_EXECUTING_PAUSE_S)


def _expect_warnings() -> None:
    from astroquery.exceptions import InputWarning, NoResultsWarning

    warnings.simplefilter("ignore", NoResultsWarning)  # no rows is an answer
    warnings.simplefilter("error", InputWarning)  # astroquery drops the filter it warns of, and so asks for more


@contextlib.contextmanager
def _client_errors(url: str) -> Iterator[None]:
    """Turn what astroquery raises inside into our errors; those of `requests` pass."""
    from astroquery.exceptions import InputWarning, InvalidQueryError, RemoteServiceError

    try:
        yield
    except (RaysearchError, requests.RequestException):
        raise
    except (InvalidQueryError, InputWarning) as exc:
        raise ConfigError(f"MAST does not understand the criteria: {exc}") from exc
    except RemoteServiceError as exc:
        raise ArchiveError(f"MAST refused the query: {exc}") from exc
    except TimeoutError as exc:
        raise ArchiveUnavailable(f"MAST had not finished the query in the time allowed: {exc} ({url}) Try again later.") from exc
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
        raise ArchiveError(f"MAST's answer cannot be read ({type(exc).__name__}: {exc}); is {url} its address?") from exc


def _obscore(rows: "Table") -> pa.Table:
    """Return MAST's rows with our types and units, one row for each product, sorted by obs_id."""
    try:
        table = conform(from_astropy(rows), OBSERVED)
    except pa.ArrowException as exc:
        raise ArchiveError(f"MAST's answer has values of an unexpected type: {exc}") from exc
    for name in ("em_min", "em_max"):
        table = table.set_column(table.column_names.index(name), name, pc.divide(table[name], _NM_PER_M))
    if table["obs_id"].null_count:
        raise ArchiveError(f"MAST gave {table['obs_id'].null_count:,} rows without an obs_id")
    table = _first_of_each(table, ("obs_id", "dataURL")).sort_by([("obs_id", "ascending"), ("dataURL", "ascending")])
    return table.set_column(table.column_names.index("obs_id"), "obs_id", pa.array(_unique_ids(table)))


def _first_of_each(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    """Return the first row for each combination of values."""
    keys = zip(*(table[name].to_pylist() for name in names), strict=True)
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return table.take(pa.array(sorted(first.values()), pa.int64()))


def _unique_ids(table: pa.Table) -> list[str]:
    """Return an obs_id for each row; where several products share one, their addresses tell them apart."""
    ids = table["obs_id"].to_pylist()
    shared = Counter(ids)
    files = table["dataURL"].to_pylist()
    return [f"{own} {file or ''}" if shared[own] > 1 else own for own, file in zip(ids, files, strict=True)]
