"""Which program trains a problem: its own, or side by side only where that is not slower.

What does not give plain torch's result is not used. All is tried on the problem's own batches, in
about a second.
"""

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice, pairwise
from typing import Any

import numpy as np
import torch

from objectives.by_hand import ByHand, suits
from objectives.coefficients import BY_MAGNITUDE
from objectives.data import TensorPart
from objectives.draws import find_sites
from objectives.errors import first_line
from objectives.facts import Params
from objectives.gradients import OneByOne, Stacked
from objectives.group import Group, Lane, Program, train_by
from objectives.parts import Parts
from objectives.problem import FastProgram
from objectives.ready import Ready
from objectives.seeds import derive_seed
from objectives.shorthand import ends, middle, model_params

logger = logging.getLogger(__name__)

_TRIED_STEPS = 3
# Of a problem's own program; a smaller last batch is part of it.
_TRIED_EXAMPLES, _TRIED_BATCH_SIZE = 5, 2
# Two models that differ in what training takes, so that each is seen to have its own.
_TRIED = ({"lr": 0.05, "weight_decay": 1e-2}, {"lr": 0.02, "weight_decay": 0.1})
# How many lanes a trainer opens unless told. On a CPU, perceptrons gain 2.5 to 3.7 times by 16, 2
# by 8 (``python -m benchmarks --only problems``), and a study trained no more epochs in all.
_CPU_LANES, _ACCELERATOR_LANES = 16, 32
# On a CPU four lanes of the built-in's own program are within a tenth of the fastest number, and of
# four trials the sampler chooses only three without the results of the others.
_CPU_LANES_OF_FAST = 4
_TIMED_SECONDS = 0.8
_TIMED_BATCHES = 20


@dataclass(frozen=True)
class Choice:
    """A program, and how many lanes suit it; why not side by side, if it is not.

    ``fast`` is the problem's own program, if that is what trains it. Seconds are those of a step of
    one trial, None where they were not measured. ``rates`` are arguments of the model in which
    trials of one program may differ, as they only say how much dropout drops.
    """

    program: Program
    n_lanes: int
    reason: str | None = None
    seconds_alone: float | None = None
    seconds_beside: float | None = None
    fast: FastProgram | None = None
    rates: frozenset[str] = frozenset()

    def tell(self) -> str:
        """Return what trains, and why, in words."""
        together = f"{self.n_lanes} trials side by side"
        if self.fast is not None:
            return f"{together}, by the problem's own program"
        if self.program is OneByOne:
            return f"one by one: {self.reason}"
        assert self.seconds_alone is not None
        assert self.seconds_beside is not None
        gain = self.seconds_alone / self.seconds_beside
        return f"{together}, {gain:.1f} times as fast as one by one"


def choose_program(ready: Ready, space: Mapping[str, Any], n_lanes: int | None) -> Choice:
    """Return what trains a problem of this space fastest."""
    example = middle(space)
    is_cpu = ready.device.type == "cpu"
    if ready.problem.fast is not None and "batch_size" not in example:
        with torch.random.fork_rng(devices=[]):
            reason = _find_fault(ready, example)
        if reason is None:
            default = _CPU_LANES_OF_FAST if is_cpu else _ACCELERATOR_LANES
            return Choice(OneByOne, n_lanes or default, fast=open_fast(ready))
        logger.warning("The problem's own program is not used: %s", reason)
    if n_lanes == 1:
        return Choice(OneByOne, 1, "one lane is asked for")
    n_together = n_lanes or (_CPU_LANES if is_cpu else _ACCELERATOR_LANES)
    batches = list(islice(ready.training_batches(0), _TIMED_BATCHES))
    with torch.random.fork_rng(devices=[]):
        few = batches[:_TRIED_STEPS]
        program = _find_program(ready, space)
        beside = partial(_train, ready, program, few)
        reason = _find_difference(ready, _try_with(ready, example), few, beside)
        programs = (OneByOne,) if reason else (OneByOne, program)
        try:
            seconds = _time_programs(ready, example, batches, programs, n_together)
        except Exception as error:  # noqa: BLE001 (of the user's code: each trial will tell)
            return Choice(OneByOne, 1, f"training raises {type(error).__name__}: {error}")
        choice = _choose_faster(reason, seconds, n_together, program)
        if choice.program is OneByOne:
            return choice
        return replace(choice, rates=find_rates(ready, space, few))


def _find_program(ready: Ready, space: Mapping[str, Any]) -> Program:
    """Return what may train all trials of a space side by side: by hand, if that takes them all."""
    if not model_params(space) and suits(ready.problem, ready.build(middle(space), seed=0).model):
        return ByHand
    return Stacked


def _try_with(ready: Ready, *examples: Params) -> list[Params]:
    """Return points of a space for lanes that are tried side by side, each with its own rules."""
    # The middle of a range may be too little to be missed.
    weights = dict.fromkeys({**ready.problem.fixed, **examples[0]}.keys() & {*BY_MAGNITUDE}, 0.1)
    pairs = zip(cycle(examples), _TRIED, strict=False)
    return [{**each, **weights, **own} for each, own in pairs]


def find_rates(ready: Ready, space: Mapping[str, Any], batches: Sequence[Any]) -> frozenset[str]:
    """Return the arguments of the model that only say how much dropout drops.

    Tried with all pairs of neighbours among what stands for their range: the models drop at other
    rates, and come out side by side as they do alone.
    """
    example, found = middle(space), set()
    for name in model_params(space):
        points = [{**example, name: value} for value in ends(space[name])]
        with contextlib.suppress(Exception):  # of the user's code at one of them
            if points[1:] and all(_differ_in_rates(ready, p, batches) for p in pairwise(points)):
                found.add(name)
    return frozenset(found)


def _differ_in_rates(ready: Ready, points: Sequence[Params], batches: Sequence[Any]) -> bool:
    """Tell whether models differ in rates of dropout alone: not in the places, nor in shapes."""
    lanes = [ready.build(point, seed=0) for point in points]
    drops = [find_sites(partial(lane.model.train(), batches[0][0], 0.0)) for lane in lanes]
    shapes = [[tensor.shape for tensor in lane.model.parameters()] for lane in lanes]
    rates = [[site.rate for site in sites] for sites in drops]
    if shapes[0] != shapes[1] or len(rates[0]) != len(rates[1]) or rates[0] == rates[1]:
        return False
    beside = partial(_train, ready, Stacked, batches)
    return _find_difference(ready, _try_with(ready, *points), batches, beside) is None


def _choose_faster(
    reason: str | None, seconds: Sequence[float], n_together: int, program: Program
) -> Choice:
    alone, beside = seconds[0], seconds[-1]
    if reason is None and beside > alone:
        reason = f"{n_together} at a time take {beside / alone:.1f} times as long"
    if reason is None:
        return Choice(program, n_together, None, alone, beside)
    logger.info("Trials train one by one, not side by side: %s", reason)
    return Choice(OneByOne, 1, reason, alone, beside if len(seconds) > 1 else None)


def for_fold(choice: Choice, ready: Ready) -> Choice:
    """Return the same choice for the same problem on another fold of its data."""
    return choice if choice.fast is None else replace(choice, fast=open_fast(ready))


def open_fast(ready: Ready) -> FastProgram:
    """Open a problem's own program on its data; TypeError if that is not in memory."""
    train, validation, fast = ready.parts.train, ready.parts.validation, ready.problem.fast
    assert fast is not None
    if not (isinstance(train, TensorPart) and isinstance(validation, TensorPart)):
        raise TypeError("its data is not in memory as tensors")
    scales = ready.last_batch == "scale"
    return fast(train.tree, validation.tree, ready.problem.batch_size, scales=scales)


def _find_fault(ready: Ready, example: Params) -> str | None:
    """Tell what is wrong with a problem's own program, by a few examples; None if nothing is."""
    part = ready.parts.train
    if isinstance(part, TensorPart):
        part = part.take(np.arange(min(_TRIED_EXAMPLES, part.n)))
    problem = replace(ready.problem, batch_size=_TRIED_BATCH_SIZE, last_batch=ready.last_batch)
    few = replace(ready, parts=Parts(part, part, None), problem=problem)

    def train(lanes: Sequence[Lane]) -> None:
        train_by(open_fast(few), lanes, few.order(0))

    return _find_difference(few, _try_with(ready, example), list(few.training_batches(0)), train)


def _find_difference(
    ready: Ready,
    points: Sequence[Params],
    batches: Sequence[Any],
    train: Callable[[Sequence[Lane]], None],
) -> str | None:
    """Tell how training points of a space side by side differs from plain torch; None if it does
    not.
    """
    lanes = [ready.build(point, seed) for seed, point in enumerate(points)]
    beside = copy.deepcopy(lanes)
    try:
        for lane in lanes:
            _train(ready, OneByOne, batches, [lane])
        train(beside)
    except Exception as error:  # noqa: BLE001 (a module may raise anything where it is not run)
        if "randomness error mode" in str(error):  # as `torch.vmap` says it
            return "it draws at random, other than by dropout outside of attention"
        return f"{type(error).__name__}: {first_line(error)}"
    for expected, found in zip(lanes, beside, strict=True):
        theirs = found.model.state_dict()
        for name, tensor in expected.model.state_dict().items():
            if not torch.allclose(tensor, theirs[name], rtol=1e-3, atol=1e-4):
                return f"{name.removeprefix('model.')} came out otherwise than by plain torch"
    return None


def _time_programs(
    ready: Ready,
    example: Params,
    batches: Sequence[Any],
    programs: Sequence[Program],
    n_lanes: int,
) -> list[float]:
    """Return the seconds that a step of one lane takes, the least of several, by program."""
    groups = []
    for program in programs:
        n = 1 if program is OneByOne else n_lanes
        own = [derive_seed(0, "timed", lane) for lane in range(n)]
        groups.append(Group(program, ready.problem, [ready.build(example, s) for s in own], 1))
    found = [float("inf")] * len(groups)
    ends = time.monotonic() + _TIMED_SECONDS
    # Where others compute, a long step is interrupted more often than the best of short ones.
    is_this_thread = ready.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if is_this_thread else time.perf_counter
    for count, (batch, _) in enumerate(cycle(batches)):
        if count > 1 and time.monotonic() > ends:
            break
        times = [_time(group, batch, clock) / len(group.lanes) for group in groups]
        found = list(map(min, found, times))
    return found


def time_fast(ready: Ready, program: FastProgram, example: Params, n_lanes: int) -> float:
    """Return the seconds that a step of one lane takes by a problem's own program."""
    lanes = [ready.build(example, derive_seed(0, "timed", lane)) for lane in range(n_lanes)]
    order, size = ready.order(0), ready.problem.batch_size

    def seconds(n_batches: int) -> float:
        started = time.perf_counter()
        train_by(program, lanes, order[: n_batches * size])
        return time.perf_counter() - started

    # Each call measures the metric, too, which is no part of a step.
    n = max(2, min(_TIMED_BATCHES, len(order) // size))
    few, many = (min(seconds(count) for _ in range(3)) for count in (1, n))
    return max(0.0, many - few) / (n - 1) / n_lanes


def _time(group: Group, batch: Any, clock: Callable[[], float]) -> float:
    started = clock()
    group.take(batch)
    group.mean_losses()  # waits for the device
    return clock() - started


def _train(ready: Ready, program: Program, batches: Sequence[Any], lanes: Sequence[Lane]) -> None:
    group = Group(program, ready.problem, lanes, ready.n_steps)
    for batch, share in batches:
        group.take(batch, share)
    group.store()
