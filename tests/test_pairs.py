"""Which images are compared."""

import pyarrow as pa
import pytest

from raysearch import config
from raysearch.model import Observation, Target, observations_from_arrow, observations_to_arrow
from raysearch.pairs import paired

HERE, NEAR, FAR = Target("here", 10.0, 10.0), Target("near", 10.5, 10.0), Target("far", 200.0, -80.0)


def square(ra, dec, half=1.0):
    return f"POLYGON ICRS {ra - half} {dec - half} {ra + half} {dec - half} {ra + half} {dec + half} {ra - half} {dec + half}"


def image(name, band, time, *targets, where=None, skip="", em=(1e-6, 2e-6)):
    row = Observation(
        name, (f"s3://b/{name}.fits", f"https://x/{name}.fits"), targets or (HERE,), *em, where or square(10.0, 10.0), skip
    )
    return row, f"SPHEREx-{band}", time


def pairs(*images, pairs=1, size="0.1 deg"):
    rows = sorted(images, key=lambda row: row[0].obs_id)
    work = observations_to_arrow([row for row, _, _ in rows])
    work = work.append_column("energy_bandpassname", pa.array([band for _, band, _ in rows]))
    work = work.append_column("t_min", pa.array([time for _, _, time in rows], pa.float64()))
    asked = {"size": size, "bands": ["D2", "D4"], "pairs": pairs}
    search = config.from_dict({"targets": {"positions": [[1, 1]]}, "observations": {"table": "t.csv"}, "images": asked})
    made = paired(search, work)
    return made, observations_from_arrow(made.table)


def names(rows):
    return [row.obs_id for row in rows]


def test_the_nearest_in_time_of_those_that_cover_the_box():
    made, rows = pairs(
        image("a1", "D2", 60000.0), image("a2", "D2", 60100.0), image("b1", "D4", 60090.0), image("b2", "D4", 60300.0)
    )
    assert names(rows) == ["a2+b1"]
    assert made.funnel == {"paired": 2, "unpaired": 2, "pairs": 1}
    assert made.notes == []


def test_overlap_counts_before_time():
    half = square(10.99, 10.0)  # its edge runs beside the target, through its box
    _, rows = pairs(image("a", "D2", 60000.0), image("b1", "D4", 60000.0, where=half), image("b2", "D4", 60300.0))
    assert names(rows) == ["a+b2"]


def test_a_pair_has_the_places_of_both_and_the_columns_of_the_first():
    made, [row] = pairs(image("a", "D2", 60000.0, em=(1e-6, 2e-6)), image("b", "D4", 60001.0, em=(3e-6, 4e-6)))
    assert (row.uris, row.partner) == (("s3://b/a.fits", "https://x/a.fits"), ("s3://b/b.fits", "https://x/b.fits"))
    assert (row.em_min, row.em_max, row.targets) == (1e-6, 4e-6, (HERE,))
    assert made.table["energy_bandpassname"].to_pylist() == ["SPHEREx-D2"]


def test_targets_that_choose_the_same_images_share_a_pair():
    _, rows = pairs(image("a", "D2", 60000.0, HERE, NEAR), image("b", "D4", 60001.0, NEAR, HERE), image("c", "D4", 60000.5, NEAR))
    assert [(row.obs_id, row.targets) for row in rows] == [("a+b", (HERE,)), ("a+c", (NEAR,))]
    _, rows = pairs(image("a", "D2", 60000.0, NEAR, HERE), image("b", "D4", 60001.0, HERE, NEAR))
    assert [(row.obs_id, row.targets) for row in rows] == [("a+b", (NEAR, HERE))]


def test_more_pairs_use_no_image_twice_for_a_target():
    images = [image(f"a{i}", "D2", 60000.0 + i) for i in range(3)] + [image(f"b{i}", "D4", 60000.1 + i) for i in range(2)]
    assert names(pairs(*images, pairs=2)[1]) == ["a0+b0", "a1+b1"]
    assert names(pairs(*images, pairs=9)[1]) == ["a0+b0", "a1+b1"]
    assert names(pairs(*images, pairs=0)[1]) == ["a0+b0", "a1+b1", "a2+b1"]


def test_targets_without_a_pair_are_named():
    made, rows = pairs(image("a", "D2", 60000.0, HERE), image("b", "D2", 60001.0, NEAR, HERE), image("c", "D4", 60001.0, FAR))
    assert not rows
    assert made.notes == [
        "2 targets have images in D2 only, and so no pair: here, near",
        "1 target has images in D4 only, and so no pair: far",
    ]
    assert made.funnel == {"paired": 0, "unpaired": 3, "pairs": 0}


def test_images_that_hold_a_target_only_by_the_match_radius_may_share_nothing():
    beside = square(12.5, 10.0)
    made, rows = pairs(image("a", "D2", 60000.0), image("b", "D4", 60000.0, where=beside))
    assert not rows
    assert made.notes == ["1 target has no images in D2 and D4 that share any of the box, and so no pair: here"]


def test_what_is_skipped_stays_and_is_not_compared():
    made, rows = pairs(image("a", "D2", 60000.0), image("b", "D4", 60000.0, skip="proprietary"), image("c", "D4", 60100.0))
    assert [(row.obs_id, row.skip) for row in rows] == [("a+c", ""), ("b", "proprietary")]
    assert made.funnel == {"paired": 2, "unpaired": 0, "pairs": 1}


def test_other_bands_are_in_no_pair():
    made, rows = pairs(image("a", "D2", 60000.0), image("b", "D3", 60000.0), image("c", "D4", 60000.0))
    assert names(rows) == ["a+c"]
    assert made.funnel == {"paired": 2, "unpaired": 1, "pairs": 1}


def test_the_band_is_told_by_the_files_name_where_there_is_no_column():
    rows = [
        Observation(n, (f"s3://b/level2_2025W51_1A_0684_2{n}_spx_l2b-v21.fits",), (HERE,), s_region=square(10, 10))
        for n in ("D2", "D4")
    ]
    asked = {"size": "0.1 deg", "bands": ["SPHEREx-D4", "d2"]}
    search = config.from_dict({"targets": {"positions": [[1, 1]]}, "observations": {"table": "t.csv"}, "images": asked})
    assert names(observations_from_arrow(paired(search, observations_to_arrow(rows)).table)) == ["D2+D4"]


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 10.0), (10.0, 89.99)])
def test_pairs_across_the_meridian_and_at_the_pole(ra, dec):
    target = Target("t", ra, dec)
    around = f"CIRCLE ICRS {ra} {dec} 1.0"
    beside = f"CIRCLE ICRS {(ra + 359.2) % 360} {dec} 0.1" if dec < 80 else f"CIRCLE ICRS {ra} 88.9 0.1"
    _, rows = pairs(
        image("a", "D2", 0.0, target, where=around),
        image("b", "D4", 0.0, target, where=beside),
        image("c", "D4", 9.0, target, where=around),
    )
    assert names(rows) == ["a+c"]
