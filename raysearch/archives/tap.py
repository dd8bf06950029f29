"""Synchronous TAP queries through pyvo, complete or not at all."""

import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from raysearch.archives.http import DEFAULT_PATIENCE, Patience, open_session, translated
from raysearch.archives.obscore import from_astropy
from raysearch.errors import ArchiveError
from raysearch.model import Query

if TYPE_CHECKING:
    import requests
    from pyvo.dal import TAPResults

MAXREC = 2_000_000
"""Rows asked for where nothing else is said: SIMBAD's hard limit. Without one, services cut at a default of their own (10,000)."""


def select(
    service: str,
    url: str,
    columns: Sequence[str],
    source: str,
    condition: str,
    *,
    maxrec: int = MAXREC,
    patience: Patience = DEFAULT_PATIENCE,
) -> tuple[pa.Table, Query]:
    """Return all rows of `source` (what follows FROM) for which the ADQL `condition` holds, and what was asked.

    Raises
    ------
    ArchiveError
        The service refused the query, its answer cannot be read, or it does not give all the rows there are.
    ArchiveUnavailable
        It did not answer.
    """
    url = url.rstrip("/")
    adql = f"SELECT {', '.join(columns)} FROM {source} WHERE {condition}"  # noqa: S608 - the user's own words, to a public service
    started = time.monotonic()
    with open_session(service, patience) as session:
        result = _run(service, url, adql, maxrec, session)
        table = from_astropy(result.to_table())
        # pyvo says nothing where an overflow meets the limit asked for
        if result.query_status == "OVERFLOW" or table.num_rows >= maxrec:
            there_are = _count(service, url, f"SELECT COUNT(*) AS n FROM {source} WHERE {condition}", session)  # noqa: S608
            if table.num_rows < there_are:
                raise ArchiveError(
                    f"{service} gave {table.num_rows:,} of {there_are:,} rows, {there_are - table.num_rows:,} are missing: "
                    f"narrow the condition so that at most {table.num_rows:,} rows fulfil it ({adql})"
                )
    return table, Query(service, url, adql, table.num_rows, time.monotonic() - started)


def _count(service: str, url: str, adql: str, session: "requests.Session") -> int:
    result = _run(service, url, adql, 1, session)
    if len(result) != 1:
        raise ArchiveError(f"{service} gave a truncated answer, and does not say how many rows there are ({adql})")
    return int(result.getvalue(result.fieldnames[0], 0))


def _run(service: str, url: str, adql: str, maxrec: int, session: "requests.Session") -> "TAPResults":
    """Return pyvo's result of one query, with pyvo's errors as ours."""
    from astropy.io.votable.exceptions import VOWarning
    from pyvo.dal import DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError, TAPService

    try:
        with translated(service, url), warnings.catch_warnings():
            warnings.simplefilter("ignore", VOWarning)  # an answer that can be read despite flaws of form
            warnings.simplefilter("ignore", DALOverflowWarning)  # told by the caller, as an error
            return TAPService(url, session=session).run_sync(adql, maxrec=maxrec)
    except DALQueryError as exc:
        raise ArchiveError(f"{service} refused the query: {exc}\n{adql}") from exc
    except DALFormatError as exc:
        if isinstance(exc.cause, ArchiveError):  # pyvo wraps what the session raises
            raise exc.cause from exc
        raise ArchiveError(f"{service} gave an answer that cannot be read ({exc}); is {url} the right address?") from exc
    except DALServiceError as exc:
        raise ArchiveError(f"{service} refused the request: {exc}; is {url} the right address?") from exc
