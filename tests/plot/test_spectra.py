"""The figure of a spectrum."""

import math

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from raysearch.plot.spectra import drawn, spectrum


def _row(wavelength, flux, method="psf", aperture=math.nan, n_bad=0, ra=1.0, good=math.nan):
    return {
        "ra": ra,
        "dec": 2.0,
        "method": method,
        "aperture_px": aperture,
        "central_wavelength_um": wavelength,
        "bandwidth_um": 0.04,
        "flux_ujy": flux,
        "flux_err_ujy": 3.0,
        "good_fraction": good,
        "n_bad": n_bad,
    }


def _axes():
    return Figure().add_axes((0.1, 0.1, 0.8, 0.8))


def _points(ax):
    return sorted(tuple(map(float, point)) for line in ax.lines for point in line.get_xydata() if line.get_marker() == "o")


def test_every_flux_is_a_point_with_its_error_and_bandwidth():
    ax = spectrum(pa.Table.from_pylist([_row(1.0, 10.0), _row(2.0, -5.0), _row(3.0, math.nan)]), _axes())
    assert _points(ax) == [(1.0, 10.0), (2.0, -5.0)]
    across, upright = (np.ptp(np.array(c.get_segments()), axis=1) for c in ax.collections)
    np.testing.assert_allclose(across[:, 0], 0.04)
    np.testing.assert_allclose(upright[:, 1], 6.0)
    assert ax.get_xlabel() == "wavelength (µm)"
    assert ax.get_ylabel() == "flux density (µJy)"


@pytest.mark.parametrize("spoiled", [{"n_bad": 2}, {"n_bad": 1, "good": 0.9}])
def test_those_on_bad_pixels_are_open_and_the_legend_says_so(spoiled):
    ax = spectrum(
        pa.Table.from_pylist([_row(1.0, 10.0), _row(2.0, 11.0, **spoiled), _row(3.0, 12.0, n_bad=1, good=0.999)]), _axes()
    )
    counts = {line.get_markerfacecolor(): len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"}
    assert sorted(counts.values()) == [1, 2]
    assert counts["none"] == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["on good pixels", "partly on bad pixels"]


def test_the_psf_is_preferred_and_without_it_the_smallest_aperture():
    sums = [_row(1.0, 20.0, "aperture", radius) for radius in (3.0, 5.0)]
    assert drawn(pa.Table.from_pylist([*sums, _row(1.0, 10.0)]))["flux_ujy"].to_pylist() == [10.0]
    assert drawn(pa.Table.from_pylist(sums))["aperture_px"].to_pylist() == [3.0]
    assert drawn(pa.Table.from_pylist([*sums, _row(1.0, math.nan)]))["aperture_px"].to_pylist() == [3.0]


def test_nothing_to_draw_is_an_empty_figure():
    assert _points(spectrum(pa.Table.from_pylist([_row(1.0, math.nan)]), _axes())) == []


def test_two_sources_are_refused():
    with pytest.raises(ValueError, match="a spectrum is of one source"):
        spectrum(pa.Table.from_pylist([_row(1.0, 10.0), _row(1.0, 10.0, ra=5.0)]), _axes())
