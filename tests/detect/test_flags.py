"""Bad pixels by the names of their flags."""

import numpy as np
import pytest

from raysearch.detect.flags import BAD_FLAGS, bad_mask
from raysearch.errors import DetectorError
from raysearch.testing.spherex_spec import FLAG_BITS, QR3_FLAG_BITS

NAMES = {name: 1 << bit for name, bit in FLAG_BITS.items()}


def test_a_pixel_is_bad_that_carries_any_bad_flag_whatever_else_it_carries():
    plane = np.array([0, NAMES["SOURCE"], NAMES["SOURCE"] | NAMES["OVERFLOW"], NAMES["HOT"], NAMES["GHOST"]], np.int32)
    assert bad_mask(plane, NAMES, ["OVERFLOW", "HOT"]).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("bits", [FLAG_BITS, QR3_FLAG_BITS])
def test_the_default_spares_known_sources_in_both_releases(bits):
    names = {name: 1 << bit for name, bit in bits.items()}
    assert not bad_mask(np.array([names["SOURCE"]]), names, BAD_FLAGS).any()
    assert bad_mask(np.array([names["TRANSIENT"]]), names, BAD_FLAGS).all()


def test_values_follow_the_header_and_not_the_name():
    assert bad_mask(np.array([1, 2]), {"HOT": 2}, ["HOT"]).tolist() == [False, True]


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(DetectorError, match="no flag WARM in this image's header: known are COLD, HOT"):
        bad_mask(np.zeros(1, np.int32), {"HOT": 1, "COLD": 2}, ["WARM"])
