"""Train trials apart from any worker, as whatever worker ran them did: to replay or score them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from objectives.base import EpochResult, Hyperparameters, TrainingConfig
from objectives.datasets import Split
from objectives.lanes import BatchedLanes, open_lanes
from objectives.training import accuracy, build_model, choose_device, to_device


@dataclass(frozen=True)
class Beginning:
    """What a training begins with; ``init`` is the number of its initialisation."""

    hyperparameters: Hyperparameters
    init: int = 0


@dataclass(frozen=True)
class Trained:
    """A training after an epoch; ``score`` gives its model's accuracy on another split, as it is
    until the next epoch begins.
    """

    result: EpochResult
    score: Callable[[Split], float]


def train_side_by_side(
    config: TrainingConfig, beginnings: Sequence[Beginning], passes: Iterable[int]
) -> Iterator[list[Trained]]:
    """Train, an epoch in each of the passes; equal arguments give equal results.

    Raises DataError, and UnknownNameError for a device not to be had.
    """
    lanes = open_lanes(config, len(beginnings))
    for lane, beginning in enumerate(beginnings):
        lanes.add(lane, beginning.hyperparameters, init=beginning.init)
    for number in passes:
        lanes.go_to_pass(number)
        results = lanes.train_pass()
        yield [
            Trained(results[lane], partial(_score, config, lanes, lane))
            for lane in range(len(beginnings))
        ]


def _score(config: TrainingConfig, lanes: BatchedLanes, lane: int, split: Split) -> float:
    return accuracy(lanes.model(lane), to_device(split, choose_device(config.device)))


def train_alone(
    config: TrainingConfig, beginning: Beginning, passes: Iterable[int]
) -> Iterator[Trained]:
    """Train one, an epoch in each of the passes; see ``train_side_by_side``."""
    for (trained,) in train_side_by_side(config, [beginning], passes):
        yield trained


def score_state(config: TrainingConfig, state: Mapping[str, Any], split: Split) -> float:
    """Return the accuracy of a model with this state (see ``Lanes.state``), in 0..1."""
    device = choose_device(config.device)
    model = build_model(config.objective, config.dataset, seed=0).to(device)
    model.load_state_dict(state)
    return accuracy(model, to_device(split, device))
