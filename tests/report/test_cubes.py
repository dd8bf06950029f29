"""The planes around a line leave as a cube that raysearch itself reads back, plane for plane."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from raysearch.model import Line, Observation, Target, Usage
from raysearch.read.cube import CubeReader
from raysearch.read.store import StoreConfig
from raysearch.report.cubes import write_cube
from raysearch.testing import CubeSpec, make_cube

LINE = Line("[Fe II] 25.988", 25.98839)
TARGET = Target("Größe <1>", 68.0, 25.0)
ROW = {"obs_id": "a/b", "line": LINE.name, "target": TARGET.name, "config_hash": "cafe"}


def read(config, uri, window):
    async def main():
        reader = CubeReader(config, (LINE,), window, extensions=("ERR", "DQ", "WMAP"))
        try:
            return await reader.read(Observation("a/b", (uri,), (TARGET,)), Usage())
        finally:
            await reader.close()

    return asyncio.run(main())


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    spec = CubeSpec("c1", ra=68.0, dec=25.0)
    pixels = read(StoreConfig(memory={"memory://c": make_cube(spec)}), "memory://c", 12)
    path = tmp_path_factory.mktemp("cubes") / "cut.fits"
    write_cube(pixels, pixels.windows[0], ROW, path)
    return pixels, path


def test_the_planes_come_back(cut):
    pixels, path = cut
    [then], [now] = pixels.windows, read(StoreConfig(), str(path), None).windows
    assert now.planes.keys() == then.planes.keys()
    for role, planes in then.planes.items():
        np.testing.assert_array_equal(now.planes[role], planes)
    np.testing.assert_allclose(now.wavelength_um, then.wavelength_um, rtol=1e-12)


def test_the_sky_and_the_unit_are_the_whole_cubes(cut):
    pixels, path = cut
    there = WCS(fits.Header.fromstring(pixels.header)).celestial
    with fits.open(path, checksum=True) as file:
        file.verify("exception")
        here = WCS(file["SCI"].header, file).celestial
        assert file["SCI"].header["BUNIT"] == fits.Header.fromstring(pixels.header)["BUNIT"]
        assert (file[0].header["PLANE0"], file[0].header["OBS_ID"]) == (pixels.windows[0].start, "a/b")
        assert "Gr" in file[0].header["OBJECT"]
    corner = here.pixel_to_world(3, 4)
    assert corner.separation(there.pixel_to_world(3, 4)).arcsec < 1e-9
    assert [one.name for one in Path(path).parent.iterdir()] == ["cut.fits"]
