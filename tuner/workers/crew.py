"""A coordinator's trainers: started, replaced when they die, ended when they do not obey.

Knows processes, not studies: what becomes of the trials of a trainer is said by the coordinator.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import optuna

from objectives.functions import is_users
from tuner.workers.messages import LaneWork, Order, Seat
from tuner.workers.nursery import (
    FOR_PROBLEMS,
    Nursery,
    OpenedNursery,
    TrainerProcess,
    open_nursery,
    preload,
)

logger = logging.getLogger(__name__)

# How long a trainer that was told to leave may take, before it is killed.
GRACE_SECONDS = 2.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 15.0


@dataclass(eq=False)
class InTraining:
    """A trial in training, since when, and when it was heard of last (``time.monotonic``)."""

    trial: optuna.Trial
    first: int  # the number of the trial that it reruns, or its own
    started_at: float
    heard_at: float
    has_been_mentioned: bool = False  # as one that takes long
    has_pruner: bool = False  # and need not ask whether to prune

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number


@dataclass(eq=False)
class Trainer:
    """A place in the crew, and who has it now."""

    slot: int
    process: TrainerProcess | None = None
    n_lanes: int = 0  # 0 until it is ready
    program: str | None = None  # how it trains, in words; of a function it is not known
    code: str | None = None  # a digest of a function's module
    trials: dict[int, InTraining] = field(default_factory=dict)
    n_ended: int = 0  # trials of this process
    n_failed_in_row: int = 0
    n_deaths_in_row: int = 0
    start_at: float = 0.0
    kill_at: float | None = None  # once it was told to leave
    is_retired: bool = False

    @property
    def is_ready(self) -> bool:
        """Tell whether it can be given trials."""
        return self.n_lanes > 0 and self.kill_at is None

    @property
    def n_free(self) -> int:
        """How many more trials it can take now."""
        return self.n_lanes - len(self.trials) if self.is_ready else 0

    @property
    def is_fresh(self) -> bool:
        """Tell whether its process has not trained anything yet."""
        return self.n_ended == 0 and not self.trials

    def send(self, message: object) -> None:
        """Send its process a message, if it has one."""
        if self.process is not None:
            self.process.channel.send(message)

    def note_progress(self) -> None:
        """Note that a trial came to its end: whatever had killed trainers before is over."""
        self.n_deaths_in_row = 0


@dataclass
class Crew:
    """The trainers of one study."""

    make_seat: Callable[[int], Seat]
    work: Any
    trainers: list[Trainer]
    is_paused: bool = False
    # What several trainers of a problem are forked from.
    _opened: OpenedNursery | None = field(default=None, init=False)

    @classmethod
    def start(cls, make_seat: Callable[[int], Seat], work: Any, n_trainers: int) -> "Crew":
        """Start so many trainers; they say when they are ready."""
        crew = cls(make_seat, work, [Trainer(slot) for slot in range(n_trainers)])
        crew.start_due()
        return crew

    def _fork(self, trainer: Trainer) -> TrainerProcess:
        """Fork a trainer from the server, which may be a new one."""
        seat, nursery = self.make_seat(trainer.slot), open_nursery()
        if not isinstance(self.work, LaneWork):
            preload(self.work.objective)
            return nursery.fork(seat, self.work)
        preload(None)
        if is_users(self.work.training.objective):
            nursery.import_modules(FOR_PROBLEMS)
        if len(self.trainers) == 1:
            return nursery.fork(seat, self.work)
        if self._nursery is nursery:
            self._opened = OpenedNursery(nursery, seat, self.work)
        return self._nursery.fork(seat, self.work)

    @property
    def _nursery(self) -> Nursery:
        if self._opened is not None and self._opened.is_gone:
            self._opened.look()  # or nobody would note that its trainers have ended with it
            self._opened.kill()
            self._opened = None
        return self._opened or open_nursery()

    @property
    def at_work(self) -> list[Trainer]:
        """The trainers that have not retired."""
        return [trainer for trainer in self.trainers if not trainer.is_retired]

    @property
    def n_in_training(self) -> int:
        """How many trials are in training."""
        return sum(len(trainer.trials) for trainer in self.trainers)

    @property
    def n_lanes(self) -> int:
        """How many trials can be trained at once."""
        return sum(trainer.n_lanes for trainer in self.trainers)

    def start_due(self) -> None:
        """Start the trainers whose time has come."""
        for trainer in self.at_work:
            if trainer.process is None and time.monotonic() >= trainer.start_at:
                trainer.process = self._fork(trainer)
                trainer.n_lanes = trainer.n_ended = trainer.n_failed_in_row = 0
                trainer.kill_at = None
                if self.is_paused:
                    trainer.send(Order("pause"))

    def order(self, name: str) -> None:
        """Tell all trainers to pause or to go on."""
        self.is_paused = name == "pause"
        for trainer in self.trainers:
            trainer.send(Order(name))

    def let_ask(self) -> None:
        """Let trials in training ask whether to prune them, as from now on others count, too."""
        for trainer in self.trainers:
            for held in trainer.trials.values():
                if held.has_pruner:
                    held.has_pruner = False
                    trainer.send(Order("ask"))

    def wait(self, seconds: float) -> list[Trainer]:
        """Wait until trainers have something to say, or have ended; return those."""
        processes = [trainer.process for trainer in self.trainers if trainer.process is not None]
        heard = self._nursery.wait(processes, seconds)
        return [trainer for trainer in self.trainers if trainer.process in heard]

    def dismiss(self, trainer: Trainer) -> None:
        """Let a trainer leave, by force if it does not obey; another takes its place."""
        if trainer.process is not None and trainer.kill_at is None:
            trainer.process.interrupt()
            trainer.kill_at = time.monotonic() + GRACE_SECONDS

    def renew(self, trainer: Trainer) -> None:
        """Let an idle trainer end in good order, and give its place a new process at once."""
        trainer.send(Order("end"))
        trainer.kill_at = time.monotonic() + GRACE_SECONDS

    def kill_overdue(self) -> None:
        """Kill trainers that were told to leave and have not, or that do not speak any more."""
        for trainer in self.trainers:
            process = trainer.process
            if process is None or process.has_ended:
                continue
            is_late = trainer.kill_at is not None and time.monotonic() >= trainer.kill_at
            if is_late or process.channel.is_closed:
                process.kill()

    def note_end(self, trainer: Trainer) -> None:
        """Take note that a trainer's process has ended; its place is given to another."""
        assert trainer.process is not None
        is_death = trainer.kill_at is None
        trainer.process.channel.close()
        trainer.process = None
        trainer.n_lanes = 0
        trainer.start_at = max(trainer.start_at, time.monotonic())
        if is_death:
            wait = _FIRST_WAIT_SECONDS * 2.0 ** min(trainer.n_deaths_in_row, 20)
            trainer.start_at = time.monotonic() + min(wait, _LONGEST_WAIT_SECONDS)
            trainer.n_deaths_in_row += 1

    def end(self, *, in_good_order: bool) -> None:
        """End all trainers, within the grace that they have."""
        if self._opened is not None:
            self._opened.interrupt()
        for trainer in self.trainers:
            trainer.is_retired = True
            if in_good_order and trainer.process is not None and trainer.kill_at is None:
                self.renew(trainer)
            else:
                self.dismiss(trainer)
        due = time.monotonic() + GRACE_SECONDS
        deadline = due + GRACE_SECONDS  # of one that not even a kill ends
        while (left := list(self._processes())) and time.monotonic() < deadline:
            self.kill_overdue()
            if self._opened is not None and time.monotonic() >= due:
                self._opened.kill()
            self._nursery.wait(left, 0.05)
            for process in left:
                process.channel.receive()  # so that none waits to be heard
            if time.monotonic() >= deadline:
                open_nursery().kill()
                break
        for trainer in self.trainers:
            if trainer.process is not None:
                trainer.process.channel.close()
        if self._opened is not None:
            self._opened.channel.close()

    def _processes(self) -> Iterable[TrainerProcess]:
        for trainer in self.trainers:
            if trainer.process is not None and not trainer.process.has_ended:
                yield trainer.process
