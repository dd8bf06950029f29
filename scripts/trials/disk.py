"""Faults of run folders, on a disk and in S3: full, read-only, gone, unmounted, torn by a crash, and two runs at once."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from program import Missed, Program, Wrong
from rig import Came, Rig, Trial, shards_done

from raysearch.engine.files import Place, place
from raysearch.engine.ledger import RUN
from raysearch.engine.locks import LOCK
from raysearch.engine.parts import parts
from raysearch.testing import Faults, Holdings, LocalArchive

SHARDS = 3
"""How many are written when the fault comes."""
BUCKET = "runs"


@contextlib.contextmanager
def _mounted(folder: Path, size: str = "64m") -> Iterator[Path]:
    """Have a small disk of its own at a path."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False).returncode:
        raise Missed("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


def _fill(folder: Path) -> Path:
    """Take all room that is left on a disk, as another program does, and return the file that has it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def _some_written(program: Program, out: Path) -> None:
    program.until(lambda: len(shards_done(out)) >= SHARDS, f"{SHARDS} shards")


def _refused(program: Program, *words: str) -> str:
    """Return what a run said that ended with status 2; these words belong into it."""
    status = program.wait()
    if status != 2 or not all(word in program.output for word in words) or "Traceback" in program.output:
        raise Wrong(f"the run ended with {status}: {program.last_line}")
    return program.last_line.removeprefix("raysearch: ")


def _continued(rig: Rig, out: Path, told: str, mended: str) -> Came:
    """Run again into a folder, and compare; `mended` is what was done before."""
    before = len(shards_done(out))
    program = rig.start(out, "inline")
    if program.wait() != 0:
        raise Wrong(f"the folder cannot be continued: {program.last_line}")
    return Came(rig.compare(out), f"{mended}; run again", f"exit status 2: {_short(rig, told)}; continued from {before} shards")


def _short(rig: Rig, told: str) -> str:
    return told.replace(f"{rig.folder}/", "")


def full(rig: Rig) -> Came:
    """Fill the disk in mid-run."""
    with _mounted(rig.new_folder()) as disk:
        out = disk / "run"
        program = rig.start(out, "inline")
        _some_written(program, out)
        ballast = _fill(disk)
        told = _refused(program, "No space left on device", "make room")
        ballast.unlink()
        return _continued(rig, out, told, "room made")


def full_at_start(rig: Rig) -> Came:
    """Start on a disk without room for the work list."""
    with _mounted(rig.new_folder()) as disk:
        out = disk / "run"
        ballast = _fill(disk)
        told = _refused(rig.start(out, "inline"), "No space left on device")
        ballast.unlink()
        return _continued(rig, out, told, "room made")


def read_only(rig: Rig) -> Came:
    """Go on, on a disk that was made read-only meanwhile."""
    with _mounted(rig.new_folder()) as disk:
        out = disk / "run"
        program = rig.start(out, "inline")
        _some_written(program, out)
        program.kill()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        told = _refused(rig.start(out, "inline"), "Read-only file system")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        return _continued(rig, out, told, "made writable")


def unmounted(rig: Rig) -> Came:
    """Take the disk away in mid-run; all that was written on it is kept elsewhere, as a disk keeps it."""
    kept = rig.new_folder()
    with _mounted(kept) as disk:
        here = rig.new_folder()
        here.mkdir()
        subprocess.run(["mount", "--bind", disk, here], check=True)
        out = here / "run"
        program = rig.start(out, "inline")
        _some_written(program, out)
        subprocess.run(["umount", "-l", here], check=True)
        told = _refused(program, "was removed, renamed or unmounted")
        return _continued(rig, kept / "run", told, "mounted again")


def renamed(rig: Rig) -> Came:
    """Rename the folder in mid-run, and make another of its name."""
    out = rig.new_folder()
    program = rig.start(out, "inline")
    _some_written(program, out)
    moved = out.rename(rig.new_folder())
    (out / "candidates").mkdir(parents=True)
    told = _refused(program, "was removed, renamed or unmounted")
    if any((out / "candidates").iterdir()):
        raise Wrong("it wrote into a folder that is not its own")
    return _continued(rig, moved, told, "named as before")


def removed(rig: Rig) -> Came:
    """Remove the folder in mid-run."""
    out = rig.new_folder()
    program = rig.start(out, "inline")
    _some_written(program, out)
    subprocess.run(["rm", "-r", out], check=False)
    told = _refused(program, "was removed, renamed or unmounted")
    subprocess.run(["rm", "-rf", out], check=False)
    return _continued(rig, out, told, "nothing to be saved")


def _cut(path: Path) -> None:
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def torn(rig: Rig) -> Came:
    """Damage what was written last as a loss of power does on a disk that had not synced: cut short, of zeros, or empty."""
    out = rig.new_folder()
    program = rig.start(out, "inline")
    _some_written(program, out)
    program.kill()
    last = f"part-{max(shards_done(out)):06d}.arrow"
    _cut(out / "outcomes" / last)
    _zero(out / "candidates" / "part-000000.arrow")
    _empty(out / "candidates" / "part-000001.arrow")
    (out / "candidates" / "part-000077.arrow.tmp").write_bytes(b"half")
    program = rig.start(out, "inline")
    status = program.wait()
    if status != 0 or program.output.count("is damaged: its observations are searched again") != 3:
        raise Wrong(f"the run ended with {status}: {program.last_line}")
    return Came(rig.compare(out), "run again", "told, and the three shards done anew")


def two_at_once(rig: Rig) -> Came:
    """Start a second run in a folder in which the first is at work."""
    out = rig.new_folder()
    program = rig.start(out, "inline")
    _some_written(program, out)
    program.send(signal.SIGSTOP)
    told = _refused(rig.start(out, "inline"), "another run is at work")
    program.send(signal.SIGCONT)
    if program.wait() != 0:
        raise Wrong(f"the first run was disturbed: {program.last_line}")
    return Came(rig.compare(out), "nothing", f"the second: exit status 2, {_short(rig, told)}")


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
    program.until(lambda: (out / RUN).exists() and len(parts(out).done) >= SHARDS, f"{SHARDS} shards")


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
        back, before = time.time(), len(parts(out).done)
        program.until(lambda: len(parts(out).done) > before, "the next shard")
        return _s3_ended(rig, program, out, "nothing", "the run waited, and went on", time.time() - back)


def s3_shaky(rig: Rig) -> Came:
    """Have a third of all requests fail: 503, connections reset, answers lost."""
    with _in_s3(rig) as (out, service):
        service.set_faults(Faults(chance={"503": 0.1, "reset": 0.1, "lost": 0.1}, seed=rig.seed))
        program = rig.start(str(out), "inline")
        status = program.wait()
        service.set_faults(Faults())
        if status != 0:
            raise Wrong(f"the run ended with {status}: {program.last_line}")
        return Came(rig.compare(out), "nothing", "every request was sent again until it was answered")


def s3_forbidden(rig: Rig) -> Came:
    """Have the credentials expire in mid-run."""
    with _in_s3(rig) as (out, service):
        program = rig.start(str(out), "inline")
        _some_put(program, out)
        service.set_faults(Faults(chance={"expired": 1.0}))
        told = _refused(program, "the credentials have expired: renew them")
        service.set_faults(Faults())
        before = len(parts(out).done)
        again = rig.start(str(out), "inline")
        return _s3_ended(rig, again, out, "renewed; run again", f"exit status 2: {told}; continued from {before} shards")


def s3_killed(rig: Rig) -> Came:
    """Kill the driver of a run in S3, and start again at once."""
    with _in_s3(rig) as (out, _):
        program = rig.start(str(out), "inline")
        _some_put(program, out)
        program.kill()
        killed, before = time.time(), len(parts(out).done)
        again = rig.start(str(out), "inline")
        again.until(lambda: len(parts(out).done) > before, "the next shard")
        return _s3_ended(rig, again, out, "run again", f"continued from {before} shards", time.time() - killed)


def s3_two_at_once(rig: Rig) -> Came:
    """Start a second run in a folder in S3 in which the first is at work; then take the lease from the first."""
    with _in_s3(rig) as (out, _):
        program = rig.start(str(out), "inline")
        _some_put(program, out)
        program.send(signal.SIGSTOP)
        told = _refused(rig.start(str(out), "inline"), "another run is at work", f"process {program.pid}")
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


def _trial(run: Callable[[Rig], Came], area: str, fault: str, *, short: bool = False) -> Trial:
    return Trial(area, run.__name__.replace("_", "-"), fault, run, short)


TRIALS = [
    _trial(full, "disk", "the disk is full in mid-run"),
    _trial(full_at_start, "disk", "the disk is full at the start"),
    _trial(read_only, "disk", "the disk was made read-only between two sessions"),
    _trial(unmounted, "disk", "the disk is unmounted in mid-run"),
    _trial(renamed, "disk", "the folder is renamed in mid-run, and another takes its name"),
    _trial(removed, "disk", "the folder is removed in mid-run"),
    _trial(torn, "disk", "killed, and three parts damaged: cut short, of zeros, empty"),
    _trial(two_at_once, "disk", "two runs in one folder at once"),
    _trial(s3_away, "S3 folder", "S3 away for 10 s in mid-run"),
    _trial(s3_shaky, "S3 folder", "30 % of its requests fail: 503, reset, answer lost"),
    _trial(s3_forbidden, "S3 folder", "credentials expire in mid-run"),
    _trial(s3_killed, "S3 folder", "the driver killed, and started again at once"),
    _trial(s3_two_at_once, "S3 folder", "two runs in one folder at once, one with the other's lease removed"),
]
