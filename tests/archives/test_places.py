"""Which addresses are taken from an archive, and where the cloud has a product."""

import csv
import io
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raysearch.archives.places import allowed, from_cloud_access, in_cloud, mend_csv, places_of
from raysearch.archives.tables import read_observations

SPHEREX_KEY = "qr2/level2/2025W51_1A/l2b-v21-2025-354/3/level2_2025W51_1A_0684_2D3_spx_l2b-v21-2025-354.fits"
SPHEREX_URL = f"https://irsa.ipac.caltech.edu/ibe/data/spherex/{SPHEREX_KEY}"
SPHEREX_S3 = f"s3://nasa-irsa-spherex/{SPHEREX_KEY}"
CHANDRA_KEY = "chandra/data/byobsid/0/1990/primary/acisf01990N004_cntr_img2.fits.gz"

STRANGE = [
    None,
    "",
    " ",
    "null",
    "[]",
    "{}",
    "7",
    '"aws"',
    "{",
    '{"aws": {"bucket_name": "b',
    '{"aws": null}',
    '{"aws": [1]}',
    "[" * 9000,
]


@pytest.mark.parametrize(
    "address",
    [
        *("file:///etc/passwd", "/etc/passwd", "", "http://archive.org/x.fits", "ftp://heasarc.gsfc.nasa.gov/x.fits", "data:,x"),
        *("https://localhost/x", "https://LOCALHOST./x", "https://a.localhost/x", "https://127.0.0.1/x", "https://[::1]/x"),
        *("https://169.254.169.254/latest/meta-data", "https://10.0.0.8/x", "https://192.168.1.1/x", "https://0.0.0.0/x"),
        *("https://127.1/x", "https://2130706433/x", "https://0x7f000001/x", "https://[::ffff:127.0.0.1]/x", "https://[fe80::1]/x"),
        *("s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3://b/key", "s3://user@bucket/key", "https:///x", "https://[x/y"),
        *("https://archive.org/x\n.fits", "https://archive.org/ x.fits"),
    ],
)
def test_no_archive_sends_readers_to_this_machine_or_its_network(address):
    assert not allowed(address)
    assert places_of(address) == ()


@pytest.mark.parametrize(
    "address", [SPHEREX_URL, "s3://stpubdata/jwst/x.fits", "https://8.8.8.8/x.fits", "https://archive.org:8443/x?a=b"]
)
def test_public_addresses_are_taken(address):
    assert allowed(address)


def test_an_archive_on_this_machine_may_name_this_machine():
    own = "http://127.0.0.1:8080/irsa"
    assert allowed("http://127.0.0.1:8080/ibe/data/x.fits", own)
    assert allowed("https://127.0.0.1:9000/x.fits", own)
    assert not allowed("http://169.254.169.254/latest", own)
    assert not allowed("file:///etc/passwd", own)
    assert not allowed("http://127.0.0.1:8080/x.fits", "https://irsa.ipac.caltech.edu/SIA")


@pytest.mark.parametrize(
    "document",
    [
        {"aws": {"bucket_name": "nasa-irsa-spherex", "key": SPHEREX_KEY, "region": "us-east-1"}},
        {"aws": [{"bucket_name": "nasa-irsa-spherex", "key": SPHEREX_KEY}]},
        {"region": "us-east-1", "aws": {"bucket": "nasa-irsa-spherex", "path": SPHEREX_KEY, "access": "region"}},
        {"bucket": "nasa-irsa-spherex", "key": "/" + SPHEREX_KEY},
        [{"aws": {"bucket_name": "nasa-irsa-spherex", "key": SPHEREX_KEY.replace("/", "//")}}],
        {"gcp": {"bucket_name": "elsewhere", "key": "x"}, "aws": [None, {"bucket_name": "nasa-irsa-spherex", "key": SPHEREX_KEY}]},
    ],
)
def test_every_spelling_of_cloud_access_gives_one_address(document):
    assert from_cloud_access(json.dumps(document)) == [SPHEREX_S3]


def test_the_keys_of_heasarc_lose_their_beginning():
    text = json.dumps(
        {"aws": {"bucket_name": "nasa-heasarc", "region": "us-east-1", "access": "region", "key": f"/FTP//{CHANDRA_KEY}"}}
    )
    assert from_cloud_access(text) == [f"s3://nasa-heasarc/{CHANDRA_KEY}"]


@pytest.mark.parametrize("text", STRANGE)
def test_a_cloud_access_that_says_nothing_leaves_the_archives_own_address(text):
    assert from_cloud_access(text) == []
    assert places_of("https://archive.org/x.fits", text) == ("https://archive.org/x.fits",)


_SCALARS = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["b", "bucket-1", "a/b", "/FTP/x", "../x", "\n"])
)
_NAMES = st.sampled_from(["aws", "bucket_name", "bucket", "key", "path", "region"]) | st.text(max_size=3)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
)


@given(st.text() | _JSON.map(json.dumps))
@example('{"aws": {"bucket_name": "bucket-1", "key": "a b.fits"}}')
@example('{"aws": {"bucket_name": "bucket-1/../../x", "key": "a"}}')
def test_whatever_cloud_access_holds_only_sound_addresses_come_out(text):
    for address in from_cloud_access(text):
        parts = urlsplit(address)
        assert parts.scheme == "s3"
        assert "/" not in parts.netloc
        assert parts.path.strip("/")
        assert allowed(address)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (SPHEREX_URL, SPHEREX_S3),
        (f"https://heasarc.gsfc.nasa.gov/FTP/{CHANDRA_KEY}", f"s3://nasa-heasarc/{CHANDRA_KEY}"),
        (
            "https://heasarc.gsfc.nasa.gov/FTP/chandra/data/byobsid/8//15158/x.fits",
            "s3://nasa-heasarc/chandra/data/byobsid/8/15158/x.fits",
        ),
        ("https://lambda.gsfc.nasa.gov/data/map/dr5/x.fits", "s3://nasa-lambda/wmap/dr5/x.fits"),
        (SPHEREX_URL + "?center=10,20&size=0.1", ""),
        ("https://irsa.ipac.caltech.edu/ibe/data/wise/x.fits", ""),
        ("https://elsewhere.org/FTP/x.fits", ""),
        ("https://heasarc.gsfc.nasa.gov/FTP/", ""),
        ("", ""),
        ("https://[x/y", ""),
    ],
)
def test_the_archives_rules_from_addresses_to_keys(url, address):
    assert in_cloud(url) == address


def test_an_archive_elsewhere_keeps_the_rules_of_its_paths():
    own = "http://127.0.0.1:8080/SIA"
    assert in_cloud(f"http://127.0.0.1:8080/ibe/data/spherex/{SPHEREX_KEY}", own) == SPHEREX_S3


def test_the_cloud_comes_first_and_nothing_twice():
    text = json.dumps({"aws": {"bucket_name": "nasa-irsa-spherex", "key": SPHEREX_KEY}})
    assert places_of(SPHEREX_URL, text) == (SPHEREX_S3, SPHEREX_URL)
    assert places_of(None, text) == (SPHEREX_S3,)
    assert places_of(None, None) == ()


@pytest.mark.real
def test_irsas_own_csv_is_mended(real_data):
    text = (real_data / "spherex" / "sia2_rows.csv").read_text()
    header, *rows = csv.reader(text.splitlines())
    assert {len(row) - len(header) for row in rows} == {2}  # as served: two commas too many
    rows = list(csv.DictReader(io.StringIO(mend_csv(text)), strict=True))
    assert [row["energy_bandpassname"] for row in rows] == ["SPHEREx-D3", "SPHEREx-D2", "SPHEREx-D4"]
    assert places_of(rows[0]["access_url"], rows[0]["cloud_access"]) == (SPHEREX_S3, SPHEREX_URL)
    for row in rows:
        assert None not in row
        assert row["upload_row_id"] == "1"
        assert from_cloud_access(row["cloud_access"]) == [in_cloud(row["access_url"])]  # the rule agrees with what IRSA says


@pytest.mark.real
def test_irsas_own_csv_is_a_table_of_observations(real_data):
    table = read_observations(real_data / "spherex" / "sia2_rows.csv").table
    assert table["obs_id"].to_pylist() == ["2025W49_1A_0332_1", "2025W51_1A_0684_2", "2026W01_1A_0686_4"]
    assert table["uri"].to_pylist()[1] == SPHEREX_URL
    assert from_cloud_access(table["cloud_access"].to_pylist()[1]) == [SPHEREX_S3]


def test_only_bare_json_is_quoted():
    good = 'a,b\n1,"{""aws"": {""bucket"": ""b"", ""key"": ""k""}}"\n2,{}\n3,{"broken\n'
    assert mend_csv(good) == good
    assert mend_csv('1,{"a": "b, c"},2\r\n') == '1,"{""a"": ""b, c""}",2\r\n'
