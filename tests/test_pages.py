"""From a run folder to its page: drawing again, and what the command line makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest

from raysearch import pages
from raysearch.cli import main
from raysearch.engine import EngineOptions, Job, Ledger, budget, candidate_schema, run
from raysearch.errors import RunFolderError
from raysearch.model import Candidate, Figure, Observation, observations_to_arrow
from raysearch.result import Result
from raysearch.testing.fakes import FakeDetector, FakeReader, fake_pixels
from raysearch.testing.runs import SEARCH, made_up_run

WORK = [Observation(f"o{i}", (f"memory://o{i}",)) for i in range(4)]


class Artist:
    def draw(self, pixels, records):
        found = [record for record in records if isinstance(record, Candidate)]
        return [Figure(i, "map", b"<svg xmlns='http://www.w3.org/2000/svg'/>", f"{pixels.obs_id} again") for i in range(len(found))]


def job(value=2.0, illustrator=None):
    reader = FakeReader({one.obs_id: fake_pixels(one.obs_id, value=value if one.obs_id != "o3" else 0.5) for one in WORK})
    return Job(reader, FakeDetector(1.0), config_hash="0123456789abcdef", lines=True, illustrator=illustrator)


@pytest.fixture
def folder(tmp_path):
    return run_of(tmp_path / "run", job())


def run_of(folder, work):
    with Ledger.open(
        folder,
        search_toml=SEARCH,
        config_hash="0123456789abcdef",
        work=observations_to_arrow(WORK),
        shard_size=2,
        candidate_schema=candidate_schema(FakeDetector.columns, lines=True),
        about={"name": "fakes"},
    ) as ledger:
        run(work, observations_to_arrow(WORK), ledger, EngineOptions(engine="inline"), ())
    return folder


def test_what_was_not_drawn_is_drawn_again(folder):
    _, before = pages.load(folder)
    assert list(before) == []
    drawn = pages.redraw(folder, [], job(illustrator=Artist()))
    assert [(one.obs_id, one.figures, one.note) for one in drawn] == [("o0", 1, ""), ("o1", 1, ""), ("o2", 1, "")]
    _, after = pages.load(folder)
    assert [record["alt"] for record in after.records((1, 0))] == ["o1 again"]
    assert pages.redraw(folder, [], job(illustrator=Artist())) == []
    assert [one.obs_id for one in pages.redraw(folder, ["o1"], job(illustrator=Artist()))] == ["o1"]
    _, twice = pages.load(folder)
    assert len(twice.records((1, 0))) == 1
    assert sorted(twice) == sorted(after)


def test_postponed_figures_are_drawn_by_redrawing(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FREE", 1)
    drawing = replace(job(illustrator=Artist()), figures_share=0.0)
    folder = run_of(tmp_path / "run", drawing)
    _, before = pages.load(folder)
    assert [record["name"] for record in before.records((0, 0))] == ["map"]
    assert [record["name"] for record in before.records((1, -1))] == ["postponed"]
    assert [(one.obs_id, one.figures) for one in pages.redraw(folder, [], drawing)] == [("o1", 1), ("o2", 1)]
    _, after = pages.load(folder)
    assert (1, -1) not in set(after)
    assert [record["alt"] for record in after.records((1, 0))] == ["o1 again"]


def test_candidates_that_differ_are_not_drawn(folder):
    [one] = pages.redraw(folder, ["o0"], job(value=3.0, illustrator=Artist()))
    assert (one.figures, one.note.partition(":")[0]) == (0, "peak of a candidate differs")
    [one] = pages.redraw(folder, ["o3"], job(value=2.0, illustrator=Artist()))
    assert (one.figures, one.note) == (0, "")


def test_observations_that_there_are_not_are_named(folder):
    with pytest.raises(RunFolderError, match="has no observation 'nonsense'"):
        pages.redraw(folder, ["o0", "nonsense"], job())


def test_the_command_makes_pages_and_takes_marks(tmp_path, capsys):
    folder = made_up_run(tmp_path / "run", 4)
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"page: {folder / 'report' / 'index.html'}\n"
    assert main(["report", str(folder), "--single-file", str(tmp_path / "one.html")]) == 0
    assert (tmp_path / "one.html").exists()
    name = pages.load(folder)[0].names[0]
    (tmp_path / "marks.csv").write_text(f"candidate,mark\n{name},good\nstrange#0,bad\n")
    assert main(["report", str(folder), "--marks", str(tmp_path / "marks.csv")]) == 0
    assert "1 marks from" in (said := capsys.readouterr().out)
    assert "'strange#0'" in said
    data = json.loads((folder / "report" / "data.js").read_text().removeprefix("raysearch.take(").removesuffix(");"))
    assert data["marks"][name]["mark"] == "good"
    (tmp_path / "marks.csv").write_text("candidate,mark\nx,great\n")
    assert main(["report", str(folder), "--marks", str(tmp_path / "marks.csv")]) == 2
    assert main(["report", str(tmp_path / "nothing")]) == 2
    with pytest.raises(SystemExit):
        main(["report", str(folder), "--port", "70000"])


def test_a_shard_that_ends_while_the_folder_is_read_does_no_harm(tmp_path, monkeypatch):
    folder = made_up_run(tmp_path / "run", 8)
    outcomes = pages.read_outcomes(folder)
    monkeypatch.setattr(pages, "read_outcomes", lambda _: outcomes.slice(0, 3))
    made, _ = pages.load(folder)
    assert set(made.candidates["obs_id"].to_pylist()) <= set(outcomes["obs_id"].to_pylist()[:3])
    assert pc.sum(outcomes.slice(0, 3)["candidates"]).as_py() == made.candidates.num_rows
    assert Path(pages.write(folder)).exists()


def test_a_result_writes_its_page(folder):
    result = Result(folder)
    assert result.report() == folder / "report" / "index.html"
    assert result.report(single_file=True) == folder / "report.html"
    assert "<h1" in (folder / "report.html").read_text(encoding="utf-8")
