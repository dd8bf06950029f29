"""DataLink documents (IVOA DataLink 1.0): from an address that stands for a data set to the files it has."""

import logging
import sys
import time as clock
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pyarrow as pa

from raysearch.archives.answers import Answers, through
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel, open_session
from raysearch.archives.places import allowed, places_of
from raysearch.archives.vo import is_cut, joined, pyvo_errors, quiet, table_of
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.masking import masked
from raysearch.model import Query

logger = logging.getLogger(__name__)

_IDS_AT_ONCE = 200
_FITS = (".fits", ".fits.gz", ".fits.fz", ".fit", ".fts", ".ftz")


@dataclass(frozen=True, slots=True)
class Link:
    """One row of a DataLink document, its columns named as there."""

    ID: str
    access_url: str
    semantics: str
    content_type: str
    description: str
    service_def: str
    error_message: str
    cloud_access: str

    @property
    def is_document(self) -> bool:
        """Whether it leads to a further DataLink document."""
        return is_datalink(self.content_type)

    @property
    def is_folder(self) -> bool:
        """Whether it leads to a list of files; HEASARC calls it `directory`, or since 2026 `text/html`."""
        return self.content_type == "directory" or self.access_url.endswith("/")

    @property
    def is_fits(self) -> bool:
        """Whether it leads to a FITS file, as far as its type and name tell."""
        return "fits" in self.content_type or urlsplit(self.access_url).path.lower().endswith(_FITS)

    @property
    def is_data(self) -> bool:
        """Whether it is the data set itself: `#this`, or as in HEASARC's prototype a name of its own, `#chandra.obs.img.cntr.fits`.

        Previews, calibrations, documents and services are not.
        """
        term = self.semantics.rpartition("#")[2]
        return bool(self.access_url) and not self.error_message and not self.service_def and (term == "this" or "." in term)


def is_datalink(content_type: str | None) -> bool:
    """Return whether a media type is that of a DataLink document."""
    return "content=datalink" in (content_type or "").replace('"', "").replace(" ", "").lower()


def files_of(links: Iterable[Link]) -> list[Link]:
    """Return the FITS files among the links to the data set itself, those called images first."""
    files = [link for link in links if link.is_data and link.is_fits and not link.is_folder]
    return sorted(files, key=lambda link: not link.content_type.startswith("image/fits"))


def resolve(
    service: str, urls: Iterable[str], *, answers: Answers | None = None, patience: Patience = DEFAULT_PATIENCE
) -> tuple[dict[str, list[Link]], list[Query]]:
    """Return the links behind each address, and what was asked: many data sets of one service in one request.

    An address that gives no document concerns itself alone: it has no links, and the log says why.

    Raises
    ------
    ArchiveError
        None of the addresses gives a document.
    ArchiveUnavailable
        The service as a whole did not answer.
    """
    wanted = list(dict.fromkeys(urls))
    batches = _batches(wanted)
    with quiet(), open_session(service, patience) as session:
        asker = _Asker(service, session, answers)
        found = list(in_parallel(service, asker.batch, batches))
        links = {url: some for batch, _ in found for url, some in batch.items()}
        left = [url for url in wanted if url not in links]  # of services that take one data set at a time
        # the first alone: a service that is silent is not waited for as often as it has data sets
        more = [asker.single(url) for url in left[:1]]
        if isinstance(asker.failure, ArchiveUnavailable):
            raise asker.failure
        more += in_parallel(service, asker.single, left[1:])
    queries = [query for _, query in [*found, *more] if query is not None]
    if asker.failure is not None and not queries:
        raise asker.failure
    return links | {url: some for batch, _ in more for url, some in batch.items()}, queries


def locate(
    service: str, own: str, table: pa.Table, *, answers: Answers | None = None, patience: Patience = DEFAULT_PATIENCE
) -> tuple[list[tuple[str, ...]], list[Query]]:
    """Return for each ObsCore row where its product can be had (the cloud first; empty: nowhere), and what was asked.

    Where `access_url` is that of a DataLink document, the product is the first FITS file of its data set. `own` is the service's
    configured address.

    Raises
    ------
    ArchiveError
        There are such documents, and none can be had.
    """
    names = ("access_url", "access_format", "cloud_access")
    rows = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    documents = {url for url, kind, _ in rows if url and is_datalink(kind) and allowed(url, own)}
    links, queries = resolve(service, sorted(documents), answers=answers, patience=patience) if documents else ({}, [])
    places = []
    for url, _, cloud in rows:
        files = files_of(links.get(url, []))
        here = places_of(files[0].access_url, files[0].cloud_access, own) if files else ()
        places.append(here or places_of(url, cloud, own))
    return places, queries


@dataclass(frozen=True, slots=True)
class _Batch:
    """Data sets of one service."""

    base: str
    name: str
    """How the service spells the parameter ID."""
    urls: dict[str, str]
    """ID -> the address that asks for it alone."""


def _batches(urls: Sequence[str]) -> list[_Batch]:
    """Return the addresses that differ in their ID alone in groups; those without one do not appear."""
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for url in urls:
        parts = urlsplit(url)
        named = parse_qsl(parts.query)
        ids = [(name, value) for name, value in named if name.upper() == "ID"]
        if len(ids) == 1:
            others = urlencode([pair for pair in named if pair != ids[0]])
            base = urlunsplit(parts._replace(query=others))
            groups.setdefault((base, ids[0][0]), {})[ids[0][1]] = url
    batches: list[_Batch] = []
    for (base, name), members in groups.items():
        pairs = list(members.items())
        parts_of_it = (pairs[start : start + _IDS_AT_ONCE] for start in range(0, len(pairs), _IDS_AT_ONCE))
        batches.extend(_Batch(base, name, dict(some)) for some in parts_of_it)
    return batches


_Found = tuple[dict[str, list[Link]], Query | None]


class _Asker:
    """One service, asked from several threads."""

    def __init__(self, service: str, session: object, answers: Answers | None) -> None:
        self.service = service
        self.session = session
        self.answers = answers
        self.failure: ArchiveError | None = None

    def batch(self, batch: _Batch) -> _Found:
        """Return the links of the data sets of a batch that the service answers for."""
        links, query = self._ask(batch.base, batch.name, list(batch.urls))
        found: dict[str, list[Link]] = {}
        for link in links:
            if link.ID in batch.urls:
                found.setdefault(batch.urls[link.ID], []).append(link)
        if len(found) > 1:  # it takes many at a time, so those without an answer have no links
            found |= {url: [] for url in batch.urls.values() if url not in found}
        return found, query

    def single(self, url: str) -> _Found:
        """Return the links of one address."""
        links, query = self._ask(url, "", [])
        return {url: links}, query

    def _ask(self, url: str, name: str, ids: list[str]) -> tuple[list[Link], Query | None]:
        def ask() -> tuple[pa.Table, Query]:
            started = clock.monotonic()
            table = joined(self.service, self._documents(url, name, ids))
            return table, Query(self.service, url, text, table.num_rows, clock.monotonic() - started)

        text = urlencode({name: ids}, doseq=True) if ids else ""
        try:
            table, query = through(self.answers, self.service, url, text, ask)
        except ArchiveError as exc:
            logger.warning("%s: no links from %s: %s", self.service, masked(url), exc)
            self.failure = exc
            return [], None
        return _links(table), query

    def _documents(self, url: str, name: str, ids: list[str]) -> Iterator[pa.Table]:
        """Yield the document about some data sets; in two where the service cuts it, as it may (DataLink 1.0, section 2.1)."""
        from pyvo.dal.adhoc import DatalinkQuery

        with pyvo_errors(self.service, url):
            results = DatalinkQuery(url, session=self.session, **({name: ids} if ids else {})).execute(post=bool(ids))
        if len(ids) > 1 and is_cut(results, sys.maxsize):
            middle = len(ids) // 2
            for some in (ids[:middle], ids[middle:]):
                yield from self._documents(url, name, some)
        else:
            yield table_of(self.service, results)


def _links(table: pa.Table) -> list[Link]:
    names = [field.name for field in fields(Link)]
    absent = [None] * table.num_rows
    columns = [table[name].to_pylist() if name in table.column_names else absent for name in names]
    return [Link(*(str(cell or "").strip() for cell in row)) for row in zip(*columns, strict=True)]
