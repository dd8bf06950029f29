"""Numbers as figures say them."""

import math

import pytest

from raysearch.model import Candidate
from raysearch.plot.words import measured, nice, number, record_of, subject


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0312, "0.0312"),
        (45.29, "45.3"),
        (-2.5, "−2.5"),
        (45_321.0, "45,300"),
        (999.6, "1 × 10³"),
        (3.2e-19, "3.2 × 10⁻¹⁹"),
        (1.234e7, "1.23 × 10⁷"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_numbers_are_readable(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3.2149, 0.4512, "3.21 ± 0.45 km/s"),
        (-98.47, 8.1, "−98.5 ± 8.1 km/s"),
        (2.17e-17, 6.5e-18, "(2.17 ± 0.65) × 10⁻¹⁷ km/s"),
        (22567.0, 59.0, "22,567 ± 59 km/s"),
        (12.0, math.nan, "12 km/s"),
        (0.0, 0.5, "0.00 ± 0.50 km/s"),
    ],
)
def test_measurements_have_their_errors(value: float, error: float, text: str) -> None:
    assert measured(value, error, "km/s") == text


@pytest.mark.parametrize(("value", "round_"), [(1.0, 1.0), (1.99, 1.0), (2.0, 2.0), (7.3, 5.0), (0.034, 0.02), (480.0, 200.0)])
def test_bars_are_of_round_length(value: float, round_: float) -> None:
    assert nice(value) == pytest.approx(round_)


def test_a_candidate_becomes_its_row() -> None:
    record = record_of(Candidate("HL Tau", {"snr": 5.0}, "H2", 2.12, 2.13))
    assert record == {"target": "HL Tau", "line": "H2", "rest_um": 2.12, "wavelength_um": 2.13, "snr": 5.0}
    assert subject(record) == "H2 of HL Tau"
    assert record_of(Candidate("HL Tau", {"snr": 5.0})) == {"target": "HL Tau", "snr": 5.0}
    assert subject({"target": ""}) == "the candidate"
