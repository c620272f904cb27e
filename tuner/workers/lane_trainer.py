"""A trainer whose training loop is ours: trials side by side, an epoch of all of them at a time.

It keeps what a trial needs to go on: passes, losses, checkpoints. Which trials there are, and
which of them are pruned, is said by the coordinator.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from objectives import EpochResult, Lanes, ObjectiveError, UnfitStateError
from objectives.device import choose_device
from objectives.errors import first_line
from objectives.opening import open_training
from tuner.compact import curve_attrs, pack_passes
from tuner.confirmation.fresh_seeds import first_pass, init_number
from tuner.workers.checkpoints import Checkpoint, Checkpoints, FinalModels
from tuner.workers.link import Link
from tuner.workers.messages import LaneWork, Outcome, StartLane
from tuner.workers.users_code import failed, forget_our_names

logger = logging.getLogger(__name__)


def open_lanes(work: LaneWork, device: str, n_threads: int) -> Lanes | ObjectiveError:
    """Open what trials train in, or return why that cannot be."""
    torch.set_num_threads(n_threads)
    try:
        with forget_our_names(os.getcwd()):
            return open_training(replace(work.training, device=device), work.n_lanes)
    except ObjectiveError as error:
        return error


def runs_on_cpu(device: str) -> bool:
    """Tell whether a device by this name is the CPU; False if there is none."""
    try:
        return choose_device(device).type == "cpu"
    except ObjectiveError:
        return False


def may_be_forked(lanes: Lanes | ObjectiveError) -> bool:
    """Tell whether a fork of this process could train in these: no other thread runs, of torch or
    of a user's module, and all data is in memory.
    """
    tasks = "/proc/self/task"
    n_threads = len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()
    return n_threads == 1 and (isinstance(lanes, ObjectiveError) or lanes.in_memory)


def train_lanes(lanes: Lanes | ObjectiveError, link: Link, work: LaneWork) -> None:
    """Serve the coordinator until it says that it is enough."""
    if isinstance(lanes, ObjectiveError):
        return link.tell("refused", type(lanes).__name__, str(lanes))
    link.tell("ready", lanes.n_free, lanes.program, None)
    trainer = _LaneTrainer(link, lanes, work)
    while (start := link.find_start(wait=not trainer.has_trials)) or trainer.has_trials:
        while start is not None:
            assert isinstance(start, StartLane)
            trainer.take(start)
            start = link.find_start(wait=False)
        trainer.train_pass()
    return None


@dataclass(eq=False)
class _Held:
    """A trial that was taken, and how far it has come."""

    start: StartLane
    init: int  # the number of its initialisation
    state: Mapping[str, Any] | None = None  # of a checkpoint to go on from
    passes: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: Mapping[str, Any] | None = None  # the state after the best epoch, if it may end early
    by_fold: tuple[float, ...] = ()  # values at its best epoch, or its last


class _LaneTrainer:
    def __init__(self, link: Link, lanes: Lanes, work: LaneWork) -> None:
        self._link, self._lanes, self._work = link, lanes, work
        self._checkpoints = self._final = None
        if work.checkpoint_dir is not None:
            where = work.checkpoint_dir, work.study_name, work.spec_hash
            self._checkpoints = Checkpoints(*where)
        if work.models_dir is not None:
            only_best = not work.has_fresh_seeds
            self._final = FinalModels(work.models_dir, only_best=only_best)
        self._in_training: dict[int, _Held] = {}
        self._waiting: list[_Held] = []  # for their passes

    @property
    def has_trials(self) -> bool:
        return bool(self._in_training or self._waiting)

    def take(self, start: StartLane) -> None:
        """Take a trial; it gets a lane when its passes come."""
        found = None
        if self._checkpoints is not None and start.first != start.number:
            found = self._checkpoints.find(start.first, start.params)
        if found is None:
            self._wait_for_lane(start)
        else:
            done = found.passes, found.values, found.losses
            self._waiting.append(_Held(start, found.trial, found.state, *done, found.best))

    def _wait_for_lane(self, start: StartLane) -> None:
        fresh = start.fresh_seed
        init = start.number if fresh is None else init_number(fresh)
        self._waiting.append(_Held(start, init))

    def train_pass(self) -> None:
        """Train an epoch of all that is in the lanes, report it, and drop what ends."""
        self._fill_lanes()
        number_of_pass = self._lanes.next_pass
        ended: dict[int, Outcome] = {}
        going_on: list[int] = []
        results = self._lanes.train_pass()
        for number, error in self._lanes.take_failures().items():
            ended[number] = failed(error)
        for number, result in results.items():
            held = self._in_training[number]
            held.passes = [*held.passes, number_of_pass]
            outcome = self._note(held, result)
            if outcome is None:
                going_on.append(number)
            else:
                ended[number] = outcome
        verdicts = self._link.call("prune", going_on) if going_on else []
        for number, should_prune in zip(going_on, verdicts, strict=True):
            if self._link.is_lost(number):
                ended[number] = Outcome("LOST")
            elif should_prune:
                ended[number] = Outcome("PRUNED", user_attrs=self._losses_of(number))
        for number in list(self._in_training):
            self._keep_files(number, ended.get(number))
            if number in ended:
                self._link.tell("ended", number, vars(ended[number]))
                self._lanes.remove(number)
                del self._in_training[number]

    def _fill_lanes(self) -> None:
        """Give lanes to those that may begin with the next pass.

        Trials with the same fresh seed begin with the same weights and see the same batches,
        whatever trainer and lane they have: they have to be in the same passes, and those that do
        not fit wait until the lanes are free.
        """
        if self._work.has_fresh_seeds and not self._in_training:
            self._lanes.go_to_pass(min(map(self._next_pass, self._waiting)))
        while ready := [h for h in self._waiting if self._next_pass(h) == self._lanes.next_pass]:
            self._waiting = [held for held in self._waiting if held not in ready]
            for held in ready:
                self._begin(held)

    def _next_pass(self, held: _Held) -> int:
        if held.start.fresh_seed is None:
            return self._lanes.next_pass
        return first_pass(held.start.fresh_seed, self._work.epochs) + len(held.passes)

    def _begin(self, held: _Held) -> None:
        start, n_epochs = held.start, len(held.passes)
        try:
            self._lanes.add(start.number, start.params, n_epochs, held.state, held.init)
        except UnfitStateError as error:
            logger.warning("Trial %d begins anew: %s", start.number, first_line(error))
            self._wait_for_lane(start)
            return
        attrs: dict[str, Any] = {"first_pass": self._lanes.next_pass}
        if start.fresh_seed is not None:
            attrs["init"] = held.init
        if held.passes:
            attrs["resumed"] = {"trial": held.init, "passes": pack_passes(held.passes)}
        for key, value in attrs.items():
            self._link.tell("user_attr", start.number, key, value)
        for epoch, value in enumerate(held.values, start=1):
            self._link.tell("report", start.number, epoch, value)
        held.state = None  # the lanes have it now
        self._in_training[start.number] = held

    def _note(self, held: _Held, result: EpochResult) -> Outcome | None:
        """Report an epoch; return the end of a trial that has come to it."""
        number = held.start.number
        if result.is_diverged:
            # Its value means nothing: the trial keeps that of the epoch before.
            return Outcome("PRUNED", user_attrs={**self._losses_of(number), "diverged": True})
        self._link.tell("report", number, result.epoch, result.value)
        held.losses.append(result.loss)
        held.values.append(result.value)
        attrs: dict[str, Any] = {}
        best = self._find_best(held.values)
        if self._work.patience is None or best == result.epoch:
            held.by_fold = result.by_fold
        if self._work.patience is not None and best == result.epoch:
            held.best = self._lanes.state(number)
        is_early = self._work.patience is not None and result.epoch - best >= self._work.patience
        if result.epoch < self._work.epochs and not is_early:
            return None
        if held.best is not None:
            attrs["best_epoch"] = best
            self._go_back(held, best)
        attrs |= self._losses_of(number)
        attrs |= asdict(self._lanes.weights(number))
        if self._work.has_fresh_seeds:
            attrs["training_value"] = self._lanes.training_value(number)
        if held.by_fold:
            attrs["fold_values"] = list(held.by_fold)
        value = result.value if held.best is None else held.values[best - 1]
        return Outcome("COMPLETE", values=[value], user_attrs=attrs)

    def _find_best(self, values: Sequence[float]) -> int:
        """Return the best epoch, of equal ones the first."""
        best = max(values) if self._work.maximizes else min(values)
        return values.index(best) + 1

    def _go_back(self, held: _Held, epoch: int) -> None:
        """Let a trial's lane be what it was after its best epoch."""
        number, params = held.start.number, held.start.params
        self._lanes.remove(number)
        self._lanes.add(number, params, epoch, held.best, held.init)

    def _losses_of(self, number: int) -> dict[str, Any]:
        return curve_attrs("training_loss", self._in_training[number].losses)

    def _keep_files(self, number: int, outcome: Outcome | None) -> None:
        held = self._in_training[number]
        if outcome is None and self._checkpoints is not None:
            done = held.passes, held.values, held.losses
            params, state = dict(held.start.params), self._lanes.state(number)
            checkpoint = Checkpoint(held.init, params, *done, state, held.best)
            self._checkpoints.save(held.start.first, checkpoint)
        elif outcome is not None and outcome.state != "LOST":
            if self._checkpoints is not None:
                self._checkpoints.remove(held.start.first)
            if self._final is not None and outcome.values is not None:
                epochs = len(held.values)
                self._final.offer(number, outcome.values[0], epochs, self._lanes.state(number))
