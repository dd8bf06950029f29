"""From an observation to boxes of its image around the targets."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from numpy.typing import NDArray

from raysearch.errors import ConfigError, FormatError, NothingToSearch, ProductNotFound
from raysearch.masking import masked
from raysearch.model import Cutout, Image, Observation, Pixels, Store, Target, Usage
from raysearch.read.boxes import Box, box_about
from raysearch.read.fits import FitsFile, Span
from raysearch.read.frame import PSF, Frame, Known, open_frame
from raysearch.read.maps import Maps
from raysearch.read.places import Missing, Nowhere, first_place, of_one_version
from raysearch.read.plan import ReadPlan, join
from raysearch.read.service import CutoutService
from raysearch.read.spherex import SOLID_ANGLES, detector_of, flags_of, mjd_of
from raysearch.read.store import StoreConfig, open_store
from raysearch.read.zones import NAMES

Result = TypeVar("Result")

SOLID_ANGLE = "SOLID_ANGLE"
"""What the pixels' solid angles, arcsec^2, are called among the planes: they come from a calibration product."""
WAVES = ("CWAVE", "CBAND")
"""Extensions of the spectral calibration: central wavelength and bandwidth of each pixel, micrometres."""
EVERY_CUTOUT = 5_000_000
"""Bytes of what the cutout service sends whole with every box: the cube PSF of QR2, 4.9 MB, headers and table."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """A target on an image."""

    target: Target
    x: float
    y: float
    """On the whole image, pixels counted from 0."""
    asked: Box
    box: Box
    """What the file has of it."""


@dataclass(slots=True)
class ImageReader:
    """Reads boxes of pixels about targets from an image's file, in as few requests as they need.

    The box is a square of `ceil(size_deg / the image's own scale)` pixels, centred as well as whole pixels allow, clipped where the
    image ends. Targets whose box does not meet the image have no cutout. Several targets of one image are read together, rows that
    several of them need once. Where byte ranges can be had nowhere, the archive's cutout service is asked instead, one request for
    each target; the pixels are the same.
    """

    store: StoreConfig
    size_deg: float
    """Side of the boxes, degrees."""
    extensions: tuple[str, ...] = ("IMAGE", "FLAGS", "VARIANCE", "ZODI")
    """Planes to be read; IMAGE always is. `PSF`: the function around each target. `SOLID_ANGLE`: see `solid_angles`."""
    through: Literal["ranges", "cutouts"] = "ranges"
    """Byte ranges, or the cutout service only."""
    bands: tuple[str, ...] = ()
    """Of a search for pairs: the detectors (`D2`) of the observation's image and of its partner."""
    solid_angles: str = ""
    """Address of the maps of solid angles, `{detector}` in the place of its number; empty: the public ones."""
    wavelengths: str = ""
    """Address of spectral calibration files (extensions CWAVE and CBAND); empty: the image's own table, good to 1 nm."""
    missing: Missing = "failed"
    """How an observation ends whose product is nowhere to be found."""
    asks_for_room: ClassVar[bool] = True
    _opened: Store | None = field(default=None, init=False, repr=False, compare=False)
    _service: CutoutService | None = field(default=None, init=False, repr=False, compare=False)
    _known: Known = field(default_factory=Known, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.size_deg) and self.size_deg > 0):
            raise ConfigError(f"size = {self.size_deg} deg: the side of a box is greater than 0")
        if self.through not in {"ranges", "cutouts"}:
            raise ConfigError(f"through = {self.through!r}: it is 'ranges' or 'cutouts'")
        if len(self.bands) not in {0, 2}:
            raise ConfigError(f"bands = {list(self.bands)}: a pair has two")
        names = [PSF if name.upper() in NAMES else name.upper() for name in self.extensions]
        self.extensions = tuple(dict.fromkeys(["IMAGE", *names]))

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.through, self.bands, self.solid_angles, self.wavelengths, self.missing)
        return type(self), (self.store, self.size_deg, self.extensions, *options)

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        """Return the image's boxes, or those of both images of a pair around the targets that lie on both."""
        return await of_one_version(usage, partial(self._read, observation, usage))

    async def _read(self, observation: Observation, usage: Usage) -> Pixels:
        image, ranges = await self._image(observation, observation.uris, usage)
        images: tuple[Image, ...] = (replace(image, obs_id=observation.obs_id),)
        if self.bands:
            partner, _ = await self._image(observation, observation.partner, usage)
            images = _of_one_sky(image, partner, self.bands)
        return Pixels(observation.obs_id, image.uri, targets=observation.targets, images=images, ranges=ranges)

    async def plan(self, observation: Observation, usage: Usage) -> ReadPlan:
        """Return what `read` would fetch beyond the headers, which are read here and charged to `usage`."""
        if self.through == "cutouts":
            return self._plan_of_cutouts(observation.targets)
        return await of_one_version(usage, partial(self._plan_all, observation, usage))

    async def _plan_all(self, observation: Observation, usage: Usage) -> ReadPlan:
        plan = await self._tried(observation, observation.uris, partial(self._plan, observation, usage))
        if self.bands:
            partner = await self._tried(observation, observation.partner, partial(self._plan, observation, usage))
            plan = replace(plan, boxes=(*plan.boxes, *partner.boxes), others=(*plan.others, *partner.ranges, *partner.others))
        return plan

    async def close(self) -> None:
        """Close every connection; the next read opens them again."""
        if self._opened is not None:
            await self._opened.close()

    def _store(self) -> Store:
        if self._opened is None:
            self._opened = open_store(self.store)
        return self._opened

    def _file(self, usage: Usage, uri: str) -> FitsFile:
        store = self._store()
        return FitsFile(lambda spans: store.get_ranges(uri, spans, usage))

    async def _tried(self, observation: Observation, uris: Sequence[str], action: Callable[[str], Awaitable[Result]]) -> Result:
        try:
            return await first_place(uris, action)
        except Nowhere as exc:
            raise exc.told(observation.obs_id, self.missing) from None

    async def _image(self, observation: Observation, uris: Sequence[str], usage: Usage) -> tuple[Image, tuple[Span, ...]]:
        """Return an image, and which bytes of it were read, from the first place where it can be had in either way."""
        by_ranges = partial(self._by_ranges, observation.targets, usage)
        by_service = partial(self._by_service, observation.targets, usage)
        pages = [uri for uri in uris if uri.lower().startswith(("http://", "https://"))]
        if self.through == "cutouts":
            return await self._tried(observation, pages, by_service)
        try:
            return await first_place(uris, by_ranges)
        except Nowhere as exc:
            unread = exc
        gone = {uri for uri, failure in zip(uris, unread.failures, strict=True) if isinstance(failure, ProductNotFound)}
        try:
            return await first_place([uri for uri in pages if uri not in gone], by_service)
        except Nowhere as exc:
            failures = (*unread.failures, *exc.failures)
        raise Nowhere(failures).told(observation.obs_id, self.missing)

    async def _by_ranges(self, targets: Sequence[Target], usage: Usage, uri: str) -> tuple[Image, tuple[Span, ...]]:
        file = self._file(usage, uri)
        frame = await open_frame(file, self._in_file, self._known)
        spots = self._spots(frame, targets)
        ranges = await self._ranges(frame, spots)
        await usage.room(self._held(frame, spots, ranges))
        await file.load(ranges)
        cutouts = await self._cutouts(frame, spots, usage)
        return _image_of(frame, uri, cutouts), file.ranges

    async def _by_service(self, targets: Sequence[Target], usage: Usage, uri: str) -> tuple[Image, tuple[Span, ...]]:
        if self._service is None:
            self._service = CutoutService(self._store())
        await usage.room(self._plan_of_cutouts(targets).held)
        images = []
        files = await self._service.fetch(uri, targets, self.size_deg, usage)
        for target, file in files:
            frame = await open_frame(file, self._in_file, self._known)
            if spots := self._find(frame, [target]):
                _check_whole(frame, spots[0])
                images.append(_image_of(frame, uri, await self._cutouts(frame, spots, usage)))
        if targets and not files:
            raise NothingToSearch("the cutout service refused every box, as it does those that do not meet the image")
        if not images:
            raise NothingToSearch(_outside(targets))
        return replace(images[0], cutouts=tuple(cutout for image in images for cutout in image.cutouts)), ()

    @property
    def _in_file(self) -> tuple[str, ...]:
        return tuple(name for name in self.extensions if name != SOLID_ANGLE)

    def _spots(self, frame: Frame, targets: Sequence[Target]) -> list[_Spot]:
        spots = self._find(frame, targets)
        if not spots:
            raise NothingToSearch(_outside(targets))
        return spots

    def _find(self, frame: Frame, targets: Sequence[Target]) -> list[_Spot]:
        """Return where the targets lie whose boxes meet the image, in their order."""
        side = math.ceil(self.size_deg / frame.sky.scale_deg)
        spots = []
        for target, place in zip(targets, frame.sky.places(targets, frame.shape), strict=True):
            if place is None:
                continue
            x, y = place[0] + frame.x0, place[1] + frame.y0
            asked = box_about(x, y, side)
            if box := asked.clipped(frame.here):
                spots.append(_Spot(target, x, y, asked, box))
        return spots

    async def _ranges(self, frame: Frame, spots: Sequence[_Spot]) -> tuple[Span, ...]:
        """Return the ranges that bring everything needed for the spots."""
        boxes = [spot.box.seen_from(frame.x0, frame.y0) for spot in spots]
        spans = [span for plane in frame.planes.values() for box in boxes for span in await plane.spans(frame.file, box)]
        if frame.zones is not None:
            spans += [frame.zones.span(spot.x, spot.y) for spot in spots]
        return join((start, end) for start, end in map(frame.file.lacking, spans) if start < end)

    def _held(self, frame: Frame, spots: Sequence[_Spot], ranges: Sequence[Span]) -> int:
        """Return how many bytes of memory reading an observation takes; a pair's second image counts as much as its first."""
        boxes = [spot.box.seen_from(frame.x0, frame.y0) for spot in spots]
        arrays = sum(plane.held(box) for plane in frame.planes.values() for box in boxes)
        if SOLID_ANGLE in self.extensions:
            arrays += sum(frame.planes["IMAGE"].held(box) for box in boxes)
        return (arrays + sum(end - start for start, end in ranges)) * max(1, len(self.bands))

    async def _cutouts(self, frame: Frame, spots: Sequence[_Spot], usage: Usage) -> tuple[Cutout, ...]:
        detector = detector_of(frame.image)
        beside: Sequence[NDArray[Any]] = ()
        if SOLID_ANGLE in self.extensions:
            beside = await self._solid_angles(usage).load(detector, "IMAGE", frame.shape, [spot.box for spot in spots])
        waves = await self._wavelengths_at(frame, spots, usage)
        cutouts = []
        for n, spot in enumerate(spots):
            box = spot.box.seen_from(frame.x0, frame.y0)
            planes = {name: await plane.load(frame.file, box) for name, plane in frame.planes.items()}
            psf = await frame.zones.load(frame.file, spot.x, spot.y) if frame.zones is not None else None
            cutouts.append(
                Cutout(
                    spot.target,
                    spot.x,
                    spot.y,
                    spot.box.x0,
                    spot.box.y0,
                    planes | ({SOLID_ANGLE: beside[n]} if beside else {}),
                    *waves[n],
                    psf=psf.values if psf else None,
                    psf_oversampling=psf.oversampling if psf else 1,
                    clipped=spot.box != spot.asked,
                    psf_effective=psf.effective if psf else False,
                )
            )
        return tuple(cutouts)

    async def _wavelengths_at(self, frame: Frame, spots: Sequence[_Spot], usage: Usage) -> list[tuple[float, float]]:
        if not self.wavelengths:
            return [(math.nan, math.nan) if frame.waves is None else frame.waves.at(spot.x, spot.y) for spot in spots]
        maps = Maps(self.wavelengths, partial(self._file, usage), self._known.maps, usage.versions)
        places = [(spot.x, spot.y) for spot in spots]
        central, width = [await maps.at(detector_of(frame.image), name, frame.shape, places) for name in WAVES]
        return list(zip(central, width, strict=True))

    def _solid_angles(self, usage: Usage) -> Maps:
        return Maps(self.solid_angles or SOLID_ANGLES, partial(self._file, usage), self._known.maps, usage.versions)

    async def _plan(self, observation: Observation, usage: Usage, uri: str) -> ReadPlan:
        frame = await open_frame(self._file(usage, uri), self._in_file, self._known)
        spots = self._spots(frame, observation.targets)
        others: tuple[Span, ...] = ()
        if SOLID_ANGLE in self.extensions:
            boxes = [spot.box for spot in spots]
            others = await self._solid_angles(usage).spans(detector_of(frame.image), "IMAGE", boxes)
        boxes_told = tuple(f"{spot.target.name}: {spot.box}" for spot in spots)
        ranges = await self._ranges(frame, spots)
        held = self._held(frame, spots, ranges)
        return ReadPlan((), ranges, whole=False, boxes=boxes_told, others=others, held=held)

    def _plan_of_cutouts(self, targets: Sequence[Target]) -> ReadPlan:
        """Return what the cutout service will send, as far as it can be known before."""
        side = self.size_deg * 3600 / 6.15 + 6
        size = EVERY_CUTOUT + round(4 * (len(self.extensions)) * side**2)
        told = tuple(f"{target.name}: a cutout" for target in targets)
        others = ((0, size),) * len(told) * max(1, len(self.bands))
        return ReadPlan((), (), whole=False, boxes=told, others=others, held=3 * size * len(others))


def _check_whole(frame: Frame, spot: _Spot) -> None:
    """Refuse a cutout that ends before the image does."""
    on_image = spot.asked.clipped(Box(0, 0, frame.shape[1], frame.shape[0]))
    if spot.box != on_image:
        raise FormatError(f"the cutout service sent {spot.box} for {spot.target.name}, not {on_image}")


def _outside(targets: Sequence[Target]) -> str:
    if not targets:
        return "no target: nothing to read around"
    return (
        f"none of the {len(targets)} targets' boxes meets the image"
        if len(targets) > 1
        else "the target's box does not meet the image"
    )


def _image_of(frame: Frame, uri: str, cutouts: tuple[Cutout, ...]) -> Image:
    detector = detector_of(frame.image)
    headers = frame.headers()
    exposure = frame.image.string("OBSID")
    return Image(
        obs_id=f"{exposure}/D{detector}" if exposure and detector else masked(uri).rpartition("/")[2],
        uri=uri,
        band=f"SPHEREx-D{detector}" if detector else "",
        mjd=mjd_of(frame.image),
        shape=frame.shape,
        headers=headers,
        flags=flags_of(headers.get("FLAGS", "")),
        tables=frame.tables,
        cutouts=cutouts,
    )


def _of_one_sky(first: Image, second: Image, bands: tuple[str, ...]) -> tuple[Image, Image]:
    """Return both images of a pair, with the cutouts of those targets that lie on both, in the same order."""
    for image, band in zip((first, second), bands, strict=True):
        if image.band.rpartition("-")[2] != band.rpartition("-")[2]:
            raise FormatError(f"{image.uri}: its detector is {image.band or 'unknown'}, not {band}")
    names = [cutout.target.name for cutout in second.cutouts]
    common = [cutout for cutout in first.cutouts if cutout.target.name in names]
    if not common:
        raise NothingToSearch(f"no target's box meets both {first.uri} and {second.uri}")
    others = [second.cutouts[names.index(cutout.target.name)] for cutout in common]
    return replace(first, cutouts=tuple(common)), replace(second, cutouts=tuple(others))
