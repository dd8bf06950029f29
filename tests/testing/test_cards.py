import pytest
from astropy.io import fits
from hypothesis import example, given
from hypothesis import strategies as st

from raysearch.testing.cards import card, header, padded

VALUES = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200).filter(lambda text: not text.endswith("&"))


@given(VALUES)
def test_astropy_reads_back_the_value(value):
    (line,) = card("KEY", value, "a comment")
    assert len(line) == 80
    assert fits.Header.fromstring(line)["KEY"] == value


@given(TEXTS)
@example("'" * 100)
def test_astropy_reads_back_the_text(text):
    lines = card("KEY", text)
    assert {len(line) for line in lines} == {80}
    assert fits.Header.fromstring("".join(lines))["KEY"] == text


def test_a_long_text_goes_on_as_the_convention_has_it():
    first, last = card("S_REGION", "x" * 100)
    assert first.rstrip() == "S_REGION= '" + "x" * 60 + "&'"
    assert last.rstrip() == "CONTINUE  '" + "x" * 40 + "'"


@pytest.mark.parametrize(("at_least", "blocks"), [(0, 1), (35, 1), (36, 2), (89, 3), (375, 11)])
def test_headers_come_in_blocks_and_end_in_the_last(at_least, blocks):
    made = header(card("SIMPLE", value=True), at_least)
    assert len(made) == blocks * 2880
    assert made.index(b"END".ljust(80)) >= (blocks - 1) * 2880


def test_data_come_in_blocks():
    assert padded(b"") == b""
    assert padded(b"x") == b"x" + bytes(2879)
    assert padded(bytes(2880)) == bytes(2880)
