"""Run `tuner serve` as a process of its own, for those who send it requests."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 60.0
_END_SECONDS = 20.0


@dataclass(frozen=True)
class Server:
    """A service that answers at ``url``, as process ``pid``."""

    url: str
    pid: int


@contextlib.contextmanager
def serving(storage_url: str, folder: Path) -> Iterator[Server]:
    """Run `tuner serve` on a free port of the loopback; the storage has accounts."""
    log = folder / "serve.log"
    command = [sys.executable, "-m", "tuner", "serve", "--storage", storage_url, "--port", "0"]
    with log.open("wb") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, env=dict(os.environ))
    try:
        deadline = time.monotonic() + _START_SECONDS
        while (said := re.search(r"(http://127\S+:\d+)/", log.read_text())) is None:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"tuner serve does not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield Server(said[1], server.pid)
    finally:
        server.terminate()
        try:
            server.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        sys.stderr.write(log.read_text()[-4000:])
