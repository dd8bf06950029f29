"""What Prometheus is told, and that the dashboard asks for nothing else."""

import json
import re
import time
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import FakeDetector, FakeIllustrator, FakeReader, job_of, run_in, work_list

from raysearch.engine import Event, RunStarted, ShardDone, Tick, Totals
from raysearch.engine.events import AtWork
from raysearch.engine.workers import metrics
from raysearch.engine.workers.metrics import LABELS, METRICS, MOST_HOSTS, OTHERS, Metric, RunMeter, labels
from raysearch.model import Candidate, Limit, Pixels

DASHBOARD = json.loads((Path(__file__).parents[3] / "docs" / "grafana.json").read_text())
BY_NAME = {metric.exported: metric for metric in METRICS}
OF_RAY = {"SessionName", "ray_io_cluster"}
"""Labels that Ray gives to every metric, and KubeRay."""
FUNCTIONS = {"sum", "max", "rate", "topk", "vector", "by", "or", "label_values"}


class Series(dict[tuple[str, ...], float]):
    """Stands for a metric of Ray: values by labels."""

    def __init__(self, name: str, about: str, keys: tuple[str, ...]) -> None:
        super().__init__()
        self.name, self.about, self.keys_ = name, about, keys
        self.always: dict[str, str] = {}

    def set_default_tags(self, tags: dict[str, str]) -> "Series":
        self.always = tags
        return self

    def _where(self, tags: dict[str, str]) -> tuple[str, ...]:
        told = self.always | tags
        assert told.keys() == set(self.keys_)  # Ray refuses labels that are missing or unknown
        return tuple(tags.values())

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        self[self._where(tags)] = self.get(self._where(tags), 0.0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self[self._where(tags)] = value


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Series]]:
    """What was told by this process, by the metric's name."""
    import ray.util.metrics

    made: dict[str, Series] = {}

    def make(name: str, about: str, keys: tuple[str, ...]) -> Series:
        made[name] = Series(name, about, keys)
        return made[name]

    monkeypatch.setattr(ray.util.metrics, "Counter", make)
    monkeypatch.setattr(ray.util.metrics, "Gauge", make)
    metrics._of_the_driver.cache_clear()
    yield made
    metrics._of_the_driver.cache_clear()


def shard(retries: dict[str, int] | None = None) -> ShardDone:
    return ShardDone(0, {"detected": 1, "nothing": 8, "skipped": 0, "failed": 1}, 3, 5000, 40, retries or {})


def begun(*events: Event) -> RunMeter:
    meter = RunMeter({"search": "jets", "run": "out"})
    for event in (*events, Tick()):
        meter(event)
    return meter


def test_the_driver_counts_what_is_committed_and_what_earlier_sessions_did(told: dict[str, Series]) -> None:
    before = Totals(100, {"detected": 20, "nothing": 0, "skipped": 0, "failed": 0}, 5, 100, 10, {"a.example": 2})
    begun(RunStarted(before, 8), shard(), shard({"a.example": 1, "b.example": 4}))
    assert told["raysearch_observations"] == {("detected",): 22, ("nothing",): 16, ("failed",): 2}
    assert told["raysearch_candidates"] == {(): 11}
    assert told["raysearch_bytes_read"] == {(): 10_100}
    assert told["raysearch_requests"] == {(): 90}
    assert told["raysearch_retries"] == {("a.example",): 3, ("b.example",): 4}
    assert told["raysearch_observations_left"] == {(): 60}
    assert told["raysearch_shards_left"] == {(): 6}


def test_a_run_that_is_taken_up_again_in_the_same_process_counts_nothing_twice(told: dict[str, Series]) -> None:
    empty = Totals(100)
    begun(RunStarted(empty, 10), shard({"a.example": 1}))
    begun(RunStarted(metrics.added(empty, shard({"a.example": 1})), 9), shard())
    assert told["raysearch_observations"][("nothing",)] == 16
    assert told["raysearch_retries"] == {("a.example",): 1}
    begun(RunStarted(metrics.added(empty, shard()), 9), shard())  # another folder of this name: 8 were done before
    assert told["raysearch_observations"][("nothing",)] == 16 + 8 + 8


def test_hosts_beyond_a_number_are_counted_together(told: dict[str, Series]) -> None:
    begun(RunStarted(Totals(1000), 10), *(shard({f"h{number}.example": 2}) for number in range(MOST_HOSTS + 5)))
    assert len(told["raysearch_retries"]) == MOST_HOSTS + 1
    assert told["raysearch_retries"][(OTHERS,)] == 10
    assert sum(told["raysearch_retries"].values()) == 2 * (MOST_HOSTS + 5)


def test_who_is_at_work(told: dict[str, Series]) -> None:
    begun(AtWork(detectors=4, loaders=2, nodes=2, shards=7))
    names = ("detectors", "loaders", "nodes", "shards_out")
    assert [told[f"raysearch_{name}"][()] for name in names] == [4, 2, 2, 7]


def test_what_was_done_last_is_told_when_all_have_gone(told: dict[str, Series]) -> None:
    meter = begun(RunStarted(Totals(100), 10))
    meter(shard())
    assert ("nothing",) not in told["raysearch_observations"]  # not for every shard
    meter(AtWork())
    assert told["raysearch_observations"][("nothing",)] == 8


def test_labels_tell_runs_apart(tmp_path: Path) -> None:
    assert labels("jets", tmp_path / "out") == {"search": "jets", "run": "out"}
    (tmp_path / "run.json").touch()
    assert labels("jets-spectra", tmp_path / "spectra")["run"] == f"{tmp_path.name}/spectra"
    assert labels("Jets \u00fc", Path("/runs/a b\n\U0001f600 \udcff"))["run"] == "a b\n\\U0001f600 \\udcff"
    assert labels("", Path("/"))["search"] == labels("", Path("/"))["run"] == "unnamed"


def test_a_metric_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(METRICS)
    assert all(re.fullmatch(r"ray_raysearch_[a-z_]+", name) for name in BY_NAME)


@dataclass(frozen=True)
class Patient(FakeDetector):
    """Waits in the fortieth observation until it has been told that everything was seen."""

    seen: str = ""

    def detect(self, pixels: Pixels) -> list[Candidate | Limit]:
        deadline = time.monotonic() + 60
        while int(pixels.obs_id[-6:]) >= 40 and not Path(self.seen).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        return super().detect(pixels)


@pytest.mark.slow
def test_a_run_exports_every_metric_and_no_other(tmp_path: Path, one_ray: None) -> None:
    import ray

    node = next(node for node in ray.nodes() if node["Alive"])
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found: dict[str, dict[str, str]] = {}

    def scrape(event: Event) -> None:
        if isinstance(event, Tick):
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            for name, tags in re.findall(r"^(ray_raysearch_\w+)\{(.*)\} ", text, re.MULTILINE):
                pairs = dict(re.findall(r'(\w+)="([^"]*)"', tags))
                if pairs.get("run") == "a run":
                    found[name] = pairs
            if found.keys() >= BY_NAME.keys():
                (tmp_path / "seen").touch()

    job = job_of(FakeReader(0.01), Patient(0.01, seen=str(tmp_path / "seen")), illustrator=FakeIllustrator(), concurrency=8)
    run_in(tmp_path / "a run", job, work_list(["detected", "again", "missing"] * 40), "ray", [scrape])
    assert found.keys() == BY_NAME.keys()
    for name, metric in BY_NAME.items():
        assert {*LABELS, *metric.labels, "SessionName"} <= found[name].keys(), name
    assert found["ray_raysearch_busy_seconds_total"]["actor"].startswith("raysearch-detector-")
    assert found["ray_raysearch_held_bytes"]["actor"] == "raysearch-loader-0"
    assert found["ray_raysearch_retries_total"]["host"] == "slow.example"


def expressions() -> list[str]:
    """Every expression of the dashboard, its variables' included."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return asked + [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]


def test_the_dashboard_asks_for_every_metric_and_for_no_other() -> None:
    assert {name for text in expressions() for name in re.findall(r"\bray_\w+(?=[\{,])", text)} == BY_NAME.keys()


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_well_formed(expression: str) -> None:
    bare = re.sub(r'"[^"]*"', "TEXT", expression)
    for opening, closing in ("()", "{}", "[]"):
        assert bare.count(opening) == bare.count(closing)
        depths = [bare[:end].count(opening) - bare[:end].count(closing) for end in range(len(bare))]
        assert min(depths, default=0) >= 0
    used = set(re.findall(r"\b([a-z_]+)\s*\(", re.sub(r"\bby \(", "by(", bare)))
    assert used <= FUNCTIONS
    (metric, *others) = [BY_NAME[name] for name in re.findall(r"ray_raysearch_\w+", bare)]
    known = OF_RAY | {*LABELS} | set(metric.labels)
    for other in others:
        known |= set(other.labels)
    assert set(re.findall(r"(\w+)=~?TEXT", bare)) <= known
    for names in re.findall(r"by \(([^)]*)\)", bare):
        assert {name.strip() for name in names.split(",")} <= known
    assert set(re.findall(r"\$(\w+)", expression)) <= {variable["name"] for variable in DASHBOARD["templating"]["list"]}


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric.kind == "counter"], ids=lambda metric: metric.name)
def test_a_counter_is_asked_for_its_rate_or_its_newest_total(metric: Metric) -> None:
    """Ray keeps exporting the counters of drivers and detectors that have ended: a plain sum would count sessions twice."""
    for text in expressions():
        for match in re.finditer(rf"\b{metric.exported}\b", text):
            before = text[: match.start()]
            assert before.endswith("rate(") or re.search(r"max by \(search, run(, \w+)?\) \($", before), text


def _ours_and_rays() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves files open
        made = [factory.generate_default_grafana_dashboard(), factory.generate_data_grafana_dashboard()]
    return [(DASHBOARD, json.loads(text)) for text, _ in made]


def test_the_dashboard_is_made_as_rays_own() -> None:
    for ours, rays in _ours_and_rays():
        assert ours.keys() - rays.keys() <= {"description"}
        assert ours["schemaVersion"] == rays["schemaVersion"]
        assert ours["uid"] != rays["uid"]
        variables = {variable["name"]: variable for variable in rays["templating"]["list"]}
        for variable in ours["templating"]["list"]:
            same = variables.get(variable["name"], variables["SessionName"])
            assert variable.keys() == same.keys()
            assert variable["type"] == same["type"]
        assert variables["datasource"] == ours["templating"]["list"][0]  # whatever uid Ray's data source has
        graphs = [panel for panel in rays["panels"] if panel["type"] != "row"]
        targets = {key for panel in graphs for target in panel["targets"] for key in target}
        for panel in ours["panels"]:
            if panel["type"] == "row":
                assert panel.keys() == {"collapsed", "gridPos", "id", "panels", "title", "type"}
                continue
            assert panel.keys() <= {key for graph in graphs for key in graph} | {"options"}
            assert panel["datasource"] == graphs[0]["datasource"] == "${datasource}"
            assert all(target.keys() <= targets for target in panel["targets"])


def test_no_panel_lies_on_another() -> None:
    panels = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    places = [(x, y) for p in panels for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
