"""`Search`: query -> match -> plan -> run -> write. The only place that knows all rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal, Protocol

import pyarrow as pa

from . import config as configuration
from . import products
from .archives.answers import Mode
from .config import SearchConfig
from .detect import default_options, open_detector
from .engine import (
    EngineOptions,
    Job,
    Ledger,
    Observer,
    candidate_schema,
    read_candidates,
    read_outcomes,
    read_run,
    read_work,
    run,
    shard_size_for,
)
from .engine.events import column_sum, count_statuses
from .engine.folder.files import Place, locally, place, read_arrow, write_arrow
from .engine.folder.ledger import SEARCH
from .engine.memory import shares
from .errors import ConfigError, RunFolderError
from .exports import SEARCHED
from .model import Candidate, Detector, Illustrator, Observation, Pixels, Reader, Usage
from .read.cube import CubeReader
from .read.plan import ReadPlan
from .read.store import StoreConfig
from .report.mef import CONTENT, write_cutouts
from .result import TARGETS, Result
from .since import EARLIER, EARLIER_SCHEMA, settled
from .worklist import WorkList, build

TARGETS_SCHEMA = pa.schema(
    [
        ("target", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("redshift", pa.float64()),
        ("observations", pa.int64()),
        ("searched", pa.int64()),
        ("n_lines", pa.int64()),
        ("lines", pa.list_(pa.string())),
        ("notable", pa.bool_()),
    ]
)
"""The columns of `targets.arrow`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would read."""

    work: WorkList
    outcomes: pa.Table
    """One row per observation: `bytes_read` and `requests` are what a run would need; `reason` says why one cannot be searched."""
    largest: int = 0
    """Bytes of memory that the observation takes to be read that takes most."""

    @property
    def totals(self) -> dict[str, int]:
        """Observations, files to be read, bytes and requests, and how many are skipped or cannot be read."""
        ended = count_statuses(self.outcomes)
        return {
            "observations": self.outcomes.num_rows,
            "files": ended["nothing"],
            "skipped": ended["skipped"],
            "failed": ended["failed"],
            "bytes": column_sum(self.outcomes, "bytes_read"),
            "requests": column_sum(self.outcomes, "requests"),
        }


class Search:
    """A search, ready to be planned and run."""

    def __init__(self, config: SearchConfig, answers: Mode = "reuse") -> None:
        self.config = _with_detector_defaults(config)
        """The effective search: the detector's options are written out too."""
        self.answers = answers
        self._work: WorkList | None = None

    @classmethod
    def load(cls, search: str | Place, settings: Mapping[str, Any] | None = None, *, answers: Mode = "reuse") -> Search:
        """Return the search of a shipped name or a TOML file, with `section.key` settings over what it says.

        Parameters
        ----------
        search : str or Path
            A shipped search's name, or the path of a TOML file.
        settings : mapping, optional
            `section.key` -> value.
        answers : str, optional
            What becomes of archives' answers: `reuse` those kept for up to a day; `refresh`: ask again, and keep; `offline`: never
            ask; `off`: neither reuse nor keep.

        Raises
        ------
        ConfigError
            Naming the file, the key and the cure.
        """
        return cls(configuration.load(search, settings), answers)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, answers: Mode = "reuse") -> Search:
        """Return the search that nested dicts describe, keyed as a search file is; `answers` as for `load`."""
        return cls(configuration.from_dict(document), answers)

    def work_list(self, since: str | Place | None = None) -> WorkList:
        """Return which observations would be read: asks the archives once, reads no product; `since` as for `run`."""
        if since is not None:
            before, about = self._before(place(since))
        if self._work is None:
            self._work = build(self.config, self.answers)
        return self._work if since is None else self._work.new_since(before, about)

    def _before(self, folder: Place) -> tuple[pa.Table, dict[str, Any]]:
        """Return what an earlier run has settled, and which run it is."""
        about = read_run(folder)
        try:
            then = configuration.load(folder / SEARCH).method
        except ConfigError as exc:
            raise RunFolderError(f"{folder} was written by another version of raysearch ({exc}); run without --since") from exc
        different = sorted(key for key, value in self.config.method.items() if then.get(key) != value)
        if different:
            raise RunFolderError(
                f"{folder} looked for something else: it differs in {', '.join(different)}, and what it settled says nothing of "
                "this search; run without --since"
            )
        earlier = read_arrow(folder / EARLIER) if (folder / EARLIER).exists() else EARLIER_SCHEMA.empty_table()
        before = settled(read_work(folder), read_outcomes(folder), earlier, str(folder.resolve()))
        return before, {"folder": str(folder.resolve()), "config_hash": about["config_hash"], "started": about["started"]}

    def plan(self, limit: int | None = None, observers: Sequence[Observer] = ()) -> Plan:
        """Return what a run of the first `limit` observations would read: asks the archives and reads headers, no pixels."""
        work = self.work_list().head(limit)
        planner, nothing = _Planner(self._reader(self._detector())), _NoDetector()
        with TemporaryDirectory(prefix="raysearch-plan-") as scratch:
            folder, options = Path(scratch), EngineOptions(engine="inline")
            with self._ledger(folder, work, nothing, options) as ledger:
                run(replace(self._job(planner, nothing), shares=shares(self._options)), work.table, ledger, options, observers)
            return Plan(work, read_outcomes(folder), planner.largest)

    def run(
        self,
        out: str | Place,
        *,
        limit: int | None = None,
        since: str | Place | None = None,
        dashboard: bool = False,
        observers: Sequence[Observer] = (),
    ) -> Result:
        """Search every observation and return the run folder.

        A folder that holds an unfinished run of the same search is finished; its done shards are kept.

        Parameters
        ----------
        out : str or Path
            The run folder, made if need be; a path, or the text `s3://bucket/folder`.
        limit : int, optional
            Search the first `limit` observations of the work list only.
        since : str or Path, optional
            The folder of an earlier run of the same lines and detector: observations that it has settled, and of which nothing
            has changed since, are left out.
        dashboard : bool, optional
            Start Ray's dashboard too.
        observers : sequence of callables, optional
            Called with each `Event`.

        Raises
        ------
        RunFolderError
            If the folder holds another search or another work list; or the earlier run looked for something else.
        ArchiveError, TableError, ConfigError
            If the search cannot be run.
        """
        if since is not None and place(since).resolve() == place(out).resolve():
            raise RunFolderError(f"{out} is the earlier run itself; name a new folder for what is new since")
        detector, options = self._detector(), replace(self._options, dashboard=dashboard)
        shares(options)  # too little memory is told before the archives are asked
        work = self.work_list(since).head(limit)
        illustrator = self._illustrator(detector) if self.config.report.figures else None
        job = self._job(self._reader(detector), detector, illustrator)
        with ExitStack() as after:
            with self._ledger(place(out), work, detector, options) as ledger:
                if since is not None:
                    write_arrow(ledger.folder / EARLIER, work.earlier)
                run(job, work.table, ledger, options, observers, after if self._spectra_follow else None)
                self._finish(ledger.folder, work)
            if self._spectra_follow:
                self._spectra(place(out), observers)
        return Result(out)

    @property
    def _spectra_follow(self) -> bool:
        return self.config.kind == "pairs" and self.config.spectra.sources != "none"

    def _finish(self, folder: Place, work: WorkList) -> None:
        """Write what follows from the records."""
        outcomes, candidates = read_outcomes(folder), read_candidates(folder)
        if self.config.kind == "lines":
            write_arrow(folder / TARGETS, by_target(work, outcomes, candidates, self.config.lines.min_lines))
            return
        write_arrow(folder / TARGETS, products.by_target(work, outcomes, candidates))
        if CONTENT in candidates.column_names:
            with locally(folder / products.CUTOUTS) as here:
                write_cutouts(candidates, here)
        if self.config.kind == "pairs" and (found := products.sources(candidates)) is not None:
            write_arrow(folder / products.SOURCES, found)

    def _spectra(self, folder: Place, observers: Sequence[Observer]) -> None:
        """Measure the spectra of the sources found, as far as they are asked for: a search of its own, in a folder of its own."""
        if not (folder / products.SOURCES).exists():
            return
        chosen = products.chosen(read_arrow(folder / products.SOURCES), self.config.spectra)
        found = products.with_neighbours(chosen, read_candidates(folder))
        search = Search(products.spectra_search(self.config, found, folder), self.answers)
        measured = candidate_schema(search._detector().columns, lines=False).empty_table()
        if chosen.num_rows:
            measured = search.run(folder / products.SPECTRA, observers=observers).arrow("candidates")
        write_arrow(folder / products.SPECTRA_TABLE, products.tidy(measured, chosen["name"]))

    def job(self) -> Job:
        """Return what every observation of this search goes through: reader, detector, illustrator, whether or not a run draws."""
        detector = self._detector()
        return self._job(self._reader(detector), detector, self._illustrator(detector))

    def _detector(self) -> Detector:
        return open_detector(self.config.detector.name, self.config.detector.options, self.config.kind)

    @property
    def _options(self) -> EngineOptions:
        asked = self.config.run
        return EngineOptions(
            engine=asked.engine, address=asked.address, detectors=asked.detectors, loaders=asked.loaders, memory=asked.memory
        )

    def _reader(self, detector: Detector) -> PlanningReader:
        services = self.config.services
        store = StoreConfig(
            s3_endpoint=services.s3,
            s3_region=services.s3_region,
            s3_client=services.s3_client,
            s3_signed=services.s3_signed,
            read_timeout_s=services.timeout,
            request_timeout_s=10 * services.timeout,
            max_concurrent=self.config.run.concurrency,
            hosts=self.config.hosts if self.config.observations.archive else None,
        )
        # What an archive lists and nobody has is a fact about the archive; what a user lists and nobody has is a mistake.
        missing: Literal["skipped", "failed"] = "skipped" if self.config.observations.archive else "failed"
        if self.config.kind != "lines":
            return self._image_reader(store, detector, missing)
        return CubeReader(
            store,
            self.config.lines.list,
            detector.window,
            velocity=float(getattr(detector, "velocity", 0.0)),
            redshift=self.config.targets.redshift,
            redshift_range=self.config.targets.redshift_range,
            extensions=tuple(getattr(detector, "extensions", ())),
            missing=missing,
        )

    def _image_reader(self, store: StoreConfig, detector: Detector, missing: Literal["skipped", "failed"]) -> PlanningReader:
        from .read.image import ImageReader

        asked = self.config.images
        return ImageReader(
            store,
            asked.size,
            tuple(dict.fromkeys((*asked.extensions, *getattr(detector, "needs", ())))),
            through=asked.through,
            bands=asked.bands,
            solid_angles=asked.solid_angles,
            wavelengths=asked.wavelengths,
            missing=missing,
        )

    def _job(self, reader: Reader, detector: Detector, illustrator: Illustrator | None = None) -> Job:
        return Job(
            reader,
            detector,
            config_hash=self.config.hash,
            lines=self.config.kind == "lines",
            concurrency=self.config.run.concurrency,
            time_limit_s=self.config.run.time_limit,
            detect_limit_s=self.config.run.time_limit,
            illustrator=illustrator,
            figures_share=self.config.report.share,
        )

    def _illustrator(self, detector: Detector) -> Illustrator | None:
        """Return what draws the candidates; None where the records hold the pictures already."""
        if self.config.kind == "images":
            return None
        from .plot.illustrators import LineIllustrator, PairIllustrator

        return LineIllustrator() if self.config.kind == "lines" else PairIllustrator(detector)

    def _ledger(self, folder: Place, work: WorkList, detector: Detector, options: EngineOptions) -> Ledger:
        return Ledger.open(
            folder,
            search_toml=self.config.to_toml(),
            config_hash=self.config.hash,
            work=work.table,
            shard_size=shard_size_for(work.table.num_rows, options),
            candidate_schema=candidate_schema(detector.columns, lines=self.config.kind == "lines"),
            about={"name": self.config.name, **work.about()},
        )


def _with_detector_defaults(config: SearchConfig) -> SearchConfig:
    """Return the search with every option of its detector, so that the hash covers those that nobody set."""
    detector = config.detector
    options = {**default_options(detector.name, config.kind), **detector.options}
    return replace(config, detector=replace(detector, options=options))


class PlanningReader(Reader, Protocol):
    """A Reader that can say what it would read."""

    async def plan(self, observation: Observation, usage: Usage) -> ReadPlan:
        """Return what `read` would fetch beyond the headers, which are read here and charged to `usage`."""
        ...


class _Planner:
    """A Reader that reads headers only, and charges what the pixels would cost."""

    asks_for_room = True

    def __init__(self, reader: PlanningReader) -> None:
        self.reader = reader
        self.largest = 0

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        plan = await self.reader.plan(observation, usage)
        self.largest = max(self.largest, plan.held)
        await usage.room(plan.held)
        usage.requests += plan.requests
        usage.bytes_read += plan.nbytes
        return Pixels(observation.obs_id, observation.uri)

    async def close(self) -> None:
        await self.reader.close()


class _NoDetector:
    """A Detector that finds nothing, for plans."""

    window: int | None = 0
    columns: Mapping[str, str] = MappingProxyType({})

    def detect(self, pixels: Pixels) -> list[Candidate]:  # noqa: ARG002
        return []


def by_target(work: WorkList, outcomes: pa.Table, candidates: pa.Table, min_lines: int) -> pa.Table:
    """Return for each matched target the distinct lines detected over all its observations.

    A line counts for every target of its record: those at whose redshifts it was expected in that plane. Records without a line
    count for none.
    """
    every = _targets_of(work.table, outcomes)
    first = [(name, "first") for name in ("ra", "dec", "redshift")]
    counts = every.group_by("target", use_threads=False).aggregate([*first, ("obs_id", "count"), ("searched", "sum")])
    counts = counts.sort_by("target")
    found = _lines_of(candidates, every)
    lines = [sorted(found.get(name, ())) for name in counts["target"].to_pylist()]
    taken = [counts[name] for name in ("target", "ra_first", "dec_first", "redshift_first", "obs_id_count", "searched_sum")]
    numbers = [len(one) for one in lines]
    return pa.table([*taken, numbers, lines, [number >= min_lines for number in numbers]], schema=TARGETS_SCHEMA)


def _targets_of(work: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Return a row for each target of each observation, and whether that was searched, as 1 or 0."""
    import pyarrow.compute as pc

    targets = work["targets"].combine_chunks()
    flat, rows = pc.list_flatten(targets), pc.list_parent_indices(targets)
    ended = outcomes.filter(pc.is_in(outcomes["status"], pa.array(SEARCHED)))["obs_id"]
    searched = pc.is_in(work["obs_id"], ended.combine_chunks()).cast(pa.int64())
    columns = {name: pc.struct_field(flat, name) for name in ("name", "ra", "dec", "redshift")}
    return pa.table(
        {"target": columns.pop("name"), **columns, "obs_id": work["obs_id"].take(rows), "searched": searched.take(rows)}
    )


def _lines_of(candidates: pa.Table, every: pa.Table) -> dict[str, set[str]]:
    """Return the lines detected for each target, in observations that hold it."""
    import pyarrow.compute as pc

    found = candidates.select(["obs_id", "targets", "line"]).filter(pc.not_equal(candidates["line"], ""))
    targets = found["targets"].combine_chunks()
    rows = pc.list_parent_indices(targets)
    pairs = pa.table({"target": pc.list_flatten(targets), "obs_id": found["obs_id"].take(rows), "line": found["line"].take(rows)})
    pairs = pairs.join(every.select(["target", "obs_id"]), ["target", "obs_id"], join_type="left semi")
    lines: dict[str, set[str]] = {}
    for row in pairs.group_by(["target", "line"]).aggregate([]).to_pylist():
        lines.setdefault(row["target"], set()).add(row["line"])
    return lines
