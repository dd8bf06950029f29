"""What pyvo's clients have in common: their errors as ours, their answers as Arrow."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import requests

from raysearch.archives.http import translated
from raysearch.archives.obscore import from_astropy, in_our_units
from raysearch.errors import ArchiveError

if TYPE_CHECKING:
    from pyvo.dal import DALResults


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of answers that can be read despite flaws of form, and of truncation, which is told as an error.

    Filters of warnings belong to the whole process: enter it before the threads that ask, not in each.
    """
    from astropy.io.votable.exceptions import VOWarning
    from astropy.units import UnitsWarning
    from pyvo.dal import DALOverflowWarning
    from pyvo.utils.xml.exceptions import XMLWarning

    with warnings.catch_warnings():
        for category in (VOWarning, XMLWarning, UnitsWarning, DALOverflowWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextlib.contextmanager
def pyvo_errors(service: str, url: str) -> Iterator[None]:
    """Turn what pyvo raises inside into our errors, with the service's own words."""
    from pyvo.dal import DALFormatError, DALQueryError, DALServiceError

    try:
        with translated(service, url):
            yield
    except DALQueryError as exc:
        raise ArchiveError(f"{service} refused the query: {exc} ({url})") from exc
    except DALFormatError as exc:
        if isinstance(exc.cause, ArchiveError):  # pyvo wraps what the session raises
            raise exc.cause from exc
        raise ArchiveError(f"{service} gave an answer that cannot be read ({exc}); is {url} the right address?") from exc
    except DALServiceError as exc:
        raise ArchiveError(f"{service} refused the request: {exc}; is {url} the right address?") from exc


@contextlib.contextmanager
def asking_capabilities(service: str, url: str, session: requests.Session) -> Iterator[None]:
    """Do as `pyvo_errors`; of a service that is silent, raise what the session says, where pyvo keeps the words of it only.

    For one thread at a time.
    """
    silent: list[ArchiveError] = []
    try:
        with _remembered(session, silent), pyvo_errors(service, url):
            yield
    except ValueError as exc:
        raise ArchiveError(f"{service} gave an answer that cannot be read ({exc}); is {url} the right address?") from exc
    except ArchiveError as exc:
        if silent and exc is not silent[-1]:
            raise silent[-1] from exc
        raise


def table_of(service: str, results: "DALResults") -> pa.Table:
    """Return the rows of an answer, the known columns in our units."""
    try:
        return from_astropy(in_our_units(results.to_table()))
    except (ValueError, pa.ArrowException) as exc:
        raise ArchiveError(f"{service} gave a table that cannot be read: {exc}") from exc


def joined(service: str, tables: Iterable[pa.Table]) -> pa.Table:
    """Return the parts of an answer as one table; of none, an empty one with `obs_id`."""
    nothing = pa.table({"obs_id": pa.array([], pa.string())})
    try:
        return pa.concat_tables(list(tables) or [nothing], promote_options="permissive")
    except pa.ArrowException as exc:
        raise ArchiveError(f"{service} gave tables that do not fit together: {exc}") from exc


def is_cut(results: "DALResults", maxrec: int) -> bool:
    """Return whether rows are missing: the service says so, or there are as many as were asked for at most."""
    return str(results.status[0]).upper() == "OVERFLOW" or len(results) >= maxrec


@contextlib.contextmanager
def _remembered(session: requests.Session, errors: list[ArchiveError]) -> Iterator[None]:
    """Keep in `errors` those of ours that the session raises inside."""
    send = session.send

    def remembering(request: requests.PreparedRequest, **options: Any) -> requests.Response:
        try:
            return send(request, **options)
        except ArchiveError as exc:
            errors.append(exc)
            raise

    session.send = remembering  # type: ignore[method-assign]
    try:
        yield
    finally:
        session.send = send  # type: ignore[method-assign]
