"""The command line: `raysearch run | plan | status | export | config | demo`.

Exit status: 0 done; 1 done, but some observations failed; 2 the search could not run; 130 stopped by Ctrl-C; 141 nobody
read its output to the end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RaysearchError

if TYPE_CHECKING:
    import pyarrow as pa

    from .engine import Totals
    from .search import Result, Search

SEARCH_HELP = "a shipped search's name, or the path of a TOML file"
SHOWN_ROWS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except RaysearchError as error:
        print(f"raysearch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nraysearch: stopped; what is done is kept: the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - Python flushes it once more at its end
        return 141
    except OSError as error:
        print(f"raysearch: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raysearch", description="Which of these thousands of files contain the thing I am looking for?"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "search, and write a run folder; the same command again goes on where it stopped")
    _search_options(run)
    run.add_argument("--out", required=True, type=Path, metavar="DIR", help="the run folder")
    run.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too")
    plan = _command(commands, "plan", _plan, "say what would be read: asks the archives, reads headers, no pixels")
    _search_options(plan)
    plan.add_argument("--out", type=Path, metavar="DIR", help="also write the work list to DIR/observations.arrow")
    status = _command(commands, "status", _status, "the ledger of a run folder, also of a running or a broken-off run")
    status.add_argument("dir", type=Path, metavar="DIR")
    export = _command(commands, "export", _export, "write a table for other programs")
    export.add_argument("dir", type=Path, metavar="DIR")
    export.add_argument("file", type=Path, metavar="FILE", help="its ending says the format: .ecsv .vot .fits .parquet .csv")
    export.add_argument("--table", default="candidates", choices=["candidates", "outcomes", "targets", "observations"])
    config = _command(commands, "config", _config, "the effective search, every default written out, and its hash")
    _search_options(config, limit=False)
    demo = _command(commands, "demo", _demo, "run the jets search against an archive on this machine; needs no network")
    demo.add_argument("--out", type=Path, metavar="DIR", help="the run folder (default: demo-run, or the next that is free)")
    demo.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too")
    return parser


def _command(commands: Any, name: str, function: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=function)
    return parser


def _search_options(parser: argparse.ArgumentParser, *, limit: bool = True) -> None:
    parser.add_argument("search", metavar="SEARCH", help=SEARCH_HELP)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for example match.radius='2 arcsec'")
    if limit:
        parser.add_argument("--limit", type=_limit, metavar="N", help="the first N observations of the work list only")


def _limit(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wants 1 or more, not {number}")
    return number


def _load(options: argparse.Namespace) -> Search:
    from . import config
    from .search import Search

    return Search.load(options.search, dict(config.parse_setting(text) for text in options.set))


def _run(options: argparse.Namespace) -> int:
    totals = _search(_load(options), options.out, options.limit, dashboard=options.dashboard).totals
    return 1 if totals.by_status["failed"] else 0


def _search(search: Search, out: Path, limit: int | None, *, dashboard: bool) -> _Report:
    from .engine import ProgressLine

    _say_work(search)
    result = search.run(out, limit=limit, dashboard=dashboard, observers=[ProgressLine(sys.stderr)])
    report = _Report(result)
    _say_result(report)
    return report


class _Report:
    """What is told of a run folder; its many part files are read once."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.totals = result.totals
        self.outcomes = result.arrow("outcomes")


def _say_work(search: Search) -> None:
    print(f"search {search.config.name} ({search.config.hash})", flush=True)
    work = search.work_list()
    for query in work.queries:
        print(f"  {query.service}: {query.rows:,} rows in {query.seconds:.1f} s")
    for note in work.notes[:SHOWN_ROWS]:
        print(f"  note: {note}")
    if len(work.notes) > SHOWN_ROWS:
        print(f"  and {len(work.notes) - SHOWN_ROWS} notes more; run.json has them all")
    funnel = work.funnel
    asked = f"{funnel['targets']:,} targets, {funnel['archive_rows']:,} observations asked about, {funnel['matched']:,} matched"
    untold = f", {funnel['no_footprint']:,} without a footprint that can be read" if funnel["no_footprint"] else ""
    print(f"  {asked}{untold}", flush=True)


def _say_result(report: _Report) -> None:
    result = report.result
    _say_ledger(report.totals)
    _say_reasons(report.outcomes)
    candidates = result.arrow("candidates")
    print(f"\n{candidates.num_rows:,} candidates" + (":" if candidates.num_rows else ""))
    if candidates.num_rows:
        shown = [name for name in candidates.column_names if name not in {"uri", "config_hash", "targets"}]
        _say_table(candidates.select(shown))
    targets = result.arrow("targets")
    notable = [row for row in targets.to_pylist() if row["notable"]]
    print(f"\n{len(notable):,} of {targets.num_rows:,} targets are notable" + (":" if notable else ""))
    for row in notable[:SHOWN_ROWS]:
        print(f"  {row['target']}: {', '.join(row['lines'])} (in {row['observations']} observations)")
    print(f"\nrun folder: {result.folder}")


def _say_ledger(totals: Totals) -> None:
    from .engine.progress import readable_bytes

    counts = "  ".join(f"{name} {count:,}" for name, count in totals.by_status.items())
    print(f"\nledger: {counts}  = {totals.done:,} of {totals.observations:,} observations")
    print(f"read {readable_bytes(totals.bytes_read)} in {totals.requests:,} requests")


def _say_reasons(outcomes: pa.Table) -> None:
    """Print each reason once, with how often it came and one example."""
    first: dict[tuple[str, str], list[str]] = {}
    for row in outcomes.select(["status", "reason", "obs_id"]).to_pylist():
        if row["reason"]:
            first.setdefault((row["status"], row["reason"]), []).append(row["obs_id"])
    for (status, reason), rows in sorted(first.items(), key=lambda item: (item[0][0], -len(item[1])))[:SHOWN_ROWS]:
        print(f"  {status} {len(rows):>4}: {reason}" + ("" if rows[0] in reason else f" ({rows[0]})"))
    if len(first) > SHOWN_ROWS:
        print(f"  and {len(first) - SHOWN_ROWS} reasons more; raysearch export DIR outcomes.csv --table outcomes has them all")


def _say_table(table: pa.Table) -> None:
    from .report.tables import to_table

    shown = to_table(table.slice(0, SHOWN_ROWS))
    for column in shown.itercols():
        if column.dtype.kind == "f":
            column.format = ".6g"
    print("\n".join(shown.pformat(max_lines=-1, max_width=-1, show_unit=False, align="<")))
    if table.num_rows > SHOWN_ROWS:
        print(f"and {table.num_rows - SHOWN_ROWS:,} more; raysearch export DIR candidates.ecsv has them all")


def _plan(options: argparse.Namespace) -> int:
    from .engine.progress import ProgressLine, readable_bytes

    search = _load(options)
    _say_work(search)
    plan = search.plan(options.limit, [ProgressLine(sys.stderr)])
    totals = plan.totals
    print(
        f"\nto read: {totals['files']:,} files of {totals['observations']:,} observations, "
        f"{readable_bytes(totals['bytes'])} in {totals['requests']:,} requests"
    )
    print(f"not to be searched: {totals['skipped']:,} skipped, {totals['failed']:,} failed")
    _say_reasons(plan.outcomes)
    if options.out:
        print(f"\nwork list: {plan.write(options.out)}")
    return 1 if totals["failed"] else 0


def _status(options: argparse.Namespace) -> int:
    from .search import Result

    report = _Report(Result(options.dir))
    about = report.result.about
    state = f"finished {about['finished']}" if about.get("finished") else "not finished"
    print(f"search {about['name']} ({about['config_hash']}), {state}")
    _say_ledger(report.totals)
    _say_reasons(report.outcomes)
    return 0


def _export(options: argparse.Namespace) -> int:
    from .search import Result

    result = Result(options.dir)
    result.export(options.file, options.table)
    print(f"{result.arrow(options.table).num_rows:,} rows -> {options.file}")
    return 0


def _config(options: argparse.Namespace) -> int:
    from . import config

    effective = config.load(options.search, dict(config.parse_setting(text) for text in options.set))
    print(f"# config_hash = {effective.hash}\n{effective.to_toml()}", end="")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .search import Search
    from .testing import LocalArchive, demo_holdings

    holdings = demo_holdings()
    print("an archive on this machine stands in for SIMBAD, MAST and S3: its sky is made up, the clients and the search are real")
    with LocalArchive(holdings) as archive:
        settings = {f"services.{name}": url for name, url in archive.services.items()}
        report = _search(Search.load("jets", settings), options.out or _fresh_folder(), None, dashboard=options.dashboard)
    ended = {row["obs_id"]: row["status"] for row in report.outcomes.to_pylist()}
    expected = {obs_id: status for obs_id, status in holdings.expected.items() if status != "unmatched"}
    print(
        "every observation ended as the made-up sky says; it holds damaged files on purpose"
        if ended == expected
        else "NOT as expected"
    )
    return 0 if ended == expected else 1


def _fresh_folder() -> Path:
    """Return a folder for the demo that is not there yet: another archive, another run."""
    names = itertools.chain(["demo-run"], (f"demo-run-{number}" for number in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())


if __name__ == "__main__":
    sys.exit(main())
