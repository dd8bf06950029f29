"""Upper limits against the matched filter done by hand, and against what the search finds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from raysearch.detect import lines, prepare
from raysearch.detect.field import Field
from raysearch.detect.limits import flux_errors, limit
from raysearch.detect.sky import Sky
from raysearch.detect.units import FluxScale
from raysearch.model import Line, Target, Window

PLANES, SIZE, MIDDLE, SIGMA = 93, 25, 46, 0.02
WAVELENGTH = 18.24 + 0.006 * (np.arange(PLANES) - MIDDLE)
GRID = prepare.Grid(1.0, 1.0, 2.5, 18)
SCALE = FluxScale(np.full(PLANES, 3e-20))
SKY = Sky.from_header(
    fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 13.0, "CRPIX2": 13.0,
         "CDELT1": -1e-4, "CDELT2": 1e-4}
    )
)[0]  # fmt: skip
HERE, BESIDE = Target("T", 10.0, 20.0), Target("T", 11.0, 20.0)


def bell(size, middle, sigma=1.0):
    edges = [math.erf((edge - 0.5 - middle) / (sigma * math.sqrt(2))) for edge in range(size + 1)]
    return np.diff(edges) / 2


def line_at(plane=MIDDLE, y=12.0, x=12.0):
    return bell(PLANES, plane)[:, None, None] * np.outer(bell(SIZE, y), bell(SIZE, x))


def window_of(cube):
    planes = {"SCI": cube.astype(np.float32)}
    return Window(Line("[X]", 18.24), 0.0, ("T",), MIDDLE, 0, PLANES, WAVELENGTH, planes, (MIDDLE - 6, MIDDLE + 7))


def noise(seed, smooth=0.6):
    values = gaussian_filter(np.random.default_rng(seed).normal(size=(PLANES, SIZE, SIZE)), (0.4, smooth, smooth), mode="wrap")
    return SIGMA * values / values.std()


def field_of(cube):
    window = window_of(cube)
    used, searched = prepare.cut(window, PLANES, 500.0)
    return prepare.prepare(window, used, searched, GRID), window


def white():
    """A field of noise that is equally large in every voxel, known, and independent."""
    residual = (np.random.default_rng(1).normal(size=(PLANES, SIZE, SIZE)) * SIGMA).astype(np.float32)
    field = Field(
        wavelength_um=WAVELENGTH,
        residual=residual,
        sigma=np.full(residual.shape, SIGMA, np.float32),
        good=np.ones(residual.shape, dtype=bool),
        continuum=np.ones(residual.shape, np.float32),
        searched=slice(MIDDLE - 6, MIDDLE + 7),
        lsf_planes=1.0,
        psf_spaxels=1.0,
        null=np.abs(np.arange(PLANES) - MIDDLE) > 11,
    )
    return field, window_of(residual)


def test_error_of_the_matched_filter_by_hand():
    field, _ = white()
    errors, excess = flux_errors(field, MIDDLE)
    by_hand = SIGMA / math.sqrt(float((line_at() ** 2).sum()))
    assert errors[12, 12] == pytest.approx(by_hand, rel=0.12)
    assert excess == pytest.approx(1.0, abs=0.12)


def test_limit_at_the_target():
    field, window = white()
    found = limit(field, 5.0, window, SKY, SCALE, HERE)
    error = flux_errors(field, MIDDLE)[0][12, 12] * 3e-20
    assert 6.3 * error < found.flux < 8.5 * error
    assert (found.target, found.line, found.rest_um, found.wavelength_um) == ("T", "[X]", 18.24, 18.24)
    assert "at the target" in found.note
    assert limit(field, 10.0, window, SKY, SCALE, HERE).flux > 1.5 * found.flux


@pytest.mark.parametrize(
    ("sky", "target", "says"), [(SKY, None, "no target"), (SKY, BESIDE, "no good spaxel"), (None, HERE, "no positions")]
)
def test_elsewhere_the_field_s_median(sky, target, says):
    field, window = white()
    found = limit(field, 5.0, window, sky, SCALE, target)
    assert says in found.note
    assert found.flux == pytest.approx(limit(field, 5.0, window, SKY, SCALE, HERE).flux, rel=0.2, abs=0)


def test_a_target_on_a_hole_has_the_median():
    field, window = white()
    good = field.good.copy()
    good[:, 11:14, 11:14] = False
    holed = replace(field, good=good, sigma=np.where(good, field.sigma, np.inf), residual=np.where(good, field.residual, 0))
    assert "no good spaxel" in limit(holed, 5.0, window, SKY, SCALE, HERE).note


def test_no_limit_without_data_or_unit():
    field, window = white()
    dark = replace(
        field, good=np.zeros_like(field.good), sigma=np.full_like(field.sigma, np.inf), residual=np.zeros_like(field.residual)
    )
    none = limit(dark, 5.0, window, SKY, SCALE, HERE)
    assert math.isnan(none.flux)
    assert "no good data" in none.note
    full = limit(replace(field, null=np.zeros_like(field.null)), 5.0, window, SKY, SCALE, HERE)
    assert math.isnan(full.flux)
    assert full.note == "no limit: no line-free planes around the line"
    unknown = limit(field, 5.0, window, SKY, FluxScale(np.full(PLANES, np.nan), "no flux: BUNIT is absent"), HERE)
    assert math.isnan(unknown.flux)
    assert unknown.note == "no limit: BUNIT is absent"


@pytest.mark.slow
def test_a_line_as_bright_as_the_limit_is_found_with_95_percent():
    hits = []
    for seed in range(24):
        rng = np.random.default_rng((11, seed))
        place = rng.uniform(-0.5, 0.5, 3)
        cube = 1.0 + noise((12, seed))
        field, window = field_of(cube)
        search = lines.Search(field, GRID, 0.01)
        bright = limit(search.field, search.threshold, window, SKY, FluxScale(np.ones(PLANES)), HERE).flux
        lit, _ = field_of(cube + bright * line_at(MIDDLE + place[0], 12 + place[1], 12 + place[2]))
        hits.append(any(abs(d.y - 12) < 3 and abs(d.x - 12) < 3 for d in lines.Search(lit, GRID, 0.01).found()))
    assert np.mean(hits) >= 0.83  # 95 % of 24, less 2.7 standard deviations
