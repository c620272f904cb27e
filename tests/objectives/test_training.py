"""Our training is plain torch's, and a trial's results are its own."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from objectives.base import EpochResult, TrainingConfig
from objectives.datasets import load_training_data
from objectives.errors import UnknownNameError
from objectives.facts import Params
from objectives.seeds import permutation
from objectives.training import (
    TensorSplit,
    accuracy,
    build_model,
    choose_device,
    sgd_step,
    to_device,
    train_epoch,
)

CPU = torch.device("cpu")
CONFIG = TrainingConfig(objective="simplenet", dataset="digits", seed=3, device="cpu")
GOOD = {"weight_decay": 1e-4, "lr": 0.1}
OTHER = {"weight_decay": 1e-2, "lr": 0.3}
# The first step alone moves weights by about 1e5: after 18 steps nothing is finite.
DIVERGING = {"weight_decay": 1e-4, "lr": 1e6}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Train with one thread, as workers do: on a busy machine two threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _distance_from_torch_optimizer(theirs: Params, ours: Params) -> float:
    """Take 20 equal steps with both in float64 and return the largest difference of a weight."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    start = [noise(5, 3), noise(3)]
    expected = [nn.Parameter(tensor.clone()) for tensor in start]
    found = [nn.Parameter(tensor.clone()) for tensor in start]
    optimizer = torch.optim.SGD(expected, lr=theirs["lr"], weight_decay=theirs["weight_decay"])
    for _ in range(20):
        gradients = (noise(5, 3), noise(3))
        for parameter, gradient in zip(expected, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        sgd_step(list(found), gradients, ours)
    pairs = zip(expected, found, strict=True)
    return max(float((left - right).detach().abs().max()) for left, right in pairs)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.1])
def test_sgd_step_after_twenty_steps_equals_torch_optimizer(weight_decay: float) -> None:
    """Weight decay means exactly what ``torch.optim.SGD`` means by it."""
    both = {"weight_decay": weight_decay, "lr": 0.1}
    # float64 carries 16 digits; 20 steps on weights near 1 lose less than four of them.
    assert _distance_from_torch_optimizer(both, both) < 1e-12


def test_sgd_step_with_half_the_weight_decay_differs_from_torch_optimizer() -> None:
    """The comparison with torch would notice the factor of two that penalties often carry."""
    theirs = {"weight_decay": 0.1, "lr": 0.1}
    halved = {"weight_decay": 0.05, "lr": 0.1}
    assert _distance_from_torch_optimizer(theirs, halved) > 0.01


def test_train_epoch_in_double_precision_equals_a_plain_torch_loop() -> None:
    """An epoch gives the weights and the mean loss of the loop in every torch tutorial."""
    train, _ = load_training_data("digits", seed=0)
    data = to_device(train, CPU, torch.float64)
    images = data.scaled(data.images)
    order = torch.from_numpy(permutation(len(train), seed=1))

    plain = build_model("simplenet", "digits", seed=2).double()
    optimizer = torch.optim.SGD(plain.parameters(), **OTHER)
    total = 0.0
    for batch in order.split(64):  # 17 batches of 64 and one of 12
        optimizer.zero_grad()
        loss = functional.cross_entropy(plain(images[batch]), data.labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)

    ours = build_model("simplenet", "digits", seed=2).double()
    mean_loss = train_epoch(ours, OTHER, data, order, batch_size=64)

    # The sum of losses is kept in float32, whatever the model: seven digits.
    assert mean_loss == pytest.approx(total / len(train), rel=1e-6)
    for expected, found in zip(plain.parameters(), ours.parameters(), strict=True):
        # Weights are below 1 in size, and 18 steps lose less than four of 16 digits.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_accuracy_over_more_than_one_scoring_batch_counts_every_image() -> None:
    """Scoring in batches gives the fraction that scoring at once gives."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(20_001, 64, dtype=torch.float64, generator=generator)
    labels = torch.randint(10, (20_001,), generator=generator)
    model = build_model("simplenet", "digits", seed=0).double()
    n_correct = sum(
        int(guess == label)
        for guess, label in zip(model(images).argmax(1).tolist(), labels.tolist(), strict=True)
    )
    assert accuracy(model, TensorSplit(images, labels, 1, torch.float64)) == n_correct / 20_001


def test_build_model_with_the_same_seed_gives_the_same_weights() -> None:
    """Whatever worker builds it, a trial starts from the same weights, and only that trial."""
    first, same, other = (build_model("simplenet", "digits", seed) for seed in (1, 1, 2))
    assert _is_equal(first, same)
    assert not _is_equal(first, other)


def test_build_model_leaves_the_global_generator_alone() -> None:
    """An objective of the user's own draws the same random numbers beside ours."""
    before = torch.get_rng_state()
    build_model("simplenet", "digits", seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_build_model_initialises_as_torch_does_by_default() -> None:
    """A weight decay found here suits the network as any torch user would write it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        plain = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    assert _is_equal(build_model("simplenet", "mnist", seed=5), plain)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_epoch_result_with_loss_not_finite_is_diverged(loss: float) -> None:
    """Every way in which a float stops being a number counts as divergence."""
    assert EpochResult(epoch=1, loss=loss, value=0.1).is_diverged


def test_choose_device_automatically_gives_one_that_computes() -> None:
    """Nobody has to know what hardware there is."""
    device = choose_device("auto")
    assert float(torch.ones(3, device=device).sum()) == 3


@pytest.mark.parametrize("name", ["abacus", "cuda:99", ""])
def test_choose_device_that_is_not_here_is_refused_by_name(name: str) -> None:
    """A device that is unknown or missing is refused before a trial is asked for."""
    with pytest.raises(UnknownNameError, match=f"Device '{name}' cannot be used here"):
        choose_device(name)


def _is_equal(left: nn.Module, right: nn.Module) -> bool:
    """Tell whether two models have the same parameters, bit for bit."""
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)
