from html.parser import HTMLParser

import pyarrow as pa

from raysearch.report.notebook import ROWS, result_html

EVIL = "<script>alert('x')</script>"
TABLE = pa.table(
    {
        "target": [EVIL, None],
        "ra": [10.123456789, float("nan")],
        "lines": [["a", EVIL], []],
        "note": ["x" * 500, ""],
        "uri": ["s3://hidden", ""],
        "map": pa.array([b"\x1f", b""], pa.binary()),
    }
)


class Checked(HTMLParser):
    """Every tag is closed in order, and none is a script."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.titles = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        self.titles += [value for name, value in attrs if name == "title"]
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_it_shows_counts_and_tables_and_nothing_of_it_is_markup():
    about = {"name": EVIL, "config_hash": "cafe", "observations": 1234, "finished": "2026-11-21"}
    shown = result_html(about, {"detected": 3, "nothing": 1, "skipped": 0, "failed": 0}, {"candidates": TABLE})
    page = Checked(shown)
    words = " ".join(page.words)
    assert EVIL in words
    assert "4 of 1,234 observations have ended: 3 detected, 1 nothing, 0 skipped, 0 failed" in words
    assert "candidates: 2 rows" in words
    assert "10.1235" in words
    assert "Right ascension, ICRS" in page.titles
    assert f"a; {EVIL}" in words
    assert "hidden" not in words
    assert "x" * 100 not in words


def test_of_long_tables_the_first_rows_are_shown():
    table = pa.table({"n": list(range(100))})
    page = Checked(result_html({"name": "a"}, {}, {"targets": table}))
    assert page.words.count(str(ROWS - 1)) == 1
    assert "and 90 rows more" in page.words
    assert str(ROWS) not in page.words
    assert "not finished" in " ".join(page.words)
