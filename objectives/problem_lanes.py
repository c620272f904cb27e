"""Lanes that train a problem (see ``objectives.base.Lanes``)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

import numpy as np
import torch

from objectives.base import EpochResult, TrainingConfig, Weights
from objectives.data import Part
from objectives.errors import ProblemError, UnfitStateError
from objectives.facts import Params
from objectives.folds import FoldedLanes
from objectives.gradients import OneByOne
from objectives.group import Group, Lane, Program, find_decays, go_on_from, state_of, train_by
from objectives.parts import Parts
from objectives.problem import FastProgram, Problem
from objectives.program_choice import Choice, choose_program, for_fold
from objectives.ready import Ready, find_metric, make_ready
from objectives.seeds import derive_seed
from objectives.shorthand import find_arguments, find_space, middle


class ProblemLanes:
    """Trials of a problem, side by side where that is as good and not slower."""

    def __init__(self, ready: Ready, choice: Choice) -> None:
        self._ready, self.choice = ready, choice
        self._next_pass = 0
        self._lanes: dict[int, Lane] = {}
        self._failures: dict[int, BaseException] = {}

    @property
    def parts(self) -> Parts:
        """The data."""
        return self._ready.parts

    @property
    def in_memory(self) -> bool:
        """Whether all data is in the CPU's memory (see ``Lanes``)."""
        return self._ready.device.type == "cpu" and self._ready.parts.in_memory

    def take_failures(self) -> dict[int, BaseException]:
        """Return what models have raised since it was asked last, by number (see ``Lanes``)."""
        failures, self._failures = self._failures, {}
        return failures

    @property
    def n_free(self) -> int:
        """How many more trials can be added now."""
        return self.choice.n_lanes - len(self._lanes)

    @property
    def program(self) -> str:
        """How trials are trained (see ``Lanes``)."""
        return self.choice.tell()

    @property
    def next_pass(self) -> int:
        """The number of the pass that ``train_pass`` runs next."""
        return self._next_pass

    def add(
        self,
        trial_number: int,
        params: Params,
        epoch: int = 0,
        state: Mapping[str, Any] | None = None,
        init: int | None = None,
    ) -> None:
        """Give a free lane to a trial (see ``Lanes``); raises UnfitStateError."""
        seed = derive_seed(self._ready.seed, "init", trial_number if init is None else init)
        try:
            lane = self._ready.build(params, seed)
            if state is not None:
                go_on_from(lane, state, epoch)
        except UnfitStateError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the trial boundary)
            self._failures[trial_number] = error
            return
        self._lanes[trial_number] = lane

    def go_to_pass(self, number: int) -> None:
        """Let ``train_pass`` run this pass next."""
        self._next_pass = number

    def train_pass(self) -> dict[int, EpochResult]:
        """Train every lane for one epoch and return the results by trial number.

        A lane whose model, loss or metric raises has none, but a place among the failures.
        """
        if self.choice.fast is not None:
            results = self._train_fast(self.choice.fast)
        else:
            together, rest = self._divide()
            results, failed = self._train(together, self.choice.program)
            single = [[number] for numbers in (*failed, *rest) for number in numbers]
            results |= self._train(single, OneByOne)[0]
        self._next_pass += 1
        return results

    def _train_fast(self, program: FastProgram) -> dict[int, EpochResult]:
        order = self._ready.order(self._next_pass)
        results: dict[int, EpochResult] = {}
        for numbers in _evenly(list(self._lanes), program.n_together):
            lanes = [self._lanes[number] for number in numbers]
            outcomes = train_by(program, lanes, order)
            for number, lane, outcome in zip(numbers, lanes, outcomes, strict=True):
                lane.go_on(self._ready.n_steps)
                results[number] = EpochResult(lane.epoch, *outcome)
        return results

    def _divide(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return the lanes that train as one program, and those that go one by one."""
        if self.choice.program is OneByOne:
            return [], [list(self._lanes)]
        equal: dict[Any, list[int]] = {}
        for number, lane in self._lanes.items():
            equal.setdefault(lane.signature(self.choice.rates), []).append(number)
        groups = list(equal.values())
        return [g for g in groups if len(g) > 1], [g for g in groups if len(g) == 1]

    def _train(
        self, numbers: Sequence[list[int]], program: Program
    ) -> tuple[dict[int, EpochResult], list[list[int]]]:
        """Train groups of lanes; return results, and the groups of which something raised."""
        groups = {tuple(each): self._open(each, program) for each in numbers}
        if not groups:
            return {}, []
        failed: dict[tuple[int, ...], BaseException] = {}
        if self._ready.parts.train.in_memory:  # one after another: their weights stay in the cache
            for each, group in groups.items():
                self._take_all({each: group}, failed)
        else:  # read once for all that have batches of a size
            for size in {group.lanes[0].batch_size for group in groups.values()}:
                equal = {e: g for e, g in groups.items() if g.lanes[0].batch_size == size}
                self._take_all(equal, failed)
        results: dict[int, EpochResult] = {}
        for each, group in groups.items():
            if each not in failed:
                try:
                    results |= self._finish(each, group)
                except (Exception, SystemExit) as error:  # noqa: BLE001 (the trial boundary)
                    failed[each] = error
        self._failures |= {each[0]: error for each, error in failed.items() if len(each) == 1}
        return results, [list(each) for each in failed if len(each) > 1]

    def _open(self, numbers: Sequence[int], program: Program) -> Group:
        lanes = [self._lanes[number] for number in numbers]
        ready = self._ready.in_batches_of(lanes[0].batch_size)
        return Group(program, ready.problem, lanes, ready.n_steps)

    def _take_all(
        self, groups: Mapping[tuple[int, ...], Group], failed: dict[tuple[int, ...], BaseException]
    ) -> None:
        """Train groups that have batches of one size on the same ones."""
        size = next(iter(groups.values())).lanes[0].batch_size
        batches = self._ready.in_batches_of(size).training_batches(self._next_pass)
        with torch.random.fork_rng(devices=[]):
            for batch, share in batches:
                for each, group in groups.items():
                    if each not in failed:
                        try:
                            group.take(batch, share)
                        except (Exception, SystemExit) as error:  # noqa: BLE001 (the trial boundary)
                            failed[each] = error

    def _finish(self, numbers: Sequence[int], group: Group) -> dict[int, EpochResult]:
        losses = group.mean_losses()
        ready = self._ready
        if not any(np.isfinite(losses)):  # scores of scikit-learn's take no NaN
            values = [float("nan")] * len(losses)
        else:
            values = group.values(ready.metric, ready.scoring_batches(ready.parts.validation))
        group.store()
        epochs = [lane.epoch for lane in group.lanes]
        return dict(
            zip(
                numbers, starmap(EpochResult, zip(epochs, losses, values, strict=True)), strict=True
            )
        )

    def remove(self, trial_number: int) -> None:
        """Free a trial's lane."""
        self._lanes.pop(trial_number, None)  # one whose model could not be made has none

    def state(self, trial_number: int) -> Mapping[str, Any]:
        """Return a copy of all that a trial's lane consists of."""
        return state_of(self._lanes[trial_number])

    def training_value(self, trial_number: int) -> float:
        """Score a trial's model, as it is now, on the training part."""
        if self.choice.fast is not None:
            return self.choice.fast.training_value(self._lanes[trial_number].model.model)
        return self._score(trial_number, self._ready.parts.train)

    def weights(self, trial_number: int) -> Weights:
        """Measure the parameters of a trial's model, as they are now."""
        lane = self._lanes[trial_number]
        own = lane.row[find_decays(self._ready.problem, lane.model).to(lane.row) > 0]
        n_zero = own.numel() - int(own.count_nonzero())
        return Weights(float(own.double().norm()), n_zero / max(1, own.numel()))

    def test_value(self, trial_number: int) -> float:
        """Score a trial's model, as it is now, on the test part; ProblemError if there is none."""
        if self._ready.parts.test is None:
            raise ProblemError("the problem has no test part")
        return self._score(trial_number, self._ready.parts.test)

    def _score(self, trial_number: int, part: Part) -> float:
        group = self._open([trial_number], OneByOne)
        (value,) = group.values(self._ready.metric, self._ready.scoring_batches(part))
        return value


def open_problem_lanes(
    problem: Problem, config: TrainingConfig, n_lanes: int | None
) -> "ProblemLanes | FoldedLanes":
    """Open lanes that train a problem; raises ObjectiveError."""
    first, *others = make_ready(problem, config)
    space = config.space or find_space(first.problem, find_arguments(problem.model))
    metric = find_metric(first, first.build(middle(space), seed=0))
    first = replace(first, metric=metric)
    choice = choose_program(first, space, n_lanes)
    choice = replace(choice, n_lanes=n_lanes or choice.n_lanes)
    lanes = ProblemLanes(first, choice)
    if not others:
        return lanes
    rest = [replace(each, metric=metric) for each in others]
    return FoldedLanes([lanes, *(ProblemLanes(each, for_fold(choice, each)) for each in rest)])


def _evenly(numbers: list[int], n_together: int | None) -> list[list[int]]:
    """Divide into the fewest groups of at most ``n_together``, equal in size up to one."""
    n_groups = math.ceil(len(numbers) / (n_together or max(1, len(numbers))))
    return [numbers[group::n_groups] for group in range(n_groups)]
