"""Line maps become files that stay where they belong."""

import gzip

import pyarrow as pa
import pytest

from raysearch.errors import ConfigError
from raysearch.report.maps import write_maps

FITS = b"SIMPLE  =                    T" + b" " * 50
NAMES = [
    ("jw01_ch4-long", "[Fe II] 5.340", "HL Tau"),
    ("../../escape", "/etc/passwd", ".."),
    ("a\\b", "C:", "\0"),
    ("same", "same", "same"),
    ("same", "same", "same"),
    ("", "", ""),
    ("\u03b1" * 300, "x" * 300, "." * 300),
    (".hidden", "~", "-rf"),
]


def candidates(maps, names=NAMES):
    columns = dict(zip(("obs_id", "line", "target"), map(list, zip(*names, strict=True)), strict=True))
    return pa.table({**columns, "map": pa.array(maps, pa.binary())})


def test_every_candidate_with_a_map_has_a_file_of_its_own(tmp_path):
    maps = [gzip.compress(FITS + bytes([n])) for n in range(len(NAMES))]
    maps[4] = b""
    written = write_maps(candidates(maps), tmp_path / "in" / "maps")
    assert len(set(written)) == len(NAMES) - 1
    assert sorted(path.read_bytes() for path in written) == sorted(filter(None, maps))
    assert written[0].name == "000000_jw01_ch4-long_Fe_II_5.340_HL_Tau.fits.gz"


def test_no_name_leads_out_of_the_folder(tmp_path):
    folder = tmp_path / "maps"
    written = write_maps(candidates([FITS] * len(NAMES)), folder)
    assert {path.name for path in tmp_path.iterdir()} == {"maps"}
    assert all(path.parent == folder and path.resolve().parent == folder.resolve() for path in written)
    assert all(path.is_file() and len(path.name) < 255 and path.name.isascii() and path.name[0] == "0" for path in written)


@pytest.mark.parametrize(
    ("content", "ending"),
    [(gzip.compress(FITS, mtime=0), ".fits.gz"), (FITS, ".fits"), (b"\x89PNG", ".bin")],
    ids=["gzipped", "plain", "other"],
)
def test_the_ending_says_what_it_is(tmp_path, content, ending):
    [path] = write_maps(candidates([content], NAMES[:1]), tmp_path)
    assert path.name.endswith("HL_Tau" + ending)


def test_several_columns_of_bytes_are_told_apart(tmp_path):
    table = candidates([FITS], NAMES[:1]).append_column("second", pa.array([FITS], pa.binary()))
    assert [path.stem.split("_")[-1] for path in write_maps(table, tmp_path)] == ["map", "second"]


def test_candidates_without_maps_say_so(tmp_path):
    with pytest.raises(ConfigError, match="no column of bytes"):
        write_maps(candidates([FITS], NAMES[:1]).drop_columns(["map"]), tmp_path)
