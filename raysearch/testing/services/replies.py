"""How the services' answers go wrong: shared by all that answer in text."""

from __future__ import annotations

import asyncio

from aiohttp import web

from raysearch.testing.faults import ServiceFault
from raysearch.testing.services.objects import FAREWELL, REQUEST, retry_after
from raysearch.testing.services.shelf import Shelf
from raysearch.testing.services.votable import refusal

HTML = "<!DOCTYPE html><html><body><h1>The archive is under maintenance</h1></body></html>"


async def misbehave(fault: ServiceFault | None) -> web.Response | None:
    """Return what a fault answers in the place of a service; None where the service is to answer itself."""
    if fault == "hang":
        await asyncio.sleep(FAREWELL)
    if fault == "error":
        return refusal("The query was rejected by the server")
    if fault == "html":
        return html(200)
    if fault is not None and fault.isdigit():
        return html(int(fault))
    return None


def html(status: int) -> web.Response:
    """Return a page where none was asked for."""
    return web.Response(status=status, text=HTML, content_type="text/html", headers=retry_after(status))


async def send_text(shelf: Shelf, request: web.Request, text: str, mime: str, fault: ServiceFault | None) -> web.StreamResponse:
    """Return an answer: whole, cut short as if it were whole, or with the connection closed half way."""
    body = text.encode()
    if fault == "truncated":
        return web.Response(body=body[: len(body) // 2], content_type=mime)
    if fault != "half":
        return web.Response(body=body, content_type=mime)
    response = web.StreamResponse(headers={"Content-Type": mime, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    shelf.sent(request[REQUEST], len(body) // 2)
    if request.transport is not None:
        request.transport.close()
    return response
