"""Columns of archives in one set of units and types."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from astropy.units import Unit

from raysearch.archives.obscore import from_astropy, in_our_units


def arrow(**columns):
    return from_astropy(in_our_units(Table(columns))).to_pydict()


@pytest.mark.parametrize(
    ("unit", "factor"), [("m", 1.0), ("nm", 1e-9), ("um", 1e-6), ("Angstrom", 1e-10), ("mm", 1e-3), (None, 1.0)]
)
def test_wavelengths_become_metres_by_the_unit_they_come_in(unit, factor):
    column = MaskedColumn(np.array([5.0, 6.0], ">f4"), mask=[False, True], unit=unit)
    assert arrow(em_min=column) == {"em_min": [pytest.approx(5.0 * factor), None]}


def test_angles_and_times():
    assert arrow(s_ra=MaskedColumn([1, 2], unit="hourangle"))["s_ra"] == pytest.approx([15.0, 30.0])
    assert arrow(t_exptime=MaskedColumn([1.0], unit="h"))["t_exptime"] == pytest.approx([3600.0])
    assert arrow(t_min=MaskedColumn([60000.0], unit="d"))["t_min"] == [60000.0]
    assert arrow(t_min=MaskedColumn([60000.0], unit=Unit("MJD", parse_strict="silent")))["t_min"] == [60000.0]


def test_other_columns_keep_their_units():
    assert arrow(bandwidth=MaskedColumn([5.0], unit="nm"))["bandwidth"] == [5.0]


@pytest.mark.parametrize("unit", ["keV", "Hz", Unit("furlongs", parse_strict="silent")])
def test_what_is_no_length_is_refused(unit):
    with pytest.raises(ValueError, match=r"em_max is in '.*', which is none of its units"):
        arrow(em_max=MaskedColumn([1.0], unit=unit))
