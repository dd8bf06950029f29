"""IRSA's cutouts, opened by astropy as tutorials do, and by plain requests where the wire matters."""

import gzip
import io
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError

import numpy as np
import pytest
import requests
from astropy.io import fits
from astropy.utils.data import conf
from astropy.wcs import WCS

from raysearch.testing import Faults


@pytest.fixture
def frame(surveys):
    return surveys.irsa[0]


@pytest.fixture
def address(frame, survey_archive):
    return frame["access_url"].replace("{origin}", survey_archive.url)


@pytest.fixture
def whole(address):
    with fits.open(io.BytesIO(requests.get(address, timeout=10).content)) as file:
        yield file


def opened(answer):
    return fits.open(io.BytesIO(answer.content))


def test_frame_has_the_extensions_of_real_ones(whole):
    assert [hdu.name for hdu in whole] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF", "WCS-WAVE"]
    assert whole["IMAGE"].header["BUNIT"] == "MJy / sr"
    assert whole["FLAGS"].data.dtype.kind == "i"
    assert whole["FLAGS"].header["MP_SOURCE"] == 21
    assert 0.4 < np.mean(whole["FLAGS"].data >> 21) < 0.7
    assert whole["PSF"].shape[0] == 121
    assert whole["PSF"].header["XCTR_2"] > whole["PSF"].header["XCTR_1"]
    assert whole["WCS-WAVE"].columns.names == ["X", "Y", "VALUES"]
    assert whole["WCS-WAVE"].data["VALUES"][0].shape[2] == 2


@pytest.mark.real
def test_frame_has_the_cards_of_a_real_one(whole, real_data):
    text = (real_data / "spherex" / "qr2_cutout_IMAGE_header.txt").read_text()
    real = {line.split("=")[0].removeprefix("HIERARCH").strip() for line in text.splitlines() if "=" in line} | {"HISTORY"}
    ours = set(whole["IMAGE"].header) - {"BITPIX", "XTENSION", "EXTNAME", ""}
    assert {name for name in ours if name[:4] not in ("A_0_", "A_1_", "A_2_", "B_0_", "B_1_", "B_2_")} <= real


def test_source_lies_where_the_wcs_says(whole, surveys):
    star = surveys.targets[0]
    x, y = WCS(whole["IMAGE"].header, key=" ").all_world2pix(star["ra"], star["dec"], 0)
    peak = np.unravel_index(np.argmax(whole["IMAGE"].data), whole["IMAGE"].shape)
    assert np.hypot(x - peak[1], y - peak[0]) < 1
    assert whole["IMAGE"].data.max() > 4


def test_gzipped_unless_told_otherwise(address, surveys):
    star = surveys.targets[0]
    ask = {"center": f"{star['ra']},{star['dec']}", "size": "0.02"}
    answer = requests.get(address, params=ask, timeout=10)
    plain = requests.get(address, params={**ask, "gzip": "false"}, timeout=10)
    assert answer.content[:2] == b"\x1f\x8b"
    assert "Content-Encoding" not in answer.headers
    assert gzip.decompress(answer.content) == plain.content
    assert plain.content.startswith(b"SIMPLE")


def test_cutout_has_the_pixels_and_the_positions_of_the_whole(address, whole, surveys):
    star = surveys.targets[0]
    with opened(
        requests.get(address, params={"center": f"{star['ra']},{star['dec']}d", "size": "0.02", "gzip": "false"}, timeout=10)
    ) as cut:
        assert [hdu.name for hdu in cut] == [hdu.name for hdu in whole]
        header, before = cut["IMAGE"].header, whole["IMAGE"].header
        x0, y0 = (round(before[f"CRPIX{i}"] - header[f"CRPIX{i}"]) for i in (1, 2))
        assert cut["IMAGE"].shape == (12, 12)  # 0.02 degrees of 6.15 arcsec
        assert (header["CRPIX1A"], header["CRPIX2W"]) == (1 - x0, 1 - y0)
        for name in ("IMAGE", "FLAGS", "VARIANCE", "ZODI"):
            np.testing.assert_array_equal(cut[name].data, whole[name].data[y0 : y0 + 12, x0 : x0 + 12])
        np.testing.assert_array_equal(cut["PSF"].data, whole["PSF"].data)
        assert cut["WCS-WAVE"].data.tobytes() == whole["WCS-WAVE"].data.tobytes()
        x, y = WCS(header, key=" ").all_world2pix(star["ra"], star["dec"], 0)
        assert np.hypot(x - 5.5, y - 5.5) < 1


def test_clipped_at_the_edge_and_400_beyond(address, whole):
    with opened(requests.get(address, params={"center": "2,60px", "size": "11,9px", "gzip": "false"}, timeout=10)) as cut:
        assert cut["IMAGE"].shape == (9, 7)
        np.testing.assert_array_equal(cut["IMAGE"].data, whole["IMAGE"].data[55:64, 0:7])
    for wrong in ("10,10", "10,95", "0,-89", "246.87,-25.28", "-100,5px", "nonsense", "10"):
        assert requests.get(address, params={"center": wrong, "size": "0.02"}, timeout=10).status_code == 400, wrong
    assert requests.get(address, params={"center": "30,30px", "size": "-3px"}, timeout=10).status_code == 400


def test_astropy_opens_a_cutout_by_its_address(address, surveys):
    star = surveys.targets[0]
    with (
        conf.set_temp("remote_timeout", 10),
        fits.open(f"{address}?center={star['ra']},{star['dec']}d&size=0.02", cache=False) as cut,
    ):
        assert cut["IMAGE"].shape == (12, 12)
    with conf.set_temp("remote_timeout", 10), pytest.raises(HTTPError, match="400") as refused:
        fits.open(f"{address}?center=10,10d&size=0.02", cache=False)
    refused.value.close()


def test_five_at_once_are_one_too_many(address, survey_archive):
    survey_archive.set_faults(Faults(bandwidth=20_000))
    with ThreadPoolExecutor(5) as pool:
        ask = {"center": "32,32px", "size": "8px"}
        status = list(pool.map(lambda _: requests.get(address, params=ask, timeout=30).status_code, range(5)))
    assert sorted(status) == [200, 200, 200, 200, 503]
    survey_archive.reset()
    assert requests.get(address, params=ask, timeout=10).status_code == 200


@pytest.mark.parametrize("fault", ["400", "500", "503"])
def test_refusals(address, survey_archive, fault):
    survey_archive.set_faults(Faults(cutout=fault, strikes=1))
    ask = {"center": "32,32px", "size": "8px"}
    assert [requests.get(address, params=ask, timeout=10).status_code for _ in range(2)] == [int(fault), 200]
    assert requests.get(address, timeout=10).status_code == 200


def test_hang_and_half(address, survey_archive):
    ask = {"center": "32,32px", "size": "8px"}
    survey_archive.set_faults(Faults(cutout="hang"))
    with pytest.raises(requests.exceptions.Timeout):
        requests.get(address, params=ask, timeout=0.3)
    survey_archive.set_faults(Faults(cutout="half"))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        requests.get(address, params=ask, timeout=10)
