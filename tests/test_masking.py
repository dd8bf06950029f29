"""No password, token or signature is written; everything else is, as it stands."""

import pyarrow as pa
import pytest

from raysearch.masking import masked, masked_table, masked_values

SIGNED = "https://b.s3.amazonaws.com/k.fits?X-Amz-Algorithm=A&X-Amz-Credential=AKIA%2F1&X-Amz-Expires=9&X-Amz-Signature=hunter2"
SHOWN = "https://b.s3.amazonaws.com/k.fits?X-Amz-Algorithm=A&X-Amz-Credential=***&X-Amz-Expires=9&X-Amz-Signature=***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SIGNED, SHOWN),
        (
            "https://h/x?AWSAccessKeyId=hunter2&Signature=hunter2&Expires=1",
            "https://h/x?AWSAccessKeyId=***&Signature=***&Expires=1",
        ),
        ("https://h/x?sv=1&sig=hunter2%3D", "https://h/x?sv=1&sig=***"),
        ("https://h/x?X-Goog-Signature=hunter2#a", "https://h/x?X-Goog-Signature=***#a"),
        ("https://h/x?TOKEN=hunter2;b=1", "https://h/x?TOKEN=***;b=1"),
        ("https://h/x?api_key=hunter2&apikey=hunter2", "https://h/x?api_key=***&apikey=***"),
        ("ftp://me:hunter2@h/x", "ftp://h/x"),
        (
            "no answer (url: /x?token=hunter2), and 'https://me:hunter2@h/y?sig=hunter2'; gave up",
            "no answer (url: /x?token=***), and 'https://h/y?sig=***'; gave up",
        ),
    ],
)
def test_secrets_are_masked_wherever_they_stand(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://bucket/key=1",
        "/data/a@b=c/x.fits",
        "https://h/f?uri=mast:JWST/product/x.fits&center=1,2&sigma=3&author=me&design=4",
        "SELECT * FROM t WHERE token = 'x' AND a = 1",
        "mail@example.org",
        "https://h/@me/x",
    ],
)
def test_nothing_else_is(text):
    assert masked(text) == text


def test_tables_and_json_are_masked_in_every_text():
    table = pa.table({"uris": [[SIGNED, "s3://b/k"], [], None], "n": [1, 2, 3], "access_url": [None, SIGNED, "a"]})
    clean = masked_table(table)
    assert clean.to_pydict() == {"uris": [[SHOWN, "s3://b/k"], [], None], "n": [1, 2, 3], "access_url": [None, SHOWN, "a"]}
    assert clean.schema == table.schema
    assert masked_table(table.slice(1, 2))["access_url"].to_pylist() == [SHOWN, "a"]
    assert masked_values({"queries": [{"url": SIGNED, "rows": 1}], "none": None}) == {
        "queries": [{"url": SHOWN, "rows": 1}],
        "none": None,
    }


def test_a_table_without_secrets_is_left_as_it_is():
    table = pa.table({"uris": [["s3://b/k"]], "n": [1]})
    assert masked_table(table) is table


@pytest.mark.parametrize("text", ["?" * 100_000, "?" + "signature" * 10_000, "://" * 30_000, "://" + "a" * 100_000, "?a" * 50_000])
def test_no_text_is_so_long_or_so_odd_that_masking_it_has_no_end(text):
    assert masked(f"{text} =@") == f"{text} =@"
