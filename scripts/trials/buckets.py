"""Faults of run folders in S3: requests that fail, stall or are refused, kills, and two runs at once."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator

from disk import SHARDS, refused
from program import Program, Wrong
from rig import Came, Rig, Trial, shards_done

from raysearch.engine.folder.files import Place, place
from raysearch.engine.folder.ledger import RUN
from raysearch.engine.folder.locks import LOCK
from raysearch.engine.folder.parts import OUTCOMES, part_name
from raysearch.engine.folder.s3 import READ_S
from raysearch.testing import Faults, Holdings, LocalArchive
from raysearch.testing.faults import ObjectFault

BUCKET = "runs"
KILLS = 4


@contextlib.contextmanager
def _in_s3(rig: Rig) -> Iterator[tuple[Place, LocalArchive]]:
    """Have a folder in an S3 service of its own, which the environment names."""
    with LocalArchive(Holdings(writable=(BUCKET,))) as service, rig.keeping(service.pid):
        ours = {
            "AWS_ENDPOINT_URL_S3": service.services["s3"],
            "AWS_ACCESS_KEY_ID": "who",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield place(f"s3://{BUCKET}/{rig.new_folder().name}"), service
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _some_put(program: Program, out: Place) -> None:
    program.until(lambda: (out / RUN).exists() and len(shards_done(out)) >= SHARDS, f"{SHARDS} shards")


def _s3_ended(rig: Rig, program: Program, out: Place, done: str, told: str, recovery_s: float = math.nan) -> Came:
    status = program.wait()
    if status != 0:
        raise Wrong(f"the run ended with {status}: {program.last_line}")
    return Came(rig.compare(out), done, told, recovery_s)


def s3_away(rig: Rig) -> Came:
    """Have S3 answer nothing but 503 to writes for 10 s in mid-run."""
    with _in_s3(rig) as (out, service):
        program = rig.start(str(out), "inline")
        _some_put(program, out)
        service.set_faults(Faults(chance={"503": 1.0}))
        time.sleep(10.0)
        service.set_faults(Faults())
        back, before = time.time(), len(shards_done(out))
        program.until(lambda: len(shards_done(out)) > before, "the next shard")
        return _s3_ended(rig, program, out, "nothing", "the run waited, and went on", time.time() - back)


def s3_shaky(rig: Rig) -> Came:
    """Have half of all requests fail: 500, 503, connections reset, answers lost."""
    with _in_s3(rig) as (out, service):
        service.set_faults(Faults(chance={"500": 0.1, "503": 0.2, "reset": 0.1, "lost": 0.1}, seed=rig.seed))
        program = rig.start(str(out), "inline")
        status = program.wait()
        service.set_faults(Faults())
        if status != 0:
            raise Wrong(f"the run ended with {status}: {program.last_line}")
        return Came(rig.compare(out), "nothing", "every request was sent again until it was answered")


def s3_stall(rig: Rig) -> Came:
    """Have one part never be answered."""
    with _in_s3(rig) as (out, service):
        service.set_faults(Faults(keys={(out / OUTCOMES / part_name(0)).key: "stall"}, strikes=1))
        program = rig.start(str(out), "inline")
        program.until(lambda: shards_done(out), "a shard")
        began = time.time()
        if 0 in shards_done(out):
            raise Wrong("the part was answered")
        program.until(lambda: 0 in shards_done(out), "the part")
        told = f"sent again after {READ_S:.0f} s of silence; others were written meanwhile"
        return _s3_ended(rig, program, out, "nothing", told, time.time() - began)


def _refusing(fault: ObjectFault, says: str, cure: str) -> Callable[[Rig], Came]:
    """Have S3 refuse every request from the midst of a run on."""

    def run(rig: Rig) -> Came:
        with _in_s3(rig) as (out, service):
            program = rig.start(str(out), "inline")
            _some_put(program, out)
            service.set_faults(Faults(chance={fault: 1.0}))
            told = refused(program, f"s3://{BUCKET}", says)
            service.set_faults(Faults())
            before = len(shards_done(out))
            again = rig.start(str(out), "inline")
            return _s3_ended(rig, again, out, f"{cure}; run again", f"exit status 2: {told}; continued from {before} shards")

    return run


def s3_killed(rig: Rig) -> Came:
    """Kill the driver of a run in S3, and start again at once."""
    with _in_s3(rig) as (out, _):
        program = rig.start(str(out), "inline")
        _some_put(program, out)
        program.kill()
        killed, before = time.time(), len(shards_done(out))
        again = rig.start(str(out), "inline")
        again.until(lambda: len(shards_done(out)) > before, "the next shard")
        return _s3_ended(rig, again, out, "run again", f"continued from {before} shards", time.time() - killed)


def s3_kills(rig: Rig) -> Came:
    """Kill the driver at moments by chance, one session after the other; listings come in pages of two names."""
    chance, kept = rig.random("kills in S3"), [0]
    with _in_s3(rig) as (out, service):
        service.set_faults(Faults(s3_limit=2))
        for _ in range(KILLS):
            program = rig.start(str(out), "inline")
            program.until(lambda: len(shards_done(out)) > kept[-1], "a shard")
            time.sleep(chance.uniform(0.0, 0.3))
            program.kill()
            kept.append(len(shards_done(out)))
        told = f"shards kept after each: {', '.join(map(str, kept[1:]))}"
        return _s3_ended(rig, rig.start(str(out), "inline"), out, "run again, after each kill", told)


def s3_two_at_once(rig: Rig) -> Came:
    """Start a second run in a folder in S3 in which the first is at work; then take the lease from the first."""
    with _in_s3(rig) as (out, _):
        program = rig.start(str(out), "inline")
        _some_put(program, out)
        program.send(signal.SIGSTOP)
        told = refused(rig.start(str(out), "inline"), "another run is at work", f"process {program.pid}")
        (out / LOCK).unlink()
        other = rig.start(str(out), "inline")
        other.until((out / LOCK).exists, "its lease")
        program.send(signal.SIGCONT)
        mine = program.wait()
        if mine not in (0, 2):
            raise Wrong(f"the first run ended with {mine}: {program.last_line}")
        return _s3_ended(
            rig,
            other,
            out,
            "the lease of the first removed, and another run",
            f"the second: exit status 2, {told}; and whoever loses its lease stops",
        )


def _trial(run: Callable[[Rig], Came], name: str, fault: str) -> Trial:
    return Trial("S3 folder", name, fault, run)


TRIALS = [
    _trial(s3_away, "s3-away", "S3 away for 10 s in mid-run"),
    _trial(s3_shaky, "s3-shaky", "half of its requests fail: 500, 503, reset, answer lost"),
    _trial(s3_stall, "s3-stall", "a part is sent, and never answered"),
    _trial(
        _refusing("expired", "the credentials have expired: renew them", "renewed"), "s3-forbidden", "credentials expire in mid-run"
    ),
    _trial(_refusing("gone", "there is no such bucket; make it", "put back"), "s3-gone", "the bucket vanishes in mid-run"),
    _trial(s3_killed, "s3-killed", "the driver killed, and started again at once"),
    _trial(s3_kills, "s3-kills", f"the driver killed at {KILLS} random moments; listings in pages of 2 names"),
    _trial(s3_two_at_once, "s3-two-at-once", "two runs in one folder at once, one with the other's lease removed"),
]
