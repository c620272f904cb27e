"""Train trials apart from any worker, as whatever worker ran them did: to replay or score them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from objectives.base import EpochResult, Lanes, TrainingConfig
from objectives.errors import ObjectiveError
from objectives.facts import Params
from objectives.opening import open_training


@dataclass(frozen=True)
class Beginning:
    """What a training begins with; ``init`` is the number of its initialisation."""

    params: Params
    init: int = 0


@dataclass(frozen=True)
class Trained:
    """A training after an epoch; ``test_value`` scores its model on the test part, as it is until
    the next epoch begins.
    """

    result: EpochResult
    test_value: Callable[[], float]


def train_side_by_side(
    config: TrainingConfig, beginnings: Sequence[Beginning], passes: Iterable[int]
) -> Iterator[list[Trained]]:
    """Train, an epoch in each of the passes; equal arguments give equal results.

    Raises ObjectiveError, also for what a user's model raises.
    """
    lanes = open_training(config, len(beginnings))
    for lane, beginning in enumerate(beginnings):
        lanes.add(lane, beginning.params, init=beginning.init)
    for number in passes:
        lanes.go_to_pass(number)
        results = lanes.train_pass()
        _check(lanes)
        yield [
            Trained(results[lane], partial(lanes.test_value, lane))
            for lane in range(len(beginnings))
        ]


def _check(lanes: Lanes) -> None:
    for error in lanes.take_failures().values():
        raise ObjectiveError(f"Training raised {type(error).__name__}: {error}") from error


def train_alone(
    config: TrainingConfig, beginning: Beginning, passes: Iterable[int]
) -> Iterator[Trained]:
    """Train one, an epoch in each of the passes; see ``train_side_by_side``."""
    for (trained,) in train_side_by_side(config, [beginning], passes):
        yield trained


def score_states(
    config: TrainingConfig, models: Sequence[tuple[Params, Mapping[str, Any]]]
) -> list[float]:
    """Return the test values of models with these parameters and states (see ``Lanes.state``)."""
    lanes, values = open_training(config, 1), []
    for params, state in models:
        lanes.add(0, params, state=state)
        values.append(lanes.test_value(0))
        lanes.remove(0)
    return values
