"""One run at a time in a run folder: a lock of the file system, or a lease in S3.

A lease is an object that its holder writes anew every `BEAT_S`, each time in place of the very one it wrote before (`If-Match`), so
that nobody else can have written it in between; and each time with another content, hence another ETag, so that nobody takes over
what has been renewed since he looked. A holder that could not do so for `TRUST_S` writes nothing more until it could again; others
may take the lease over once it is older than `LEASE_S`. As that is longer, there are never two who write, whatever happens to the
network, or to a machine that sleeps in between. How old it is, S3 tells by its own clock: those of the machines may be wrong.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Any, Protocol

from raysearch.engine.folder.files import Place, timestamp
from raysearch.engine.folder.s3 import S3Path, allow
from raysearch.errors import RunFolderError

LOCK = ".lock"
BEAT_S = 15.0
"""How often the holder of a lease shows that it lives."""
TRUST_S = 60.0
"""How long a holder trusts in its lease without having renewed it."""
LEASE_S = 90.0
"""After how long without a renewal others may take it over; what was sent before `TRUST_S` ended has arrived or failed by then."""
TRIES = 5
"""How often what stands is looked at anew after a condition did not hold: more often, somebody else would be as fast each time."""
NO_ETAG = f'"{"0" * 32}"'
"""That of no object."""


class Lock(Protocol):
    """The right to write into a run folder."""

    def check(self) -> None:
        """Raise RunFolderError if the folder is no longer this run's."""
        ...

    def close(self) -> None:
        """Give the folder free."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it was given free."""
        ...


def locked(folder: Place) -> Lock:
    """Return the lock of a run folder that is there.

    Raises
    ------
    RunFolderError
        Another run has it, or there are no locks.
    OSError
        The folder cannot be written.
    """
    return FileLock(folder / LOCK) if isinstance(folder, Path) else Lease(folder / LOCK)


def is_held(folder: Place) -> bool:
    """Return whether a run is at work in a folder; nothing in it is changed.

    Raises
    ------
    RunFolderError
        S3 cannot be reached.
    """
    path = folder / LOCK
    try:
        if isinstance(path, S3Path):
            lease = path.read()
            return _lives(_parsed(lease.content), lease.age_s)
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or there are none on that file system
        return False
    return False


def _in_use(folder: Place, holder: str = "") -> RunFolderError:
    return RunFolderError(f"another run is at work in {folder}{holder}: wait for it to end, or choose another --out")


class FileLock:
    """A lock of the file system, which goes with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] = path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._file.close()
            if isinstance(exc, BlockingIOError):
                raise _in_use(path.parent) from exc
            if exc.errno in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise RunFolderError(
                    f"{path.parent} lies on a file system without locks ({exc.strerror}), and two runs in one folder would spoil "
                    "it: have it mounted with locks (NFS: lockd; Lustre: -o flock), or choose an --out on another disk"
                ) from exc
            raise

    def check(self) -> None:
        """Raise RunFolderError if another folder, or none, lies where this one was."""
        with suppress(OSError):
            if os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
                return
        raise RunFolderError(
            f"{self._path.parent} was removed, renamed or unmounted while the run was at work: put it back, and run again to "
            "continue"
        )

    def close(self) -> None:
        """Give the folder free."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it was given free."""
        return self._file.closed


class Lease:
    """A lease of a folder in S3, renewed by a thread for as long as it is held; every write to the bucket looks at it first."""

    def __init__(self, path: S3Path) -> None:
        self._path = path
        self._holder = {**_process(), "since": timestamp(), "run": uuid.uuid4().hex}
        self._beats = count()
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._lost = False
        self._renewed = _clock()
        self._etag = self._taken()
        self._prove()
        path.bucket.guard = self.check
        self._beating = threading.Thread(target=self._beat, name="raysearch-lease", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """Renew a lease that has not been renewed for long.

        Raises
        ------
        RunFolderError
            Another run has it, or S3 cannot be reached.
        """
        if self._lost or _since(self._renewed) > TRUST_S:
            self._renew()

    def close(self) -> None:
        """Give the folder free; if S3 cannot be told, it will be when the lease runs out."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._beating.join()
        self._path.bucket.guard = allow
        with suppress(RunFolderError):
            self._renew(run="")

    @property
    def closed(self) -> bool:
        """Whether it was given free."""
        return self._ended.is_set()

    def _content(self, **other: str) -> bytes:
        return json.dumps({**self._holder, "beat": next(self._beats), **other}, indent=2).encode()

    def _taken(self) -> str:
        """Take the lease, and return its ETag."""
        for _ in range(TRIES):
            with suppress(FileExistsError):  # there is one: of another run, or our own, if the answer was lost
                return self._path.write_bytes(self._content(), IfNoneMatch="*")
            with suppress(FileExistsError, FileNotFoundError):  # another was faster, or the answer was lost; or it was removed
                return self._taken_over()
        raise self._contradicted()

    def _taken_over(self) -> str:
        """Take the lease of a holder that has given it free, or is dead, and return its ETag."""
        stored = self._path.read()
        holder = _parsed(stored.content)
        if holder.get("run") == self._holder["run"]:
            return stored.etag
        if _lives(holder, stored.age_s):
            raise _in_use(
                self._path.parent,
                f" (on {holder.get('host')}, process {holder.get('pid')}, since {holder.get('since')}; it showed itself "
                f"{stored.age_s:.0f} s ago, and {LEASE_S:.0f} s after the last time it counts as dead)",
            )
        return self._path.write_bytes(self._content(), IfMatch=stored.etag)

    def _prove(self) -> None:
        """Have S3 prove that it heeds conditions: some services, and proxies before them, write whatever the condition."""
        write = self._path.write_bytes
        for told, against in (("If-None-Match", partial(write, IfNoneMatch="*")), ("If-Match", partial(write, IfMatch=NO_ETAG))):
            with suppress(FileExistsError, FileNotFoundError):
                against(self._content())
                raise RunFolderError(
                    f"{self._path}: this S3 service overwrites what it is told to leave ({told}), and could not keep two runs "
                    "in one folder apart; take a newer version of it, or write to a local folder"
                )

    def _contradicted(self) -> RunFolderError:
        return RunFolderError(
            f"{self._path}: this S3 service refuses again and again to replace what it says stands there (If-Match): see whether "
            "a proxy before it changes ETags, or write to a local folder"
        )

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S) and not self._lost:
            with suppress(RunFolderError):  # the next write tells
                self._renew()

    def _renew(self, **other: str) -> None:
        """Write the lease anew in place of the one that was written last."""
        with self._turn:
            for _ in range(TRIES):
                if self._lost:
                    break
                began = _clock()
                try:
                    self._etag = self._path.write_bytes(self._content(**other), once=True, guarded=False, IfMatch=self._etag)
                except (FileExistsError, FileNotFoundError):
                    self._lost = not self._adopted()
                else:
                    self._renewed = began
                    return
            if not self._lost:
                raise self._contradicted()
            raise RunFolderError(
                f"{self._path.parent} was taken over by another run, because this one could not reach S3 for {LEASE_S:.0f} s, "
                f"or its {LOCK} was removed; this one writes nothing more"
            )

    def _adopted(self) -> bool:
        """Return whether what stands is our own after all: the answer to a renewal was lost."""
        try:
            stored = self._path.read()
        except FileNotFoundError:
            return False
        ours = bool(_parsed(stored.content).get("run") == self._holder["run"])
        if ours:
            self._etag = stored.etag
        return ours


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        holder = None
    return holder if isinstance(holder, dict) else {"run": "unknown"}


def _process() -> dict[str, Any]:
    """Return what tells this process from all others."""
    return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}


def _lives(holder: dict[str, Any], age_s: float) -> bool:
    """Return whether a lease that was last renewed so long ago is still held."""
    return bool(holder.get("run")) and age_s <= LEASE_S and not _has_ended(holder)


def _has_ended(holder: dict[str, Any]) -> bool:
    """Return whether a holder was a process of this machine that is no more."""
    here = _machine()
    return bool(here) and holder.get("machine") == here and _started(holder.get("pid")) != holder.get("started")


def _machine() -> str:
    """Return what tells this start of this machine, and this container's processes, from all others; empty where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: object) -> str:
    """Return when a process was started, in ticks since the machine was (proc(5), field 22 of stat); empty if it runs no more."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in "ZX" else others[18]


def _clock() -> tuple[float, float]:
    """Return two clocks: one may stand still while the machine sleeps, the other may be set."""
    return time.monotonic(), time.time()


def _since(then: tuple[float, float]) -> float:
    """Return the seconds that have passed, by the clock on which more have."""
    return max(now - before for now, before in zip(_clock(), then, strict=True))
