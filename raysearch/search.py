"""`Search`: query -> match -> plan -> run -> write. The only place that knows all rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from . import config as configuration
from .config import SearchConfig
from .detect import open_detector
from .engine import (
    EngineOptions,
    Job,
    Ledger,
    Observer,
    Totals,
    candidate_schema,
    read_candidates,
    read_outcomes,
    read_run,
    read_work,
    run,
    shard_size_for,
    status,
)
from .engine.events import column_sum, count_statuses
from .engine.files import read_arrow, write_arrow
from .errors import RunFolderError
from .model import Candidate, Detector, Observation, Pixels, Reader, Usage, observations_from_arrow
from .read.cube import CubeReader
from .read.store import StoreConfig
from .report import tables
from .worklist import WorkList, build

if TYPE_CHECKING:
    from astropy.table import Table

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

TARGETS = "targets.arrow"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would read."""

    work: WorkList
    outcomes: pa.Table
    """One row per observation: `bytes_read` and `requests` are what a run would need; `reason` says why one cannot be searched."""

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

    def write(self, folder: str | Path) -> Path:
        """Write the work list as `observations.arrow` into a folder, made if need be, and return its path.

        Raises
        ------
        RunFolderError
            If the folder is that of a run, whose work list this would replace, or cannot be written.
        """
        path = Path(folder) / "observations.arrow"
        if (path.parent / "run.json").exists():
            raise RunFolderError(f"{folder} is the folder of a run; name another for the plan's work list")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrow(path, self.work.table)
        except OSError as exc:
            raise RunFolderError(f"{path} cannot be written: {exc.strerror or exc}; choose another --out") from exc
        return path


class Result:
    """A run folder, finished or not, as tables."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def arrow(self, name: str) -> pa.Table:
        """Return one of the folder's tables: candidates, outcomes, targets or observations.

        Raises
        ------
        RunFolderError
            If the folder is no run folder.
        """
        read = {"candidates": read_candidates, "outcomes": read_outcomes, "observations": read_work, "targets": _read_targets}
        read_run(self.folder)  # a folder without run.json is no run folder, whatever else it holds
        return read[name](self.folder)

    @property
    def candidates(self) -> Table:
        """The detector's records."""
        return tables.to_table(self.arrow("candidates"))

    @property
    def outcomes(self) -> Table:
        """One row for each observation that has ended."""
        return tables.to_table(self.arrow("outcomes"))

    @property
    def targets(self) -> Table:
        """For each matched target, the distinct lines detected over all its observations."""
        return tables.to_table(self.arrow("targets"))

    @property
    def observations(self) -> Table:
        """The work list."""
        return tables.to_table(self.arrow("observations"))

    @property
    def totals(self) -> Totals:
        """Observations by outcome, bytes and requests, counted from the part files."""
        return status(self.folder)

    @property
    def about(self) -> dict[str, Any]:
        """What run.json says."""
        return read_run(self.folder)

    def export(self, path: str | Path, table: str = "candidates") -> None:
        """Write a table in the format that the file's ending names."""
        tables.write(self.arrow(table), Path(path))

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.totals.by_status.items())
        return f"<raysearch.Result {str(self.folder)!r}: {counts}>"


class Search:
    """A search, ready to be planned and run."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self._work: WorkList | None = None

    @classmethod
    def load(cls, search: str | Path, settings: Mapping[str, Any] | None = None) -> Search:
        """Return the search of a shipped name or a TOML file, with `section.key` settings over what it says.

        Raises
        ------
        ConfigError
            Naming the file, the key and the cure.
        """
        return cls(configuration.load(search, settings))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Search:
        """Return the search that nested dicts describe, keyed as a search file is."""
        return cls(configuration.from_dict(document))

    def work_list(self) -> WorkList:
        """Return which observations would be read: asks the archives once, reads no product."""
        if self._work is None:
            self._work = build(self.config)
        return self._work

    def plan(self, limit: int | None = None, observers: Sequence[Observer] = ()) -> Plan:
        """Return what a run of the first `limit` observations would read: asks the archives and reads headers, no pixels."""
        work = self.work_list().head(limit)
        planner, nothing = _Planner(self._reader(self._detector())), _NoDetector()
        with TemporaryDirectory(prefix="raysearch-plan-") as scratch:
            folder, options = Path(scratch), EngineOptions(engine="inline")
            with self._ledger(folder, work, nothing, options) as ledger:
                run(self._job(planner, nothing), work.table, ledger, options, observers)
            return Plan(work, read_outcomes(folder))

    def run(
        self, out: str | Path, *, limit: int | None = None, dashboard: bool = False, observers: Sequence[Observer] = ()
    ) -> Result:
        """Search every observation and return the run folder.

        A folder that holds an unfinished run of the same search is finished; its done shards are kept.

        Parameters
        ----------
        out : str or Path
            The run folder, made if need be.
        limit : int, optional
            Search the first `limit` observations of the work list only.
        dashboard : bool, optional
            Start Ray's dashboard too.
        observers : sequence of callables, optional
            Called with each `Event`.

        Raises
        ------
        RunFolderError
            If the folder holds another search or another work list.
        ArchiveError, TableError, ConfigError
            If the search cannot be run.
        """
        detector, asked = self._detector(), self.config.run
        work = self.work_list().head(limit)
        options = EngineOptions(
            engine=asked.engine, address=asked.address, detectors=asked.detectors, loaders=asked.loaders, dashboard=dashboard
        )
        with self._ledger(Path(out), work, detector, options) as ledger:
            run(self._job(self._reader(detector), detector), work.table, ledger, options, observers)
            result = Result(out)
            summary = by_target(work, result.arrow("outcomes"), result.arrow("candidates"), self.config.lines.min_lines)
            write_arrow(result.folder / TARGETS, summary)
        return result

    def _detector(self) -> Detector:
        return open_detector(self.config.detector.name, self.config.detector.options)

    def _reader(self, detector: Detector) -> CubeReader:
        services = self.config.services
        store = StoreConfig(
            s3_endpoint=services.s3,
            s3_region=services.s3_region,
            s3_client=services.s3_client,
            s3_signed=services.s3_signed,
            read_timeout_s=services.timeout,
            max_concurrent=self.config.run.concurrency,
        )
        # What an archive lists and nobody has is a fact about the archive; what a user lists and nobody has is a mistake.
        missing: Literal["skipped", "failed"] = "skipped" if self.config.observations.archive else "failed"
        return CubeReader(store, self.config.lines.list, detector.window, redshift=self.config.targets.redshift, missing=missing)

    def _job(self, reader: Reader, detector: Detector) -> Job:
        return Job(reader, detector, config_hash=self.config.hash, lines=True, concurrency=self.config.run.concurrency)

    def _ledger(self, folder: Path, work: WorkList, detector: Detector, options: EngineOptions) -> Ledger:
        return Ledger.open(
            folder,
            search_toml=self.config.to_toml(),
            config_hash=self.config.hash,
            work=work.table,
            shard_size=shard_size_for(work.table.num_rows, options),
            candidate_schema=candidate_schema(detector.columns, lines=True),
            about={"name": self.config.name, **work.about()},
        )


class _Planner:
    """A Reader that reads headers only, and charges what the pixels would cost."""

    def __init__(self, reader: CubeReader) -> None:
        self.reader = reader

    async def read(self, observation: Observation, usage: Usage) -> Pixels:
        plan = await self.reader.plan(observation, usage)
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


def _read_targets(folder: Path) -> pa.Table:
    path = folder / TARGETS
    if not path.exists():
        raise RunFolderError(f"{folder} has no {TARGETS} yet: it is written when the run is finished")
    return read_arrow(path)


def by_target(work: WorkList, outcomes: pa.Table, candidates: pa.Table, min_lines: int) -> pa.Table:
    """Return for each matched target the distinct lines detected over all its observations.

    A line counts for every target of its record: those at whose redshifts it was expected in that plane. Records without a line
    count for none.
    """
    status_of = dict(zip(outcomes["obs_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True))
    found: dict[tuple[str, str], set[str]] = {}
    for row in candidates.select(["obs_id", "targets", "line"]).to_pylist():
        for target in row["targets"] if row["line"] else ():
            found.setdefault((row["obs_id"], target), set()).add(row["line"])
    seen: dict[str, dict[str, Any]] = {}
    for observation in observations_from_arrow(work.table):
        for target in observation.targets:
            entry = seen.setdefault(target.name, {"target": target, "observations": 0, "searched": 0, "lines": set()})
            entry["observations"] += 1
            entry["searched"] += status_of.get(observation.obs_id) in ("detected", "nothing")
            entry["lines"] |= found.get((observation.obs_id, target.name), set())
    rows = [
        {
            "target": name,
            "ra": entry["target"].ra,
            "dec": entry["target"].dec,
            "redshift": entry["target"].redshift,
            "observations": entry["observations"],
            "searched": entry["searched"],
            "n_lines": len(entry["lines"]),
            "lines": sorted(entry["lines"]),
            "notable": len(entry["lines"]) >= min_lines,
        }
        for name, entry in sorted(seen.items())
    ]
    return pa.Table.from_pylist(rows, schema=TARGETS_SCHEMA)
