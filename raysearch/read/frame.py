"""An image's file as its headers describe it, whole or cut out by a service.

Headers are looked for first where they usually are, so that a few requests bring them all; what counts is what is found there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from raysearch.errors import FormatError, TruncatedFile
from raysearch.model import moved_header
from raysearch.read.boxes import Box, PlainPlane, Plane, without_end
from raysearch.read.celestial import Celestial
from raysearch.read.fits import FitsFile, Hdu, Header, padded
from raysearch.read.spherex import HEAD, Expected, calibration_of, detector_of, usual
from raysearch.read.tiles import TiledPlane
from raysearch.read.wavetable import WaveTable, wave_extension
from raysearch.read.zones import NAMES, Zones

Key = TypeVar("Key")
Value = TypeVar("Value")

MOST_KEPT = 64
"""Versions, tables and maps that one process remembers: six detectors of some ten versions."""
PSF = "PSF"
"""What the point spread function is called among the extensions asked for, whatever it is in the file."""


class Kept(Generic[Key, Value]):
    """What was learned last, at most `MOST_KEPT` of it."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """Return what is kept under a key."""
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, and forget the oldest where there are too many."""
        self._values[key] = value
        while len(self._values) > MOST_KEPT:
            self._values.popitem(last=False)

    def forget(self, which: Callable[[Key], bool]) -> None:
        """Keep nothing of these keys any more."""
        for key in [key for key in self._values if which(key)]:
            del self._values[key]


@dataclass(slots=True)
class KnownMap:
    """What is kept of one extension of a calibration product."""

    hdu: Hdu
    version: str = ""
    """Of the product; empty where its store tells none."""
    asked: int = 0
    """Bytes of all boxes so far."""
    whole: FitsFile | None = None
    """The product, with all bytes of the extension."""
    coming: bool = False
    """Whether they are being read."""


class Known:
    """What one process has learned of files that is true of others too."""

    def __init__(self) -> None:
        self.layouts: Kept[str, tuple[Expected, ...]] = Kept()
        """VERSION -> the extensions behind IMAGE: where to look first, never where they are."""
        self.waves: Kept[tuple[str, int | None, str], tuple[WaveTable, bytes]] = Kept()
        """VERSION, detector and the identity of the spectral calibration in IMAGE's history -> the table of wavelengths."""
        self.maps: Kept[tuple[str, str], KnownMap] = Kept()
        """Address of a calibration product, and extension -> its header, or the whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What the headers of one file say."""

    file: FitsFile
    primary: Header
    image: Header
    """Of IMAGE."""
    planes: Mapping[str, Plane]
    """IMAGE, and what else was asked for."""
    zones: Zones | None
    waves: WaveTable | None
    tables: Mapping[str, bytes]
    sky: Celestial
    """Of this file: its pixels are counted from 0 at (x0, y0) of the whole image."""
    x0: int
    y0: int
    shape: tuple[int, int]
    """Rows and columns of the whole image."""

    @property
    def version(self) -> str:
        """Of the pipeline."""
        return self.primary.string("VERSION")

    @property
    def here(self) -> Box:
        """The part of the whole image that this file holds."""
        ny, nx = self.planes["IMAGE"].shape
        return Box(self.x0, self.y0, self.x0 + nx, self.y0 + ny)

    def headers(self) -> dict[str, str]:
        """Return the whole image's headers as text."""
        texts = {name: plane.header for name, plane in self.planes.items()}
        if self.here.shape != self.shape:
            texts = {name: moved_header(text, self.shape, -self.x0, -self.y0) for name, text in texts.items()}
        psf = {} if self.zones is None else {self.zones.hdu.name: self.zones.header}
        return {"PRIMARY": without_end(self.primary), **texts, **psf}


async def open_frame(file: FitsFile, extensions: Sequence[str], known: Known) -> Frame:
    """Return what a file's headers say of IMAGE and the extensions asked for.

    Raises
    ------
    FormatError
        An extension is missing, or is none of pixels like IMAGE's; IMAGE does not say where it lies on the sky.
    """
    await file.load([(0, HEAD)])
    primary, image = await _find_image(file)
    version = primary.header.string("VERSION")
    plane = _plane(image)
    table_name, pin = wave_extension(image.header), _pin(version, image.header)
    kept = known.waves.get(pin) if table_name and pin else None
    wanted = {name: NAMES if name == PSF else (name,) for name in extensions if name != "IMAGE"}
    if table_name and kept is None:
        wanted[table_name] = (table_name,)
    found = await _find(file, image, wanted, known, version)
    if table_name and kept is None:
        kept = await _read_waves(file, image.header, found.pop(table_name))
        if pin:
            known.waves.put(pin, kept)
    zones = found.pop(PSF, None)
    planes = {"IMAGE": plane, **{name: _plane(hdu) for name, hdu in found.items()}}
    for name, other in planes.items():
        if other.shape != plane.shape:
            raise FormatError(f"{name} has {other.shape[0]} x {other.shape[1]} pixels, IMAGE {plane.shape[0]} x {plane.shape[1]}")
    x0, y0 = (round(1 - image.header.number(f"CRPIX{axis}A", 1.0)) for axis in (1, 2))
    shape = _whole_shape(plane.shape, x0, y0, kept)
    return Frame(
        file=file,
        primary=primary.header,
        image=image.header,
        planes=planes,
        zones=None if zones is None else Zones(zones, version, shape),
        waves=kept[0] if kept else None,
        tables={table_name: kept[1]} if kept else {},
        sky=Celestial(plane.header),
        x0=x0,
        y0=y0,
        shape=shape,
    )


def _pin(version: str, image: Header) -> tuple[str, int | None, str] | None:
    """Return what two files must share for their tables of wavelengths to be the same; None where IMAGE does not tell."""
    calibration = calibration_of(image, "spectral_wcs")
    return (version, detector_of(image), calibration) if version and calibration else None


def _whole_shape(shape: tuple[int, int], x0: int, y0: int, waves: tuple[WaveTable, bytes] | None) -> tuple[int, int]:
    """Return rows and columns of the whole image: a cutout's headers do not tell, but the table of wavelengths spans it."""
    ny, nx = waves[0].image_shape if waves else (0, 0)
    return max(ny, y0 + shape[0]), max(nx, x0 + shape[1])


def _plane(hdu: Hdu) -> Plane:
    return TiledPlane(hdu) if hdu.header.value("ZIMAGE") is True else PlainPlane(hdu)


async def _find_image(file: FitsFile) -> tuple[Hdu, Hdu]:
    """Return PRIMARY and IMAGE."""
    seen: list[Hdu] = []
    async for hdu in file.hdus():
        seen.append(hdu)
        if hdu.name == "IMAGE":
            return seen[0], hdu
    raise FormatError(f"no extension IMAGE; the file holds {', '.join(map(str, seen))}")


async def _find(file: FitsFile, image: Hdu, wanted: Mapping[str, Sequence[str]], known: Known, version: str) -> dict[str, Hdu]:
    """Return the extensions behind IMAGE by what they are asked for as: where they usually are, or else by a walk over all headers.

    An extension is taken from its usual place if one of its name begins right there.
    """
    found: dict[str, Hdu] = {}
    rest, before = list(known.layouts.get(version) or usual(version)), image
    while rest and len(found) < len(wanted):
        places = list(_places(rest, before, wanted, found))
        await file.load([(offset, offset + e.header + e.more) for e, _, offset in places])
        hdus = [await _extension(file, e.name, offset, index) for e, index, offset in places]
        if not places or None in hdus:
            break
        for hdu in hdus:
            found |= {role: hdu for role, names in wanted.items() if hdu is not None and hdu.name in names and role not in found}
        last, before = places[-1][0], hdus[-1] or image
        rest = rest[rest.index(last) + 1 :] if last.data is None else []
    return found if len(found) == len(wanted) else await _walk(file, image, wanted, known, version)


def _places(
    expected: Sequence[Expected], before: Hdu, wanted: Mapping[str, Sequence[str]], found: Mapping[str, Hdu]
) -> Iterator[tuple[Expected, int, int]]:
    """Yield those of the expected extensions that are wanted still, each with its number and place, up to one of unknown size."""
    waiting = {name for role, names in wanted.items() if role not in found for name in names}
    left = len(wanted) - len(found)
    offset = before.end
    for index, extension in enumerate(expected, before.index + 1):
        if left and (extension.name in waiting or extension.data is None):
            yield extension, index, offset
        left -= extension.name in waiting
        if extension.data is None:
            return
        offset += extension.header + padded(extension.data)


async def _extension(file: FitsFile, name: str, offset: int, index: int) -> Hdu | None:
    """Return the extension that begins at a place; None where none of that name does."""
    if not (await file.read(offset, offset + 10)).startswith(b"XTENSION="):
        return None
    hdu = await file.hdu(offset, index)
    return hdu if hdu is not None and hdu.name == name else None


async def _walk(file: FitsFile, image: Hdu, wanted: Mapping[str, Sequence[str]], known: Known, version: str) -> dict[str, Hdu]:
    found: dict[str, Hdu] = {}
    seen: list[Hdu] = []
    async for hdu in file.hdus(image.end, image.index + 1):
        seen.append(hdu)
        found |= {role: hdu for role, names in wanted.items() if hdu.name in names and role not in found}
        if len(found) == len(wanted):
            known.layouts.put(version, tuple(Expected.like(hdu) for hdu in seen))
            return found
    lacking = " and ".join(role for role in wanted if role not in found)
    raise FormatError(f"no extension {lacking}; the file holds {', '.join(map(str, (image, *seen)))}")


async def _read_waves(file: FitsFile, image: Header, hdu: Hdu) -> tuple[WaveTable, bytes]:
    data = await file.read(hdu.data_offset, hdu.data_offset + hdu.data_size)
    if len(data) < hdu.data_size:
        raise TruncatedFile(f"truncated: it has {len(data):,} of the {hdu.data_size:,} bytes of {hdu.name}")
    whole = (await file.read(hdu.header_offset, hdu.end)).ljust(hdu.end - hdu.header_offset, b"\0")
    return WaveTable.from_table(image, hdu, data), whole
