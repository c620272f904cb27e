"""Train many trials as one batched program, and choose the fastest program that a model allows.

Every program gives what plain torch gives for each trial alone, up to rounding: a program that
does not do so in a trial run is not chosen.
"""

import copy
import functools
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from objectives.base import EpochResult, Fit, TrainingConfig
from objectives.datasets import load_test_data, load_training_data
from objectives.errors import first_line
from objectives.facts import Params
from objectives.perceptron import Perceptrons
from objectives.seeds import derive_seed, permutation
from objectives.stacked import StackedModels
from objectives.training import (
    TensorSplit,
    accuracy,
    build_model,
    choose_device,
    to_device,
    train_epoch,
)

logger = logging.getLogger(__name__)

Kind = type[Perceptrons] | type[StackedModels]

# How many lanes a worker opens unless told. On a CPU four are within a tenth of the fastest number
# (``python -m benchmarks``), and of four trials the sampler chooses only three without the results
# of the others. An accelerator's steps take as long for one model as for dozens.
_CPU_LANES, _ACCELERATOR_LANES = 4, 32

# A trial run's steps; the smaller last batch is part of it.
_TRIAL_IMAGES, _TRIAL_BATCH_SIZE = 5, 3
_TRIAL_PARAMS = (
    {"weight_decay": 1e-2, "lr": 0.1},
    {"weight_decay": 0.3, "lr": 0.05},
)


class Program(Protocol):
    """One way to train several models for an epoch at once."""

    n_images: int

    @property
    def n_together(self) -> int | None:
        """How many models are fastest at a time; None if the more the better."""
        ...

    def train(
        self,
        models: Sequence[nn.Module],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> list[tuple[float, float]]:
        """Train for an epoch in place; return mean loss and validation accuracy by model.

        ``order`` is a permutation of the training images, ``(n,)`` int64 on the CPU.
        """
        ...

    def training_value(self, model: nn.Module) -> float:
        """Return the fraction of training images that a model classifies correctly."""
        ...


class OneByOne:
    """Trains models one after another, each by plain torch: right for every model."""

    n_together: int | None = 1

    def __init__(self, train: TensorSplit, validation: TensorSplit, batch_size: int) -> None:
        self._train, self._validation, self._batch_size = train, validation, batch_size
        self.n_images = len(train.labels)

    def train(
        self,
        models: Sequence[nn.Module],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> list[tuple[float, float]]:
        """Train for an epoch in place; return mean loss and validation accuracy by model."""
        order = order.to(self._train.labels.device)
        return [
            (
                train_epoch(model, chosen, self._train, order, self._batch_size),
                accuracy(model, self._validation),
            )
            for model, chosen in zip(models, params, strict=True)
        ]

    def training_value(self, model: nn.Module) -> float:
        """Return the fraction of training images that a model classifies correctly."""
        return accuracy(model, self._train)


@dataclass
class _Lane:
    model: nn.Module
    params: Params
    epoch: int = 0


class BatchedLanes:
    """Lanes whose models a program trains side by side (see ``objectives.base.Lanes``).

    Models are handed to the program anew each pass, so that free lanes cost nothing.
    """

    def __init__(
        self,
        program: Program,
        build: Callable[[int], nn.Module],
        *,
        seed: int,
        n_lanes: int,
        score_test: Callable[[nn.Module], float],
    ) -> None:
        """Train what ``build`` makes of an initialisation seed, for the study with this seed.

        ``score_test`` reads the test images, and returns which fraction a model classifies right.
        """
        self._score_test = score_test
        self.program = program
        self._build = build
        self._seed = seed
        self._n_lanes = n_lanes
        self._next_pass = 0
        self._lanes: dict[int, _Lane] = {}

    @property
    def n_free(self) -> int:
        """How many more trials can be added now."""
        return self._n_lanes - len(self._lanes)

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
        """Give a free lane to a trial; one that goes on had this state after this epoch.

        ``init`` is the number of its initialisation, the trial's own unless given.
        """
        assert self.n_free > 0
        number = trial_number if init is None else init
        model = self._build(derive_seed(self._seed, "init", number))
        if state is not None:
            model.load_state_dict(state)
        self._lanes[trial_number] = _Lane(model, params, epoch)

    def go_to_pass(self, number: int) -> None:
        """Let ``train_pass`` run this pass next."""
        self._next_pass = number

    def train_pass(self) -> dict[int, EpochResult]:
        """Train every lane for one epoch and return the results by trial number."""
        seed = derive_seed(self._seed, "order", self._next_pass)
        order = torch.from_numpy(permutation(self.program.n_images, seed))
        results: dict[int, EpochResult] = {}
        for numbers in _evenly(list(self._lanes), self.program.n_together):
            results |= self._train_together(numbers, order)
        self._next_pass += 1
        return results

    def _train_together(self, numbers: list[int], order: torch.Tensor) -> dict[int, EpochResult]:
        lanes = [self._lanes[number] for number in numbers]
        outcomes = self.program.train(
            [lane.model for lane in lanes], [lane.params for lane in lanes], order
        )
        for lane in lanes:
            lane.epoch += 1
        return {
            number: EpochResult(lane.epoch, *outcome)
            for number, lane, outcome in zip(numbers, lanes, outcomes, strict=True)
        }

    def remove(self, trial_number: int) -> None:
        """Free a trial's lane."""
        del self._lanes[trial_number]

    def state(self, trial_number: int) -> dict[str, torch.Tensor]:
        """Return a copy of a trial's parameters and buffers, on the CPU."""
        tensors = self.model(trial_number).state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    def take_failures(self) -> dict[int, BaseException]:
        """Return nothing: our own models raise nothing."""
        return {}

    def test_value(self, trial_number: int) -> float:
        """Return the fraction of test images that a trial's model classifies right now."""
        return self._score_test(self.model(trial_number))

    def fit(self, trial_number: int) -> Fit:
        """Score a trial's model, as it is now, on the training images."""
        model = self.model(trial_number)
        squares = [float(each.detach().double().square().sum()) for each in model.parameters()]
        return Fit(self.program.training_value(model), math.sqrt(sum(squares)))

    def model(self, trial_number: int) -> nn.Module:
        """Return the model of a trial in training."""
        return self._lanes[trial_number].model


def open_lanes(
    config: TrainingConfig,
    n_lanes: int | None = None,
    *,
    build: Callable[[int], nn.Module] | None = None,
    kinds: Sequence[Kind] = (Perceptrons, StackedModels),
) -> BatchedLanes:
    """Open lanes with the first kind of program that suits the model, or else one by one.

    Without ``n_lanes`` it is four on a CPU, 32 elsewhere, one where trials train one by one.
    ``build`` makes a model of an initialisation seed, by default the objective's; the images take
    its type of number. Raises DataError, and UnknownNameError for a device not to be had.
    """
    device = choose_device(config.device)
    build = build or functools.partial(build_model, config.objective, config.dataset)

    def build_there(seed: int) -> nn.Module:
        return build(seed).to(device)

    splits = load_training_data(
        config.dataset, seed=config.seed, train_size=config.train_size, data_dir=config.data_dir
    )
    dtype = next(build_there(0).parameters()).dtype
    train, validation = (to_device(split, device, dtype) for split in splits)
    kind = _choose_kind(kinds, build_there, train)
    program = (kind or OneByOne)(train, validation, config.batch_size)
    if n_lanes is None:
        n_lanes = _default_lanes(program, device)

    @functools.cache
    def read_test() -> TensorSplit:
        test = load_test_data(config.dataset, data_dir=config.data_dir)
        return to_device(test, device, dtype)

    def score_test(model: nn.Module) -> float:
        return accuracy(model, read_test())

    return BatchedLanes(
        program, build_there, seed=config.seed, n_lanes=n_lanes, score_test=score_test
    )


def _default_lanes(program: Program, device: torch.device) -> int:
    if isinstance(program, OneByOne):
        return 1
    return _CPU_LANES if device.type == "cpu" else _ACCELERATOR_LANES


def _choose_kind(
    kinds: Sequence[Kind], build: Callable[[int], nn.Module], train: TensorSplit
) -> Kind | None:
    """Return the first kind that does in a trial run what plain torch does; None if none does."""
    reasons = []
    models = [build(seed) for seed in range(len(_TRIAL_PARAMS))]
    few = train.take(torch.arange(_TRIAL_IMAGES, device=train.labels.device))
    for kind in kinds:
        reason = kind.reason_against(models[0]) or _try(kind, models, few)
        if reason is None:
            return kind
        reasons.append(f"{kind.__name__}: {reason}")
    logger.warning("Trials train one by one, not side by side: %s", "; ".join(reasons))
    return None


def _try(kind: Kind, models: Sequence[nn.Module], few: TensorSplit) -> str | None:
    """Train copies of the models on a few images; tell what went wrong, or return None."""
    expected, found = copy.deepcopy(list(models)), copy.deepcopy(list(models))
    order = torch.arange(len(few.labels))
    with torch.random.fork_rng(devices=[]):
        arguments = _TRIAL_PARAMS, order
        outcomes = OneByOne(few, few, _TRIAL_BATCH_SIZE).train(expected, *arguments)
        try:
            theirs = kind(few, few, _TRIAL_BATCH_SIZE).train(found, *arguments)
        except Exception as error:  # noqa: BLE001 (a module may raise anything where it is not run)
            return f"{type(error).__name__}: {first_line(error)}"
    losses_agree = all(
        math.isclose(left, right, rel_tol=1e-3, abs_tol=1e-4)
        for (left, _), (right, _) in zip(outcomes, theirs, strict=True)
    )
    if losses_agree and all(itertools.starmap(_is_close, zip(expected, found, strict=True))):
        return None
    return "a trial run gave other weights than plain torch"


def _is_close(left: nn.Module, right: nn.Module) -> bool:
    """Tell whether parameters and buffers agree up to the rounding of a few float32 steps."""
    theirs = right.state_dict()
    return all(
        torch.allclose(tensor, theirs[name], rtol=1e-3, atol=1e-4)
        for name, tensor in left.state_dict().items()
    )


def _evenly(numbers: list[int], n_together: int | None) -> list[list[int]]:
    """Divide into the fewest groups of at most ``n_together``, equal in size up to one."""
    n_groups = math.ceil(len(numbers) / (n_together or max(1, len(numbers))))
    return [numbers[group::n_groups] for group in range(n_groups)]
