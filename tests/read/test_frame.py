"""Headers are found wherever they are; what is known of other files saves requests, and nothing is taken for another's."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from raysearch.errors import FormatError
from raysearch.model import Usage
from raysearch.read.fits import FitsFile, Span
from raysearch.read.frame import MOST_KEPT, Frame, Kept, Known, open_frame

SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 41.0, "CRPIX1": 60.0, "CRPIX2": 60.0}
SKY |= {"CDELT1": -0.0017, "CDELT2": 0.0017, "DETECTOR": 3}
CALIBRATION = "0d47d467-abe7-4583-b55d-3e9357b06aae"


def waves(value: float) -> fits.BinTableHDU:
    columns = [fits.Column(name, "2J", array=np.array([[1, 120]])) for name in "XY"]
    columns.append(fits.Column("VALUES", "8E", dim="(2,2,2)", array=np.full((1, 2, 2, 2), value, "f4")))
    return fits.BinTableHDU.from_columns(columns, name="WCS-WAVE")


def image_file(
    *, wave: float = 2.0, calibration: str = CALIBRATION, version: str = "9.1.0", cards: int = 0, **changes: Any
) -> bytes:
    """Return a file with headers longer by so many cards than they must be."""
    header = fits.Header(SKY | changes)
    for axis, index in ((1, "X"), (2, "Y")):
        header.update({f"CTYPE{axis}W": "WAVE-TAB", f"CUNIT{axis}W": "um", f"PS{axis}_0W": "WCS-WAVE", f"PS{axis}_1W": "VALUES"})
        header.update({f"PS{axis}_2W": index, f"PV{axis}_3W": axis})
    if calibration:
        header["HISTORY"] = f"[CALIB] spectral_wcs {calibration}"
    long = fits.Header([(f"CARD{n}", n) for n in range(cards)])
    plane = np.arange(120 * 120, dtype="f4").reshape(120, 120)
    hdus = [fits.PrimaryHDU(header=fits.Header({"VERSION": version})), fits.ImageHDU(plane, header, name="IMAGE")]
    hdus += [fits.ImageHDU(plane + n, long, name=name) for n, name in enumerate(("FLAGS", "VARIANCE", "ZODI"))]
    stream = io.BytesIO()
    fits.HDUList([*hdus, waves(wave)]).writeto(stream)
    return stream.getvalue()


def opened(data: bytes, known: Known, *extensions: str) -> tuple[Frame, Usage]:
    usage = Usage()

    async def fetch(spans: list[Span]) -> list[bytes]:
        usage.requests += len(spans)
        return [data[start:end] for start, end in spans]

    return asyncio.run(open_frame(FitsFile(fetch), extensions, known)), usage


def test_where_headers_are_is_learned() -> None:
    known = Known()
    data = image_file(cards=50)
    first, one = opened(data, known, "VARIANCE", "ZODI")
    again, two = opened(data, known, "VARIANCE", "ZODI")
    assert one.requests == 5  # the head, and a walk over the others
    assert two.requests == 3  # the head, VARIANCE and ZODI at once; the table is known
    for frame in (first, again):
        assert list(frame.planes) == ["IMAGE", "VARIANCE", "ZODI"]
        assert frame.planes["ZODI"].shape == frame.shape == (120, 120)


@pytest.mark.parametrize("cards", [0, 30, 200, 900])
def test_what_was_learned_is_never_trusted(cards: int) -> None:
    """A file of the same version, but with other headers, is read as well as before."""
    known = Known()
    opened(image_file(cards=50), known, "ZODI")
    frame, _ = opened(image_file(cards=cards), known, "ZODI")
    box = asyncio.run(frame.planes["ZODI"].load(frame.file, frame.here))
    np.testing.assert_array_equal(box, np.arange(120 * 120).reshape(120, 120) + 2)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, 2.0),
        ({"calibration": CALIBRATION.replace("0d", "ff")}, 3.0),
        ({"calibration": ""}, 3.0),
        ({"version": "9.1.1"}, 3.0),
        ({"version": ""}, 3.0),
        ({"DETECTOR": 4}, 3.0),
    ],
)
def test_a_table_is_another_files_only_where_all_that_it_depends_on_is_the_same(other: dict[str, Any], expected: float) -> None:
    known = Known()
    opened(image_file(), known)
    frame, _ = opened(image_file(wave=3.0, **other), known)
    assert frame.waves is not None
    assert frame.waves.at(10, 10)[0] == expected
    table = fits.BinTableHDU.fromstring(frame.tables["WCS-WAVE"])
    assert (table.data["VALUES"] == expected).all()


def test_a_part_of_an_image_knows_its_place() -> None:
    frame, _ = opened(image_file(CRPIX1A=-30.0, CRPIX2A=-9.0), Known())
    assert (frame.x0, frame.y0) == (31, 10)
    assert frame.shape == (130, 151)
    assert frame.here.shape == (120, 120)
    header = fits.Header.fromstring(frame.headers()["IMAGE"])
    assert (header["NAXIS1"], header["CRPIX1"], header["CRPIX1A"]) == (151, 91.0, 1.0)


def test_an_image_without_wavelengths_needs_no_table() -> None:
    frame, _ = opened(image_file(CTYPE1W="LINEAR"), Known())
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((9, 9), "f4"), fits.Header(SKY), name="IMAGE")]).writeto(stream)
    bare, _ = opened(stream.getvalue(), Known())
    assert bare.waves is None
    assert bare.tables == {}
    assert bare.shape == (9, 9)
    assert frame.planes["IMAGE"].shape == (120, 120)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(FormatError, match=r"no extension PSF and MASK; the file holds IMAGE .*FLAGS .*WCS-WAVE"):
        opened(image_file(), Known(), "PSF", "ZODI", "MASK")


def test_what_is_kept_is_bounded() -> None:
    kept: Kept[int, int] = Kept()
    for n in range(MOST_KEPT + 5):
        kept.put(n, n)
    assert kept.get(4) is None
    assert kept.get(5) == 5
    assert kept.get(MOST_KEPT + 4) == MOST_KEPT + 4
