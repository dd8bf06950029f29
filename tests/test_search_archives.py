"""End to end over every archive: the config, the real clients over HTTP, the match, the run."""

import asyncio
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from raysearch import ConfigError, RunFolderError, Search, config
from raysearch.errors import ArchiveError
from raysearch.model import Usage
from raysearch.read.addresses import AT_ONCE
from raysearch.read.store import StoreConfig, open_store
from raysearch.search import Result
from raysearch.testing import Faults, LocalArchive, archives_holdings, demo_holdings

HOLDINGS = archives_holdings()
YOUNG = {"simbad": "otype = 'Y*O..'"}
C_II = {"list": [{"name": "[C II]", "wavelength": "157.741 um"}], "min_lines": 1}
QUICK = {"run.engine": "inline", "detector.name": "published", "report.figures": False}
FE_II = {"list": [{"name": "[Fe II]", "wavelength": "25.988 um"}], "min_lines": 1}


@pytest.fixture(scope="module")
def archive():
    with LocalArchive(HOLDINGS) as running:
        yield running


@pytest.fixture
def search(archive):
    archive.reset()

    def make(observations, answers="reuse", **sections):
        services = {**archive.services, **sections.pop("services", {})}
        document = {"targets": YOUNG, "lines": C_II, "run": {"engine": "inline"}, **sections}
        return Search.from_dict({**document, "observations": observations, "services": services}, answers=answers)

    return make


def rows(work):
    return {row["obs_id"]: row for row in work.table.to_pylist()}


class Peak:
    """A detector that finds the line of a jet, whatever the grid: the brightest of the planes around stands out."""

    window = 8
    columns: ClassVar = {"ratio": "f8"}

    def detect(self, pixels):
        from raysearch import Candidate

        found = []
        for window in pixels.windows:
            spectrum = np.nanmax(window.sci.reshape(len(window.sci), -1), axis=1)
            ratio = float(spectrum.max() / np.median(spectrum))
            if ratio > 1.5:
                found.append(Candidate(window.target, {"ratio": ratio}, window.line.name, window.line.rest_um, window.observed_um))
        return found


def test_sofias_cubes_at_irsa(search, tmp_path):
    asked = {"archive": "irsa", "facility": "SOFIA", "product_type": "cube", "calib_level": [3]}
    made = search(asked, detector={"name": f"{__file__}:Peak"})
    work = made.work_list()
    assert work.funnel == {"targets": 6, "archive_rows": 3, "matched": 2, "no_footprint": 1}
    assert [query.service for query in work.queries] == ["SIMBAD", "IRSA"]
    ended = {row["obs_id"]: row for row in made.run(tmp_path / "run").arrow("outcomes").to_pylist()}
    truth = {name.rpartition("?")[2].removesuffix(".fits"): lines for name, lines in HOLDINGS.truth.items() if "sofia" in name}
    assert {name: row["status"] for name, row in ended.items() if row["status"] != "skipped"} == {
        name: "detected" if truth[name] else "nothing" for name in ended if not rows(work)[name]["skip"]
    }
    [skipped] = [row for row in ended.values() if row["status"] == "skipped"]
    assert "no s_region" in skipped["reason"]


def test_spherex_near_the_targets_by_tap_and_all_of_it_by_sia2(search):
    near = search({"archive": "irsa", "collection": "spherex_qr2", "near_targets": True}).work_list()
    everywhere = search({"archive": "irsa", "collection": "spherex_qr2"}).work_list()
    assert near.funnel["archive_rows"] < everywhere.funnel["archive_rows"]
    assert rows(near).keys() == rows(everywhere).keys()
    band = search({"archive": "irsa", "collection": "spherex_qr2", "near_targets": True, "filters": "SPHEREx-D4"}).work_list()
    assert [name.rpartition("/")[2] for name in rows(band)] == ["D4"]


def test_chandra_at_heasarc_by_catalogue(search):
    work = search({"archive": "heasarc", "catalog": "chanmaster"}, match={"radius": "1 arcsec"}).work_list()
    found = rows(work)
    uris = found["15158 acisf15158N004_cntr_img2.fits.gz"]["uris"]
    assert uris[0] == "s3://nasa-heasarc/chandra/data/byobsid/8/15158/primary/acisf15158N004_cntr_img2.fits.gz"
    assert "/FTP/chandra/" in uris[1]
    assert {row["archive_obs_id"] or name for name, row in found.items()} >= {"1990", "15158", "7008", "4003"}


def test_chandra_by_the_registrys_image_services(search):
    work = search({"archive": "heasarc", "keywords": "chandra heasarc"}).work_list()
    assert "VO registry" in {query.service for query in work.queries}
    assert work.funnel["matched"] == work.funnel["archive_rows"] > 0


def test_any_sia2_service_and_any_tap_service_by_its_address(search, archive):
    by_name = search({"archive": "irsa", "facility": "SOFIA"}).work_list()
    by_address = search({"archive": "sia2", "url": f"{archive.services['irsa']}/SIA", "facility": "SOFIA"}).work_list()
    assert rows(by_address).keys() == rows(by_name).keys()
    adql = (
        "SELECT p.obs_publisher_did, 'https://x.org/' || a.uri AS access_url, p.poly AS s_region, p.energy_bounds_lower AS em_min, "
        "p.energy_bounds_upper AS em_max FROM spherex.artifact AS a JOIN spherex.plane AS p ON a.planeid = p.planeid"
    )
    by_adql = search({"archive": "tap", "url": f"{archive.services['irsa']}/TAP", "adql": adql}).work_list()
    assert by_adql.queries[-1].text == adql
    assert by_adql.funnel["matched"] > 0


def test_mast_with_more_to_ask(search):
    asked = {"archive": "mast", "collection": "JWST", "product_type": "cube"}
    everything = rows(search(asked, lines=FE_II).work_list())
    assert len(everything) == 3
    for key, value in {
        "wavelength": ["5 um", "6 um"], "time": ["2019-01-01", "2019-02-01"], "instrument": "NIRSPEC/*", "proposal": "1",
        "filters": "CH1*",
    }.items():  # fmt: skip
        assert rows(search({**asked, key: value}, lines=FE_II).work_list()) == {}, key
    everything_still = {"wavelength": ["25 um", "26 um"], "instrument": "MIRI/*", "proposal": "9001", "near_targets": True}
    assert rows(search(asked | everything_still, lines=FE_II).work_list()).keys() == everything.keys()


def test_names_of_objects(search):
    work = search(
        {"archive": "mast", "collection": "JWST", "product_type": "cube"},
        targets={"names": ["[SYN2026] 1", "No Such Star"]},
        lines=FE_II,
    ).work_list()
    assert [target.name for target in work.targets] == ["Synthetic YSO 01"]
    assert work.notes == ("SIMBAD has no position for 'No Such Star'",)
    assert len(rows(work)) == 1


def test_what_is_found_nowhere_is_told(search):
    work = search({"archive": "mast", "collection": "JWTS"}, targets={"simbad": "otype = 'no such type'"}).work_list()
    assert (work.funnel["targets"], work.funnel["archive_rows"], work.table.num_rows) == (0, 0, 0)
    assert [note.partition(";")[0] for note in work.notes] == [
        "nothing was found for [targets]", "nothing was found for [observations]"
    ]  # fmt: skip


def test_masts_names_in_ones_own_table_are_read_from_the_cloud(search, tmp_path):
    name = "jw09001-o001_t001_miri_ch4-long"
    (tmp_path / "mine.csv").write_text(f"uri\nmast:JWST/product/{name}_s3d.fits\nmast:JWST/product/nowhere_s3d.fits\n")
    made = search({"table": str(tmp_path / "mine.csv")}, targets={}, lines=FE_II)
    found = rows(made.work_list())
    first, second = found[f"{name}_s3d"]["uris"]
    assert first.startswith("s3://stpubdata/")
    assert second.endswith(f"/api/v0.1/Download/file?uri=mast:JWST/product/{name}_s3d.fits")
    assert len(found["nowhere_s3d"]["uris"]) == 1
    ended = {row["obs_id"]: row for row in made.run(tmp_path / "run").arrow("outcomes").to_pylist()}
    assert ended[f"{name}_s3d"]["uri"] == first
    assert ended["nowhere_s3d"]["status"] == "failed"


def test_a_cutout_of_ones_own_that_cannot_be_had_says_why(search, archive, tmp_path):
    image = f"{archive.services['irsa']}/{next(p.path for p in HOLDINGS.products if p.path.startswith('ibe/data/spherex'))}"
    star = HOLDINGS.targets[0]
    asked = {"outside": "center=10,10&size=0.1&gzip=false", "packed": f"center={star['ra']},{star['dec']}&size=0.05"}
    (tmp_path / "mine.csv").write_text("obs_id,uri\n" + "".join(f'{name},"{image}?{how}"\n' for name, how in asked.items()))
    made = search({"table": str(tmp_path / "mine.csv")}, targets={}, lines=FE_II)
    ended = {row["obs_id"]: row for row in made.run(tmp_path / "run").arrow("outcomes").to_pylist()}
    assert {row["status"] for row in ended.values()} == {"failed"}
    assert "the server answered 400" in ended["outside"]["reason"]
    assert "gzip-compressed" in ended["packed"]["reason"]


def test_irsas_cutouts_are_asked_for_no_faster_than_it_makes_them(search, archive, monkeypatch):
    monkeypatch.setitem(AT_ONCE, "127.0.0.1", AT_ONCE["irsa.ipac.caltech.edu"])
    archive.set_faults(Faults(bandwidth=300_000))
    image = f"{archive.services['irsa']}/{next(p.path for p in HOLDINGS.products if p.path.startswith('ibe/data/spherex'))}"

    async def read():
        store = open_store(StoreConfig())
        uris = [f"{image}?center=32,32px&size={n + 4}px&gzip=false" for n in range(12)]
        await asyncio.gather(*(store.get(uri, Usage()) for uri in uris))
        await store.close()

    asyncio.run(read())
    assert [request.status for request in archive.log() if "/ibe/" in request.path] == [200] * 12, (
        "the fifth at once would be a 503"
    )


@pytest.fixture(scope="module")
def demo():
    with LocalArchive(demo_holdings()) as running:
        yield running


@pytest.fixture
def jets(demo):
    demo.reset()

    def make(answers="reuse", **settings):
        services = {f"services.{name}": url for name, url in demo.services.items()}
        return Search.load("jets", {**services, **QUICK, **settings}, answers=answers)

    return make


def test_what_is_not_public_is_listed_and_skipped_on_request(jets, tmp_path):
    public = rows(jets().work_list())
    everything = rows(jets(**{"observations.public_only": False}).work_list())
    private = everything.keys() - public.keys()
    assert private
    assert {name: row["skip"] for name, row in everything.items() if name in public} == {n: r["skip"] for n, r in public.items()}
    assert all(everything[name]["skip"].startswith("proprietary") for name in private)
    assert not any(everything[name]["uris"] for name in private)


def test_what_is_not_public_ends_as_skipped_until_its_day(tmp_path):
    holdings = demo_holdings(20)
    later = [{**row, "t_obs_release": 88_069.0} if row["dataRights"] != "PUBLIC" else row for row in holdings.observations]
    with LocalArchive(type(holdings)(holdings.targets, tuple(later), holdings.products, holdings.bodies)) as running:
        services = {f"services.{name}": url for name, url in running.services.items()}
        result = Search.load("jets", QUICK | services | {"observations.public_only": False}).run(tmp_path / "run")
    private = [row for row in result.arrow("outcomes").to_pylist() if row["reason"].startswith("proprietary")]
    assert [(row["status"], row["reason"], row["requests"]) for row in private] == [("skipped", "proprietary until 2100-01-01", 0)]


def test_answers_are_kept_reused_refreshed_and_never_asked_for_offline(jets, demo, tmp_path):
    kept = {"services.answers": str(tmp_path / "answers")}
    first = jets(**kept).work_list()
    assert not any(query.reused for query in first.queries)
    demo.reset()
    again = jets(**kept).work_list()
    assert all(query.reused for query in again.queries)
    assert again.table.equals(first.table)
    offline = jets("offline", **kept).work_list()
    assert offline.table.equals(first.table)
    assert sum(service["requests"] for service in demo.counts().values()) == 0
    assert not any(query.reused for query in jets("refresh", **kept).work_list().queries)
    assert demo.counts()["simbad"]["requests"] > 0
    with pytest.raises(ArchiveError, match="offline, and no answer of SIMBAD"):
        jets("offline", **kept, **{"targets.simbad": "otype = 'TT*'"}).work_list()


def test_without_a_folder_named_nothing_of_this_machine_is_kept(jets, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jets().work_list()
    assert list(tmp_path.rglob("*.arrow")) == []


def test_the_run_keeps_what_was_counted_and_reused(jets, tmp_path):
    kept = {"services.answers": str(tmp_path / "answers")}
    jets(**kept).work_list()
    queries = jets(**kept).run(tmp_path / "run", limit=1).about["queries"]
    assert all(query["reused"] for query in queries)
    assert {query["service"]: query["counted"] for query in queries}["MAST"] == queries[1]["rows"]


def test_a_run_takes_what_is_new_since_another(jets, demo, tmp_path):
    first = jets().run(tmp_path / "first", limit=30)
    funnel = first.about["funnel"]
    assert first.totals.observations == 30 == funnel["matched"] + funnel["no_footprint"] - funnel["beyond_limit"]
    demo.reset()
    second = jets().run(tmp_path / "second", since=tmp_path / "first")
    whole = jets().run(tmp_path / "whole")
    ended = {row["obs_id"]: row["status"] for row in whole.arrow("outcomes").to_pylist()}
    then = {row["obs_id"]: row for row in first.arrow("outcomes").to_pylist()}
    now = {row["obs_id"]: row["status"] for row in second.arrow("outcomes").to_pylist()}
    assert now == {name: ended[name] for name in now}
    left_out = ended.keys() - now.keys()
    assert left_out
    assert all(then[name]["status"] != "failed" for name in left_out)
    assert {name for name, row in then.items() if row["status"] == "failed"} <= now.keys()
    assert second.totals.observations == second.totals.done == len(now)
    about = second.about
    assert about["since"]["left_out"] == about["funnel"]["left_out"] == len(left_out)
    assert about["since"]["folder"] == str(tmp_path / "first")
    assert sum(about["since"].get(status, 0) for status in ("detected", "nothing", "skipped")) == len(left_out)

    third = jets().run(tmp_path / "third", since=tmp_path / "second")  # which stands for the first too
    assert set(third.arrow("outcomes")["status"].to_pylist()) <= {"failed", "skipped"}
    assert third.totals.observations < len(now)


def test_what_changed_in_the_archive_since_is_taken_again(tmp_path):
    holdings = demo_holdings(20)
    settled = next(name for name, status in holdings.expected.items() if status == "nothing")
    released = [{**row, "t_obs_release": 60999.0} if row["obs_id"] == settled else row for row in holdings.observations]
    for folder, rows_there in (("first", holdings.observations), ("second", released)):
        changed = type(holdings)(holdings.targets, tuple(rows_there), holdings.products, holdings.bodies)
        with LocalArchive(changed) as running:
            made = Search.load("jets", QUICK | {f"services.{name}": url for name, url in running.services.items()})
            result = made.run(tmp_path / folder, since=tmp_path / "first" if folder == "second" else None)
    taken = {row["obs_id"]: row["status"] for row in result.arrow("outcomes").to_pylist()}
    assert taken[settled] == "nothing"
    assert set(taken.values()) <= {"nothing", "failed", "skipped"}


def test_a_run_that_looked_for_something_else_is_refused(jets, tmp_path):
    jets().run(tmp_path / "first", limit=1)
    for other in ({"lines.list": FE_II["list"]}, {"detector.name": "published-as-printed"}, {"targets.redshift_range": [0.0, 0.1]}):
        with pytest.raises(RunFolderError, match=f"differs in {next(iter(other)).partition('.')[0]}"):
            jets(**other).run(tmp_path / "second", since=tmp_path / "first")
    with pytest.raises(RunFolderError, match="is the earlier run itself"):
        jets().run(tmp_path / "first", since=tmp_path / "first")
    with pytest.raises(RunFolderError, match=r"no run\.json|no run folder"):
        jets().run(tmp_path / "second", since=tmp_path)
    (tmp_path / "first" / "search.toml").write_text("[targets]\nwhom = 1\n")
    with pytest.raises(RunFolderError, match="written by another version"):
        jets().run(tmp_path / "second", since=tmp_path / "first")
    assert not (tmp_path / "second").exists()


def test_a_run_since_goes_on_where_it_stopped(jets, tmp_path):
    jets().run(tmp_path / "first", limit=30)
    made = jets()
    made.run(tmp_path / "second", since=tmp_path / "first")
    again = jets().run(tmp_path / "second", since=tmp_path / "first")
    assert again.about["totals"]["resumed"] == again.totals.observations
    with pytest.raises(RunFolderError, match="another work list"):
        jets().run(tmp_path / "second")


def test_nothing_new_is_a_run_of_nothing(jets, tmp_path):
    """The work list may be empty, and the ledger still adds up."""
    excluded = {"observations.exclude": ["*"]}
    jets(**excluded).run(tmp_path / "first")
    result = jets(**excluded).run(tmp_path / "second", since=tmp_path / "first")
    assert Result(tmp_path / "second").totals.observations == 0
    assert result.about["since"]["left_out"] == result.about["funnel"]["matched"]
    assert isinstance(result.arrow("targets"), pa.Table)


def test_what_is_asked_of_nobody_is_an_error():
    with pytest.raises(ConfigError, match="url is a key of tap and sia2, not of mast"):
        config.load("jets", {"observations.url": "https://x"})


def test_an_archive_that_does_not_answer_is_told_while_it_is_waited_for(jets, demo, monkeypatch):
    from raysearch.archives import http

    monkeypatch.setattr(http, "WAITING_S", 0.05)
    demo.set_faults(Faults(executing=2))
    told = []
    with http.on_waiting(told.append):
        jets().work_list()
    assert any(line.startswith("waiting for MAST's answer") for line in told)
