"""SPHEREx end to end: the real clients over HTTP, byte ranges from S3, the run folder and what follows from it."""

import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from raysearch import Result, RunFolderError, Search, cli, pages
from raysearch.engine import RunStarted, ShardDone
from raysearch.report.funnel import steps
from raysearch.testing import LocalArchive
from raysearch.testing.spherex_sky import spherex_sky

SKY = spherex_sky(side=96)
INLINE = {"run.engine": "inline", "report.figures": False, "report.page": False}
"""Pictures and pages have tests of their own."""
YOUNG = {"targets.simbad": "otype = 'Y*O'"}
ONE = {"targets.names": ["SPX Red A"]}


@pytest.fixture(scope="module")
def archive():
    with LocalArchive(SKY.holdings) as running:
        yield running


@pytest.fixture(scope="module")
def search(archive):
    def make(name, answers="reuse", **settings):
        services = {f"services.{service}": url for service, url in archive.services.items()}
        return Search.load(name, {**services, **INLINE, **settings}, answers=answers)

    return make


@pytest.fixture(scope="module")
def cutouts(search, tmp_path_factory):
    return search("spherex-cutouts", **YOUNG).run(tmp_path_factory.mktemp("spherex") / "cutouts")


SOURCES = {
    "targets.names": ["SPX Red A", "SPX Blue A"],
    "images.size": "0.08 deg",
    "spectra.snr": 60.0,
    "spectra.size": "0.058 deg",
}


@pytest.fixture(scope="module")
def sources(search, tmp_path_factory):
    return search("spherex-sources", **SOURCES).run(tmp_path_factory.mktemp("spherex") / "sources")


def ended(result):
    return {row["obs_id"]: row for row in result.arrow("outcomes").to_pylist()}


def told(result, name):
    """Return a table as text, in which NaN is NaN, without what depends on the clock, the folder, and what was read before."""
    table = result.arrow(name)
    varying = {"seconds", "figures_seconds", "detect_seconds", "retries", "bytes_read", "requests", "ranges", "config_hash"}
    return repr(table.drop_columns([name for name in table.column_names if name in varying]).to_pylist())


def rows_of(table):
    """Return the rows of an astropy Table as dicts."""
    return [dict(zip(table.colnames, row, strict=True)) for row in table.as_array().tolist()]


def holding(target, detector=0):
    return SKY.holding(target, detector, "qr2")


def test_each_target_has_every_image_that_holds_it(cutouts):
    lost = {SKY.special["absent"], SKY.special["no_variance"]}
    made = rows_of(cutouts.cutouts)
    for target in SKY.targets:
        own = [row for row in made if row["target"] == target.name]
        expected = [name for name in holding(target.name) if name not in lost]
        assert [row["obs_id"] for row in own] == expected, "the oldest first"
        assert [row["cutout_index"] for row in own] == list(range(1, len(own) + 1))


def test_wavelengths_are_those_at_the_target(cutouts):
    for row in rows_of(cutouts.cutouts):
        truth = SKY.injected(row["obs_id"])[row["target"]]
        assert row["central_wavelength_um"] == pytest.approx(truth.wavelength_um, abs=2e-3)
        assert (row["x0"] + row["x"], row["y0"] + row["y"]) == pytest.approx((truth.x, truth.y), abs=0.02)


def test_one_file_for_each_target(cutouts):
    files = sorted((cutouts.folder / "cutouts").iterdir())
    assert [file.stem.replace("_", " ") for file in files] == sorted(target.name for target in SKY.targets)
    with fits.open(cutouts.folder / "cutouts" / "SPX_Red_B.fits") as hdus:
        info = hdus["CUTOUT_INFO"].data
        assert len(info) == 17
        assert (np.diff(info["observation_date"]) >= 0).all()
        assert {f"{name}17" for name in ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "WCS-WAVE")} <= {hdu.name for hdu in hdus}


def test_what_went_wrong_says_why(cutouts):
    rows = ended(cutouts)
    assert rows.keys() == {name for name, spec in SKY.frames.items() if spec.release == "qr2"}
    assert rows[SKY.special["irsa_only"]]["uri"].startswith("http")
    assert rows[SKY.special["irsa_only"]]["status"] == "detected"
    absent, lacking = rows[SKY.special["absent"]], rows[SKY.special["no_variance"]]
    assert absent["status"] == "skipped"
    assert "can be had nowhere" in absent["reason"]
    assert lacking["status"] == "failed"
    assert "no extension VARIANCE" in lacking["reason"]
    others = rows.keys() - {SKY.special["absent"], SKY.special["no_variance"]}
    assert {rows[name]["status"] for name in others} == {"detected"}
    assert {rows[name]["uri"][:5] for name in others - {SKY.special["irsa_only"]}} == {"s3://"}


def test_a_box_without_a_value_is_no_cutout(search, tmp_path):
    asked = {"observations.filters": ["SPHEREx-D1"], "images.size": "0.05 deg"}
    alone = search("spherex-cutouts", **asked, **{"targets.names": ["SPX Flat B"]}).run(tmp_path / "alone")
    blank = ended(alone)[SKY.special["blank"]]
    assert (blank["status"], blank["reason"]) == ("skipped", "no pixel around SPX Flat B has a value")
    beside = search("spherex-cutouts", **asked, **{"targets.names": ["SPX Flat B", "SPX Red B"]}).run(tmp_path / "beside")
    assert {row["status"] for row in ended(beside).values()} == {"detected"}
    [row] = [row for row in beside.arrow("candidates").to_pylist() if not row["cutout"]]
    assert (row["obs_id"], row["target"], row["note"]) == (SKY.special["blank"], "SPX Flat B", "no pixel has a value")
    assert [row["obs_id"] for row in rows_of(beside.cutouts)].count(SKY.special["blank"]) == 1


def test_a_target_at_the_edge_is_clipped_and_says_so(cutouts):
    told = {(row["clipped"], row["note"]) for row in rows_of(cutouts.cutouts) if row["target"] == "SPX Edge A"}
    assert told == {(True, "the image ends inside the box")}
    inside = {row["clipped"] for row in rows_of(cutouts.cutouts) if row["target"] == "SPX Red A"}
    assert inside == {False}


def test_the_tables_of_cutouts_and_targets(cutouts, tmp_path):
    table = cutouts.cutouts
    assert "cutout" not in table.colnames
    assert str(table["central_wavelength_um"].unit) == "um"
    cutouts.export(tmp_path / "cutouts.ecsv", "cutouts")
    assert len(Table.read(tmp_path / "cutouts.ecsv")) == len(table)
    cutouts.export(tmp_path / "cutouts.parquet", "cutouts")
    row = pq.read_table(tmp_path / "cutouts.parquet").slice(0, 1).to_pylist()[0]
    assert np.reshape(row["image"], row["shape"]).shape == (row["ny"], row["nx"])
    rows = {row["target"]: row for row in cutouts.arrow("targets").to_pylist()}
    assert rows.keys() == {target.name for target in SKY.targets}
    assert [rows["SPX Red A"][name] for name in ("observations", "searched", "found")] == [18, 17, 17]
    with pytest.raises(RunFolderError, match="it is written when a search of pairs of images is finished"):
        cutouts.arrow("sources")


def test_a_band_and_a_span_of_time(search):
    def images(**asked):
        return search("spherex-cutouts", **ONE, **{f"observations.{key}": value for key, value in asked.items()}).work_list().table

    assert images(filters=["SPHEREx-D3"])["obs_id"].to_pylist() == holding("SPX Red A", 3)
    early = images(time=["2025-12-01", "2026-01-31"])["obs_id"].to_pylist()
    assert sorted(early) == sorted(name for name in holding("SPX Red A") if name.startswith("2025W51"))


def test_sia2_is_the_second_way(search):
    """With any key that TAP's tables of SPHEREx lack, SIA2 is asked."""
    by_tap, by_sia2 = (
        search("spherex-cutouts", **ONE, **more).work_list() for more in ({}, {"observations.product_type": "image"})
    )
    assert [work.queries[-1].url.rpartition("/")[2] for work in (by_tap, by_sia2)] == ["TAP", "SIA"]
    assert by_sia2.table["obs_id"].to_pylist() == by_tap.table["obs_id"].to_pylist()
    assert by_sia2.table["uris"].to_pylist() == by_tap.table["uris"].to_pylist()


def test_the_cutout_service_gives_the_same_pixels(search, tmp_path):
    asked = ONE | {"observations.filters": ["SPHEREx-D2"]}
    ranges = search("spherex-cutouts", **asked).run(tmp_path / "ranges")
    service = search("spherex-cutouts", **asked, **{"images.through": "cutouts"}).run(tmp_path / "service")
    first, second = ranges.arrow("cutouts"), service.arrow("cutouts")
    assert first.num_rows == 3
    assert not set(first["uri"].to_pylist()) & set(second["uri"].to_pylist())
    for name in ("obs_id", "x0", "y0", "shape", "image", "flags", "variance", "zodi", "central_wavelength_um"):
        assert repr(first[name].to_pylist()) == repr(second[name].to_pylist()), name


def test_a_plan_says_what_the_run_then_reads(search, cutouts):
    plan = search("spherex-cutouts", **YOUNG).plan()
    assert plan.totals["observations"] == cutouts.totals.observations
    assert plan.totals["skipped"] == 1
    sound = {name: row for name, row in ended(cutouts).items() if row["status"] == "detected"}
    planned = {row["obs_id"]: row["bytes_read"] for row in plan.outcomes.to_pylist()}
    assert sum(planned[name] for name in sound) == pytest.approx(sum(row["bytes_read"] for row in sound.values()), rel=0.1)


def test_the_second_time_offline_asks_nobody(search, archive, tmp_path):
    kept = {"services.answers": str(tmp_path / "answers"), "observations.filters": ["SPHEREx-D2"]}
    first = search("spherex-cutouts", **ONE, **kept).work_list()
    archive.reset()
    again = search("spherex-cutouts", "offline", **ONE, **kept).work_list()
    assert again.table.equals(first.table)
    assert sum(service["requests"] for service in archive.counts().values()) == 0


class Stop(Exception):
    pass


def stop_at(kind, number):
    """Return an observer that breaks the run off at the given event of a kind, counted from 1."""
    left = [number]

    def observe(event):
        if isinstance(event, kind):
            left[0] -= 1
            if not left[0]:
                raise Stop

    return observe


def test_broken_off_and_on_again_is_the_same(search, tmp_path):
    made = search("spherex-cutouts", **ONE, **{"observations.filters": ["SPHEREx-D2", "SPHEREx-D6"]})
    whole = made.run(tmp_path / "whole")
    with pytest.raises(Stop):
        made.run(tmp_path / "run", observers=[stop_at(ShardDone, 2)])
    assert not (tmp_path / "run" / "cutouts").exists()
    again = made.run(tmp_path / "run")
    # Shards are written side by side: while the second is told of, the others may stand already.
    assert 2 <= again.about["totals"]["resumed"] <= again.totals.observations == 6
    for name in ("candidates", "outcomes", "targets"):
        assert told(again, name) == told(whole, name), name
    file = "cutouts/SPX_Red_A.fits"
    with fits.open(whole.folder / file) as one, fits.open(again.folder / file) as other:
        assert [(hdu.name, hdu.header["DATASUM"]) for hdu in one] == [(hdu.name, hdu.header["DATASUM"]) for hdu in other]


def test_only_what_is_new_since_an_earlier_run(search, tmp_path):
    asked = ONE | {"observations.filters": ["SPHEREx-D2"]}
    first = search("spherex-cutouts", **asked, **{"observations.time": ["2025-12-01", "2026-01-31"]}).run(tmp_path / "first")
    second = search("spherex-cutouts", **asked).run(tmp_path / "second", since=tmp_path / "first")
    assert [*ended(first), *ended(second)] == holding("SPX Red A", 2)
    assert second.about["funnel"]["left_out"] == 1
    with pytest.raises(RunFolderError, match=r"it differs in images\.size"):
        search("spherex-cutouts", **asked, **{"images.size": "0.2 deg"}).run(tmp_path / "third", since=tmp_path / "first")


def truth_near(ra, dec):
    """Return the injected source nearest to a place, and how far it is, arcsec."""
    apart = [np.hypot((source.ra - ra) * np.cos(np.radians(dec)), source.dec - dec) * 3600 for source in SKY.sources]
    return SKY.sources[int(np.argmin(apart))], min(apart)


def test_red_sources_are_red_and_blue_are_blue(sources):
    found = sources.arrow("sources").to_pylist()
    assert {"SPX Red A": "red", "SPX Blue A": "blue"}.items() <= {
        truth_near(row["ra"], row["dec"])[0].name: row["kind"] for row in found
    }.items()
    for row in found:
        assert row["source"].startswith("SPX J")
        assert row["n_pairs"] >= 1
    snrs = [row["snr"] for row in found]
    assert snrs == sorted(snrs, reverse=True)
    assert len({row["source"] for row in found}) == len(found)


def test_the_pairs_are_one_of_each_band_and_shared(sources):
    for row in sources.arrow("observations").to_pylist():
        first, second = row["obs_id"].split("+")
        assert (SKY.frames[first].detector, SKY.frames[second].detector) == (2, 4)
        assert row["partner"][0].startswith("s3://")
        assert SKY.frames[second].key in row["partner"][0]
    funnel = sources.about["funnel"]
    assert (
        sources.totals.observations
        == funnel["matched"] - funnel["paired"] - funnel["unpaired"] + funnel["pairs"]
        == funnel["pairs"]
    )


def test_the_pages_funnel_goes_from_images_to_pairs(sources):
    run, _ = pages.load(sources.folder)
    counts = {step.key: step.count for step in steps(run)}
    assert counts["matched"] - counts["unpaired"] - counts["paired"] + counts["pairs"] == counts["observations"]


def test_every_source_above_the_limit_has_a_spectrum_in_all_bands(sources):
    chosen = {row["source"] for row in sources.arrow("sources").to_pylist() if row["snr"] >= SOURCES["spectra.snr"]}
    assert len(chosen) >= 2
    assert len(chosen) < sources.arrow("sources").num_rows
    spectra = sources.arrow("spectra")
    assert set(spectra["source"].to_pylist()) == chosen
    assert {band[-2:] for band in spectra["band"].to_pylist()} == {"D1", "D2", "D3", "D4", "D5", "D6"}
    keys = [(row["source"], row["central_wavelength_um"]) for row in spectra.to_pylist()]
    assert keys == sorted(keys)
    nested = Result(sources.folder / "spectra")
    assert set(nested.arrow("candidates")["target"].to_pylist()) >= chosen
    assert (nested.kind, sources.kind) == ("images", "pairs")
    assert sources.spectra["flux_ujy"].unit is not None


def test_the_spectrum_of_a_source_is_its_spectrum(sources):
    source = next(
        row["source"] for row in sources.arrow("sources").to_pylist() if truth_near(row["ra"], row["dec"])[0].name == "SPX Red A"
    )
    rows = [row for row in sources.arrow("spectra").to_pylist() if row["source"] == source and row["method"] == "psf"]
    true = {name: SKY.injected(name)["SPX Red A"].flux_ujy for name in holding("SPX Red A")}
    ratios = [row["flux_ujy"] / true[row["obs_id"]] for row in rows]
    assert len(ratios) >= 15
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)


def test_a_red_spectrum_does_not_hold_the_light_of_a_blue_neighbour(search, tmp_path):
    """Only red sources were known to the photometry, and the blue one 2.6 pixels away was not."""
    asked = {"images.size": "0.05 deg", "spectra.sources": "red", "spectra.snr": 20.0, "spectra.size": "0.058 deg"}
    young = {"observations.time": ["2025-12-01", "2026-01-31"], "targets.names": ["SPX Pair A"]}
    result = search("spherex-sources", **asked, **young).run(tmp_path / "run")
    rows = [
        (row["flux_ujy"] - SKY.injected(row["obs_id"])["SPX Pair A"].flux_ujy) / row["flux_err_ujy"]
        for row in result.arrow("spectra").to_pylist()
        if row["method"] == "psf" and truth_near(*place(result, row["source"]))[0].name == "SPX Pair A"
    ]
    assert len(rows) == 6
    assert abs(np.median(rows)) < 2.0


def place(result, source):
    [row] = [row for row in result.arrow("sources").to_pylist() if row["source"] == source]
    return row["ra"], row["dec"]


def test_broken_off_among_the_spectra_it_goes_on_there(search, sources, tmp_path):
    made = search("spherex-sources", **SOURCES)
    with pytest.raises(Stop):
        made.run(tmp_path / "run", observers=[stop_at(RunStarted, 2)])
    assert (tmp_path / "run" / "sources.arrow").exists()
    assert not (tmp_path / "run" / "spectra.arrow").exists()
    again = made.run(tmp_path / "run")
    for name in ("sources", "spectra"):
        assert told(again, name) == told(sources, name), name


def test_stopped_while_the_last_pair_is_in_hand_no_spectra_are_begun(search, tmp_path):
    """Ctrl-C said that it was stopping, and the spectra of all sources followed."""

    def press(event):
        if isinstance(event, ShardDone):
            signal.raise_signal(signal.SIGINT)

    made = search("spherex-sources", **ONE, **{"images.size": "0.06 deg", "spectra.snr": 1e6})
    with pytest.raises(KeyboardInterrupt):
        made.run(tmp_path / "run", observers=[press])
    assert not (tmp_path / "run" / "spectra.arrow").exists()
    assert made.run(tmp_path / "run").arrow("spectra").num_rows == 0


def test_targets_in_one_band_only_are_named(search):
    work = search("spherex-sources", **ONE, **{"observations.exclude": ["*/D4"]}).work_list()
    assert "1 target has images in D2 only, and so no pair: SPX Red A" in work.notes
    assert [row["skip"] for row in work.table.to_pylist()] == ["its obs_id has the excluded pattern '*/D4'"] * 3
    assert (work.funnel["matched"], work.funnel["unpaired"], work.funnel["pairs"]) == (6, 3, 0)


def test_no_source_above_the_limit_is_no_spectrum(search, tmp_path):
    result = search("spherex-sources", **ONE, **{"images.size": "0.06 deg", "spectra.snr": 1e6}).run(tmp_path / "run")
    assert result.arrow("sources").num_rows
    assert result.arrow("spectra").num_rows == 0
    assert "flux_ujy" in result.arrow("spectra").column_names


def test_images_of_ones_own(search, archive, tmp_path):
    spec = SKY.frames[SKY.holding("SPX Red A", 2)[0]]
    (tmp_path / "image.fits").write_bytes(SKY.holdings.bodies[spec.key])
    target = next(target for target in SKY.targets if target.name == "SPX Red A")
    table = pa.table({"uri": ["image.fits"], "target_name": ["mine"], "s_ra": [target.ra], "s_dec": [target.dec]})
    pq.write_table(table, tmp_path / "mine.parquet")
    document = {
        "observations": {"table": str(tmp_path / "mine.parquet")},
        "images": {"size": "0.05 deg"},
        "run": {"engine": "inline"},
    }
    result = Search.from_dict(document).run(tmp_path / "run")
    assert [(row["target"], row["band"], row["nx"]) for row in rows_of(result.cutouts)] == [("mine", "SPHEREx-D2", 30)]
    pq.write_table(table.drop_columns(["s_ra", "s_dec"]), tmp_path / "mine.parquet")
    [row] = ended(Search.from_dict(document).run(tmp_path / "nowhere")).values()
    assert (row["status"], row["reason"].partition(";")[0]) == ("skipped", "its row has no s_ra and s_dec to cut out around")


def test_the_command_line_tells_what_came_of_images(cutouts, sources, archive, tmp_path, capsys):
    services = [f"--set=services.{name}={url}" for name, url in archive.services.items()]
    asked = [
        "--set=run.engine=inline",
        "--set=report.page=false",
        "--set=targets.names=['SPX Red A']",
        "--set=observations.filters='SPHEREx-D3'",
    ]
    assert cli.main(["run", "spherex-cutouts", "--out", str(tmp_path / "run"), *services, *asked]) == 0
    said = capsys.readouterr().out
    assert "3 cutouts:" in said
    assert "1 of 1 targets have images" in said
    assert f"1 files of cutouts, one for each target: {tmp_path / 'run' / 'cutouts'}" in said
    assert "notable" not in said
    assert cli.main(["export", str(tmp_path / "run"), str(tmp_path / "t.csv"), "--table", "cutouts"]) == 0
    assert "3 rows" in capsys.readouterr().out
    cli._say_result(cli._Report(sources))
    said = capsys.readouterr().out
    assert f"{sources.arrow('sources').num_rows} sources (" in said
    assert "spectra of " in said
    assert cli.main(["run", "spherex-cutouts", "--out", str(tmp_path / "none")]) == 2
    assert "give some, such as --set targets.names=" in capsys.readouterr().err


@pytest.mark.slow
def test_on_ray_it_is_the_same(search, sources, tmp_path, one_ray):
    on_ray = {"run.engine": "ray", "run.detectors": 1, "spectra.sources": "none"}
    result = search("spherex-sources", **SOURCES, **on_ray).run(tmp_path / "run")
    for name in ("candidates", "outcomes", "targets", "sources"):
        assert told(result, name) == told(sources, name), name
