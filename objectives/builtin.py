"""Our own networks on our own data sets, as problems like anybody's."""

import importlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from objectives.base import TrainingConfig
from objectives.catalog import DATASETS, OBJECTIVES
from objectives.data import BatchPart, TensorPart
from objectives.datasets import Split, load_test_data, load_training_data
from objectives.perceptron import Perceptrons
from objectives.problem import Problem
from objectives.seeds import derive_seed

# By the objective's name: a program that trains a model as plain SGD does, but faster.
_PROGRAMS: dict[str, Callable[..., Any]] = {"simplenet": Perceptrons}
# What that takes of a trial, and what of a study's settings changes no step.
_PLAIN_NAMES, _PLAIN_SETTINGS = {"weight_decay", "lr"}, {"strength", "patience", "folds"}


def make_builtin(config: TrainingConfig) -> Problem:
    """Return the problem that a study's objective and data set name; the test set is not read.

    Raises DataError.
    """
    facts = DATASETS[config.dataset]
    train, validation = load_training_data(
        config.dataset, seed=config.seed, train_size=config.train_size, data_dir=config.data_dir
    )
    if config.label_noise:
        labels = add_noise(train.labels, facts.n_classes, config.label_noise, config.seed)
        train = Split(train.images, labels, train.white)
    module, _, name = OBJECTIVES[config.objective].where.partition(":")
    make = getattr(importlib.import_module(module), name)
    program = _PROGRAMS.get(config.objective) if _is_plain(config, train) else None

    @cache
    def read_test() -> list[Any]:
        return [_share(load_test_data(config.dataset, data_dir=config.data_dir))]

    return Problem(
        model=partial(make, facts),
        train=TensorPart(_share(train)),
        validation=TensorPart(_share(validation)),
        test=BatchPart(read_test, 1, facts.n_test, facts.n_test),
        prepare=partial(_scale, white=train.white),
        metric=facts.metric.name.removeprefix("validation "),
        fast=None if program is None else partial(program, white=train.white),
    )


def _is_plain(config: TrainingConfig, train: Split) -> bool:
    """Tell whether all trials are of SGD with weight decay, on images."""
    names = {*(config.space or _PLAIN_NAMES), *config.fixed}
    is_plain = names <= _PLAIN_NAMES and config.settings.keys() <= _PLAIN_SETTINGS
    return is_plain and train.images.dtype == np.uint8


def add_noise(
    labels: NDArray[np.int64], n_classes: int, share: float, seed: int
) -> NDArray[np.int64]:
    """Return labels of which a share, in 0..1, is another class, each as likely."""
    draws = np.random.default_rng(derive_seed(seed, "label noise"))
    chosen = draws.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + draws.integers(1, n_classes, len(chosen))) % n_classes
    return noisy


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
