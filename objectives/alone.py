"""Train one trial by itself, as whatever worker ran it did: to replay it, or to score its model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from objectives.base import EpochResult, Hyperparameters, TrainingConfig
from objectives.datasets import Split
from objectives.lanes import open_lanes
from objectives.training import accuracy, build_model, choose_device, to_device


def train_alone(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    *,
    passes: Iterable[int],
    trial_number: int = 0,
) -> Iterator[tuple[EpochResult, Callable[[Split], float]]]:
    """Train one trial, an epoch in each of the passes; equal arguments give equal results.

    With each result comes a function that scores the model as it is then on another split.
    Raises DataError, and UnknownNameError for a device not to be had.
    """
    lanes = open_lanes(config, 1)
    lanes.add(trial_number, hyperparameters)

    def score(split: Split) -> float:
        return accuracy(lanes.model(trial_number), to_device(split, choose_device(config.device)))

    for number in passes:
        lanes.go_to_pass(number)
        yield lanes.train_pass()[trial_number], score


def score_state(config: TrainingConfig, state: Mapping[str, Any], split: Split) -> float:
    """Return the accuracy of a model with this state (see ``Lanes.state``), in 0..1."""
    device = choose_device(config.device)
    model = build_model(config.objective, config.dataset, seed=0).to(device)
    model.load_state_dict(state)
    return accuracy(model, to_device(split, device))
