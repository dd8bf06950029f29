"""The command line: `raysearch run | plan | query | status | export | config | demo`.

Exit status: 0 done; 1 done, but some observations failed; 2 the search could not run; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by
a terminal that was closed; 141 nobody read its output to the end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_terminal import outlived, spell_out
from .errors import RaysearchError
from .masking import masked, masked_table

if TYPE_CHECKING:
    import pyarrow as pa

    from .archives.answers import Mode
    from .engine import Totals
    from .engine.folder.files import Place
    from .model import Query
    from .result import Result
    from .search import Search
    from .worklist import WorkList

SEARCH_HELP = "a shipped search's name, or the path of a TOML file"
TABLES = ["candidates", "outcomes", "limits", "targets", "observations", "cutouts", "sources", "spectra"]
SHOWN_ROWS = 20
SHOWN_COLUMNS = 12
"""Of the candidates: five that all have, and the first of the detector's own."""
SHOWN_CHARACTERS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    spell_out()
    with outlived():
        return _status_of(arguments)


def _status_of(arguments: Sequence[str] | None) -> int:
    command: Callable[[argparse.Namespace], int] | None = None
    try:
        options = _parser().parse_args(arguments)  # imports what takes a while; Ctrl-C is told there too
        _check_place()
        command = options.command
        from .engine.signals import stopping

        with stopping():
            return command(options)
    except RaysearchError as error:
        print(f"raysearch: {masked(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        kept = "; what is done is kept: the same command goes on from here" if command is _run else ""
        print(f"\nraysearch: stopped{kept}", file=sys.stderr)
        return 128 + int(getattr(stop, "number", signal.SIGINT))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - Python flushes it once more at its end
        return 141
    except OSError as error:
        print(f"raysearch: {masked(str(error))}", file=sys.stderr)
        return 2


def _check_place() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RaysearchError("the folder that this was started in is not there any more: change to another one") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raysearch", description="Which of these thousands of files contain the thing I am looking for?"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "search, and write a run folder; the same command again goes on where it stopped")
    _search_options(run)
    run.add_argument("--out", required=True, type=_folder, metavar="DIR", help="the run folder, or s3://bucket/folder")
    run.add_argument("--since", type=_folder, metavar="OLD_DIR", help="only what is new or changed since that run, or failed there")
    run.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too")
    plan = _command(commands, "plan", _plan, "say what would be read: asks the archives, reads headers, no pixels")
    _search_options(plan)
    plan.add_argument("--out", type=_folder, metavar="DIR", help="also write the work list to DIR/observations.arrow")
    query = _command(commands, "query", _query, "ask the archives only: which observations there are, and where; reads no file")
    _search_options(query)
    query.add_argument("--out", type=_folder, metavar="DIR", help="write the table of observations to DIR/observations.arrow")
    query.add_argument("--table", type=Path, metavar="FILE", help="write it for other programs: .ecsv .vot .fits .parquet .csv")
    status = _command(commands, "status", _status, "how a run stands, also one at work or broken off, and how to go on with it")
    status.add_argument("--json", action="store_true", help="the same numbers for programs")
    status.add_argument("dir", type=_folder, metavar="DIR")
    export = _command(commands, "export", _export, "write a table, or the candidates' line maps, for other programs")
    export.add_argument("dir", type=_folder, metavar="DIR")
    export.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        nargs="?",
        help="its ending says what: .ecsv .vot .fits .parquet .csv: a table; .reg: its rows as regions; .moc.fits .moc.json: the "
        "sky searched; .txt: what to acknowledge and to cite",
    )
    export.add_argument("--table", default="candidates", choices=TABLES)
    export.add_argument("--cubes", type=Path, metavar="FOLDER", help="read the planes around each candidate again, as FITS cubes")
    export.add_argument("--maps", type=Path, metavar="FOLDER", help="write each candidate's line map there, a FITS file for each")
    report = _command(commands, "report", _report, "make the page people look at; or serve it while a run goes on")
    report.add_argument("dir", type=_folder, metavar="DIR")
    report.add_argument(
        "--single-file", nargs="?", type=Path, const=Path(), metavar="FILE", help="one HTML file with everything (DIR/report.html)"
    )
    report.add_argument("--marks", type=Path, metavar="FILE", help="take the marks that the page has exported, and show them")
    report.add_argument(
        "--redraw", nargs="*", metavar="OBS_ID", help="read the pixels again and draw; without a name, all not drawn yet"
    )
    report.add_argument("--live", action="store_true", help="serve the page on this machine, and follow the run; Ctrl-C ends it")
    report.add_argument("--port", type=_port, default=0, metavar="N", help="where --live listens (default: any that is free)")
    config = _command(commands, "config", _config, "the effective search, every default written out, and its hash")
    _search_options(config, limit=False)
    demo = _command(commands, "demo", _demo, "run the jets search against an archive on this machine; needs no network")
    demo.add_argument("--out", type=_folder, metavar="DIR", help="the run folder (default: demo-run, or the next that is free)")
    demo.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too")
    return parser


def _command(commands: Any, name: str, function: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=function)
    return parser


def _search_options(parser: argparse.ArgumentParser, *, limit: bool = True) -> None:
    parser.add_argument("search", metavar="SEARCH", help=SEARCH_HELP)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for example match.radius='2 arcsec'")
    parser.set_defaults(refresh=False, offline=False)
    if limit:
        kept = parser.add_mutually_exclusive_group()
        kept.add_argument("--refresh", action="store_true", help="ask the archives again, whatever answers are kept")
        kept.add_argument("--offline", action="store_true", help="never ask the archives: kept answers only, however old")
        parser.add_argument("--limit", type=_limit, metavar="N", help="the first N observations of the work list only")


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wants a whole number, 1 or more, not {text!r}")
    return int(text)


def _folder(text: str) -> Place:
    from .engine.folder.files import place

    try:
        return place(text)
    except RaysearchError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"wants a number from 0 to 65535, not {text!r}")
    return int(text)


def _load(options: argparse.Namespace) -> Search:
    from . import config
    from .search import Search

    answers: Mode = "refresh" if options.refresh else "offline" if options.offline else "reuse"
    return Search.load(options.search, dict(config.parse_setting(text) for text in options.set), answers=answers)


def _run(options: argparse.Namespace) -> int:
    report = _search(_load(options), options.out, options.limit, since=options.since, dashboard=options.dashboard)
    return 1 if report.totals.by_status["failed"] or report.failed_spectra else 0


def _search(search: Search, out: Place, limit: int | None, *, since: Place | None = None, dashboard: bool) -> _Report:
    from .engine import ProgressLine

    _say_work(search, since, limit)
    result = search.run(out, limit=limit, since=since, dashboard=dashboard, observers=[ProgressLine(sys.stderr)])
    report = _Report(result)
    _say_result(report)
    if search.config.report.page:
        _say_page(result.folder)
    return report


def _say_page(folder: Place) -> None:
    """Write the page of a run that has ended, and print where it is; whatever goes wrong with it, the run stands."""
    from . import pages

    page, problem = pages.after_run(folder)
    print(f"page: {page}" if page else f"note: {problem}")


class _Report:
    """What is told of a run folder; its many part files are read once."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.totals = result.totals
        self.outcomes = result.arrow("outcomes")
        self.failed_spectra = _failed_spectra(result)


def _failed_spectra(result: Result) -> int:
    """Return how many images failed of those on which the sources' spectra were measured."""
    from . import products

    folder = result.folder / products.SPECTRA
    return type(result)(folder).totals.by_status["failed"] if (folder / "run.json").exists() else 0


def _say_work(search: Search, since: Place | None, limit: int | None, *, in_full: bool = False) -> WorkList:
    """Print what was asked, what came of it and what is left of that, and return the work list."""
    from .archives.http import on_waiting

    print(f"search {search.config.name} ({search.config.hash})", flush=True)
    with on_waiting(lambda line: print(f"  {line}", file=sys.stderr, flush=True)):
        work = search.work_list(since).head(limit)
    for (service, url), queries in _by_service(work.queries).items():
        print(f"  {service}: {_told(queries)}")
        if in_full:
            print(f"    {masked(url)}")
            print("".join(f"    {masked(_one_line(query.text))}\n" for query in queries[:SHOWN_ROWS]), end="")
            if len(queries) > SHOWN_ROWS:
                print(f"    and {len(queries) - SHOWN_ROWS:,} queries more like these")
    for note in work.notes[:SHOWN_ROWS]:
        print(f"  note: {masked(note)}")
    if len(work.notes) > SHOWN_ROWS:
        print(f"  and {len(work.notes) - SHOWN_ROWS:,} notes more; the run.json of a run has them all")
    funnel = work.funnel
    asked = f"{funnel['targets']:,} targets, {funnel['archive_rows']:,} observations asked about, {funnel['matched']:,} matched"
    untold = f", {funnel['no_footprint']:,} without a footprint that can be read" if funnel["no_footprint"] else ""
    print(f"  {asked}{untold}", flush=True)
    if "pairs" in funnel:
        print(f"  {funnel['pairs']:,} pairs of {funnel['paired']:,} images; {funnel['unpaired']:,} images in none", flush=True)
    if work.since is not None:
        ended = ", ".join(f"{work.since[name]:,} {name}" for name in ("detected", "nothing", "skipped") if name in work.since)
        print(
            f"  {work.earlier.num_rows:,} left out, settled by {since} and unchanged since" + (f": {ended}" if ended else ""),
            flush=True,
        )
    if beyond := funnel.get("beyond_limit"):
        print(f"  {beyond:,} beyond the first {work.table.num_rows:,}, which are all that --limit asks for", flush=True)
    return work


def _by_service(queries: Sequence[Query]) -> dict[tuple[str, str], list[Query]]:
    grouped: dict[tuple[str, str], list[Query]] = {}
    for query in queries:
        grouped.setdefault((query.service, query.url), []).append(query)
    return grouped


def _told(queries: Sequence[Query]) -> str:
    """Return what queries of one service gave: rows, of how many there are, and the time it took, or the age of kept answers."""
    counted = [query.counted for query in queries if query.counted is not None]
    there_are = f" of {sum(counted):,}" if len(counted) == len(queries) else ""
    told = f"{sum(query.rows for query in queries):,}{there_are} rows" + (f", {len(queries):,} queries" if len(queries) > 1 else "")
    kept = sorted(query.reused for query in queries if query.reused)
    if len(kept) < len(queries):
        told += f" in {sum(query.seconds for query in queries if not query.reused):.1f} s"
    if kept:
        which = "the kept answer of" if len(queries) == 1 else f"{len(kept):,} kept answers, the oldest of"
        age = datetime.now(UTC) - datetime.fromisoformat(kept[0])
        told += f"; {which} {kept[0]} ({_age(age.total_seconds())} old; --refresh asks again)"
    return told


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 4] + " ..."


def _age(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _say_result(report: _Report) -> None:
    result = report.result
    _say_ledger(report.totals)
    _say_reasons(report.outcomes)
    if (kind := result.kind) == "pairs":
        _say_sources(report)
    else:
        _say_candidates(result.arrow("candidates"))
    if kind == "lines":
        _say_notable(result.arrow("targets").to_pylist())
    else:
        _say_images(result)
    print(f"\nrun folder: {result.folder}")


def _say_candidates(candidates: pa.Table) -> None:
    name = "cutouts" if "cutout" in candidates.column_names else "candidates"
    print(f"\n{candidates.num_rows:,} {name}" + (":" if candidates.num_rows else ""))
    if candidates.num_rows:
        shown = [column for column in candidates.column_names if column not in {"uri", "config_hash", "targets", "cutout"}]
        _say_table(candidates.select(shown[:SHOWN_COLUMNS]), name)


def _say_notable(targets: Sequence[Mapping[str, Any]]) -> None:
    notable = [row for row in targets if row["notable"]]
    print(f"\n{len(notable):,} of {len(targets):,} targets are notable" + (":" if notable else ""))
    for row in notable[:SHOWN_ROWS]:
        print(f"  {row['target']}: {', '.join(row['lines'])} (in {row['observations']} observations)")


def _say_sources(report: _Report) -> None:
    """Print the sources of a search of pairs, and that their spectra were measured; its detector may be one that finds none."""
    from . import products

    result = report.result
    if not (result.folder / products.SOURCES).exists():
        _say_candidates(result.arrow("candidates"))
        return
    sources = result.arrow("sources")
    counts = Counter(sources["kind"].to_pylist())
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    print(f"\n{sources.num_rows:,} sources" + (f" ({told}):" if told else ""))
    if sources.num_rows:
        shown = [name for name in sources.column_names if name not in {"obs_id", "uri", "config_hash"}]
        _say_table(sources.select(shown[:SHOWN_COLUMNS]), "sources")
    if (result.folder / products.SPECTRA_TABLE).exists():
        spectra = result.arrow("spectra")
        measured, path = len(set(spectra["source"].to_pylist())), result.folder / products.SPECTRA_TABLE
        print(f"\nspectra of {measured:,} sources, {spectra.num_rows:,} measurements: {path}")
        if report.failed_spectra:
            folder = result.folder / products.SPECTRA
            print(f"  {report.failed_spectra:,} images of theirs failed: raysearch status {folder} says why")


def _say_images(result: Result) -> None:
    """Print how many targets have images, and where the cutouts are."""
    from . import products

    targets = result.arrow("targets")
    covered = sum(count > 0 for count in targets["observations"].to_pylist())
    print(f"\n{covered:,} of {targets.num_rows:,} targets have images")
    for row in [row for row in targets.to_pylist() if row["observations"] and not row["found"]][:SHOWN_ROWS]:
        print(f"  {row['target']}: nothing, of {row['searched']} searched of {row['observations']}")
    folder = result.folder / products.CUTOUTS
    if files := sum(path.suffix == ".fits" for path in folder.iterdir()) if folder.is_dir() else 0:
        print(f"{files:,} files of cutouts, one for each target: {folder}")


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


def _say_table(table: pa.Table, name: str) -> None:
    from .report.tables import to_table

    shown = to_table(table.slice(0, SHOWN_ROWS))
    for column in shown.itercols():
        if column.dtype.kind == "f":
            column.format = ".6g"
    print("\n".join(shown.pformat(max_lines=-1, max_width=-1, show_unit=False, align="<")))
    if table.num_rows > SHOWN_ROWS:
        print(f"and {table.num_rows - SHOWN_ROWS:,} more; raysearch export DIR {name}.ecsv --table {name} has them all")


def _query(options: argparse.Namespace) -> int:
    from .report import tables

    if options.table:
        tables.format_of(options.table)  # before the archives are asked
    work = _say_work(_load(options), None, options.limit, in_full=True)
    skipped = [text for text in work.table["skip"].to_pylist() if text]
    print(f"\n{work.table.num_rows:,} observations, {work.table.num_rows - len(skipped):,} of them to be read")
    for reason, count in Counter(skipped).most_common(SHOWN_ROWS):
        print(f"  skipped {count:>4}: {reason}")
    if options.out:
        print(f"\nobservations: {work.write(options.out)}")
    if options.table:
        tables.write(masked_table(work.table), options.table)
        print(f"\n{work.table.num_rows:,} rows -> {options.table}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from .engine.progress import ProgressLine, readable_bytes

    search = _load(options)
    _say_work(search, None, options.limit)
    plan = search.plan(options.limit, [ProgressLine(sys.stderr)])
    totals = plan.totals
    print(
        f"\nto read: {totals['files']:,} files of {totals['observations']:,} observations, "
        f"{readable_bytes(totals['bytes'])} in {totals['requests']:,} requests"
    )
    if plan.largest:
        print(f"to read the largest takes {readable_bytes(plan.largest)} of memory")
    print(f"not to be searched: {totals['skipped']:,} skipped, {totals['failed']:,} failed")
    _say_reasons(plan.outcomes)
    if options.out:
        print(f"\nwork list: {plan.work.write(options.out)}")
    return 1 if totals["failed"] else 0


def _status(options: argparse.Namespace) -> int:
    from . import cli_status

    return cli_status.status(options)


def _export(options: argparse.Namespace) -> int:
    from . import cli_after

    return cli_after.export(options)


def _report(options: argparse.Namespace) -> int:
    from . import cli_after

    return cli_after.report(options)


def _config(options: argparse.Namespace) -> int:
    from . import config
    from .search import Search

    effective = Search.load(options.search, dict(config.parse_setting(text) for text in options.set)).config
    print(f"# config_hash = {effective.hash}\n{effective.to_toml()}", end="")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .search import Search
    from .testing import LocalArchive, demo_holdings

    holdings = demo_holdings()
    print("an archive on this machine stands in for SIMBAD, MAST and S3: its sky is made up, the clients and the search are real")
    with LocalArchive(holdings) as archive:
        settings = {f"services.{name}": url for name, url in archive.services.items()}
        report = _search(
            Search.load("jets", settings, answers="off"), options.out or _fresh_folder(), None, dashboard=options.dashboard
        )
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
