"""How declared memory is shared out."""

import re
from pathlib import Path

import pytest
from engine_fakes import job_of
from hypothesis import given
from hypothesis import strategies as st

from raysearch import convert
from raysearch.engine import EngineOptions
from raysearch.engine.memory import DETECTOR, DRIVER, FULL, LOADER, RAY, Shares, shares, told
from raysearch.engine.run import bounded
from raysearch.errors import ConfigError, TooLarge

GB = 10**9
OPTIONS = st.builds(
    EngineOptions,
    engine=st.sampled_from(["ray", "inline"]),
    address=st.sampled_from(["local", "auto"]),
    detectors=st.integers(0, 64),
    loaders=st.integers(1, 4),
    memory=st.integers(4 * GB, 500 * GB),
)


@given(OPTIONS, st.integers(1, 128))
def test_the_parts_are_no_more_than_the_whole(options: EngineOptions, cpus: int) -> None:
    parts = shares(options, cpus)
    ray = options.engine == "ray"
    processes = DRIVER + ray * (parts.loaders * LOADER + RAY * (options.address == "local"))
    assert processes + parts.loaders * parts.held_bytes + parts.store_bytes + parts.detectors * parts.worker_bytes <= options.memory
    assert 1 <= parts.detectors <= cpus
    assert parts.worker_bytes > DETECTOR * ray
    # Whatever may be read at all has room in the object store: its arrays are half of what it needs.
    assert not ray or parts.held_bytes / 2 <= parts.store_bytes / parts.loaders / FULL + 1


@given(OPTIONS, st.integers(10**6, 10**13))
def test_what_a_refusal_advises_is_enough(options: EngineOptions, nbytes: int) -> None:
    try:
        shares(options).check(nbytes)
    except TooLarge as exc:
        advised = re.search(r'set run.memory to at least "(.+)"', str(exc))
        assert advised
        enough = convert.memory(advised[1], Path())
        assert enough > options.memory
        shares(EngineOptions(options.engine, options.address, options.detectors, loaders=options.loaders, memory=enough)).check(
            nbytes
        )


def test_a_refusal_tells_what_is_needed_and_what_there_is() -> None:
    with pytest.raises(TooLarge) as caught:
        shares(EngineOptions(detectors=2, memory=4 * GB)).check(1_900_000_000)
    assert str(caught.value) == (
        'needs 1.9 GB of memory, more than the 1.22 GB that run.memory = "4 GB" leaves for one observation: '
        'set run.memory to at least "5.8 GB"'
    )


@pytest.mark.parametrize(("engine", "least"), [("ray", 1_700_000_000), ("inline", 600_000_000)])
def test_too_little_to_work_with_is_told_with_what_is_enough(engine: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f'is too little: .* need "{told(least)}"'):
        shares(EngineOptions(engine=engine, memory=10**8))
    assert shares(EngineOptions(engine=engine, memory=least)).detectors == 1


def test_nothing_declared_is_nothing_refused() -> None:
    parts = shares(EngineOptions())
    parts.check(10**15)
    assert (parts.detectors, parts.worker_bytes, parts.loader_bytes) == (0, 0, 0)


def test_a_ray_of_ones_own_is_as_large_as_its_share() -> None:
    job, options = bounded(job_of(), EngineOptions(detectors=8, memory=3 * GB))
    assert options.object_store_bytes == job.shares.store_bytes
    assert options.detectors == job.shares.detectors == 2


def test_on_a_ray_that_is_joined_no_node_gets_more_detectors_than_fit() -> None:
    job, options = bounded(job_of(), EngineOptions(address="auto", memory=4 * GB), cpus=64)
    assert job.shares.detectors == 4
    assert options.detector_cpus == 16
    assert options.object_store_bytes == EngineOptions().object_store_bytes


def test_a_loader_is_ended_only_far_above_what_it_may_hold() -> None:
    parts = shares(EngineOptions(memory=4 * GB))
    assert parts.loader_bytes > LOADER + parts.held_bytes
    assert Shares().loader_bytes == 0
