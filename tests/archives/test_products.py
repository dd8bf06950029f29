"""A row for each product, whatever a service calls it."""

import pyarrow as pa
import pytest

from raysearch.archives.products import OBSERVED, as_products, file_name
from raysearch.errors import ArchiveError
from raysearch.model import WORK_SCHEMA


def products(*rows):
    return as_products("SIA2", pa.Table.from_pylist(list(rows)))


def test_the_known_columns_come_first_in_their_types_and_the_others_stay():
    table = products({"obs_id": "a", "calib_level": "2", "em_min": 1, "own": "x", "access_url": "https://a.org/1.fits"})
    assert tuple(table.column_names[: len(OBSERVED)]) == OBSERVED
    assert table.schema.field("calib_level").type == pa.int64()
    assert table.schema.field("em_min").type == pa.float64()
    assert table["own"].to_pylist() == ["x"]
    assert "archive_obs_id" not in table.column_names


def test_publishers_identifiers_tell_products_apart():
    rows = [
        {"obs_id": "2025W51_1A_0684_2", "obs_publisher_did": f"ivo://irsa.ipac/spherex_qr2?2025W51_1A_0684_2/D{d}"} for d in (3, 1)
    ]
    table = products(*rows)
    assert table["obs_id"].to_pylist() == ["2025W51_1A_0684_2/D1", "2025W51_1A_0684_2/D3"]
    assert table["archive_obs_id"].to_pylist() == ["2025W51_1A_0684_2"] * 2
    assert products(rows[0])["obs_id"].to_pylist() == ["2025W51_1A_0684_2/D3"]  # whatever else is asked for


@pytest.mark.parametrize(
    ("obs_id", "did", "name"),
    [
        ("a", "ivo://pub?other", "a"),
        ("a", "ivo://pub?a.fits", "a"),
        ("a", None, "a"),
        ("a", "ivo://pub", "a"),
        (None, "ivo://pub?set/file", "set/file"),
        (None, "ivo://pub/x", "ivo://pub/x"),
        ("", "", "1.fits"),
    ],
)
def test_what_names_a_product(obs_id, did, name):
    assert products({"obs_id": obs_id, "obs_publisher_did": did, "access_url": "https://a.org/1.fits"})["obs_id"].to_pylist() == [
        name
    ]


def test_files_tell_apart_what_shares_an_id():
    table = products(
        {"obs_id": "a", "access_url": "https://a.org/x/1.fits"},
        {"obs_id": "a", "access_url": "https://a.org/y/2.fits"},
        {"obs_id": "b", "access_url": "https://a.org/x/1.fits"},
        {"obs_id": "b", "access_url": "https://a.org/y/1.fits"},
        {"obs_id": "c", "access_url": None, "own": 1},
        {"obs_id": "d", "access_url": "https://a.org/get?id=1"},
        {"obs_id": "d", "access_url": "https://a.org/get?id=2"},
    )
    ids = table["obs_id"].to_pylist()
    assert len(set(ids)) == 7
    assert ids == sorted(ids)
    assert ids[:2] == ["a 1.fits", "a 2.fits"]
    assert "b 1.fits https://a.org/y/1.fits" in ids
    assert "c" in ids
    assert "d https://a.org/get?id=2" in ids


def test_a_row_that_comes_twice_is_one_product():
    row = {"obs_id": "a", "obs_publisher_did": "ivo://p?a/1", "access_url": "https://a.org/1.fits"}
    assert products({**row, "upload_row_id": 1}, {**row, "upload_row_id": 2}).num_rows == 1


def test_rows_that_only_the_service_can_tell_apart_are_numbered():
    rows = [{"obs_id": "a", "obs_publisher_did": f"ivo://p?{n}", "access_url": "https://a.org/1.fits"} for n in "xy"]
    ids = products(*rows)["obs_id"].to_pylist()
    assert len(set(ids)) == 2
    assert ids[1].endswith(" (2)")


def test_columns_that_mean_something_else_here_are_renamed():
    table = products({"obs_id": "a", "targets": 7, "skip": "no", "uris": "x", "access_url": None})
    assert not {"targets", "skip", "uris"} & set(table.column_names)
    assert (table["archive_targets"][0].as_py(), table["archive_skip"][0].as_py()) == (7, "no")
    assert set(table.column_names) & set(WORK_SCHEMA.names) == {"obs_id", "s_region", "em_min", "em_max"}


@pytest.mark.parametrize(
    ("text", "mjd"),
    [
        ("2026-01-27 19:52:50", 61067.828356),
        ("2000-01-01T00:00:00.000", 51544.0),
        ("2000-01-01T00:00:00Z", 51544.0),
        ("2000-01-01", 51544.0),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_release_dates(text, mjd):
    found = products({"obs_id": "a", "obs_release_date": text})["t_obs_release"].to_pylist()
    assert found == [mjd if mjd is None else pytest.approx(mjd, abs=1e-6)]


def test_a_centre_and_a_field_of_view_are_a_footprint_where_there_is_none():
    rows = [
        {"obs_id": "a", "s_ra": 10.0, "s_dec": -5.0, "s_fov": 0.5, "s_region": ""},
        {"obs_id": "b", "s_ra": 10.0, "s_dec": -5.0, "s_fov": 0.5, "s_region": "POLYGON 1 2 3 4 5 6"},
        {"obs_id": "c", "s_ra": 10.0, "s_dec": -5.0, "s_fov": None, "s_region": None},
        {"obs_id": "d", "s_ra": None, "s_dec": -5.0, "s_fov": 0.5, "s_region": None},
    ]
    assert products(*rows)["s_region"].to_pylist() == ["CIRCLE ICRS 10.0 -5.0 0.25", "POLYGON 1 2 3 4 5 6", None, None]


def test_odd_answers_are_told():
    with pytest.raises(ArchiveError, match="SIA2 gives values of an unexpected type"):
        products({"obs_id": "a", "em_min": "short"})
    with pytest.raises(ArchiveError, match="SIA2 gave 1 rows with neither obs_id"):
        products({"obs_id": None, "access_url": None, "own": 1})


def test_names_of_files():
    assert file_name("https://a.org/x/y.fits.gz") == "y.fits.gz"
    assert file_name("https://a.org/get?file=y") == "https://a.org/get?file=y"
    assert file_name("") == ""
