"""What names and headers of SPHEREx images say is understood, in both releases."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from raysearch.errors import FormatError
from raysearch.read.fits import BLOCK, Header
from raysearch.read.spherex import USUAL, calibration_of, detector_of, flags_of, mjd_of, usual, version_of

REAL = 71_637_120
"""Bytes of a QR2 file whose IMAGE header has eight blocks."""


def cards(*lines: str) -> str:
    return "".join(line.ljust(80) for line in lines)


def test_flags_of_the_second_release() -> None:
    text = cards(
        "HIERARCH MP_SUR_ERROR = 2 / Error", "MP_HOT  =                   10 / Hot pixel", "HIERARCH L2 N_HOT = 1 / pixels"
    )
    assert flags_of(text) == {"SUR_ERROR": 4, "HOT": 1024}


def test_flags_of_the_third_release() -> None:
    assert flags_of(cards("MSKN0021= 'SOURCE  '", "MSKN0000= 'TRANSIENT'           / text")) == {"TRANSIENT": 1, "SOURCE": 1 << 21}


@pytest.mark.real
def test_flags_of_a_real_header(real_data: Path) -> None:
    lines = (real_data / "spherex" / "qr2_cutout_FLAGS_header_unique.txt").read_text().splitlines()
    flags = flags_of(cards(*lines))
    assert len(flags) == 22
    assert flags["OVERFLOW"] | flags["SOURCE"] == 2097154
    assert flags["HALO"] == 1 << 28


def test_a_bit_beyond_an_integer_is_refused() -> None:
    with pytest.raises(FormatError, match="HOT is said to be bit 32"):
        flags_of(cards("MP_HOT  =                   32"))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("6.5.4+psffix1", (6, 5, 4)),
        ("6.5.10", (6, 5, 10)),
        ("7.0", (7, 0, 0)),
        ("v7.1.2", (7, 1, 2)),
        ("", (0, 0, 0)),
        ("x", (0, 0, 0)),
    ],
)
def test_versions_are_numbers(text: str, numbers: tuple[int, int, int]) -> None:
    assert version_of(text) == numbers


def test_what_is_usual_is_the_size_of_a_real_file() -> None:
    size = 9 * BLOCK + 4 * 2040**2  # PRIMARY and IMAGE
    for extension in usual("6.5.4"):
        assert extension.data is not None
        size += extension.header + -(-extension.data // BLOCK) * BLOCK
    assert size == REAL
    assert usual("7.0.5") == USUAL[7]
    assert usual("") == ()


def test_time_detector_and_calibration_of_an_image() -> None:
    history = "HISTORY [CALIB] spectral_wcs 0d47d467-abe7-4583-b55d-3e9357b06aae"
    header = Header(cards("DETECTOR=                    3 / SWIR", "MJD-AVG =    61027.215650564 / [d]", history))
    assert detector_of(header) == 3
    assert mjd_of(header) == 61027.215650564
    assert calibration_of(header, "spectral_wcs") == "0d47d467-abe7-4583-b55d-3e9357b06aae"
    assert calibration_of(header, "average_psf") == ""
    bare = Header(cards("MJD-BEG =    61027.2 / [d]", "MJD-END =    61027.4 / [d]", "DETECTOR= 'three   '"))
    assert mjd_of(bare) == pytest.approx(61027.3)
    assert detector_of(bare) is None
    assert math.isnan(mjd_of(Header("")))
