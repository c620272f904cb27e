"""Data that is drawn at random whenever it is read: shuffled by a DataLoader, or augmented."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from objectives.base import TrainingConfig
from objectives.data import seed_draws
from objectives.describing import describe
from objectives.errors import ProblemError
from objectives.parts import read_parts
from objectives.problem import Problem
from objectives.problem_lanes import open_problem_lanes
from objectives.reading import read_part
from objectives.ready import Ready, make_ready

N = 96
INPUTS = torch.arange(N * 3, dtype=torch.float32).reshape(N, 3)
LABELS = (INPUTS[:, 0] % 2).long()
CONFIG = TrainingConfig("", "", 0, batch_size=16, epochs=3, device="cpu")


class Augmented(Dataset[Any]):
    """Examples with noise, as transforms draw it."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        self._draw = draw

    def __len__(self) -> int:
        """Return how many there are."""
        return N

    def __getitem__(self, index: int) -> Any:
        """Return one, as no call before has."""
        return INPUTS[index] + float(self._draw()), LABELS[index]


DRAWS = {
    "torch": lambda: torch.rand(()),
    "numpy": np.random.rand,
    "random": random.random,
    "rarely": lambda: random.random() < 0.2,
}


def _ready(problem: Problem) -> Ready:
    return make_ready(problem, CONFIG)[0]


def _pass(ready: Ready, number: int) -> torch.Tensor:
    return torch.cat([batch[0] for batch, _ in ready.training_batches(number)])


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_augmented_examples_are_drawn_anew_in_each_pass(draw: Callable[[], Any]) -> None:
    """The same in the same pass, whatever was drawn before; and nobody takes it for other data."""
    problem = Problem(lambda: nn.Linear(3, 2), Augmented(draw), test=0)
    seed_draws(7)
    first = _ready(problem)
    seed_draws(8)
    second = _ready(problem)
    assert not first.parts.train.in_memory
    assert first.parts.train.digest() == second.parts.train.digest()
    assert torch.equal(_pass(first, 0), _pass(second, 0))
    assert not torch.equal(_pass(first, 0), _pass(first, 1))


def test_examples_that_stay_the_same_are_kept_though_they_hold_nan() -> None:
    """Or nobody would be told of it."""
    with pytest.raises(Exception, match="1 of 96 examples hold NaN"):
        read_part(TensorDataset(INPUTS.clone().index_fill(0, torch.tensor(5), torch.nan)), "data")


def _loader(begin: int, end: int) -> Any:
    return DataLoader(TensorDataset(INPUTS[begin:end], LABELS[begin:end]), 16, shuffle=True)


def test_data_of_loaders_that_shuffle_is_the_same_elsewhere() -> None:
    """By its digest; a pass has an order of its own, the same each time."""
    problem = Problem(lambda: nn.Linear(3, 2), train=_loader(0, 64), validation=_loader(64, 96))
    seed_draws(7)
    first = read_parts(problem, 0)[0]
    seed_draws(8)
    second = read_parts(problem, 0)[0]
    assert first.train.digest() == second.train.digest()
    ready = _ready(problem)
    assert torch.equal(_pass(ready, 3), _pass(ready, 3))
    assert not torch.equal(_pass(ready, 3), _pass(ready, 4))


@pytest.mark.parametrize("as_loader", [True, False], ids=["DataLoader", "function"])
def test_batches_of_ones_own_are_counted_by_their_examples(*, as_loader: bool) -> None:
    """What is said of them is right, each counts whole however many there are, all are trained."""
    data = TensorDataset(torch.randn(1000, 3), torch.arange(1000) % 2)
    loader = DataLoader(data, 10)
    batches: Any = loader if as_loader else lambda: iter(loader)
    problem = Problem(lambda: nn.Linear(3, 2), train=batches, validation=_loader(0, 96))
    found = describe(problem, None, {}, seed=0)
    assert found.facts.data is not None
    assert (found.facts.data.n_train, found.facts.data.n_validation) == (1000, 96)
    assert (found.batch_size, found.last_batch) == (10, "keep")
    ready = _ready(problem)
    assert ready.n_steps == 100
    assert {share for _, share in ready.training_batches(0)} == {1.0}
    for name, value in (("batch_size", 32), ("last_batch", "scale")):
        with pytest.raises(ProblemError, match=f"{name}: train gives batches of its own"):
            describe(problem, None, {name: value}, seed=0)


def test_batches_that_differ_whenever_they_are_made_are_known_by_their_number() -> None:
    """No seed of ours reaches what draws from a generator of its own."""

    def make() -> Any:
        rng = np.random.default_rng()
        return [(torch.from_numpy(rng.random((16, 3), dtype=np.float32)), LABELS[:16])] * 2

    digests = {read_part(make, "train").digest() for _ in range(3)}
    assert len(digests) == 1
    assert digests != {read_part(lambda: [*make(), *make()], "train").digest()}


def test_models_and_data_of_bfloat16_are_trained() -> None:
    """NumPy does not know the type."""
    data = INPUTS.bfloat16() / 100, LABELS
    problem = Problem(lambda: nn.Linear(3, 2).bfloat16(), data, epochs=3, batch_size=16)
    facts = describe(problem, None, {}, seed=0).facts.data
    assert facts is not None
    assert facts.n_train == N - 2 * round(N / 10)
    lanes = open_problem_lanes(problem, CONFIG, n_lanes=2)
    for number in range(2):
        lanes.add(number, {"lr": 0.1, "weight_decay": 1e-3})
    results = lanes.train_pass()
    assert not lanes.take_failures()
    assert [result.is_diverged for result in results.values()] == [False, False]
    assert {t.dtype for t in lanes.state(0)["model"].values()} == {torch.bfloat16}
