"""IRSA's files under `ibe/data`, whole or by range; and cutouts of their images (`?center=..&size=..`)."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aiohttp import web

from raysearch.testing.cards import BLOCK
from raysearch.testing.services.objects import ANSWERED, send_object
from raysearch.testing.services.replies import html
from raysearch.testing.services.shelf import Body, Shelf

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

AT_ONCE = 4
"""Cutouts the service makes at a time; more are refused with 503."""
DEGREES = {"": 1.0, "d": 1.0, "deg": 1.0, "arcmin": 1 / 60, "arcsec": 1 / 3600, "rad": 180 / math.pi}
LARGE = 1_000_000
"""Bytes from which on an HDU is kept packed: of real frames the PSF."""
PIXELS = frozenset({"px", "pix", "pixels"})
NUMBERS = re.compile(r"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*(?:,\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*)?([a-z]*)\s*", re.IGNORECASE)


class Cutouts:
    """The files of a shelf that IRSA serves itself."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._products = {p.path: p for p in shelf.products if p.path.startswith("ibe/")}
        self._making = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return [web.get("/ibe/data/{key:.+}", self._file)]

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = f"ibe/data/{request.match_info['key']}"
        fault = self._shelf.injector.of_object(path)
        if fault is not None and fault in ANSWERED:
            return html(int(fault))
        product = self._products.get(path)
        if product is None or not product.downloadable:
            return html(404)
        body = self._shelf.bodies[product.body]
        if "center" not in request.query and "size" not in request.query:
            return await send_object(self._shelf, request, body, fault)
        if self._making >= AT_ONCE:
            return html(503)
        self._making += 1
        try:
            return await self._cutout(request, body)
        finally:
            self._making -= 1

    async def _cutout(self, request: web.Request, body: Body) -> web.StreamResponse:
        fault = self._shelf.injector.cutout()
        if fault == "hang":
            await asyncio.Event().wait()
        if fault is not None and fault.isdigit():
            return html(int(fault))
        try:
            content = await asyncio.to_thread(make_cutout, body.content, request.query)
        except ValueError as exc:
            return web.Response(status=400, text=f"Bad request: {exc}")
        cut = Body(memoryview(content), hashlib.md5(content, usedforsecurity=False).hexdigest())
        return await send_object(self._shelf, request, cut, "truncate" if fault == "half" else None)


class _View(io.RawIOBase):
    """A file in memory that is not copied: of its images only the rows asked for are."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._content[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def make_cutout(content: bytes | memoryview, asked: Mapping[str, str]) -> bytes:
    """Return the file with its images cut to a box: every 2-D image of the size of the first; tables and cubes stay whole.

    A box of `size` (degrees; one number or `width,height`, whole pixels) about `center` (RA and Dec in degrees, or 1-based pixels)
    is clipped at the edges. Its first pixel moves CRPIX of every WCS. Gzipped unless `gzip=false`.

    Raises
    ------
    ValueError
        The box does not meet the image, or is not understood.
    """
    from astropy.io import fits

    with fits.open(io.BufferedReader(_View(memoryview(content)))) as file:
        first = next((hdu for hdu in file if hdu.header.get("NAXIS") == 2 and hdu.is_image), None)
        if first is None:
            raise ValueError("the file has no image")
        shape = first.shape
        x0, x1, y0, y1 = _box(first, asked)
        for hdu in file:
            if hdu.is_image and hdu.shape == shape:
                hdu.data = hdu.section[y0:y1, x0:x1]
                _shift(hdu.header, x0, y0)
        out = io.BytesIO()
        file.writeto(out, output_verify="ignore")
    plain = out.getvalue()
    return plain if asked.get("gzip", "true").lower() in {"false", "0"} else _gzipped(plain)


def _gzipped(plain: bytes) -> bytes:
    """Return a file packed HDU by HDU (which gunzip joins): the large ones are the same in every cutout, and packed once."""
    starts = [found.start() for found in re.finditer(rb"XTENSION= '", plain) if found.start() % BLOCK == 0]
    parts = [plain[start:end] for start, end in pairwise((0, *starts, len(plain)))]
    return b"".join(_packed_once(part) if len(part) > LARGE else _packed(part) for part in parts)


def _packed(part: bytes) -> bytes:
    return gzip.compress(part, compresslevel=1, mtime=0)


_packed_once = lru_cache(maxsize=64)(_packed)


def _box(hdu: fits.ImageHDU, asked: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Return the first pixel of a box within the image and the one after the box's last, in x and y, counted from 0."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    wcs = WCS(hdu.header)
    x, y, unit = _pair(asked, "center")
    if unit in PIXELS:
        x, y = x - 1, y - 1
    else:
        x, y = _pixel(wcs, x * DEGREES[unit], y * DEGREES[unit])
    wide, high, unit = _pair(asked, "size")
    if wide < 0 or high < 0:
        raise ValueError("a size cannot be negative")
    if unit not in PIXELS:
        scales = proj_plane_pixel_scales(wcs)
        wide, high = wide * DEGREES[unit] / scales[0], high * DEGREES[unit] / scales[1]
    limits = [*_span(x, wide, hdu.shape[1]), *_span(y, high, hdu.shape[0])]
    return limits[0], limits[1], limits[2], limits[3]


def _pixel(wcs: WCS, ra: float, dec: float) -> tuple[float, float]:
    """Return where a position lies, pixels counted from 0."""
    from astropy.wcs import NoConvergence

    if not -90 <= dec <= 90:
        raise ValueError(f"declination {dec:g} lies outside -90 to 90")
    try:
        x, y = (float(v) for v in wcs.all_world2pix(ra, dec, 0))
    except NoConvergence as exc:  # far from the image its distortion has no inverse
        raise ValueError("the box does not meet the image") from exc
    return x, y


def _pair(asked: Mapping[str, str], name: str) -> tuple[float, float, str]:
    """Return the two numbers of a parameter (one stands for both of a size) and their unit."""
    found = NUMBERS.fullmatch(asked.get(name, ""))
    if found is None or (name == "center" and found[2] is None):
        raise ValueError(f"{name} is not understood: {asked.get(name, '')!r}")
    unit = found[3].lower()
    if unit not in DEGREES and unit not in PIXELS:
        raise ValueError(f"the unit of {name} is not understood: {unit}")
    return float(found[1]), float(found[2] or found[1]), unit


def _span(centre: float, size: float, length: int) -> tuple[int, int]:
    if not math.isfinite(centre):
        raise ValueError("the box does not meet the image")
    pixels = max(1, round(size))
    start = math.floor(centre - pixels / 2 + 1)
    if start >= length or start + pixels <= 0:
        raise ValueError("the box does not meet the image")
    return max(start, 0), start + pixels


def _shift(header: fits.Header, x0: int, y0: int) -> None:
    """Move the reference pixel of the celestial WCS and of every alternate."""
    for axis, start in ((1, x0), (2, y0)):
        for keyword in [k for k in header if re.fullmatch(rf"CRPIX{axis}[A-Z]?", k)]:
            header[keyword] -= start
