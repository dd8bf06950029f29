"""S3 over plain HTTP, path-style: HEAD, ranged GET, LIST version 2; PUT and DELETE in writable buckets. Signatures are ignored."""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_left, bisect_right, insort
from datetime import UTC, datetime
from urllib.parse import quote
from xml.sax.saxutils import escape, unescape

from aiohttp import web

from raysearch.testing.faults import ObjectFault
from raysearch.testing.services.objects import break_off, retry_after, send_object
from raysearch.testing.services.shelf import Body, Shelf

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
MESSAGES = {
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "AccessDenied": (403, "Access Denied"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "TooManyRequests": (429, "Please reduce your request rate."),
    "SlowDown": (503, "Please reduce your request rate."),
    "ExpiredToken": (400, "The provided token has expired."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "NotImplemented": (501, "A header you provided implies functionality that is not implemented"),
}
FAULTS = {
    "403": "AccessDenied", "404": "NoSuchKey", "429": "TooManyRequests", "500": "InternalError", "503": "SlowDown",
    "expired": "ExpiredToken", "skewed": "RequestTimeTooSkewed", "gone": "NoSuchBucket",
}  # fmt: skip


class S3:
    """The buckets of a shelf's products, and those that take what is put into them."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._buckets: dict[str, dict[str, Body]] = {name: {} for name in shelf.writable}
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
            web.put("/{bucket}/{key:.+}", self._put),
            web.delete("/{bucket}/{key:.+}", self._delete),
            web.post("/{bucket}", self._delete_many),
            web.post("/{bucket}/", self._delete_many),
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

    async def _put(self, request: web.Request) -> web.StreamResponse:
        bucket, key = request.match_info["bucket"], request.match_info["key"]
        fault = self._shelf.injector.of_object(key)
        if fault in FAULTS:
            return _error(FAULTS[fault], key)
        content = await request.read()
        if fault in {"stall", "reset", "truncate"}:
            return await _broken_off(request, fault)
        refused = self._unwritable(bucket) or _unfit(request, content) or self._in_the_way(request, self._buckets[bucket].get(key))
        if refused:
            return _error(refused, key)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if key not in self._buckets[bucket]:
            insort(self._sorted[bucket], key)
        self._buckets[bucket][key] = Body(memoryview(content), etag, datetime.now(UTC))
        return await _broken_off(request, "reset") if fault == "lost" else web.Response(headers={"ETag": f'"{etag}"'})

    @staticmethod
    def _in_the_way(request: web.Request, there: Body | None) -> str:
        """Return why a conditional write is not done, or an empty string."""
        if request.headers.get("If-None-Match") == "*" and there is not None:
            return "PreconditionFailed"
        wanted = request.headers.get("If-Match", "").strip('"')
        if wanted and there is None:
            return "NoSuchKey"
        return "PreconditionFailed" if wanted and there is not None and wanted != there.etag else ""

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        bucket, key = request.match_info["bucket"], request.match_info["key"]
        fault = self._shelf.injector.of_object(key)
        refused = FAULTS.get(fault or "") or self._unwritable(bucket)
        if refused:
            return _error(refused, key)
        self._remove(bucket, key)
        return web.Response(status=204)

    async def _delete_many(self, request: web.Request) -> web.StreamResponse:
        bucket = request.match_info["bucket"]
        refused = self._unwritable(bucket) or ("" if "delete" in request.query else "NotImplemented")
        if refused:
            return _error(refused, bucket)
        keys = [unescape(key) for key in re.findall("<Key>(.*?)</Key>", await request.text())]
        for key in keys:
            self._remove(bucket, key)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return web.Response(text=f"{XML}<DeleteResult>{deleted}</DeleteResult>", content_type="application/xml")

    def _unwritable(self, bucket: str) -> str:
        """Return why nothing can be written to a bucket, or an empty string."""
        if bucket not in self._buckets:
            return "NoSuchBucket"
        return "" if bucket in self._shelf.writable else "MethodNotAllowed"

    def _remove(self, bucket: str, key: str) -> None:
        if self._buckets[bucket].pop(key, None) is not None:
            self._sorted[bucket].remove(key)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        bucket = request.match_info["bucket"]
        if bucket not in self._buckets:
            return _error("NoSuchBucket", bucket)
        fault = self._shelf.injector.of_object(request.query.get("prefix", "")) if bucket in self._shelf.writable else None
        if fault in FAULTS:
            return _error(FAULTS[fault], bucket)
        if request.method == "HEAD":
            return web.Response()
        ask = request.query
        prefix, delimiter = ask.get("prefix", ""), ask.get("delimiter", "")
        after = max(ask.get("continuation-token", ""), ask.get("start-after", ""))
        limit = min(self._shelf.injector.row_limit("s3") or 1000, int(ask.get("max-keys", 1000)))
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
                f"<Contents><Key>{spell(name)}</Key><LastModified>{body.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
                f"<ETag>&quot;{body.etag}&quot;</ETag><Size>{len(body.content)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        return web.Response(text="".join([*parts, "</ListBucketResult>"]), content_type="application/xml")


def _unfit(request: web.Request, content: bytes) -> str:
    """Return what is wrong with the content of a PUT, or an empty string."""
    if "aws-chunked" in request.headers.get("Content-Encoding", "") or request.query:  # parts of an upload have a query
        return "NotImplemented"
    told = request.headers.get("Content-MD5", "")
    found = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    return "BadDigest" if told and told != found else ""


async def _broken_off(request: web.Request, fault: ObjectFault) -> web.Response:
    """Break the connection, and return what nobody receives any more."""
    await break_off(request, fault)
    return web.Response()


def _error(code: str, resource: str) -> web.Response:
    status, message = MESSAGES[code]
    text = f"{XML}<Error><Code>{code}</Code><Message>{message}</Message><Resource>{escape(resource)}</Resource></Error>"
    return web.Response(status=status, text=text, content_type="application/xml", headers=retry_after(status))
