"""Measurements of lines whose flux, place, velocity and form are known, in fields made here."""

import math

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter, label

from raysearch.detect import measure
from raysearch.detect.field import Detection, Field
from raysearch.detect.light import Light
from raysearch.detect.sky import Sky, separation
from raysearch.detect.units import FluxScale
from raysearch.model import Line, Target, Window

PLANES, SIZE, MIDDLE = 81, 31, 40
LSF, PSF = 1.0, 1.0
LINE = Line("[X] 18.24", 18.24)
WAVELENGTH = 18.24 + 0.006 * (np.arange(PLANES) - MIDDLE)
KMS = 0.006 / 18.24 * 299792.458
"""Width of a plane, km/s."""


def bell(size, middle, sigma):
    edges = [math.erf((edge - 0.5 - middle) / (sigma * math.sqrt(2))) for edge in range(size + 1)]
    return np.diff(edges) / 2


def point(x=15.0, y=15.0, sigma=PSF):
    return np.outer(bell(SIZE, y, sigma), bell(SIZE, x, sigma))


def disc(x, y, radius, stretch=1.0, angle=0.0):
    """Of uniform brightness, stretched along `angle` (degrees from the x axis to the y axis), seen through the PSF."""
    rows, columns = (np.mgrid[: 4 * SIZE, : 4 * SIZE] + 0.5) / 4 - 0.5
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = (columns - x) * cos + (rows - y) * sin, (rows - y) * cos - (columns - x) * sin
    image = gaussian_filter(((along / stretch) ** 2 + across**2 < radius**2).astype(float), 4 * PSF)
    image = image.reshape(SIZE, 4, SIZE, 4).sum(axis=(1, 3))
    return image / image.sum()


def field_of(light, flux, *, centre=MIDDLE, width=LSF, seed=None, sigma=0.02, bad=None, smooth=(0.0, 0.5, 0.5)):
    """A field with a line; the noise, if any, is correlated between spaxels."""
    values = flux * bell(PLANES, centre, width)[:, None, None] * light
    if seed is not None:
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=values.shape), smooth, mode="wrap")
        values = values + sigma * noise / noise.std()
    good = np.ones(values.shape, dtype=bool)
    if bad is not None:
        good[bad] = False
    null = np.abs(np.arange(PLANES) - MIDDLE) > 12
    return Field(
        wavelength_um=WAVELENGTH,
        residual=np.where(good, values, 0).astype(np.float32),
        sigma=np.where(good, sigma, np.inf).astype(np.float32),
        good=good,
        continuum=np.where(good, 3.0, 0).astype(np.float32),
        searched=slice(MIDDLE - 6, MIDDLE + 7),
        lsf_planes=LSF,
        psf_spaxels=PSF,
        null=null,
    )


def found_in(field, scale=PSF, plane=MIDDLE):
    """The region above three standard deviations of a matched filter, as a search would return it."""
    filtered = gaussian_filter(field.residual, (LSF, scale, scale), mode="constant")
    quiet = filtered[field.null]
    filtered /= quiet.std() if quiet.any() else filtered.max() / 50
    inside = field.good[field.searched].any(axis=0) & (filtered[plane] > 3)
    y, x = np.unravel_index(int(np.argmax(np.where(inside, filtered[plane], 0))), inside.shape)
    labels, _ = label(inside)
    return Detection(plane, int(y), int(x), scale, float(filtered[plane, y, x]), 1e-5, labels == labels[y, x])


def sky_of(pixel=1e-4, angle=0.0, crval=(10.0, 20.0)):
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": crval[0], "CRVAL2": crval[1], "CRPIX1": 16.0, "CRPIX2": 16.0,
        "CDELT1": -pixel, "CDELT2": pixel, "PC1_1": cos, "PC1_2": -sin, "PC2_1": sin, "PC2_2": cos,
    }  # fmt: skip
    return Sky.from_header(fits.Header(cards))[0]


def window_of(redshift=0.0, line=LINE):
    sci = np.zeros((PLANES, 1, 1), dtype=np.float32)
    return Window(line, redshift, ("T",), MIDDLE, 0, PLANES, WAVELENGTH, {"SCI": sci}, (MIDDLE - 6, MIDDLE + 7))


SCALE = FluxScale(np.full(PLANES, 2e-20))
TARGET = Target("T", 10.0, 20.0)


def measured(field, found=None, *, sky=None, window=None, flux=SCALE, target=TARGET, others=()):
    found = found or found_in(field)
    return measure.measure(field, found, Light.of(field, found), window or window_of(), sky or sky_of(), flux, target, others)


def test_every_column_is_there_with_its_type():
    values = measured(field_of(point(), 5.0, seed=1))
    kinds = {"f8": float, "i8": int, "bool": bool, "str": str}
    assert list(values) == list(measure.COLUMNS)
    assert all(isinstance(values[name], kinds[kind]) for name, kind in measure.COLUMNS.items())


@pytest.mark.parametrize(
    "light",
    [point(15.3, 14.8), disc(15, 15, 4.0), disc(15, 15, 1.0, 8.0, 30.0), np.full((SIZE, SIZE), SIZE**-2.0)],
    ids=["point", "disc", "jet", "whole field"],
)
@pytest.mark.parametrize("width", [1.0, 1.6, 3.0])
def test_flux_of_all_forms_and_widths(light, width):
    values = measured(field_of(light, 100.0, width=width, sigma=1e-3))
    assert values["flux_w_m2"] == pytest.approx(100.0 * 2e-20, rel=0.02, abs=0)


def test_flux_by_hand_through_units():
    # 100 MJy/sr in one spaxel's plane-sum; 0.36 arcsec spaxels; planes of 0.006 um at 18.24 um
    from raysearch.detect.units import flux_per_plane

    sky = sky_of()
    scale = flux_per_plane(fits.Header({"BUNIT": "MJy/sr"}), WAVELENGTH, sky.spaxel_sr)
    values = measured(field_of(point(), 100.0, sigma=1e-3), flux=scale, sky=sky)
    hertz = 2.99792458e8 * 0.006e-6 / (18.24e-6) ** 2
    assert values["flux_w_m2"] == pytest.approx(100e-20 * (0.36 / 206264.806) ** 2 * hertz, rel=0.01, abs=0)
    assert values["continuum_mjy_sr"] == pytest.approx(3.0, rel=1e-6)


def test_light_beyond_the_edge_and_in_holes_is_made_good():
    clear = measured(field_of(point(0.0, 15.0), 100.0, sigma=1e-3))
    assert clear["flux_w_m2"] == pytest.approx(100.0 * 2e-20, rel=0.06, abs=0)
    assert "edge" in clear["notes"]
    holes = (slice(39, 41), 14, 15)  # a cosmic ray beside the middle, in two planes
    assert measured(field_of(point(), 100.0, sigma=1e-3, bad=holes))["flux_w_m2"] == pytest.approx(2e-18, rel=0.04, abs=0)


def test_a_broad_line_s_wings_are_given_back():
    """The continuum that a search takes off a broad line's wings returns with the line's own."""
    field = field_of(disc(15, 15, 3.0), 100.0, width=3.0, sigma=1e-3)
    lost = 0.3 * gaussian_filter(field.residual, (6, 0, 0), mode="nearest")
    shifted = Field(**{**_parts(field), "residual": field.residual - lost, "continuum": field.continuum + lost})
    assert measured(shifted, found_in(field))["flux_w_m2"] == pytest.approx(2e-18, rel=0.03, abs=0)


def _parts(field):
    return {name: getattr(field, name) for name in Field.__dataclass_fields__}


def test_velocity_and_width():
    values = measured(field_of(point(), 100.0, centre=MIDDLE + 1.3, width=1.7, sigma=1e-3), found=None)
    assert values["velocity_kms"] == pytest.approx(1.3 * KMS, abs=0.02 * KMS)
    assert values["fwhm_kms"] == pytest.approx(2.3548 * 1.7 * KMS, rel=0.02)


def test_velocity_counts_from_the_window_s_redshift():
    window = window_of(redshift=0.001, line=Line("[X]", 18.24 / 1.001))
    values = measured(field_of(point(), 100.0, centre=MIDDLE - 2, sigma=1e-3), found_in(field_of(point(), 100.0), plane=MIDDLE - 2),
                      window=window)  # fmt: skip
    assert values["velocity_kms"] == pytest.approx(-2 * KMS, abs=0.02 * KMS)
    assert measure.wavelength_um(window, values["velocity_kms"]) == pytest.approx(18.24 - 0.012, abs=1e-4)


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0, 160.0])
def test_position_offset_and_direction(angle):
    sky = sky_of(angle=angle, crval=(0.0001, -30.0))  # the target on the far side of right ascension 0
    values = measured(field_of(point(18.2, 12.6), 100.0, sigma=1e-3), sky=sky, target=Target("T", 359.9999, -30.0))
    ra, dec = sky.to_sky(18.2, 12.6)
    assert separation(ra, dec, values["ra"], values["dec"])[0] < 0.02
    east = ((ra - 359.9999 + 180) % 360 - 180) * math.cos(math.radians(30)) * 3600
    north = (dec + 30.0) * 3600
    assert values["offset_arcsec"] == pytest.approx(math.hypot(east, north), rel=0.02)
    assert (values["direction"] - math.degrees(math.atan2(east, north)) + 180) % 360 - 180 == pytest.approx(0, abs=1.5)
    assert values["peak_ra"], values["peak_dec"] == pytest.approx(sky.to_sky(18, 13))


@pytest.mark.parametrize(("grid", "jet"), [(0.0, 90.0), (0.0, 20.0), (50.0, 110.0), (-75.0, 60.0)])
def test_extent_and_position_angle_of_a_jet(grid, jet):
    """On a grid whose y axis points `grid` degrees east of north, x to the west of it: north + east = minus the angle from x."""
    light = disc(15, 15, 1.0, 9.0, jet)
    values = measured(field_of(light, 100.0, sigma=1e-3), sky=sky_of(angle=grid))
    assert (values["position_angle"] - (jet - 90.0 + grid) + 90) % 180 - 90 == pytest.approx(0.0, abs=2.0)
    # of an ellipse of uniform light, the variance along an axis a is a^2 / 4; the PSF adds its own
    along, across = math.sqrt(81 / 4 + PSF**2), math.sqrt(1 / 4 + PSF**2)
    assert values["extent_along_arcsec"] == pytest.approx(2.3548 * along * 0.36, rel=0.06)
    assert values["extent_across_arcsec"] == pytest.approx(2.3548 * across * 0.36, rel=0.1)
    assert values["extended"] is True


def test_a_point_is_not_extended():
    values = measured(field_of(point(15.4, 15.2), 5.0, seed=3))
    assert values["extended"] is False
    assert values["extent_along_arcsec"] == pytest.approx(2.3548 * 0.36, rel=0.25)


def test_area_and_spaxels():
    field = field_of(point(), 5.0, seed=4)
    found = found_in(field)
    values = measured(field, found)
    assert values["spaxels"] == found.spaxels.sum()
    assert values["area_arcsec2"] == pytest.approx(found.spaxels.sum() * 0.36**2)


def test_what_cannot_be_told_is_nan_and_noted():
    field = field_of(point(), 5.0, seed=5)
    unknown = FluxScale(np.full(PLANES, np.nan), "no flux: BUNIT 'counts' is no intensity")
    found = found_in(field)
    values = measure.measure(
        field, found, Light.of(field, found), window_of(), None, unknown, nowhere="no positions: CTYPE1 is gone"
    )
    for name in ("flux_w_m2", "flux_err_w_m2", "continuum_mjy_sr", "ra", "dec", "offset_arcsec", "position_angle", "area_arcsec2"):
        assert math.isnan(values[name])
    assert "BUNIT 'counts'" in values["notes"]
    assert "no positions: CTYPE1 is gone" in values["notes"]
    assert math.isfinite(values["velocity_kms"])
    assert math.isnan(measured(field, target=None)["offset_arcsec"])


def test_notes_of_planes_and_ends():
    dark = (slice(MIDDLE + 4, MIDDLE + 6), slice(None), slice(None))
    assert "near all-NaN planes" in measured(field_of(point(), 5.0, seed=6, bad=dark))["notes"]
    field = field_of(point(), 50.0, centre=0.4, seed=6)
    assert "end of the spectrum" in measured(field, found_in(field, plane=1))["notes"]
    assert measured(field_of(point(), 5.0, seed=6))["notes"] == ""


def test_other_lines_nearby_are_named():
    field = field_of(point(), 20.0, seed=7)
    near, far = window_of(line=Line("[Y] 18.25", 18.25)), window_of(line=Line("[Z] 18.4", 18.4))
    assert measured(field, others=(window_of(), near, far))["notes"] == "blended with [Y] 18.25"


def test_hardly_any_planes():
    """A line alone in its window, without planes beside it, is measured on the residual as it is."""
    whole = field_of(point(), 100.0, seed=8)
    parts = {name: value[35:46] if isinstance(value, np.ndarray) else value for name, value in _parts(whole).items()}
    field = Field(**{**parts, "searched": slice(0, 11), "null": np.zeros(11, dtype=bool)})
    found = found_in(whole)
    moved = Detection(5, found.y, found.x, found.scale, found.snr, found.false_alarm, found.spaxels)
    values = measure.measure(field, moved, Light.of(field, moved), window_of(), sky_of(), FluxScale(np.full(11, 2e-20)), TARGET)
    assert values["flux_w_m2"] == pytest.approx(2e-18, rel=0.1, abs=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("light", "flux", "scale"),
    [(point(15.2, 14.7), 3.0, PSF), (disc(15, 15, 3.0), 6.0, 2.0), (disc(15, 15, 1.0, 6.0, 30.0), 6.5, 2.0)],
    ids=["point", "disc", "jet"],
)
def test_bias_and_pulls_in_correlated_noise(light, flux, scale):
    """At a S/N of about 10 fluxes are right on average, and errors of flux and velocity as large as they say, and no larger."""
    fluxes, errors, pulls, heights = [], [], [], []
    for seed in range(60):
        field = field_of(light, flux, centre=MIDDLE + 0.3, seed=(9, seed), smooth=(0.45, 0.6, 0.6))
        found = found_in(field, scale)
        values = measured(field, found, flux=FluxScale(np.ones(PLANES)))
        fluxes.append(values["flux_w_m2"] / flux)
        errors.append(values["flux_err_w_m2"] / flux)
        heights.append(found.snr)
        off = values["flux_w_m2"] - flux, values["velocity_kms"] - 0.3 * KMS
        pulls.append([off[0] / values["flux_err_w_m2"], off[1] / values["velocity_err_kms"]])
    low, high = np.percentile(pulls, [15.865, 84.135], axis=0)
    assert 8 < np.median(heights) < 14
    assert np.median(fluxes) == pytest.approx(1.0, abs=0.06)  # 2.5 standard deviations of the median of so few
    assert np.all(((high - low) / 2 > 0.7) & ((high - low) / 2 < 1.3))  # 2.5 of their widths
    assert np.median(errors) * np.median(heights) < 3.0


def test_a_neighbouring_line_does_not_count_as_noise():
    """The scatter of planes that show another line is no error of this one."""
    field = field_of(point(15.2, 14.7), 5.0, seed=11)
    found = found_in(field)
    lit = field.residual + (40.0 * bell(PLANES, MIDDLE + 15, LSF)[:, None, None] * point(15, 15)).astype(np.float32)
    other = np.abs(np.arange(PLANES) - MIDDLE - 15) <= 5
    told, hidden = (Field(**{**_parts(field), "residual": lit, "null": field.null & ~out}) for out in (other, np.zeros_like(other)))
    clear, with_other, taken = (measured(one, found)["flux_err_w_m2"] for one in (field, told, hidden))
    assert with_other < 1.3 * clear
    assert taken > 1.5 * clear


def test_a_continuum_s_fringes_are_part_of_the_error():
    """Residuals that all spaxels share, and that swing over many planes, weigh on sums over many spaxels."""
    calm = field_of(disc(15, 15, 4.0), 12.0, seed=12)
    found = found_in(calm, 3.0)
    fringes = 0.01 * np.sin(np.arange(PLANES) * 2 * math.pi / 14)[:, None, None]
    fringed = Field(**{**_parts(calm), "residual": (calm.residual + fringes).astype(np.float32)})
    assert measured(fringed, found)["flux_err_w_m2"] > 2 * measured(calm, found)["flux_err_w_m2"]


def test_noisy_spaxels_do_not_spoil_the_flux():
    """A jet that crosses a star's noise is told by its other spaxels."""
    light, sigma = disc(15, 15, 1.0, 6.0, 0.0), np.full((PLANES, SIZE, SIZE), 0.02)
    sigma[:, 12:19, 17:22] = 0.4
    off = []
    for seed in range(12):
        noise = np.random.default_rng((13, seed)).normal(size=sigma.shape) * sigma
        field = field_of(light, 12.0)
        field = Field(
            **{**_parts(field), "residual": (field.residual + noise).astype(np.float32), "sigma": sigma.astype(np.float32)}
        )
        found = found_in(field_of(light, 12.0, seed=(13, seed)), 2.0)
        values = measured(field, found, flux=FluxScale(np.ones(PLANES)))
        off.append((values["flux_w_m2"] - 12.0) / 12.0)
        assert values["flux_err_w_m2"] < 0.35 * 12.0
    assert abs(np.median(off)) < 0.15


def test_light_is_the_same_whatever_the_unit():
    """Cubes in units that make their values tiny are measured as well."""
    field = field_of(point(), 5.0, seed=10)
    parts = _parts(field) | {name: getattr(field, name) * np.float32(1e-18) for name in ("residual", "sigma", "continuum")}
    found = found_in(field)
    big, small = Light.of(field, found), Light.of(Field(**parts), found)
    assert small.flux(np.ones(PLANES))[0] == pytest.approx(1e-18 * big.flux(np.ones(PLANES))[0], rel=1e-4, abs=0)
    assert small.line.centre == pytest.approx(big.line.centre, abs=1e-4)


@pytest.mark.real
def test_flux_of_a_real_line_is_the_sum_of_its_planes(real_data):
    """[S III] 18.713 in NGC 7469: the flux is the plain sum over field and line, less a straight line under it."""
    with fits.open(real_data / "jwst" / "ngc7469_Level3_ch4-short_s3d.fits.gz") as hdus:
        sci, header = hdus["SCI"].data.astype(float), hdus["SCI"].header
    wavelength = header["CRVAL3"] + (np.arange(len(sci)) + 1 - header["CRPIX3"]) * header["CDELT3"]
    spectrum = np.nansum(sci, axis=(1, 2))
    near = int(np.argmin(np.abs(wavelength - 19.018)))
    planes = np.arange(near - 35, near + 36)
    away = np.abs(planes - near) > 8
    trend = np.polyfit(planes[away], spectrum[planes][away], 2)
    core = np.abs(planes - near) <= 6
    hertz = 2.99792458e14 * header["CDELT3"] / 19.018**2
    plain = float((spectrum[planes] - np.polyval(trend, planes))[core].sum()) * 1e-20 * header["PIXAR_SR"] * hertz
    values = _searched(sci, wavelength, header, 18.713, 0.0163)
    assert values["flux_w_m2"] == pytest.approx(plain, rel=0.05, abs=0)
    assert values["velocity_kms"] == pytest.approx(28, abs=15)
    # the galaxy's nucleus, 22 56 to 23 03: RA 345.8151, Dec 8.8739 (SIMBAD)
    assert separation(345.8151, 8.8739, values["ra"], values["dec"])[0] < 0.5


def _searched(sci, wavelength, header, rest_um, redshift):
    """Measure the brightest candidate of the search."""
    from raysearch.detect import lines
    from raysearch.model import Candidate, Pixels

    position = int(np.searchsorted(wavelength, rest_um * (1 + redshift)))
    part = slice(position - 50, position + 51)
    window = Window(Line("[S III]", rest_um), redshift, ("NGC 7469",), position, part.start, len(sci), wavelength[part],
                    {"SCI": sci[part].astype(np.float32)}, (position - 5, position + 6))  # fmt: skip
    header = header.copy()
    header["INSTRUME"] = "MIRI"
    target = Target("NGC 7469", 345.8151, 8.8739, redshift)
    found = lines.Lines(maps=False).detect(Pixels("x", "x", (window,), header.tostring(), (target,)))
    return max((c.values for c in found if isinstance(c, Candidate)), key=lambda values: values["snr"])
