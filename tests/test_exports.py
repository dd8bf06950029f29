"""`raysearch export`: the ending of the file says what is written."""

import math
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import parse
from mocpy import MOC

from raysearch import cli, config
from raysearch.detect.cutouts import Cutouts
from raysearch.engine import candidate_schema
from raysearch.engine.folder.files import write_arrow, write_json
from raysearch.engine.records import outcome_table
from raysearch.errors import ConfigError, RunFolderError
from raysearch.model import Observation, Outcome, Target, observations_to_arrow
from raysearch.report import stream
from raysearch.result import Result
from raysearch.testing.boxes import boxes_of
from raysearch.testing.fields import Field
from raysearch.testing.spherex import FrameSpec, make_frame

FIELD = Field(10.0, 41.0, 64, 64, 6.15)
TARGET = Target("HL Tau", 10.0, 41.0)
ENDED = ("detected", "nothing", "skipped", "failed")
REGIONS = ["CIRCLE ICRS 10 41 0.5", "POLYGON ICRS 20 0 21 0 21 1 20 1", "CIRCLE ICRS 200 0 5", "CIRCLE ICRS 220 0 5"]


def folder_of(path, document, candidates, regions):
    """A run folder as a finished run leaves it."""
    search = config.from_dict(document)
    work = observations_to_arrow(
        [Observation(n, (f"s3://jwst/{n}.fits",), (TARGET,), s_region=r) for n, r in zip("abcd", regions, strict=True)]
    )
    outcomes = outcome_table([Outcome(n, status, "why" * (n > "b")) for n, status in zip("abcd", ENDED, strict=True)])
    for name, table in (("candidates", candidates), ("outcomes", outcomes)):
        (path / name).mkdir(parents=True)
        write_arrow(path / name / "part-000000.arrow", table)
    write_arrow(path / "observations.arrow", work)
    (path / "search.toml").write_text(search.to_toml())
    about = {
        "format": 1, "name": "test", "config_hash": search.hash, "observations": 4, "shard_size": 4,
        "started": "2026-11-21T10:00:00+00:00", "finished": "2026-11-21T11:00:00+00:00", "versions": {"raysearch": "0.1.0"},
        "totals": None, "funnel": {},
        "queries": [{"service": "SIMBAD", "url": "https://simbad", "text": "SELECT 1", "rows": 1, "seconds": 1.0}],
        "candidate_columns": {field.name: str(field.type) for field in candidates.schema},
    }  # fmt: skip
    write_json(path / "run.json", about)
    return path


@pytest.fixture
def lines(tmp_path):
    schema = candidate_schema({"ra": "f8", "dec": "f8", "snr": "f8", "map": "bytes"}, lines=True)
    row = {"obs_id": "a", "target": "HL Tau", "uri": "s3://jwst/a.fits", "config_hash": "cafe", "line": "H2", "rest_um": 2.12,
           "wavelength_um": 2.12, "targets": ["HL Tau"], "ra": 10.0, "dec": 41.0, "snr": 9.0, "map": b""}  # fmt: skip
    document = {
        "targets": {"positions": [[10.0, 41.0]]},
        "observations": {"archive": "mast", "collection": "JWST"},
        "lines": {"list": "feii-jwst"},
    }
    return folder_of(tmp_path / "run", document, pa.Table.from_pylist([row], schema=schema), REGIONS)


@pytest.fixture
def images(tmp_path):
    pixels = boxes_of(make_frame(FrameSpec(1, 3, FIELD)), [TARGET], 15, "a")
    [record] = Cutouts().detect(pixels)
    row = {"obs_id": "a", "target": record.target, "uri": "s3://jwst/a.fits", "config_hash": "cafe", **record.values}
    table = pa.Table.from_pylist([row], schema=candidate_schema(Cutouts.columns, lines=False))
    document = {
        "targets": {"positions": [[10.0, 41.0]]},
        "observations": {"archive": "irsa", "collection": "spherex_qr2"},
        "images": {"size": "0.1 deg"},
    }
    return folder_of(tmp_path / "run", document, table, ["CIRCLE ICRS 10 41 1.5"] * 4)


def export(folder, path, *options):
    assert cli.main(["export", str(folder), str(path), *options]) == 0


def test_a_table_tells_its_search(lines, tmp_path, capsys):
    export(lines, tmp_path / "c.vot")
    assert f"1 rows -> {tmp_path / 'c.vot'}" in capsys.readouterr().out
    document = parse(tmp_path / "c.vot", verify="exception")
    infos = {info.name: info.value for info in document.resources[0].infos}
    assert (infos["search"], infos["table"], infos["query"]) == ("test", "candidates", "SIMBAD, https://simbad: 1 rows")


def test_the_coverage_is_the_sky_that_was_searched(lines, tmp_path, capsys):
    for ending, kind in ((".moc.fits", "fits"), (".moc.json", "json")):
        export(lines, tmp_path / f"c{ending}")
        moc = MOC.load(tmp_path / f"c{ending}", format=kind)
        assert moc.sky_fraction * 41252.96 == pytest.approx(math.pi / 4 + 1.0, rel=0.08)  # of what was skipped or failed nothing
    assert "the sky of 2 observations searched, 1.8" in capsys.readouterr().out


def test_of_images_the_sky_searched_is_that_around_the_targets(images, tmp_path):
    export(images, tmp_path / "c.moc.fits")
    moc = MOC.load(tmp_path / "c.moc.fits", format="fits")
    assert moc.sky_fraction * 41252.96 == pytest.approx(math.pi * 0.05**2, rel=0.12)


def test_observations_whose_footprint_cannot_be_read_are_told(lines, tmp_path, capsys):
    work = Result(lines).arrow("observations")
    place = work.column_names.index("s_region")
    write_arrow(lines / "observations.arrow", work.set_column(place, work.schema.field(place), pa.array(["rubbish", "", "", ""])))
    export(lines, tmp_path / "c.moc.fits")
    assert "the sky of 0 observations searched, 0 square degrees, 2 without a footprint left out" in capsys.readouterr().out
    export(lines, tmp_path / "o.reg", "--table", "observations")
    assert "regions of 0 rows, 4 without a position left out" in capsys.readouterr().out


def test_what_is_read_in_pieces_is_the_same(lines, tmp_path, monkeypatch):
    names = ("c.reg", "o.reg", "c.moc.json", "bibliography.txt", "o.vot", "o.ecsv")
    for chunk in (1, 100):
        monkeypatch.setattr(stream, "CHUNK_ROWS", chunk)
        (tmp_path / str(chunk)).mkdir()
        for name in names:
            export(lines, tmp_path / str(chunk) / name, "--table", "observations" if name[0] == "o" else "candidates")
    for name in names:
        one, all_at_once = ((tmp_path / chunk / name).read_text() for chunk in ("1", "100"))
        assert re.sub(r"20\d\d-\S+", "", one) == re.sub(r"20\d\d-\S+", "", all_at_once)


def test_only_what_was_searched_is_to_be_cited(lines, tmp_path):
    export(lines, tmp_path / "bibliography.txt")
    told = (tmp_path / "bibliography.txt").read_text().partition("without a collection: 2 observations\n")[2]
    assert told.split() == ["a", "b"]  # c was skipped, d failed


def test_regions_of_candidates_and_observations(lines, tmp_path):
    export(lines, tmp_path / "c.reg")
    assert "point(10.0000000,41.0000000) # point=cross text={HL Tau H2}" in (tmp_path / "c.reg").read_text()
    export(lines, tmp_path / "o.reg", "--table", "observations")
    assert (tmp_path / "o.reg").read_text().count("text={") == 4


def test_the_bibliography(lines, tmp_path):
    export(lines, tmp_path / "bibliography.txt")
    text = (tmp_path / "bibliography.txt").read_text()
    assert "SIMBAD database" in text
    assert "James Webb Space Telescope" in text
    assert "2 observations searched" in text


def test_the_table_of_cutouts_has_the_pixels_in_parquet(images, tmp_path):
    export(images, tmp_path / "c.parquet", "--table", "cutouts")
    [row] = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert (row["target"], row["shape"], len(row["image"])) == ("HL Tau", [15, 15], 225)
    assert pq.read_schema(tmp_path / "c.parquet").field("image").metadata[b"unit"] == b"MJy / sr"
    export(images, tmp_path / "c.csv", "--table", "cutouts")
    assert "image" not in (tmp_path / "c.csv").read_text().splitlines()[0]


def test_an_unknown_ending_names_all_of_them(lines, tmp_path):
    with pytest.raises(ConfigError, match=r"'\.xls'; use one of \.ecsv.*\.reg, \.moc\.fits, \.moc\.json, or bibliography\.txt"):
        Result(lines).export(tmp_path / "c.xls")
    with pytest.raises(RunFolderError):
        Result(tmp_path).export(tmp_path / "c.csv")


def test_a_notebook_shows_it(lines):
    shown = Result(lines)._repr_html_()
    assert "candidates: 1 rows" in shown
    assert "4 of 4 observations have ended" in shown
