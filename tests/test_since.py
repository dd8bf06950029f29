"""What is new since an earlier run."""

import pyarrow as pa
import pytest

from raysearch import since
from raysearch.model import Observation, Target, observations_to_arrow
from raysearch.since import EARLIER_SCHEMA, settled, split

NOTHING = EARLIER_SCHEMA.empty_table()
A = Target("A", 10.0, 20.0, 0.1)


def work(*observations, **columns):
    table = observations_to_arrow(
        [Observation(**{"uris": (f"s3://b/{o['obs_id']}.fits",), "targets": (A,), **o}) for o in observations]
    )
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def ended(**statuses):
    return pa.table({"obs_id": list(statuses), "status": list(statuses.values())})


def left_out(old, outcomes, new, earlier=NOTHING):
    taken, kept = split(new, settled(old, outcomes, earlier, "old"))
    assert len(taken) + len(kept) == len(new)
    return sorted(kept["obs_id"].to_pylist())


def test_what_was_settled_is_left_out_and_what_failed_is_taken():
    rows = [{"obs_id": name} for name in "abcd"]
    outcomes = ended(a="detected", b="nothing", c="failed")  # d was not reached
    assert left_out(work(*rows), outcomes, work(*rows, {"obs_id": "e"})) == ["a", "b"]


def test_a_skip_is_settled_if_the_work_list_knew_it_and_says_the_same():
    rows = [{"obs_id": "a", "skip": "excluded"}, {"obs_id": "b", "skip": "proprietary until 2027-03-01"}, {"obs_id": "c"}]
    outcomes = ended(a="skipped", b="skipped", c="skipped")  # c, because its file held nothing, or was nowhere
    assert left_out(work(*rows), outcomes, work(*rows)) == ["a", "b"]
    public = [rows[0], {"obs_id": "b"}, rows[2]]
    assert left_out(work(*rows), outcomes, work(*public)) == ["a"]


@pytest.mark.parametrize(
    "changed",
    [
        {"uris": ("s3://b/a_v2.fits",)},
        {"partner": ("s3://b/b_v2.fits",)},
        {"targets": (A, Target("B", 10.0, 20.0))},
        {"targets": (Target("A", 10.0, 20.0, 0.2),)},
        {"em_max": 6e-6},
        {"skip": "excluded"},
    ],
)
def test_what_changed_is_taken(changed):
    old = work({"obs_id": "a", "em_max": 5e-6})
    assert left_out(old, ended(a="nothing"), old) == ["a"]
    assert left_out(old, ended(a="nothing"), work({"obs_id": "a", "em_max": 5e-6, **changed})) == []


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [("t_obs_release", 60000.0, 60001.0), ("dataRights", "EXCLUSIVE_ACCESS", "PUBLIC"), ("file_modified", "2024", "2025")],
)
def test_a_release_column_that_changed(name, then, now):
    def row(value):
        return work({"obs_id": "a"}, **{name: [value]})

    assert left_out(row(then), ended(a="nothing"), row(then)) == ["a"]
    assert left_out(row(then), ended(a="nothing"), row(now)) == []


def test_another_column_or_another_place_of_the_same_product_changes_nothing():
    old = work({"obs_id": "a", "uris": ("https://m/Download/file?uri=mast:JWST/product/a.fits",)}, obs_title=["one"])
    new = work({"obs_id": "a", "uris": ("s3://stpubdata/jwst/a.fits", "https://m/x")}, obs_title=["another"])
    assert left_out(old, ended(a="detected"), new) == ["a"]


def test_the_order_of_the_targets_does_not_matter():
    b = Target("B", 11.0, 20.0)
    assert left_out(work({"obs_id": "a", "targets": (A, b)}), ended(a="nothing"), work({"obs_id": "a", "targets": (b, A)})) == ["a"]


def test_a_run_stands_for_those_it_left_out_itself():
    first = work({"obs_id": "a"}, {"obs_id": "b"})
    before = settled(first, ended(a="detected", b="nothing"), NOTHING, "one")
    taken, earlier = split(work({"obs_id": "a"}, {"obs_id": "b"}, {"obs_id": "c"}), before)
    assert taken["obs_id"].to_pylist() == ["c"]
    again = settled(taken, ended(c="nothing"), earlier, "two")
    assert dict(zip(again["obs_id"].to_pylist(), again["folder"].to_pylist(), strict=True)) == {"a": "one", "b": "one", "c": "two"}
    assert since.counts(again) == {"detected": 1, "nothing": 2}


def test_a_later_failure_counts_more_than_an_earlier_success():
    before = settled(work({"obs_id": "a"}), ended(a="nothing"), NOTHING, "one")
    assert left_out(work({"obs_id": "a"}), ended(a="failed"), work({"obs_id": "a"}), before) == []


def test_a_number_that_is_not_known_is_no_change():
    rows = work({"obs_id": "a"})  # em_min and em_max are NaN
    assert left_out(rows, ended(a="nothing"), rows) == ["a"]
