"""Targets in footprints."""

import csv
import importlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import ConfigError, TableError
from raysearch.model import Circle, Footprint, Polygon
from raysearch.sky import contains, match, parse_s_region

# The package's `match` is the function.
index_module = importlib.import_module("raysearch.sky.index")
regions_module = importlib.import_module("raysearch.sky.regions")

ARCSEC = 1 / 3600


def pairs(matches):
    return list(zip(matches.footprint.tolist(), matches.target.tolist(), strict=True))


def box(ra, dec, half):
    east = half / np.cos(np.radians(dec))
    low, high = max(dec - half, -90.0), dec + half
    return Polygon((ra - east, ra + east, ra + east, ra - east), (low, low, high, high))


def field(seed, targets=300, footprints=40):
    """Clustered targets and footprints of every kind near them, some of them None."""
    rng = np.random.default_rng(seed)
    centre = rng.choice([0.0, 120.0]), rng.choice([-89.5, 0.0, 30.0])
    spread = rng.choice([1e-3, 0.1, 2.0])
    ra = centre[0] + rng.normal(0, spread, targets) / max(np.cos(np.radians(centre[1])), 0.05)
    dec = np.clip(centre[1] + rng.normal(0, spread, targets), -90, 90)
    made = []
    for _ in range(footprints):
        at, kind, half = rng.integers(targets), rng.integers(5), spread * rng.uniform(0.05, 1)
        one, other = box(ra[at], max(dec[at], -89.9), half), Circle(ra[at] + half, dec[at], half)
        made.append((None, Footprint((one,)), Footprint((other,)), Footprint((one, other)), Footprint((one, one)))[kind])
    return ra, dec, made


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_pairs_are_those_that_the_footprints_contain(seed):
    ra, dec, footprints = field(seed)
    expected = [(i, int(t)) for i, f in enumerate(footprints) if f for t in np.flatnonzero(contains(f, ra, dec))]
    assert sorted(pairs(match(ra, dec, footprints))) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([1e-4, 0.01, 0.5, 3.0]))
def test_the_radius_is_measured_along_the_sphere(sphere, seed, radius):
    ra, dec, footprints = field(seed, targets=60, footprints=8)
    found = set(pairs(match(ra, dec, footprints, radius)))
    for i, footprint in enumerate(footprints):
        distance = np.full(len(ra), np.inf)
        for shape in footprint.shapes if footprint else ():
            if isinstance(shape, Circle):
                outside = np.degrees(sphere.separation(ra, dec, shape.ra, shape.dec)) - shape.radius
            else:
                outside = np.degrees(sphere.distance_to_outline(ra, dec, shape.ra, shape.dec))
                outside[sphere.in_polygon(ra, dec, shape.ra, shape.dec)] = 0
            distance = np.minimum(distance, outside)
        got = np.array([(i, t) in found for t in range(len(ra))])
        clear = np.abs(distance - radius) > 1e-6 * radius
        assert (got == (distance <= radius))[clear].all()


def test_the_radius_reaches_from_edges_and_from_corners():
    square = Footprint((Polygon((10.0, 12.0, 12.0, 10.0), (-1.0, -1.0, 1.0, 1.0)),))
    ra, dec = [12.5, 12.5, 12.29, 12.28, 9.6], [0.0, 1.5, 1.29, 1.28, -0.9]
    assert [t for _, t in sorted(pairs(match(ra, dec, [square], 0.3999)))] == [3]
    assert [t for _, t in sorted(pairs(match(ra, dec, [square], 0.4)))] == [3, 4]
    assert [t for _, t in sorted(pairs(match(ra, dec, [square], 0.5001)))] == [0, 2, 3, 4]
    assert [t for _, t in sorted(pairs(match(ra, dec, [square], 0.8)))] == [0, 1, 2, 3, 4]
    assert len(match([10.0, 190.0], [0.0, 0.0], [square], 180.0).target) == 2


def test_nearest_first_and_the_lower_index_of_two_equally_near():
    ra, dec = [10.003, 10.001, 50.0, 10.002, 10.001, 10.0], [0.0] * 6
    found = match(ra, dec, [Footprint((Circle(50.0, 0.0, 1.0),)), None, Footprint((box(10.0, 0.0, 0.1),))])
    assert pairs(found) == [(0, 2), (2, 5), (2, 1), (2, 4), (2, 3), (2, 0)]
    assert found.separation_deg == pytest.approx([0, 0, 0.001, 0.001, 0.002, 0.003], abs=1e-12)
    assert (found.footprint.dtype, found.target.dtype, found.separation_deg.dtype) == (np.int64, np.int64, np.float64)


def test_a_target_in_several_shapes_of_one_footprint_is_one_match():
    found = match([10.0, 10.4], [0.0, 0.0], [Footprint((box(10.0, 0.0, 0.5), Circle(10.4, 0.0, 1.0), box(10.0, 0.0, 0.5)))])
    assert pairs(found) == [(0, 0), (0, 1)] or pairs(found) == [(0, 1), (0, 0)]


def test_shapes_on_opposite_sides_of_the_sky():
    found = match([10.0, 190.1], [0.0, 0.0], [Footprint((box(10.0, 0.0, 0.5), box(190.0, 0.0, 0.5)))])
    assert pairs(found) == [(0, 0), (0, 1)]
    assert found.separation_deg == pytest.approx([0, 179.9], abs=1e-5)


@pytest.mark.parametrize("footprints", [[], [None, None], [Footprint((Circle(100.0, 0.0, 1.0),))]])
@pytest.mark.parametrize("targets", [[], [10.0, 20.0]])
def test_nothing_matches_nothing(targets, footprints):
    found = match(targets, [0.0] * len(targets), footprints)
    assert (found.footprint.dtype, found.target.dtype, len(found.target), len(found.separation_deg)) == (np.int64, np.int64, 0, 0)


def test_targets_without_a_position_are_refused():
    with pytest.raises(TableError, match=r"2 targets have no position on the sphere \(the first is number 1\)"):
        match([1.0, np.nan, 2.0], [0.0, 0.0, np.inf], [])


@pytest.mark.parametrize("radius", [-1e-9, 181.0, float("nan")])
def test_a_radius_must_be_an_angle(radius):
    with pytest.raises(ConfigError, match="between 0 and 180"):
        match([1.0], [0.0], [], radius)


def test_small_blocks_give_the_same(monkeypatch):
    ra, dec, footprints = field(4)
    whole = match(ra, dec, footprints, 0.01)
    monkeypatch.setattr(index_module, "_PAIRS", 30)
    monkeypatch.setattr(regions_module, "_ROWS", 7)
    parted = match(ra, dec, footprints, 0.01)
    for name in ("footprint", "target", "separation_deg"):
        assert (getattr(whole, name) == getattr(parted, name)).all()


def test_memory_grows_with_the_matches_alone(monkeypatch):
    monkeypatch.setattr(index_module, "_PAIRS", 10_000)
    monkeypatch.setattr(regions_module, "_ROWS", 10_000)
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(10, 11, 1500), rng.uniform(-0.5, 0.5, 1500)
    footprints = [Footprint((box(10.5, 0.0, 3.5),))] * 300
    match(ra[:10], dec[:10], footprints[:10])  # imports
    tracemalloc.start()
    found = match(ra, dec, footprints)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.target) == 1500 * 300
    assert peak < 4.5 * (found.footprint.nbytes + found.target.nbytes + found.separation_deg.nbytes) + 5e6


def sexagesimal(hours, degrees):
    """Degrees from `hh:mm:ss` and `dd:mm:ss`, without the '=' that a spreadsheet left in front of some."""
    numbers = []
    for text in (hours, degrees):
        h, m, s = text.lstrip("=").split(":")
        numbers.append((-1 if h.startswith("-") else 1) * (abs(int(h)) + int(m) / 60 + float(s) / 3600))
    return numbers[0] * 15, numbers[1]


def catalogue_positions(folder):
    """The positions of the YSO catalogues: 891 + 446 + 489; the fourth table repeats rows of the second."""
    with (folder / "pp7_cata.tsv").open(encoding="utf-8") as file:
        positions = [sexagesimal(row["RA"], row["Dec"]) for row in csv.DictReader(file, delimiter="\t")]
    with (folder / "merged_complete.csv").open(encoding="utf-8") as file:
        merged = [(float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file)]
    with (folder / "Marton+Dunham.csv").open(encoding="utf-8") as file:
        assert {(float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file)} <= set(merged)
    listed = np.loadtxt(folder / "protostar_list.txt").tolist()
    return np.array([*positions, *merged, *listed])


@pytest.mark.real
@pytest.mark.slow
def test_real_targets_in_real_footprints(sphere, real_data):
    import pyarrow.parquet as pq

    positions = catalogue_positions(real_data / "tables")
    texts = pq.read_table(real_data / "tables" / "jwst_miri_mrs_s3d_5372.parquet")["s_region"].to_pylist()
    assert (len(positions), len(texts)) == (1826, 5372)
    ra, dec = positions.T
    footprints = [parse_s_region(text) for text in texts]
    within: dict[float, list[tuple[int, int]]] = {0.0: [], 20.0: []}
    for i, footprint in enumerate(footprints):
        (polygon,) = footprint.shapes
        outside = np.where(sphere.in_polygon(ra, dec, polygon.ra, polygon.dec), 0.0, np.inf)
        near = np.flatnonzero((outside > 0) & (sphere.separation(ra, dec, polygon.ra[0], polygon.dec[0]) < np.radians(0.1)))
        outside[near] = sphere.distance_to_outline(ra[near], dec[near], polygon.ra, polygon.dec)
        for radius, found in within.items():
            found += [(i, int(t)) for t in np.flatnonzero(outside <= np.radians(radius * ARCSEC))]
    assert 100 < len(within[0.0]) < len(within[20.0])
    for radius, expected in within.items():
        assert sorted(pairs(match(ra, dec, footprints, radius * ARCSEC))) == expected
