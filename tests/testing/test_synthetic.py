import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from raysearch.testing import CubeSpec, Jet, make_cube

SPECS = {
    "old": CubeSpec(jets=(Jet(25.988),)),
    "old-several-exposures": CubeSpec(exposures=4),
    "old-tab": CubeSpec(axis="tab"),
    "new": CubeSpec(layout="new"),
    "new-tab": CubeSpec(layout="new", axis="tab", nan_planes=20),
    "nirspec": CubeSpec(instrument="NIRSPEC", channel="G140H", band="F100LP", wave_start_um=0.97, wave_step_um=0.004),
    "west-of-zero": CubeSpec(ra=-0.0001, dec=60.0),
}


@pytest.fixture(params=SPECS, ids=str)
def spec(request):
    return SPECS[request.param]


@pytest.fixture
def hdus(spec):
    with fits.open(io.BytesIO(make_cube(spec))) as opened:
        opened.verify("exception")
        yield opened


def test_same_spec_same_bytes(spec):
    assert make_cube(spec) == make_cube(replace(spec))
    assert make_cube(spec) != make_cube(replace(spec, seed=99))


def test_layout_is_that_of_real_files(spec, hdus):
    images = ["SCI", "ERR", "DQ", "WMAP"] if spec.layout == "old" else ["SCI", "DQ", "ERR", "WMAP"]
    hdrtab = ["HDRTAB"] if spec.exposures > 1 else []
    table = ["WCS-TABLE"] if spec.layout == "new" or spec.axis == "tab" else []
    assert [hdu.name for hdu in hdus] == ["PRIMARY", *images, *hdrtab, *table, "ASDF"]
    assert hdus["SCI"].fileinfo()["datLoc"] == 40_320
    assert hdus["SCI"].fileinfo()["hdrLoc"] == 31_680
    assert len(hdus["PRIMARY"].header) == 375
    assert len(hdus["SCI"].header) == 89
    for name in images[1:]:
        info = hdus[name].fileinfo()
        assert info["datLoc"] - info["hdrLoc"] == 2880
    assert len(make_cube(spec)) == hdus[-1].fileinfo()["datLoc"] + hdus[-1].fileinfo()["datSpan"]


def test_arrays_are_those_of_real_files(spec, hdus):
    sci, dq = hdus["SCI"].data, hdus["DQ"].data
    assert sci.shape == (spec.planes, spec.ny, spec.nx)
    assert sci.dtype == np.dtype(">f4")
    assert dq.dtype == np.uint32
    assert set(np.unique(dq)) == {0, 513}
    assert np.array_equal(np.isnan(sci), dq != 0)
    assert np.array_equal(np.isnan(hdus["ERR"].data), dq != 0)
    assert np.isnan(sci[0]).mean() == pytest.approx(spec.nan_border, abs=0.03)
    empty = np.isnan(sci).all(axis=(1, 2))
    assert empty.sum() == spec.nan_planes
    assert not spec.nan_planes or empty[-spec.nan_planes :].all()


def test_astropy_finds_the_wavelengths_and_the_field(spec, hdus):
    world = WCS(hdus["SCI"].header, hdus)
    planes = np.arange(spec.planes)
    centre = [(spec.nx - 1) / 2, (spec.ny - 1) / 2]
    ra, dec, wave = world.all_pix2world(
        np.full_like(planes, centre[0], dtype=float), np.full_like(planes, centre[1], dtype=float), planes, 0
    )
    micrometres = wave * 1e6 if spec.axis == "linear" else wave  # WCSLIB converts linear axes to metres, tables it leaves alone
    assert np.allclose(micrometres, spec.wavelength_um(), rtol=1e-9)
    assert np.allclose((ra - spec.ra + 180) % 360 - 180, 0, atol=1e-9)
    assert np.allclose(dec, spec.dec)


def test_s_region_bounds_the_field(spec, hdus):
    text = hdus["SCI"].header["S_REGION"]
    assert text == spec.s_region()
    assert text.startswith("POLYGON ICRS  ")
    corners = np.array(text.split()[2:], float).reshape(4, 2)
    world = WCS(hdus["SCI"].header, hdus).celestial
    x, y = [-0.5, -0.5, spec.nx - 0.5, spec.nx - 0.5], [-0.5, spec.ny - 0.5, -0.5, spec.ny - 0.5]
    ra, dec = world.all_pix2world(x, y, 0)
    offset, corner_offset = ((a - spec.ra + 180) % 360 - 180 for a in (ra, corners[:, 0]))
    assert (corner_offset.min(), corner_offset.max()) == pytest.approx((offset.min(), offset.max()), abs=2e-9)
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((dec.min(), dec.max()), abs=2e-9)


def test_the_typical_file_has_its_typical_size():
    spec = CubeSpec(planes=1050, ny=45, nx=45)
    assert len(make_cube(spec)) == 34_122_240
    assert len(make_cube(replace(spec, exposures=4))) == 34_205_760


def test_jet_outside_the_cube_is_refused():
    with pytest.raises(ValueError, match=r"5\.3400 um lies outside"):
        make_cube(CubeSpec(jets=(Jet(5.340),)))


@given(st.integers(1, 3), st.floats(0, 0.001), st.floats(25.1, 26.3))
def test_jet_shines_at_its_line_and_nowhere_else(planes, redshift, rest):
    spec = CubeSpec(jets=(Jet(rest, planes=planes),), redshift=redshift)
    data = fits.getdata(io.BytesIO(make_cube(spec)), "SCI")
    bright = (data > 3 * np.nanmedian(data)).sum(axis=(1, 2))
    pos = int(np.searchsorted(spec.wavelength_um(), rest * (1 + redshift)))
    shining = np.flatnonzero(bright)
    assert len(shining) == planes
    assert abs(shining - pos).max() <= 1
    assert (bright[shining] >= 10).all()
    assert (bright[shining] < 0.4 * np.isfinite(data[0]).sum()).all()


@pytest.mark.real
def test_header_sizes_and_keywords_equal_those_of_a_real_cube(real_data: Path):
    with gzip.open(real_data / "jwst" / "ngc7469_Level3_ch4-short_s3d.fits.gz") as file, fits.open(file) as real:
        ours = fits.open(io.BytesIO(make_cube(CubeSpec(planes=542, ny=27, nx=25, exposures=4))))
        assert [h.name for h in ours] == [h.name for h in real]
        for name in ("PRIMARY", "SCI", "ERR", "DQ", "WMAP", "HDRTAB", "ASDF"):
            mine, its = ours[name].fileinfo(), real[name].fileinfo()
            assert mine["datLoc"] - mine["hdrLoc"] == its["datLoc"] - its["hdrLoc"], name
        for name in ("SCI", "ERR", "DQ", "WMAP", "ASDF"):
            assert ours[name].fileinfo()["datSpan"] == real[name].fileinfo()["datSpan"]
        ours_keys = {k for k in ours["SCI"].header if k}
        assert ours_keys - set(real["SCI"].header) == set()
        assert ours["DQ"].header["BZERO"] == real["DQ"].header["BZERO"]
        ours.close()


def test_a_line_is_spread_as_the_instrument_does():
    spec = CubeSpec(planes=40, wave_start_um=10.0, wave_step_um=0.002, noise=0.0, nan_border=0.0)
    line = 10.04
    for power, sigma in ((1000.0, 10.04 / 1000 / 0.002 / 2.3548), (50_000.0, 0.0426)):
        jet = Jet(line, resolving_power=power, amplitude=5.0)
        with fits.open(io.BytesIO(make_cube(replace(spec, jets=(jet,))))) as hdus:
            lit = hdus["SCI"].data[:, spec.ny // 2, spec.nx // 2].astype(float)
        with fits.open(io.BytesIO(make_cube(spec))) as hdus:
            lit -= hdus["SCI"].data[:, spec.ny // 2, spec.nx // 2]
        assert lit.argmax() == 20
        assert lit.max() == pytest.approx(500.0, rel=1e-3)
        offsets = np.arange(40) - 20
        width = np.sqrt((lit * offsets**2).sum() / lit.sum())
        assert width == pytest.approx(np.sqrt(sigma**2 + 1 / 12) if power < 2000 else 0.0, abs=0.02)
