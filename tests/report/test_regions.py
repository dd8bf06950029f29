import math
import re

import pyarrow as pa
import pytest

from raysearch.errors import ConfigError
from raysearch.model import Circle, Footprint, Polygon
from raysearch.report.regions import write_regions
from raysearch.report.stream import Stream

ODD = "} # text={evil}; delete\nall"
CANDIDATES = pa.table(
    {
        "obs_id": ["a", "b", "c"],
        "target": ["HL Tau", ODD, "nowhere"],
        "line": ["[Fe II] 5.340", "H2", "H2"],
        "ra": [10.0, 359.9999999, None],
        "dec": [-20.0, 5.0, 5.0],
        "extent_along_arcsec": [4.0, math.nan, 1.0],
        "extent_across_arcsec": [2.0, 1.0, 1.0],
        "position_angle": [30.0, 1.0, 1.0],
        "map": pa.array([b"\x1f", b"", b""], pa.binary()),
    }
)


def nowhere(_):
    return Footprint(())


def regions(path):
    head, system, *lines = path.read_text().splitlines()[1:]
    assert path.read_text().startswith("# Region file format: DS9")
    assert head.startswith("global color=")
    assert system == "icrs"
    return lines


def test_an_ellipse_where_the_extent_is_known_a_point_elsewhere(tmp_path):
    assert write_regions(Stream.of(CANDIDATES), tmp_path / "c.reg", "candidates", nowhere) == (2, 1)
    ellipse, point = regions(tmp_path / "c.reg")
    assert ellipse == 'ellipse(10.0000000,-20.0000000,1.000",2.000",30.00) # text={HL Tau [Fe II] 5.340}'
    assert re.fullmatch(r"point\(359\.9999999,5\.0000000\) # point=cross text=\{[^{};\n]*\}", point)
    assert "evil" in point


def test_footprints_are_polygons_and_circles(tmp_path):
    footprints = {
        "of a": Footprint((Polygon((1.0, 2.0, 2.0), (0.0, 0.0, 1.0)), Circle(5.0, 6.0, 0.5))),
        "of b": Footprint((Circle(7.0, 8.0, 1 / 3600),)),
    }
    table = pa.table({"obs_id": ["a", "b", "c"], "s_region": ["of a", "of b", "of c"]})
    in_pieces = Stream(table.schema, lambda: [table.slice(0, 1), table.slice(1)])
    told = write_regions(in_pieces, tmp_path / "o.reg", "observations", lambda text: footprints.get(text, Footprint(())))
    assert told == (2, 1)
    assert regions(tmp_path / "o.reg") == [
        "polygon(1.0000000,0.0000000,2.0000000,0.0000000,2.0000000,1.0000000) # text={a}",
        'circle(5.0000000,6.0000000,1800.000") # text={a}',
        'circle(7.0000000,8.0000000,1.000") # text={b}',
    ]


def test_a_table_without_positions(tmp_path):
    with pytest.raises(ConfigError, match="the outcomes have no positions"):
        write_regions(Stream.of(pa.table({"obs_id": ["a"]})), tmp_path / "o.reg", "outcomes", nowhere)
    assert list(tmp_path.iterdir()) == []
