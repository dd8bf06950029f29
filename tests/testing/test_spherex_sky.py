"""The ready sky of SPHEREx, asked as IRSA and S3 are: every frame is listed, served and true, but for the ones told."""

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.wcs import WCS

from raysearch.testing import LocalArchive
from raysearch.testing.spherex_archive import SPHEREX_BUCKET
from raysearch.testing.spherex_calibration import solid_angle_key, spectral_wcs_key
from raysearch.testing.spherex_pixels import UJY_PER_MJY_SR_ARCSEC2
from raysearch.testing.spherex_sky import SpherexSky, spherex_sky


@pytest.fixture(scope="module")
def sky() -> SpherexSky:
    return spherex_sky()


@pytest.fixture(scope="module")
def archive(sky) -> Iterator[LocalArchive]:
    with LocalArchive(sky.holdings) as archive:
        yield archive


def opened(content):
    return fits.open(io.BytesIO(content))


def frame(sky, name):
    return opened(sky.holdings.bodies[sky.frames[name].key])


def test_same_seed_same_sky():
    one, again, other = (spherex_sky(side=64, epochs=1, seed=seed) for seed in (1, 1, 2))
    assert one.holdings == again.holdings
    assert one.sources != other.sources
    assert one.frames.keys() == other.frames.keys()
    assert set(one.special) == {"old_psf", "unsaid"}


def test_every_target_is_seen_in_all_bands_at_all_epochs(sky):
    assert [len(sky.frames), len(sky.targets), len(sky.holdings.targets)] == [54, 21, 21]
    for target in sky.targets:
        held = sky.holding(target.name)
        assert len(held) == 18
        assert sorted(sky.frames[name].detector for name in held) == [d for d in range(1, 7) for _ in range(3)]
        assert [sky.frames[name].mjd for name in held] == sorted(sky.frames[name].mjd for name in held)
        red = {d: sky.injected(sky.holding(target.name, d)[0])[target.name].flux_ujy for d in (2, 4)}
        if "Red" in target.name:
            assert red[4] > 2 * red[2]
        if "Blue" in target.name:
            assert red[2] > 2 * red[4]


def test_exposures_of_two_detectors_share_a_place_and_a_name(sky):
    shared = [sky.frames["2025W51_1A_0001_1/D1"], sky.frames["2025W51_1A_0001_1/D4"]]
    assert shared[0].field == shared[1].field
    assert shared[0].mjd == shared[1].mjd
    assert len({spec.key for spec in sky.frames.values()}) == 54


def test_sources_have_the_fluxes_that_truth_tells(sky):
    """By the sum over a box: bright, lonely sources of the frames of every detector, where no bad pixel lies."""
    ratios = []
    for name in sky.holding("SPX Flat A", release="qr2")[:6]:
        spec, one = sky.frames[name], sky.injected(name)["SPX Flat A"]
        omega = fits.getdata(io.BytesIO(sky.holdings.bodies[solid_angle_key(spec.detector)]))
        with frame(sky, name) as file:
            box = np.s_[round(one.y) - 3 : round(one.y) + 4, round(one.x) - 3 : round(one.x) + 4]
            if np.any(file["FLAGS"].data[box] & ~(1 << 21)):
                continue
            excess = file["IMAGE"].data[box] - file["ZODI"].data[box] - spec.background
            ratios.append((excess * omega[box]).sum() * UJY_PER_MJY_SR_ARCSEC2 - one.flux_ujy)
            sigma = np.sqrt((file["VARIANCE"].data[box] * omega[box] ** 2).sum()) * UJY_PER_MJY_SR_ARCSEC2
            assert abs(ratios[-1]) < 5 * sigma < 0.2 * one.flux_ujy
    assert ratios
    did = f"ivo://irsa.ipac/spherex_qr2?{sky.holding('SPX Flat A')[0]}"
    assert any(flux == pytest.approx(2500) for flux in sky.holdings.truth[did])


def test_mishaps(sky):
    with frame(sky, sky.special["no_variance"]) as file:
        assert "VARIANCE" not in file
    with frame(sky, sky.special["old_psf"]) as file:
        assert file["PRIMARY"].header["VERSION"] == "6.5.4"
    with frame(sky, sky.special["blank"]) as file:
        one = sky.injected(sky.special["blank"])["SPX Flat B"]
        assert np.isnan(file["IMAGE"].data[round(one.y) - 25 : round(one.y) + 26, round(one.x) - 25 : round(one.x) + 26]).all()
    for detector, epoch in ((2, 0), (4, 1)):
        for letter in "ABC":
            name = sky.holding(f"SPX Spoiled {letter}", detector)[epoch]
            assert sky.injected(name)[f"SPX Spoiled {letter}"].blemished


def tap(archive, target):
    query = (
        "SELECT a.uri FROM spherex.artifact AS a JOIN spherex.plane AS p ON a.planeid = p.planeid "
        f"WHERE 1 = CONTAINS(POINT('ICRS', {target.ra}, {target.dec}), p.poly)"
    )
    answer = requests.get(f"{archive.url}/TAP/sync", params={"QUERY": query}, timeout=10)
    return {str(uri) for uri in parse_single_table(io.BytesIO(answer.content)).array["uri"]}


def test_tap_and_sia_list_the_frames_that_hold_a_target(sky, archive):
    for target in sky.targets:
        wanted = {f"ibe/data/spherex/{sky.frames[name].key}" for name in sky.holding(target.name)}
        assert tap(archive, target) == wanted
        answer = requests.get(f"{archive.url}/SIA2/query", params={"POS": f"circle {target.ra} {target.dec} 0.0003"}, timeout=10)
        urls = parse_single_table(io.BytesIO(answer.content)).array["access_url"]
        assert {str(url).removeprefix(archive.url + "/") for url in urls} == wanted


def status(archive, sky, mishap):
    key = sky.frames[sky.special[mishap]].key
    addresses = (f"{archive.url}/{SPHEREX_BUCKET}/{key}", f"{archive.url}/ibe/data/spherex/{key}")
    return [requests.head(address, timeout=10).status_code for address in addresses]


def test_where_the_frames_are(sky, archive):
    assert status(archive, sky, "old_psf") == [200, 200]
    assert status(archive, sky, "irsa_only") == [404, 200]
    assert status(archive, sky, "absent") == [404, 404]
    for detector in range(1, 7):
        for key in (solid_angle_key(detector), spectral_wcs_key(detector)):
            assert requests.head(f"{archive.url}/{SPHEREX_BUCKET}/{key}", timeout=10).status_code == 200


def cutout(archive, sky, name, target, size="0.1"):
    ask = {"center": f"{target.ra},{target.dec}d", "size": size, "gzip": "false"}
    answer = requests.get(f"{archive.url}/ibe/data/spherex/{sky.frames[name].key}", params=ask, timeout=10)
    assert answer.status_code == 200
    return opened(answer.content)


@pytest.mark.parametrize("release", ["qr2", "qr3"])
def test_cutouts_of_both_releases_have_the_pixels_of_the_whole(sky, archive, release):
    target = next(t for t in sky.targets if t.name == "SPX Red C")
    name = sky.holding(target.name, release=release)[0]
    with cutout(archive, sky, name, target) as cut, frame(sky, name) as whole:
        assert [hdu.name for hdu in cut] == [hdu.name for hdu in whole]
        x0, y0 = (int(1 - cut["IMAGE"].header[f"CRPIX{axis}A"]) for axis in (1, 2))
        for plane in ("IMAGE", "FLAGS", "VARIANCE", "ZODI"):
            assert cut[plane].shape == (59, 59)
            np.testing.assert_array_equal(cut[plane].data, whole[plane].data[y0 : y0 + 59, x0 : x0 + 59])
            assert cut[plane].header["CRPIX1"] == whole[plane].header["CRPIX1"] - x0
        x, y = WCS(cut["IMAGE"].header, key=" ").all_world2pix(target.ra, target.dec, 0)
        one = sky.injected(name)[target.name]
        assert (float(x) + x0, float(y) + y0) == pytest.approx((one.x, one.y), abs=1e-4)
        table = cut["WCS-WAVE"].data.tobytes()
        assert table == whole["WCS-WAVE"].data.tobytes()


def test_a_target_at_the_edge_is_clipped(sky, archive):
    target = next(t for t in sky.targets if t.name == "SPX Edge A")
    with cutout(archive, sky, sky.holding(target.name)[0], target) as cut:
        ny, nx = cut["IMAGE"].shape
        assert min(ny, nx) < 59 <= max(ny, nx) <= 60


def test_the_crowded_pair_is_one_of_two_colours(sky):
    pair = [s for s in sky.sources if s.name.startswith("SPX Pair A")]
    assert [s.index > 0 for s in pair] == [True, False]
    name = sky.holding("SPX Pair A")[0]
    places = [(one.x, one.y) for one in sky.injected(name).values() if one.source in pair]
    assert np.hypot(*np.subtract(*places)) == pytest.approx(2.6, rel=0.03)
    lonely = dataclasses.replace(pair[0], name="x")
    assert lonely not in sky.sources
