"""Broken files, searches, tables and footprints end with a result or an error of ours: a few cases of what `scripts/fuzz` runs."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch import pages
from raysearch.errors import FormatError, RaysearchError, RunFolderError
from raysearch.read.fits import LONGEST_HEADER, Hdu, parse_hdu
from raysearch.read.service import LARGEST
from raysearch.result import Result
from raysearch.testing import folders, fuzzing
from raysearch.testing.cards import BLOCK, header
from raysearch.testing.folders import use_folder
from raysearch.testing.fuzzing import SUBJECTS, Subject, Tally, fuzz, read_cube, run
from raysearch.testing.mutations import FLOATS, STRUCTURE, VALUES, FitsSeed, bomb
from raysearch.testing.runs import made_up_run

CASES = {"cubes": 150, "detection": 40, "images": 60, "cutouts": 20, "tables": 60, "searches": 200, "folders": 25, "regions": 500}


def told(tally: Tally) -> list[str]:
    return [f"{fault.error!r} for {fault.data[:200]!r}" for fault in tally.faults]


@pytest.mark.parametrize("name", CASES)
def test_no_broken_input_ends_as_anything_but_a_result_or_an_error_of_ours(name: str) -> None:
    tally = fuzz(SUBJECTS[name], CASES[name], seed=2026)
    assert not told(tally)
    assert tally.cases == CASES[name]
    assert len(tally.endings) > 1, "some inputs are still sound, else nothing behind the first check is tried"


def test_all_subjects_are_tried() -> None:
    assert set(CASES) == set(SUBJECTS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("started", "yesterday"),
        ("shard_size", 2**63),
        ("funnel", []),
        ("queries", ["x"]),
        ("versions", True),
        ("totals", {}),
        ("name", 1),
    ],
)
def test_a_run_json_with_a_wrong_value_is_refused(tmp_path: Path, key: str, value: object) -> None:
    folder = made_up_run(tmp_path / "run", 4)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {key: value}))
    with pytest.raises(RunFolderError, match=r"run.json is damaged"):
        Result(folder).totals  # noqa: B018 (a property that reads)


def _without(table: pa.Table) -> pa.Table:
    return table.drop_columns(["reason"])


def _of_nothing(table: pa.Table) -> pa.Table:
    return table.set_column(1, pa.field("status", pa.string()), pa.nulls(table.num_rows, pa.string()))


@pytest.mark.parametrize("change", [_without, _of_nothing])
def test_a_part_that_raysearch_did_not_write_is_told_and_made_anew(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    folder = made_up_run(tmp_path / "run", 4, finished=False)
    (part, *_) = sorted((folder / "outcomes").glob("part-*.arrow"))
    table = pa.ipc.open_file(part.read_bytes()).read_all()
    with pa.ipc.new_file(part, change(table).schema) as writer:
        writer.write_table(change(table))
    with pytest.raises(RunFolderError, match="holds what raysearch did not write"):
        Result(folder).totals  # noqa: B018 (a property that reads)
    data = {"seed": 1, "files": {"outcomes/part-000000.arrow": base64.b64encode(part.read_bytes()).decode()}}
    assert use_folder(json.dumps(data).encode()).endswith("finished anew")


@pytest.mark.parametrize("text", ["lines = 3", "[targets]\nnames = 3", "[lines]\nlist = [{ name = 'a' }]", "[" * 5000])
def test_a_search_toml_that_a_hand_was_in_makes_no_page_and_says_why(tmp_path: Path, text: str) -> None:
    folder = made_up_run(tmp_path / "run", 4)
    (folder / "search.toml").write_text(text)
    with pytest.raises(RunFolderError, match=r"search.toml cannot be read"):
        pages.write(folder)


cards = st.builds(
    lambda keyword, value: f"{keyword:<8}= {value}".ljust(80)[:80],
    st.sampled_from(STRUCTURE),
    st.sampled_from([value for value in VALUES if value.isascii()])
    | st.integers().map(str)
    | st.floats().map(repr)
    | st.text(st.characters(max_codepoint=126), max_size=70),
)
first = {"cube": "SIMPLE  =                    T".ljust(80), "image": "XTENSION= 'IMAGE   '".ljust(80)}
shape = [
    f"{key:<8}= {value:>20}".ljust(80)
    for key, value in (("BITPIX", -32), ("NAXIS", 3), ("NAXIS1", 2), ("NAXIS2", 2), ("NAXIS3", 9))
]


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.lists(cards, max_size=12), st.lists(cards, max_size=30), st.binary(max_size=200))
def test_no_header_ends_as_anything_but_a_result_or_an_error_of_ours(primary: list[str], science: list[str], data: bytes) -> None:
    content = (header([first["cube"], *shape[:1], *primary]) + header([first["image"], *shape, *science])).replace(b"\x00", b" ")
    assert not told(run(SUBJECTS["cubes"], [content + data + bytes(BLOCK)]))


def filled(value: float) -> bytes:
    """Return a cube all of whose pixels have one value."""
    seed = fuzzing.cube_seeds()[0]
    start, cards_there = seed.headers[1]
    begin = start + -(-cards_there * 80 // BLOCK) * BLOCK
    with np.errstate(over="ignore", under="ignore"):
        pixels = np.full(40 * 5 * 6, value, ">f4").tobytes()
    return seed.content[:begin] + pixels + seed.content[begin + len(pixels) :]


@pytest.mark.parametrize("value", FLOATS)
def test_a_cube_of_one_value_whatever_it_is_can_be_searched(value: float) -> None:
    tally = run(SUBJECTS["detection"], [filled(value), filled(value) + b" "])
    assert not told(tally)
    assert set(tally.endings) <= {"records", "nothing"}


def test_of_two_extensions_of_one_name_the_first_counts() -> None:
    seed = fuzzing.cube_seeds()[0]
    sci, err = (seed.content[start:] for start, _ in seed.headers[1:3])
    length = len(sci) - len(err)
    twice = seed.content[: seed.headers[1][0]] + sci[:length] + filled(7.0)[seed.headers[1][0] :]
    one, other = read_cube(seed.content), read_cube(twice)
    assert {name for window in other.windows for name in window.planes} <= {"SCI", "ERR", "DQ", "WMAP"}
    for mine, theirs in zip(one.windows, other.windows, strict=False):
        assert np.array_equal(mine.sci[:1], theirs.sci[:1], equal_nan=True)


@pytest.mark.parametrize(
    ("keyword", "value"), [("NAXIS3", 2**48), ("NAXIS1", 10**15), ("PCOUNT", 2**62), ("NAXIS2", -5), ("GCOUNT", 10**30)]
)
def test_a_header_that_promises_a_petabyte_or_less_than_nothing_is_damaged(keyword: str, value: int) -> None:
    seed = fuzzing.cube_seeds()[0]
    start, count = seed.headers[1]
    at = next(
        at for at in range(start, start + 80 * count, 80) if seed.content[at : at + 8].rstrip() in {keyword.encode(), b"BUNIT"}
    )
    content = seed.content[:at] + f"{keyword:<8}= {value}".ljust(80).encode() + seed.content[at + 80 :]
    with pytest.raises(FormatError, match="damaged"):
        read_cube(content)


def broken(_: bytes) -> str:
    raise KeyError("x")


def endless(_: bytes) -> str:
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize(("handle", "ending"), [(broken, "FAULT KeyError"), (endless, "FAULT TookTooLong")])
def test_what_is_looked_for_is_found(handle: Callable[[bytes], str], ending: str) -> None:
    tally = run(Subject("x", lambda rng: b"", handle), [b"input"], seconds=0.05)
    assert tally.endings == {ending: 1}
    assert tally.faults[0].data == b"input"


def test_an_error_of_ours_is_no_fault() -> None:
    def refused(_: bytes) -> str:
        raise RaysearchError("no")

    tally = run(Subject("x", lambda rng: b"", refused), [b""])
    assert tally.endings == {"RaysearchError": 1}
    assert not tally.faults


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_same_seed_gives_the_same_inputs(name: str) -> None:
    one, other, third = (SUBJECTS[name].make(random.Random(seed)) for seed in (1, 1, 2))
    assert one == other != third


def hdus(content: bytes) -> list[Hdu]:
    found = []
    for start, count in FitsSeed.of(content).headers:
        with contextlib.suppress(FormatError):
            found.append(parse_hdu(content[start : start + 80 * count], start, int(start > 0)))
    return [hdu for hdu in found if hdu is not None]


def overlap(content: bytes) -> bool:
    there = hdus(content)
    return any(hdu.end > other.header_offset for hdu, other in itertools.pairwise(there))


def one_name_twice(content: bytes) -> bool:
    names = [hdu.name for hdu in hdus(content)]
    return len(set(names)) < len(names)


def full_of(value: float) -> Callable[[bytes], bool]:
    return lambda content: struct.pack(">f", value) * 1000 in content


def without_end(content: bytes) -> bool:
    return len(content) > LONGEST_HEADER and content.rfind(b"END".ljust(80)) < len(content) - LONGEST_HEADER


AMONG_THEM: dict[str, Callable[[bytes], bool]] = {
    "a gzip bomb": lambda content: len(content) < 2**20 and content in {bomb(LARGEST), bomb(LARGEST + 1)},
    "a header without end": without_end,
    "a promise of a petabyte": lambda content: re.search(rb"NAXIS\d *= +\d{15,}", content) is not None,
    "less than nothing": lambda content: re.search(rb"(NAXIS\d|[PG]COUNT) *= +-\d", content) is not None,
    "data that reach into the next header": overlap,
    "one name twice": one_name_twice,
    "a plane of NaN": full_of(float("nan")),
    "a plane of infinities": full_of(float("inf")),
    "a plane of denormals": full_of(1e-40),
}


def test_among_the_broken_files_is_everything_that_broke_one_somewhere() -> None:
    missing = dict(AMONG_THEM)
    for case in range(1500):
        content = SUBJECTS["cutouts" if case % 2 else "cubes"].make(random.Random(case))
        missing = {name: has for name, has in missing.items() if not has(content)}
        if not missing:
            return
    pytest.fail(f"not among them: {', '.join(missing)}")


@pytest.mark.parametrize("name", ["cubes", "cutouts", "tables", "searches", "regions"])
def test_any_input_can_be_changed_further(name: str) -> None:
    subject = SUBJECTS[name]
    assert subject.mutate is not None
    for case in range(30):
        rng = random.Random(case)
        content = rng.choice((b"", b"\n", b"\xff\xfe", b".fits\n", subject.make(rng)))
        assert isinstance(subject.mutate(content, rng), bytes)


@pytest.mark.parametrize(
    "change", [{"files": {"outcomes/part-000000.arrow": {"copy": "outcomes/part-000001.arrow"}}}, {"files": {}}]
)
def test_a_folder_that_goes_on_has_the_tables_of_an_undisturbed_one(change: dict[str, object]) -> None:
    assert use_folder(json.dumps({"seed": 1, **change}).encode()).endswith("finished anew")


def test_a_work_list_that_lacks_what_has_ended_makes_no_page_and_says_why(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run", 4)
    path = folder / "observations.arrow"
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    path.unlink()
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table.slice(1))
    with pytest.raises(RunFolderError, match=r"observations.arrow is damaged: it lacks observations that have ended; put it back"):
        pages.write(folder)


def test_figures_drawn_again_that_are_damaged_are_told_with_their_cure(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run", 4)
    table = pa.table({"obs_id": ["o"]})
    with pa.ipc.new_file(folder / "figures" / pages.REDRAWN, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(RunFolderError, match=r"redrawn.arrow holds .*: remove it; `raysearch report .* --redraw` draws"):
        pages.write(folder)


def test_an_error_that_does_not_say_where_is_a_fault(tmp_path: Path) -> None:
    def refused() -> None:
        raise RaysearchError("no")

    with pytest.raises(AssertionError, match="does not say where: no"):
        folders._refused(refused, tmp_path)


def test_a_seed_knows_its_headers() -> None:
    content = header([first["cube"], *shape[:1], shape[1].replace("3", "0")])
    assert FitsSeed.of(content).headers == ((0, 4),)


def test_a_second_card_that_says_that_tiles_are_no_image_is_damage() -> None:
    seed = fuzzing.image_seeds()[1]
    start, count = next((at, n) for at, n in seed.headers if b"ZCMPTYPE" in seed.content[at : at + 80 * n])
    end = start + 80 * (count - 1)
    content = seed.content[: end - 80] + b"XTENSION= 1".ljust(80) + seed.content[end:]
    assert fuzzing.run(SUBJECTS["images"], [content]).endings == {"FormatError": 1}
