import bisect
import io
import warnings
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage, signal

from raysearch.model import STATUSES
from raysearch.testing import CubeSpec, bench_holdings, demo_holdings, make_cube
from raysearch.testing.demo import LINES_UM


def plane_values(data: np.ndarray) -> np.ndarray:
    """Return for each plane the fraction of it that its largest bright region covers."""
    values = np.zeros(len(data))
    for i, plane in enumerate(data):
        window = data[max(0, i - 10) : min(len(data), i + 10)]
        if np.isnan(window).all() or np.isnan(plane).all():
            continue
        labels, count = ndimage.label(plane > 3 * np.nanmedian(window))
        if not count:
            continue
        largest = np.bincount(labels.ravel())[1:].max()
        fraction = largest / np.isfinite(plane).sum()
        values[i] = fraction if largest >= 10 and fraction < 0.5 else 0.0
    return values


def is_detected(values: np.ndarray, wavelength: np.ndarray, line: float) -> bool:
    """Return whether a peak stands within two planes of a line."""
    pos = bisect.bisect_left(wavelength.tolist(), line)
    start = max(0, pos - 10)
    excerpt = values[start : min(len(values), pos + 11)]
    filled = excerpt[excerpt != 0]
    if not len(filled):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peaks, _ = signal.find_peaks(excerpt, prominence=3 * np.nanstd(filled))
    return any(abs(start + peak - pos) <= 2 for peak in peaks)


@pytest.fixture(scope="module")
def demo():
    return demo_holdings()


def test_every_fate_is_there(demo):
    fates = Counter(demo.expected.values())
    assert set(fates) == {*STATUSES, "unmatched"}
    assert len(demo.expected) == 60
    assert demo.expected.keys() == demo.truth.keys()
    assert {row["obs_id"] for row in demo.observations} >= demo.expected.keys()


def test_the_same_seed_gives_the_same_sky(demo):
    assert demo_holdings() == demo
    assert demo_holdings(seed=1) != demo


@pytest.mark.parametrize("number", [20, 37])
def test_as_many_observations_as_asked(number):
    assert len(demo_holdings(number).expected) == number


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="at least 20"):
        demo_holdings(5)


def test_one_target_has_many_lines(demo):
    lines = {}
    for row in demo.observations:
        lines.setdefault(row["target_name"], set()).update(demo.truth.get(row["obs_id"], ()))
    assert lines["Synthetic YSO 01"] == set(LINES_UM)


def test_the_truth_is_what_the_published_detector_finds(demo):
    sound = {name: spec for name, spec in demo.bodies.items() if isinstance(spec, CubeSpec)}
    assert len(sound) > 40
    for name, spec in sound.items():
        data = fits.getdata(io.BytesIO(make_cube(spec)), "SCI").astype(np.float32)
        values = plane_values(data) if any(spec.wavelength_um()[0] <= line <= spec.wavelength_um()[-1] for line in LINES_UM) else []
        wave = spec.wavelength_um()
        found = {
            line
            for line in LINES_UM
            if wave[0] <= line * (1 + spec.redshift) <= wave[-1] and is_detected(values, wave, line * (1 + spec.redshift))
        }
        assert found == {jet.rest_um for jet in spec.jets}, name


def test_each_oddity_is_there(demo):
    places = Counter((p.located, p.in_cloud, p.downloadable) for p in demo.products)
    assert places[False, False, True] == 1
    assert places[True, False, True] == 1
    assert sum("shortmediumlong" in row["obs_id"] for row in demo.observations) == 1
    assert sum(row["dataURL"] is None for row in demo.observations) == 1
    searched = [row for row in demo.observations if row["obs_id"] in demo.expected]
    held = {p.uri for p in demo.products}
    assert sum(row["dataURL"] is not None and row["dataURL"] not in held for row in searched) == 1
    specs = [body for body in demo.bodies.values() if isinstance(body, CubeSpec)]
    assert {(spec.layout, spec.axis) for spec in specs} >= {("old", "linear"), ("new", "linear"), ("new", "tab")}
    assert sum(isinstance(body, bytes) for body in demo.bodies.values()) == 4


def test_rows_say_nanometres(demo):
    row = demo.observations[0]
    assert 24_000 < row["em_min"] < row["em_max"] < 29_000


def test_bench_keys_share_few_bodies():
    bench = bench_holdings(2000, bodies=4, planes=60, side=12)
    assert len({p.key for p in bench.products}) == 2000
    assert len({row["obs_id"] for row in bench.observations}) == 2000
    assert {p.body for p in bench.products} == bench.bodies.keys()
    assert Counter(bench.expected.values()) == {"detected": 1000, "nothing": 1000}
    assert all(row["em_min"] < 5340 < row["em_max"] for row in bench.observations)


def test_bench_truth_is_what_the_published_detector_finds():
    for spec in bench_holdings(2, bodies=2).bodies.values():
        wave = spec.wavelength_um()
        pos = int(np.searchsorted(wave, 5.340))
        data = fits.getdata(io.BytesIO(make_cube(spec)), "SCI").astype(np.float32)[pos - 40 : pos + 41]
        assert is_detected(plane_values(data), wave[pos - 40 : pos + 41], 5.340) == bool(spec.jets)
