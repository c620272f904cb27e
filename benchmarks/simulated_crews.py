"""Crews without trainers, many in one process: what coordinators say to a database, and when."""

import contextlib
import heapq
import math
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import event

from storage import Claimant, Retry, WorkerStorage, open_storage, parse_url, register_worker
from tuner.study import load_study, with_sampler
from tuner.workers.coordinator import POLL_SECONDS
from tuner.workers.lost_workers import Settler

STUDY = "scale"
_LEASE = 60.0


@dataclass(frozen=True)
class Load:
    """How many workers, how many of a crew; in seconds: a trial, a report, what is measured."""

    n_workers: int
    n_per_crew: int
    trial: float
    report: float
    measured: float

    @property
    def n_crews(self) -> int:
        """The number of crews."""
        return math.ceil(self.n_workers / self.n_per_crew)

    def divide(self) -> list[int]:
        """Return how many workers each crew has."""
        whole, rest = divmod(self.n_workers, self.n_crews)
        return [whole + (index < rest) for index in range(self.n_crews)]

    def shorten(self, share: float) -> "Load":
        """Return the load with shorter trials that report as often."""
        return replace(self, trial=self.trial * share, report=self.report * share)


@dataclass
class Seen:
    """What one process of simulated crews has seen while it was measured."""

    is_measured: bool = False
    reports: list[float] = field(default_factory=list)  # seconds of a transaction with reports
    claims: list[float] = field(default_factory=list)  # seconds of a claim, its reading with it
    n_statements: int = 0
    n_rows: int = 0  # that were read
    n_late: int = 0  # events that this machine came to more than a second too late

    def note_statement(self, n_rows: int) -> None:
        """Count a statement and what it has read."""
        if self.is_measured:
            self.n_statements += 1
            self.n_rows += n_rows

    def note_report(self, seconds: float) -> None:
        """Keep how long a transaction with reports took."""
        if self.is_measured:
            self.reports.append(seconds)

    def note_claim(self, seconds: float) -> None:
        """Keep how long a trial took to begin, after the one before it."""
        if self.is_measured:
            self.claims.append(seconds)

    def note_late(self, seconds: float) -> None:
        """Count what came later than it was to."""
        self.n_late += self.is_measured and seconds > 1


class _Actor(Protocol):
    """Who says something to the database now and then."""

    def go_on(self, now: float) -> float:
        """Do what is due; return when to be called again."""


# When somebody is to be called, which of them, and who.
_Due = list[tuple[float, int, _Actor]]


class _Tap:
    """Listens to an engine: counts statements and rows, times transactions with reports."""

    def __init__(self, engine: sqlalchemy.Engine, seen: Seen) -> None:
        self._seen = seen
        self._local = threading.local()
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._commit)
        event.listen(engine, "after_cursor_execute", self._note)

    def _begin(self, _connection: Any) -> None:
        self._local.began, self._local.reports = time.perf_counter(), False

    def _note(self, _connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "trial_intermediate_values" in statement and statement.startswith("INSERT"):
            self._local.reports = True
        is_query = statement.startswith("SELECT")
        self._seen.note_statement(max(0, cursor.rowcount) if is_query else 0)

    def _commit(self, _connection: Any) -> None:
        if self._local.reports:
            self._seen.note_report(time.perf_counter() - self._local.began)


class _Crew:
    """A crew without trainers: what its coordinator says to the database, and how often."""

    def __init__(self, url: str, ordinal: int) -> None:
        self.database = open_storage(url)
        self._loaded = load_study(self.database, STUDY)
        engine, study_id = self.database.engine, self._loaded.study_id
        retry = Retry(parse_url(url), 60, lambda: False)
        worker_id, _ = register_worker(engine, study_id, "simulated", ordinal)
        self.storage = WorkerStorage(self.database, Claimant(study_id, worker_id, _LEASE), retry)
        self.study = with_sampler(self._loaded, self.storage, ordinal)
        self._settler = Settler(engine, retry, _LEASE, lambda: [study_id])

    def go_on(self, _now: float) -> float:
        """Look for orders, and now and then for lost workers; return when to do so again."""
        self._settler.settle_now_and_then()
        self._loaded.load_state()
        return time.monotonic() + POLL_SECONDS


class _Worker:
    """One of a crew, without a trainer: what it does next, and when."""

    def __init__(self, crew: _Crew, load: Load, chance: random.Random, seen: Seen) -> None:
        self._crew, self._load, self._chance, self._seen = crew, load, chance, seen
        self._trial: Any = None
        self._step, self._ends_at = 0, 0.0

    def begin(self, now: float, share_gone: float = 0.0) -> float:
        """Claim a trial and ask for its parameters; return when it is to be looked at again.

        What is gone of it has been reported.
        """
        self._crew.storage.claim(1)
        self._trial = self._crew.study.ask()
        self._trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
        self._trial.suggest_float("lr", 1e-3, 1.0, log=True)
        self._step = int(share_gone * self._load.trial / self._load.report)
        for step in range(1, self._step + 1):
            self._trial.report(self._chance.random(), step)
        self._ends_at = now + (1 - share_gone) * self._load.trial
        return now + self._chance.random() * self._load.report

    def go_on(self, now: float) -> float:
        """Report, or end the trial and begin another; return when to go on."""
        if now < self._ends_at:
            self._step += 1
            self._trial.report(self._chance.random(), self._step)
            return now + self._load.report
        self._crew.study.tell(self._trial, self._chance.random())
        began = time.perf_counter()
        follows = self.begin(time.monotonic())
        self._seen.note_claim(time.perf_counter() - began)
        return follows


def simulate(url: str, crews: Mapping[int, int], load: Load, pipe: Any) -> None:
    """Be crews of so many workers by ordinal; measure when told, and send what was seen."""
    chance, seen = random.Random(min(crews)), Seen()
    due: _Due = []
    with contextlib.ExitStack() as stack:
        for ordinal, n_workers in crews.items():
            crew = _Crew(url, ordinal)
            _Tap(crew.database.engine, seen)
            stack.enter_context(crew.storage)
            heapq.heappush(due, (time.monotonic(), len(due), crew))
            for _ in range(n_workers):
                worker = _Worker(crew, load, chance, seen)
                first = worker.begin(time.monotonic(), chance.random())
                heapq.heappush(due, (first, len(due), worker))
                _run(due, seen, until=time.monotonic())
        pipe.send("all are at work")
        while not pipe.poll():
            _run(due, seen, until=time.monotonic() + 0.05)
        pipe.recv()
        seen.is_measured = True
        _run(due, seen, until=time.monotonic() + load.measured)
        seen.is_measured = False
        pipe.send(seen)
        pipe.recv()
        os._exit(0)  # a thousand workers need not leave in good order


def _run(due: _Due, seen: Seen, *, until: float) -> None:
    """Do what is due until a moment, or what has been due for long by five seconds later."""
    while (now := time.monotonic()) < until or (due[0][0] <= until and now < until + 5):
        at, index, actor = due[0]
        if at > now:
            time.sleep(max(0.0, min(0.01, until - now, at - now)))
            continue
        seen.note_late(now - at)
        heapq.heapreplace(due, (actor.go_on(at), index, actor))
