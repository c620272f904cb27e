"""An engine of one crew: a child process on this machine, started again when it is killed."""

import logging
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace

import joblib

from tuner.workers.config import WorkerConfig
from tuner.workers.launchers.engine import EngineStatus

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "tuner.workers.launchers.crew")
# A crew that is killed so often is killed for a reason, say want of memory.
_MAX_DEATHS = 10


@dataclass
class LocalEngine:
    """Runs one crew; what a cluster has on each of its nodes."""

    n_lost: int = 0
    _crew: WorkerConfig | None = None
    _process: subprocess.Popen[bytes] | None = None
    _said: bytes = b""  # by a crew that has ended, of why

    def start(self, crew: WorkerConfig, n_workers: int | None) -> None:
        """Start the crew, with a worker for each physical core unless told."""
        self._crew = replace(
            crew, n_trainers=n_workers or joblib.cpu_count(only_physical_cores=True), engine=None
        )
        self._start()

    def _start(self) -> None:
        # A session of its own: Ctrl-C is the launcher's, which then ends the crew in good order.
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None
        try:
            pickle.dump(self._crew, self._process.stdin)
            self._process.stdin.flush()  # left open: its end would be the crew's
        except BrokenPipeError:
            pass  # it has died already, which `poll` sees

    def poll(self) -> EngineStatus:
        """Tell how the crew is; starts another one if it was killed."""
        assert self._process is not None
        assert self._crew is not None
        status = self._process.poll()
        if status is not None and status < 0 and self.n_lost < _MAX_DEATHS:
            self.n_lost += 1
            logger.warning("A crew was killed by signal %d: starting another", -status)
            self._close()
            self._start()
            status = None
        if status is None:
            return EngineStatus(1, self._crew.n_trainers, 0, self.n_lost)
        return EngineStatus(0, 0, 1, self.n_lost, self._explain(status))

    def _explain(self, status: int) -> str | None:
        assert self._process is not None
        assert self._process.stdout is not None
        if status == 0:
            return None
        if status < 0:
            return f"A crew was killed {self.n_lost + 1} times: is there enough memory?"
        self._said += b"" if self._process.stdout.closed else self._process.stdout.read()
        return self._said.decode(errors="replace") or f"A crew has ended with status {status}"

    def stop(self, seconds: float) -> None:
        """Have the crew give back what it trains, and end; kills it if that takes longer."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
