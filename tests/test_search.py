"""End to end: the real clients, over HTTP, against the embedded archive."""

import gzip
import json
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from raysearch import RunFolderError, Search
from raysearch.model import STATUSES
from raysearch.search import Result, by_target
from raysearch.testing import DAMAGES, CubeSpec, Faults, Jet, LocalArchive, damage, demo_holdings, make_cube
from raysearch.worklist import WorkList

HOLDINGS = demo_holdings()
INLINE = {"run.engine": "inline", "report.figures": False}
"""Pictures have tests of their own."""


@pytest.fixture(scope="module")
def archive():
    with LocalArchive(HOLDINGS) as running:
        yield running


@pytest.fixture
def jets(archive):
    archive.set_faults(Faults())
    archive.reset()
    return Search.load("jets", {f"services.{name}": url for name, url in archive.services.items()} | INLINE)


@pytest.fixture(scope="module")
def run(archive, tmp_path_factory):
    settings = {f"services.{name}": url for name, url in archive.services.items()}
    return Search.load("jets", settings | INLINE).run(tmp_path_factory.mktemp("jets"))


def statuses(result):
    return {row["obs_id"]: row["status"] for row in result.arrow("outcomes").to_pylist()}


def test_every_observation_ends_as_the_sky_says(run):
    expected = {obs_id: status for obs_id, status in HOLDINGS.expected.items() if status != "unmatched"}
    assert statuses(run) == expected
    assert sum(run.totals.by_status.values()) == len(expected)


def test_the_lines_found_are_those_that_shine(run):
    found = {obs_id: set() for obs_id, status in statuses(run).items() if status in ("detected", "nothing")}
    for row in run.arrow("candidates").to_pylist():
        found[row["obs_id"]].add(row["rest_um"])
    searched = {line.rest_um for line in Search.load("jets").config.lines.list}
    assert found == {obs_id: set(HOLDINGS.truth[obs_id]) & searched for obs_id in found}
    assert any(found.values())
    assert not all(found.values())


def test_every_skipped_and_failed_row_says_why(run):
    for row in run.arrow("outcomes").to_pylist():
        assert bool(row["reason"]) == (row["status"] in ("skipped", "failed")), row
        assert row["candidates"] == 0 or row["status"] == "detected"


def test_records_carry_where_they_come_from(run):
    for row in run.arrow("candidates").to_pylist():
        assert row["uri"].startswith("s3://stpubdata/jwst/public/") or "/Download/file?uri=mast:JWST/" in row["uri"]
        assert row["config_hash"] == run.about["config_hash"]
        assert row["target"]


def test_the_run_folder_keeps_its_contract(run):
    assert {path.name for path in run.folder.iterdir() if path.suffix or path.is_dir()} >= {
        "search.toml",
        "run.json",
        "observations.arrow",
        "candidates",
        "outcomes",
        "targets.arrow",
    }
    about = json.loads((run.folder / "run.json").read_text())
    assert [query["service"] for query in about["queries"]] == ["SIMBAD", "MAST", "MAST path_lookup"]
    assert all(query["rows"] > 0 for query in about["queries"])
    assert about["funnel"]["archive_rows"] == about["queries"][1]["rows"] == len(HOLDINGS.expected)
    effective = tomllib.loads((run.folder / "search.toml").read_text())
    assert effective["detector"] == {
        "name": "lines",
        "false_alarm": 0.01,
        "velocity": 500.0,
        "maps": True,
        "resolving_power": 0.0,
        "psf_fwhm": 0.0,
    }
    assert len(effective["lines"]["list"]) == 7


def test_targets_with_three_lines_are_notable(run):
    rows = run.arrow("targets").to_pylist()
    assert [row["target"] for row in rows] == sorted(row["target"] for row in rows)
    for row in rows:
        assert row["notable"] == (row["n_lines"] >= 3)
        assert row["n_lines"] == len(set(row["lines"]))
    assert any(row["notable"] for row in rows)


def test_a_plan_says_what_the_run_then_reads(jets, run, archive):
    plan = jets.plan()
    outcomes = {row["obs_id"]: row for row in run.arrow("outcomes").to_pylist()}
    sound = [
        row for row in plan.outcomes.to_pylist() if row["status"] == "nothing" and outcomes[row["obs_id"]]["status"] != "failed"
    ]
    assert sound
    for row in sound:
        assert (row["bytes_read"], row["requests"]) == (outcomes[row["obs_id"]]["bytes_read"], outcomes[row["obs_id"]]["requests"])
    assert plan.totals["files"] >= len(sound)


def test_a_plan_reads_no_pixels(jets, archive):
    jets.work_list()
    archive.reset()
    plan = jets.plan()
    assert archive.counts()["s3"]["bytes"] < plan.totals["bytes"]
    assert plan.totals["observations"] == jets.work_list().table.num_rows


def test_the_outcomes_count_every_request_and_byte(jets, archive, tmp_path):
    jets.work_list()
    archive.reset()
    result = jets.run(tmp_path / "run")
    counts = archive.counts()
    served = [counts["s3"]] + ([counts["mast"]] if "mast" in counts else [])
    assert result.totals.requests == sum(service["requests"] for service in served)


def test_faults_cost_retries_and_no_records(jets, archive, run, tmp_path):
    archive.set_faults(Faults(chance={"503": 0.1, "reset": 0.1}))
    again = jets.run(tmp_path / "faults")
    assert again.arrow("candidates") == run.arrow("candidates")
    assert again.totals.requests > run.totals.requests


def test_the_first_rows_only(jets, tmp_path):
    result = jets.run(tmp_path / "run", limit=5)
    assert result.totals.observations == 5


def test_another_search_in_the_same_folder_is_refused(jets, archive, tmp_path):
    jets.run(tmp_path / "run", limit=2)
    settings = {f"services.{name}": url for name, url in archive.services.items()}
    other = Search.load("jets", settings | INLINE | {"match.radius": "5 arcsec"})
    with pytest.raises(RunFolderError):
        other.run(tmp_path / "run", limit=2)


def test_a_folder_of_ones_own_files(tmp_path):
    cubes = tmp_path / "cubes"
    cubes.mkdir()
    common = {"planes": 120, "wave_start_um": 17.7, "wave_step_um": 0.0025}
    (cubes / "jet.fits").write_bytes(make_cube(CubeSpec(name="jet", jets=(Jet(17.936, resolving_power=1600),), **common)))
    (cubes / "star.fits").write_bytes(make_cube(CubeSpec(name="star", **common)))
    (cubes / "packed.fits").write_bytes(gzip.compress((cubes / "star.fits").read_bytes()))
    (cubes / "picture.fits").write_bytes(b"\xff\xd8\xff\xe0" + bytes(4000))
    search = Search.from_dict(
        {"observations": {"table": str(cubes)}, "lines": {"list": "feii-jwst"}, "run": {"engine": "inline"}},
    )
    result = search.run(tmp_path / "run")
    assert statuses(result) == {"jet": "detected", "packed": "failed", "picture": "failed", "star": "nothing"}
    reasons = {row["obs_id"]: row["reason"] for row in result.arrow("outcomes").to_pylist()}
    assert "gunzip" in reasons["packed"]
    assert "JPEG" in reasons["picture"]


def test_no_file_of_a_folder_is_left_out(tmp_path):
    sound = make_cube(CubeSpec(planes=60, wave_start_um=17.7, wave_step_um=0.005))
    for name in ("a.fits", "b.FIT", "c.fts"):
        (tmp_path / name).write_bytes(sound)
    (tmp_path / "d.fits.gz").write_bytes(gzip.compress(sound))
    (tmp_path / "notes.txt").write_text("no cube")
    result = Search.from_dict(
        {"observations": {"table": str(tmp_path)}, "lines": {"list": "feii-jwst"}, "run": {"engine": "inline"}}
    ).run(tmp_path / "run")
    assert statuses(result) == {"a": "nothing", "b": "nothing", "c": "nothing", "d.fits": "failed"}


def test_a_missing_file_of_ones_own_is_failed(tmp_path):
    (tmp_path / "mine.csv").write_text("uri\nnot-there.fits\n")
    document = {"observations": {"table": str(tmp_path / "mine.csv")}, "lines": {"list": "feii-jwst"}, "run": {"engine": "inline"}}
    result = Search.from_dict(document).run(tmp_path / "run")
    assert statuses(result) == {"not-there": "failed"}
    assert "not-there.fits" in result.arrow("outcomes")["reason"][0].as_py()


def test_a_fresh_run_resumed_nothing(run):
    assert run.totals.resumed == run.about["totals"]["resumed"] == 0


def test_a_folder_that_is_no_run_folder(tmp_path):
    with pytest.raises(RunFolderError, match=r"no run\.json|no run folder"):
        Result(tmp_path).totals  # noqa: B018


def test_exported_tables_have_the_rows(run, tmp_path):
    run.export(tmp_path / "c.parquet")
    assert pq.read_table(tmp_path / "c.parquet").num_rows == run.totals.candidates
    assert len(run.candidates) == run.totals.candidates
    assert run.candidates["wavelength_um"].unit == "um"


def test_a_line_counts_for_every_target_it_may_be_of():
    targets = [
        {"name": name, "ra": 1.0, "dec": 2.0, "redshift": z} for name, z in [("near", 0.0), ("beside", 1e-4), ("beyond", 0.01)]
    ]
    work = pa.table(
        {"obs_id": ["x"], "uris": [["u"]], "targets": [targets], "em_min": [1.0], "em_max": [2.0], "s_region": [""], "skip": [""]}
        | {"partner": [[]]}
    )
    outcomes = pa.table({"obs_id": ["x"], "status": ["detected"]})
    both = ["near", "beside"]
    # The last two are of a detector of somebody's own, which may say what it likes.
    candidates = pa.table({"obs_id": ["x"] * 4, "targets": [both, both, ["unheard of"], ["near"]], "line": ["b", "a", "c", ""]})
    rows = by_target(WorkList(work, ()), outcomes, candidates, min_lines=2).to_pylist()
    assert {row["target"]: (row["lines"], row["notable"]) for row in rows} == {
        "near": (["a", "b"], True),
        "beside": (["a", "b"], True),
        "beyond": ([], False),
    }


def test_a_targets_row_does_not_depend_on_the_other_targets(tmp_path):
    """A neighbour nearer to the centre, at another redshift that puts the lines into the same planes, took them away once."""
    jets = (Jet(1.257), Jet(1.600), Jet(1.644))
    spec = CubeSpec(
        name="x", planes=240, ny=25, nx=25, wave_start_um=1.0, wave_step_um=0.005, pixel_arcsec=0.1, jets=jets, nan_border=0.13
    )
    (tmp_path / "x.fits").write_bytes(make_cube(spec))
    region = spec.s_region()
    (tmp_path / "o.csv").write_text(f"uri,s_region\nx.fits,{region}\n")
    a, b = f"A,{spec.ra},{spec.dec},0.0", f"B,{spec.ra},{spec.dec + 0.3 / 3600},0.0006"
    seen = {}
    for name, rows in {"alone": [b], "together": [a, b]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["name,ra,dec,redshift", *rows]) + "\n")
        document = {
            "targets": {"table": str(tmp_path / f"{name}.csv")},
            "observations": {"table": str(tmp_path / "o.csv")},
            "lines": {"list": "feii-jwst"},
            "detector": {"name": "published"},
            "run": {"engine": "inline"},
        }
        result = Search.from_dict(document).run(tmp_path / name)
        seen[name] = next(row for row in result.arrow("targets").to_pylist() if row["target"] == "B")
    assert seen["alone"]["n_lines"] == 3
    assert seen["together"] == seen["alone"]


REAL = {
    "ngc7469_Level3_ch4-short_s3d": ("NGC 7469", 0.0163),
    "ngc7469_Level3_ch4-long_s3d": ("NGC 7469", 0.0163),
    "16CygB_Level3_ch4-short_s3d": ("16 Cyg B", 0.0),
}


@pytest.mark.real
def test_the_real_cubes(real_data, tmp_path):
    rows = ["uri,target_name,redshift"]
    for name, (target, redshift) in REAL.items():
        (tmp_path / f"{name}.fits").write_bytes(gzip.decompress((real_data / "jwst" / f"{name}.fits.gz").read_bytes()))
        rows.append(f"{name}.fits,{target},{redshift}")
    (tmp_path / "cubes.csv").write_text("\n".join(rows) + "\n")
    lines = [
        {"name": name, "wavelength": f"{um} um"} for name, um in [("[S III]", 18.713), ("[Fe II] a", 17.936), ("[Fe II] b", 25.988)]
    ]
    document = {
        "observations": {"table": str(tmp_path / "cubes.csv")},
        "lines": {"list": lines},
        "detector": {"name": "published"},
        "run": {"engine": "inline"},
    }
    result = Search.from_dict(document).run(tmp_path / "run")
    found = {(row["obs_id"], row["line"]) for row in result.arrow("candidates").to_pylist()}
    assert ("ngc7469_Level3_ch4-short_s3d", "[S III]") in found
    assert not [line for obs_id, line in found if line.startswith("[Fe II]")]
    assert set(statuses(result).values()) <= {"detected", "nothing"}


@pytest.mark.real
def test_every_other_real_cube_ends_as_a_result_or_a_reason(real_data, tmp_path):
    lines = [{"name": "H2 S(1)", "wavelength": "17.035 um"}, {"name": "H alpha", "wavelength": "6564.6 Angstrom"}]
    document = {"observations": {"table": str(real_data / "cubes")}, "lines": {"list": lines}, "run": {"engine": "inline"}}
    result = Search.from_dict(document).run(tmp_path / "run")
    rows = {row["obs_id"]: row for row in result.arrow("outcomes").to_pylist()}
    assert len(rows) == 5
    assert all(row["status"] in STATUSES and (row["reason"] or row["status"] in ("detected", "nothing")) for row in rows.values())
    assert "JPEG" in rows["sample_data_malformed"]["reason"]
    assert "RESTFRQ" in rows["l1448_13co"]["reason"]
    assert rows["region5_hcn_crop"]["status"] == "skipped"
    assert rows["sample_data_NGC7023"]["status"] in ("detected", "nothing", "skipped")


BRIGHT_LINE = """
import numpy as np

from raysearch import Candidate


class BrightLine:
    window = 5
    columns = {"planes": "i8", "peak": "f8"}

    def detect(self, pixels):
        records = []
        for window in pixels.windows:
            first, last = window.searched
            spectrum = np.nanmax(window.sci, axis=(1, 2))[first - window.start : last - window.start]
            plane = first + int(spectrum.argmax())
            values = {"planes": last - first, "peak": float(spectrum.max())}
            wavelength = float(window.wavelength_um[plane - window.start])
            records.append(Candidate(window.target, values, window.line.name, window.line.rest_um, wavelength))
        return records
"""


@pytest.mark.real
def test_radio_cubes_are_searched_along_their_velocities(real_data, tmp_path):
    cubes = tmp_path / "cubes"
    cubes.mkdir()
    (tmp_path / "bright_line.py").write_text(BRIGHT_LINE)
    (cubes / "hcn.fits").write_bytes((real_data / "cubes" / "region5_hcn_crop.fits").read_bytes())
    with fits.open(real_data / "cubes" / "l1448_13co.fits") as hdus:
        hdus[0].header["RESTFRQ"] = 110.201354e9  # as its refusal says
        hdus.writeto(cubes / "l1448.fits")
    document = {
        "observations": {"table": str(cubes)},
        "targets": {"redshift_range": [-5e-5, 5e-5]},
        "lines": {"list": [{"name": n, "wavelength": f"{um} um"} for n, um in [("13CO 1-0", 2720.406), ("HCN 1-0", 3382.446)]]},
        "detector": {"name": f"{tmp_path}/bright_line.py:BrightLine"},
        "run": {"engine": "inline"},
    }
    result = Search.from_dict(document).run(tmp_path / "run")
    found = {row["obs_id"]: row for row in result.arrow("candidates").to_pylist()}
    assert set(statuses(result).values()) == {"detected"}
    assert found["l1448"]["line"] == "13CO 1-0"
    # Optical and radio velocity of the brightest planes, by the headers' own formulas
    assert 3.5 < (found["l1448"]["wavelength_um"] / 2720.4057 - 1) * 299792.458 < 5.5
    assert found["l1448"]["planes"] == 53
    assert found["hcn"]["line"] == "HCN 1-0"
    assert found["hcn"]["planes"] > 260


ENDINGS = {
    "truncated": "truncated",
    "jpeg": "JPEG",
    "html": "web page",
    "gzip": "gunzip",
    "empty": "empty",
    "no-sci": "neither an extension SCI",
    "naxis2": "axes",
    "naxis4": "",  # its fourth axis has length 1
    "no-cunit": "CUNIT3",
    "no-wave": "CTYPE3",
    "float64": "",
    "bscale": "",
}


def test_every_damage_ends_as_a_result_or_a_reason(tmp_path):
    assert set(ENDINGS) == set(DAMAGES)
    sound = make_cube(CubeSpec(planes=120, wave_start_um=17.7, wave_step_um=0.0025, jets=(Jet(17.936, resolving_power=1600),)))
    for kind in DAMAGES:
        (tmp_path / f"{kind}.fits").write_bytes(damage(sound, kind))
    document = {"observations": {"table": str(tmp_path)}, "lines": {"list": "feii-jwst"}, "run": {"engine": "inline"}}
    result = Search.from_dict(document).run(tmp_path / "run")
    for row in result.arrow("outcomes").to_pylist():
        said = ENDINGS[row["obs_id"]]
        assert row["status"] == ("failed" if said else "detected"), row
        assert said in row["reason"]
        assert "internal error" not in row["reason"]
        assert not said or f"{row['obs_id']}.fits" in row["reason"]


@pytest.mark.parametrize(
    ("fault", "said"), [("403", "403"), ("404", "404"), ("503", "503"), ("stall", "no answer in time"), ("truncate", "")]
)
def test_a_store_that_refuses_one_product_costs_that_one(jets, archive, run, tmp_path, fault, said):
    uri = next(row["uri"] for row in run.arrow("candidates").to_pylist() if row["uri"].startswith("s3://"))
    key = uri.removeprefix("s3://stpubdata/")
    download = f"mast:JWST/product/{key.rpartition('/')[2]}"
    settings = {f"services.{name}": url for name, url in archive.services.items()}
    impatient = Search.load("jets", settings | INLINE | {"services.timeout": "0.3 s"})
    archive.set_faults(Faults(keys={key: fault, download: fault}))
    result = impatient.run(tmp_path / "run", limit=12)
    rows = {row["uri"]: row for row in result.arrow("outcomes").to_pylist()}
    assert rows[uri]["status"] == ("skipped" if fault == "404" else "failed")
    assert said in rows[uri]["reason"]
    reference = {row["obs_id"]: row["status"] for row in run.arrow("outcomes").to_pylist()}
    assert all(row["status"] == reference[row["obs_id"]] for row in rows.values() if row["uri"] != uri)


@pytest.mark.parametrize("fault", ["403", "404", "503"])
def test_a_refused_product_is_read_from_the_next_place(jets, archive, run, tmp_path, fault):
    uri = next(row["uri"] for row in run.arrow("candidates").to_pylist() if row["uri"].startswith("s3://"))
    archive.set_faults(Faults(keys={uri.removeprefix("s3://stpubdata/"): fault}))
    rows = jets.run(tmp_path / "run", limit=12).arrow("outcomes").to_pylist()
    [row] = [row for row in rows if row["uri"].endswith(uri.rpartition("/")[2]) and row["status"] == "detected"]
    assert "/Download/file?uri=mast:JWST/product/" in row["uri"]
