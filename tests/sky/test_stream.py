"""Matching in a stream gives what matching in one piece gives."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import ConfigError, TableError
from raysearch.sky import match, parse_s_region
from raysearch.sky.stream import match_stream

index_module = importlib.import_module("raysearch.sky.index")
stream_module = importlib.import_module("raysearch.sky.stream")


def chunks(ra, dec, size):
    parts = np.split(np.arange(len(ra)), range(size, len(ra), size))
    return [lambda part=part: (part, ra[part], dec[part]) for part in parts]


def backwards(work, shared, items):
    """Work that ends in another order than it began."""
    return reversed([work(shared, item) for item in items])


def sky(seed, targets=1200, footprints=90):
    """Return clustered targets (also at the poles and on both sides of RA 0), and footprints from arcseconds to tens of degrees."""
    rng = np.random.default_rng(seed)
    at = np.array([[0.0, 10.0], [180.0, 89.9], [90.0, -89.9], [120.0, 45.0], [359.9, -30.0]])
    place = at[rng.integers(len(at), size=targets)]
    dec = np.clip(place[:, 1] + rng.normal(0, 0.3, targets), -90, 90)
    ra = (place[:, 0] + rng.normal(0, 0.3, targets) / np.maximum(np.cos(np.radians(dec)), 0.01)) % 360
    texts = []
    for _ in range(footprints):
        chosen, size = rng.integers(targets), 10.0 ** rng.uniform(-3, 1.2)
        kind = rng.integers(4)
        if kind == 0:
            texts.append(f"CIRCLE ICRS {ra[chosen]} {dec[chosen]} {size}")
        elif kind == 1:
            texts.append(f"BOX ICRS {ra[chosen]} {dec[chosen]} {size} {2 * size}")
        elif kind == 2:
            texts.append(f"UNION ICRS (CIRCLE {ra[chosen]} {dec[chosen]} {size} BOX {ra[chosen]} {dec[chosen]} {size} {size})")
        else:
            texts.append(rng.choice(["", "POLYGON nonsense", f"CIRCLE ICRS {ra[chosen]} {dec[chosen]} 150"]))
    return ra, dec, texts


def in_one_piece(ra, dec, texts, radius=0.0):
    footprints = []
    for text in texts:
        try:
            footprints.append(parse_s_region(text))
        except ValueError:
            footprints.append(None)
    return match(ra, dec, footprints, radius)


def same(one, other):
    np.testing.assert_array_equal(one.footprint, other.footprint)
    np.testing.assert_array_equal(one.target, other.target)
    np.testing.assert_array_equal(one.separation_deg, other.separation_deg)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([70, 400, 5000]), radius=st.sampled_from([0.0, 0.01, 3.0]))
def test_a_stream_gives_what_one_piece_gives(tmp_path_factory, seed, size, radius):
    ra, dec, texts = sky(seed)
    whole = in_one_piece(ra, dec, texts, radius)
    found = match_stream(chunks(ra, dec, size), texts, tmp_path_factory.mktemp("stream"), radius_deg=radius, spread=backwards)
    assert found.targets == len(ra)
    assert found.pairs == len(whole.target) > 0
    same(found.load(), whole)


def test_small_blocks_and_small_merges_give_the_same(tmp_path, monkeypatch):
    ra, dec, texts = sky(4)
    whole = in_one_piece(ra, dec, texts)
    monkeypatch.setattr(index_module, "_PAIRS", 500)
    monkeypatch.setattr(stream_module, "_MERGED", 2000)
    monkeypatch.setattr(stream_module, "_TEXTS", 7)
    same(match_stream(chunks(ra, dec, 500), texts, tmp_path).load(), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.arrow"]


def test_footprints_that_cannot_be_read_are_named(tmp_path):
    found = match_stream(chunks(np.array([1.0]), np.array([1.0]), 1), ["CIRCLE ICRS 1 1 1", "CIRCLE 1", None], tmp_path)
    assert found.pairs == 1
    assert sorted(found.broken) == [1, 2]
    assert "a circle of 1 numbers" in found.broken[1]


def test_nothing_to_match_is_an_answer(tmp_path):
    assert match_stream([], ["CIRCLE ICRS 1 1 1"], tmp_path).pairs == 0
    empty = match_stream(chunks(np.array([1.0]), np.array([1.0]), 1), [], tmp_path)
    assert empty.pairs == 0
    assert len(empty.load().target) == 0


def test_targets_keep_the_numbers_that_their_chunk_gives(tmp_path):
    number = np.array([5, 8, 7_000_000_000])
    found = match_stream([lambda: (number, np.array([1.0, 50.0, 1.1]), np.array([1.0, 1.0, 1.0]))], ["CIRCLE ICRS 1 1 1"], tmp_path)
    assert found.load().target.tolist() == [5, 7_000_000_000]
    assert found.targets == 3


def test_a_position_off_the_sphere_and_a_radius_that_is_none_are_refused(tmp_path):
    ra, dec = np.zeros(20), np.zeros(20)
    dec[13] = np.nan
    with pytest.raises(TableError, match="1 targets have no position on the sphere"):
        match_stream(chunks(ra, dec, 5), ["CIRCLE ICRS 1 1 1"], tmp_path)
    with pytest.raises(ConfigError, match="between 0 and 180"):
        match_stream([], [], tmp_path, radius_deg=-1.0)
