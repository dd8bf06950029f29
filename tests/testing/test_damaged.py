import gzip
import io

import numpy as np
import pytest
from astropy.io import fits

from raysearch.testing import DAMAGES, CubeSpec, damage, make_cube

SOUND = make_cube(CubeSpec())
STILL_FITS = {"no-sci", "naxis2", "naxis4", "no-cunit", "no-wave", "float64", "bscale"}


@pytest.mark.parametrize("kind", DAMAGES)
def test_each_damage_changes_the_file(kind):
    assert damage(SOUND, kind) != SOUND
    assert damage(SOUND, kind) == damage(SOUND, kind)


@pytest.mark.parametrize("kind", sorted(STILL_FITS))
def test_the_damaged_but_readable_are_sound_fits(kind):
    with fits.open(io.BytesIO(damage(SOUND, kind))) as hdus:
        hdus.verify("exception")
        assert [h.name for h in hdus][2:] == ["ERR", "DQ", "WMAP", "ASDF"]
        assert np.array_equal(hdus["DQ"].data, fits.getdata(io.BytesIO(SOUND), "DQ"))
        sci = hdus[1]
        expected = {
            "no-sci": sci.name == "SCIENCE",
            "naxis2": sci.header["NAXIS"] == 2,
            "naxis4": sci.data.shape == (1, 120, 15, 15),
            "no-cunit": "CUNIT3" not in sci.header,
            "no-wave": sci.header["CTYPE3"] == "STOKES",
            "float64": sci.data.dtype == np.dtype(">f8"),
            "bscale": "BSCALE" in fits.Header.fromstring(damage(SOUND, kind)[31_680:40_320].decode()),
        }
        assert expected[kind]


def test_scaled_and_doubled_values_are_the_same_values():
    sound = fits.getdata(io.BytesIO(SOUND), "SCI")
    doubled = fits.getdata(io.BytesIO(damage(SOUND, "float64")), "SCI")
    scaled = fits.getdata(io.BytesIO(damage(SOUND, "bscale")), "SCI")
    assert np.array_equal(doubled, sound, equal_nan=True)
    assert np.allclose(scaled, sound, atol=0.01, equal_nan=True)


def test_the_ruined_look_as_they_say():
    assert damage(SOUND, "jpeg").startswith(b"\xff\xd8\xff")
    assert damage(SOUND, "html").startswith(b"<!DOCTYPE html>")
    assert gzip.decompress(damage(SOUND, "gzip")) == SOUND
    assert damage(SOUND, "empty") == b""
    cut = damage(SOUND, "truncated")
    assert 40_320 < len(cut) < 40_320 + 4 * 15 * 15
    assert SOUND.startswith(cut)


def test_what_is_no_fits_cannot_be_damaged_further():
    with pytest.raises(ValueError, match="no FITS header"):
        damage(b"not FITS", "naxis2")
