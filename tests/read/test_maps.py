"""Boxes of calibration products, each header read once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from contextlib import nullcontext

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
    return Maps(template, lambda uri: FitsFile(lambda spans: store.get_ranges(uri, spans, usage)), Kept(), usage.versions)


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


def test_a_map_is_read_whole_once_its_boxes_cost_as_much() -> None:
    usage, wide = Usage(), np.add.outer(np.arange(300) * 1000.0, np.arange(400)).astype("f4")
    maps = maps_of(usage, map3=product(IMAGE=wide))
    costs = []
    for y in range(0, 170, 40):
        (got,) = asyncio.run(maps.load(3, "IMAGE", (300, 400), [Box(7, y, 9, y + 130)]))
        np.testing.assert_array_equal(got, wide[y : y + 130, 7:9])
        costs.append(usage.bytes_read)

    assert np.diff(costs).tolist() == [130 * 1600, 300 * 1600, 0, 0]
    assert costs[0] < 150 * 1600


def test_a_map_that_did_not_come_is_asked_for_again() -> None:
    usage, wide = Usage(), np.zeros((300, 400), "f4")
    content = product(IMAGE=wide)
    down = [False]

    async def fetch(spans: Sequence[tuple[int, int]]) -> list[bytes]:
        usage.requests += 1
        if down[0]:
            raise StoreUnavailable("down")
        return [content[start:end] for start, end in spans]

    maps = Maps("x{detector}", lambda _: FitsFile(fetch), Kept(), {})
    for down[0] in (False, False, True, False, False):
        with pytest.raises(StoreUnavailable) if down[0] else nullcontext():
            asyncio.run(maps.load(1, "IMAGE", (300, 400), [Box(0, 20, 3, 160)]))
    assert usage.requests == 1 + 2 + 2


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
        asyncio.run(Maps("x{detector}", lambda _: FitsFile(fetch), Kept(), {}).load(1, "IMAGE", (2, 2), []))
