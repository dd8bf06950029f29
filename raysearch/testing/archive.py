"""The local archive as its users see it: one process on loopback that answers as SIMBAD, the registry, the archives and S3."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from raysearch.testing.faults import Faults
from raysearch.testing.holdings import Holdings
from raysearch.testing.services.shelf import Request

START_SECONDS = 120.0
STOP_SECONDS = 5.0


class LocalArchive:
    """An archive in a process of its own, for the time of a `with` block.

    >>> from raysearch.testing import Holdings, LocalArchive, target_row
    >>> with LocalArchive(Holdings(targets=(target_row("A", 10.0, 20.0),))) as archive:
    ...     sorted(archive.services)
    ['heasarc', 'irsa', 'mast', 'registry', 's3', 'simbad']

    Clients are pointed at `services`; nothing here touches the environment. The process ends with the block, and also when the
    process that started it dies.
    """

    def __init__(self, holdings: Holdings, *, port: int = 0, faults: Faults | None = None) -> None:
        self._holdings = holdings
        self._port = port
        self._faults = faults
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it answers, `http://127.0.0.1:PORT`."""
        self._running()
        return f"http://127.0.0.1:{self._port}"

    @property
    def services(self) -> dict[str, str]:
        """Service -> its base address.

        The TAP services of SIMBAD and the registry; the servers of MAST, IRSA (`SIA`, `TAP`, `ibe`) and HEASARC (`xamin/vo`,
        `FTP`); the endpoint of S3 (path-style, unsigned).
        """
        here = self.url
        return {
            "simbad": f"{here}/simbad/sim-tap",
            "mast": here,
            "irsa": here,
            "heasarc": here,
            "registry": f"{here}/regtap",
            "s3": here,
        }

    @property
    def pid(self) -> int:
        """Of the server process."""
        return self._running().pid

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises
        ------
        RuntimeError
            It ended, or did not answer in time; the message holds what it wrote.
        """
        if self._process is not None:
            raise RuntimeError("this local archive is running already")
        with tempfile.TemporaryDirectory(prefix="raysearch-archive-") as folder:
            self._holdings.write(Path(folder))
            command = [
                sys.executable,
                "-m",
                "raysearch.testing.services.server",
                folder,
                "--port",
                str(self._port),
                "--parent",
                str(os.getpid()),
            ]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)  # noqa: S603
            self._port = self._handshake(self._process)  # from here on the server has the folder mapped, and it may go
        if self._faults is not None:
            self.set_faults(self._faults)

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> LocalArchive:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return requests and bytes (of answers' bodies) by service, since the start or the last reset."""
        counts: dict[str, dict[str, int]] = self._control("counts")
        return counts

    def log(self) -> list[Request]:
        """Return the requests since the start or the last reset, the oldest first (the last 100,000)."""
        names = [f.name for f in fields(Request)]
        return [Request(**{name: row[name] for name in names}) for row in self._control("log")]

    def reset(self) -> None:
        """Forget the counts, the log and the faults."""
        self._control("reset", {})

    def set_faults(self, faults: Faults) -> None:
        """Misbehave from now on as told (and no longer as told before)."""
        self._control("faults", faults.to_json())

    def _control(self, what: str, send: dict[str, Any] | None = None) -> Any:
        data = None if send is None else json.dumps(send).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy in the environment is for other hosts
        with opener.open(f"{self.url}/_archive/{what}", data=data, timeout=START_SECONDS) as answer:
            return json.load(answer)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("this local archive is not running: use it in a with block, or call start()")
        return self._process

    def _handshake(self, process: subprocess.Popen[str]) -> int:
        """Return the port that the process says it listens on."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            raise RuntimeError(f"the local archive did not start within {START_SECONDS:.0f} s; its own message stands above")
        return int(line)
