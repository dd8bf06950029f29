"""The guard of one worker: a small process beside it, which ends it when it is over its limits, and says why.

It is a process and no thread: C code that never gives Python's lock back would stop a thread, and no thread outlives a kill.
Run by its path, as a program, it imports next to nothing: it starts within milliseconds, and takes about 8 MB.
"""

import mmap
import os
import signal
import sys
import time

FIELDS = ("since", "task", "row", "done")
"""What a worker notes in the memory it shares with its guard, float64 each: since when (`time.monotonic`, 0: idle) it is busy with
which row of which task (-1: none in particular), and how many it has done before."""

_LOOK_S = 0.1


def main(worker: int, note: int, words: str, limit_s: float, limit_bytes: int) -> None:
    """Watch the worker of this process id until it is gone; `note` is the file descriptor of what it notes."""
    since, task, row, done = range(len(FIELDS))
    with mmap.mmap(note, 8 * len(FIELDS)) as shared, memoryview(shared).cast("d") as noted:
        while os.getppid() == worker:
            time.sleep(_LOOK_S)
            now = noted.tolist()
            if now[since] and time.monotonic() - now[since] > limit_s:
                what = "time"
            elif limit_bytes and own_bytes(worker) > limit_bytes:
                what = "worn" if now[done] else "memory"
            else:
                continue
            leave(words, what, now[task] if now[since] else -1, now[row])
            os.kill(worker, signal.SIGKILL)
            return
        if noted[since] and noted[task] >= 0:
            leave(words, "died", noted[task], noted[row])


def own_bytes(process: int) -> int:
    """Return the memory that a process has of its own, neither files nor shared: RssAnon; 0 where /proc does not tell."""
    try:
        with open(f"/proc/{process}/statm", "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all else
            _, resident, shared, *_ = map(int, file.read().split())
    except OSError:
        return 0
    return (resident - shared) * mmap.PAGESIZE


def leave(words: str, what: str, task: float, row: float) -> None:
    """Write the worker's last words to a file that is there whole, or not at all."""
    with open(f"{words}.new", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(f"{what} {task:.0f} {row:.0f}")
    os.replace(f"{words}.new", words)  # noqa: PTH105


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
