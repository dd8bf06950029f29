"""The model of scripts/benchmarks/model.py: what is narrow is narrow, and more nodes never make a search slower."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_model", ROOT / "scripts" / "benchmarks" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


model = _module()
FREE = model.Costs(
    driver_shard_s=1e-9, driver_row_s=1e-9, request_cpu_s=1e-9, row_cpu_s=1e-9, worker_row_s=1e-9, latency_s=1e-9,
    connection_bytes=1e15, in_flight=1, store_requests=1e12, commit_s=1e-9,
)  # fmt: skip
SEARCH = model.Search(requests=4, rounds=2, nbytes=1e6, detect_s=1e-9)
NODE = model.Node(cpus=8, nic_bytes=1e15)


@pytest.mark.parametrize(
    ("costs", "search", "node", "why", "one", "three"),
    [
        ({"latency_s": 0.1, "in_flight": 10}, {}, {}, "reads in flight", 50, 150),
        ({"connection_bytes": 1e6}, {}, {}, "reads in flight", 2, 6),
        ({"request_cpu_s": 0.01}, {}, {}, "loaders", 25, 75),
        ({}, {"detect_s": 0.1}, {}, "CPUs", 80, 240),
        ({}, {}, {"nic_bytes": 1e8}, "network", 100, 300),
        ({"driver_shard_s": 0.64}, {}, {}, "driver", 100, 100),
        ({"commit_s": 5.12}, {}, {}, "run folder", 100, 100),
        ({"store_requests": 400}, {}, {}, "store", 100, 100),
    ],
)
def test_the_narrowest_sets_the_pace(costs, search, node, why, one, three):
    parts = replace(SEARCH, **search), replace(NODE, **node), replace(FREE, **costs)
    assert model.pace(*parts, 1) == (pytest.approx(one, rel=1e-3), why)
    assert model.pace(*parts, 3) == (pytest.approx(three, rel=1e-3), why)


@given(st.sampled_from(sorted(model.SEARCHES)), st.sampled_from(sorted(model.MOVES)), st.integers(1, 999))
def test_more_nodes_are_never_slower(search, costs, nodes):
    parts = model.SEARCHES[search], model.NODE, model.MOVES[costs]
    assert model.pace(*parts, nodes)[0] <= model.pace(*parts, nodes + 1)[0]


@pytest.mark.parametrize("name", sorted(model.SEARCHES))
def test_the_page_tells_what_the_model_says(name):
    """docs/scale.md names the nodes from which on more help no longer."""
    nodes, rate, why = model.wall(model.SEARCHES[name], model.NODE, model.COSTS)
    assert why == "driver"
    assert rate == pytest.approx(10_000, rel=0.01)
    page = (ROOT / "docs" / "scale.md").read_text()
    assert f"{nodes} nodes: 10,000/s" in page
