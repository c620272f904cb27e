"""People who watch the dashboard while a worker trains, and how much that slows it down.

A viewer asks what the dashboard's page of a study asks (optuna-dashboard 0.21, `bundle.js`): the
trials from the first unfinished one on, every 2 s with fewer than 100 trials, every 5 s with fewer
than 500, else every 10 s; and the importance of the parameters whenever more trials are complete.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy

from benchmarks.http_client import Connection
from benchmarks.postgres import read_cpu_seconds
from benchmarks.served_study import STUDY
from benchmarks.service import Server
from storage import parse_url

_START_SECONDS = 120.0
_WARM_UP_SECONDS = 3.0
_LOOK_SECONDS = 0.05
_EPOCHS = sqlalchemy.text(
    "SELECT COUNT(*) FROM trial_intermediate_values WHERE trial_intermediate_value_id > :after"
)
_LAST = sqlalchemy.text(
    "SELECT COALESCE(MAX(trial_intermediate_value_id), 0) FROM trial_intermediate_values"
)


class Viewer:
    """One person who looks at the page of a study."""

    def __init__(self, connection: Connection, study_id: int) -> None:
        self._connection = connection
        self._path = f"/api/studies/{study_id}"
        self._states: list[str] = []
        self._n_complete = -1
        self.n_requests = 0

    @property
    def interval_seconds(self) -> float:
        """After how long the page asks again."""
        n_trials = len(self._states)
        return 2.0 if n_trials < 100 else 5.0 if n_trials < 500 else 10.0

    async def look(self) -> None:
        """Ask for what is new."""
        unfinished = (i for i, s in enumerate(self._states) if s in ("Running", "Waiting"))
        after = next(unfinished, len(self._states))
        detail = await self._get(f"{self._path}?after={after}")
        self._states[after:] = [trial["state"] for trial in json.loads(detail)["trials"]]
        n_complete = self._states.count("Complete")
        if n_complete != self._n_complete:
            self._n_complete = n_complete
            await self._get(f"{self._path}/param_importances")

    async def _get(self, path: str) -> bytes:
        answer = await self._connection.get(path)
        assert answer.status == 200, (path, answer)
        self.n_requests += 1
        return answer.body

    async def watch(self, first: float, until: float) -> None:
        """Look from a moment on, again and again, until another moment."""
        due = first
        while due < until:
            await asyncio.sleep(due - time.perf_counter())
            await self.look()
            due = time.perf_counter() + self.interval_seconds


@dataclass(frozen=True)
class Round:
    """What a worker did meanwhile."""

    epochs_a_second: float
    cpu_ms_an_epoch: float
    server_cpu_share: float  # of one core


@dataclass(frozen=True)
class Plan:
    """How many people, and how many pairs of rounds of how many seconds."""

    n_viewers: int
    n_pairs: int
    seconds: float


@dataclass
class Watched:
    """Rounds in which nobody watched, and those beside them in which all did."""

    plan: Plan
    alone: list[Round] = field(default_factory=list)
    watched: list[Round] = field(default_factory=list)
    n_requests: int = 0

    @property
    def ratios(self) -> list[float]:
        """The speed of training watched, as a part of that alone, pair by pair."""
        return [
            watched.epochs_a_second / alone.epochs_a_second
            for alone, watched in zip(self.alone, self.watched, strict=True)
        ]

    @property
    def cpu_ratio(self) -> float:
        """The worker's CPU time an epoch watched, beside that alone: blind to other programs."""
        return statistics.median(r.cpu_ms_an_epoch for r in self.watched) / statistics.median(
            r.cpu_ms_an_epoch for r in self.alone
        )


def watch_training(
    storage_url: str, server: Server, token: str, data_dir: Path, plan: Plan
) -> Watched:
    """Let a worker train, and compare its speed while people watch with that while nobody does."""
    engine = sqlalchemy.create_engine(parse_url(storage_url))
    with engine.connect() as connection:
        after = connection.execute(_LAST).scalar_one()
        study = sqlalchemy.text("SELECT study_id FROM studies WHERE study_name = :name")
        study_id = connection.execute(study, {"name": STUDY}).scalar_one()

    def count_epochs() -> int:
        with engine.connect() as connection:
            return int(connection.execute(_EPOCHS, {"after": after}).scalar_one())

    with _training(storage_url, data_dir, count_epochs) as worker:
        scene = _Scene(server, worker, count_epochs)
        watched = asyncio.run(_compare(scene, token, study_id, Watched(plan)))
    engine.dispose()
    return watched


@contextlib.contextmanager
def _training(
    storage_url: str, data_dir: Path, count_epochs: Callable[[], int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `tuner worker`, from its first epoch on."""
    command = [sys.executable, "-m", "tuner", "worker", "--storage", storage_url, "--study", STUDY]
    command += ["--data-dir", str(data_dir)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=dict(os.environ)) as worker:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while count_epochs() == 0:
                if worker.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"no epoch by {' '.join(command)}")
                time.sleep(0.2)
            yield worker
        finally:
            worker.kill()


@dataclass(frozen=True)
class _Scene:
    server: Server
    worker: subprocess.Popen[bytes]
    count_epochs: Callable[[], int]

    async def measure(self, until: float) -> Round:
        """Count epochs from the first that ends to the last one."""
        cpu_before, server_before = read_cpu_seconds(self.worker.pid), self._server_cpu()
        started = time.perf_counter()
        n_before = n = await asyncio.to_thread(self.count_epochs)
        changes: list[tuple[float, int]] = []
        while time.perf_counter() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            n_now = await asyncio.to_thread(self.count_epochs)
            if n_now != n:
                n = n_now
                changes.append((time.perf_counter(), n))
        assert len(changes) > 1, "no epoch has ended: take longer rounds"
        (first, n_first), (last, n_last) = changes[0], changes[-1]
        cpu = read_cpu_seconds(self.worker.pid) - cpu_before
        share = (self._server_cpu() - server_before) / (time.perf_counter() - started)
        return Round((n_last - n_first) / (last - first), 1e3 * cpu / (n - n_before), share)

    def _server_cpu(self) -> float:
        return read_cpu_seconds(self.server.pid)


async def _compare(scene: _Scene, token: str, study_id: int, watched: Watched) -> Watched:
    plan = watched.plan
    async with contextlib.AsyncExitStack() as stack:
        viewers = [
            Viewer(await stack.enter_async_context(Connection(scene.server.url, token)), study_id)
            for _ in range(plan.n_viewers)
        ]
        await asyncio.gather(*(viewer.look() for viewer in viewers))  # all trials, once
        await asyncio.sleep(_WARM_UP_SECONDS)
        n_before = sum(viewer.n_requests for viewer in viewers)
        for number in range(plan.n_pairs):
            # Alone first, then watched first: what drifts favours neither.
            for is_watched in (False, True) if number % 2 == 0 else (True, False):
                until = time.perf_counter() + plan.seconds
                async with asyncio.TaskGroup() as tasks:
                    measuring = tasks.create_task(scene.measure(until))
                    for position, viewer in enumerate(viewers if is_watched else []):
                        offset = viewer.interval_seconds * position / len(viewers)
                        tasks.create_task(viewer.watch(time.perf_counter() + offset, until))
                (watched.watched if is_watched else watched.alone).append(measuring.result())
        watched.n_requests = sum(viewer.n_requests for viewer in viewers) - n_before
    return watched
