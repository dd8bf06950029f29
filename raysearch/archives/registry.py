"""The registry of the Virtual Observatory: which services there are (RegTAP 1.1), through pyvo."""

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from raysearch.archives.answers import Answers, through
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, open_session
from raysearch.archives.vo import asking_capabilities, is_cut, quiet
from raysearch.errors import ArchiveError
from raysearch.model import Query

REGISTRY_URL = "https://reg.g-vo.org/tap"
_SERVICE = "VO registry"
_MAXREC = 20_000


@dataclass(frozen=True, slots=True)
class Found:
    """One service."""

    ivoid: str
    """Its identifier."""
    title: str
    access_url: str


def find_services(
    service_type: str,
    keywords: Sequence[str],
    *,
    url: str = REGISTRY_URL,
    answers: Answers | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> tuple[list[Found], Query]:
    """Return the standard services of a type (`sia`, `sia2`, `tap`) whose descriptions have all keywords, and what was asked.

    Raises
    ------
    ArchiveError
        The registry refused, or its answer is cut or cannot be read.
    ArchiveUnavailable
        It did not answer in time.
    """
    url = url.rstrip("/")
    asked = f"services of type {service_type} with the keywords {', '.join(keywords)}"

    def ask() -> tuple[pa.Table, Query]:
        from pyvo.dal import TAPService
        from pyvo.registry import Freetext, Servicetype
        from pyvo.registry.regtap import RegistryQuery, get_RegTAP_query

        started = clock.monotonic()
        with quiet(), open_session(_SERVICE, patience) as session, asking_capabilities(_SERVICE, url, session):
            service = TAPService(url, session=session)
            adql = get_RegTAP_query(Servicetype(service_type), Freetext(*keywords), service=service)
            results = RegistryQuery(url, adql, maxrec=_MAXREC, session=session).execute()
            if is_cut(results, _MAXREC):
                raise ArchiveError(f"{_SERVICE} gave {len(results):,} services and has more: name more keywords than {keywords}")
            rows = [
                {"ivoid": str(record.ivoid), "title": str(record.res_title), "access_url": str(interface.access_url)}
                for record in results
                for interface in record.list_interfaces(service_type)
            ]
        schema = pa.schema([("ivoid", pa.string()), ("title", pa.string()), ("access_url", pa.string())])
        return pa.Table.from_pylist(rows, schema), Query(_SERVICE, url, adql, len(rows), clock.monotonic() - started)

    table, query = through(answers, _SERVICE, url, asked, ask)
    return [Found(**row) for row in table.to_pylist()], query
