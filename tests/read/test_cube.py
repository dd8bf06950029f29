"""Windows of cubes equal what astropy reads, and cost no more than they must."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import (
    ConfigError,
    FormatError,
    NothingToSearch,
    ProductForbidden,
    ProductNotFound,
    RaysearchError,
    ReadError,
    StoreUnavailable,
    TooLarge,
    TruncatedFile,
)
from raysearch.model import Line, Observation, Pixels, Reader, Target, Usage
from raysearch.read.cube import CubeReader
from raysearch.read.plan import ReadPlan
from raysearch.read.store import StoreConfig

LINE = Line("[Fe II] 17.936", 17.936)
FIRST, STEP = 17.703, 0.006
URI = "memory://cube.fits"


def pixels(planes: int = 120, side: int = 9, dtype: str = "f4") -> np.ndarray:
    cube = np.random.default_rng(3).normal(5, 2, (planes, side, side + 1)).astype(dtype)
    if cube.dtype.kind == "f":
        cube[:, 0] = np.nan
    return cube


def axis_cards(**changes: Any) -> fits.Header:
    cards = {"CTYPE3": "WAVE", "CUNIT3": "um", "CRVAL3": FIRST, "CRPIX3": 1.0, "CDELT3": STEP, "BUNIT": "MJy/sr", **changes}
    return fits.Header({key: value for key, value in cards.items() if value is not None})


def filled(header: fits.Header, cards: int) -> fits.Header:
    for n in range(cards - len(header)):
        header[f"FILL{n}"] = n
    return header


def table_of(waves: np.ndarray, form: str = "E") -> fits.BinTableHDU:
    n = waves.size
    column = fits.Column("wavelength", f"{n}{form}", dim=f"(1,{n})", array=waves.reshape(1, n, 1))
    return fits.BinTableHDU.from_columns([column], name="WCS-TABLE")


def jwst(cube: np.ndarray | None = None, order: str = "SCI ERR DQ WMAP", table: np.ndarray | None = None, **changes: Any) -> bytes:
    """Return a file laid out as the JWST pipeline does: header sizes, order and types."""
    cube = pixels() if cube is None else cube
    planes = {"SCI": cube, "ERR": abs(cube), "DQ": np.isnan(cube).astype("u4") * 513 + 2**31 - 1, "WMAP": np.ones(cube.shape, "f4")}
    if table is not None:
        changes = {"CTYPE3": "WAVE-TAB", "CRVAL3": 1.0, "CDELT3": None, "PS3_0": "WCS-TABLE", "PS3_1": "wavelength", **changes}
    hdus: list[Any] = [fits.PrimaryHDU(header=filled(fits.Header(), 370))]
    for name in order.split():
        header = filled(axis_cards(**changes), 80) if name == "SCI" else None
        hdus.append(table_of(np.arange(3.0), "D") if name == "HDRTAB" else fits.ImageHDU(planes[name], header=header, name=name))
        if name == "HDRTAB":
            hdus[-1].name = name
    if table is not None:
        hdus.append(table_of(table))
    hdus.append(fits.BinTableHDU(np.zeros(1, dtype=[("ASDF_METADATA", "u1", (40_000,))]), name="ASDF"))
    return written(*hdus)


def written(*hdus: Any) -> bytes:
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream, output_verify="silentfix")
    return stream.getvalue()


def single(cube: np.ndarray, name: str = "SCI", scale: dict[str, float] | None = None, **changes: Any) -> bytes:
    hdu = fits.ImageHDU(cube, header=axis_cards(**changes), name=name)
    hdu.header.update(scale or {})
    return written(fits.PrimaryHDU(), hdu)


def reader_of(data: bytes, window: int | None = 10, lines: tuple[Line, ...] = (LINE,), **options: Any) -> CubeReader:
    return CubeReader(StoreConfig(memory={URI: data}, retries=0), lines, window, **options)


def observe(*targets: Target, uris: tuple[str, ...] = (URI,)) -> Observation:
    return Observation("obs", uris, targets)


def read(reader: CubeReader, observation: Observation | None = None) -> tuple[Pixels, Usage]:
    usage = Usage()

    async def main() -> Pixels:
        try:
            return await reader.read(observation or observe(), usage)
        finally:
            await reader.close()

    return asyncio.run(main()), usage


def plan(reader: CubeReader, observation: Observation | None = None) -> tuple[ReadPlan, Usage]:
    usage = Usage()
    return asyncio.run(reader.plan(observation or observe(), usage)), usage


def fails(data: bytes, error: type[RaysearchError], match: str, **options: Any) -> None:
    with pytest.raises(error, match=match) as caught:
        read(reader_of(data, **options))
    assert URI in str(caught.value)


def assert_as_astropy(got: Pixels, data: bytes, extension: str | int = "SCI", key: str = "SCI") -> None:
    with fits.open(io.BytesIO(data), memmap=False) as hdus:
        whole = hdus[extension].data
        for window in got.windows:
            ours, theirs = window.planes[key], whole[window.start : window.start + len(window.planes[key])]
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype.newbyteorder("=")
            assert ours.flags.c_contiguous
            assert not ours.flags.writeable
            assert ours.dtype.isnative


# --- what is read ------------------------------------------------------------------------------------------------------------

ORDERS = ["SCI ERR DQ WMAP", "SCI ERR DQ WMAP HDRTAB", "SCI DQ ERR WMAP"]


def test_it_is_a_reader_that_travels() -> None:
    reader = reader_of(jwst(), extensions=("ERR",), missing="skipped", redshift=0.1)
    assert isinstance(reader, Reader)
    again = pickle.loads(pickle.dumps(reader))
    assert again == reader
    read(again, observe(Target("t", 0, 0)))
    assert pickle.loads(pickle.dumps(again)) == reader


@pytest.mark.parametrize("order", ORDERS)
def test_a_window_equals_astropys(order: str) -> None:
    data = jwst(order=order)
    got, _ = read(reader_of(data, extensions=("ERR", "DQ", "WMAP")))
    [window] = got.windows
    assert (window.position, window.start, window.cube_planes) == (39, 29, 120)
    assert list(window.planes) == ["SCI", "ERR", "DQ", "WMAP"]
    np.testing.assert_allclose(window.wavelength_um, FIRST + STEP * np.arange(29, 50), rtol=1e-14)
    for name in window.planes:
        assert_as_astropy(got, data, name, name)
    assert window.planes["DQ"].dtype == np.uint32
    assert fits.Header.fromstring(got.header)["BUNIT"] == "MJy/sr"
    assert (got.obs_id, got.uri) == ("obs", URI)


@pytest.mark.parametrize("order", ORDERS)
def test_a_table_axis_is_found_in_old_and_new_layouts(order: str) -> None:
    waves = (FIRST + np.cumsum(np.linspace(0.004, 0.008, 120))).astype("f4")
    data = jwst(order=order, table=waves)
    got, _ = read(reader_of(data))
    [window] = got.windows
    assert window.position == np.searchsorted(waves, 17.936)
    np.testing.assert_array_equal(window.wavelength_um, waves[window.start : window.start + 21].astype("f8"))
    assert_as_astropy(got, data)


def test_a_table_beside_a_linear_axis_is_left_alone() -> None:
    data = jwst(table=np.linspace(1, 2, 120), CTYPE3="WAVE", CRVAL3=FIRST, CDELT3=STEP)
    got, usage = read(reader_of(data))
    assert got.windows[0].position == 39
    assert usage.requests <= 2


def test_a_table_that_is_not_there_is_named() -> None:
    fails(
        jwst(CTYPE3="WAVE-TAB", PS3_0="WCS-TABLE", PS3_1="wavelength"),
        FormatError,
        "no extension WCS-TABLE; the file holds PRIMARY",
    )


@pytest.mark.parametrize("name", ["SCI", "sci", "FLUX", "DATA"])
def test_the_science_image_goes_by_several_names(name: str) -> None:
    data = single(pixels(), name)
    got, _ = read(reader_of(data))
    assert_as_astropy(got, data, name)


def test_a_cube_in_the_primary_is_found_and_long_axes_of_length_one_dropped() -> None:
    data = written(fits.PrimaryHDU(pixels()[None], header=axis_cards()))
    got, _ = read(reader_of(data))
    np.testing.assert_array_equal(got.windows[0].sci, pixels()[29:50])


def test_a_falling_axis_is_turned_round() -> None:
    cube = pixels()
    data = single(cube, CRVAL3=FIRST + STEP * 119, CDELT3=-STEP)
    got, _ = read(reader_of(data))
    [window] = got.windows
    assert (np.diff(window.wavelength_um) > 0).all()
    np.testing.assert_array_equal(window.sci, cube[::-1][window.start : window.start + 21])
    assert window.sci.flags.c_contiguous
    assert abs(window.wavelength_um[window.position - window.start] - 17.936) <= STEP


def test_several_redshifts_give_windows_in_order_of_wavelength() -> None:
    lines = (Line("b", 17.9), Line("a", 17.8), Line("outside", 5.0))
    targets = (Target("near", 0, 0, 0.01), Target("zero", 0, 0, 0.0), Target("same", 0, 0, 0.01))
    got, _ = read(reader_of(jwst(), lines=lines, window=3), observe(*targets))
    assert [(w.line.name, w.redshift, w.target) for w in got.windows] == [
        ("a", 0.0, "zero"),
        ("b", 0.0, "zero"),
        ("a", 0.01, "near"),
        ("b", 0.01, "near"),
    ]
    assert [w.observed_um for w in got.windows] == sorted(w.observed_um for w in got.windows)
    assert_as_astropy(got, jwst())


def test_without_a_window_all_lines_share_the_whole_cube() -> None:
    data = jwst()
    got, _ = read(reader_of(data, window=None, lines=(LINE, Line("b", 17.8)), extensions=("DQ",)))
    first, second = got.windows
    assert first.sci is second.sci
    assert first.sci.shape == (120, 9, 10)
    assert (first.start, second.start, first.wavelength_um.size) == (0, 0, 120)
    assert got.nbytes == 120 * 90 * 4 * 2 + 2 * 120 * 8  # and the wavelengths of each window
    assert_as_astropy(got, data)


# --- what stands beside the science image ------------------------------------------------------------------------------------

ROLES = ("ERR", "DQ", "WMAP")


def beside(*others: Any, science: str = "FLUX", **changes: Any) -> bytes:
    """Return a file with the cube and other extensions: (name, array)."""
    hdus = [fits.ImageHDU(array, name=name) for name, array in others]
    return written(fits.PrimaryHDU(), fits.ImageHDU(pixels(), header=axis_cards(**changes), name=science), *hdus)


@pytest.mark.parametrize("name", ["ERR", "ERROR", "UNCERT", "UNCERTAINTY", "STAT", "VAR", "VARIANCE"])
def test_errors_go_by_several_names_and_variances_become_errors(name: str) -> None:
    values = abs(pixels())
    values[30, 2] = -1.0
    got, _ = read(reader_of(beside((name, values), science="DATA"), extensions=ROLES))
    [window] = got.windows
    assert list(window.planes) == ["SCI", "ERR"]
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(values) if name[0] in "SV" else values
    np.testing.assert_array_equal(window.planes["ERR"], expected[29:50])
    assert window.planes["ERR"].dtype == np.float32
    assert not window.planes["ERR"].flags.writeable


@pytest.mark.parametrize(
    ("role", "name"), [("DQ", "FLAGS"), ("DQ", "MASK"), ("WMAP", "EXPOSURE_MAP"), ("WMAP", "COVERAGE"), ("WMAP", "NHITS")]
)
def test_flags_and_weights_go_by_several_names(role: str, name: str) -> None:
    values = (np.arange(pixels().size).reshape(pixels().shape) % 7).astype("i4" if role == "DQ" else "f4")
    got, _ = read(reader_of(beside(("SPECTRUM", np.zeros(120, "f4")), (name, values)), extensions=ROLES))
    assert list(got.windows[0].planes) == ["SCI", role]
    np.testing.assert_array_equal(got.windows[0].planes[role], values[29:50])


@pytest.mark.parametrize(
    "others",
    [
        [],
        [("ERR", np.ones((7, 9, 10), "f4"))],
        [("ERR", np.ones((9, 10), "f4"))],
        [("MASK", np.ones((120, 9, 10), "f4"))],
        [("BACKGROUND", np.ones((120, 9, 10), "f4"))],
    ],
    ids=["none", "fewer planes", "an image", "flags that are no integers", "another thing"],
)
def test_what_a_file_lacks_is_absent(others: list[Any]) -> None:
    got, _ = read(reader_of(beside(*others), extensions=ROLES))
    assert list(got.windows[0].planes) == ["SCI"]


def test_the_first_that_fits_plays_the_role_and_roles_come_in_the_order_asked() -> None:
    first, small = np.full((120, 9, 10), 3.0, "f4"), np.ones((3, 3), "f4")
    data = beside(("WMAP", first), ("ERROR", small), ("STAT", first**2), ("ERR", first + 1))
    got, _ = read(reader_of(data, extensions=("err", "WMAP")))
    assert list(got.windows[0].planes) == ["SCI", "ERR", "WMAP"]
    assert (got.windows[0].planes["ERR"] == 3.0).all()


def test_looking_for_what_is_not_there_ends() -> None:
    many = [(f"MAP{n}", np.zeros((200, 100), "f4")) for n in range(40)]
    _, without = read(reader_of(beside(*many)))
    _, asked = read(reader_of(beside(*many), extensions=ROLES))
    assert asked.requests - without.requests <= 12


def test_the_primarys_facts_stand_in_front_of_the_science_header() -> None:
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"INSTRUME": "MIRI", "CHANNEL": "4", "BUNIT": "wrong", "OBJECT": "HH 1", "CRVAL3": 99.0, "ORIGIN": "STSCI"}
    )
    data = written(primary, fits.ImageHDU(pixels(), header=axis_cards(OBJECT="HH 2"), name="SCI"))
    header = fits.Header.fromstring(read(reader_of(data))[0].header)
    assert (header["INSTRUME"], header["CHANNEL"], header["BUNIT"], header["OBJECT"]) == ("MIRI", "4", "MJy/sr", "HH 2")
    assert header["CRVAL3"] == FIRST
    assert "ORIGIN" not in header
    assert [card.keyword for card in header.cards][:3] == ["INSTRUME", "CHANNEL", "XTENSION"]


def test_a_rest_frequency_may_stand_in_the_primary_header() -> None:
    primary = fits.PrimaryHDU()
    primary.header["RESTFRQ"] = 299792458e6 / 17.936
    cards = axis_cards(CTYPE3="VRAD", CUNIT3="km/s", CRVAL3=-500.0, CDELT3=10.0)
    [window] = read(reader_of(written(primary, fits.ImageHDU(pixels(), header=cards, name="SCI"))))[0].windows
    assert window.position == 50


def test_pixels_know_where_their_targets_lie() -> None:
    target = Target("t", 10.0, 20.0)
    assert read(reader_of(jwst()), observe(target))[0].targets == (target,)


# --- axes of other kinds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stokes", [3, 4])
def test_a_radio_cube_with_a_stokes_axis_before_or_behind_the_planes(stokes: int) -> None:
    planes = 7 - stokes
    cube = pixels()
    cards = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", f"CTYPE{stokes}": "STOKES", f"CRVAL{stokes}": 1.0})
    cards.update({f"CTYPE{planes}": "FREQ", f"CRVAL{planes}": 1.1e11, f"CDELT{planes}": 1e6, f"CRPIX{planes}": 1.0})
    data = written(fits.PrimaryHDU(cube[:, None] if stokes == 3 else cube[None], header=cards))
    line = Line("13CO 1-0", 299792458e6 / 1.1002e11)
    [window] = read(reader_of(data, lines=(line,), window=3))[0].windows
    found = 120 - 1 - 20
    assert window.cube_planes == 120
    assert window.wavelength_um[window.position - window.start] == pytest.approx(line.rest_um, rel=1e-9)
    np.testing.assert_array_equal(window.sci, cube[::-1][window.start : window.start + 7])
    assert abs(window.position - found) <= 1


# --- numbers that stand for others -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "i8", "u1", "u2", "u4"])
def test_science_planes_are_floating_point_of_fitting_width(dtype: str) -> None:
    cube = (np.arange(120 * 4).reshape(120, 2, 2) % 250).astype(dtype)
    got, _ = read(reader_of(single(cube)))
    wide = np.dtype(dtype).itemsize > 2 and dtype != "f4"
    assert got.windows[0].sci.dtype == (np.float64 if wide else np.float32)
    np.testing.assert_array_equal(got.windows[0].sci, cube[29:50])


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("i2", {"BSCALE": 0.5, "BZERO": 100.0}),
        ("i2", {"BSCALE": 0.1, "BZERO": 0.0, "BLANK": 7}),
        ("i4", {"BSCALE": 2.5, "BZERO": -3.0, "BLANK": 8}),
        ("f4", {"BSCALE": 1.7, "BZERO": 0.3}),
        ("f8", {"BSCALE": 1.7, "BZERO": 0.3}),
        ("i2", {"BLANK": 9}),
    ],
)
def test_scaled_and_blank_numbers_become_what_astropy_makes_of_them(dtype: str, scale: dict[str, float]) -> None:
    data = bytearray(single((np.arange(120 * 4).reshape(120, 2, 2) % 25).astype(dtype)))
    header = data.index(b"XTENSION")
    end = data.index(b"END".ljust(80), header)
    cards = "".join(str(fits.Card(key, value)) for key, value in scale.items()) + "END".ljust(80)
    data[end : end + len(cards)] = cards.encode()
    got, _ = read(reader_of(bytes(data)))
    assert_as_astropy(got, bytes(data))
    if "BLANK" in scale:
        assert np.isnan(got.windows[0].sci).any()


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f8"])
def test_further_extensions_keep_their_type(dtype: str) -> None:
    cube = pixels()
    extra = (np.arange(cube.size).reshape(cube.shape) % 120).astype(dtype)
    if extra.dtype.kind in "iu":
        extra.flat[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    data = written(fits.PrimaryHDU(), fits.ImageHDU(cube, header=axis_cards(), name="FLUX"), fits.ImageHDU(extra, name="MASK"))
    got, _ = read(reader_of(data, window=None, extensions=("mask",)))
    assert got.windows[0].planes["MASK"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got.windows[0].planes["MASK"], extra)


# --- what it costs -----------------------------------------------------------------------------------------------------------


def large(**options: Any) -> bytes:
    return jwst(np.zeros((1050, 45, 45), "f4"), **options)


@pytest.mark.parametrize("table", [None, FIRST + STEP * np.arange(1050)])
@pytest.mark.parametrize("order", ORDERS)
def test_one_line_of_a_34_mb_cube_costs_at_most_4_requests_and_1_mb(order: str, table: np.ndarray | None) -> None:
    data = large(order=order, table=table)
    assert len(data) > 34_000_000
    for rest in (17.71, 17.936, 21.0, 23.99):
        _, usage = read(reader_of(data, window=20, lines=(Line("x", rest),)))
        assert usage.requests <= (2 if table is None else 3 + ("HDRTAB" in order))
        assert usage.bytes_read <= 500_000


def test_the_plan_reads_headers_only_and_foretells_the_cost() -> None:
    data = large()
    for options in ({}, {"extensions": ("ERR", "DQ", "WMAP")}, {"window": None}):
        reader = reader_of(data, **options)
        planned, headers = plan(reader)
        _, usage = read(reader)
        assert usage.requests == headers.requests + planned.requests
        assert usage.bytes_read == headers.bytes_read + planned.nbytes
        assert headers.bytes_read < 100_000


class Asked(Usage):
    """Notes what was asked for, and what had been read then; refuses what is larger than a bound."""

    def __init__(self, bound: int = 10**18) -> None:
        super().__init__()
        self.bound, self.nbytes, self.before = bound, 0, 0

    async def room(self, nbytes: int) -> None:
        assert not self.nbytes  # asked once
        self.nbytes, self.before = nbytes, self.bytes_read
        if nbytes > self.bound:
            raise TooLarge("too large")


@pytest.mark.parametrize("step", [STEP, -STEP])
@pytest.mark.parametrize("dtype", ["f4", "i2", "f8"])
@pytest.mark.parametrize("options", [{}, {"window": None}, {"window": None, "lines": (LINE, Line("b", 17.95))}])
def test_what_is_asked_for_is_what_reading_takes(
    monkeypatch: pytest.MonkeyPatch, dtype: str, step: float, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("raysearch.read.cube.PIECE", 2**12)
    science = fits.ImageHDU(pixels(300, 60, dtype), header=axis_cards(CDELT3=step, CRVAL3=17.9 if step > 0 else 19.0), name="SCI")
    data = written(fits.PrimaryHDU(), science, fits.ImageHDU(abs(pixels(300, 60)), name="VAR"))
    reader, usage = reader_of(data, extensions=("ERR",), **options), Asked()

    async def main() -> tuple[Pixels, int]:
        planned = await reader.plan(observe(), Usage())
        tracemalloc.start()
        try:
            got = await reader.read(observe(), usage)
            return got, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert usage.nbytes == planned.held

    got, peak = asyncio.run(main())
    assert 2 * got.nbytes <= usage.nbytes + 4 * 8 * 300  # wavelengths are not counted
    assert 0.8 * usage.nbytes < peak < usage.nbytes + 600_000


def test_what_is_too_large_is_refused_before_it_is_fetched() -> None:
    usage = Asked(1000)
    with pytest.raises(TooLarge):
        asyncio.run(reader_of(large(), window=None).read(observe(), usage))
    assert usage.nbytes == 2 * 4 * 1050 * 45 * 45
    assert usage.bytes_read == usage.before < 100_000


def test_pixels_know_which_bytes_they_came_from() -> None:
    data = large()
    got, usage = read(reader_of(data, window=20, lines=(Line("x", 21.0),)))
    assert sum(end - start for start, end in got.ranges) == usage.bytes_read
    assert all(before[1] < after[0] for before, after in zip(got.ranges, got.ranges[1:], strict=False))
    assert got.ranges[-1][1] <= len(data)


def test_headers_of_further_extensions_are_fetched_at_the_same_time() -> None:
    _, usage = read(reader_of(large(), window=20, extensions=("ERR", "DQ", "WMAP")))
    assert usage.requests == 1 + 3 + 4


def test_a_small_file_is_read_in_one_request() -> None:
    _, usage = read(reader_of(single(pixels(30, 5), CRVAL3=17.9)))
    assert usage.requests == 1


def test_lines_close_together_share_a_read() -> None:
    lines = (LINE, Line("b", 17.95), Line("c", 18.0))
    _, usage = read(reader_of(large(), lines=lines, window=20))
    assert usage.requests == 2


# --- what cannot be searched -------------------------------------------------------------------------------------------------


def test_a_cube_without_any_line_is_skipped_with_both_ranges() -> None:
    fails(
        jwst(),
        NothingToSearch,
        r"no searched line lies within 17\.7-18\.42 um; the nearest, \[Fe II\] 17\.936, .* 35",
        redshift=1.0,
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0JFIF", "JPEG"),
        (b"<html>moved", "web page"),
        (gzip.compress(b"SIMPLE", mtime=0), "gunzip"),
        (written(fits.PrimaryHDU()), r"no cube: .* the file holds PRIMARY \(no data\)"),
        (written(fits.PrimaryHDU(np.zeros((4, 5))), table_of(np.arange(3.0))), r"PRIMARY \(4 x 5\), WCS-TABLE \(BINTABLE\)"),
        (single(np.zeros((4, 5), "f4")), r"SCI \(4 x 5\): it has 2 axes"),
        (single(np.zeros((2, 4, 5, 6), "f4")), r"SCI \(2 x 4 x 5 x 6\): it has 4 axes"),
        (single(pixels(), CUNIT3=None), "CUNIT3"),
        (single(pixels(), CTYPE3="STOKES"), "'STOKES' is not a spectral axis"),
        (single(pixels(), CTYPE3="VRAD", CUNIT3="m/s"), r"velocities \(VRAD\), but the header has no RESTFRQ"),
        (single(pixels(), CDELT3=0.0), "neither grows nor falls"),
        (
            written(fits.PrimaryHDU(), fits.CompImageHDU(pixels()[:, 1:], header=axis_cards(), name="SCI")),
            "tile-compressed.*funpack",
        ),
    ],
)
def test_what_is_no_cube_says_why(data: bytes, message: str) -> None:
    fails(data, FormatError, message)


def test_an_empty_image_says_so() -> None:
    fails(
        single(pixels()).replace(b"NAXIS1  =                   10", b"NAXIS1  =                    0"), FormatError, "it is empty"
    )


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (20_000, "ends at byte 20,000, inside the header that begins at byte 0"),
        (40_000, "0 of the 170,100 bytes of SCI at 275,220-445,319 are there .* up to byte 8,545,319"),
        (300_000, "24,780 of the 170,100 bytes of SCI"),
    ],
)
def test_truncated_files_say_what_is_missing(length: int, message: str) -> None:
    fails(large()[:length], TruncatedFile, message)


def test_a_table_that_is_cut_off_is_truncated() -> None:
    data = jwst(pixels(20_000, 1), table=FIRST + STEP * np.arange(20_000))
    fails(data[: data.index(b"'WCS-TABLE'", 200_000) + 50_000], TruncatedFile, "of the 80,000 bytes of WCS-TABLE")


def test_data_beyond_the_window_may_be_missing() -> None:
    data = large()
    got, _ = read(reader_of(data[:600_000], window=5))
    assert len(got.windows) == 1


SMALL = [jwst(pixels(60, 3)), jwst(pixels(60, 3), table=FIRST + STEP * np.arange(60))]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_damage_escapes_as_another_error(data: st.DataObject) -> None:
    good = bytearray(data.draw(st.sampled_from(SMALL)))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(29_000, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    with contextlib.suppress(RaysearchError):
        read(reader_of(bytes(good[:cut]), extensions=("DQ",)))


# --- where it is read from ---------------------------------------------------------------------------------------------------


def test_places_are_tried_in_order() -> None:
    data = jwst()
    reader = CubeReader(StoreConfig(memory={"memory://second": data, "memory://third": b""}), (LINE,), 5)
    got, usage = read(reader, observe(uris=("memory://first", "memory://second", "memory://third")))
    assert got.uri == "memory://second"
    assert usage.requests == 2


@pytest.mark.parametrize("missing", ["failed", "skipped"])
def test_a_product_that_is_nowhere_names_every_place(missing: Any) -> None:
    reader = CubeReader(StoreConfig(), (LINE,), 5, missing=missing)
    error: type[Exception] = NothingToSearch if missing == "skipped" else ProductNotFound
    with pytest.raises(error, match=r"memory://a: .*; memory://b: "):
        read(reader, observe(uris=("memory://a", "memory://b")))
    with pytest.raises(error, match="obs has no address"):
        read(reader, observe(uris=()))


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (("404", "403"), ProductForbidden),
        (("403", "503"), StoreUnavailable),
        (("503", "404"), StoreUnavailable),
        (("404", "400"), ReadError),
        (("400", "403"), ProductForbidden),
        (("404", "404"), NothingToSearch),
    ],
)
def test_the_most_hopeful_failure_is_told(loopback: Any, faults: tuple[str, str], error: type[Exception]) -> None:
    for name, fault in zip("ab", faults, strict=True):
        loopback.faults[name] = ["!" + fault]
        loopback.files[name] = b""
    reader = CubeReader(StoreConfig(retries=0), (LINE,), 5, missing="skipped")
    with pytest.raises(error, match=f"{loopback.url}/a: .*; {loopback.url}/b: "):
        read(reader, observe(uris=(f"{loopback.url}/a", f"{loopback.url}/b")))


@pytest.mark.parametrize("place", ["s3://bucket/cube.fits", "{url}/bucket/cube.fits", "{folder}/cube.fits"])
def test_every_store_gives_the_same_pixels(loopback: Any, tmp_path: Path, place: str) -> None:
    data = jwst()
    loopback.files["bucket/cube.fits"] = data
    (tmp_path / "cube.fits").write_bytes(data)
    config = StoreConfig(s3_endpoint=loopback.url)
    got, _ = read(CubeReader(config, (LINE,), 10), observe(uris=(place.format(url=loopback.url, folder=tmp_path),)))
    assert_as_astropy(got, data)


def test_many_reads_run_at_the_same_time(loopback: Any) -> None:
    data = jwst()
    loopback.files.update({f"bucket/{n}": data for n in range(20)})
    reader = CubeReader(StoreConfig(s3_endpoint=loopback.url), (LINE,), 10)

    async def main() -> list[Pixels]:
        try:
            return await asyncio.gather(*(reader.read(observe(uris=(f"s3://bucket/{n}",)), Usage()) for n in range(20)))
        finally:
            await reader.close()

    for got in asyncio.run(main()):
        assert_as_astropy(got, data)


@pytest.mark.parametrize("wrong", [{"lines": ()}, {"window": -1}])
def test_a_reader_of_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        reader_of(b"", **wrong)


# --- real cubes --------------------------------------------------------------------------------------------------------------

FE_II = tuple(Line(f"[Fe II] {w}", w) for w in (25.988, 24.519, 17.936, 5.340, 1.644, 1.600, 1.257))
REAL = {
    "16CygB_Level3_ch4-short_s3d": (0.0, [17.936]),
    "ngc7469_Level3_ch4-long_s3d": (0.0163, [24.519, 25.988]),
    "ngc7469_Level3_ch4-short_s3d": (0.0163, [17.936]),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("window", [0, 20, None])
def test_windows_of_real_cubes_equal_astropys_bit_for_bit(real_data: Path, tmp_path: Path, name: str, window: int | None) -> None:
    data = gzip.decompress((real_data / "jwst" / f"{name}.fits.gz").read_bytes())
    (tmp_path / "cube.fits").write_bytes(data)
    z, inside = REAL[name]
    observation = Observation(name, (str(tmp_path / "cube.fits"),), (Target("t", 0, 0, z),))
    got, usage = read(CubeReader(StoreConfig(), FE_II, window, extensions=("ERR", "DQ", "WMAP")), observation)
    assert [w.line.rest_um for w in got.windows] == inside
    with fits.open(tmp_path / "cube.fits") as hdus:
        for w in got.windows:
            header = hdus["SCI"].header
            waves = header["CRVAL3"] + (np.arange(header["NAXIS3"]) + 1 - header["CRPIX3"]) * header["CDELT3"]
            assert w.position == np.searchsorted(waves, w.observed_um)
            for key, planes in w.planes.items():
                section = hdus[key].section[w.start : w.start + len(planes)]
                assert planes.tobytes() == section.astype(section.dtype.newbyteorder("=")).tobytes()
                assert planes.shape == section.shape
    assert usage.bytes_read <= len(data)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "rest_um", "outcome"),
    [
        ("sample_data_NGC7023.fits", 6.2, (194, 14, 15)),
        ("subcub_mosaic.fits", 0.5007, (500, 30, 30)),
        ("l1448_13co.fits", 2720.406, r"velocities \(VOPT\), but the header has no RESTFRQ .*setval"),
        ("region5_hcn_crop.fits", 3382.4461, (352, 37, 47)),
        ("sample_data_malformed.fits", 6.2, "looks like a JPEG image"),
    ],
)
def test_real_cubes_of_other_origin_end_as_a_result_or_a_clear_reason(
    real_data: Path, name: str, rest_um: float, outcome: Any
) -> None:
    path = real_data / "cubes" / name
    reader = CubeReader(StoreConfig(), (Line("line", rest_um),), None)
    if isinstance(outcome, str):
        with pytest.raises(FormatError, match=outcome) as caught:
            read(reader, observe(uris=(str(path),)))
        assert name in str(caught.value)
        return
    got, _ = read(reader, observe(uris=(str(path),)))
    assert got.windows[0].sci.shape == outcome
    assert_as_astropy(got, path.read_bytes(), "DATA" if "subcub" in name else 0)
    if "NGC7023" in name:
        with fits.open(path) as hdus:
            np.testing.assert_array_equal(got.windows[0].wavelength_um, np.ravel(hdus[1].data["WAVELENGTH"]).astype("f8"))


def test_a_place_that_refuses_in_whatever_way_is_followed_by_the_next(loopback: Any) -> None:
    loopback.faults["a"], loopback.files["a"] = ["!400"], b""
    reader = CubeReader(StoreConfig(retries=0, memory={"memory://second": jwst()}), (LINE,), 5)
    got, _ = read(reader, observe(uris=(f"{loopback.url}/a", "memory://second")))
    assert got.uri == "memory://second"


@pytest.mark.parametrize(
    "changes", [{"CRVAL3": 1e308, "CDELT3": 1e308}, {"CDELT3": -1e308}, {"CUNIT3": "10**400 m"}, {"CUNIT3": "10**999 Hz"}]
)
def test_an_axis_beyond_all_numbers_is_an_error_of_the_format(changes: dict[str, Any]) -> None:
    fails(jwst(**changes), FormatError, "axis|CUNIT3")


def test_a_scale_beyond_all_numbers_makes_infinities_and_no_error() -> None:
    data = bytearray(single(np.full((120, 3, 3), 30000, "i2")))
    at = data.index(b"CUNIT3")
    data[at:at] = b"BSCALE  = 1E39".ljust(80)
    end = data.index(b"END".ljust(80), at)
    del data[end + 80 : end + 160]
    scaled, _ = read(reader_of(bytes(data), window=2))
    assert np.isinf(scaled.windows[0].sci).all()


def test_a_distortion_of_an_order_that_none_has_is_refused_before_anything_is_drawn_with_it() -> None:
    fails(jwst(A_ORDER=2880), FormatError, "A_ORDER = 2880")
