"""The engine: runs a Reader and a Detector over a work list, into a run folder. Importing it does not import Ray."""

from raysearch.engine.events import AtWork, Event, Observer, Phase, RunFinished, RunStarted, ShardDone, Tick, Totals
from raysearch.engine.folder.figures import Figures, read_figures
from raysearch.engine.folder.ledger import Ledger, read_candidates, read_outcomes, read_run, read_work, status
from raysearch.engine.job import Job
from raysearch.engine.options import EngineOptions, shard_size_for
from raysearch.engine.progress import ProgressLine
from raysearch.engine.records import candidate_schema
from raysearch.engine.run import run

__all__ = [
    "AtWork",
    "EngineOptions",
    "Event",
    "Figures",
    "Job",
    "Ledger",
    "Observer",
    "Phase",
    "ProgressLine",
    "RunFinished",
    "RunStarted",
    "ShardDone",
    "Tick",
    "Totals",
    "candidate_schema",
    "read_candidates",
    "read_figures",
    "read_outcomes",
    "read_run",
    "read_work",
    "run",
    "shard_size_for",
    "status",
]
