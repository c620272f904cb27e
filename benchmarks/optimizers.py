"""What a step of SimpleNet costs by optimizer: side by side by hand and by torch.func, CPU time."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from benchmarks.section import Figure, Section
from benchmarks.setting import DATASET, SEED, Setting, show_spread, spread

N_LANES = 8
N_STEPS = 40
PLAIN = "SGD, its own program"
BY_HAND, STACKED = "gradient by hand", "torch.func"
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "SGD with momentum": {"momentum": 0.9},
    "Adam": {"optimizer": "adam"},
    "AdamW": {"optimizer": "adamw"},
}

NOTE = """\
Microseconds of CPU time a step and model of SimpleNet on MNIST, batches of 64, {n_lanes} lanes, one
thread; medians and extremes of {n_rounds} rounds, each of which takes every way in turn for
{n_steps} steps. Ratios are medians of those within a round. *SGD, its own program* trains SGD with
weight decay and nothing else: it keeps no gradient, and leaves out pixels that are dark."""


def measure(setting: Setting) -> Section:
    """Time every way in turn."""
    import torch

    torch.set_num_threads(1)
    n_rounds = 3 if setting.is_quick else 15
    ways = _open(setting)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(n_rounds + 1):
        setting.announce(f"optimizers, round {number} of {n_rounds}")
        for name, train in ways.items():
            started = time.thread_time()
            train()
            if number:  # the first warms up
                seconds = time.thread_time() - started
                found[name].append(1e6 * seconds / N_STEPS / N_LANES)
    return Section(
        title="What an optimizer costs",
        note=NOTE.format(n_lanes=N_LANES, n_rounds=n_rounds, n_steps=N_STEPS),
        headings=("way", "median us", "min us", "max us", "of SGD's", "of SGD's own program"),
        rows=[
            [name, *show_spread(values, 0), *_ratios(found, name)] for name, values in found.items()
        ],
        figures=[
            Figure(
                f"{name} by hand, beside SGD",
                _ratio(found, f"{name}, {BY_HAND}", f"SGD, {BY_HAND}"),
                " times",
                1.3,
                at_least=False,
            )
            for name in list(OPTIMIZERS)[1:]
        ],
        raw={name: spread(values) for name, values in found.items()},
    )


def _open(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return by name what takes the steps."""
    from objectives.base import TrainingConfig
    from objectives.builtin import make_builtin
    from objectives.by_hand import ByHand
    from objectives.gradients import Stacked
    from objectives.group import Group, Program, train_by
    from objectives.program_choice import open_fast
    from objectives.ready import make_ready

    config = TrainingConfig("simplenet", DATASET, SEED, data_dir=setting.data_dir, device="cpu")
    ready = make_ready(make_builtin(config), config)[0]
    order = ready.order(0)[: N_STEPS * config.batch_size]
    batches = [batch for batch, _ in islice(ready.training_batches(0), N_STEPS)]
    seeds, params = range(N_LANES), {"lr": 1e-3, "weight_decay": 1e-3}
    plain = [ready.build(params, seed) for seed in seeds]
    validation: Any = ready.parts.train
    few = replace(ready, parts=replace(ready.parts, validation=validation.take(order[:1])))
    program = open_fast(few)
    ways: dict[str, Callable[[], object]] = {PLAIN: lambda: train_by(program, plain, order)}
    kinds: Mapping[str, Program] = {BY_HAND: ByHand, STACKED: Stacked}
    for kind, each in kinds.items():
        for name, fields in OPTIMIZERS.items():
            own = replace(ready, problem=replace(ready.problem, fast=None, **fields))
            lanes = [own.build(params, seed) for seed in seeds]
            group = Group(each, own.problem, lanes, own.n_steps)
            ways[f"{name}, {kind}"] = partial(_take, group, batches)
    return ways


def _take(group: Any, batches: Any) -> None:
    for batch in batches:
        group.take(batch)


def _ratio(found: Mapping[str, list[float]], name: str, beside: str) -> float:
    return statistics.median(a / b for a, b in zip(found[name], found[beside], strict=True))


def _ratios(found: Mapping[str, list[float]], name: str) -> list[str]:
    _, _, kind = name.partition(", ")
    own = PLAIN if name == PLAIN else f"SGD, {kind}"
    return [f"{_ratio(found, name, beside):.2f}" for beside in (own, PLAIN)]
