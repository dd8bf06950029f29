"""At which wavelength a band sees a pixel."""

from dataclasses import replace

import numpy as np
import pytest

from raysearch.detect.wavelengths import wavelength_at
from raysearch.testing.spherex import wave_hdu
from raysearch.testing.spherex_optics import wave_table
from raysearch.testing.spherex_pairs import make_pair


def image_with_table(offset_um=0.0):
    pixels, _ = make_pair(1, 60)
    image = pixels.images[1]
    ny, nx = image.shape
    table = wave_table(4, nx, ny)
    box = replace(image.cutouts[0], wavelength_um=image.cutouts[0].wavelength_um + offset_um)
    return replace(image, tables={"WCS-WAVE": wave_hdu(table)}, cutouts=(box,)), table


@pytest.mark.parametrize("offset_um", [0.0, 0.004])
def test_the_table_tells_every_place_and_the_target_keeps_its_own(offset_um):
    image, table = image_with_table(offset_um)
    box = image.cutouts[0]
    x, y = np.array([0.0, 31.7, box.x - box.x0]), np.array([0.0, 12.2, box.y - box.y0])
    told = wavelength_at(image, box, x, y)
    assert told == pytest.approx(table.at(x + box.x0, y + box.y0)[0] + offset_um, abs=1e-6)
    assert told[2] == pytest.approx(box.wavelength_um, abs=1e-6)


def test_without_a_table_all_have_the_targets():
    pixels, _ = make_pair(1, 40)
    image = pixels.images[0]
    box = image.cutouts[0]
    assert wavelength_at(image, box, np.zeros(2), np.zeros(2)).tolist() == [box.wavelength_um] * 2


def test_around_a_target_beside_the_image_the_table_tells_alone():
    """All sources of its box had NaN."""
    image, table = image_with_table(np.nan)
    box = image.cutouts[0]
    told = wavelength_at(image, box, np.array([3.0]), np.array([7.0]))
    assert told == pytest.approx(table.at(np.array([3.0 + box.x0]), np.array([7.0 + box.y0]))[0], abs=1e-6)
