"""Work that spreads gives the same, in this process and on Ray."""

import os
import signal

import numpy as np
import pytest

from raysearch.engine.options import EngineOptions
from raysearch.engine.workers.spread import spreading
from raysearch.errors import ConfigError, TableError


def add(shared, item):
    return int(shared.sum()) + item


def refuse(_, item):
    raise TableError(f"item {item} is none")


def die_once(path, item):
    """Work whose process is killed at the first try."""
    try:
        path.mkdir()
    except FileExistsError:
        return item
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def die(_, item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_item_once_in_this_process():
    with spreading(EngineOptions(engine="inline")) as spread:
        assert sorted(spread(add, np.ones(10), range(20))) == list(range(10, 30))
        assert list(spread(add, np.ones(10), [])) == []
        with pytest.raises(TableError, match="item 3 is none"):
            list(spread(refuse, None, [3]))


@pytest.mark.slow
def test_every_item_once_on_ray(tmp_path):
    with spreading(EngineOptions(detectors=2)) as spread:
        assert sorted(spread(add, np.ones(10), range(20))) == list(range(10, 30))
        with pytest.raises(TableError, match="item 3 is none"):
            list(spread(refuse, None, [3]))
        assert list(spread(die_once, tmp_path / "tried", [7])) == [7]
        with pytest.raises(ConfigError, match="ended its Ray worker each time"):
            list(spread(die, None, [7]))
