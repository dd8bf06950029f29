"""Boxes of calibration products, each header read once."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from astropy.io import fits

from raysearch.errors import ConfigError, FormatError, StoreUnavailable
from raysearch.model import Usage
from raysearch.read.boxes import Box
from raysearch.read.fits import FitsFile
from raysearch.read.frame import Kept
from raysearch.read.maps import Maps
from raysearch.read.store import StoreConfig, open_store

WIDE = np.add.outer(np.arange(30) * 100.0, np.arange(40)).astype("f4")


def product(**extensions: np.ndarray) -> bytes:
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(array, name=name) for name, array in extensions.items())]).writeto(stream)
    return stream.getvalue()


def maps_of(usage: Usage, template: str = "memory://map{detector}.fits", **files: bytes) -> Maps:
    store = open_store(StoreConfig(memory={f"memory://{name}.fits": data for name, data in files.items()}, retries=0))
    return Maps(template, lambda uri: FitsFile(lambda spans: store.get_ranges(uri, spans, usage)), Kept())


def test_boxes_of_the_detectors_file_header_once() -> None:
    usage = Usage()
    maps = maps_of(usage, map3=product(IMAGE=WIDE))
    boxes = [Box(3, 4, 9, 8), Box(0, 6, 2, 12)]
    for requests in (1, 2):  # the first also brought the pixels of this small file
        first, second = asyncio.run(maps.load(3, "IMAGE", (30, 40), boxes))
        np.testing.assert_array_equal(first, WIDE[4:8, 3:9])
        np.testing.assert_array_equal(second, WIDE[6:12, 0:2])
        assert usage.requests == requests
    ((start, end),) = asyncio.run(maps.spans(3, "IMAGE", boxes))
    assert end - start == 8 * 160


def test_values_between_pixels() -> None:
    maps = maps_of(Usage(), map3=product(CWAVE=WIDE, CBAND=WIDE))
    places = [(3.25, 4.5), (-0.4, 0.0), (39.4, 29.0), (0.0, 0.0), (40.0, 3.0)]
    got = asyncio.run(maps.at(3, "CBAND", (30, 40), places))
    assert got[:4] == pytest.approx([453.25, 0.0, 2939.0, 0.0])
    assert np.isnan(got[4])


def test_errors_name_the_product() -> None:
    maps = maps_of(Usage(), map3=product(IMAGE=WIDE))
    with pytest.raises(FormatError, match=r"map3\.fits: no extension CWAVE; the file holds PRIMARY .*IMAGE"):
        asyncio.run(maps.load(3, "CWAVE", (30, 40), []))
    with pytest.raises(FormatError, match=r"map3\.fits: IMAGE has 30 x 40 pixels, the image 60 x 60"):
        asyncio.run(maps.load(3, "IMAGE", (60, 60), []))
    with pytest.raises(ConfigError, match=r"no calibration product: memory://map4\.fits: not in memory; set solid_angles"):
        asyncio.run(maps.load(4, "IMAGE", (30, 40), []))
    with pytest.raises(FormatError, match="does not say its DETECTOR"):
        asyncio.run(maps.load(None, "IMAGE", (30, 40), []))
    with pytest.raises(ConfigError, match=r"only \{detector\} can stand in braces"):
        maps_of(Usage(), "memory://{name}.fits")


def test_a_store_that_is_down_stays_transient() -> None:
    async def fetch(spans: object) -> list[bytes]:
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        asyncio.run(Maps("x{detector}", lambda _: FitsFile(fetch), Kept()).load(1, "IMAGE", (2, 2), []))
