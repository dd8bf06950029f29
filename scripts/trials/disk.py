"""Faults of run folders on a disk: full, read-only, gone, unmounted, torn by a crash, and two runs at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from program import Missed, Program, Wrong
from rig import Came, Rig, Trial, shards_done

SHARDS = 3
"""How many are written when the fault comes."""


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


def refused(program: Program, *words: str) -> str:
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
        told = refused(program, "No space left on device", "make room")
        ballast.unlink()
        return _continued(rig, out, told, "room made")


def full_at_start(rig: Rig) -> Came:
    """Start on a disk without room for the work list."""
    with _mounted(rig.new_folder()) as disk:
        out = disk / "run"
        ballast = _fill(disk)
        told = refused(rig.start(out, "inline"), "No space left on device")
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
        told = refused(rig.start(out, "inline"), "Read-only file system")
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
        told = refused(program, "was removed, renamed or unmounted")
        return _continued(rig, kept / "run", told, "mounted again")


def renamed(rig: Rig) -> Came:
    """Rename the folder in mid-run, and make another of its name."""
    out = rig.new_folder()
    program = rig.start(out, "inline")
    _some_written(program, out)
    moved = out.rename(rig.new_folder())
    (out / "candidates").mkdir(parents=True)
    told = refused(program, "was removed, renamed or unmounted")
    if any((out / "candidates").iterdir()):
        raise Wrong("it wrote into a folder that is not its own")
    return _continued(rig, moved, told, "named as before")


def removed(rig: Rig) -> Came:
    """Remove the folder in mid-run."""
    out = rig.new_folder()
    program = rig.start(out, "inline")
    _some_written(program, out)
    subprocess.run(["rm", "-r", out], check=False)
    told = refused(program, "was removed, renamed or unmounted")
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
    told = refused(rig.start(out, "inline"), "another run is at work")
    program.send(signal.SIGCONT)
    if program.wait() != 0:
        raise Wrong(f"the first run was disturbed: {program.last_line}")
    return Came(rig.compare(out), "nothing", f"the second: exit status 2, {_short(rig, told)}")


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
]
