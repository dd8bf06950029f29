"""What workers draw: every candidate's figures within a budget, and never an error for odd data."""

import dataclasses
import gzip
import math
import pickle

import numpy as np
import pytest
from plot_fakes import ABSENT, THERE, Observed, Silent, Telling, pair

from raysearch.model import Candidate, Illustrator, Limit, Pixels
from raysearch.plot.fits import card
from raysearch.plot.illustrators import LineIllustrator, PairIllustrator, brightest, chosen


def test_each_candidate_has_its_figures(observed: Observed) -> None:
    illustrator = LineIllustrator()
    assert isinstance(illustrator, Illustrator)
    figures = illustrator.draw(observed.pixels, observed.records)
    assert [(figure.candidate, figure.name) for figure in figures] == [(0, name) for name in ("planes", "map", "spectrum", "curve")]
    assert all(figure.svg.startswith(b"<svg ") for figure in figures)
    assert all(len(gzip.compress(figure.svg)) < 10_000 for figure in figures)
    assert "not detected: H2 S(8) <5.053> at 5.3900" in figures[3].alt


def test_a_detector_without_maps_has_figures_too(published: Observed) -> None:
    figures = LineIllustrator().draw(published.pixels, published.records)
    assert [figure.name for figure in figures] == ["planes", "spectrum", "curve"]
    assert all(figure.svg for figure in figures)


def test_figures_travel_and_do_not_depend_on_what_was_drawn_before(observed: Observed, published: Observed) -> None:
    illustrator = pickle.loads(pickle.dumps(LineIllustrator()))
    first = illustrator.draw(observed.pixels, observed.records)
    LineIllustrator().draw(published.pixels, published.records)
    assert LineIllustrator().draw(observed.pixels, observed.records) == first


def test_only_the_most_significant_are_drawn(observed: Observed) -> None:
    (one,) = observed.candidates
    several = [dataclasses.replace(one, values={**one.values, "snr": snr}) for snr in (5.0, 50.0, math.nan, 7.0)]
    limits = [record for record in observed.records if isinstance(record, Limit)]
    assert chosen(several, 2) == [1, 3]
    figures = LineIllustrator(most=2).draw(observed.pixels, [*limits, *several])
    assert {figure.candidate for figure in figures} == {1, 3}
    assert chosen([Candidate("t", {}), Candidate("t", {})], 1) == [0]


def test_a_map_that_cannot_be_read_costs_that_candidate_only(observed: Observed) -> None:
    (one,) = observed.candidates
    spoiled = dataclasses.replace(one, values={**one.values, "map": b"no FITS file"})
    figures = LineIllustrator().draw(observed.pixels, [spoiled, one])
    failed, *others = figures
    assert (failed.candidate, failed.svg) == (0, b"")
    assert failed.alt.startswith("could not be drawn: OSError: ")
    assert {figure.candidate for figure in others} == {1}
    assert all(figure.svg for figure in others)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_odd_pixels_make_no_error(observed: Observed, value: float) -> None:
    windows = []
    for window in observed.pixels.windows:
        odd = {name: np.full_like(plane, value) for name, plane in window.planes.items()}
        windows.append(dataclasses.replace(window, planes=odd))
    pixels = dataclasses.replace(observed.pixels, windows=tuple(windows), header="")
    bare = [dataclasses.replace(one, values={"value": 1.0}) for one in observed.candidates]
    for records in (observed.records, bare):
        figures = LineIllustrator().draw(pixels, records)
        assert figures
        assert all(figure.svg or figure.alt for figure in figures)


def test_pairs_have_the_region_and_a_triptych_of_each_source() -> None:
    records = [Candidate("HL Tau", {"catalogue": "difference", **source}) for source in pair()[1]]
    records.insert(1, Candidate("HL Tau", {**records[0].values, "catalogue": "a"}))
    figures = PairIllustrator(Telling()).draw(Pixels("pair", "memory://"), records)
    assert [(figure.candidate, figure.name) for figure in figures] == [(-1, "region 1"), (0, "triptych"), (2, "triptych")]
    assert all(figure.svg for figure in figures)
    assert PairIllustrator(Silent()).draw(Pixels("pair", "memory://"), []) == []


def test_where_no_curve_is_told_none_is_drawn(observed: Observed) -> None:
    silent = [dataclasses.replace(one, curve=None) for one in observed.candidates]
    figures = LineIllustrator().draw(observed.pixels, silent)
    assert [figure.name for figure in figures] == ["planes", "map", "spectrum"]


def test_the_brightest_region_of_a_line_is_found_without_a_map(observed: Observed) -> None:
    window = observed.pixels.windows[0]
    region = brightest({"wavelength_um": 5.3405}, window)
    assert region is not None
    y, x = np.nonzero(region)
    assert (y.mean(), x.mean()) == pytest.approx((14.0, 15.0), abs=0.5)


def test_cards_are_read_wherever_they_stand(observed: Observed) -> None:
    assert card(observed.pixels.header, "BUNIT") == "MJy/sr"
    assert card(observed.pixels.header, "CRPIX1") == "14.5"
    assert card(observed.pixels.header, "NOTHERE") is None
    assert card("COMMENT BUNIT   = 'no'".ljust(80) + "BUNIT   = 'Jy / it''s' / comment".ljust(80), "BUNIT") == "Jy / it''s"


def test_the_lines_searched_are_those_of_the_target(observed: Observed) -> None:
    assert {window.line.name for window in observed.pixels.windows} == {THERE.name, ABSENT.name}
