"""The header walk agrees with astropy, fetches no data, and survives what is no FITS."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import FormatError, TruncatedFile
from raysearch.read import fits as fits_module
from raysearch.read.fits import BLOCK, FIRST_FETCH, FitsFile, Hdu, Header, parse_hdu


class Bytes:
    """A file in memory, with a record of what was fetched."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fetched: list[tuple[int, int]] = []

    async def fetch(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        self.fetched += spans
        return [self.data[a:b] for a, b in spans]


def walk(data: bytes) -> tuple[list[Hdu], Bytes]:
    source = Bytes(data)

    async def main() -> list[Hdu]:
        return [hdu async for hdu in FitsFile(source.fetch).hdus()]

    return asyncio.run(main()), source


def written(*hdus: Any) -> bytes:
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


def cards(*lines: str) -> bytes:
    data = b"".join(line.ljust(80).encode("latin-1") for line in lines)
    return data + b" " * (-len(data) % BLOCK)


def with_cards(hdu: Any, count: int) -> Any:
    for n in range(count):
        hdu.header[f"KEY{n}"] = (n, "a card among many")
    return hdu


def assert_as_astropy(data: bytes) -> Bytes:
    ours, source = walk(data)
    with fits.open(io.BytesIO(data)) as theirs:
        assert [h.name for h in ours] == [h.name or f"HDU {i}" for i, h in enumerate(theirs)]
        for mine, hdu in zip(ours, theirs, strict=True):
            info = hdu.fileinfo()
            assert (mine.header_offset, mine.data_offset) == (info["hdrLoc"], info["datLoc"])
            assert mine.end - mine.data_offset == info["datSpan"]
            assert mine.bitpix == hdu.header["BITPIX"]
            assert mine.shape == tuple(hdu.header[f"NAXIS{n}"] for n in range(hdu.header["NAXIS"], 0, -1))
            again = fits.Header.fromstring(mine.header.text)
            assert again.get("EXTNAME") == hdu.header.get("EXTNAME")
            assert len(again) == len(hdu.header)
    return source


def test_offsets_sizes_and_names_are_those_of_astropy() -> None:
    table = fits.BinTableHDU(np.zeros(3, dtype=[("a", "f4"), ("b", "i8", (5,))]), name="HDRTAB")
    image = np.zeros((7, 5, 3), "f4")
    source = assert_as_astropy(
        written(
            with_cards(fits.PrimaryHDU(), 300),
            fits.ImageHDU(image, name="sci"),
            fits.ImageHDU(image.astype("u4"), name="DQ"),
            fits.ImageHDU(np.zeros((4, 4), "f8")),
            table,
            fits.ImageHDU(),
        )
    )
    assert source.fetched[0] == (0, FIRST_FETCH)


@pytest.mark.real
def test_real_files_are_walked_as_astropy_walks_them(real_data: Path) -> None:
    for path in [*real_data.glob("jwst/*.fits.gz"), *real_data.glob("cubes/*.fits")]:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if "malformed" not in path.name:
            assert_as_astropy(data)


def test_a_walk_over_big_data_fetches_headers_only() -> None:
    big = np.zeros((100, 100, 100), "f4")
    data = written(with_cards(fits.PrimaryHDU(), 375), *(fits.ImageHDU(big, name=n) for n in ("SCI", "ERR", "DQ")))
    hdus, source = walk(data)
    assert [h.name for h in hdus] == ["PRIMARY", "SCI", "ERR", "DQ"]
    assert len(source.fetched) == 4
    assert all(end - start <= FIRST_FETCH for start, end in source.fetched)


@pytest.mark.parametrize("count", [30, 800, 830, 1300, 2000, 5000])
def test_headers_longer_than_the_first_fetch_are_completed_without_fetching_twice(count: int) -> None:
    data = written(with_cards(fits.PrimaryHDU(), count), fits.ImageHDU(np.zeros((2, 2, 2), "f4"), name="SCI"))
    source = assert_as_astropy(data)
    assert len(source.fetched) <= 2 + (count * 80 // FIRST_FETCH).bit_length()
    spans = sorted(source.fetched)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_hierarch_continue_comments_and_foreign_letters_are_passed_over() -> None:
    header = fits.Header()
    header["HIERARCH ESO DET NAXIS1"] = 999
    header["LONG"] = "x" * 200
    header["EXTNAME"] = "it's"
    header["COMMENT"] = "NAXIS   = 9"
    data = written(fits.PrimaryHDU(header=header)).replace(b"NAXIS   = 9", b"caf\xe9 = \xb5m 9")
    [hdu], _ = walk(data)
    assert (hdu.name, hdu.shape) == ("IT'S", ())
    assert "caf? = ?m 9" in hdu.header.text


def test_the_first_of_equal_cards_and_names_counts() -> None:
    data = cards("SIMPLE  =                    T", "BITPIX  =  8", "NAXIS   =  0", "EXTNAME = 'A'", "EXTNAME = 'B'", "END")
    [hdu], _ = walk(data)
    assert hdu.name == "A"


def test_groups_and_heaps_are_counted() -> None:
    text = cards(
        "SIMPLE  =                    T",
        "BITPIX  =                  -32",
        "NAXIS   =                    3",
        "NAXIS1  =                    0",
        "NAXIS2  =                    4",
        "NAXIS3  =                    5",
        "GROUPS  =                    T",
        "PCOUNT  =                    6",
        "GCOUNT  =                    7",
        "END",
    )
    hdu = parse_hdu(text, 0, 0)
    assert hdu is not None
    assert hdu.data_size == 4 * 7 * (6 + 20)
    image = parse_hdu(text.replace(b"NAXIS1  =                    0", b"NAXIS1  =                    2"), 0, 0)
    assert image is not None
    assert image.data_size == 4 * 7 * (6 + 40)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7 / comment", -7),
        ("1.5E3", 1500.0),
        (".5", 0.5),
        ("1D-2", 0.01),
        ("T", True),
        ("F / x", False),
        ("'a''b / c '  / d", "a'b / c"),
        ("''", ""),
        ("", None),
        (" / only a comment", None),
    ],
)
def test_values(text: str, value: object) -> None:
    got = Header(f"KEY     = {text}".ljust(80)).value("KEY")
    assert got == value
    assert type(got) is type(value)


@given(
    st.one_of(
        st.integers(-(10**15), 10**15),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.text("ab '/=", max_size=40),
    )
)
def test_any_value_reads_as_astropy_wrote_it(value: object) -> None:
    card = fits.Card("KEY", value, "why")
    text = str(card)[:80]
    expected = value.rstrip() if isinstance(value, str) else fits.Card.fromstring(text).value
    assert Header(text).value("KEY") == expected


NOT_FITS = [
    (b"", "the file is empty"),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (gzip.compress(b"SIMPLE", mtime=0), "gzip-compressed: byte ranges are impossible; unpack it with `gunzip`"),
    (b"BZh91AY", "bunzip2"),
    (b"<!DOCTYPE html><html>", "web page"),
    (b"\n  <HTML><body>Login", "web page"),
    (b"<?xml version='1.0'?><Error/>", "XML"),
    (b"SIMPLE  : T", "first card is damaged"),
    (b"{}", "begins with b'{}'"),
    (bytes(5000), "not FITS"),
]


@pytest.mark.parametrize(("data", "message"), NOT_FITS)
def test_what_is_no_fits_is_named(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        walk(data)


START = ["SIMPLE  =                    T", "BITPIX  =                  -32"]
DAMAGED = [
    (["SIMPLE  =                    T", "BITPIX  =                    7", "NAXIS   = 0", "END"], "BITPIX = 7"),
    (["SIMPLE  =                    T", "NAXIS   = 0", "END"], "BITPIX = None"),
    ([*START, "END"], "NAXIS = None"),
    ([*START, "NAXIS   = 2", "NAXIS1  = 5", "END"], "NAXIS2 = None"),
    ([*START, "NAXIS   = -1", "END"], "NAXIS = -1"),
    ([*START, "NAXIS   = 1", "NAXIS1  = -5", "END"], "NAXIS1 = -5"),
    ([*START, "NAXIS   = 1", "NAXIS1  = 5.5", "END"], "NAXIS1 = 5.5"),
    ([*START, "NAXIS   = 1", "NAXIS1  = T", "END"], "NAXIS1 = True"),
    ([*START, "NAXIS   = 1", "NAXIS1  = what", "END"], "NAXIS1 = what is no FITS value"),
    ([*START, "NAXIS   = 2", "NAXIS1  = 999999999", "NAXIS2  = 999999999", "END"], "promises 4.0e"),
    ([*START, "NAXIS   = 0", "EXTNAME = 'open", "END"], "without its closing quote"),
    ([*START, "NAXIS   = 0", "\x00\x01\x02", "END"], "its card 4 is no text"),
]


@pytest.mark.parametrize(("lines", "message"), DAMAGED)
def test_damaged_headers_are_named(lines: list[str], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        walk(cards(*lines))


@pytest.mark.parametrize("text", ["1E400", "-1D999"])
def test_a_number_that_no_float_holds_is_damage(text: str) -> None:
    with pytest.raises(FormatError, match="CRPIX1 is larger than any number"):
        Header(f"CRPIX1  = {text}".ljust(80)).number("CRPIX1", 0.0)


def test_a_header_that_ends_with_the_file_is_truncated() -> None:
    data = written(with_cards(fits.PrimaryHDU(), 375))
    for length in (80, 2880, 5000, 30_000):
        with pytest.raises(TruncatedFile, match=f"ends at byte {length:,}, inside the header"):
            walk(data[:length])


def test_a_header_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits_module, "LONGEST_HEADER", 500_000)
    endless = cards(*START, "NAXIS   = 0", *["COMMENT for ever"] * 20_000)
    with pytest.raises(FormatError, match="no END within 500,000 bytes"):
        walk(endless)


def test_bytes_behind_the_last_hdu_are_named() -> None:
    with pytest.raises(FormatError, match="no extension begins at byte 2,880"):
        walk(written(fits.PrimaryHDU()) + b"junk" * 1000)


@settings(max_examples=150)
@given(st.data())
def test_no_damage_escapes_as_another_error(data: st.DataObject) -> None:
    good = bytearray(written(fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 2, 2), "f4"), name="SCI")))
    for _ in range(data.draw(st.integers(0, 8))):
        good[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    try:
        hdus, _ = walk(bytes(good[:cut]))
    except FormatError:
        return
    assert hdus[0].index == 0


def test_spans_are_loaded_once_and_together() -> None:
    data = bytes(range(256)) * 100
    source = Bytes(data)
    file = FitsFile(source.fetch)

    async def main() -> None:
        await file.load([(0, 100), (200, 300)])
        assert file.loaded == 100
        assert await file.read(50, 250) == data[50:250]
        assert await file.read(0, 300) == data[:300]
        assert await file.read(25_000, 99_999) == data[25_000:]
        assert await file.read(30_000, 30_010) == b""

    asyncio.run(main())
    assert source.fetched == [(0, 100), (200, 300), (100, 250), (25_000, 99_999)]
