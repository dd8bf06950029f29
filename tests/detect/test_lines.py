"""The line detector on windows whose truth is known."""

import dataclasses
import math
import pickle
import re

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from raysearch.detect import null, open_detector, profile
from raysearch.detect.lines import Lines
from raysearch.errors import ConfigError
from raysearch.model import Candidate, Detector, Limit, Line, Pixels, Target, Window

LINE = Line("[Fe II] 17.936", 17.936)
STEP = 0.006
LSF = 17.936 / (4603 - 128 * 17.936) / STEP / 2.3548
PSF = (0.033 * 17.936 + 0.106) / 0.35 / 2.3548


def header(**cards):
    made = fits.Header()
    made["INSTRUME"] = "MIRI"
    made["BUNIT"] = "MJy/sr"
    for axis, kind, value, step in ((1, "RA---TAN", 68.9, -0.35 / 3600), (2, "DEC--TAN", 25.1, 0.35 / 3600)):
        made[f"CTYPE{axis}"], made[f"CRVAL{axis}"], made[f"CDELT{axis}"], made[f"CRPIX{axis}"] = kind, value, step, 12.0
        made[f"CUNIT{axis}"] = "deg"
    made["CTYPE3"], made["CUNIT3"], made["CDELT3"] = "WAVE", "um", STEP
    made.update(cards)
    return made.tostring()


def noise(seed, planes=91, ny=24, nx=22, blur=(0.0, 0.0, 0.0), level=20.0, sigma=5.0):
    rng = np.random.default_rng(seed)
    cube = rng.normal(size=(planes, ny, nx))
    if any(blur):
        cube = gaussian_filter(cube, blur)
    return (level + sigma * cube / cube.std()).astype(np.float32)


def line_at(shape, plane, y, x, flux, lsf=LSF, psf=PSF):
    """A line of this total, a Gaussian integrated over voxels."""

    def parts(size, centre, sigma):
        edges = np.arange(size + 1) - 0.5 - centre
        return np.diff(erf(edges / sigma / math.sqrt(2))) / 2

    spectrum = parts(shape[0], plane, lsf)
    image = parts(shape[1], y, psf)[:, None] * parts(shape[2], x, psf)
    return (flux * spectrum[:, None, None] * image).astype(np.float32)


def pixels(sci, err=None, dq=None, wmap=None, searched=None, head=None, line=LINE):
    planes = {"SCI": sci}
    planes |= {name: plane for name, plane in (("ERR", err), ("DQ", dq), ("WMAP", wmap)) if plane is not None}
    middle = len(sci) // 2
    wavelength = line.rest_um + STEP * (np.arange(len(sci)) - middle)
    searched = searched or (max(0, middle - 5), min(len(sci), middle + 6))
    window = Window(line, 0.0, (), middle, 0, len(sci), wavelength, planes, searched)
    return Pixels("obs", "memory://obs", (window,), header() if head is None else head)


def found(made, **options):
    """The candidates; where the test does not ask otherwise, chance adds one in a thousand windows."""
    options = {"false_alarm": 0.001, **options}
    return [record for record in Lines(maps=False, **options).detect(made) if isinstance(record, Candidate)]


def place(record, shape=(24, 22)):
    """(y, x) of the peak."""
    x = 11 - (record.values["peak_ra"] - 68.9) * 3600 * math.cos(math.radians(25.1)) / 0.35
    return round(11 + (record.values["peak_dec"] - 25.1) * 3600 / 0.35), round(x)


class TestOptions:
    def test_is_the_detector_named_lines(self):
        detector = open_detector("lines", {"false_alarm": 0.1, "velocity": 300.0})
        assert isinstance(detector, Detector)
        assert (detector.window, detector.velocity, detector.extensions) == (40, 300.0, ("ERR", "DQ", "WMAP"))
        assert detector.columns["map"] == "bytes"

    @pytest.mark.parametrize(
        "options",
        [
            {"false_alarm": 0.0}, {"false_alarm": 1.0}, {"false_alarm": "0.01"}, {"false_alarm": math.nan}, {"velocity": 0.0},
            {"velocity": -1.0}, {"velocity": True}, {"maps": 1}, {"resolving_power": "high"}, {"psf_fwhm": math.nan},
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_told_by_name(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            open_detector("lines", options)

    def test_pickles(self):
        made = pixels(noise(1) + line_at((91, 24, 22), 46, 8, 14, 400))
        detector = Lines()
        again = pickle.loads(pickle.dumps(detector))
        assert repr(again.detect(made)) == repr(detector.detect(made))


class TestFinds:
    @pytest.mark.parametrize("err", [None, 0.3, 1.0, 3.0])
    def test_a_faint_line_in_its_place(self, err):
        sci = noise(2) + line_at((91, 24, 22), 46.3, 8, 14, 300)
        errors = None if err is None else np.full_like(sci, 5.0 * err)
        (record,) = found(pixels(sci, errors))
        assert place(record) == (8, 14)
        assert record.line == LINE.name
        assert 6 < record.values["snr"] < 16
        assert record.values["false_alarm"] <= 0.001
        assert record.wavelength_um == pytest.approx(17.936 + 1.3 * STEP, abs=0.5 * STEP)

    def test_two_lines_by_y_and_x(self):
        shape = (91, 24, 22)
        records = found(pixels(noise(3) + line_at(shape, 45, 18, 4, 300) + line_at(shape, 46, 5, 16, 300)))
        assert [place(record) for record in records] == [(5, 16), (18, 4)]

    def test_one_that_fills_the_field(self):
        sci = noise(4, blur=(0.5, 0.7, 0.7))
        sci[45] += 9.0
        sci[44] += 3.8
        sci[46] += 3.8
        records = found(pixels(sci))
        assert len(records) == 1
        assert records[0].values["spaxels"] > 0.8 * 24 * 22

    def test_on_a_star_ten_thousand_times_as_bright(self):
        shape = (91, 24, 22)
        star = line_at(shape, 0, 12, 11, 1, lsf=1e6)
        star = star / star.max() * 1e5 * np.linspace(0.9, 1.1, 91, dtype=np.float32)[:, None, None]
        sci = noise(5) + star + line_at(shape, 45, 12, 11, 400)
        (record,) = found(pixels(sci))
        assert place(record) == (12, 11)
        assert not found(pixels(sci - line_at(shape, 45, 12, 11, 400)))

    def test_over_a_negative_background(self):
        (record,) = found(pixels(noise(6, level=-50.0) + line_at((91, 24, 22), 45, 8, 14, 300)))
        assert place(record) == (8, 14)

    @pytest.mark.parametrize("unit", [1e-18, 1e12])
    def test_whatever_the_unit(self, unit):
        sci = ((noise(7) + line_at((91, 24, 22), 45, 8, 14, 300)) * unit).astype(np.float32)
        (record,) = found(pixels(sci))
        assert place(record) == (8, 14)

    def test_in_float64(self):
        sci = noise(8).astype(np.float64) + line_at((91, 24, 22), 45, 8, 14, 300)
        (record,) = found(pixels(sci))
        assert place(record) == (8, 14)

    def test_beside_values_and_errors_that_are_none(self):
        sci = noise(8) + line_at((91, 24, 22), 45, 8, 14, 300)
        err = np.full_like(sci, 5.0)
        sci[30, 2, 2], err[31, 20, 20], err[32, 3, 20] = 1e30, 1e-30, np.inf
        (record,) = found(pixels(sci, err))
        assert place(record) == (8, 14)

    def test_at_the_edge_of_the_field_and_of_the_cube(self):
        sci = noise(9) + line_at((91, 24, 22), 3, 0, 10, 900)
        (record,) = found(pixels(sci, searched=(0, 9)))
        assert place(record) == (0, 10)
        assert "edge" in record.values["notes"]

    def test_with_a_strong_line_beside_that_is_not_asked_for(self):
        shape = (91, 24, 22)
        beside = line_at(shape, 60, 12, 11, 4e5, psf=5)
        (record,) = found(pixels(noise(10) + beside + line_at(shape, 45, 8, 14, 400)))
        assert place(record) == (8, 14)
        assert abs(record.values["velocity_kms"]) < 60
        assert not found(pixels(noise(10) + beside))

    def test_with_its_map(self):
        (record,) = Lines().detect(pixels(noise(11) + line_at((91, 24, 22), 45, 8, 14, 400)))
        assert record.values["map"][:2] == b"\x1f\x8b"
        assert set(record.values) == set(Lines().columns)


class TestFindsNothing:
    def test_in_noise_but_a_limit(self):
        (limit,) = Lines().detect(pixels(noise(12)))
        assert isinstance(limit, Limit)
        assert (limit.line, limit.rest_um) == (LINE.name, LINE.rest_um)
        assert limit.flux > 0

    @pytest.mark.parametrize("blur", [(0, 0, 0), (0.6, 0.8, 0.8)])
    def test_much_more_often_or_less_often_than_asked(self, blur):
        """200 windows at 0.2: 36 expected; within a factor of 2, give or take three binomial standard deviations."""
        alarms = sum(bool(found(pixels(noise(1000 + i, ny=15, nx=15, blur=blur)), false_alarm=0.2)) for i in range(200))
        assert 6 <= alarms <= 95

    @pytest.mark.parametrize("how", ["dq", "wmap", "err", "nan"])
    def test_in_voxels_that_are_no_data(self, how):
        sci = noise(13)
        spot = np.s_[44:47, 7:10, 13:16]
        planes = {"err": np.full_like(sci, 5.0), "dq": np.zeros(sci.shape, np.uint32), "wmap": np.ones_like(sci)}
        sci[spot] += 300
        assert found(pixels(sci, **planes))
        if how == "nan":
            sci[spot] = np.nan
        else:
            planes[how][spot] = {"dq": 513, "wmap": 0, "err": 0}[how]
        assert not found(pixels(sci, **planes))

    def test_in_a_spike_of_one_plane_or_one_spaxel_where_lines_are_resolved(self):
        shape = (91, 24, 22)
        one_spaxel = noise(14)
        one_spaxel[44:47, 8, 14] += np.array([20.0, 60.0, 20.0])
        assert not found(pixels(one_spaxel))
        one_plane = noise(14) + line_at(shape, 45, 8, 14, 600, lsf=1e-3)
        assert not found(pixels(one_plane))
        assert found(pixels(one_plane), resolving_power=40_000.0)

    def test_in_lines_far_from_the_wavelength(self):
        assert not found(pixels(noise(15) + line_at((91, 24, 22), 56, 8, 14, 500)))

    def test_in_blank_spaxels_and_planes(self):
        sci = noise(16)
        sci[:, :, :6] = 0
        sci[20] = 0
        sci[45, 10:] = np.nan
        (limit,) = Lines().detect(pixels(sci))
        assert limit.flux > 0


class TestWithoutEnoughData:
    @pytest.mark.parametrize("planes", [1, 2, 5, 12])
    def test_few_planes_give_no_limit(self, planes):
        (limit,) = Lines().detect(pixels(noise(17, planes=planes)))
        assert math.isnan(limit.flux)
        assert "too few" in limit.note

    def test_nor_do_planes_without_data(self):
        sci = noise(18)
        sci[38:54] = np.nan
        (limit,) = Lines().detect(pixels(sci))
        assert math.isnan(limit.flux)
        assert "no good data" in limit.note

    @pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
    def test_nor_does_an_empty_cube(self, value):
        (limit,) = Lines().detect(pixels(np.full((91, 9, 9), value, np.float32)))
        assert math.isnan(limit.flux)

    def test_a_tiny_field_is_searched(self):
        records = found(pixels(noise(19, ny=5, nx=5) + line_at((91, 5, 5), 45, 2, 2, 600)))
        assert len(records) == 1


def test_the_window_tells_what_the_whole_cube_tells():
    sci = noise(20, planes=300, blur=(0.6, 0.7, 0.7)) + line_at((300, 24, 22), 150, 8, 14, 200)
    whole = pixels(sci, np.full_like(sci, 5.0))
    (window,) = whole.windows
    first, stop = window.searched[0] - 40, window.searched[1] + 40
    part = dataclasses.replace(
        window,
        start=first,
        wavelength_um=window.wavelength_um[first:stop],
        planes={k: p[first:stop] for k, p in window.planes.items()},
    )
    assert repr(Lines().detect(dataclasses.replace(whole, windows=(part,)))) == repr(Lines().detect(whole))


def test_another_line_of_the_target_is_not_taken_for_noise(monkeypatch):
    monkeypatch.setattr(null, "RARE", 0.0)  # the same for both
    shape = (91, 24, 22)
    made = pixels(noise(22) + line_at(shape, 46, 8, 14, 200) + line_at(shape, 70, 16, 5, 4000))
    (window,) = made.windows
    near = Line("near", LINE.rest_um + STEP * 25)
    other = dataclasses.replace(window, line=near, position=70, searched=(65, 76))
    (alone,) = found(made, false_alarm=0.9)[:1]
    both = [r for r in found(dataclasses.replace(made, windows=(window, other)), false_alarm=0.9) if r.line == LINE.name]
    assert min(r.values["false_alarm"] for r in both) < 0.5 * alone.values["false_alarm"]


def test_a_brighter_line_elsewhere_in_a_wide_search_hides_none():
    shape = (131, 24, 22)
    sci = noise(23, planes=131) + line_at(shape, 52, 8, 14, 4000) + line_at(shape, 74, 9, 13, 500)
    records = found(pixels(sci, searched=(45, 85)))
    middle = LINE.rest_um + STEP * (np.array([52, 74]) - 65)
    assert sorted(record.wavelength_um for record in records) == pytest.approx(middle, abs=STEP / 2)


def test_a_line_that_rises_beyond_the_last_plane_stays_within_the_cube():
    rising = np.exp(np.arange(30) / 3.0)
    for spectrum, start, ends in ((rising, 29, (28.0, 29.5)), (rising[::-1], 0, (-0.5, 1.0))):
        line = profile.fit(spectrum, profile.Noise(np.ones(30), np.ones(1)), start, 1.0, 4.0)
        assert ends[0] <= line.centre <= ends[1]


BROKEN = ("BUNIT   = MJy/sr", "INSTRUME= MIRI", "CRVAL1  = 'open", "OBJECT  = 'Süß'", "=====", "HIERARCH eso =")


@pytest.mark.parametrize("card", BROKEN)
def test_a_broken_card_costs_what_it_says_and_nothing_else(card):
    keyword = card[:8]
    head = "".join(one for one in re.findall(".{80}", header()) if not one.startswith((keyword, "END")))
    (record,) = found(
        pixels(noise(2) + line_at((91, 24, 22), 46, 8, 14, 600), head=head + card.ljust(80)), resolving_power=2300.0, psf_fwhm=0.7
    )
    assert math.isnan(record.values["flux_w_m2"]) == (keyword in {"BUNIT   ", "CRVAL1  "})
    assert math.isnan(record.values["ra"]) == (keyword == "CRVAL1  ")
    assert ("BUNIT is absent or cannot be read" in record.values["notes"]) == (keyword == "BUNIT   ")


def test_an_absurd_point_spread_function_costs_no_memory():
    (limit,) = Lines(psf_fwhm=36000.0).detect(pixels(noise(25)))
    assert limit.flux > 0


def test_a_target_without_a_position_is_told():
    nobody = Target("HH 1", math.nan, math.nan, 0.0)
    for sci, told in ((noise(26), "median of the field (the target has no position)"),
                      (noise(2) + line_at((91, 24, 22), 46, 8, 14, 600), "no offset: the target has no position")):  # fmt: skip
        made = pixels(sci)
        window = dataclasses.replace(made.windows[0], targets=(nobody.name,))
        (record,) = Lines(0.001).detect(dataclasses.replace(made, windows=(window,), targets=(nobody,)))
        assert told in (record.note if isinstance(record, Limit) else record.values["notes"])


def test_a_window_that_does_not_say_what_is_searched_is_searched_around_its_line():
    made = pixels(noise(21) + line_at((91, 24, 22), 46, 8, 14, 300))
    bare = dataclasses.replace(made, windows=(dataclasses.replace(made.windows[0], searched=(0, 0)),))
    assert [place(record) for record in found(bare)] == [(8, 14)]


@settings(max_examples=60, deadline=None)
@given(
    sci=arrays(
        np.float32,
        st.tuples(st.integers(1, 60), st.integers(1, 7), st.integers(1, 7)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
        fill=st.sampled_from([0.0, 1.0, math.nan]),
    ),
    seed=st.integers(0, 9),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
)
def test_odd_shapes_and_values_never_stop_it(sci, seed, scale):
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        mixed = (sci + scale * rng.normal(size=sci.shape)).astype(np.float32)
        err = np.abs(rng.normal(size=sci.shape) * scale).astype(np.float32)
    for made in (pixels(sci), pixels(mixed), pixels(mixed, err=err)):
        for record in Lines().detect(made):
            if isinstance(record, Candidate):
                assert record.values["snr"] > 3
                assert 0 <= record.values["false_alarm"] <= 0.01
            else:
                assert record.note
