"""From an observation to the planes of its cube around the searched lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import ConfigError, FormatError, NothingToSearch, TruncatedFile
from raysearch.model import Line, Observation, Pixels, Store, Usage, Window
from raysearch.read.celestial import check_orders
from raysearch.read.companions import as_role, identified, plays
from raysearch.read.fits import BLOCK, FitsFile, Hdu, Header, padded
from raysearch.read.places import Missing, Nowhere, first_place, of_one_version
from raysearch.read.plan import Excerpt, Extent, ReadPlan, Span, bounds, find_excerpts, make_plan
from raysearch.read.store import StoreConfig, open_store
from raysearch.read.values import RAW, physical
from raysearch.read.wave import TableColumn, column_values, table_column, wavelengths

Result = TypeVar("Result")

PIECE = 2**21
"""Numbers that are decoded at a time."""

SCIENCE = ("SCI", "FLUX", "DATA")
"""Names of extensions that hold the science image: JWST; SOFIA; MUSE and others."""
COMPANIONS = 3
"""ERR, DQ and WMAP (in either order) follow a JWST cube's SCI, as large as it and with headers of one block."""
MOST_WALKED = 12
"""HDUs behind the science image among which its companions are looked for: the exposure map of SOFIA's FIFI-LS is the tenth."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """One image extension of which planes are read."""

    role: str
    """What it is called in `Window.planes`."""
    hdu: Hdu
    extent: Extent

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its planes."""
        return self.values(np.zeros((1, 1), RAW[self.hdu.bitpix])).dtype

    def values(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return what the file's numbers stand for in this role."""
        return as_role(self.role, self.hdu.name, physical(raw, self.hdu.header, self.hdu.bitpix, floating=self.role == "SCI"))


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the headers of one file say."""

    kept: tuple[_Kept, ...]
    """The science image first, then the companions that the file has."""
    header: Header
    """The science image's, and what it lacks of the primary header's."""
    wavelength_um: NDArray[np.float64]
    """Increasing."""
    plan: ReadPlan


@dataclass(slots=True)
class CubeReader:
    """Reads windows of planes around spectral lines, in as few requests as they need.

    The science image is the first of the file that is either a PRIMARY with three axes or an extension named SCI, FLUX or DATA;
    in `Window.planes` it is always called `SCI`. Axes of length 1 beyond the second are dropped where there are more than three.
    Floating point planes keep their width, integers become floating point (as astropy makes them: float32 up to 16 bits, float64
    beyond); BSCALE, BZERO and BLANK are applied. In further extensions integers stay integers unless they are scaled or have a
    BLANK. Planes run along increasing wavelength, whatever the file's order.
    """

    store: StoreConfig
    lines: tuple[Line, ...]
    window: int | None
    """Planes on each side of a line, or of the planes in which it is searched; None for the whole cube."""
    velocity: float = 0.0
    """How far from its redshift a line is searched on each side, km/s."""
    redshift: float = 0.0
    """For observations without targets."""
    redshift_range: tuple[float, ...] = ()
    """Lowest and highest, instead of the targets' own; none if empty."""
    extensions: tuple[str, ...] = ()
    """Roles (`companions.ROLES`) or names of further extensions, read where the file has them as large as the science image."""
    missing: Missing = "failed"
    """How an observation ends whose product is nowhere to be found."""
    asks_for_room: ClassVar[bool] = True
    _opened: Store | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.lines:
            raise ConfigError("no lines to search: [lines] is empty")
        if self.window is not None and self.window < 0:
            raise ConfigError(f"window = {self.window}: the planes on each side of a line cannot be fewer than 0")
        self.extensions = tuple(dict.fromkeys(name.upper() for name in self.extensions if name.upper() != "SCI"))

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.velocity, self.redshift, self.redshift_range, self.extensions, self.missing)
        return type(self), (self.store, self.lines, self.window, *options)

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        """Return the windows of all lines inside the cube."""
        return await of_one_version(usage, partial(self._first_place, observation, partial(self._read, observation, usage)))

    async def plan(self, observation: Observation, usage: Usage) -> ReadPlan:
        """Return what `read` would fetch beyond the headers, which are read here and charged to `usage`."""
        return await of_one_version(usage, partial(self._first_place, observation, partial(self._plan, observation, usage)))

    async def close(self) -> None:
        """Close every connection; the next read opens them again."""
        if self._opened is not None:
            await self._opened.close()

    async def _first_place(self, observation: Observation, action: Callable[[str], Awaitable[Result]]) -> Result:
        """Return what the action gives at the first address where the product can be had."""
        try:
            return await first_place(observation.uris, action)
        except Nowhere as exc:
            raise exc.told(observation.obs_id, self.missing) from None

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
        await usage.room(survey.plan.held)
        await file.load(survey.plan.ranges)
        planes = {(kept.role, *span): await _load_planes(file, kept, *span) for span in _spans(survey.plan) for kept in survey.kept}
        windows = tuple(_window(survey, excerpt, planes) for excerpt in survey.plan.excerpts)
        return Pixels(observation.obs_id, uri, windows, survey.header.text, observation.targets, ranges=file.ranges)

    async def _survey(self, file: FitsFile, observation: Observation) -> _Survey:
        science, header = await _find_science(file)
        axis = await _wavelengths(file, science, header)
        reverse = bool(axis[0] > axis[-1])
        axis = np.ascontiguousarray(axis[::-1]) if reverse else axis
        axis.setflags(write=False)
        excerpts = find_excerpts(
            self.lines, observation.targets, axis, self.window, self.redshift, self.redshift_range, self.velocity
        )
        if not excerpts:
            raise NothingToSearch(self._no_line(observation, axis))
        found = {"SCI": science, **await _find_companions(file, science, self.extensions)}
        kept = tuple(_Kept(role, hdu, _extent(hdu, reverse=reverse)) for role, hdu in found.items())
        plan = make_plan(excerpts, [one.extent for one in kept], file.loaded)
        return _Survey(kept, header, axis, replace(plan, held=_held(plan, kept)))

    def _no_line(self, observation: Observation, axis: NDArray[np.float64]) -> str:
        low, high = bounds(axis)
        redshifts = sorted(self.redshift_range or {t.redshift for t in observation.targets} or {self.redshift})
        middle = (low + high) / 2
        line, z = min(((line, z) for line in self.lines for z in redshifts), key=lambda p: abs(p[0].rest_um * (1 + p[1]) - middle))
        nearest = f"the nearest, {line.name}, is expected at {line.rest_um * (1 + z):.6g} um (z = {z:g})"
        return f"no searched line lies within {low:.6g}-{high:.6g} um; {nearest}"


def _window(survey: _Survey, excerpt: Excerpt, planes: dict[tuple[str, int, int], NDArray[Any]]) -> Window:
    return Window(
        line=excerpt.line,
        redshift=excerpt.redshift,
        targets=excerpt.targets,
        position=excerpt.position,
        start=excerpt.start,
        cube_planes=survey.wavelength_um.size,
        wavelength_um=survey.wavelength_um[excerpt.start : excerpt.stop],
        planes={kept.role: planes[kept.role, excerpt.start, excerpt.stop] for kept in survey.kept},
        searched=excerpt.searched,
    )


async def _find_science(file: FitsFile) -> tuple[Hdu, Header]:
    """Return the science image, and its header with what it lacks of the primary one."""
    seen: list[Hdu] = []
    async for hdu in file.hdus():
        seen.append(hdu)
        if hdu.name in SCIENCE and hdu.header.value("ZIMAGE") is True:
            raise FormatError(f"{hdu.name} is tile-compressed: its planes are no byte ranges; unpack the file with `funpack`")
        if hdu.kind == "IMAGE" and (hdu.name in SCIENCE if hdu.index else len(hdu.cube_shape) == 3):
            return _checked(hdu), identified(hdu.header, seen[0].header)
    raise FormatError(
        f"no cube: neither an extension SCI, FLUX or DATA nor a PRIMARY with three axes; the file holds {', '.join(map(str, seen))}"
    )


def _checked(hdu: Hdu) -> Hdu:
    if len(hdu.cube_shape) != 3:
        raise FormatError(f"{hdu}: it has {len(hdu.shape)} axes, a cube has 3")
    if 0 in hdu.shape:
        raise FormatError(f"{hdu}: it is empty")
    check_orders(hdu.header)
    return hdu


async def _wavelengths(file: FitsFile, science: Hdu, header: Header) -> NDArray[np.float64]:
    """Return the wavelength of each plane in the file's order."""
    planes, axis = science.cube_shape[0], science.plane_axis
    where = table_column(header, axis)
    if where is None:
        return wavelengths(header, planes, axis=axis)
    table = await _find_table(file, science, where)
    data = await file.read(table.data_offset, table.data_offset + table.data_size)
    if len(data) < table.data_size:
        raise TruncatedFile(f"truncated: it has {len(data):,} of the {table.data_size:,} bytes of {table.name}")
    return wavelengths(header, planes, column_values(table, data, where.column), axis=axis)


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
    seen = []
    async for hdu in file.hdus():
        if hdu.name == where.extension:
            return hdu
        seen.append(str(hdu))
    raise FormatError(f"no extension {where.extension}; the file holds {', '.join(seen)}")


async def _find_companions(file: FitsFile, science: Hdu, roles: tuple[str, ...]) -> dict[str, Hdu]:
    """Return the first extension of each role that is as large as the science image; roles that the file lacks are absent."""
    found: dict[str, Hdu] = {}
    if not roles:
        return found
    if science.name == "SCI":  # all headers at the same time, where a JWST cube has them
        offsets = [science.end + n * (BLOCK + padded(science.data_size)) for n in range(COMPANIONS)]
        await file.load([(offset, offset + BLOCK) for offset in offsets])
    async for hdu in file.hdus():
        role = next((role for role in roles if role not in found and plays(role, hdu, science)), None)
        if role is not None:
            found[role] = hdu
        if len(found) == len(roles) or hdu.index >= science.index + MOST_WALKED:
            break
    return {role: found[role] for role in roles if role in found}


def _extent(hdu: Hdu, *, reverse: bool) -> Extent:
    planes, height, width = hdu.cube_shape
    return Extent(hdu.name, hdu.data_offset, height * width * abs(hdu.bitpix) // 8, planes, reverse)


def _spans(plan: ReadPlan) -> set[Span]:
    """Return the runs of planes that are read; lines beside each other may share one."""
    return {(excerpt.start, excerpt.stop) for excerpt in plan.excerpts}


def _held(plan: ReadPlan, kept: Sequence[_Kept]) -> int:
    """Return how many bytes reading takes: the arrays, and the bytes as they come, or the arrays once more if larger, handed on."""
    pixels = sum(prod(one.hdu.cube_shape[1:]) * one.dtype.itemsize for one in kept)
    arrays = pixels * sum(stop - start for start, stop in _spans(plan))
    return arrays + max(arrays, plan.nbytes)


async def _load_planes(file: FitsFile, kept: _Kept, start: int, stop: int) -> NDArray[Any]:
    """Return planes along increasing wavelength, read-only, in native byte order; made piece by piece, which takes least memory."""
    hdu, (begin, end) = kept.hdu, kept.extent.span(start, stop)
    there = min(file.lacking((begin, end))[0], end) - begin
    if there < end - begin:
        raise TruncatedFile(
            f"truncated: {there:,} of the {end - begin:,} bytes of {hdu.name} at {begin:,}-{end - 1:,} are there "
            f"(its header promises data up to byte {hdu.data_offset + hdu.data_size - 1:,})"
        )
    planes = np.empty((stop - start, *hdu.cube_shape[1:]), kept.dtype)
    in_file = planes[:: -1 if kept.extent.reverse else 1].reshape(stop - start, -1)  # a view: its rows are the file's planes
    at = begin
    for piece in _pieces(*in_file.shape):
        size = in_file[piece].size * abs(hdu.bitpix) // 8
        data = await file.read(at, at + size)
        in_file[piece] = kept.values(np.frombuffer(data, RAW[hdu.bitpix]).reshape(in_file[piece].shape))
        at += size
    planes.setflags(write=False)
    return planes


def _pieces(planes: int, pixels: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices over planes and pixels, in the file's order, of up to `PIECE` numbers."""
    several = max(1, PIECE // max(pixels, 1))
    for plane in range(0, planes, several):
        for pixel in range(0, pixels, PIECE):
            yield slice(plane, plane + several), slice(pixel, pixel + PIECE)
