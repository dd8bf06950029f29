"""Memory of a process and all beneath it, for the benchmarks."""

import contextlib
import threading
from pathlib import Path


def tree_pss(process):
    """Return the proportional set size of a process and all beneath it, bytes."""
    import psutil

    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def tree_memory(process):
    """Return the anonymous and shared memory of a process and all beneath it (Linux), bytes: not the pages of mapped files."""
    import psutil

    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(OSError, psutil.Error):
            for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += 1024 * int(line.split()[1])
    return total


@contextlib.contextmanager
def watched_peak(every_s=0.5):
    """Have the peak memory of this process tree watched inside: what is yielded holds it, as its only item, afterwards."""
    import psutil

    peak, done = [0], threading.Event()

    def watch():
        while not done.wait(every_s):
            peak[0] = max(peak[0], tree_memory(psutil.Process()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
