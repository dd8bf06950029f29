"""Plans cover what is needed, exactly and cheaply."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.model import Line, Target
from raysearch.read.plan import REQUEST_COST, Excerpt, Extent, ReadPlan, find_excerpts, make_plan

AXIS = np.arange(10.0, 20.0, 0.1)
LINE = Line("a", 15.0)


def excerpt(start: int, stop: int) -> Excerpt:
    return Excerpt(LINE, 0.0, "", start, start, stop)


def test_redshifts_within_one_plane_are_one_window_of_the_nearest_target() -> None:
    targets = [Target("near", 1, 2, 0.0), Target("beside", 1, 2, 1e-9), Target("far", 1, 2, 0.01)]
    found = find_excerpts([LINE], targets, AXIS, 2)
    assert [(e.targets, e.redshift) for e in found] == [(("near", "beside"), 0.0), (("far",), 0.01)]


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


@given(
    axis=st.lists(st.floats(0.01, 0.5), min_size=2, max_size=60).map(lambda steps: 1 + np.cumsum(steps)),
    rest=st.floats(0.5, 40),
    window=st.integers(0, 30),
)
def test_the_position_is_the_first_plane_at_or_beyond_the_line(axis: np.ndarray, rest: float, window: int) -> None:
    for found in find_excerpts([Line("x", rest)], [], axis, window):
        assert 0 <= found.start <= found.position < found.stop <= axis.size
        assert found.position == min(np.searchsorted(axis, rest, side="left"), axis.size - 1)
        assert found.start == max(0, found.position - window)
        assert found.stop == min(axis.size, found.position + window + 1)
