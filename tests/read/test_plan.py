"""Plans cover what is needed, exactly and cheaply."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.model import Line, Target
from raysearch.read.plan import REQUEST_COST, Excerpt, Extent, ReadPlan, bounds, find_excerpts, make_plan

AXIS = 10 + np.arange(100) * 0.1
LINE = Line("a", 15.0)


def excerpt(start: int, stop: int) -> Excerpt:
    return Excerpt(LINE, 0.0, "", start, start, stop)


def test_redshifts_within_one_plane_are_one_window_of_the_nearest_target() -> None:
    targets = [Target("near", 1, 2, 1e-4), Target("beside", 1, 2, 2e-4), Target("far", 1, 2, 0.01)]
    found = find_excerpts([LINE], targets, AXIS, 2)
    assert [(e.targets, e.redshift) for e in found] == [(("near", "beside"), 1e-4), (("far",), 0.01)]


def test_a_window_reaches_equally_far_on_both_sides() -> None:
    [found] = find_excerpts([Line("a", 15.04)], [], AXIS, 20)
    assert (found.position, found.start, found.stop) == (51, 31, 72)
    assert AXIS[50] < 15.04 <= AXIS[51]


def test_windows_are_cut_at_the_cubes_edges() -> None:
    axis = np.arange(1.0, 11.0)
    cases = {1.0: (0, 0, 4), 2.0: (1, 0, 5), 9.5: (9, 6, 10), 10.0: (9, 6, 10)}
    for rest, expected in cases.items():
        [found] = find_excerpts([Line("a", rest)], [], axis, 3)
        assert (found.position, found.start, found.stop) == expected


def test_a_line_is_inside_up_to_half_a_plane_beyond_the_ends() -> None:
    axis = np.arange(1.0, 11.0)
    inside = {0.5: 0, 10.5: 10}
    for rest, position in inside.items():
        assert [e.position for e in find_excerpts([Line("a", rest)], [], axis, 3)] == [position]
    for rest in (0.49, 10.51):
        assert find_excerpts([Line("a", rest)], [], axis, 3) == ()
    assert [e.position for e in find_excerpts([Line("a", 5.0)], [], np.array([5.0]), 3)] == [0]


def test_no_window_means_the_whole_cube() -> None:
    [found] = find_excerpts([LINE], [], AXIS, None)
    assert (found.start, found.stop) == (0, AXIS.size)


def test_a_line_beyond_the_last_planes_centre_has_planes_whatever_the_window() -> None:
    for window in (0, 1, 20, None):
        [found] = find_excerpts([Line("a", 10.4)], [], np.arange(1.0, 11.0), window)
        assert found.position == found.stop == 10
        assert found.start < found.stop


def test_each_redshift_is_searched_once_for_its_nearest_target() -> None:
    targets = [Target("near", 0, 0, 0.01), Target("far", 0, 0, 0.01), Target("other", 0, 0, 0.0)]
    found = find_excerpts([LINE, Line("b", 15.05)], targets, AXIS, 2)
    assert [(e.line.name, e.redshift, e.targets) for e in found] == [
        ("a", 0.0, ("other",)),
        ("b", 0.0, ("other",)),
        ("a", 0.01, ("near", "far")),
        ("b", 0.01, ("near", "far")),
    ]
    assert [e.observed_um for e in found] == sorted(e.observed_um for e in found)


def test_without_targets_the_given_redshift_counts() -> None:
    [found] = find_excerpts([LINE], [], AXIS, 2, redshift=0.1)
    assert (found.redshift, found.targets, found.observed_um) == (0.1, (), pytest.approx(16.5))


KMS = 299792.458


def test_without_a_velocity_the_lines_own_plane_is_searched() -> None:
    for rest, plane in {15.0: 50, 15.04: 50, 15.06: 51, 9.96: 0, 19.94: 99}.items():
        [found] = find_excerpts([Line("a", rest)], [], AXIS, 3)
        assert found.searched == (plane, plane + 1)


def test_a_velocity_widens_what_is_searched_and_the_window_lies_around_it() -> None:
    [found] = find_excerpts([LINE], [], AXIS, 4, velocity=KMS * 0.3 / 15)
    assert found.searched == (47, 54)
    assert (found.start, found.stop) == (43, 58)
    assert found.position == 50
    narrow = find_excerpts([LINE], [], AXIS, 4, velocity=1.0)[0]
    assert (narrow.searched, narrow.start, narrow.stop) == ((50, 51), 46, 55)


def test_what_is_searched_is_cut_at_the_cubes_edges_and_brings_no_line_in() -> None:
    velocity = KMS / 10
    assert find_excerpts([Line("a", 10.5)], [], AXIS, 2, velocity=velocity)[0].searched[0] == 0
    assert find_excerpts([Line("a", 19.94)], [], AXIS, 2, velocity=velocity)[0].searched[1] == 100
    assert find_excerpts([Line("a", 9.9), Line("b", 20.1)], [], AXIS, 2, velocity=velocity) == ()
    [whole] = find_excerpts([LINE], [], AXIS, None, velocity=velocity)
    assert (whole.start, whole.stop) == (0, 100)


def test_targets_whose_ranges_overlap_or_touch_share_a_window() -> None:
    velocity = KMS * 0.3 / 15  # three planes on each side
    places = {"near": 0.0, "overlaps": 0.4 / 15, "apart": 3.0 / 15, "touches": -0.7 / 15}
    found = find_excerpts([LINE], [Target(name, 0, 0, z) for name, z in places.items()], AXIS, 2, velocity=velocity)
    assert [(e.targets, e.redshift, e.position) for e in found] == [
        (("near", "overlaps", "touches"), 0.0, 50),
        (("apart",), 0.2, 80),
    ]
    assert found[0].searched == (40, 58)
    assert (found[0].start, found[0].stop) == (38, 60)


def test_the_nearest_target_inside_the_cube_gives_the_redshift() -> None:
    targets = [Target("outside", 0, 0, 1.0), Target("second", 0, 0, 0.01), Target("third", 0, 0, 0.0)]
    [found] = find_excerpts([LINE], targets, AXIS, 2, velocity=KMS / 50)
    assert (found.targets, found.redshift) == (("second", "third"), 0.01)


def test_a_range_of_redshifts_is_one_wide_window_of_each_line() -> None:
    targets = [Target("near", 0, 0, 0.3), Target("far", 0, 0, 7.0)]
    found = find_excerpts([LINE, Line("b", 12.0)], targets, AXIS, 2, redshift_range=(0.1, 0.2))
    assert [(e.line.name, e.targets, e.searched) for e in found] == [
        ("b", ("near", "far"), (32, 45)),
        ("a", ("near", "far"), (65, 81)),
    ]
    assert [e.redshift for e in found] == pytest.approx([0.15, 0.15])
    assert [(e.start, e.stop) for e in found] == [(30, 47), (63, 83)]
    wider = find_excerpts([LINE], targets, AXIS, 2, redshift_range=(0.1, 0.2), velocity=KMS * 0.01)
    assert wider[0].searched[0] < 65
    assert wider[0].searched[1] > 81


@pytest.mark.parametrize(("ends", "searched", "observed"), [((-0.9, 0.1), (0, 66), 9.95), ((0.2, 5.0), (80, 100), 19.95)])
def test_a_range_that_leaves_the_cube_is_searched_inside(ends: tuple[float, float], searched: Any, observed: float) -> None:
    [found] = find_excerpts([LINE], [], AXIS, 0, redshift_range=ends)
    assert found.searched == searched
    assert found.observed_um == pytest.approx(observed)
    assert find_excerpts([LINE], [], AXIS, 0, redshift_range=(1.0, 2.0)) == ()


def test_a_reversed_extent_counts_from_its_end() -> None:
    assert Extent("SCI", 100, 10, 8).span(0, 3) == (100, 130)
    assert Extent("SCI", 100, 10, 8, reverse=True).span(0, 3) == (150, 180)


def test_ranges_are_joined_where_the_gap_costs_less_than_a_request() -> None:
    extent = Extent("SCI", 0, 1, 10 * REQUEST_COST)
    near = make_plan([excerpt(0, 10), excerpt(10 + REQUEST_COST, 20 + REQUEST_COST)], [extent])
    far = make_plan([excerpt(0, 10), excerpt(11 + REQUEST_COST, 20 + REQUEST_COST)], [extent])
    assert (near.requests, far.requests) == (1, 2)


def test_everything_in_one_range_is_the_whole() -> None:
    extents = [Extent("SCI", 40_000, 4000, 100), Extent("ERR", 450_000, 4000, 100)]
    assert make_plan([excerpt(0, 100)], extents, loaded=65_536) == ReadPlan((excerpt(0, 100),), ((65_536, 850_000),), whole=True)
    assert not make_plan([excerpt(0, 99)], extents).whole


def test_what_is_there_already_is_not_fetched() -> None:
    extent = Extent("SCI", 1000, 100, 50)
    assert make_plan([excerpt(0, 10)], [extent], loaded=1500).ranges == ((1500, 2000),)
    assert make_plan([excerpt(0, 5)], [extent], loaded=1500).ranges == ()


def test_a_plan_prints_what_it_will_do() -> None:
    text = str(make_plan([excerpt(3, 5)], [Extent("SCI", 1000, 100, 50)]))
    assert text == "a at 15.0000 um: planes 3-4\n1 request, 200 bytes: 1300-1499"


EXTENTS = st.lists(st.integers(1, 300_000), min_size=1, max_size=4)


@given(
    plane_bytes=st.integers(1, 40_000),
    planes=st.integers(1, 300),
    gaps=EXTENTS,
    data=st.data(),
    loaded=st.integers(0, 2_000_000),
    reverse=st.booleans(),
)
def test_every_needed_byte_is_covered_once_and_nothing_beyond_the_data(
    plane_bytes: int, planes: int, gaps: list[int], *, data: st.DataObject, loaded: int, reverse: bool
) -> None:
    extents, offset = [], 0
    for n, gap in enumerate(gaps):
        extents.append(Extent(f"E{n}", offset + gap, plane_bytes, planes, reverse))
        offset += gap + plane_bytes * planes
    starts = data.draw(st.lists(st.integers(0, planes - 1), min_size=1, max_size=5))
    excerpts = [excerpt(start, data.draw(st.integers(start + 1, planes))) for start in starts]
    plan = make_plan(excerpts, extents, loaded)

    assert all(start < end for start, end in plan.ranges)
    assert all(before[1] < after[0] for before, after in pairwise(plan.ranges))
    assert all(loaded <= start and end <= max(offset, loaded) for start, end in plan.ranges)
    needed = [e.span(x.start, x.stop) for x in excerpts for e in extents]
    for start, end in needed:
        start = max(start, loaded)
        assert start >= end or any(a <= start and end <= b for a, b in plan.ranges)
    for a, b in plan.ranges:  # a range begins and ends with needed bytes
        assert a == loaded or any(a == start for start, _ in needed)
        assert any(b == end for _, end in needed)

    cost = plan.nbytes + plan.requests * REQUEST_COST
    pieces = sorted((max(a, loaded), b) for a, b in needed if b > loaded)
    if pieces:  # never dearer than one request for all, nor than one for each
        assert cost <= max(b for _, b in pieces) - pieces[0][0] + REQUEST_COST
        assert cost <= sum(b - a for a, b in set(pieces)) + len(set(pieces)) * REQUEST_COST


AXES = st.lists(st.floats(0.01, 0.5), min_size=2, max_size=60).map(lambda steps: 1 + np.cumsum(steps))


@given(
    axis=AXES,
    rest=st.floats(0.5, 40),
    window=st.integers(0, 30),
    velocity=st.floats(1, 2e5),
    redshifts=st.lists(st.floats(-0.5, 0.5), max_size=6),
)
def test_every_wavelength_in_reach_is_searched_and_no_window_twice(
    axis: np.ndarray, rest: float, window: int, velocity: float, redshifts: list[float]
) -> None:
    targets = [Target(str(n), 0, 0, z) for n, z in enumerate(redshifts)]
    found = find_excerpts([Line("x", rest)], targets, axis, window, velocity=velocity)
    low, high = bounds(axis)
    inside = [t for t in targets or [Target("", 0, 0)] if low <= rest * (1 + t.redshift) <= high]
    assert sorted(name for e in found for name in e.targets) == sorted(t.name for t in inside if t.name)
    for e in found:
        assert 0 <= e.start <= e.searched[0] < e.searched[1] <= e.stop <= axis.size
        assert (e.start, e.stop) == (max(0, e.searched[0] - window), min(axis.size, e.searched[1] + window))
        reach = [(1 + z) * rest * (1 + side * velocity / KMS) for z in (t.redshift for t in inside) for side in (-1, 1)]
        planes = np.flatnonzero((axis >= min(reach)) & (axis <= max(reach))) if len(found) == 1 else []
        assert all(e.searched[0] <= plane < e.searched[1] for plane in planes)
    spans = sorted(e.searched for e in found)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


@given(axis=AXES, rest=st.floats(0.5, 40), window=st.integers(0, 30))
def test_the_position_is_the_first_plane_at_or_beyond_the_line(axis: np.ndarray, rest: float, window: int) -> None:
    for found in find_excerpts([Line("x", rest)], [], axis, window):
        assert 0 <= found.start <= min(found.position, axis.size - 1) < found.stop <= axis.size
        assert found.position == np.searchsorted(axis, rest, side="left")
        assert found.start == max(0, min(found.position - window, axis.size - 1))
        assert found.stop == min(axis.size, found.position + window + 1)
