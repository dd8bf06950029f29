"""`[run] memory`, from the search file to the outcome."""

from pathlib import Path

import pytest

from raysearch import Search
from raysearch.errors import ConfigError
from raysearch.testing import CubeSpec, make_cube

REASON = (
    'needs 6.14 GB of memory, more than the 432 MB that run.memory = "1 GB" leaves for one observation: set run.memory to at least'
)


def huge(path: Path) -> None:
    """Write a cube of 12 planes of 256 MB, as a file with a hole."""
    cards = {
        "SIMPLE": "T",
        "BITPIX": "-32",
        "NAXIS": "3",
        "NAXIS1": "8000",
        "NAXIS2": "8000",
        "NAXIS3": "12",
        "CTYPE3": "'WAVE    '",
        "CUNIT3": "'um      '",
        "CRPIX3": "6.0",
        "CRVAL3": "17.936",
        "CDELT3": "0.006",
    }
    header = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in cards.items()) + "END".ljust(80)
    with path.open("wb") as file:
        file.write(header.ljust(2880).encode())
        file.truncate(2880 + 12 * 8000 * 8000 * 4 + 960)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Return a search of a small cube and of one that is too large."""
    cubes = tmp_path / "cubes"
    cubes.mkdir()
    huge(cubes / "huge.fits")
    (cubes / "small.fits").write_bytes(
        make_cube(CubeSpec(name="small", planes=120, ny=15, nx=15, wave_start_um=17.7, wave_step_um=0.0025))
    )
    return Search.from_dict(
        {
            "observations": {"table": f"{cubes}/"},
            "lines": {"list": [{"name": "[Fe II] 17.936", "wavelength": "17.936 um"}]},
            "run": {"engine": "inline", "memory": "1 GB"},
        }
    )


def test_a_cube_that_is_too_large_is_refused_with_its_size_and_the_plan_knows_before(search: Search, tmp_path: Path) -> None:
    plan = search.plan()
    assert plan.largest == 2 * 12 * 8000 * 8000 * 4
    for outcomes in (plan.outcomes, search.run(tmp_path / "run").arrow("outcomes")):
        large, small = outcomes.to_pylist()
        assert (large["status"], small["status"]) == ("failed", "nothing")
        assert large["reason"].startswith(REASON)
        assert large["bytes_read"] < 100_000


def test_too_little_memory_is_told_before_anything_is_asked(search: Search, tmp_path: Path) -> None:
    config = search.config.to_dict() | {"run": {"engine": "ray", "memory": "1 GB"}}
    with pytest.raises(ConfigError, match=r'run\.memory = "1 GB" is too little: .* need "1\.7 GB"; or set run\.engine = "inline"'):
        Search.from_dict(config).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
