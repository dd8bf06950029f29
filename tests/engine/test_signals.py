"""Ctrl-C, SIGTERM and SIGHUP: the first finishes what is in hand, the second ends at once; both leave a folder that goes on."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from engine_fakes import job_of, run_in, tables_of, work_list

from raysearch.engine.signals import Alarm, Interrupts, Stopped, TimeIsUp, outliving_terminals, stopping

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WORDS = ["detected", "two", "missing"] * 100

_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine_fakes import FakeDetector, FakeReader, job_of, run_in, work_list
from raysearch.engine import Phase, ShardDone
from raysearch.engine.signals import Stopped

def follow(event):
    if isinstance(event, (Phase, ShardDone)):
        print(event.text if isinstance(event, Phase) else "shard", flush=True)

try:
    work = work_list(["detected", "two", "missing"] * 100)
    run_in(Path(sys.argv[1]), job_of(FakeReader(0.02), FakeDetector(float(sys.argv[4]))), work, sys.argv[3], [follow], 10)
except Stopped as stop:
    print(stop, flush=True)
    sys.exit(128 + stop.number)
"""


def stopped(folder: Path, engine: str, signals: list[int], when: str = "shard", detect_s: float = 0.05) -> tuple[int, list[str]]:
    """Return how a run ended that was sent signals, the first when it said something, and what it said after that."""
    command = [sys.executable, "-c", _RUN, str(folder), str(Path(__file__).parent), engine, str(detect_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        while not (line := run.stdout.readline()).startswith(when):
            assert line, run.communicate()
        children = psutil.Process(run.pid).children(recursive=True)
        for number in signals:
            run.send_signal(number)
            time.sleep(0.5)
        said, _ = run.communicate(timeout=120)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    return run.returncode, said.splitlines()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_finishes_what_is_in_hand(tmp_path: Path, number: int, status: int) -> None:
    ended, said = stopped(tmp_path / "run", "inline", [number])
    assert ended == status
    assert said[-1] == "stopped; what is done is kept: run the same again to go on"
    assert "stopping: finishing what is in hand; Ctrl-C again stops at once" in said
    run_in(tmp_path / "run", job_of(), work_list(WORDS), shard_size=10)
    run_in(tmp_path / "whole", job_of(), work_list(WORDS), shard_size=10)
    assert tables_of(tmp_path / "run") == tables_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "when", "detect_s"),
    [([signal.SIGINT, signal.SIGINT], "shard", 30.0), ([signal.SIGTERM], "starting Ray", 0.05)],
)
def test_signals_on_ray_leave_no_process_and_a_folder_that_goes_on(
    tmp_path: Path, signals: list[int], when: str, detect_s: float
) -> None:
    ended, said = stopped(tmp_path / "run", "ray", signals, "starting loaders" if detect_s > 1 else when, detect_s)
    assert ended == 128 + signals[0]
    assert said[-1] == "stopped; what is done is kept: run the same again to go on"
    run_in(tmp_path / "run", job_of(), work_list(WORDS), shard_size=10)
    run_in(tmp_path / "whole", job_of(), work_list(WORDS), shard_size=10)
    assert tables_of(tmp_path / "run") == tables_of(tmp_path / "whole")


def test_the_second_signal_ends_at_once_and_the_third_is_as_ever() -> None:
    usual = [signal.getsignal(number) for number in STOPPING]
    told: list[str] = []
    with pytest.raises(Stopped) as stop, Interrupts(told.append) as interrupts:  # noqa: PT012
        assert interrupts.number == 0
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.number, told) == (signal.SIGTERM, ["stopping: finishing what is in hand; Ctrl-C again stops at once"])
        signal.raise_signal(signal.SIGINT)
    assert stop.value.number == signal.SIGINT
    assert [signal.getsignal(number) for number in STOPPING] == usual


def test_a_terminal_that_closes_may_say_so_twice() -> None:
    told: list[str] = []
    with Interrupts(told.append) as interrupts:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
    assert interrupts.number == signal.SIGHUP
    assert len(told) == 1


def test_what_starts_is_interrupted_by_the_third_signal_only() -> None:
    told: list[str] = []
    with pytest.raises(Stopped), Interrupts(told.append) as interrupts:  # noqa: PT012
        with interrupts.sparing("it has started"):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        assert told[-1] == "stopping as soon as it has started; Ctrl-C again stops at once"
        assert interrupts.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(Stopped), Interrupts(told.append) as interrupts, interrupts.sparing("it has started"):  # noqa: PT012
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
    assert len(told) == 4


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_is_ignored_stays_so(number: int) -> None:
    usual = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping(), Interrupts(lambda _: None) as interrupts:
            interrupts.catch()
            signal.raise_signal(number)
        assert interrupts.number == 0
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, usual)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_where_nothing_is_in_hand_signals_stop_at_once(number: int) -> None:
    usual = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, stopping():
        signal.raise_signal(number)
    assert stop.value.number == number
    assert signal.getsignal(number) == usual


def test_what_is_started_outlives_the_terminal() -> None:
    with outliving_terminals():
        started = subprocess.Popen(["sleep", "60"])
    started.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(0.3)
    started.kill()
    started.wait()
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_signals_that_somebody_else_took_are_taken_again() -> None:
    with Interrupts(lambda _: None) as interrupts:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interrupts.catch()
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.number == signal.SIGTERM


def test_ray_that_exits_by_sigterm_while_it_starts_is_stopped() -> None:
    with pytest.raises(Stopped), Interrupts(lambda _: None):
        sys.exit(signal.SIGTERM)


def test_no_signal_is_taken_outside_the_main_thread() -> None:
    numbers: list[int] = []

    def run() -> None:
        with Interrupts(lambda _: None) as interrupts, Alarm() as alarm, alarm.after(0.01):
            interrupts.catch()
            time.sleep(0.1)
            numbers.append(interrupts.number)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert numbers == [0]


def test_time_is_up_in_python_code_also_where_it_catches_everything() -> None:
    began = time.monotonic()
    with pytest.raises(TimeIsUp), Alarm() as alarm, alarm.after(0.1):  # noqa: PT012
        try:
            time.sleep(60)
        finally:
            time.sleep(60)
    assert time.monotonic() - began < 30
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
