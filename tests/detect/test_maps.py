"""The map of a candidate, opened by astropy."""

import gzip
import io
import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from raysearch.detect.field import Detection, Field
from raysearch.detect.light import Light
from raysearch.detect.maps import line_map
from raysearch.detect.sky import Sky
from raysearch.detect.units import FluxScale
from raysearch.model import Line, Window

PLANES, HEIGHT, WIDTH, MIDDLE = 61, 30, 40, 30
WAVELENGTH = 18.24 + 0.006 * (np.arange(PLANES) - MIDDLE)
KMS = 0.006 / 18.24 * 299792.458
HEADER = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": -14.2, "CRVAL2": 8.9, "CRPIX1": 20.0, "CRPIX2": 15.0,
    "CDELT1": 1e-4, "CDELT2": 1e-4, "PC1_1": -0.6, "PC1_2": 0.8, "PC2_1": 0.8, "PC2_2": 0.6,
}  # fmt: skip


def bell(size, middle, sigma):
    edges = [math.erf((edge - 0.5 - middle) / (sigma * math.sqrt(2))) for edge in range(size + 1)]
    return np.diff(edges) / 2


def turning_source():
    """A source whose velocity grows along x, two planes from side to side; a column of it without data."""
    light = np.outer(bell(HEIGHT, 12, 2), bell(WIDTH, 25, 4))
    centres = MIDDLE + (np.arange(WIDTH) - 25) / 4
    spectra = np.stack([bell(PLANES, c, 1.2) for c in centres], axis=1)
    residual = 1000 * spectra[:, None, :] * light
    good = np.ones(residual.shape, dtype=bool)
    good[:, :, 28] = False
    field = Field(
        WAVELENGTH, np.where(good, residual, 0).astype(np.float32), np.where(good, 0.02, np.inf).astype(np.float32), good,
        np.ones(residual.shape, np.float32), slice(24, 37), 1.2, 1.0, np.abs(np.arange(PLANES) - MIDDLE) > 10,
    )  # fmt: skip
    region = (light > 0.1 * light.max()) & good[0]
    return field, Detection(MIDDLE, 12, 25, 2.5, 80.0, 1e-9, region), light


def opened(sky=True, factor=2e-20, problem="", target="HD 1 'a' é"):
    field, found, light = turning_source()
    sci = np.zeros((PLANES, 1, 1), np.float32)
    window = Window(Line("[Fe II] 17.936", 18.24), 0.0, (target,), MIDDLE, 0, PLANES, WAVELENGTH, {"SCI": sci})
    where = Sky.from_header(fits.Header(HEADER))[0] if sky else None
    content = line_map(field, Light.of(field, found), window, where, FluxScale(np.full(PLANES, factor), problem))
    assert content == line_map(field, Light.of(field, found), window, where, FluxScale(np.full(PLANES, factor), problem))
    hdus = fits.open(io.BytesIO(gzip.decompress(content)))
    hdus.verify("exception")
    return hdus, light, len(content)


def test_images_and_cards():
    hdus, _, size = opened()
    assert [hdu.name for hdu in hdus] == ["PRIMARY", "FLUX", "SNR", "VELOCITY"]
    assert size < 20_000
    primary = hdus[0].header
    assert (primary["LINE"], primary["RESTWAV"], primary["REDSHIFT"]) == ("[Fe II] 17.936", 18.24, 0.0)
    assert primary["OBJECT"] == "HD 1 'a' ?"
    assert (hdus["FLUX"].header["BUNIT"], hdus["VELOCITY"].header["BUNIT"]) == ("W m-2", "km/s")


def test_the_file_itself_is_standard(tmp_path):
    field, found, _ = turning_source()
    window = Window(Line("x", 18.24), 0.0, (), MIDDLE, 0, PLANES, WAVELENGTH, {"SCI": np.zeros((PLANES, 1, 1), np.float32)})
    path = tmp_path / "map.fits.gz"
    path.write_bytes(line_map(field, Light.of(field, found), window, None, FluxScale(np.ones(PLANES))))
    assert fits.getdata(path, "FLUX").shape == fits.getdata(path, "SNR").shape
    assert len(gzip.decompress(path.read_bytes())) % 2880 == 0


def test_positions_are_those_of_the_cube():
    hdus, _, _ = opened()
    y, x = np.unravel_index(np.nanargmax(hdus["FLUX"].data), hdus["FLUX"].data.shape)
    place = WCS(hdus["FLUX"].header).pixel_to_world(x, y)
    truth = WCS(fits.Header(HEADER)).pixel_to_world(25, 12)
    assert place.separation(truth).arcsec < 1e-3


def test_fluxes_velocities_and_gaps():
    hdus, light, _ = opened()
    flux, velocity = hdus["FLUX"].data, hdus["VELOCITY"].data
    y, x = np.unravel_index(np.nanargmax(flux), flux.shape)
    assert flux[y, x] == pytest.approx(1000 * light.max() * 2e-20, rel=0.1, abs=0)
    for step in (-4, 4):
        assert velocity[y, x + step] == pytest.approx(step / 4 * KMS, abs=0.25 * KMS)
    assert np.isnan(flux[:, x + 3]).all()
    assert np.isnan(velocity[hdus["SNR"].data < 3]).all()


def test_without_unit_or_places():
    hdus, light, _ = opened(sky=False, factor=np.nan, problem="no flux: ...")
    assert "BUNIT" not in hdus["FLUX"].header
    assert "CRVAL1" not in hdus["FLUX"].header
    assert np.nanmax(hdus["FLUX"].data) == pytest.approx(1000 * light.max(), rel=0.1)
