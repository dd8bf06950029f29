"""The published detector against a plain reading of its description, on whole cubes."""

import bisect
import gzip
import io
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from scipy.signal import find_peaks

from raysearch.detect.published import Published, _Extents, _Medians
from raysearch.errors import DetectorError
from raysearch.model import Detector, Line, Pixels, Window

LINE = Line("[Fe II] 5.340", 5.340)


def whole_cube_values(cube):
    """The value of every plane, from the whole cube."""
    values = []
    for i in range(len(cube)):
        around = cube[max(0, i - 10) : min(len(cube), i + 10)]
        if np.isnan(around).all():
            values.append(0.0)
            continue
        labels, regions = label(cube[i] > 3 * np.nanmedian(around))
        if regions == 0:
            values.append(0.0)
            continue
        largest = max(np.count_nonzero(labels == k) for k in range(1, regions + 1))
        fraction = largest / np.count_nonzero(~np.isnan(cube[i]))
        values.append(0.0 if largest < 10 or fraction >= 0.5 else fraction)
    return values


def whole_cube_peaks(values, position, as_printed):
    """The (plane, prominence) of every peak that counts as the line's."""
    start = max(0, position - 10)
    excerpt = np.array(values[start : min(len(values), position + 11)])
    nonzero = excerpt[excerpt != 0]
    if not nonzero.size:
        return []
    peaks, properties = find_peaks(excerpt, prominence=3 * np.nanstd(nonzero))
    offset = position - 10 if as_printed else start
    found = zip(peaks, properties["prominences"], strict=True)
    return [(start + int(p), float(h)) for p, h in found if position - 2 <= p + offset <= position + 2]


def window_of(cube, position, half=20):
    start = max(0, position - half)
    sci = np.array(cube[start : min(len(cube), position + half + 1)])
    sci.flags.writeable = False
    wavelength = np.arange(start, start + len(sci)) * 0.001 + 5.0
    return Window(LINE, 0.0, ("T Tau",), position, start, len(cube), wavelength, {"SCI": sci})


def detect(cube, position, as_printed=False):
    return Published(as_printed).detect(Pixels("obs", "file.fits", (window_of(cube, position),)))


def synthetic(seed=3, planes=60, line=30, level=1.0, *, noise=0.05, nan_fraction=0.0, nan_planes=0.0):
    """A cube with a background, NaN pixels, NaN planes, and a jet that peaks at plane `line`."""
    rng = np.random.default_rng(seed)
    cube = rng.normal(level, noise, (planes, 8, 9)).astype(np.float32)
    strength = np.exp(-0.5 * ((np.arange(planes) - line) / 1.2) ** 2)
    for plane in np.flatnonzero(strength > 0.05):
        size = 2 + int(3 * strength[plane])
        cube[plane, 1 : 1 + size, 2 : 2 + size] += np.float32(20 * strength[plane])
    cube[rng.random(cube.shape) < nan_fraction] = np.nan
    cube[rng.random(planes) < nan_planes] = np.nan
    return cube


cubes = st.builds(
    synthetic,
    seed=st.integers(0, 10_000),
    planes=st.integers(1, 70),
    level=st.sampled_from([1.0, 1.0, 0.3, 0.0, -0.5]),
    noise=st.sampled_from([0.0, 0.05, 0.5]),
    nan_fraction=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    nan_planes=st.sampled_from([0.0, 0.2, 0.8]),
    line=st.integers(-3, 72),
)


@settings(max_examples=300, deadline=None)
@given(cubes, st.data(), st.booleans())
def test_the_window_gives_what_the_whole_cube_gives(cube, data, as_printed):
    position = data.draw(st.integers(0, len(cube)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = detect(cube, position, as_printed)
    values = whole_cube_values(cube)
    extents = _Extents(window_of(cube, position))
    excerpt = range(max(0, position - 10), min(len(cube), position + 11))
    assert [extents.of(i) for i in excerpt] == [values[i] for i in excerpt]
    expected = whole_cube_peaks(values, position, as_printed)
    assert len(found) == bool(expected)
    if found:
        record = found[0].values
        best = max(h for _, h in expected)
        assert (record["plane"], record["prominence"]) in expected
        assert record["prominence"] == best >= record["threshold"]
        assert record["value"] == values[record["plane"]] > 0


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    planes=st.integers(1, 25),
    dtype=st.sampled_from([np.float32, np.float64]),
    levels=st.sampled_from([1, 3, 1000]),
    nan_fraction=st.sampled_from([0.0, 0.5, 0.97]),
    drift=st.floats(-1e3, 1e3),
)
@example(seed=0, planes=20, dtype=np.float32, levels=1, nan_fraction=0.0, drift=0.0)
def test_medians_are_those_of_numpy(*, seed, planes, dtype, levels, nan_fraction, drift):
    rng = np.random.default_rng(seed)
    cube = (rng.integers(0, levels, (planes, 5, 6)) * 0.1 + drift * np.arange(planes)[:, None, None]).astype(dtype)
    cube[rng.random(cube.shape) < nan_fraction] = np.nan
    medians = _Medians(cube)
    for begin in range(planes):
        for end in range(begin + 1, planes + 1):
            if not np.isnan(cube[begin:end]).all():
                ours, numpys = medians.of(begin, end), np.nanmedian(cube[begin:end])
                assert ours == numpys
                assert ours.dtype == numpys.dtype


@pytest.mark.parametrize("as_printed", [False, True])
def test_lines_at_both_ends_of_the_cube(as_printed):
    for line in (*range(12), *range(48, 61)):
        cube = synthetic(line=line)
        assert bool(detect(cube, line, as_printed)) == bool(whole_cube_peaks(whole_cube_values(cube), line, as_printed))


def test_a_line_in_the_first_planes_is_found_unless_as_printed():
    cube = synthetic(line=5)
    (found,) = detect(cube, 5)
    assert found.values["plane"] == 5
    assert found.wavelength_um == pytest.approx(5.005)
    assert (found.target, found.line, found.rest_um) == ("T Tau", "[Fe II] 5.340", 5.340)
    assert detect(cube, 5, as_printed=True) == []


def test_as_printed_takes_a_peak_near_the_eleventh_plane_for_a_line_in_the_first():
    cube = synthetic(line=10)
    assert detect(cube, 3) == []
    (found,) = detect(cube, 3, as_printed=True)
    assert found.values["plane"] == 10


def test_a_negative_background_hides_a_strong_line():
    assert detect(synthetic(level=1.0, noise=0.02), 30)
    assert detect(synthetic(level=-0.5, noise=0.02), 30) == []


def test_a_region_of_nine_pixels_or_of_half_the_plane_counts_as_none():
    for rows, columns, seen in ((3, 3, False), (2, 5, True), (4, 8, False), (4, 9, False)):
        cube = np.ones((60, 8, 8), dtype=np.float32)
        cube[30, :rows, :columns] = 10
        assert bool(detect(cube, 30)) is seen


def test_pixels_that_touch_by_a_corner_are_not_connected():
    cube = np.ones((60, 30, 30), dtype=np.float32)
    cube[30, range(20), range(20)] = 10
    assert detect(cube, 30) == []


def test_infinite_pixels_are_no_warning():
    cube = synthetic(nan_fraction=0.1)
    cube[25:35, 0, :3] = np.inf
    cube[25:35, 1, :3] = -np.inf
    assert detect(cube, 30)
    for one, other in ((np.inf, -np.inf), (3e38, 3e38)):
        cube[:, :4], cube[:, 4:] = one, other
        assert detect(cube, 30) == []


def test_every_window_is_searched_on_its_own():
    cube = synthetic(planes=80, line=40)
    windows = tuple(window_of(cube, position) for position in (10, 39, 40, 41, 70))
    found = Published().detect(Pixels("obs", "file.fits", windows))
    assert [record.values["plane"] for record in found] == [40, 40, 40]


def test_a_wider_window_changes_nothing():
    cube = synthetic(planes=80, line=40, nan_fraction=0.1)
    whole = Window(LINE, 0.0, ("T Tau",), 40, 0, 80, np.arange(80) * 0.001 + 5.0, {"SCI": cube})
    assert Published().detect(Pixels("obs", "file.fits", (whole,))) == detect(cube, 40)


def test_a_window_too_narrow_is_refused():
    cube = synthetic(planes=80, line=40)
    with pytest.raises(DetectorError, match=r"\[Fe II\] 5.340 lacks some of the planes 20 to 59"):
        Published().detect(Pixels("obs", "file.fits", (window_of(cube, 40, half=12),)))


def test_records_keep_the_contract():
    detector = pickle.loads(pickle.dumps(Published()))
    assert isinstance(detector, Detector)
    assert detector.window == 20
    (found,) = detect(synthetic(), 30)
    kinds = {"f8": float, "i8": int}
    assert {name: type(value) for name, value in found.values.items()} == {n: kinds[t] for n, t in detector.columns.items()}


def read_cube(path):
    from astropy.io import fits

    with fits.open(io.BytesIO(gzip.decompress(path.read_bytes()))) as hdus:
        header = hdus["SCI"].header
        cube = hdus["SCI"].data.astype(np.float32)
    assert header["CUNIT3"].strip() == "um"
    return cube, header["CRVAL3"] + (np.arange(len(cube)) + 1 - header["CRPIX3"]) * header["CDELT3"]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "redshift", "rest_um", "seen"),
    [
        ("ngc7469_Level3_ch4-short_s3d.fits.gz", 0.0163, 18.713, True),  # [S III]
        ("ngc7469_Level3_ch4-long_s3d.fits.gz", 0.0163, 25.890, True),  # [O IV]
        ("16CygB_Level3_ch4-short_s3d.fits.gz", 0.0, 17.936, False),  # [Fe II]
    ],
)
def test_real_cubes_at_every_plane(*, real_data, name, redshift, rest_um, seen):
    cube, wavelength = read_cube(real_data / "jwst" / name)
    values = whole_cube_values(cube)
    for position in range(len(cube) + 1):
        for as_printed in (False, True):
            found = detect(cube, position, as_printed)
            expected = whole_cube_peaks(values, position, as_printed)
            assert len(found) == bool(expected)
            if found:
                assert (found[0].values["plane"], found[0].values["prominence"]) in expected
    position = bisect.bisect_left(wavelength, rest_um * (1 + redshift))
    assert 0 < position < len(cube)
    assert bool(detect(cube, position)) is seen
