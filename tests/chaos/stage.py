"""What the faults act on: workers, the budget and a database, all by the command line."""

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests import servers
from tests.conftest import clean_environment
from tests.forked import Tuner

STUDY = "chaos"
LEASE_SECONDS = 3
# A trainer that is frozen for longer has its trial taken.
SILENCE_SECONDS = 5
N_TRAINERS = 2
# Patience outlasts every outage here; retries outlast every series of kills.
WORKER_OPTIONS = (
    *("--workers", f"{N_TRAINERS}", "--lease", f"{LEASE_SECONDS}s"),
    *("--storage-patience", "60s"),
)
STUDY_OPTIONS = (
    *("--objective", "tests.chaos.objective:bowl", "--max-retries", "100"),
    *("--silence-timeout", f"{SILENCE_SECONDS}s"),
)
TICK_SECONDS = 0.1


@dataclass
class Worker:
    """A worker: the crew's coordinator, and where it writes."""

    process: Tuner
    log: Path
    is_frozen: bool = False
    is_killed: bool = False


@dataclass
class Stage:
    """A study's workers and database, what has been done to them, and what is still to happen."""

    folder: Path
    server: servers.PrivatePostgres
    random: random.Random
    workers: list[Worker] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    is_database_up: bool = True
    is_leaking: bool = False
    # What is to happen later: when, a tie-breaker, what.
    due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    ordinals: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """The storage's URL, as a user would write it."""
        url = self.server.url.set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done in some seconds."""
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.ordinals), action))

    def do_what_is_due(self) -> None:
        """Do what was put off until now."""
        while self.due and self.due[0][0] <= time.monotonic():
            heapq.heappop(self.due)[2]()

    def create_study(self, n_trials: int) -> None:
        """Create the study with its first budget."""
        self._create("--trials", str(n_trials), *STUDY_OPTIONS)

    def set_budget(self, n_trials: int) -> None:
        """Change the budget of the study; what is due meanwhile is done."""
        self._create("--trials", str(n_trials))

    def _create(self, *options: str) -> None:
        log = self.folder / "create.log"
        process = Tuner(self._arguments("create", *options), self.folder, clean_environment(), log)
        # A frozen worker may hold the lock that this waits for: it must thaw meanwhile.
        while process.poll() is None:
            self.do_what_is_due()
            time.sleep(TICK_SECONDS)
        if process.poll() != 0:
            raise RuntimeError(f"tuner create failed: {log.read_text()}")

    def _arguments(self, name: str, *options: str) -> tuple[str, ...]:
        return (name, "--storage", self.url, "--study", STUDY, *options)

    def start_worker(self) -> None:
        """Start another worker; it has a log of its own."""
        log = self.folder / f"worker{len(self.logs)}.log"
        # In a group of its own: Ctrl-C is for the harness, which then ends its workers.
        arguments = self._arguments("worker", *WORKER_OPTIONS)
        process = Tuner(arguments, self.folder, clean_environment(), log)
        self.workers.append(Worker(process, log))
        self.logs.append(log)

    def replace_ended(self) -> None:
        """Start a worker for each that has ended: was killed, or found the budget spent.

        Quick workers may use up what is open before more is: those end with status 0.
        """
        for worker in list(self.workers):
            status = worker.process.poll()
            if status is None:
                continue
            self.workers.remove(worker)
            if not worker.is_killed and status != 0:
                self.problems.append(f"{worker.log.name} ended by itself with status {status}")
            self.start_worker()

    def end(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
