"""Train one trial by itself, as whatever worker ran it did: to replay it, or to score its model."""

from collections.abc import Callable, Iterator

from objectives.base import EpochResult, Hyperparameters, TrainingConfig
from objectives.datasets import Split
from objectives.lanes import open_lanes
from objectives.training import accuracy, choose_device, to_device


def train_alone(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    *,
    epochs: int,
    trial_number: int = 0,
    first_pass: int = 0,
) -> Iterator[tuple[EpochResult, Callable[[Split], float]]]:
    """Train one trial, epoch by epoch; equal numbers, passes and seeds give equal results.

    With each result comes a function that scores the model as it is then on another split.
    Raises DataError, and UnknownNameError for a device not to be had.
    """
    lanes = open_lanes(config, 1, first_pass)
    lanes.add(trial_number, hyperparameters)

    def score(split: Split) -> float:
        return accuracy(lanes.model(trial_number), to_device(split, choose_device(config.device)))

    for _ in range(epochs):
        yield lanes.train_pass()[trial_number], score
