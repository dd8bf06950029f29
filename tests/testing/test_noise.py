"""The generator of noise and lines keeps its word: every claim is worked out again by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from raysearch.testing import CubeSpec, Jet, make_cube
from raysearch.testing.injection import Emission, Scene, inject
from raysearch.testing.noise import DRIZZLED, NOISES, WHITE, line_planes, make_noise
from raysearch.testing.realnoise import read_real_cube, resample, untouched

C = 299_792.458
SHAPES = [
    Emission(3e-18),
    Emission(3e-18, "blob", length_arcsec=1.5),
    Emission(3e-18, "jet", length_arcsec=3.0, width_arcsec=0.5, angle_deg=35.0),
    Emission(3e-18, "field"),
]
SEED = 300_000


def added(scene, emission):
    """What an injection adds, in double precision, onto nothing."""
    window = replace(scene.window, planes={**scene.window.planes, "SCI": np.zeros(scene.window.sci.shape)})
    blank = replace(scene, pixels=replace(scene.pixels, windows=(window,)))
    made, truth = inject(blank, emission)
    return made.window.sci, truth


def moments(image):
    """Mean (y, x) and covariance of an image."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    points, weights = np.stack([y.ravel(), x.ravel()]).astype(float), image.ravel() / image.sum()
    mean = points @ weights
    return mean, (points - mean[:, None]) * weights @ (points - mean[:, None]).T


@pytest.mark.parametrize("kind", NOISES)
def test_the_same_seed_gives_the_same_bytes(kind):
    first, again, other = (make_noise(NOISES[kind], seed, kind) for seed in (SEED, SEED, SEED + 1))
    assert first.pixels.header == again.pixels.header
    for name, array in first.window.planes.items():
        assert array.tobytes() == again.window.planes[name].tobytes()
    assert first.window.sci.tobytes() != other.window.sci.tobytes()


@pytest.mark.parametrize("emission", SHAPES, ids=lambda e: e.shape)
def test_the_flux_of_an_injection_summed_by_hand(emission):
    scene = make_noise(WHITE, SEED)
    sci, truth = added(scene, emission)
    header, total = fits.Header.fromstring(scene.pixels.header), 0.0
    for wavelength_um, plane in zip(scene.window.wavelength_um, sci, strict=True):
        hertz = 2.99792458e8 * header["CDELT3"] * 1e-6 / (wavelength_um * 1e-6) ** 2
        total += plane.sum() * 1e6 * 1e-26 * hertz * header["PIXAR_SR"]
    assert total / 3e-18 == pytest.approx(1, rel=2e-4)
    assert truth.flux / total == pytest.approx(1, rel=2e-4)


def test_flux_in_kelvin_and_in_muse_units():
    scene = make_noise(WHITE, SEED)
    expected = {}
    wavelength, step = 18.228e-6, 0.006e-6
    sr = (0.35 / 206264.806) ** 2
    expected["K"] = 2 * 1.380649e-23 / wavelength**2 * 2.99792458e8 * step / wavelength**2 * sr
    expected["10**-20 Angstrom-1 cm-2 erg s-1"] = 1e-20 * 1e-7 * 1e4 * 60  # erg to J, cm^-2 to m^-2, 60 Angstrom a plane
    for unit, per_voxel in expected.items():
        header = fits.Header.fromstring(scene.pixels.header)
        header["BUNIT"] = unit
        sci, _ = added(replace(scene, pixels=replace(scene.pixels, header=header.tostring())), Emission(1e-18))
        assert sci.sum() * per_voxel / 1e-18 == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize(("velocity", "fwhm"), [(0.0, 0.0), (-300.0, 0.0), (137.0, 600.0)])
def test_the_velocity_and_the_width_of_an_injection(velocity, fwhm):
    scene = make_noise(WHITE, SEED)
    sci, truth = added(scene, Emission(1e-18, velocity=velocity, fwhm_km_s=fwhm))
    spectrum, wavelength = sci.sum(axis=(1, 2)), scene.window.wavelength_um
    # SCI is a flux density, whose voxels stand for less flux where the wavelength is longer: weights correct for that
    weights = spectrum / wavelength**2 / (spectrum / wavelength**2).sum()
    centre = (weights * wavelength).sum()
    assert (centre / 18.228 - 1) * C == pytest.approx(velocity, abs=0.5)
    assert truth.wavelength_um == pytest.approx(18.228 * (1 + velocity / C))
    variance = (weights * (wavelength - centre) ** 2).sum() - 0.006**2 / 12
    expected = math.hypot(centre / (4603 - 128 * 18.228), centre * fwhm / C)
    assert math.sqrt(8 * math.log(2) * variance) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("angle", [0.0, 35.0, 120.0])
def test_the_place_and_the_direction_of_an_injection(angle):
    scene = make_noise(replace(WHITE, ny=61, nx=61), SEED)
    emission = Emission(1e-18, "jet", length_arcsec=4.0, width_arcsec=0.5, angle_deg=angle, offset=(3.3, -2.6))
    sci, truth = added(scene, emission)
    mean, covariance = moments(sci.sum(axis=0))
    assert mean == pytest.approx([scene.star[0] + 3.3, scene.star[1] - 2.6], abs=0.01)
    assert (truth.y, truth.x) == pytest.approx(tuple(mean), abs=0.01)
    along = np.linalg.eigh(covariance)[1][:, -1]
    ra, dec = scene.wcs.pixel_to_world_values(mean[1] + np.array([0, along[1]]), mean[0] + np.array([0, along[0]]))
    assert (truth.ra, truth.dec) == pytest.approx((ra[0] % 360, dec[0]), abs=1e-6)
    measured = math.degrees(math.atan2((ra[1] - ra[0]) * math.cos(math.radians(dec[0])), dec[1] - dec[0]))
    assert (measured - angle + 90) % 180 == pytest.approx(90, abs=0.5)
    fwhm = np.sqrt(8 * math.log(2) * np.linalg.eigvalsh(covariance - np.eye(2) / 12)) * 0.35
    psf = 0.033 * 18.228 + 0.106
    assert fwhm == pytest.approx([math.hypot(0.5, psf), math.hypot(4.0, psf)], rel=0.02)
    again, _ = added(scene, replace(emission, offset=(0.0, 0.0), sky=(truth.ra, truth.dec)))
    assert np.allclose(again, sci, atol=1e-4 * sci.max())


def test_only_voxels_with_data_count():
    scene = make_noise(NOISES["borders"], SEED)
    made, truth = inject(scene, Emission(1e-17, "blob", length_arcsec=8.0))
    good = np.isfinite(scene.window.sci)
    difference = made.window.sci.astype(float) - scene.window.sci
    per_unit = 1e-20 * 2.99792458e14 * 0.006 / scene.window.wavelength_um**2 * (0.35 / 206264.806) ** 2
    assert truth.flux < 0.95e-17
    assert np.nansum(difference * per_unit[:, None, None]) / truth.flux == pytest.approx(1, rel=1e-3)
    assert np.array_equal(np.isfinite(made.window.sci), good)


def test_scatter_and_correlation_are_those_asked_for():
    spec = replace(DRIZZLED, planes=121, ny=61, nx=61)
    noise = make_noise(spec, SEED).window.sci.astype(float) - spec.level
    assert noise.std() == pytest.approx(spec.sigma, rel=0.02)

    def correlation(axis, lag):
        long, short = np.moveaxis(noise, axis, 0)[lag:], np.moveaxis(noise, axis, 0)[:-lag]
        return (long * short).mean() / noise.var()

    for axis, blur in ((0, 0.6), (1, 0.7), (2, 0.7)):
        weights = np.exp(-0.5 * (np.arange(-6, 7) / blur) ** 2)
        for lag in (1, 2, 3):
            expected = (weights[lag:] * weights[:-lag]).sum() / (weights**2).sum()
            assert correlation(axis, lag) == pytest.approx(expected, abs=0.02)
    white = make_noise(WHITE, SEED).window.sci
    assert abs(np.corrcoef(white[1:].ravel(), white[:-1].ravel())[0, 1]) < 0.02


def test_err_is_wrong_by_what_is_asked_for():
    for kind, factor in (("err-low", 0.3), ("err-high", 3.0), ("drizzled", 1.0)):
        planes = make_noise(NOISES[kind], SEED).window.planes
        assert planes["ERR"].mean() / (planes["SCI"] - 75).std() == pytest.approx(factor, rel=0.05)
    err = make_noise(NOISES["err-varies"], SEED).window.planes["ERR"]
    assert err[0, 0, -1] / err[0, 0, 0] == pytest.approx(math.exp(1.4), rel=1e-3)


@pytest.mark.parametrize("border", [0.13, 0.37])
def test_the_part_without_data(border):
    planes = make_noise(replace(WHITE, border=border, ny=45, nx=45), SEED).window.planes
    assert np.isnan(planes["SCI"]).mean() == pytest.approx(border, abs=0.01)
    for name, empty in (("ERR", np.nan), ("WMAP", 0), ("DQ", 513)):
        assert np.array_equal(np.isnan(planes["SCI"]), np.isnan(planes[name]) if empty is np.nan else planes[name] == empty)
    corners = np.isnan(planes["SCI"][0])[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.all()


def test_planes_that_are_nearly_empty():
    sci = make_noise(replace(WHITE, empty_planes=0.1, planes=301), SEED).window.sci
    parts = np.isfinite(sci).mean(axis=(1, 2))
    assert np.mean(parts < 0.12) == pytest.approx(0.1, abs=0.05)
    assert ((parts < 0.12) | (parts == 1)).all()


def test_a_star_is_where_the_scene_says_with_fringes_and_photon_noise():
    scene = make_noise(NOISES["star"], SEED)
    sci = scene.window.sci
    brightest = np.unravel_index(np.median(sci, axis=0).argmax(), sci.shape[1:])
    assert np.hypot(*(np.array(brightest) - scene.star)) < 1
    spectrum = sci[:, *brightest]
    smooth = np.polyval(np.polyfit(np.arange(len(sci)), spectrum, 2), np.arange(len(sci)))
    assert 0.008 < (spectrum / smooth).std() < 0.03
    assert np.diff(sci[:, *brightest]).std() > 5 * np.diff(sci[:, 0, 0]).std()


def test_cosmic_rays_and_tails():
    quiet, struck = (make_noise(replace(WHITE, **more), SEED).window.sci - 75 for more in ({}, {"hits": 1e-3}))
    assert np.mean(quiet > 25) == 0
    assert 0.5e-3 < np.mean(struck > 25) < 4e-3
    showered = make_noise(replace(WHITE, showers=0.2), SEED).window.sci - 75
    rows = showered.mean(axis=2)
    assert np.mean((rows > 5).any(axis=1)) == pytest.approx(0.15, abs=0.1)
    tailed = make_noise(replace(WHITE, tails=0.03), SEED).window.sci - 75
    assert tailed.std() == pytest.approx(5, rel=0.03)
    assert np.mean((quiet / 5) ** 4) < 3.5
    assert np.mean((tailed / 5) ** 4) > 6


def test_the_planes_in_which_a_line_may_lie():
    wavelength = 18 + 0.006 * np.arange(100)
    first, stop = line_planes(wavelength, 18.3, 500.0)
    reach = 18.3 * 500 / C
    assert wavelength[first] - 0.003 <= 18.3 + reach
    assert wavelength[first] + 0.003 >= 18.3 - reach > wavelength[first - 1] + 0.003
    assert wavelength[stop - 1] - 0.003 <= 18.3 + reach < wavelength[stop] - 0.003
    window = make_noise(WHITE, SEED).window
    assert window.searched == line_planes(window.wavelength_um, 18.228, 500.0)
    assert window.searched[0] <= window.position < window.searched[1]


@pytest.fixture(scope="module")
def made_cube(tmp_path_factory):
    """A file with a bright jet at [Fe II] 17.936 and one at a wavelength that no list holds."""
    jets = (Jet(17.936, 3.0, planes=3), Jet(18.20, 3.0, planes=3))
    spec = CubeSpec(planes=300, ny=21, nx=21, wave_start_um=17.4, wave_step_um=0.006, jets=jets, seed=4, redshift=0.005)
    path = tmp_path_factory.mktemp("cube") / "made_s3d.fits"
    path.write_bytes(make_cube(spec))
    return read_real_cube(path, redshift=0.005)


def test_planes_with_lines_are_no_noise(made_cube):
    known, unknown = (np.abs(made_cube.wavelength_um - um * 1.005).argmin() for um in (17.936, 18.20))
    assert made_cube.known[known]
    assert not made_cube.free[known - 2 : known + 3].any()
    assert not made_cube.known[unknown]
    assert not made_cube.free[unknown - 1 : unknown + 2].any()
    assert made_cube.free.mean() > 0.6


def test_real_noise_keeps_its_scatter_its_continuum_and_its_gaps(made_cube):
    scenes = [resample(made_cube, seed) for seed in range(SEED, SEED + 8)]
    lost = np.isnan(made_cube.planes["SCI"]).mean()
    for scene in scenes:
        planes, window = scene.window.planes, scene.window
        assert np.isnan(planes["SCI"]).mean() == pytest.approx(lost, abs=0.02)
        assert np.array_equal(np.isnan(planes["SCI"]), planes["DQ"] != 0)
        assert np.nanmedian(planes["SCI"]) == pytest.approx(100, rel=0.05)
        scatter = 1.4826 * np.nanmedian(np.abs(np.diff(planes["SCI"], axis=0))) / math.sqrt(2)
        assert scatter == pytest.approx(4.0, rel=0.05)
        live = ~np.isnan(planes["SCI"][0])
        assert np.abs(planes["SCI"][:, live] - np.median(planes["SCI"][:, live], axis=0)).max() < 8 * 4
        assert np.nanmax(planes["ERR"]) == pytest.approx(4.0, rel=1e-5)
        assert np.array_equal(window.wavelength_um, made_cube.wavelength_um[window.start : window.start + 91])
    assert resample(made_cube, SEED).window.sci.tobytes() == scenes[0].window.sci.tobytes()
    assert len({scene.window.sci.tobytes() for scene in scenes}) == 8


def test_signs_are_drawn_or_the_cubes_own(made_cube):
    positive = replace(made_cube, residual=np.abs(made_cube.residual))
    for signs in (True, False):
        scenes = [resample(positive, seed, signs=signs) for seed in range(SEED, SEED + 8)]
        lowest = [np.nanmin(scene.window.sci.mean(axis=(1, 2), where=np.isfinite(scene.window.sci)) - 100) for scene in scenes]
        assert bool(min(lowest) < -1) is signs


def test_resampled_planes_are_where_the_scene_says(made_cube):
    scene = resample(made_cube, SEED, signs=False)
    flips = [-1 if a != b else 1 for a, b in zip(scene.star, made_cube.star, strict=True)]
    start = scene.window.start
    noise = scene.window.sci[:, :: flips[0], :: flips[1]] - made_cube.continuum[start : start + 91]
    same = [np.nanmax(np.abs(plane - made_cube.residual[k])) < 1e-3 for plane, k in zip(noise, scene.source, strict=True)]
    assert 0.7 < np.mean(same) < 0.9  # all but 4 of 20, which are faded
    assert made_cube.free[scene.source].all()


def test_a_window_longer_than_the_cube_is_refused(made_cube):
    with pytest.raises(ValueError, match="300 planes, 301 are asked"):
        resample(made_cube, SEED, planes=301)


def test_untouched_windows_are_the_cubes_own(made_cube):
    scenes = list(untouched(made_cube, 10))
    assert 5 < len(scenes) < 22
    for scene in scenes:
        start = scene.window.start
        assert np.array_equal(scene.window.sci, made_cube.planes["SCI"][start : start + 91], equal_nan=True)
        assert not made_cube.known[slice(*scene.window.searched)].any()


@pytest.mark.real
def test_noise_of_a_real_cube_is_as_correlated_as_the_cube(real_data):
    cube = read_real_cube(real_data / "jwst" / "16CygB_Level3_ch4-short_s3d.fits.gz")

    def correlation(residual, err, axis, lag):
        ratio = np.clip(np.nan_to_num(residual / err), -8, 8)
        long, short = np.moveaxis(ratio, axis, 0)[lag:], np.moveaxis(ratio, axis, 0)[:-lag]
        return float((long * short).sum() / (ratio**2).sum())

    scenes: list[Scene] = [resample(cube, seed) for seed in range(SEED, SEED + 20)]
    for axis, lag in ((0, 1), (0, 2), (1, 1), (2, 1), (2, 2)):
        whole = correlation(cube.residual[cube.free], cube.planes["ERR"][cube.free], axis, lag)
        made = []
        for scene in scenes:
            start, flips = scene.window.start, (scene.star[0] != cube.star[0], scene.star[1] != cube.star[1])
            continuum = cube.continuum[start : start + 91][:, :: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
            made.append(correlation(scene.window.sci - continuum, scene.window.planes["ERR"], axis, lag))
        assert np.mean(made) == pytest.approx(whole, abs=0.05)
