"""Our own networks on our own data sets, as problems like anybody's."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from objectives.base import TrainingConfig
from objectives.catalog import DATASETS
from objectives.data import BatchPart, TensorPart
from objectives.datasets import Split, load_test_data, load_training_data
from objectives.perceptron import Perceptrons
from objectives.problem import Problem
from objectives.simplenet import SimpleNet

# By the objective's name: how a model is made of numbers of inputs and classes, and the program
# that trains it as plain torch does, but faster, if there is one.
_MODELS: dict[str, tuple[Callable[[int, int], nn.Module], Callable[..., Any] | None]] = {
    "simplenet": (SimpleNet, Perceptrons),
}


def make_builtin(config: TrainingConfig) -> Problem:
    """Return the problem that a study's objective and data set name; the test set is not read.

    Raises DataError.
    """
    facts = DATASETS[config.dataset]
    train, validation = load_training_data(
        config.dataset, seed=config.seed, train_size=config.train_size, data_dir=config.data_dir
    )
    make, program = _MODELS[config.objective]

    @cache
    def read_test() -> list[Any]:
        return [_share(load_test_data(config.dataset, data_dir=config.data_dir))]

    return Problem(
        model=partial(make, facts.n_inputs, facts.n_classes),
        train=TensorPart(_share(train)),
        validation=TensorPart(_share(validation)),
        test=BatchPart(read_test, 1),
        prepare=partial(_scale, white=train.white),
        metric="accuracy",
        fast=None if program is None else partial(program, white=train.white),
    )


def _share(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images ``(n, inputs)`` uint8 and labels ``(n,)`` in the memory of the arrays.

    Images stay uint8, a quarter of the memory to hold and to gather a batch from.
    """
    arrays = (np.require(array, requirements="W") for array in (split.images, split.labels))
    images, labels = map(torch.from_numpy, arrays)
    return images, labels


def _scale(batch: tuple[torch.Tensor, torch.Tensor], white: int) -> Any:
    """Return images in 0..1, and labels."""
    images, labels = batch
    return images.float().div_(white), labels
