"""Pictures of what the tables hold: stamps are the pixels, spectra are of the candidates that stand for the sources."""

import base64
import gzip
import io
import re

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from matplotlib.image import imread

from raysearch.report import stamps


def cutout(image):
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image.astype(">f4"), name="IMAGE")]).writeto(buffer)
    return gzip.compress(buffer.getvalue())


def candidates(images):
    number = len(images)
    return pa.table(
        {
            "obs_id": ["o1"] * number,
            "target": [f"t{i}" for i in range(number)],
            "mjd": [60000.0] * number,
            "x": [3.0] * number,
            "y": [1.0] * number,
            "central_wavelength_um": [1.25] * number,
            "cutout": pa.array([cutout(image) for image in images], pa.binary()),
        }
    )


def test_a_stamp_shows_the_pixels_with_the_first_row_at_the_bottom():
    image = np.arange(40.0).reshape(5, 8)
    image[4, 0] = np.nan
    row, other = stamps.stamps(candidates([image, -image])).to_pylist()
    assert (row["candidate"], other["candidate"], row["name"]) == (0, 1, "cutout")
    assert row["alt"].startswith("8 by 5 pixels at 1.250 µm: median ")
    svg = gzip.decompress(row["svg"]).decode()
    picture = imread(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]*)", svg)[1])))
    assert picture.shape == (5, 8, 4)
    assert picture[0, 0, 3] == 0  # no data, no colour
    assert picture[1:, :, 3].min() == 1
    brightness = picture[..., :3].sum(axis=2)
    assert brightness[-1, 0] < brightness[2, 3] < brightness[0, -1]
    assert "M3.90 3.50H4.54" in svg  # right of the target's pixel (3, 1) of five rows


def test_candidates_without_cutouts_have_no_stamps():
    assert stamps.stamps(candidates([np.ones((2, 2))]).drop_columns(["cutout"])).num_rows == 0


def test_maps_of_observations_that_were_not_drawn_have_stamps():
    def line_map(image):
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(image.astype(">f4"), name=name) for name in ("FLUX", "SNR"))]).writeto(
            buffer
        )
        return gzip.compress(buffer.getvalue())

    found = pa.table(
        {
            "obs_id": ["o1", "o2", "o2"],
            "map": pa.array([line_map(np.ones((2, 2))), line_map(np.arange(6.0).reshape(2, 3)), b"torn"], pa.binary()),
        }
    )
    first, torn = stamps.line_maps(found, {"o2"}).to_pylist()
    assert (first["obs_id"], first["candidate"], first["name"]) == ("o2", 0, "stamp")
    assert first["alt"] == "Map of the line's flux, 3 by 2 pixels, the best pixel at S/N 5; as on the detector"
    assert "stroke" not in gzip.decompress(first["svg"]).decode()
    assert (torn["candidate"], torn["svg"], torn["alt"]) == (1, b"", "the map cannot be read: no FITS file")
    assert stamps.line_maps(found, set()).num_rows == stamps.line_maps(found.drop_columns(["map"]), {"o2"}).num_rows == 0


def test_a_spectrum_belongs_to_the_candidate_that_stands_for_its_source():
    found = pa.table(
        {
            "obs_id": ["p", "p", "p"],
            "target": ["t", "t", "t"],
            "catalogue": ["a", "difference", "difference"],
            "kind": ["", "red", "red"],
            "ra": [10.0, 10.0, 11.0],
            "dec": [1.0, 1.0, 1.0],
            "snr": [9.0, 9.0, 5.0],
        }
    )
    sources = found.slice(1, 1).append_column("source", pa.array(["SPX J0040"])).drop_columns(["catalogue"])
    measured = pa.table(
        {
            "source": ["SPX J0040"] * 3 + ["another"],
            "ra": [10.0] * 4,
            "dec": [1.0] * 4,
            "method": ["psf"] * 4,
            "aperture_px": [float("nan")] * 4,
            "central_wavelength_um": [1.0, 2.0, 3.0, 4.0],
            "bandwidth_um": [0.1] * 4,
            "flux_ujy": [10.0, 20.0, 30.0, 99.0],
            "flux_err_ujy": [1.0] * 4,
            "good_fraction": [1.0, 0.5, 1.0, 1.0],
            "n_bad": [0, 3, 0, 0],
        }
    )
    assert stamps.standing(sources, found) == {"SPX J0040": 1}
    [figure] = stamps.spectra(sources, measured, found).to_pylist()
    assert (figure["obs_id"], figure["candidate"], figure["name"]) == ("p", 1, "spectra")
    assert "3 flux densities from 1.00 to 3.00 µm, median 20 µJy, from 10 to 30; 1 partly on bad pixels" in figure["alt"]
    assert gzip.decompress(figure["svg"]).startswith(b"<svg")


@pytest.mark.parametrize("image", [np.full((3, 3), np.nan), np.zeros((2, 3))])
def test_images_without_contrast_are_drawn_too(image):
    [row] = stamps.stamps(candidates([image])).to_pylist()
    assert gzip.decompress(row["svg"]).startswith(b"<svg")
    assert ("no pixel has a value" in row["alt"]) == bool(np.isnan(image).all())
