"""What docs/detection.md claims of the line detector, in short: fixed seeds, and bounds that a sound detector rarely misses."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raysearch.detect import open_detector
from raysearch.model import Candidate
from raysearch.testing import NOISES, Emission, inject, make_noise

pytestmark = pytest.mark.slow
SEED = 90_000
JET = Emission(0.0, "jet", length_arcsec=3.5, width_arcsec=0.7)


def scene(kind, seed, detector):
    return make_noise(replace(NOISES[kind], planes=2 * (detector.window + 9) + 1, ny=25, nx=25), seed, kind)


def candidates(detector, scene):
    return [record for record in detector.detect(scene.pixels) if isinstance(record, Candidate)]


def emission(flux, seed):
    """A jet at a random place around the middle, in a random direction."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * math.pi), rng.uniform(4, 7)
    return replace(JET, flux=flux, angle_deg=rng.uniform(0, 180), offset=(radius * math.sin(angle), radius * math.cos(angle)))


@pytest.mark.parametrize("kind", ["drizzled", "star", "err-low"])
def test_false_alarms_are_as_many_as_asked_for(kind):
    detector, windows = open_detector("lines", {"false_alarm": 0.1, "maps": False}), 300
    count = sum(len(candidates(detector, scene(kind, SEED + k, detector))) for k in range(windows))
    # between half and twice the asked rate, as far as counting can tell
    assert stats.poisson.sf(count - 1, 2 * 0.1 * windows) > 1e-3
    assert stats.poisson.cdf(count, 0.5 * 0.1 * windows) > 1e-3


def half_flux(detector, kind, fluxes, trials=12):
    """The lowest flux at which half of the jets are found."""
    for flux in fluxes:
        found = 0
        for k in range(trials):
            quiet = scene(kind, SEED + 1000 + k, detector)
            found += bool(candidates(detector, inject(quiet, emission(flux, k))[0])) and not candidates(detector, quiet)
        if found >= trials / 2:
            return flux
    return math.inf


def test_lines_ten_times_fainter_than_the_published_are_found():
    published, lines = open_detector("published"), open_detector("lines", {"maps": False})
    flux = half_flux(published, "drizzled", np.geomspace(1e-19, 1e-16, 13)) / 10
    assert math.isfinite(flux)
    found, trials = 0, 40
    for k in range(trials):
        made, truth = inject(scene("drizzled", SEED + 2000 + k, lines), emission(flux, k))
        near = [
            c for c in candidates(lines, made)
            if math.dist(made.to_pixel(c.values["peak_ra"], c.values["peak_dec"]), (truth.y, truth.x)) < 6
        ]  # fmt: skip
        found += bool(near)
    assert stats.binom.cdf(found, trials, 0.5) > 1e-3


def test_what_a_candidate_says_is_true_within_its_errors():
    lines = open_detector("lines", {"maps": False})
    pulls, ratios = [], []
    for k in range(60):
        quiet = scene("drizzled", SEED + 3000 + k, lines)
        made, truth = inject(quiet, emission(4e-18, k))
        (best,) = sorted(candidates(lines, made), key=lambda c: -c.values["snr"])[:1]
        v = best.values
        assert v["snr"] > 8
        ratios.append(v["flux_w_m2"] / truth.flux)
        pulls.append(((v["flux_w_m2"] - truth.flux) / v["flux_err_w_m2"], v["velocity_kms"] / v["velocity_err_kms"]))
    assert np.median(ratios) == pytest.approx(1, abs=0.05)
    low, high = np.percentile(pulls, [15.865, 84.135], axis=0)
    assert ((high - low) / 2 > 0.8 * 0.75).all()  # 60 pulls tell their width to 11 %
    assert ((high - low) / 2 < 1.2 * 1.25).all()
