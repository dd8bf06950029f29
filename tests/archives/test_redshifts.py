"""Redshifts and radial velocities from tables."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import LSRK, SkyCoord
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from raysearch.archives.files import Sheet
from raysearch.archives.redshifts import read_redshifts
from raysearch.archives.tables import read_targets
from raysearch.errors import TableError
from raysearch.model import LIGHT_KM_S


def targets(tmp_path, content, **options):
    (tmp_path / "t.csv").write_text(content)
    return read_targets(tmp_path / "t.csv", **options)


def one(column, value, ra=1.0, dec=2.0):
    sheet = Sheet(Path("t.parquet"), pa.table({column: [value]}), np.array([1]))
    return read_redshifts(sheet, np.array([0]), np.array([ra]), np.array([dec]), 0.0)[0][0]


@pytest.mark.parametrize(
    "column",
    [
        "rv",
        "RV",
        "radial_velocity",
        "rv_kms",
        "rv (km/s)",
        "RV [km s-1]",
        "vhelio",
        "v_hel",
        "HRV",
        "cz",
        "Vrad",
        "RadVel",
        "heliocentric_velocity",
    ],
)
def test_spellings_of_velocities(tmp_path, column):
    assert targets(tmp_path, f"name,ra,dec,{column}\nA,1,2,299.792458\n").targets[0].redshift == pytest.approx(1e-3)


def test_a_velocity_among_the_redshifts_is_told(tmp_path):
    read = targets(tmp_path, "name,ra,dec,z\nA,1,2,17000\nB,1,3,0.1\n")
    assert [target.redshift for target in read.targets] == [0.0, 0.1]
    assert read.problems == ["row 1 searched at redshift 0: z is no redshift, for example '17000'"]


def test_metres_per_second_by_name(tmp_path):
    assert targets(tmp_path, "name,ra,dec,rv (m/s)\nA,1,2,299792.458\n").targets[0].redshift == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("unit", "value"), [("km/s", 299.792458), ("m/s", 299792.458), ("km s-1", 299.792458), ("cm/s", 29979245.8)]
)
def test_the_unit_of_the_file(tmp_path, unit, value):
    Table({"ra": [1.0], "dec": [2.0], "rv": [value]}, units={"rv": unit}).write(tmp_path / "t.ecsv")
    assert read_targets(tmp_path / "t.ecsv").targets[0].redshift == pytest.approx(1e-3)


def test_a_unit_that_is_no_velocity(tmp_path):
    Table({"ra": [1.0], "dec": [2.0], "rv": [5.0]}, units={"rv": "mas"}).write(tmp_path / "t.ecsv")
    with pytest.raises(TableError, match=r"column rv is in 'mas', which is no velocity; convert it to km/s"):
        read_targets(tmp_path / "t.ecsv")


def test_a_measured_velocity_is_c_times_the_redshift(tmp_path):
    """IAU 2000 Resolution C1; the relativistic formula would give 0.0339 for 10,000 km/s."""
    assert targets(tmp_path, "name,ra,dec,rv\nA,1,2,10000\n").targets[0].redshift == pytest.approx(10_000 / LIGHT_KM_S, rel=1e-12)


@given(st.floats(-0.5, 5.0))
def test_simbads_velocity_comes_back_as_its_redshift(z):
    """The velocity as SIMBAD gives it: v/c = ((1 + z)^2 - 1) / ((1 + z)^2 + 1)."""
    kms = LIGHT_KM_S * ((1 + z) ** 2 - 1) / ((1 + z) ** 2 + 1)
    assert one("rvz_radvel", kms) == pytest.approx(z, abs=1e-9)


@given(st.floats(0, 359.9), st.floats(-90, 90), st.floats(-300, 300))
def test_velocities_against_the_local_standard_of_rest(ra, dec, kms):
    no_motion = {"pm_ra_cosdec": 0 * u.mas / u.yr, "pm_dec": 0 * u.mas / u.yr}
    still = SkyCoord(ra * u.deg, dec * u.deg, distance=100 * u.pc, radial_velocity=kms * u.km / u.s, **no_motion)
    velocity = still.transform_to(LSRK()).radial_velocity.to_value("km/s")
    assert one("vlsr", velocity, ra, dec) == pytest.approx(kms / LIGHT_KM_S, abs=1e-9)


def test_a_redshift_counts_before_a_velocity_and_that_before_the_default(tmp_path):
    content = "name,ra,dec,redshift,rv\nA,1,2,0.5,300\nB,2,2,,299.792458\nC,3,2,,\nD,4,2,0.25,\n"
    table = targets(tmp_path, content, redshift=0.125)
    assert [t.redshift for t in table.targets] == [0.5, pytest.approx(1e-3), 0.125, 0.25]
    assert table.problems == ["row 1 with both redshift and rv: the redshift counts"]


def test_velocities_that_cannot_be_are_told(tmp_path):
    table = targets(tmp_path, "name,ra,dec,rv\nA,1,2,-999999\nB,2,2,fast\nC,3,2,nan\nD,4,2,0\n", redshift=0.5)
    assert [t.redshift for t in table.targets] == [0.5, 0.5, 0.5, 0.0]
    assert table.problems == ["2 rows (rows 1-2) searched at redshift 0.5: rv is no velocity, for example '-999999'"]


def test_an_odd_redshift_leaves_the_velocity(tmp_path):
    table = targets(tmp_path, "name,ra,dec,z,rv\nA,1,2,-99,299.792458\n")
    assert table.targets[0].redshift == pytest.approx(1e-3)
    assert table.problems == ["row 1 searched at its rv: z is no redshift, for example '-99'"]
