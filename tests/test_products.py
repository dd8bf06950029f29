"""What a search of images leaves besides its records."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch import products
from raysearch.config import load
from raysearch.engine.folder.files import read_arrow
from raysearch.errors import ConfigError
from raysearch.model import Observation, Target, observations_to_arrow
from raysearch.report.spectra import COLUMNS
from raysearch.sections import Spectra
from raysearch.worklist import WorkList

ARCSEC = 1.0 / 3600.0


def records(*rows):
    names = ("obs_id", "target", "ra", "dec", "kind", "snr", "catalogue")
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
    return table.append_column("stamp", pa.array([b"pixels"] * len(rows), pa.binary()))


def test_sources_of_one_sign_at_one_place_are_one():
    found = products.sources(
        records(
            ("p1", "t", 10.0, 0.0, "red", 6.0, "difference"),
            ("p2", "t", 10.0 + 4 * ARCSEC, 0.0, "red", 9.0, "difference"),
            ("p2", "u", 10.0 + 4 * ARCSEC, 0.0, "red", 9.0, "difference"),  # two targets' boxes overlap
            ("p1", "t", 10.0, 2 * ARCSEC, "blue", 7.0, "difference"),
            ("p1", "t", 10.0, 20 * ARCSEC, "red", 5.5, "difference"),
            ("p1", "t", 10.0, 0.0, "red", 99.0, "a"),  # of a single band
        )
    )
    assert [(row["kind"], row["snr"], row["n_pairs"], row["target"]) for row in found.to_pylist()] == [
        ("red", 9.0, 2, "t"), ("blue", 7.0, 1, "t"), ("red", 5.5, 1, "t"),
    ]  # fmt: skip
    assert found["source"].to_pylist() == ["SPX J004000.26+000000.0", "SPX J004000.00+000002.0", "SPX J004000.00+000020.0"]
    assert not {"catalogue", "stamp"} & set(found.column_names)


def test_no_source_has_a_signal_to_noise_that_is_not_the_highest_where_some_are_unknown():
    found = products.sources(
        records(("p", "t", 10.0, 0.0, "red", math.nan, "difference"), ("q", "t", 10.0, 0.0, "red", 5.0, "difference"))
    )
    assert [(row["snr"], row["n_pairs"]) for row in found.to_pylist()] == [(5.0, 2)]


def test_records_that_are_no_sources_make_none():
    assert products.sources(pa.table({"obs_id": ["p"], "target": ["t"], "peak": [1.0]})) is None
    assert products.sources(records()).num_rows == 0


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (58.0380, 24.2586666, "SPX J035209.12+241531.1"),
        (0.0, -0.0, "SPX J000000.00+000000.0"),
        (359.99999999, -0.000027, "SPX J235959.99-000000.0"),
        (15.0, 90.0, "SPX J010000.00+900000.0"),
        (270.5, -66.5, "SPX J180200.00-663000.0"),
    ],
)
def test_names_are_positions_truncated(ra, dec, name):
    assert products.iau_name(ra, dec) == name


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_every_position_has_a_name_near_it(ra, dec):
    told = products.iau_name(ra, dec).removeprefix("SPX J")
    sign = told.index("-") if "-" in told else told.index("+")
    digits, below = told[:sign], told[sign + 1 :]
    hours = int(digits[:2]) + int(digits[2:4]) / 60 + float(digits[4:]) / 3600
    degrees = int(below[:2]) + int(below[2:4]) / 60 + float(below[4:]) / 3600
    assert -1e-9 <= ra - hours * 15 <= 15 * 0.01 / 3600 + 1e-7 or ra > 359.99999
    assert -1e-7 <= abs(dec) - degrees <= 0.1 / 3600 + 1e-7


def test_names_are_unique():
    assert products.unique(["x", "y", "x", "x"]) == ["x", "y", "xb", "xc"]


def test_the_sources_whose_spectra_are_asked_for():
    found = products.sources(
        records(("p", "t", 10.0, 0.0, "red", 6.0, "difference"), ("p", "t", 11.0, 0.0, "blue", 5.0, "difference"),
                ("p", "t", 12.0, 0.0, "blue", 4.9, "difference"))
    )  # fmt: skip
    asked = {which: products.chosen(found, Spectra(sources=which))["ra"].to_pylist() for which in ("all", "red", "blue")}
    assert asked == {"all": [10.0, 11.0], "red": [10.0], "blue": [11.0]}


def test_neighbours_of_whatever_colour_are_looked_at_too_and_have_no_spectra():
    """A red source's spectrum held the light of a blue one beside it, where only red ones were asked for."""
    seen = records(("p", "t", 10.0, 0.0, "red", 9.0, "difference"), ("p", "t", 10.0, 16 * ARCSEC, "blue", 7.0, "difference"),
                   ("p", "t", 10.0, ARCSEC, "", 30.0, "a"), ("p", "t", 10.0, -20 * ARCSEC, "", 3.0, "b"),
                   ("q", "t", 10.0, -21 * ARCSEC, "", 4.0, "a"), ("p", "t", 10.0, 51 * ARCSEC, "", 99.0, "a"))  # fmt: skip
    wanted = products.chosen(products.sources(seen), Spectra(sources="red"))
    every = products.with_neighbours(wanted, seen)
    assert every["name"].to_pylist() == ["SPX J004000.00+000000.0", "SPX J004000.00+000016.0", "SPX J004000.00-000021.0"]
    others = {name: [0.0] * 3 for name in COLUMNS if name not in ("source", "flux_ujy")}
    measured = pa.table({"target": every["name"], "flux_ujy": [1.0, 2.0, 3.0], **others})
    spectra = products.tidy(measured, wanted["name"])
    assert (spectra["source"].to_pylist(), spectra["flux_ujy"].to_pylist()) == (wanted["name"].to_pylist(), [1.0])
    assert products.with_neighbours(wanted.slice(0, 0), seen).num_rows == 0


def test_the_search_for_spectra_looks_at_every_band(tmp_path):
    asked = {"time": ["2026-01-01", "2026-02-01"], "wavelength": ["1 um", "4 um"]}
    pairs = load(
        "spherex-sources",
        {"targets.names": ["M 31"], "spectra.size": "0.1 deg"} | {f"observations.{k}": v for k, v in asked.items()},
    )
    found = pa.table({"name": ["s"], "ra": [1.0], "dec": [2.0]})
    search = products.spectra_search(pairs, found, tmp_path)
    assert (search.kind, search.detector.name, search.images.size) == ("images", "photometry", 0.1)
    assert search.observations.time == ("2026-01-01", "2026-02-01")
    assert (search.observations.wavelength, search.observations.filters, search.images.bands) == ((), (), ())
    assert read_arrow(tmp_path / products.CHOSEN) == found
    assert search.targets.table == str(tmp_path / products.CHOSEN)


def test_targets_without_an_image_are_there_too():
    here, there, nowhere = Target("here", 1.0, 2.0), Target("there", 3.0, 4.0), Target("nowhere", 5.0, 6.0)
    work = observations_to_arrow(
        [Observation("a", ("u",), (here, there)), Observation("b", ("u",), (here,)), Observation("c", ("u",), (here,))]
    )
    outcomes = pa.table({"obs_id": ["a", "b", "c"], "status": ["detected", "nothing", "failed"]})
    candidates = pa.table({"obs_id": ["a", "a"], "target": ["there", "there"]})
    rows = products.by_target(WorkList(work, (here, there, nowhere)), outcomes, candidates).to_pylist()
    assert [(row["target"], row["observations"], row["searched"], row["found"]) for row in rows] == [
        ("here", 3, 2, 0), ("nowhere", 0, 0, 0), ("there", 1, 1, 1),
    ]  # fmt: skip


def test_the_table_of_cutouts_is_by_target_and_time():
    table = pa.table(
        {
            "obs_id": ["a", "b", "c", "d"],
            "target": ["y", "x", "y", "y"],
            "mjd": [3.0, 1.0, 2.0, 1.0],
            "cutout": [b"3", b"1", b"2", b""],
        }
    )
    rows = products.cutouts(table).to_pylist()
    assert [(row["target"], row["cutout_index"], row["obs_id"]) for row in rows] == [("x", 1, "b"), ("y", 1, "c"), ("y", 2, "a")]
    assert "cutout" not in rows[0]
    with pytest.raises(ConfigError, match="no cutouts"):
        products.cutouts(table.drop_columns("cutout"))
