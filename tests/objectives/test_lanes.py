"""However many trials train side by side, each is the trial that plain torch trains alone."""

import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from objectives.base import EpochResult, TrainingConfig
from objectives.datasets import Split, load_training_data
from objectives.facts import Params
from objectives.lanes import BatchedLanes, OneByOne, open_lanes
from objectives.perceptron import Perceptrons
from objectives.seeds import derive_seed, permutation
from objectives.stacked import StackedModels
from objectives.training import accuracy, build_model, to_device, train_epoch

CONFIG = TrainingConfig(objective="simplenet", dataset="digits", seed=3, device="cpu")
GOOD = {"weight_decay": 1e-4, "lr": 0.1}
OTHER = {"weight_decay": 1e-2, "lr": 0.3}
# The first step alone moves weights by about 1e5: after 18 steps nothing is finite.
DIVERGING = {"weight_decay": 1e-4, "lr": 1e6}
# Every trial's own; among them decay so strong that a lazily kept scale has to be renewed within a
# pass, a decay factor of exactly 0, one below 0, and none at all.
CHOICES = [
    GOOD,
    OTHER,
    {"weight_decay": 3.0, "lr": 0.2},
    {"weight_decay": 0.0, "lr": 0.05},
    {"weight_decay": 2.0, "lr": 0.5},
    {"weight_decay": 6.0, "lr": 0.2},
    {"weight_decay": 1e-3, "lr": 1.0},
    {"weight_decay": 0.1, "lr": 0.0},
]
KINDS = [Perceptrons, StackedModels]
Kind = type[Perceptrons] | type[StackedModels]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Train with one thread, as workers do: on a busy machine two threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _double(seed: int) -> nn.Module:
    return build_model("simplenet", "digits", seed).double()


class _Wide(nn.Module):
    """A network of another kind, with two hidden layers and no dropout unless asked for."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers = nn.Sequential(nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 20), nn.ReLU())
        self.last = nn.Linear(20, 10, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.layers(images)
        if self.dropout:
            hidden = functional.dropout(hidden, self.dropout, self.training)
        logits: torch.Tensor = self.last(hidden)
        return logits


class _Branching(nn.Module):
    """A network that looks at its numbers in Python, which cannot be batched."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(images)
        return logits if float(logits.detach().sum()) > 0 else 2 * logits


def _seeded(make: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    def build(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return make().double()

    return build


def _plain(
    trial_number: int,
    chosen: Params,
    passes: range,
    build: Callable[[int], nn.Module] = _double,
) -> tuple[nn.Module, list[float], float]:
    """Train by ``torch.optim.SGD`` in float64; return model, mean losses and last accuracy."""
    train, validation = load_training_data("digits", seed=CONFIG.seed)
    model = build(derive_seed(CONFIG.seed, "init", trial_number))
    optimizer = torch.optim.SGD(model.parameters(), **chosen)
    images, labels = _scaled(train), torch.from_numpy(train.labels)
    losses = []
    for number in passes:
        total = 0.0
        order = torch.from_numpy(permutation(len(train), derive_seed(CONFIG.seed, "order", number)))
        for batch in order.split(CONFIG.batch_size):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(train))
    guesses = model(_scaled(validation)).argmax(1)
    n_correct = int((guesses == torch.from_numpy(validation.labels)).sum())
    return model, losses, n_correct / len(validation)


def _scaled(split: Split) -> torch.Tensor:
    return torch.from_numpy(split.images).double() / split.white


def _distance(left: nn.Module, right: nn.Module) -> float:
    """Return the largest difference of a parameter."""
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def _is_equal(left: nn.Module, right: nn.Module) -> bool:
    """Tell whether two models have the same parameters, bit for bit."""
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_lanes", [1, 2, 5, 8])
def test_lanes_in_double_precision_equal_torch_optimizer_alone(n_lanes: int, kind: Kind) -> None:
    """Each lane has the weights, losses and accuracy that plain torch gives the trial alone."""
    lanes = open_lanes(CONFIG, n_lanes, build=_double, kinds=[kind])
    lanes.go_to_pass(4)
    assert isinstance(lanes.program, kind)
    # The last of the choices, so that one lane alone is not always the tamest.
    chosen = dict(enumerate(CHOICES[-n_lanes:], start=20))
    for number, params in chosen.items():
        lanes.add(number, params)
    found = [lanes.train_pass() for _ in range(2)]
    for number, params in chosen.items():
        model, losses, accuracy = _plain(number, params, range(4, 6))
        # 36 steps on numbers near 1 lose less than seven of 16 digits.
        assert _distance(model, lanes.model(number)) < 1e-9
        assert [results[number].loss for results in found] == pytest.approx(losses, abs=1e-9)
        assert found[-1][number] == EpochResult(2, pytest.approx(losses[-1], abs=1e-9), accuracy)


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_that_come_and_go_equal_torch_optimizer_alone(kind: Kind) -> None:
    """Nothing is left of a trial in its lane, and a trial may begin in any pass."""
    lanes = open_lanes(CONFIG, 2, build=_double, kinds=[kind])
    lanes.add(0, OTHER)
    lanes.train_pass()
    lanes.add(1, GOOD)
    assert (lanes.n_free, lanes.next_pass) == (0, 1)
    lanes.train_pass()
    lanes.remove(0)
    lanes.add(2, CHOICES[2])
    results = lanes.train_pass()
    assert {number: result.epoch for number, result in results.items()} == {1: 2, 2: 1}
    for number, params, passes in ((1, GOOD, range(1, 3)), (2, CHOICES[2], range(2, 3))):
        model, losses, accuracy = _plain(number, params, passes)
        assert _distance(model, lanes.model(number)) < 1e-9
        assert results[number].loss == pytest.approx(losses[-1], abs=1e-9)
        assert results[number].value == accuracy


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_lanes_are_summed_and_not_averaged(kind: Kind) -> None:
    """A lane's step is that of its own learning rate, not of a K-th; K-fold λ would show too."""
    lanes = open_lanes(CONFIG, 4, build=_double, kinds=[kind])
    for number in range(4):
        lanes.add(number, OTHER)
    lanes.train_pass()
    own, *_ = _plain(0, OTHER, range(1))
    other = {"weight_decay": 4 * OTHER["weight_decay"], "lr": OTHER["lr"] / 4}
    averaged, *_ = _plain(0, other, range(1))
    assert _distance(own, lanes.model(0)) < 1e-9
    assert _distance(averaged, lanes.model(0)) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_in_single_precision_agree_with_training_one_after_another(kind: Kind) -> None:
    """Rounding moves a loss by less than 1e-4 and at most one of 300 validation images."""
    n_lanes = len(CHOICES)
    ours, theirs = (
        open_lanes(CONFIG, n_lanes, kinds=[kind]),
        open_lanes(CONFIG, n_lanes, kinds=[]),
    )
    for lanes in (ours, theirs):
        for number, params in enumerate(CHOICES):
            lanes.add(number, params)
    for _ in range(3):
        found, expected = ours.train_pass(), theirs.train_pass()
    for number, result in expected.items():
        assert found[number].loss == pytest.approx(result.loss, rel=1e-4)
        assert found[number].value == pytest.approx(result.value, abs=1.1 / 300)


def test_lanes_skip_only_pixels_that_change_nothing() -> None:
    """Pixels dark in all training images still count where a validation image has them."""
    config = replace(CONFIG, train_size=70)
    lanes = open_lanes(config, 1, build=_double)
    reference = open_lanes(config, 1, build=_double, kinds=[])
    for each in (lanes, reference):
        each.add(0, OTHER)
    for _ in range(3):
        found, expected = lanes.train_pass()[0], reference.train_pass()[0]
    assert found.value == expected.value
    assert _distance(lanes.model(0), reference.model(0)) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lane", range(3))
def test_lanes_beside_a_diverged_lane_stay_untouched_to_the_last_bit(lane: int, kind: Kind) -> None:
    """What a neighbour's params do to it, infinities and all, stays in its lane."""

    def train(companion: Params) -> tuple[BatchedLanes, dict[int, EpochResult]]:
        lanes = open_lanes(CONFIG, 3, kinds=[kind])
        for number in range(3):
            lanes.add(number, companion if number == lane else OTHER)
        for _ in range(2):
            results = lanes.train_pass()
        return lanes, results

    (beside_diverged, found), (beside_good, expected) = train(DIVERGING), train(GOOD)
    assert found[lane].is_diverged
    for number in {0, 1, 2} - {lane}:
        assert found[number] == expected[number]
        assert math.isfinite(found[number].loss)
        assert _is_equal(beside_diverged.model(number), beside_good.model(number))


def test_open_lanes_for_simplenet_uses_the_gradient_worked_out_by_hand() -> None:
    """The built-in objective takes the fast way, in either precision."""
    assert isinstance(open_lanes(CONFIG, 2).program, Perceptrons)
    assert isinstance(open_lanes(CONFIG, 2, build=_double).program, Perceptrons)


def test_open_lanes_for_another_network_stacks_it() -> None:
    """A network of the user's own trains side by side too, as plain torch trains it."""
    build = _seeded(_Wide)
    lanes = open_lanes(CONFIG, 3, build=build)
    assert isinstance(lanes.program, StackedModels)
    for number in range(3):
        lanes.add(number, CHOICES[number])
    for _ in range(2):
        results = lanes.train_pass()
    for number in range(3):
        model, losses, accuracy = _plain(number, CHOICES[number], range(2), build)
        assert _distance(model, lanes.model(number)) < 1e-9
        assert results[number].loss == pytest.approx(losses[-1], abs=1e-9)
        assert results[number].value == accuracy


@pytest.mark.parametrize(
    ("make", "reason"),
    [(_Branching, "vmap"), (lambda: _Wide(dropout=0.5), "random")],
    ids=["branching", "dropout"],
)
def test_open_lanes_for_what_cannot_be_batched_trains_one_by_one_and_says_why(
    make: Callable[[], nn.Module], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that cannot be batched trains all the same, and the log tells the reason."""
    with caplog.at_level(logging.WARNING):
        lanes = open_lanes(CONFIG, 2, build=_seeded(make))
    assert isinstance(lanes.program, OneByOne)
    [message] = caplog.messages
    assert message.startswith("Trials train one by one, not side by side: Perceptrons: ")
    assert reason in message
    lanes.add(0, GOOD)
    lanes.add(1, OTHER)
    assert [result.epoch for result in lanes.train_pass().values()] == [1, 1]


def test_open_lanes_one_by_one_equals_plain_epochs_to_the_last_bit() -> None:
    """Falling back means falling back to the reference, whatever the neighbour."""
    lanes = open_lanes(CONFIG, 2, kinds=[])
    lanes.add(0, DIVERGING)
    lanes.add(1, OTHER)
    data, unseen = (
        to_device(split, torch.device("cpu")) for split in load_training_data("digits", seed=3)
    )
    model = build_model("simplenet", "digits", derive_seed(CONFIG.seed, "init", 1))
    for number in range(2):
        results = lanes.train_pass()
        order = permutation(len(data.labels), derive_seed(CONFIG.seed, "order", number))
        loss = train_epoch(model, OTHER, data, torch.from_numpy(order), CONFIG.batch_size)
        assert results[0].is_diverged
        assert results[1] == EpochResult(number + 1, loss, accuracy(model, unseen))
    assert _is_equal(lanes.model(1), model)


class _WrongWhenStacked(StackedModels):
    """A program that forgets the learning rates, as a mistaken one might."""

    def train(self, models, params, order):  # type: ignore[no-untyped-def]
        """Train everybody with the same params."""
        return super().train(models, [OTHER] * len(params), order)


def test_open_lanes_refuses_a_program_whose_trial_run_differs_from_plain_torch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fast way that would change results is not taken, even though nothing is raised."""
    lanes = open_lanes(CONFIG, 2, kinds=[_WrongWhenStacked])
    assert isinstance(lanes.program, OneByOne)
    assert "a trial run gave other weights than plain torch" in caplog.text


def test_train_pass_without_lanes_returns_nothing() -> None:
    """A pass over no trials is no error, and counts."""
    lanes = open_lanes(CONFIG, 2)
    assert lanes.train_pass() == {}
    assert lanes.next_pass == 1


def test_opening_and_training_simplenet_imports_no_compiler() -> None:
    """``torch._dynamo`` takes more than a second to import: only the general way pays for it."""
    script = (
        "import sys; from objectives import TrainingConfig\n"
        "from objectives.lanes import open_lanes\n"
        "lanes = open_lanes(TrainingConfig('simplenet', 'digits', seed=0, device='cpu'), 2)\n"
        "lanes.add(0, {'weight_decay': 1e-4, 'lr': 0.1}); lanes.train_pass()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=200).returncode == 0
