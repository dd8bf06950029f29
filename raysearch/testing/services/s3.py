"""S3 over plain HTTP, path-style and unsigned: HEAD, ranged GET, and LIST version 2."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

from raysearch.testing.services.objects import send_object
from raysearch.testing.services.shelf import Body, Shelf

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
MESSAGES = {
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "AccessDenied": (403, "Access Denied"),
    "SlowDown": (503, "Please reduce your request rate."),
}
FAULTS = {"403": "AccessDenied", "404": "NoSuchKey", "503": "SlowDown"}


class S3:
    """The buckets of a shelf's products."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._buckets: dict[str, dict[str, Body]] = {}
        for product in shelf.products:
            bucket = self._buckets.setdefault(product.bucket, {})
            if product.in_cloud:
                bucket[product.key] = shelf.bodies[product.body]
        self._sorted = {name: sorted(objects) for name, objects in self._buckets.items()}

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers: every path that belongs to no other service."""
        return [
            web.get("/{bucket}", self._list),
            web.get("/{bucket}/", self._list),
            web.get("/{bucket}/{key:.+}", self._object),
        ]

    async def _object(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        injector = self._shelf.injector
        fault = injector.of_object(key)
        if fault in FAULTS:
            return _error(FAULTS[fault], key)
        objects = self._buckets.get(request.match_info["bucket"])
        if objects is None:
            return _error("NoSuchBucket", request.match_info["bucket"])
        body = objects.get(key)
        if body is None:
            return _error("NoSuchKey", key)
        return await send_object(self._shelf, request, body, fault)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        bucket = request.match_info["bucket"]
        if bucket not in self._buckets:
            return _error("NoSuchBucket", bucket)
        if request.method == "HEAD":
            return web.Response()
        ask = request.query
        prefix, delimiter = ask.get("prefix", ""), ask.get("delimiter", "")
        after = max(ask.get("continuation-token", ""), ask.get("start-after", ""))
        limit = min(1000, int(ask.get("max-keys", 1000)))
        found, more = self._page(bucket, prefix, delimiter, after, limit)
        return self._answer(bucket, found, more, ask.get("encoding-type", ""), prefix)

    def _page(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[str], bool]:
        """Return the next keys, and common prefixes (those end in the delimiter), after a name; and whether more follow."""
        keys = self._sorted[bucket]
        found: list[str] = []
        i = bisect_right(keys, after) if after > prefix else bisect_left(keys, prefix)
        while i < len(keys) and keys[i].startswith(prefix):
            name = keys[i]
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                name = name[: cut + len(delimiter)]
            if name > after and (not found or found[-1] != name):
                if len(found) == limit:
                    return found, True
                found.append(name)
            i += 1
        return found, False

    def _answer(self, bucket: str, found: list[str], more: bool, encoding: str, prefix: str) -> web.Response:
        def spell(name: str) -> str:
            return escape(quote(name) if encoding == "url" else name)

        objects = self._buckets[bucket]
        parts = [XML, '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">']
        parts.append(f"<Name>{escape(bucket)}</Name><Prefix>{spell(prefix)}</Prefix><KeyCount>{len(found)}</KeyCount>")
        parts.append(f"<MaxKeys>1000</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>")
        if encoding:
            parts.append(f"<EncodingType>{escape(encoding)}</EncodingType>")
        if more:
            parts.append(f"<NextContinuationToken>{escape(found[-1])}</NextContinuationToken>")
        for name in found:
            body = objects.get(name)
            if body is None:
                parts.append(f"<CommonPrefixes><Prefix>{spell(name)}</Prefix></CommonPrefixes>")
                continue
            parts.append(
                f"<Contents><Key>{spell(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{body.etag}&quot;</ETag><Size>{len(body.content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        return web.Response(text="".join([*parts, "</ListBucketResult>"]), content_type="application/xml")


def _error(code: str, resource: str) -> web.Response:
    status, message = MESSAGES[code]
    text = f"{XML}<Error><Code>{code}</Code><Message>{message}</Message><Resource>{escape(resource)}</Resource></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
