"""The holdings of every archive: made anew they are the same, and their files hold what `truth` says."""

import gzip
import io
import json

import numpy as np
import pytest
import requests
from astropy.io import fits

from raysearch.testing import Faults, Holdings, LocalArchive, archives_holdings
from raysearch.testing.surveys import CII_UM


def opened(content):
    return fits.open(io.BytesIO(content))


def test_same_seed_same_sky(surveys):
    assert archives_holdings() == surveys
    assert archives_holdings(seed=1).targets != surveys.targets


def test_every_body_is_small_and_used(surveys):
    assert surveys.bodies.keys() == {p.body for p in surveys.products}
    assert all(
        isinstance(body, bytes) is not p.uri.startswith("mast:") for p in surveys.products for body in [surveys.bodies[p.body]]
    )
    assert sum(len(body) for body in surveys.bodies.values() if isinstance(body, bytes)) < 3_000_000


def test_truth_of_frames(surveys):
    frames = [row for row in surveys.irsa if row["obs_collection"] == "spherex_qr2"]
    keys = [p.body for p in surveys.products if p.bucket == "nasa-irsa-spherex" and p.key.startswith("qr2/")]
    for row, key in zip(frames, keys, strict=True):
        with opened(surveys.bodies[key]) as file:
            assert (file["IMAGE"].data.max() > 4) == bool(surveys.truth[row["obs_publisher_did"]])
            assert file["IMAGE"].header["OBSID"] == row["obs_id"]


def test_truth_of_cubes(surveys):
    for row in (row for row in surveys.irsa if row["facility_name"] == "SOFIA"):
        with opened(surveys.bodies[row["access_url"].rsplit("/", 1)[-1]]) as file:
            flux, wave = file["FLUX"].data, file["WAVELENGTH"].data
            header = file["FLUX"].header
            assert header["CUNIT3"] == "um"
            np.testing.assert_allclose(wave, header["CRVAL3"] + header["CDELT3"] * np.arange(len(wave)))
            spectrum = np.nanmax(flux[1:], axis=(1, 2))
            assert (spectrum.max() > 2) == bool(surveys.truth[row["obs_publisher_did"]])
            if spectrum.max() > 2:
                assert wave[1:][spectrum.argmax()] == pytest.approx(CII_UM, abs=0.05)


def test_truth_of_x_rays(surveys):
    for product in (p for p in surveys.products if p.bucket == "nasa-heasarc"):
        with opened(gzip.decompress(surveys.bodies[product.body])) as file:
            obsid = product.key.split("/")[4]
            assert (file[0].data.max() > 10) == bool(surveys.truth[obsid])


def test_links_are_json_with_a_slash_too_many(surveys):
    link = surveys.tables["chanmaster"][0]["links"][1]
    assert json.loads(link["cloud_access"])["aws"]["key"].startswith("/FTP/chandra/")


@pytest.mark.parametrize(
    ("faults", "address"),
    [
        (Faults(simbad="hang"), "simbad/sim-tap/sync"),
        (Faults(irsa="hang"), "SIA2/query"),
        (Faults(irsa="hang"), "TAP/sync"),
        (Faults(heasarc="hang"), "xamin/vo/sia"),
        (Faults(heasarc="hang"), "xamin/vo/tap/sync"),
        (Faults(datalink="hang"), "xamin/vo/datalink/chanmaster"),
        (Faults(registry="hang"), "regtap/sync"),
        (Faults(lookup="hang"), "api/v0.1/path_lookup/?uri=x"),
    ],
)
def test_every_service_can_hang_while_the_others_answer(survey_archive, faults, address):
    survey_archive.set_faults(faults)
    with pytest.raises(requests.exceptions.Timeout):
        requests.get(f"{survey_archive.url}/{address}", timeout=0.2)
    assert requests.get(survey_archive.url + "/SIA/capabilities", timeout=10).status_code == 200


def test_holdings_of_nothing_answer_with_nothing():
    with LocalArchive(Holdings()) as archive:
        for address in (
            "SIA2/query",
            "TAP/sync?QUERY=SELECT+*+FROM+spherex.plane",
            "simbad/sim-tap/sync?QUERY=SELECT+*+FROM+basic",
        ):
            answer = requests.get(f"{archive.url}/{address}", timeout=10)
            assert (answer.status_code, answer.text.count("<TR>")) == (200, 0)
