"""Every column of every table has a meaning, in the words of the VO."""

import pytest
from astropy import units
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd

from raysearch import products, search
from raysearch.archives.obscore import OBSCORE
from raysearch.archives.obscore import UNITS as OBSCORE_UNITS
from raysearch.detect import DETECTORS, open_detector
from raysearch.engine.records import COMMON, OF_LINES
from raysearch.model import OUTCOME_SCHEMA, WORK_SCHEMA
from raysearch.report import columns, mef
from raysearch.report.tables import LIMITS_SCHEMA

NAMES = {
    "candidates": [*COMMON, *OF_LINES, "targets"],
    "cutouts": [
        *mef.INFO.values(),
        "cutout_index",
        "shape",
        "psf_shape",
        "image",
        "flags",
        "variance",
        "zodi",
        "solid_angle",
        "psf",
    ],
    "outcomes": OUTCOME_SCHEMA.names,
    "limits": LIMITS_SCHEMA.names,
    "targets": [*search.TARGETS_SCHEMA.names, *products.TARGETS_SCHEMA.names],
    "observations": [*WORK_SCHEMA.names, *OBSCORE.names],
    "sources": ["source", "n_pairs"],
}
FILES = {"map", "cutout"}
KNOWN = {**{("", name): column for name, column in columns.COLUMNS.items()}, **columns.IN_TABLES}


def untold(names):
    """Those without a description, or without a UCD though they are neither files nor lists of records."""
    known = {name: columns.describe(name) for name in names}
    return [n for n, column in known.items() if not column.description or not (column.ucd or n in {*FILES, "limits", "ranges"})]


@pytest.mark.parametrize("table", NAMES)
def test_every_column_is_told(table):
    assert untold(NAMES[table]) == []


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, shipped in DETECTORS.items() for name in shipped])
def test_every_column_of_every_detector_is_told(kind, name):
    assert untold(open_detector(name, {}, kind).columns) == []


@pytest.mark.parametrize("key", KNOWN, ids=str)
def test_units_and_ucds_are_those_of_the_standards(key):
    known = KNOWN[key]
    if known.ucd:
        parse_ucd(known.ucd, check_controlled_vocabulary=True)
    if known.unit:
        for form in ("vounit", "fits"):
            assert units.Unit(units.Unit(known.unit).to_string(form), format=form) == units.Unit(known.unit)
    assert len(known.description) <= 68  # one card of a FITS header


@pytest.mark.parametrize("name", OBSCORE_UNITS)
def test_obscore_has_its_own_units(name):
    assert columns.describe(name).unit == OBSCORE_UNITS[name]


@pytest.mark.parametrize(
    ("name", "unit"),
    [("rest_um", "um"), ("extent_arcsec", "arcsec"), ("my_flux_w_m2", "W / m2"), ("my_flux_w_m2_err", "W / m2"), ("mine", ""),
     ("depth_ujy", "uJy"), ("delay_s", "s"), ("_s", "s")],
)  # fmt: skip
def test_a_column_that_nobody_knows_tells_its_unit_by_its_name(name, unit):
    assert columns.describe(name).unit == unit


def test_some_columns_mean_something_else_in_one_table():
    assert columns.describe("x", "cutouts") != columns.describe("x") == columns.describe("x", "sources")


def test_a_fits_header_is_told():
    header = fits.Header([("TTYPE1", "a"), ("TFORM1", "D"), ("TTYPE2", "b"), ("TFORM2", "D")])
    columns.tell(header, 1, columns.Column("An angle", "pos.posAng", "deg"))
    columns.tell(header, 2, columns.Column())
    assert list(header) == ["TTYPE1", "TFORM1", "TUNIT1", "TTYPE2", "TFORM2", "TUCD1", "TCOMM1"]


def test_letters_beyond_ascii_become_escapes():
    assert columns.in_ascii("α Tau") == r"\u03b1 Tau"
    assert columns.in_card("α\x00\tTau\x7f") == r"\u03b1\x00\x09Tau\x7f"
