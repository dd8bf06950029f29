"""Where a product can be had: which addresses an archive may give, and what its words say about the cloud. No requests are sent."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from raysearch.read.addresses import host_of, is_inside

CLOUD_RULES = {
    ("irsa.ipac.caltech.edu", "/ibe/data/spherex/"): "s3://nasa-irsa-spherex/",
    ("heasarc.gsfc.nasa.gov", "/FTP/"): "s3://nasa-heasarc/",
    ("lambda.gsfc.nasa.gov", "/data/map/"): "s3://nasa-lambda/wmap/",
}
"""(host, beginning of the path) -> where the rest of the path is a key. The archives' own rules: IRSA's and HEASARC's cloud pages,
and the notebook that reads WMAP's maps from LAMBDA's bucket. HEASARC mirrors a part only, which reading tells."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def allowed(address: str, own: str = "") -> bool:
    """Return whether an archive may send readers to an address: `s3://`, or `https://` of the public network.

    A file, a host of this machine or of a private network is none of its business, unless the archive itself, at its configured
    address `own`, is at that very host.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    host = host_of(address)
    if not host or any(c.isspace() or not c.isprintable() for c in address):
        return False
    if parts.scheme == "s3":
        return _BUCKET.fullmatch(parts.netloc) is not None and parts.path.strip("/") != ""
    if is_inside(host):
        return parts.scheme in {"http", "https"} and host == urlsplit(own).hostname
    return parts.scheme == "https"


def places_of(access_url: str | None, cloud_access: str | None = None, own: str = "") -> tuple[str, ...]:
    """Return where a product can be had, the cloud first; empty: nowhere. `own` is the archive's configured address."""
    url = (access_url or "").strip()
    wanted = (*from_cloud_access(cloud_access), in_cloud(url, own), url)
    return tuple(dict.fromkeys(place for place in wanted if place and allowed(place, own)))


def from_cloud_access(text: str | None) -> list[str]:
    """Return the `s3://` addresses in a `cloud_access` cell: JSON in one of several spellings; none where it says nothing readable.

    `{"aws": {"bucket_name": ..., "key": ..., "region": ...}}` is IRSA's; elsewhere `aws` is a list, the names are `bucket` and
    `path`, or HEASARC's keys begin with `/FTP/`, which is no part of the key in its bucket.
    """
    try:
        document = json.loads(text or "null")
    except (ValueError, RecursionError):
        return []
    return list(dict.fromkeys(address for address in _addresses(document) if allowed(address)))


def mend_csv(text: str) -> str:
    """Return CSV whose cells of JSON are quoted: IRSA's SIA2 sends those of `cloud_access` with their commas and quotes bare."""
    return "".join(_quoted(line) for line in text.splitlines(keepends=True))


def in_cloud(url: str, own: str = "") -> str:
    """Return the `s3://` address of the file that an archive serves at `url`, by `CLOUD_RULES`; empty where none fits.

    An archive configured at another address (`own`) keeps the rules of the paths. A URL with a query is no whole file: a cutout.
    """
    try:
        parts = urlsplit(url)
        host, mirror = parts.hostname, urlsplit(own).hostname
    except ValueError:
        return ""
    if parts.query or parts.fragment or parts.scheme not in {"http", "https"}:
        return ""
    path = re.sub("/{2,}", "/", unquote(parts.path))
    for (official, beginning), bucket in CLOUD_RULES.items():
        if host in {official, mirror} and path.startswith(beginning) and len(path) > len(beginning):
            return bucket + path.removeprefix(beginning)
    return ""


def _quoted(line: str) -> str:
    begin = line.find(',{"') + 1
    if not begin:
        return line
    try:
        _, end = json.JSONDecoder().raw_decode(line, begin)
    except (ValueError, RecursionError):
        return line
    cell = line[begin:end].replace('"', '""')
    return f'{line[:begin]}"{cell}"{line[end:]}'


def _addresses(document: Any) -> Iterator[str]:
    for entry in document if isinstance(document, list) else [document]:
        aws = entry.get("aws", entry) if isinstance(entry, dict) else None
        for place in aws if isinstance(aws, list) else [aws]:
            if isinstance(place, dict):
                bucket = place.get("bucket_name") or place.get("bucket")
                key = place.get("key") or place.get("path")
                if isinstance(bucket, str) and isinstance(key, str):
                    yield f"s3://{bucket.strip()}/{_key(key)}"


def _key(text: str) -> str:
    """Return a key as its bucket has it: HEASARC's say `/FTP/` first, and double some slashes."""
    return re.sub("/{2,}", "/", text.strip()).removeprefix("/").removeprefix("FTP/")
