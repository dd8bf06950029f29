"""The page says what the tables say, whatever texts they hold."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy import units
from astropy.coordinates import Galactic, SkyCoord

from raysearch import pages
from raysearch.errors import RunFolderError, TableError
from raysearch.model import Circle, Footprint, Polygon
from raysearch.report import funnel, marks, skymap
from raysearch.report.cards import error_of
from raysearch.report.embed import policy, script_json
from raysearch.report.labels import label_of, note_heads, unit_text
from raysearch.report.targets import lines_found, targets_data
from raysearch.report.words import in_words
from raysearch.result import Result
from raysearch.testing.runs import made_up_run

HOSTILE = ("<script>alert(1)</script>", "</script><b>", "\"'&<!-- \u2028 ]]>", "{{ 7*7 }}", "=cmd|' /C calc'!A0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_up_run(tmp_path_factory.mktemp("runs") / "a run", candidates=41, names=HOSTILE)


@pytest.fixture(scope="module")
def page(folder):
    return pages.write(folder).read_text()


def data_of(folder):
    text = (folder / "report" / "data.js").read_text()
    return json.loads(re.fullmatch(r"raysearch\.take\((.*)\);", text, re.DOTALL)[1])


class Texts(HTMLParser):
    """What a browser would show, and the elements that it would make."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.attributes, self._quiet = [], "", [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._quiet += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._quiet -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._quiet:
            self.text += data


def test_the_tables_are_whole_and_the_most_significant_come_first(folder, page):
    data, result = data_of(folder), Result(folder)
    candidates = result.arrow("candidates").sort_by([("snr", "descending")])
    shown = data["candidates"]
    assert shown["total"] == len(shown["target"]) == candidates.num_rows == 41
    assert shown["target"] == candidates["target"].to_pylist()
    assert np.allclose(shown["values"]["snr"], candidates["snr"], rtol=1e-5)
    assert np.allclose(shown["values"]["ra"], candidates["ra"], rtol=0, atol=1e-7)
    names = data["observations"]["obs_id"]
    assert [names[o] for o in shown["observation"]] == candidates["obs_id"].to_pylist()
    outcomes = {row["obs_id"]: row for row in result.arrow("outcomes").to_pylist()}
    for key, column in (("status", "status"), ("bytes", "bytes_read"), ("why", "reason"), ("uri", "uri")):
        assert data["observations"][key] == [outcomes[name][column] for name in names]
    assert data["observations"]["ranges"][0] == [[0, 2880], [11520, 1008640]]


def test_the_funnel_adds_up_to_the_ledger(folder):
    run, _ = pages.load(folder)
    steps = {step.key: step for step in funnel.steps(run)}
    assert steps["archive"].count - steps["unmatched"].count == steps["matched"].count == steps["observations"].count == 44
    ended = Result(folder).totals.by_status
    assert {name: steps[name].count for name in ended} == ended
    assert sum(ended.values()) == 44
    for status in ("skipped", "failed"):
        assert sum(reason.count for reason in steps[status].reasons) == ended[status]


def test_a_funnel_that_does_not_add_up_is_not_shown_as_if_it_did(folder):
    run, _ = pages.load(folder)
    run.about["funnel"]["matched"] += 1
    assert [step.key for step in funnel.steps(run)][:3] == ["targets", "archive", "observations"]


def test_an_unfinished_run_says_what_waits(tmp_path):
    run, _ = pages.load(made_up_run(tmp_path / "run", finished=False))
    assert not run.finished
    assert funnel.by_status(run)["waiting"] == run.observations.num_rows - run.outcomes.num_rows > 0
    assert "not finished" in pages.write(tmp_path / "run").read_text()


def test_a_run_before_its_first_shard_has_a_page(tmp_path):
    folder = made_up_run(tmp_path / "run", finished=False, shards=1)
    assert "No candidates yet" in pages.write(folder).read_text()
    assert data_of(folder)["candidates"]["target"] == []


def test_reasons_that_differ_in_numbers_and_addresses_are_one(folder):
    run, _ = pages.load(folder)
    reasons = ["s3://b/o1.fits: truncated: 5 of 10 bytes", "s3://b/o2.fits: truncated: 6 of 12 bytes", "gone"]
    table = run.outcomes.slice(0, 3).set_column(2, "reason", pa.array(reasons)).set_column(1, "status", pa.array(["failed"] * 3))
    object.__setattr__(run, "outcomes", table)
    reasons, numbers = funnel.reasons_of(run)
    assert [(r.text, r.count) for r in reasons["failed"]] == [("truncated: … of … bytes", 2), ("gone", 1)]
    assert numbers.tolist() == [0, 0, 1]


def test_hosts_add_up_to_the_bytes_read(folder):
    run, _ = pages.load(folder)
    hosts = funnel.hosts(run)
    assert {host.name for host in hosts} == {"S3 bucket bucket", "archive.example"}
    totals = Result(folder).totals
    assert sum(host.bytes_read for host in hosts) == totals.bytes_read == funnel.cost(run).bytes_read
    assert sum(host.requests for host in hosts) == totals.requests


def test_bytes_held_are_told_only_where_the_archive_tells_them(folder):
    run, _ = pages.load(folder)
    assert funnel.cost(run).held is None
    sizes = pa.array([1000.0, None, float("nan"), 4.0] + [None] * 40)
    object.__setattr__(run, "observations", run.observations.append_column("access_estsize", sizes))
    cost = funnel.cost(run)
    assert (cost.held, cost.held_of) == (1_004_000, 2)  # ObsCore counts kilobytes


def test_false_candidates_are_those_of_the_windows_that_were_searched(folder):
    run, _ = pages.load(folder)
    table, limits = run.candidates, run.limits
    windows = set(zip(*(table[name].to_pylist() for name in ("obs_id", "target", "line")), strict=True))
    assert funnel.false_alarms(run).windows == len(windows) + limits.num_rows
    assert funnel.false_alarms(run).expected == pytest.approx(0.01 * (len(windows) + limits.num_rows))


def test_targets_tell_the_lines_found_and_the_limits_of_those_not_found(folder):
    run, _ = pages.load(folder)
    data = targets_data(run, list(range(run.candidates.num_rows)))
    found = {}
    for row in run.candidates.select(["target", "line"]).to_pylist():
        found.setdefault(row["target"], set()).add(row["line"])
    counts = zip(run.targets.names.to_pylist(), lines_found(run).tolist(), strict=True)
    assert {name: count for name, count in counts if count} == {name: len(lines) for name, lines in found.items()}
    assert dict(zip(data["name"], data["found"], strict=True)) == {name: len(found.get(name, ())) for name in data["name"]}
    limits = run.limits.filter(pc.equal(run.limits["target"], data["name"][-1]))
    lowest = [cell["limit"] for cell in data["cells"][-1].values() if "limit" in cell]
    assert lowest == ([2.5e-20] if limits.num_rows else [])


def test_hostile_names_are_shown_as_they_are_and_make_no_element(folder, page):
    data = data_of(folder)
    assert set(HOSTILE) <= set(data["targets"]["name"])
    seen = Texts(page)
    assert seen.tags.count("script") == 2  # the page's own, and data.js
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    script = (folder / "report" / "data.js").read_text()
    assert not set("<>&\u2028\u2029") & set(script)


def test_a_hostile_search_is_shown_as_it_is(tmp_path):
    folder = made_up_run(tmp_path / "run", 4)
    about = json.loads((folder / "run.json").read_text())
    about["name"] = HOSTILE[0]
    about["queries"][0]["text"] = about["notes"][0] = HOSTILE[1]
    (folder / "run.json").write_text(json.dumps(about))
    seen = Texts(pages.write(folder).read_text())
    assert seen.text.count(HOSTILE[0]) == 2  # title and heading
    assert seen.text.count(HOSTILE[1]) >= 2
    assert "alert(1)" not in "".join(value or "" for _, value in seen.attributes)


def test_the_page_asks_nobody_anything(folder, page):
    [rule] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert rule.startswith("default-src &#39;none&#39;")
    assert "http" not in rule
    sources = re.findall(r'(?:src|href)="([^"#]*)"', page)
    assert [source for source in sources if source] == ["data.js"]


def test_one_file_holds_everything(folder):
    path = pages.write_one_file(folder)
    text = path.read_text()
    seen = Texts(text)
    assert not [value for name, value in seen.attributes if name == "src"]
    assert text.count('type="application/json" id="figures-') == 41
    assert "raysearch.take({" in text


def test_json_in_a_script_cannot_end_it():
    text = script_json({"a": "</script><!--\u2028é", "b": [1.5, None]})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"a": "</script><!--\u2028é", "b": [1.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_the_policy_names_each_script():
    assert "'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='" in policy(["a"])  # of `a`, by openssl
    assert "connect-src 'self'" in policy([], served=True)
    assert "connect-src" not in policy([])


def test_marks_come_back_as_they_went(tmp_path):
    given = {
        "o1#0": {"mark": "good", "note": "=1+1", "marked": "2026-01-01T00:00:00Z"},
        "-x#1": {"mark": "", "note": 'a "b",\nc', "marked": ""},
    }
    marks.write_marks(given, tmp_path / "m.csv")
    assert marks.read_marks(tmp_path / "m.csv") == given
    assert "'=1+1" in (tmp_path / "m.csv").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("candidate,mark\na#0,great\n", "row 2: the mark 'great' is none of good, bad, unsure"),
        ("candidate,mark\na#0,good\na#0,bad\n", "row 3: the candidate 'a#0' is there twice"),
        ("name,mark\na#0,good\n", "row 2: there is no candidate"),
        ('candidate,mark\n"a#0,good\n', "no CSV table"),
        ("candidate,mark\n\xff", "no candidate|no mark"),
    ],
)
def test_tables_that_are_no_marks_are_refused(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(TableError, match=message):
        marks.read_marks(tmp_path / "m.csv")


def test_marks_of_strange_candidates_are_named(tmp_path):
    folder, path = made_up_run(tmp_path / "run", 4), tmp_path / "m.csv"
    name = pages.load(folder)[0].names[0]
    path.write_text(f"candidate,mark\n{name},bad\nother#0,good\n")
    assert pages.take_marks(folder, path) == (1, "this run has no candidate 'other#0': its marks are left out")
    pages.write(folder)
    assert data_of(folder)["marks"] == {name: {"mark": "bad", "note": "", "marked": ""}}
    path.write_text("candidate,mark\nother#0,good\n")
    with pytest.raises(TableError, match="of another run"):
        pages.take_marks(folder, path)


def test_a_run_stands_whatever_happens_to_its_page(tmp_path):
    folder = made_up_run(tmp_path / "run", 4)
    (folder / "report").write_text("in the way")
    page, problem = pages.after_run(folder)
    assert page is None
    assert str(folder) in problem
    (folder / "search.toml").write_text("no = toml = at all")
    with pytest.raises(RunFolderError, match=r"search\.toml cannot be read"):
        pages.write(folder)


def sky(targets=(), candidates=(), searched=()):
    places = (np.array(positions, dtype=float).reshape(-1, 2) for positions in (targets, candidates))
    return skymap.sky_map(*places, skymap.Outlines.of(searched), skymap.Outlines.of([]))


def test_the_projection_keeps_areas_and_known_places():
    x, y = skymap.project(np.array([0.0, 179.999999, -179.999999, 0.0, 90.0]), np.array([0.0, 0.0, 0.0, 90.0, 0.0]))
    assert np.allclose(x[:4], [0, -180, 180, 0], atol=1e-3)
    assert np.allclose(y, [0, 0, 0, -90, 0], atol=1e-9)
    assert x[4] == pytest.approx(-180 * np.sin(np.pi / 4) / np.sqrt(1 + np.cos(np.pi / 4)))
    rng = np.random.default_rng(0)
    ra, dec, step = rng.uniform(-170, 170, 50), rng.uniform(-75, 75, 50), 1e-3
    corners = [skymap.project(ra + dx, dec + dy) for dx, dy in ((0, 0), (step, 0), (0, step))]
    (x0, y0), (x1, y1), (x2, y2) = corners
    areas = np.abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) / np.cos(np.deg2rad(dec))
    assert np.allclose(areas, areas.mean(), rtol=1e-3)


def test_the_galactic_plane_is_where_astropy_has_it():
    centre = SkyCoord(0 * units.deg, 0 * units.deg, frame=Galactic).icrs
    x, y = skymap.project(np.array([centre.ra.deg]), np.array([centre.dec.deg]))
    drawn = np.array([[float(v) for v in point.split()] for point in re.split("[ML]", sky().galaxy)[1:]])
    assert np.hypot(*(drawn - [x[0], y[0]]).T).min() < 2.0


def test_the_map_draws_every_position_and_says_where_it_thins():
    rng = np.random.default_rng(1)
    few = sky(targets=[(1.0, 2.0), (float("nan"), 0.0), (5.0, 6.0)])
    [targets] = few.layers
    assert (targets.count, targets.drawn, targets.path.count("M")) == (2, 2, 2)
    dense = rng.normal([50, 20], 1, (20_000, 2))
    [candidates] = sky(candidates=dense).layers
    assert candidates.count == 20_000
    assert candidates.path.count("M") == candidates.drawn < 20_000


def test_a_map_of_the_whole_sky_stays_small():
    rng = np.random.default_rng(2)
    places = np.stack([rng.uniform(0, 360, 100_000), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 100_000)))], axis=1)
    shapes = [Footprint((Circle(ra, dec, 0.01),)) for ra, dec in places.tolist()]
    outlines, targets = sky(targets=places, searched=shapes).layers
    assert (outlines.count, targets.count) == (100_000, 100_000)
    assert 500 < outlines.drawn <= skymap.MOST_OUTLINES
    assert 500 < targets.drawn <= skymap.MOST_POINTS


def test_footprints_are_cut_where_the_map_ends():
    shapes = [Polygon((179.0, 181.0, 181.0, 179.0), (-1.0, -1.0, 1.0, 1.0)), Circle(180.0, 80.0, 15.0)]
    for shape in shapes:
        [layer] = sky(searched=[Footprint((shape,))]).layers
        pieces = [[[float(v) for v in p.split()] for p in piece.split("L")] for piece in layer.path.split("M")[1:]]
        assert len(pieces) > 1
        assert max(abs(b[0] - a[0]) for piece in pieces for a, b in pairwise(piece)) < 90


def test_words_and_units_are_those_of_astronomers(folder):
    run, _ = pages.load(folder)
    words = dict(in_words(run))
    assert words["Looked for"].startswith("3 spectral lines: [Fe II] 5.340, [Fe II] 17.936 and [Fe II] 25.988")
    assert words["Around"] == "the objects for which SIMBAD has otype = 'Y*O..'."
    assert unit_text("W / m2") == "W\u202fm⁻²"
    assert unit_text("km / s") == "km\u202fs⁻¹"
    assert unit_text("MJy / sr") == "MJy\u202fsr⁻¹"
    assert unit_text(None) == ""
    assert label_of("central_wavelength_um") == "Central wavelength"
    assert error_of("flux_w_m2", ["flux_w_m2", "flux_err_w_m2"]) == "flux_err_w_m2"
    assert note_heads({"notes": "edge: it does; near all-NaN planes"}) == ["edge", "near all-NaN planes"]
