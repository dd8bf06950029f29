"""Faults of processes: workers, Ray and the program killed; detectors that crash, grow or never return; a user who interrupts."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

import psutil
from program import Missed, Program, Wrong
from rig import Came, Rig, Tally, Trial, shards_done

from raysearch.engine import read_run
from raysearch.testing import Faults

LOADER, DETECTOR = "ray::Loader", "ray::Detector"
KILLS, KILLS_INLINE = 20, 10
AGAIN = "run again"
HOW = "what is done is kept"
"""What a run says that was stopped: how to go on follows."""

Moment = Callable[[Rig, Program], psutil.Process]
"""Waits for the moment, and returns which process is to go."""


def _worker_killed(rig: Rig, moment: Moment) -> Came:
    """Kill a worker of a run on Ray."""
    out = rig.new_folder()
    program = rig.start(out, "ray")
    victim = moment(rig, program)
    at = time.time()
    try:
        victim.kill()
    except psutil.NoSuchProcess as gone:
        raise Missed("the worker had ended already") from gone
    shards = rig.in_work(out)
    recovery = rig.recovery_s(program, out, shards, at)
    return _ended(rig, program, out, "ray", recovery_s=recovery)


def _ended(
    rig: Rig, program: Program, out: Path, engine: str, *, failed: Collection[str] = (), recovery_s: float = math.nan
) -> Came:
    """Wait for the end of a run that was disturbed, and compare."""
    status = program.wait()
    extra = math.nan if not math.isnan(recovery_s) else time.time() - program.began - rig.undisturbed(engine).seconds
    if status != int(bool(failed)):
        raise Wrong(f"the run ended with {status}: {program.last_line}")
    if "(raylet)" in program.output:
        raise Wrong("Ray has told at length, among the user's output, what the outcome says")
    told = "the run went on" if not failed else f"`failed` alone: {_one(rig.reasons(out, failed))}"
    return Came(rig.compare(out, failed=failed), "nothing", told, recovery_s, extra)


def _one(reasons: Collection[str]) -> str:
    """Return the reason that rows which did the same harm have in common, without what Ray adds of its own."""
    return " / ".join(sorted({reason.partition(": Actor")[0] for reason in reasons}))


def _at(moment: Moment) -> Callable[[Rig], Came]:
    def run(rig: Rig) -> Came:
        rig.order({})
        return _worker_killed(rig, moment)

    return run


def _at_random(title: str) -> Moment:
    def moment(rig: Rig, program: Program) -> psutil.Process:
        chance = rig.random(f"{title} at random")
        count = chance.randrange(1, rig.observations // 2)
        program.until(lambda: len(rig.trace()) >= count, f"observation {count}")
        return chance.choice(rig.processes(title))

    return moment


def _loader_while_fetching(rig: Rig, program: Program) -> psutil.Process:
    """With an archive that takes its time: reads are in flight, and nothing has come yet."""
    before = rig.archive.counts()["s3"]["requests"]
    program.until(lambda: rig.archive.counts()["s3"]["requests"] >= before + 4, "the first requests")
    if rig.trace():
        raise Missed("pixels had come already")
    (loader,) = rig.processes(LOADER)
    return loader


def _in_stream(title: str) -> Moment:
    """When part of a shard has been looked at, and part has not come yet."""

    def moment(rig: Rig, program: Program) -> psutil.Process:
        def begun() -> int:
            pids = [pid for _, pid, _ in rig.trace()]
            return next((pid for pid in pids if 10 <= pids.count(pid) < 25), 0)

        pid = program.until(begun, "a shard was begun")
        return psutil.Process(pid) if title == DETECTOR else rig.processes(title)[0]

    return moment


def _slow_archive(trial: Callable[[Rig], Came], low: float, high: float) -> Callable[[Rig], Came]:
    """Have the archive take its time over each answer."""

    def run(rig: Rig) -> Came:
        rig.undisturbed("inline")
        rig.archive.set_faults(Faults(delay=(low, high)))
        try:
            return trial(rig)
        finally:
            rig.archive.reset()

    return run


def _detector_in_detection(rig: Rig) -> Came:
    """Kill a detector while it looks at an observation: it waits there until it is killed."""
    (name,) = _chosen(rig, "in detection", 1)
    rig.order({name: "wait once"})
    return _worker_killed(rig, lambda rig, program: psutil.Process(program.until(lambda: _looking_at(rig, name), "detection")))


def _looking_at(rig: Rig, name: str) -> int:
    return next((pid for _, pid, obs_id in rig.trace() if obs_id == name), 0)


def _chosen(rig: Rig, name: str, count: int) -> list[str]:
    """Return observations by chance."""
    return sorted(rig.random(name).sample(sorted(rig.undisturbed("inline").rows), count))


def _harmful(order: str, rows: int, *settings: str, engine: str = "ray") -> Callable[[Rig], Came]:
    """Have a detector that does harm, always, in some observations."""

    def run(rig: Rig) -> Came:
        names = _chosen(rig, order, rows)
        rig.undisturbed(engine)
        rig.order(dict.fromkeys(names, order))
        out = rig.new_folder()
        return _ended(rig, rig.start(out, engine, *settings), out, engine, failed=names)

    return run


def _ray_killed(*parts: str) -> Callable[[Rig], Came]:
    """Kill processes of the host's Ray at once, and go on with a new one."""

    def run(rig: Rig) -> Came:
        rig.undisturbed("ray")
        rig.order({})
        out = rig.new_folder()
        program = rig.start(out, "ray")
        program.until(lambda: len(rig.trace()) > rig.observations // 3, "a third of the observations")
        at = time.time()
        for process in rig.processes():
            if process.pid != program.pid and any(part in " ".join(process.cmdline()) for part in parts):
                process.kill()
        status = program.wait()
        ended_s = time.time() - at
        if status == 0:
            return _ended(rig, program, out, "ray")
        if status != 2 or "Traceback" in program.output:
            raise Wrong(f"the run ended with {status}: {program.last_line}")
        said = program.last_line
        came = _continued(rig, out, "ray", began=program.began)
        return Came(came.tally, AGAIN, f"the run ended with 2 after {ended_s:.0f} s: {said}", extra_s=came.extra_s)

    return run


def _continued(rig: Rig, out: Path, engine: str, began: float) -> Came:
    """Run again what has ended before its time, and compare."""
    program = rig.start(out, engine)
    status = program.wait()
    if status != 0:
        raise Wrong(f"the continued run ended with {status}: {program.last_line}")
    return Came(rig.compare(out), AGAIN, "", extra_s=time.time() - began - rig.undisturbed(engine).seconds)


def _driver_killed(engine: str, kills: int) -> Callable[[Rig], Came]:
    """Kill the program again and again, and go on, folder after folder: every second time at any moment, else amid observations."""

    def run(rig: Rig) -> Came:
        rig.order({})
        chance, length = rig.random(f"driver {engine}"), rig.undisturbed(engine).seconds
        tally, runs, killed, amid, began = Tally(), 0, 0, 0, time.time()
        out = rig.new_folder()
        while True:
            seen = len(rig.trace())
            wanted, seconds = (seen, chance.uniform(0.0, length / 4)) if killed % 2 else (-1, chance.uniform(0.0, length))
            program = rig.start(out, engine)
            if killed < kills and _outlived(rig, program, wanted, seconds):
                program.kill()
                killed += 1
                amid += len(rig.trace()) > seen
                continue
            if program.wait() != 0:
                raise Wrong(f"the run ended with {program.wait()}: {program.last_line}")
            tally, runs = tally + rig.compare(out), runs + 1
            if killed >= kills:
                break
            out = rig.new_folder()
        spent = time.time() - began - runs * length
        told = f"{amid} of the kills amid observations; {runs} run{'s' * (runs > 1)} went on to the end; recovery is of each kill"
        return Came(tally, f"{AGAIN}, after each kill", told, extra_s=spent / kills)

    return run


def _outlived(rig: Rig, program: Program, seen: int, seconds: float) -> bool:
    """Wait until more observations than these were begun, then for so long, and return whether the program is still at work."""
    since = math.inf
    while not program.ended and time.time() < since + seconds:
        if since == math.inf and len(rig.trace()) > seen:
            since = time.time()
        time.sleep(0.01)
    return not program.ended


def _driver_killed_when(condition: Callable[[Path], bool], what: str, *settings: str) -> Callable[[Rig], Came]:
    """Kill the program at a moment that the run folder shows, and go on."""

    def run(rig: Rig) -> Came:
        rig.order({})
        out = rig.new_folder()
        program = rig.start(out, "inline", *settings)
        program.halt_when(lambda: condition(out), what)
        program.kill()
        before = len(shards_done(out))
        came = _continued(rig, out, "inline", program.began)
        return Came(came.tally, AGAIN, f"{before} shards kept", extra_s=came.extra_s)

    return run


def _between_two_files(out: Path) -> bool:
    """Whether a shard's candidates stand, and its outcomes do not."""
    names = [{path.name for path in (out / kind).glob("part-*.arrow")} for kind in ("candidates", "outcomes")]
    return bool(names[0] - names[1]) and len(names[1]) >= 2


def _in_writing(out: Path) -> bool:
    """Whether a part is being written."""
    return any(True for _ in (out / "outcomes").glob("*.tmp"))


def _in_merging(out: Path) -> bool:
    """Whether candidates of many shards stand in one part, and their outcomes do not."""
    merged = [bool(list((out / kind).glob("part-*-*.arrow"))) for kind in ("candidates", "outcomes")]
    return merged == [True, False]


def _all_but_closed(out: Path) -> bool:
    """Whether every outcome stands, and the run is not closed."""
    if not (out / "run.json").exists():
        return False
    run = read_run(out)
    return len(shards_done(out)) * int(run["shard_size"]) >= int(run["observations"]) and not run["finished"]


def _interrupted(engine: str, strike: Callable[[Program], None], status: int, says: str) -> Callable[[Rig], Came]:
    """Interrupt a run on a terminal, which says these words, and go on."""

    def run(rig: Rig) -> Came:
        rig.undisturbed(engine)
        rig.order({})
        out = rig.new_folder()
        program = rig.start(out, engine, terminal=True)
        program.until(lambda: len(rig.trace()) > rig.observations * 0.3, "part of the observations")
        strike(program)
        return _stopped(rig, program, out, engine, status, says)

    return run


def _stopped(rig: Rig, program: Program, out: Path, engine: str, status: int, says: str) -> Came:
    """Wait for the end of a run that was just interrupted, and go on."""
    at = time.time()
    ended = program.wait()
    ended_s, kept = time.time() - at, len(shards_done(out))
    if ended != status or says not in program.last_line or "Traceback" in program.output:
        raise Wrong(f"the run ended with {ended}: {program.output[-500:]}")
    said = program.last_line if says else "without a word"
    came = _continued(rig, out, engine, program.began)
    return Came(came.tally, AGAIN, f"ended after {ended_s:.1f} s, {kept} shards kept: {said}", extra_s=came.extra_s)


def _interrupted_in_commit(rig: Rig) -> Came:
    """Interrupt a run of which a shard's candidates stand, and its outcomes do not."""
    rig.order({})
    out = rig.new_folder()
    program = rig.start(out, "inline", terminal=True)
    program.halt_when(lambda: _between_two_files(out), "a shard half committed")
    program.type(b"\x03")
    program.send(signal.SIGCONT)
    return _stopped(rig, program, out, "inline", 130, HOW)


def _interrupted_in_start(rig: Rig) -> Came:
    """Interrupt a run twice while its Ray starts."""
    rig.undisturbed("ray")
    rig.order({})
    out = rig.new_folder()
    program = rig.start(out, "ray", terminal=True)
    program.until(lambda: "starting Ray" in program.output, "Ray's start")
    _ctrl_c_twice(program)
    return _stopped(rig, program, out, "ray", 130, HOW)


def _heedless(rig: Rig) -> Came:
    """Close the terminal of a run that ignores it, and has nobody left to tell anything to."""
    rig.order({})
    out = rig.new_folder()
    program = rig.start(out, "inline", "report.page=true", terminal=True, through=("env", "--ignore-signal=HUP"))
    program.until(lambda: len(rig.trace()) > rig.observations * 0.3, "part of the observations")
    program.close_terminal()
    came = _ended(rig, program, out, "inline")
    if not (out / "report" / "index.html").exists():
        raise Wrong("the run has ended without its page")
    return came


def _ctrl_c(program: Program) -> None:
    program.type(b"\x03")


def _ctrl_c_twice(program: Program) -> None:
    program.type(b"\x03")
    program.until(lambda: "Ctrl-C again" in program.output, "the answer to the first Ctrl-C")
    program.type(b"\x03")


def _terminate(program: Program) -> None:
    program.send(signal.SIGTERM)


def _of(name: str, fault: str, run: Callable[[Rig], Came], *, short: bool = False) -> Trial:
    return Trial("processes", name, fault, run, short)


TRIALS = [
    _of("loader", "kill -9 of a loader at a random moment", _at(_at_random(LOADER))),
    _of(
        "loader-fetching",
        "kill -9 of a loader while it fetches, before it has given anything",
        _slow_archive(_at(_loader_while_fetching), 0.3, 0.6),
    ),
    _of("loader-stream", "kill -9 of a loader in the middle of a stream", _slow_archive(_at(_in_stream(LOADER)), 0.05, 0.2)),
    _of("detector", "kill -9 of a detector at a random moment", _at(_at_random(DETECTOR))),
    _of("detector-detecting", "kill -9 of a detector in detection", _detector_in_detection, short=True),
    _of("detector-stream", "kill -9 of a detector in the middle of a stream", _slow_archive(_at(_in_stream(DETECTOR)), 0.05, 0.2)),
    _of("segfault", "a detector that segfaults on 2 observations, every time", _harmful("segfault", 2)),
    _of("leak", "a detector that grows by 1 GB on an observation, every time", _harmful("leak", 1)),
    _of(
        "leak-declared",
        'the same, where `run.memory = "3 GB"` leaves it 432 MB',
        _harmful("leak", 1, "run.memory=3 GB"),
    ),
    _of("wait", "a detector that never returns from an observation", _harmful("wait", 1, "run.time_limit=5 s")),
    _of("spin", "the same, in C code that never gives the interpreter back", _harmful("spin", 1, "run.time_limit=5 s")),
    _of(
        "wait-inline",
        "a detector that never returns from an observation, without Ray",
        _harmful("wait", 1, "run.time_limit=5 s", engine="inline"),
    ),
    _of("raylet", "kill -9 of the host's raylet", _ray_killed("/raylet/raylet")),
    _of("gcs", "kill -9 of Ray's control store (GCS)", _ray_killed("gcs_server")),
    _of("ray", "kill -9 of every Ray process of the host at once", _ray_killed("/ray/", "ray::")),
    _of("driver", f"kill -9 of the program at {KILLS} random moments, on Ray", _driver_killed("ray", KILLS)),
    _of(
        "driver-inline",
        f"kill -9 of the program at {KILLS_INLINE} random moments, without Ray",
        _driver_killed("inline", KILLS_INLINE),
    ),
    _of(
        "driver-between",
        "kill -9 of the program between a shard's candidates and its outcomes",
        _driver_killed_when(_between_two_files, "a shard half committed"),
        short=True,
    ),
    _of("driver-writing", "kill -9 of the program while it writes a part", _driver_killed_when(_in_writing, "a part half written")),
    _of(
        "driver-merging",
        "kill -9 of the program while it merges the parts of many shards",
        _driver_killed_when(_in_merging, "parts half merged", "run.detectors=100"),
    ),
    _of(
        "driver-closing",
        "kill -9 of the program after the last shard, before the run is closed",
        _driver_killed_when(_all_but_closed, "all shards written"),
    ),
    _of("ctrl-c", "Ctrl-C", _interrupted("ray", _ctrl_c, 130, HOW)),
    _of("ctrl-c-twice", "Ctrl-C twice", _interrupted("ray", _ctrl_c_twice, 130, HOW)),
    _of("ctrl-c-inline", "Ctrl-C, without Ray", _interrupted("inline", _ctrl_c, 130, HOW)),
    _of("ctrl-c-commit", "Ctrl-C between a shard's candidates and its outcomes, without Ray", _interrupted_in_commit),
    _of("ctrl-c-start", "Ctrl-C twice while Ray starts", _interrupted_in_start),
    _of("sigterm", "SIGTERM, as batch systems and `kill` send it", _interrupted("ray", _terminate, 143, HOW)),
    _of("hang-up", "the terminal is closed, or its connection lost", _interrupted("ray", Program.close_terminal, 129, "")),
    _of("no-hang-up", "the same, of a run started to outlive it (`nohup`, `disown`), without Ray", _heedless),
]
