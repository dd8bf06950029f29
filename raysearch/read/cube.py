"""From an observation to the planes of its cube around the searched lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import (
    ConfigError,
    FormatError,
    NothingToSearch,
    ProductForbidden,
    ProductNotFound,
    ReadError,
    StoreUnavailable,
    TruncatedFile,
)
from raysearch.model import Line, Observation, Pixels, Store, Usage, Window
from raysearch.read.fits import BLOCK, FitsFile, Hdu, padded
from raysearch.read.plan import Excerpt, Extent, ReadPlan, bounds, find_excerpts, make_plan
from raysearch.read.store import StoreConfig, named, open_store
from raysearch.read.wave import TableColumn, column_values, table_column, wavelengths

Result = TypeVar("Result")

SCIENCE = ("SCI", "FLUX", "DATA")
"""Names of extensions that hold the science image: JWST; SOFIA; MUSE and others."""
COMPANIONS = 3
"""ERR, DQ and WMAP (in either order) follow a JWST cube's SCI, as large as it and with headers of one block."""
RAW = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""What BITPIX means."""
FLOATS = {8: "f4", 16: "f4", 32: "f8", 64: "f8", -32: "f4", -64: "f8"}
"""The floating point type that holds its values."""
OTHER_SIGN = {8: (-128.0, "i1"), 16: (2.0**15, "u2"), 32: (2.0**31, "u4"), 64: (2.0**63, "u8")}
"""BZERO by which integers are said to be unsigned (bytes: signed), and what they are then."""


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the headers of one file say."""

    science: Hdu
    extents: tuple[tuple[Hdu, Extent], ...]
    """The science image first."""
    wavelength_um: NDArray[np.float64]
    """Increasing."""
    plan: ReadPlan


@dataclass(slots=True)
class CubeReader:
    """Reads windows of planes around spectral lines, in as few requests as they need.

    The science image is the first of the file that is either a PRIMARY with three axes or an extension named SCI, FLUX or DATA;
    in `Window.planes` it is always called `SCI`. Axes of length 1 beyond the third are dropped. Floating point planes keep their
    width, integers become floating point (as astropy makes them: float32 up to 16 bits, float64 beyond); BSCALE, BZERO and BLANK
    are applied. In further extensions integers stay integers unless they are scaled or have a BLANK. Planes run along increasing
    wavelength, whatever the file's order.
    """

    store: StoreConfig
    lines: tuple[Line, ...]
    window: int | None
    """Planes on each side of a line; None for the whole cube."""
    redshift: float = 0.0
    """For observations without targets."""
    extensions: tuple[str, ...] = ()
    """Further extensions to read, for example ERR and DQ."""
    missing: Literal["failed", "skipped"] = "failed"
    """How an observation ends whose product is nowhere to be found."""
    _opened: Store | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.lines:
            raise ConfigError("no lines to search: [lines] is empty")
        if self.window is not None and self.window < 0:
            raise ConfigError(f"window = {self.window}: the planes on each side of a line cannot be fewer than 0")
        self.extensions = tuple(dict.fromkeys(name.upper() for name in self.extensions if name.upper() != "SCI"))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.store, self.lines, self.window, self.redshift, self.extensions, self.missing)

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        """Return the windows of all lines inside the cube."""
        return await self._first_place(observation, partial(self._read, observation, usage))

    async def plan(self, observation: Observation, usage: Usage) -> ReadPlan:
        """Return what `read` would fetch beyond the headers, which are read here and charged to `usage`."""
        return await self._first_place(observation, partial(self._plan, observation, usage))

    async def close(self) -> None:
        """Close every connection; the next read opens them again."""
        if self._opened is not None:
            await self._opened.close()

    async def _first_place(self, observation: Observation, action: Callable[[str], Awaitable[Result]]) -> Result:
        """Return what the action gives at the first address where the product can be had."""
        failures: list[ReadError] = []
        for uri in observation.uris:
            try:
                with _naming(uri):
                    return await action(uri)
            except (ProductNotFound, ProductForbidden, StoreUnavailable) as exc:
                failures.append(exc)
        raise self._nowhere(observation, failures)

    def _nowhere(self, observation: Observation, failures: list[ReadError]) -> Exception:
        """Return the error for a product that no address gave: the most hopeful kind, naming every place."""
        tried = "; ".join(str(exc) for exc in failures) or f"{observation.obs_id} has no address"
        for kind in (StoreUnavailable, ProductForbidden):
            if any(isinstance(exc, kind) for exc in failures):
                return kind(tried)
        if self.missing == "skipped":
            return NothingToSearch(f"product can be had nowhere: {tried}")
        return ProductNotFound(tried)

    def _file(self, uri: str, usage: Usage) -> FitsFile:
        if self._opened is None:
            self._opened = open_store(self.store)
        store = self._opened
        return FitsFile(lambda spans: store.get_ranges(uri, spans, usage))

    async def _plan(self, observation: Observation, usage: Usage, uri: str) -> ReadPlan:
        return (await self._survey(self._file(uri, usage), observation)).plan

    async def _read(self, observation: Observation, usage: Usage, uri: str) -> Pixels:
        file = self._file(uri, usage)
        survey = await self._survey(file, observation)
        await file.load(survey.plan.ranges)
        planes = {
            (hdu.name, e.start, e.stop): await _load_planes(file, hdu, extent, e, science=hdu is survey.science)
            for e in survey.plan.excerpts
            for hdu, extent in survey.extents
        }
        windows = tuple(self._window(survey, excerpt, planes) for excerpt in survey.plan.excerpts)
        return Pixels(observation.obs_id, uri, windows, survey.science.header.text)

    async def _survey(self, file: FitsFile, observation: Observation) -> _Survey:
        science = await _find_science(file)
        axis = await _wavelengths(file, science)
        reverse = bool(axis[0] > axis[-1])
        axis = np.ascontiguousarray(axis[::-1]) if reverse else axis
        axis.setflags(write=False)
        excerpts = find_excerpts(self.lines, observation.targets, axis, self.window, self.redshift)
        if not excerpts:
            raise NothingToSearch(self._no_line(observation, axis))
        hdus = [science, *await _find_extensions(file, science, self.extensions)]
        extents = tuple((hdu, _extent(hdu, science, reverse=reverse)) for hdu in hdus)
        return _Survey(science, extents, axis, make_plan(excerpts, [extent for _, extent in extents], file.loaded))

    def _no_line(self, observation: Observation, axis: NDArray[np.float64]) -> str:
        low, high = bounds(axis)
        redshifts = sorted({t.redshift for t in observation.targets} or {self.redshift})
        middle = (low + high) / 2
        line, z = min(((line, z) for line in self.lines for z in redshifts), key=lambda p: abs(p[0].rest_um * (1 + p[1]) - middle))
        nearest = f"the nearest, {line.name}, is expected at {line.rest_um * (1 + z):.4g} um (z = {z:g})"
        return f"no searched line lies within {low:.4g}-{high:.4g} um; {nearest}"

    def _window(self, survey: _Survey, excerpt: Excerpt, planes: dict[tuple[str, int, int], NDArray[Any]]) -> Window:
        names = ["SCI", *self.extensions]
        arrays = (planes[hdu.name, excerpt.start, excerpt.stop] for hdu, _ in survey.extents)
        return Window(
            line=excerpt.line,
            redshift=excerpt.redshift,
            targets=excerpt.targets,
            position=excerpt.position,
            start=excerpt.start,
            cube_planes=survey.wavelength_um.size,
            wavelength_um=survey.wavelength_um[excerpt.start : excerpt.stop],
            planes=dict(zip(names, arrays, strict=True)),
        )


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Let errors about a file's content name the file."""
    try:
        yield
    except (FormatError, NothingToSearch) as exc:
        exc.args = (f"{named(uri)}: {exc}",)
        raise


async def _find_science(file: FitsFile) -> Hdu:
    seen = []
    async for hdu in file.hdus():
        seen.append(str(hdu))
        if hdu.name in SCIENCE and hdu.header.value("ZIMAGE") is True:
            raise FormatError(f"{hdu.name} is tile-compressed: its planes are no byte ranges; unpack the file with `funpack`")
        if hdu.kind == "IMAGE" and (hdu.name in SCIENCE if hdu.index else len(hdu.cube_shape) == 3):
            return _checked(hdu)
    raise FormatError(
        f"no cube: neither an extension SCI, FLUX or DATA nor a PRIMARY with three axes; the file holds {', '.join(seen)}"
    )


def _checked(hdu: Hdu) -> Hdu:
    if len(hdu.cube_shape) != 3:
        raise FormatError(f"{hdu}: it has {len(hdu.shape)} axes, a cube has 3")
    if 0 in hdu.shape:
        raise FormatError(f"{hdu}: it is empty")
    return hdu


async def _wavelengths(file: FitsFile, science: Hdu) -> NDArray[np.float64]:
    """Return the wavelength of each plane in the file's order."""
    planes = science.cube_shape[0]
    where = table_column(science.header)
    if where is None:
        return wavelengths(science.header, planes)
    table = await _find_table(file, science, where)
    data = await file.read(table.data_offset, table.data_offset + table.data_size)
    if len(data) < table.data_size:
        raise TruncatedFile(f"truncated: it has {len(data):,} of the {table.data_size:,} bytes of {table.name}")
    return wavelengths(science.header, planes, column_values(table, data, where.column))


async def _find_table(file: FitsFile, science: Hdu, where: TableColumn) -> Hdu:
    """Return the wavelength table: in a JWST cube with one request, elsewhere by a walk over all headers."""
    if science.name == "SCI":
        offset = science.end + COMPANIONS * (BLOCK + padded(science.data_size))
        guess = (offset, offset + 2 * BLOCK + padded(4 * science.cube_shape[0]))
        await file.load([guess])
        if (await file.read(*guess)).startswith(b"XTENSION="):
            async for hdu in file.hdus(offset, science.index + COMPANIONS + 1):
                if hdu.name == where.extension:
                    return hdu
    return (await _by_name(file, (where.extension,)))[0]


async def _find_extensions(file: FitsFile, science: Hdu, names: tuple[str, ...]) -> list[Hdu]:
    if names and science.name == "SCI":  # all headers at the same time, where a JWST cube has them
        offsets = [science.end + n * (BLOCK + padded(science.data_size)) for n in range(COMPANIONS)]
        await file.load([(offset, offset + BLOCK) for offset in offsets])
    return await _by_name(file, names)


async def _by_name(file: FitsFile, names: tuple[str, ...]) -> list[Hdu]:
    """Return the first extension of each name."""
    found: dict[str, Hdu] = {}
    if names:
        async for hdu in file.hdus():
            found.setdefault(hdu.name, hdu)
            if all(name in found for name in names):
                break
    absent = [name for name in names if name not in found]
    if absent:
        raise FormatError(f"no extension {' or '.join(absent)}; the file holds {', '.join(map(str, found.values()))}")
    return [found[name] for name in names]


def _extent(hdu: Hdu, science: Hdu, *, reverse: bool) -> Extent:
    if hdu.kind != "IMAGE" or hdu.cube_shape != science.cube_shape:
        raise FormatError(f"{hdu} is not as large as {science}")
    planes, height, width = hdu.cube_shape
    return Extent(hdu.name, hdu.data_offset, height * width * abs(hdu.bitpix) // 8, planes, reverse)


async def _load_planes(file: FitsFile, hdu: Hdu, extent: Extent, excerpt: Excerpt, *, science: bool) -> NDArray[Any]:
    """Return the excerpt's planes along increasing wavelength, read-only, in native byte order."""
    start, end = extent.span(excerpt.start, excerpt.stop)
    data = await file.read(start, end)
    if len(data) < end - start:
        raise TruncatedFile(
            f"truncated: {len(data):,} of the {end - start:,} bytes of {hdu.name} at {start:,}-{end - 1:,} are there "
            f"(its header promises data up to byte {hdu.data_offset + hdu.data_size - 1:,})"
        )
    raw = np.frombuffer(data, RAW[hdu.bitpix]).reshape(-1, *hdu.cube_shape[1:])
    planes = np.ascontiguousarray(_physical(raw, hdu, science=science)[:: -1 if extent.reverse else 1])
    planes.setflags(write=False)
    return planes


def _physical(raw: NDArray[Any], hdu: Hdu, *, science: bool) -> NDArray[Any]:
    """Return the values that the file's numbers stand for (FITS standard 4.0, sections 4.4.2.5 and 5.2.5), a new array."""
    header, bits = hdu.header, hdu.bitpix
    scale, zero, blank = header.number("BSCALE", 1.0), header.number("BZERO", 0.0), header.value("BLANK")
    if bits > 0 and not science and scale == 1 and blank is None:
        if zero == 0:
            return raw.astype(raw.dtype.newbyteorder("="))
        if zero == OTHER_SIGN[bits][0]:
            flipped = raw.astype(raw.dtype.newbyteorder("=")).view(f"u{bits // 8}") ^ (1 << bits - 1)
            return flipped.view(OTHER_SIGN[bits][1])
    values: NDArray[Any] = raw.astype(FLOATS[bits])
    if scale != 1:
        values *= scale
    if zero != 0:
        values += zero
    if bits > 0 and blank is not None:
        values[raw == blank] = np.nan
    return values
