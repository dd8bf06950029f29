import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raysearch.plot.cutouts import cutouts, cutouts_alt


def record(wavelength=1.25, shape=(4, 5), **more):
    image = np.arange(shape[0] * shape[1], dtype=np.float32)
    return {
        "image": image,
        "shape": list(shape),
        "central_wavelength_um": wavelength,
        "bandwidth_um": 0.03,
        "x": 1.0,
        "y": 2.0,
        **more,
    }


def axes_of(count):
    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    return [figure.add_subplot(2, 5, n + 1) for n in range(count)]


def test_each_cutout_with_its_wavelength_and_its_target():
    axes = axes_of(3)
    assert cutouts([record(1.25), record(2.5, (3, 3))], axes) is axes
    first, second, empty = axes
    assert first.get_images()[0].get_array().shape == (4, 5)
    assert first.get_images()[0].get_array()[1, 0] == 5
    assert first.texts[0].get_text() == "1.250 µm, 0.030 wide"
    assert second.texts[0].get_text() == "2.500 µm, 0.030 wide"
    assert all((line.get_xydata() == [1.0, 2.0]).any(axis=1).all() for line in first.lines)  # right of the target, and above it
    assert not any((line.get_xydata() == [1.0, 2.0]).all(axis=1).any() for line in first.lines)  # which is left to be seen
    assert not empty.get_images()
    first.figure.savefig(io.BytesIO(), format="png")


def test_of_more_records_than_axes_the_first_are_drawn():
    axes = cutouts([record(n) for n in range(1, 13)], axes_of(10))
    assert [ax.texts[0].get_text()[:5] for ax in axes] == [f"{n}.000"[:5] for n in range(1, 11)]


@pytest.mark.parametrize("image", [np.full(20, np.nan), np.zeros(20), np.full(20, np.inf)])
def test_images_without_anything_to_see(image):
    [ax] = cutouts([record(float("nan"), image=image)], axes_of(1))
    assert ax.texts[0].get_text() == "wavelength unknown"
    ax.figure.savefig(io.BytesIO(), format="png")


def test_in_words():
    alt = cutouts_alt([record(1.25), record(2.5, image=np.full(20, np.nan))])
    assert alt == (
        "2 cutouts, surface brightness in MJy/sr. 1.250 µm, 0.030 wide: 9.5 in the middle of its values, 19 at most; "
        "2.500 µm, 0.030 wide: no values."
    )
