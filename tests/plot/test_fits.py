"""The small FITS files of records: any kind of number, and never a guess where they are torn."""

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits

from raysearch.plot.fits import card, images

IMAGE = np.arange(12.0).reshape(3, 4)


def file_of(*hdus: fits.ImageHDU) -> bytes:
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(out)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8", "f4", "f8", "u2"])
@pytest.mark.parametrize("packed", [False, True])
def test_images_are_read_as_astropy_wrote_them(kind: str, packed: bool) -> None:
    content = file_of(fits.ImageHDU(IMAGE.astype(kind), name="FLUX"), fits.ImageHDU(IMAGE[:2] + 1, name="SNR"))
    found = images(gzip.compress(content) if packed else content)
    assert list(found) == ["FLUX", "SNR"]
    np.testing.assert_array_equal(found["FLUX"][1], IMAGE)
    np.testing.assert_array_equal(found["SNR"][1], IMAGE[:2] + 1)
    assert card(found["SNR"][0], "NAXIS2") == "2"


def test_what_is_no_image_is_left_out() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0, 2.0])], name="TABLE")
    content = file_of(table, fits.ImageHDU(IMAGE, name="FLUX"), fits.ImageHDU(np.zeros((2, 3, 4)), name="CUBE"))
    assert list(images(content)) == ["FLUX"]


@pytest.mark.parametrize("length", [10, 79, 2879, 5000, 5760 + 50])
def test_torn_files_are_told(length: int) -> None:
    content = file_of(fits.ImageHDU(IMAGE, name="FLUX"))
    with pytest.raises(OSError, match="FITS"):
        images(content[:length])
    with pytest.raises(OSError, match="torn gzip"):
        images(gzip.compress(content)[:-20])


def test_what_is_no_fits_file_is_told() -> None:
    with pytest.raises(OSError, match="no FITS file"):
        images(b"<svg/>")
