"""Boxes of images equal what astropy reads, by ranges and by the cutout service, and cost no more than they must."""

from __future__ import annotations

import asyncio
import gzip
import io
import math
import pickle
import tracemalloc
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import (
    ConfigError,
    FormatError,
    NothingToSearch,
    ProductNotFound,
    RaysearchError,
    ReadError,
    RequestRefused,
    StoreUnavailable,
    TruncatedFile,
)
from raysearch.model import Image, Observation, Pixels, Reader, Target, Usage
from raysearch.read.image import ImageReader
from raysearch.read.plan import ReadPlan
from raysearch.read.store import StoreConfig
from raysearch.testing import Holdings, LocalArchive
from raysearch.testing.fields import Field
from raysearch.testing.services.cutouts import make_cutout
from raysearch.testing.spherex import FrameSpec, make_frame
from raysearch.testing.spherex_calibration import make_solid_angles, make_spectral_wcs
from raysearch.testing.spherex_optics import Optics

PLANES = ("IMAGE", "FLAGS", "VARIANCE", "ZODI")
FIELD = Field(10.0, 41.0, 160, 160, 6.153, rotation=25.0)
URI = "memory://a.fits"
SIZE = 0.05
SIDE = 30
"""Pixels of a box of `SIZE`."""


@lru_cache
def spec(detector: int = 3, release: str = "qr2", pipeline: str = "", **options: Any) -> FrameSpec:
    version = pipeline or {"qr2": "6.5.4+psffix1", "qr3": "7.0.5"}[release]
    return FrameSpec(1, detector, FIELD, release=release, pipeline=version, bad=1.0, **options)


@lru_cache
def frame(*what: Any, **options: Any) -> bytes:
    return make_frame(spec(*what, **options))


@lru_cache
def target_at(x: float, y: float, detector: int = 3, name: str = "T") -> Target:
    ra, dec = Optics.of(spec(detector)).sky(x, y)
    return Target(name, float(ra), float(dec))


def reader_of(
    size: float = SIZE, extensions: Sequence[str] = PLANES, files: dict[str, bytes] | None = None, **options: Any
) -> ImageReader:
    held = {"memory://a.fits": frame()} if files is None else files
    return ImageReader(StoreConfig(memory=held, retries=0), size, tuple(extensions), **options)


def observe(*targets: Target, uris: Sequence[str] = (URI,), partner: Sequence[str] = ()) -> Observation:
    return Observation("obs", tuple(uris), targets, partner=tuple(partner))


def read(reader: ImageReader, observation: Observation) -> tuple[Pixels, Usage]:
    usage, got = Usage(), []

    async def main() -> None:  # asyncio.run spells out what its task returns, which takes its time with arrays
        try:
            got.append(await reader.read(observation, usage))
        finally:
            await reader.close()

    asyncio.run(main())
    return got[0], usage


def plan(reader: ImageReader, observation: Observation) -> tuple[ReadPlan, Usage]:
    usage = Usage()
    return asyncio.run(reader.plan(observation, usage)), usage


def assert_as_astropy(image: Image, data: bytes) -> None:
    """Compare every box with the whole file, read by astropy."""
    with fits.open(io.BytesIO(data)) as file:
        sky, waves = WCS(file["IMAGE"].header), WCS(file["IMAGE"].header, fobj=file, key="W")
        waves.sip = None
        for cutout in image.cutouts:
            x, y = sky.all_world2pix(cutout.target.ra, cutout.target.dec, 0, tolerance=1e-7)
            assert (cutout.x, cutout.y) == pytest.approx((float(x), float(y)), abs=1e-5)
            ny, nx = cutout.shape
            for name in PLANES:
                plane = file[name].data[cutout.y0 : cutout.y0 + ny, cutout.x0 : cutout.x0 + nx]
                np.testing.assert_array_equal(cutout.planes[name], plane)
                assert cutout.planes[name].dtype == plane.dtype.newbyteorder("=")
            expected = [float(value) for value in waves.all_pix2world(cutout.x, cutout.y, 0)]
            assert (cutout.wavelength_um, cutout.bandwidth_um) == pytest.approx(expected, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_boxes_are_those_of_the_file(release: str) -> None:
    data = frame(3, release)
    targets = [
        target_at(80.3, 70.7),
        target_at(60.0, 75.0, name="U"),
        target_at(2.0, 158.0, name="edge"),
        target_at(300, 80, name="off"),
    ]
    got, usage = read(reader_of(files={URI: data}), observe(*targets))
    (image,) = got.images
    assert_as_astropy(image, data)
    assert [cutout.target.name for cutout in image.cutouts] == ["T", "U", "edge"]
    assert [cutout.clipped for cutout in image.cutouts] == [False, False, True]
    assert image.cutouts[0].shape == (SIDE, SIDE)
    assert (image.obs_id, image.uri, image.band, image.shape) == ("obs", URI, "SPHEREx-D3", (160, 160))
    assert image.mjd == pytest.approx(61027.215666)
    assert image.flags == {name: 1 << bit for name, bit in spec(3, release).flag_bits.items()}
    assert got.targets == tuple(targets)
    assert got.ranges
    assert usage.bytes_read >= sum(end - start for start, end in got.ranges)
    assert not any(array.flags.writeable for array in got.arrays)


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_headers_and_table_of_a_box_stand_alone(release: str) -> None:
    """A file made of them has the sky and the wavelengths of the whole image."""
    got, _ = read(reader_of(files={URI: frame(3, release)}), observe(target_at(80.3, 70.7)))
    (image,), cutout = got.images, got.images[0].cutouts[0]
    assert list(image.headers) == ["PRIMARY", *PLANES]
    hdus = [fits.ImageHDU(cutout.planes[name], fits.Header.fromstring(image.header(name, cutout))) for name in PLANES]
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(stream)
    with fits.open(io.BytesIO(stream.getvalue() + image.tables["WCS-WAVE"])) as file:
        assert [hdu.name for hdu in file[1:]] == [*PLANES, "WCS-WAVE"]
        for name in PLANES:
            sky = WCS(file[name].header)
            x, y = sky.all_world2pix(cutout.target.ra, cutout.target.dec, 0)
            assert (x + cutout.x0, y + cutout.y0) == pytest.approx((cutout.x, cutout.y), abs=1e-4)
        waves = WCS(file["IMAGE"].header, fobj=file, key="W")
        waves.sip = None
        at = waves.all_pix2world(cutout.x - cutout.x0, cutout.y - cutout.y0, 0)
        assert (cutout.wavelength_um, cutout.bandwidth_um) == pytest.approx([float(v) for v in at], abs=1e-7)
        assert file["IMAGE"].header["CRPIX1A"] == 1 - cutout.x0


@settings(max_examples=20)
@given(x=st.floats(-40, 200), y=st.floats(-40, 200), size=st.floats(0.002, 0.3))
def test_any_place_and_size(x: float, y: float, size: float) -> None:
    target = target_at(x, y)
    side = math.ceil(size / (6.153 / 3600))
    try:
        got, _ = read(reader_of(size), observe(target))
    except NothingToSearch:
        assert not (-side / 2 < x < 159 + side / 2 and -side / 2 < y < 159 + side / 2)
        return
    (cutout,) = got.images[0].cutouts
    assert (cutout.x, cutout.y) == pytest.approx((x, y), abs=2e-3)
    assert_as_astropy(got.images[0], frame())
    assert cutout.clipped == (cutout.shape != (side, side))


def test_of_one_of_two_detectors_each_has_its_own_table() -> None:
    reader = reader_of(files={"memory://2.fits": frame(2), "memory://3.fits": frame(3)})
    for detector in (2, 3, 2):
        got, _ = read(reader, observe(target_at(80, 80, detector), uris=(f"memory://{detector}.fits",)))
        assert_as_astropy(got.images[0], frame(detector))


def test_only_what_is_asked_for_is_read() -> None:
    got, _ = read(reader_of(extensions=("zodi",)), observe(target_at(80, 80)))
    assert set(got.images[0].cutouts[0].planes) == {"IMAGE", "ZODI"}
    assert got.images[0].flags == {}


@pytest.mark.parametrize(("pipeline", "release"), [("6.5.4", "qr2"), ("6.5.4+psffix1", "qr2"), ("7.0.5", "qr3")])
def test_the_psf_is_that_of_its_zone(pipeline: str, release: str) -> None:
    data = frame(3, release, pipeline)
    name = "PSF" if release == "qr2" else "EPSF"
    x, y = 20.0, 130.0
    got, usage = read(reader_of(extensions=(*PLANES, "PSF"), files={URI: data}), observe(target_at(x, y)))
    cutout = got.images[0].cutouts[0]
    assert name in got.images[0].headers
    columns, rows = (11, 11) if release == "qr2" else (11, 41)
    zone = int(x / 160 * columns) + columns * int(y / 160 * rows)
    with fits.open(io.BytesIO(data)) as file:
        expected = file["PSF"].data[zone] if release == "qr2" else file["EPSF"].data["EPSF"][zone].reshape(33, 33)
    np.testing.assert_array_equal(cutout.psf, expected)
    assert (cutout.psf_oversampling, cutout.psf_effective) == ((10, False) if release == "qr2" else (5, True))
    assert usage.bytes_read < len(data)


def test_solid_angles_and_exact_wavelengths_come_from_calibration_products() -> None:
    files = {URI: frame(), "memory://sa3": make_solid_angles(3, 160, 160), "memory://w3": make_spectral_wcs(3, 160, 160)}
    options = {"solid_angles": "memory://sa{detector}", "wavelengths": "memory://w{detector}"}
    reader = reader_of(extensions=(*PLANES, "SOLID_ANGLE"), files=files, **options)
    got, first = read(reader, observe(target_at(80.0, 70.0)))
    _, again = read(reader, observe(target_at(80.0, 70.0)))
    cutout = got.images[0].cutouts[0]
    with fits.open(io.BytesIO(files["memory://sa3"])) as file:
        expected = file["IMAGE"].data[cutout.y0 : cutout.y0 + SIDE, cutout.x0 : cutout.x0 + SIDE]
    np.testing.assert_array_equal(cutout.planes["SOLID_ANGLE"], expected)
    with fits.open(io.BytesIO(files["memory://w3"])) as file:
        exact = float(file["CWAVE"].data[70, 80]), float(file["CBAND"].data[70, 80])
    assert (cutout.wavelength_um, cutout.bandwidth_um) == pytest.approx(exact, abs=2e-6)
    assert again.requests <= first.requests - 3  # the headers of the products are known, and where those of the image are
    assert again.bytes_read < first.bytes_read


def test_a_map_that_is_absent_is_not_an_absent_image() -> None:
    reader = reader_of(extensions=("IMAGE", "SOLID_ANGLE"), solid_angles="memory://none{detector}", missing="skipped")
    with pytest.raises(ConfigError, match="no calibration product: memory://none3: not in memory; set solid_angles"):
        read(reader, observe(target_at(80, 80)))


PAIR = {"memory://2.fits": frame(2), "memory://3.fits": frame(3)}


def test_a_pair_has_the_boxes_of_the_targets_on_both() -> None:
    targets = (target_at(80, 70), target_at(-300, 80, name="off"), target_at(50, 60, name="V"))
    reader = reader_of(files=PAIR, bands=("D2", "D3"))
    got, usage = read(reader, observe(*targets, uris=("memory://2.fits",), partner=("memory://none.fits", "memory://3.fits")))
    first, second = got.images
    assert (first.band, second.band) == ("SPHEREx-D2", "SPHEREx-D3")
    assert [c.target.name for c in first.cutouts] == [c.target.name for c in second.cutouts] == ["T", "V"]
    assert (first.obs_id, second.obs_id) == ("2025W51_1A_0001_1/D2", "2025W51_1A_0001_1/D3")
    assert_as_astropy(first, PAIR["memory://2.fits"])
    assert_as_astropy(second, PAIR["memory://3.fits"])
    assert got.uri == first.uri == "memory://2.fits"
    assert sum(end - start for start, end in got.ranges) < usage.bytes_read


def test_a_target_that_lies_on_one_of_a_pair_alone_has_no_boxes() -> None:
    beside = FrameSpec(2, 2, Field(10.0, 41.12, 160, 160, 6.153, rotation=25.0))
    reader = reader_of(files={"memory://b.fits": make_frame(beside), "memory://3.fits": frame(3)}, bands=("D2", "D3"))
    places = [Optics.of(beside).sky(x, y) for x, y in ((80, 20), (80, 150))]
    targets = [Target(name, float(ra), float(dec)) for name, (ra, dec) in zip(("both", "first alone"), places, strict=True)]
    got, _ = read(reader, observe(*targets, uris=("memory://b.fits",), partner=("memory://3.fits",)))
    assert [[c.target.name for c in image.cutouts] for image in got.images] == [["both"], ["both"]]
    with pytest.raises(NothingToSearch):
        read(reader, observe(targets[1], uris=("memory://b.fits",), partner=("memory://3.fits",)))


def test_a_pair_of_other_bands_is_refused() -> None:
    reader = reader_of(files=PAIR, bands=("D3", "D2"))
    with pytest.raises(FormatError, match=r"2\.fits: its detector is SPHEREx-D2, not D3"):
        read(reader, observe(target_at(80, 70), uris=("memory://2.fits",), partner=("memory://3.fits",)))


def fails(data: bytes, error: type[RaysearchError], match: str, **options: Any) -> None:
    with pytest.raises(error, match=match) as caught:
        read(reader_of(files={URI: data}, **options), observe(target_at(80, 80)))
    assert str(caught.value).startswith(URI)


def test_a_missing_extension_is_named_with_what_there_is() -> None:
    fails(frame(without=("VARIANCE",)), FormatError, r"no extension VARIANCE; the file holds IMAGE .*FLAGS .*ZODI .*WCS-WAVE")
    fails(frame(without=("WCS-WAVE",)), FormatError, "no extension WCS-WAVE; the file holds")
    fails(frame(without=("IMAGE",)), FormatError, r"no extension IMAGE; the file holds PRIMARY .*FLAGS")
    fails(frame(without=("PSF",)), FormatError, "no extension PSF; the file holds", extensions=("PSF",))


def test_a_file_that_ends_early_is_told() -> None:
    data = frame()
    fails(data[:200_000], FormatError, "no extension VARIANCE and ZODI and WCS-WAVE; the file holds")
    fails(data[: len(data) - 3000], FormatError, "WCS-WAVE|truncated", extensions=("ZODI",))
    only_image = frame(without=("FLAGS", "VARIANCE", "ZODI", "PSF", "WCS-WAVE"))
    fails(only_image[:70_000].replace(b"CTYPE1W", b"XTYPE1W"), TruncatedFile, "bytes of IMAGE in rows", extensions=("IMAGE",))


def test_what_is_no_fits_is_told() -> None:
    fails(b"<html>login</html>" * 9, FormatError, "web page")
    fails(frame().replace(b"CTYPE1  = 'RA---TAN-SIP'", b"CTYPE1  = 'GLON-TAN    '", 1), FormatError, "celestial WCS")


def test_planes_of_another_shape_are_refused() -> None:
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((9, 9), "f4"), name="IMAGE"),
        fits.ImageHDU(np.zeros((9, 8), "f4"), name="ZODI"),
    ]
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    fails(stream.getvalue(), FormatError, "ZODI has 9 x 8 pixels, IMAGE 9 x 9", extensions=("ZODI",))


def test_targets_off_the_image_are_nothing_to_search() -> None:
    fails_with = pytest.raises(NothingToSearch, match="none of the 2 targets' boxes meets the image")
    with fails_with:
        read(reader_of(), observe(target_at(400, 80), Target("antipode", 190.0, -41.0)))
    with pytest.raises(NothingToSearch, match="no target"):
        read(reader_of(), observe())


@pytest.mark.parametrize(("missing", "error"), [("failed", ProductNotFound), ("skipped", NothingToSearch)])
def test_an_image_that_is_nowhere_names_every_place(missing: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"memory://x.*memory://y"):
        read(reader_of(missing=missing), observe(target_at(80, 80), uris=("memory://x", "memory://y")))


@pytest.mark.parametrize("options", [{"size": 0.0}, {"size": math.nan}, {"through": "air"}, {"bands": ("D2",)}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        reader_of(**options)


def test_a_reader_keeps_the_protocol_and_travels() -> None:
    reader = reader_of(extensions=("FLAGS",), bands=("D2", "D4"), solid_angles="x", wavelengths="y", missing="skipped")
    assert isinstance(reader, Reader)
    there = pickle.loads(pickle.dumps(reader))
    assert there == reader
    assert there.extensions == ("IMAGE", "FLAGS")


@lru_cache
def whole(detector: int = 3, release: str = "qr2", blocks: int = 8) -> bytes:
    """Return a frame of the size of a real one."""
    version = {"qr2": "6.5.4+psffix1", "qr3": "7.0.5"}[release]
    return make_frame(FrameSpec(1, detector, WHOLE, release=release, pipeline=version, image_blocks=blocks))


WHOLE = Field(10.0, 41.0, 2040, 2040, 6.153, rotation=25.0)


def on_whole(x: float, y: float, detector: int = 3, name: str = "T") -> Target:
    ra, dec = Optics(WHOLE, detector).sky(x, y)
    return Target(name, float(ra), float(dec))


def test_a_box_of_a_real_frame_costs_eight_requests_and_two_megabytes() -> None:
    reader = reader_of(0.1, files={f"memory://{blocks}.fits": whole(blocks=blocks) for blocks in (7, 8)})
    place = on_whole(1000.3, 900.7)
    for n, blocks in enumerate((8, 7, 8)):
        got, usage = read(reader, observe(place, uris=(f"memory://{blocks}.fits",)))
        assert_as_astropy(got.images[0], whole(blocks=blocks))
        assert got.images[0].cutouts[0].shape == (59, 59)
        assert usage.requests == (8 if n else 9)  # the first of a detector reads the table of wavelengths
        assert usage.bytes_read <= 2_000_000
        assert usage.bytes_read == sum(end - start for start, end in got.ranges)


def test_a_box_of_a_real_frame_with_compressed_flags_costs_no_more() -> None:
    reader = reader_of(0.1, files={URI: whole(release="qr3")})
    for n in range(2):
        got, usage = read(reader, observe(on_whole(1000.3, 900.7)))
        assert usage.requests == (8 if n else 10)  # at first: where the table is, and the table
        assert usage.bytes_read <= 2_000_000
    assert_as_astropy(got.images[0], whole(release="qr3"))


def test_several_targets_are_one_read() -> None:
    reader = reader_of(0.1, files={URI: whole()})
    targets = [on_whole(300 + 100 * i, 900 + 3 * i, name=f"T{i}") for i in range(8)]
    (_, _), (_, one), (got, many) = (read(reader, observe(*some)) for some in (targets[:1], targets[:1], targets))
    assert len(got.images[0].cutouts) == 8
    assert many.requests == one.requests == 8
    assert many.bytes_read - one.bytes_read == 4 * 2040 * 4 * 21  # rows that the first alone does not need, of each plane


def test_a_psf_costs_its_header_and_one_plane() -> None:
    reader = reader_of(0.1, (*PLANES, "PSF"), files={URI: whole()})
    read(reader, observe(on_whole(1000, 900)))
    got, usage = read(reader, observe(on_whole(1000, 900)))
    assert usage.requests == 10
    assert usage.bytes_read <= 2_100_000
    cutout = got.images[0].cutouts[0]
    assert cutout.psf is not None
    assert cutout.psf.shape == (101, 101)


def test_the_plan_is_what_reading_fetches() -> None:
    reader = reader_of(0.1, files={URI: whole()})
    both = observe(on_whole(1000, 900), on_whole(2, 2, name="U"))
    for _ in range(2):
        planned, headers = plan(reader, both)
    _, usage = read(reader, both)
    assert planned.requests + headers.requests == usage.requests == 12
    assert planned.nbytes + headers.bytes_read == usage.bytes_read
    assert str(planned).startswith("T: columns 971-1029, rows 871-929; U: columns 0-31, rows 0-31\n8 requests, ")


class Asked(Usage):
    """Notes what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def room(self, nbytes: int) -> None:
        self.asked.append(nbytes)


@pytest.mark.parametrize("extensions", [PLANES, ("IMAGE", "PSF")])
def test_what_is_asked_for_is_enough(extensions: tuple[str, ...]) -> None:
    reader, usage, observation = reader_of(0.2, extensions), Asked(), observe(target_at(80, 80), target_at(70, 60, name="U"))
    planned, _ = plan(reader, observation)

    async def main() -> tuple[Pixels, int]:
        tracemalloc.start()
        try:
            return await reader.read(observation, usage), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    got, peak = asyncio.run(main())
    assert usage.asked == [planned.held]
    assert 2 * sum(array.nbytes for cutout in got.images[0].cutouts for array in cutout.planes.values()) <= planned.held
    assert peak < planned.held + 2_000_000  # headers


def test_the_second_image_of_a_pair_waits_for_no_more_room() -> None:
    usage = Asked()
    observation = observe(target_at(80, 80, 2), uris=("memory://2.fits",), partner=("memory://3.fits",))
    asyncio.run(reader_of(files=PAIR, bands=("D2", "D3")).read(observation, usage))
    first, second = usage.asked
    assert second <= first


def test_the_plan_of_a_pair_and_of_cutouts() -> None:
    both = observe(target_at(80, 70), uris=("memory://2.fits",), partner=("memory://3.fits",))
    pair, _ = plan(reader_of(files=PAIR, bands=("D2", "D3")), both)
    assert len(pair.boxes) == 2
    assert pair.requests == len(pair.ranges) + len(pair.others) >= 2
    cutouts, none = plan(reader_of(through="cutouts"), observe(target_at(80, 80)))
    assert (cutouts.requests, none.requests) == (1, 0)


class Service:
    """The cutout service, called instead of a socket; it takes so many at a time."""

    def __init__(self, change: Callable[[bytes], bytes] = lambda body: body, ranges: type[ReadError] = StoreUnavailable) -> None:
        self._ranges = ranges
        self.asked: list[str] = []
        self.most = self._under_way = 0
        self._change = change

    async def get(self, uri: str, usage: Usage) -> bytes:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        usage.requests += 1
        self.asked.append(uri)
        try:
            body = self._change(make_cutout(frame(), dict(parse_qsl(urlsplit(uri).query))))
        except ValueError as exc:
            raise RequestRefused("the server answered 400") from exc
        usage.bytes_read += len(body)
        return body

    async def get_ranges(self, uri: str, ranges: Any, usage: Usage) -> list[bytes]:
        raise self._ranges(f"{uri}: down")

    async def close(self) -> None:
        pass


PAGE = "https://archive.example/ibe/data/a.fits"


def served(service: Service, *targets: Target, uris: Sequence[str] = (PAGE,), **options: Any) -> tuple[Pixels, Usage]:
    reader = reader_of(**options)
    reader._opened = service
    return read(reader, observe(*targets, uris=uris))


TARGETS = (
    target_at(80.3, 70.7),
    target_at(2.0, 158.0, name="edge"),
    target_at(300, 80, name="off"),
    target_at(158, 1, name="corner"),
)


def assert_same(one: Image, other: Image) -> None:
    """Compare images bit for bit, but for the way in which the numbers of their WCS are written."""
    assert (one.obs_id, one.band, one.mjd, one.shape, one.flags) == (other.obs_id, other.band, other.mjd, other.shape, other.flags)
    assert one.tables == other.tables
    for name, text in one.headers.items():
        ours, theirs = fits.Header.fromstring(text), fits.Header.fromstring(other.headers[name])
        ours.strip(), theirs.strip()
        assert {k: v for k, v in ours.items() if k not in SIMILAR} == {k: v for k, v in theirs.items() if k not in SIMILAR}
    assert [c.target for c in one.cutouts] == [c.target for c in other.cutouts]
    for a, b in zip(one.cutouts, other.cutouts, strict=True):
        assert (a.x0, a.y0, a.shape, a.clipped) == (b.x0, b.y0, b.shape, b.clipped)
        assert (a.x, a.y, a.wavelength_um, a.bandwidth_um) == pytest.approx((b.x, b.y, b.wavelength_um, b.bandwidth_um), abs=1e-6)
        for name, plane in a.planes.items():
            assert plane.dtype == b.planes[name].dtype
            assert plane.tobytes() == b.planes[name].tobytes()
        assert (a.psf is None) == (b.psf is None)
        if a.psf is not None and b.psf is not None:
            assert a.psf.tobytes() == b.psf.tobytes()


SIMILAR = {"EXTEND", "COMMENT", "HISTORY", ""}
"""Keywords that astropy adds or drops where it writes a file."""


def test_the_service_gives_the_same_boxes_as_ranges() -> None:
    service = Service(gzip.decompress)  # what comes unpacked is taken as well
    extensions = (*PLANES, "PSF")
    by_ranges, _ = read(reader_of(extensions=extensions), observe(*TARGETS))
    by_service, usage = served(service, *TARGETS, extensions=extensions, through="cutouts")
    assert_same(by_service.images[0], by_ranges.images[0])
    assert [cutout.clipped for cutout in by_service.images[0].cutouts] == [False, True, True]
    assert by_service.ranges == ()
    assert by_service.uri == PAGE
    assert usage.requests == len(TARGETS)
    assert all("center=" in uri and "size=" in uri for uri in service.asked)


def test_the_service_is_asked_where_no_range_can_be_had() -> None:
    service = Service()
    got, _ = served(service, TARGETS[0], uris=("s3://bucket/a.fits", PAGE))
    assert_as_astropy(got.images[0], frame())
    assert [urlsplit(uri).path for uri in service.asked] == ["/ibe/data/a.fits"]


def test_at_most_four_cutouts_are_under_way() -> None:
    service = Service()
    with pytest.raises(NothingToSearch, match="refused every box"):
        served(service, *(target_at(300 + 9 * i, 80, name=f"T{i}") for i in range(12)), through="cutouts")
    assert service.most == 4


def test_targets_that_the_service_refuses_are_said_to_be_refused() -> None:
    """It was said that they were off the image, which nobody had looked at."""
    with pytest.raises(NothingToSearch, match="the cutout service refused every box, as it does those that do not meet the image"):
        served(Service(), TARGETS[2], through="cutouts")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda body: body[: len(body) // 2], "damaged file"),
        (lambda body: gzip.decompress(body)[:60_000], "truncated|no extension"),
        (lambda _: b"<html>maintenance</html>", "web page"),
        (lambda _: make_cutout(frame(), {"center": "80,80px", "size": "9px"}), "the cutout service sent columns"),
    ],
)
def test_a_cutout_that_is_damaged_or_too_small_is_told(change: Callable[[bytes], bytes], told: str) -> None:
    with pytest.raises(FormatError, match=told) as caught:
        served(Service(change), TARGETS[0], through="cutouts")
    assert str(caught.value).startswith(PAGE)


def test_the_service_is_not_asked_for_a_file_that_is_not_there() -> None:
    service = Service(ranges=ProductNotFound)
    with pytest.raises(ProductNotFound, match=PAGE):
        served(service, TARGETS[0])
    assert not service.asked


def test_both_ways_are_named_where_neither_leads_anywhere() -> None:
    service = Service()
    with pytest.raises(StoreUnavailable, match=r"s3://b/a\.fits: down"):
        served(service, TARGETS[0], uris=("s3://b/a.fits",))
    assert not service.asked


@pytest.mark.parametrize("through", ["ranges", "cutouts"])
def test_over_the_wire_the_archive_counts_what_the_reader_does(
    survey_archive: LocalArchive, surveys: Holdings, through: Any
) -> None:
    product = next(product for product in surveys.products if product.key.startswith("qr2/level2") and product.in_cloud)
    body = surveys.bodies[product.body]
    assert isinstance(body, bytes)
    with fits.open(io.BytesIO(body)) as file:
        sky = WCS(file["IMAGE"].header)
    places = {"in": (30.0, 33.0), "edge": (62.0, 1.0), "off": (200.0, 30.0)}
    targets = [Target(name, *(float(v) for v in sky.all_pix2world(x, y, 0))) for name, (x, y) in places.items()]
    uris = (f"s3://nasa-irsa-spherex/{product.key}", f"{survey_archive.services['irsa']}/{product.path}")
    reader = ImageReader(StoreConfig(s3_endpoint=survey_archive.services["s3"]), 0.03, PLANES, through=through)
    got, usage = read(reader, observe(*targets, uris=uris))
    assert_as_astropy(got.images[0], body)
    assert [cutout.target.name for cutout in got.images[0].cutouts] == ["in", "edge"]
    counts = survey_archive.counts()["s3" if through == "ranges" else "irsa"]
    assert usage.requests == counts["requests"]
    assert counts["bytes"] - 500 <= usage.bytes_read <= counts["bytes"]  # texts of refusals (400, 416) are not read
