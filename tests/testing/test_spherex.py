"""SPHEREx frames hold what they say: fluxes, places, wavelengths, noise, flags, PSFs and the bytes of real ones."""

import dataclasses
import io
import json
import uuid

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from raysearch.testing.fields import Field
from raysearch.testing.spherex import BANDS, PIXEL_ARCSEC, SIDE, Blemish, FrameSpec, PointSource, injected, make_frame, sky_cards
from raysearch.testing.spherex_calibration import RIPPLE_UM, make_solid_angles, make_spectral_wcs
from raysearch.testing.spherex_optics import NODES, ZONES, Optics, wave_table
from raysearch.testing.spherex_pixels import UJY_PER_MJY_SR_ARCSEC2

QUIET = 1e-9
"""Noise that does not matter, MJy/sr."""


def opened(content):
    return fits.open(io.BytesIO(content))


def spec_of(places, detector=3, side=96, flux=5000.0, index=1.0, **changes):
    """Return a frame with sources at pixels."""
    field = Field(269.9, 66.5, side, side, PIXEL_ARCSEC, 33.0)
    optics = Optics(field, detector)
    sky = [optics.sky(x, y) for x, y in places]
    sources = tuple(PointSource(f"s{i}", float(ra), float(dec), flux, index) for i, (ra, dec) in enumerate(sky))
    return FrameSpec(**({"number": 7, "detector": detector, "field": field, "sources": sources, "noise": QUIET} | changes))


def light_of(file, spec):
    """Return what the sources add to each pixel, uJy."""
    excess = file["IMAGE"].data.astype(float) - file["ZODI"].data - spec.background
    return excess * Optics.of(spec).solid_angles() * UJY_PER_MJY_SR_ARCSEC2


def test_the_constant_of_the_headers():
    assert pytest.approx(23.5045, abs=1e-4) == UJY_PER_MJY_SR_ARCSEC2


@pytest.mark.parametrize("detector", BANDS)
def test_a_source_has_its_flux_at_its_wavelength_in_its_place(detector):
    places = [(20.0, 20.5), (70.31, 25.87), (48.5, 75.123), (11.9, 80.0)]
    spec = spec_of(places, detector)
    with opened(make_frame(spec)) as file:
        light, header = light_of(file, spec), file["IMAGE"].header
        spectral = WCS(header, fobj=file, key="W")
        spectral.sip = None
        sky = WCS(header, key=" ")
        for one, (x, y) in zip(injected(spec), places, strict=True):
            um, width = spectral.wcs_pix2world(x, y, 0)
            assert (one.wavelength_um, one.bandwidth_um) == pytest.approx((float(um), float(width)), abs=1e-6)
            assert (one.x, one.y) == pytest.approx((x, y), abs=1e-6)
            np.testing.assert_allclose(sky.all_world2pix(one.source.ra, one.source.dec, 0), (x, y), atol=1e-4)
            assert one.flux_ujy == pytest.approx(5000 * float(um) / 2)
            box = np.s_[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
            rows, columns = np.mgrid[box]
            assert light[box].sum() == pytest.approx(one.flux_ujy, rel=1e-3)
            centroid = (light[box] * columns).sum() / light[box].sum(), (light[box] * rows).sum() / light[box].sum()
            assert centroid == pytest.approx((x, y), abs=0.03)  # of so narrow a PSF the mean place is off by up to 0.025


def test_a_flux_for_each_band_takes_the_place_of_the_power_law():
    source = PointSource("s", 0.0, 0.0, 100.0, 1.0, bands={4: 77.0})
    assert [source.flux(3.0, 4), source.flux(3.0, 3)] == [77.0, 150.0]


def test_sources_beyond_the_edge_shine_in():
    spec = spec_of([(-1.0, 40.0), (-30.0, 40.0)])
    assert [one.inside for one in injected(spec)] == [False, False]
    with opened(make_frame(spec)) as file:
        assert 0.001 < light_of(file, spec).sum() / injected(spec)[0].flux_ujy < 0.5


@pytest.mark.parametrize("side", [96, SIDE])
def test_places_are_those_of_the_header(side):
    spec = dataclasses.replace(spec_of([]), field=Field(0.01, -89.5, side, side, PIXEL_ARCSEC, 200.0))
    optics = Optics.of(spec)
    header = fits.Header.fromstring("".join(sky_cards(optics)))
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, side, side
    wcs = WCS(header, key=" ")
    x, y = np.random.default_rng(5).uniform(-0.5, side - 0.5, (2, 200))
    np.testing.assert_allclose(optics.sky(x, y), wcs.all_pix2world(x, y, 0), rtol=0, atol=1e-8)
    np.testing.assert_allclose(optics.pixel(*optics.sky(x, y)), (x, y), rtol=0, atol=1e-8)
    focal = wcs.sip_pix2foc(x, y, 0)
    back = wcs.sip_foc2pix(*focal, 0)
    np.testing.assert_allclose(back, (x, y), rtol=0, atol=0.05)  # AP and BP: as good as a polynomial of this order is
    assert np.isnan(optics.pixel(0.01, 60.0)).all()
    corners = np.array(optics.s_region().split()[2:], float).reshape(-1, 2)
    places = np.array([wcs.all_world2pix(*corner, 0) for corner in corners])
    edge = side - 0.5
    np.testing.assert_allclose(places, [(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge), (-0.5, -0.5)], atol=1e-4)


def test_solid_angles_are_those_of_the_pixels():
    """A pixel's solid angle is the spherical polygon of its corners: two triangles (Van Oosterom and Strackee 1983)."""
    optics = Optics(Field(10.0, 40.0, SIDE, SIDE, PIXEL_ARCSEC, 10.0), 4)

    def unit(x, y):
        ra, dec = np.radians(optics.sky(x, y))
        return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])

    def triangle(a, b, c):
        return 2 * np.arctan2(np.cross(b - a, c - a) @ a, 1 + a @ b + b @ c + c @ a)

    for x, y in [(0, 0), (1019.5, 1019.5), (2039, 100), (300, 2039)]:
        p, q, r, s = (unit(x + dx, y + dy) for dx, dy in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)))
        area = abs(triangle(p, q, r) + triangle(p, r, s)) * np.degrees(3600.0) ** 2
        assert optics.solid_angle(x, y) == pytest.approx(area, rel=1e-6)
    with opened(make_solid_angles(4, 96, 96)) as file:
        assert file["IMAGE"].header["BUNIT"] == "arcsec2"
        assert np.median(file["IMAGE"].data) == pytest.approx(37.86, rel=0.005)
        assert 0.01 < np.ptp(file["IMAGE"].data) / 37.86 < 0.04


def test_frames_of_one_table_of_wavelengths_name_one_calibration():
    def identity(**changes):
        with opened(make_frame(dataclasses.replace(spec_of([]), **changes))) as file:
            (history,) = set(file["IMAGE"].header["HISTORY"])
            return history.removeprefix("[CALIB] spectral_wcs "), file["WCS-WAVE"].data.tobytes()

    smaller = dataclasses.replace(spec_of([]).field, nx=64, ny=64)
    same = [identity(detector=3), identity(detector=3, number=9, mjd=61300.0, image_blocks=7)]
    other = [identity(detector=4), identity(detector=3, release="qr3", pipeline="7.0.5"), identity(detector=3, field=smaller)]
    assert same[0] == same[1]
    assert uuid.UUID(same[0][0])
    assert len({name for name, _ in (*same, *other)}) == 4
    tables = {}
    for name, table in (*same, *other):
        assert tables.setdefault(name, table) == table


@pytest.mark.parametrize("detector", BANDS)
def test_wavelengths_fall_with_y(detector):
    table = wave_table(detector, 128, 128)
    shortest, longest, power = BANDS[detector]
    assert (np.diff(table.values[..., 0], axis=0) < 0).all()
    assert len(set(np.diff(table.y))) > 1 or detector not in {3, 4}  # unevenly spaced where the real ones are
    assert shortest * 1e6 - 0.03 < table.values[..., 0].min() < table.values[..., 0].max() < longest * 1e6 + 0.03
    np.testing.assert_allclose(table.values[..., 0] / table.values[..., 1], power, rtol=0.04)
    with opened(make_spectral_wcs(detector, 128, 128)) as file:
        y, x = np.mgrid[:128, :128]
        away = np.abs(file["CWAVE"].data - table.at(x, y)[0])
        assert RIPPLE_UM / 2 < away.max() < 1.01 * RIPPLE_UM
        assert file["CBAND"].header["BUNIT"] == "um"


def test_noise_is_what_variance_says():
    spec = spec_of([(48, 48)], flux=50_000.0, noise=0.02)
    with opened(make_frame(spec)) as file, opened(make_frame(dataclasses.replace(spec, noise=QUIET))) as quiet:
        pulls = (file["IMAGE"].data - quiet["IMAGE"].data) / np.sqrt(file["VARIANCE"].data)
        assert np.std(pulls) == pytest.approx(1.0, abs=0.03)
        assert np.std(pulls[44:53, 44:53]) == pytest.approx(1.0, abs=0.25)
        assert np.median(file["VARIANCE"].data) == pytest.approx(4e-4, rel=0.01)
        assert file["VARIANCE"].data[48, 48] > 0.01
    with opened(make_frame(dataclasses.replace(spec, tails=0.02))) as tailed:
        assert np.count_nonzero(np.abs(tailed["IMAGE"].data - quiet["IMAGE"].data) > 0.1) > 25


def flagged(file, name):
    flags = file["FLAGS"]
    return (flags.data >> flags.header[f"MP_{name}"] & 1).astype(bool)


def test_bad_pixels_have_their_flags():
    frames = [make_frame(spec_of([], detector=3, side=128, noise=0.02, bad=1.0, number=n)) for n in (1, 2)]
    with opened(frames[0]) as one, opened(frames[1]) as other:
        assert 0.4 < flagged(one, "SOURCE").mean() < 0.7
        clean = one["FLAGS"].data & ~(1 << one["FLAGS"].header["MP_SOURCE"]) == 0
        pulls = (one["IMAGE"].data - one["ZODI"].data) / 0.02
        assert np.abs(pulls[clean]).max() < 6 < np.nanmax(np.abs(pulls[~clean]))
        assert np.isfinite(one["VARIANCE"].data).all()
        assert 0.01 < flagged(one, "OUTLIER").mean() < 0.03
        np.testing.assert_array_equal(flagged(one, "NONFUNC"), flagged(other, "NONFUNC"))
        assert (flagged(one, "TRANSIENT") != flagged(other, "TRANSIENT")).any()
        assert flagged(one, "DICHROIC")[0].all()
        assert not flagged(one, "DICHROIC")[64].any()


def test_blemishes_lie_where_they_are_put():
    spec = spec_of([(30.2, 40.1), (70, 70), (60, 20)], noise=0.02)
    star, other, third = spec.sources
    spec = dataclasses.replace(
        spec,
        blemishes=(Blemish(star.ra, star.dec), Blemish(other.ra, other.dec, "MISSING_DATA", 5.05)),
        sources=(star, other, dataclasses.replace(third, flux_ujy=3e5)),
    )
    assert [one.blemished for one in injected(spec)] == [True, True, False]
    with opened(make_frame(spec)) as file:
        assert np.argwhere(flagged(file, "TRANSIENT")).tolist() == [[40, 30]]
        gone = np.isnan(file["IMAGE"].data)
        assert gone.sum() == 81
        np.testing.assert_array_equal(gone, flagged(file, "MISSING_DATA"))
        assert flagged(file, "OVERFLOW").sum() == flagged(file, "OVERFLOW")[19:22, 59:62].sum() > 4


def zone_plane(header, x, y):
    """Return the plane whose cards claim a pixel."""
    planes = range(1, ZONES**2 + 1)
    return next(
        i - 1
        for i in planes
        if abs(x - header[f"XCTR_{i}"]) <= header[f"XWID_{i}"] / 2 and abs(y - header[f"YCTR_{i}"]) <= header[f"YWID_{i}"] / 2
    )


@pytest.mark.parametrize(("pipeline", "right"), [("6.5.4+psffix1", True), ("6.5.6", True), ("7.0", True), ("6.5.5", False)])
def test_a_source_has_the_psf_of_its_zone(pipeline, right):
    """IRSA's erratum: up to 6.5.5 without the suffix the header numbers the planes along y."""
    spec = spec_of([(92.0, 4.0)], pipeline=pipeline)
    with opened(make_frame(spec)) as file:
        header, cube = file["PSF"].header, file["PSF"].data
        assert (file["PRIMARY"].header["VERSION"], header["OVERSAMP"]) == (pipeline, 10)
        assert "Center of x zone (10, 0)" in header.comments["XCTR_11" if right else "XCTR_111"]
        np.testing.assert_allclose(cube.sum(axis=(1, 2)), 1, rtol=1e-4)
        plane = zone_plane(header, 92, 4)
        assert plane == (10 if right else 110)
        middle = cube[plane].shape[0] // 2
        core = cube[plane][middle - 5 : middle + 6, middle - 5 : middle + 6].astype(float)
        core[[0, -1]] /= 2  # half of a sample on each side belongs to the pixel
        core[:, [0, -1]] /= 2
        share = light_of(file, spec)[4, 92] / injected(spec)[0].flux_ujy
        assert (abs(core.sum() / share - 1) < 0.02) == right


def test_extensions_may_lack():
    with opened(make_frame(spec_of([], without=("VARIANCE", "PSF")))) as file:
        assert [hdu.name for hdu in file] == ["PRIMARY", "IMAGE", "FLAGS", "ZODI", "WCS-WAVE"]


def test_the_third_release():
    spec = spec_of([(40, 40)], bad=1.0, noise=0.02)
    later = dataclasses.replace(spec, release="qr3", pipeline="7.0.1")
    assert later.key.startswith("qr3/level2/")
    content = make_frame(later)
    with opened(content) as file, opened(make_frame(spec)) as before:
        assert [hdu.name for hdu in file] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "ZODI", "EPSF", "WCS-WAVE"]
        np.testing.assert_array_equal(file["FLAGS"].data, before["FLAGS"].data)
        assert (file["FLAGS"].header["MSKN0000"], file["FLAGS"].header["MSKN0021"]) == ("TRANSIENT", "SOURCE")
        table, header = file["EPSF"].data, file["EPSF"].header
        assert (len(table), header["OVSMPX"], header["DETECTOR"]) == (451, 5, "3")
        assert (table["BINX"][:12].tolist(), table["BINY"][10:12].tolist()) == ([*range(11), 0], [0, 1])
        np.testing.assert_allclose(table["EPSF"].sum(axis=1), 1)
        row = np.argmin(np.hypot(table["XCENTER"] - 40, table["YCENTER"] - 40))
        peak = light_of(file, dataclasses.replace(later, noise=0.0))[40, 40] / injected(later)[0].flux_ujy
        assert table["EPSF"][row].max() * 25 == pytest.approx(peak, rel=0.02)
    with fits.open(io.BytesIO(content), disable_image_compression=True) as file:
        header = file["FLAGS"].header
        packed = (header["ZCMPTYPE"], header["ZTILE1"], header["ZTILE2"], header["NAXIS1"], header["NAXIS2"])
        assert packed == ("RICE_1", 96, 1, 8, 96)
    assert dict(blocks_of(content))["FLAGS"] == 6


def blocks_of(content):
    with opened(content) as file:
        return [(hdu.name, (info["datLoc"] - info["hdrLoc"]) // 2880) for hdu in file for info in [hdu.fileinfo()]]


@pytest.mark.parametrize(("blocks", "size"), [(8, 71_637_120), (7, 71_634_240)])
def test_a_full_frame_has_the_bytes_of_a_real_one(blocks, size):
    content = make_frame(FrameSpec(1, 4, Field(10.0, 41.0, SIDE, SIDE, PIXEL_ARCSEC), image_blocks=blocks, bad=1.0))
    assert len(content) == size
    sizes = {"PRIMARY": 1, "IMAGE": blocks, "FLAGS": 5, "VARIANCE": 4, "ZODI": 4, "PSF": 15, "WCS-WAVE": 1}
    assert dict(blocks_of(content)) == sizes


@pytest.mark.real
def test_a_full_frame_of_a_real_header_and_table(real_data):
    """The header that was kept is one of eight blocks."""
    folder = real_data / "spherex"
    spec = FrameSpec(1, 3, Field(10.0, 41.0, SIDE, SIDE, PIXEL_ARCSEC), real=folder)
    content = make_frame(spec)
    assert len(content) == 71_637_120
    with opened(content) as file:
        assert file["IMAGE"].header["SPS_TARGET"] == 87514
        assert file["IMAGE"].header["NAXIS1"] == SIDE
        assert len(file["IMAGE"].header["HISTORY"]) > 30
        assert file["WCS-WAVE"].data["VALUES"][0].shape == (14, 9, 2)


@pytest.mark.real
@pytest.mark.parametrize("detector", BANDS)
def test_tables_are_close_to_the_real_ones(real_data, detector):
    table = json.loads((real_data / "spherex" / "qr2_wcs_wave_tables.json").read_text())["tables"][f"D{detector}"]
    ours = wave_table(detector, SIDE, SIDE)
    assert (tuple(table["x"]), tuple(table["y"])) == NODES[detector]
    np.testing.assert_allclose(ours.values[..., 0], table["wavelength_um"], rtol=0.02)
