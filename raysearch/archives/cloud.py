"""Where MAST's products can be read: its path lookup asked in bulk, and the rules from its paths to keys in the cloud."""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

import pyarrow as pa
import requests

from raysearch.archives.answers import Answers, through
from raysearch.archives.http import DEFAULT_PATIENCE, Patience, in_parallel, open_session, translated, waiting_for
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.model import Query

logger = logging.getLogger(__name__)

MAST_URL = "https://mast.stsci.edu"
BUCKET = "stpubdata"
LOOKUP = "/api/v0.1/path_lookup/"

_SERVICE = "MAST path_lookup"
_PER_REQUEST = 50  # more make the request's address too long (414)


def download_url(uri: str, url: str = MAST_URL) -> str:
    """Return the HTTPS address of a `mast:` product."""
    return f"{url.rstrip('/')}/api/v0.1/Download/file?uri={quote(uri, safe=':/')}"


def cloud_key(path: str) -> str:
    """Return the key in MAST's public bucket for a path of its lookup (the rules of astroquery's `mast_relative_path`).

    A path that does not begin at a root is a key already: so the lookup answers those who ask it for cloud paths.
    """
    if not path.startswith("/"):
        return path
    if "galex" in path:
        path = path.removeprefix("/mast/")
    elif "/ps1/" in path:
        path = path.replace("/ps1/", "panstarrs/ps1/public/")
    elif "hlsp" in path:
        path = path.replace("/hlsp_local/public/", "mast/")
    return path.lstrip("/")


def places(
    uris: Sequence[str], url: str = MAST_URL, patience: Patience = DEFAULT_PATIENCE, answers: Answers | None = None
) -> tuple[list[tuple[str, ...]], list[Query]]:
    """Return where each `mast:` product can be had, the cloud first, then MAST itself; and what was asked. See `look_up`."""
    if not uris:
        return [], []
    found, query = look_up(uris, url, patience, answers)
    return [(*((found[uri],) if uri in found else ()), download_url(uri, url)) for uri in uris], [query]


def look_up(
    uris: Sequence[str], url: str = MAST_URL, patience: Patience = DEFAULT_PATIENCE, answers: Answers | None = None
) -> tuple[dict[str, str], Query]:
    """Return the cloud address of each `mast:` URI that has one, and what was asked.

    Whether the file is there, only reading it tells. A URI that the service does not know, refuses, or does not answer about
    concerns itself alone: it has no cloud address. An answer that lacks some is not kept.

    Raises
    ------
    ArchiveUnavailable
        The service did not answer the first of its requests.
    ArchiveError
        It refused every URI, or its answer is none.
    """
    url = url.rstrip("/")
    wanted = list(dict.fromkeys(uris))
    batches = [wanted[start : start + _PER_REQUEST] for start in range(0, len(wanted), _PER_REQUEST)]
    text = f"paths of {len(wanted)} products, {len(batches)} requests"

    def ask() -> tuple[pa.Table, Query]:
        started = time.monotonic()
        with waiting_for(f"{_SERVICE}'s answer about {len(wanted):,} products"):
            found, missed = _asked(batches, url, patience)
        query = Query(_SERVICE, url + LOOKUP, text, len(found), time.monotonic() - started)
        if missed:
            raise _Partly(found, replace(query, text=f"{text}, no answer about {missed} of them"))
        table = pa.table({"uri": pa.array(found.keys(), pa.string()), "cloud": pa.array(found.values(), pa.string())})
        return table, query

    digest = hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest()
    try:
        table, query = through(answers, _SERVICE, url + LOOKUP, f"{text}\n-- SHA-256 {digest}", ask)
    except _Partly as partly:
        return partly.found, partly.query
    return dict(zip(table["uri"].to_pylist(), table["cloud"].to_pylist(), strict=True)), query


class _Partly(ArchiveUnavailable):
    """Some requests were answered: an error, so that it is not kept."""

    def __init__(self, found: dict[str, str], query: Query) -> None:
        super().__init__(query.text)
        self.found = found
        self.query = query


def _asked(batches: Sequence[list[str]], url: str, patience: Patience) -> tuple[dict[str, str], int]:
    """Return the cloud address of each URI that has one, and how many the service did not answer about."""
    found: dict[str, str] = {}
    with open_session(_SERVICE, patience) as session:
        lookup = _Lookup(url, session)
        # the first batch alone: a service that refuses everything, or is down, is not asked for everything
        for ask, some in ((lookup.paths, batches[:1]), (lookup.paths_if_any, batches[1:])):
            for paths in in_parallel(_SERVICE, ask, some):
                found.update((uri, f"s3://{BUCKET}/{cloud_key(path)}") for uri, path in paths.items())
            if batches and not lookup.answered:
                raise ArchiveError(f"{_SERVICE} refuses every product ({lookup.refusal}); is {url} MAST's address?")
    return found, lookup.missed


class _Lookup:
    """One service, asked from several threads."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url = url + LOOKUP
        self.session = session
        self.answered = False
        """Whether any request has been answered."""
        self.refusal = ""
        self.missed = 0
        """URIs about which it gave no answer."""

    def paths_if_any(self, uris: list[str]) -> dict[str, str]:
        """Return the path of each URI that has one; none where the service, which has answered before, does not answer now."""
        try:
            return self.paths(uris)
        except ArchiveUnavailable as exc:
            logger.info("%s: %s", _SERVICE, exc)
            self.missed += len(uris)
            return {}

    def paths(self, uris: list[str]) -> dict[str, str]:
        """Return the path of each URI that has one; a refused request is halved until the URI it is about stands alone."""
        with translated(_SERVICE, self.url):
            response = self.session.get(self.url, params={"uri": uris})
            if response.ok:
                return self._parsed(response, uris)
        self.refusal = f"{response.status_code} {response.reason}"
        if len(uris) == 1:
            return {}
        middle = len(uris) // 2
        return self.paths(uris[:middle]) | self.paths(uris[middle:])

    def _parsed(self, response: requests.Response, uris: list[str]) -> dict[str, str]:
        answer = response.json()
        if not isinstance(answer, dict):
            raise ArchiveError(f"{_SERVICE} did not answer with one entry for each product ({self.url})")
        self.answered = True
        entries = ((uri, answer.get(uri)) for uri in uris)
        paths = ((uri, entry.get("path")) for uri, entry in entries if isinstance(entry, dict))
        return {uri: path for uri, path in paths if isinstance(path, str) and path}
