"""The index of footprints: nothing that lies within a shape's reach is filed where its cell does not look."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.model import Circle, Footprint
from raysearch.sky.index import FINEST, WIDTH, FootprintIndex, cells_around, cells_of, joined, read_footprints
from raysearch.sky.regions import Regions, unit_vectors


def within(ra, dec, radius, rng, count=400):
    """Return positions on the rim of a cap and inside it, degrees; the radius in radians."""
    centre = unit_vectors(ra, dec)
    east = np.cross([0.0, 0.0, 1.0], centre) if abs(dec) < 89.999 else np.array([0.0, 1.0, 0.0])
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    angle = rng.uniform(0, 2 * np.pi, count)
    apart = radius * np.where(rng.random(count) < 0.7, 1.0, rng.random(count))
    sideways = np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north
    points = np.cos(apart)[:, None] * centre + np.sin(apart)[:, None] * sideways
    return np.degrees(np.arctan2(points[:, 1], points[:, 0])), np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1)))


@settings(max_examples=300, deadline=None)
@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 41.8103, -41.8103, 0.0])),
    order=st.integers(0, FINEST),
    seed=st.integers(0, 2**32 - 1),
)
def test_nine_cells_hold_every_point_that_is_no_farther_than_a_cell_is_wide(ra, dec, order, seed):
    ring = within(ra, dec, 0.999 * WIDTH / 2**order, np.random.default_rng(seed))
    around = cells_around(unit_vectors(np.array([ra]), np.array([dec])), order)[0]
    assert set(cells_of(*ring, order).tolist()) <= set(around.tolist())


def test_a_wider_ring_does_leave_the_nine_cells():
    rng = np.random.default_rng(0)
    around = cells_around(unit_vectors(np.array([0.0]), np.array([66.0])), 6)[0]
    assert not set(cells_of(*within(0.0, 66.0, 2.5 * WIDTH / 2**6, rng), 6).tolist()) <= set(around.tolist())


def test_shapes_are_filed_at_the_order_of_their_size():
    sizes = [100.0, 30.0, 1.0, 1e-3, 1e-9]
    footprints = [Footprint((Circle(10.0, 20.0, size),)) for size in sizes]
    index = FootprintIndex.of(Regions.of(footprints), len(footprints))
    assert [(shelf.order, sorted(set(shelf.shape.tolist()))) for shelf in index.shelves] == [
        (0, [0]),  # all twelve cells
        (0, [1]),
        (5, [2]),
        (FINEST, [3, 4]),
    ]
    assert len(index.shelves[0].cell) == 12
    assert len(index.shelves[2].cell) == 9


def test_the_bitmap_drops_what_is_near_no_footprint():
    footprints = [Footprint((Circle(10.0, 20.0, 0.01),)), Footprint((Circle(200.0, -40.0, 5.0),))]
    index = FootprintIndex.of(Regions.of(footprints), len(footprints))
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 5000), np.degrees(np.arcsin(rng.uniform(-1, 1, 5000)))
    near = index._near(cells_of(ra, dec, FINEST))
    assert near.mean() < 0.05
    assert index._near(cells_of(np.array([10.0, 200.0, 204.0]), np.array([20.0, -40.0, -41.0]), FINEST)).all()


def test_texts_that_cannot_be_read_are_named_and_match_nothing():
    texts = ["CIRCLE ICRS 10 20 1", None, "POLYGON 1 2", "CIRCLE ICRS 10 20 2"]
    parts = [read_footprints(texts[:2]), read_footprints(texts[2:], first=2)]
    regions = joined([regions for regions, _ in parts])
    assert regions.owner.tolist() == [0, 3]
    assert sorted(parts[0][1] | parts[1][1]) == [1, 2]
    (matches,) = FootprintIndex.of(regions, len(texts)).match(np.array([10.5, 11.9]), np.array([20.0, 20.0]))
    assert list(zip(matches.footprint.tolist(), matches.target.tolist(), strict=True)) == [(0, 0), (3, 0), (3, 1)]


def test_joined_regions_are_those_of_all_footprints_at_once():
    texts = ["POLYGON ICRS 0 0 2 0 1 1", "CIRCLE ICRS 10 20 1", "UNION (CIRCLE ICRS 1 1 1 POLYGON ICRS 5 5 7 5 6 6)"]
    whole, _ = read_footprints(texts)
    parts = joined([read_footprints([text], first=i)[0] for i, text in enumerate(texts)])
    for name in ("owner", "centre", "reach", "radius", "first", "count", "start", "stop", "plane", "pole"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_no_footprints_match_nothing():
    index = FootprintIndex.of(Regions.of([None, None]), 2)
    assert list(index.match(np.array([1.0]), np.array([2.0]))) == []
