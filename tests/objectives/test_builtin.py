"""The built-in network trains, its gradient worked out by hand, as by plain torch alone."""

import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from objectives.base import EpochResult, TrainingConfig
from objectives.builtin import make_builtin
from objectives.by_hand import ByHand
from objectives.catalog import DATASETS
from objectives.datasets import Split, load_training_data
from objectives.device import choose_device
from objectives.errors import UnknownNameError
from objectives.facts import LastBatch, Params, choose_last_batch
from objectives.gradients import OneByOne
from objectives.group import Group
from objectives.perceptron import Perceptrons
from objectives.problem import Problem
from objectives.problem_lanes import ProblemLanes, open_problem_lanes
from objectives.program_choice import Choice
from objectives.ready import find_metric, make_ready
from objectives.seeds import derive_seed, permutation

CONFIG = TrainingConfig("simplenet", "digits", seed=3, device="cpu", last_batch="keep")
WHITE = 16
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


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Train with one thread, as workers do: on a busy machine two threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _double(config: TrainingConfig) -> Problem:
    """Return the built-in problem with numbers of twice the precision."""
    problem = make_builtin(config)
    return replace(
        problem,
        model=lambda: problem.model().double(),
        prepare=lambda batch: (batch[0].double().div_(WHITE), batch[1]),
    )


def _open(n_lanes: int, config: TrainingConfig = CONFIG) -> ProblemLanes:
    return open_problem_lanes(_double(config), config, n_lanes)


def _one_by_one(problem: Problem, n_lanes: int, config: TrainingConfig = CONFIG) -> ProblemLanes:
    ready = make_ready(problem, config)[0]
    metric = find_metric(ready, ready.build({}, seed=0))
    return ProblemLanes(replace(ready, metric=metric), Choice(OneByOne, n_lanes))


def _build(seed: int, dataset: str = "digits") -> nn.Module:
    """Return a model by torch's own classes, initialised by torch's own seed."""
    facts = DATASETS[dataset]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(facts.n_inputs, 128), nn.ReLU(), nn.Linear(128, facts.n_classes)
        )


def _model(lanes: ProblemLanes, number: int) -> dict[str, torch.Tensor]:
    return lanes.state(number)["model"]  # type: ignore[no-any-return]


def _plain(
    trial_number: int, chosen: Params, passes: range, last_batch: LastBatch = "keep"
) -> tuple[nn.Module, list[float], float]:
    """Train by ``torch.optim.SGD`` in float64; return model, mean losses and last accuracy."""
    train, validation = load_training_data("digits", seed=CONFIG.seed)
    model = _build(derive_seed(CONFIG.seed, "init", trial_number)).double()
    optimizer = torch.optim.SGD(model.parameters(), **chosen)
    images, labels = _scaled(train), torch.from_numpy(train.labels)
    losses = []
    for number in passes:
        taken = []
        order = torch.from_numpy(permutation(len(train), derive_seed(CONFIG.seed, "order", number)))
        for batch in order.split(CONFIG.batch_size):  # 17 batches of 64 and one of 12
            is_full = len(batch) == CONFIG.batch_size
            if last_batch == "drop" and not is_full:
                continue
            optimizer.zero_grad()
            each = functional.cross_entropy(model(images[batch]), labels[batch], reduction="none")
            over = CONFIG.batch_size if last_batch == "scale" else len(batch)
            (each.sum() / over).backward()
            optimizer.step()
            taken += each.tolist()
        losses.append(sum(taken) / len(taken))
    guesses = model(_scaled(validation)).argmax(1)
    n_correct = int((guesses == torch.from_numpy(validation.labels)).sum())
    return model, losses, n_correct / len(validation)


def _scaled(split: Split) -> torch.Tensor:
    return torch.from_numpy(split.images).double() / split.white


def _distance(model: nn.Module, found: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of a parameter."""
    pairs = zip(model.parameters(), found.values(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("last_batch", ["keep", "drop", "scale"])
@pytest.mark.parametrize("n_lanes", [1, 2, 8])
def test_lanes_in_double_precision_equal_torch_optimizer_alone(
    n_lanes: int, last_batch: LastBatch
) -> None:
    """Each lane has the weights, losses and accuracy that plain torch gives the trial alone."""
    lanes = _open(n_lanes, replace(CONFIG, last_batch=last_batch))
    lanes.go_to_pass(4)
    assert isinstance(lanes.choice.fast, Perceptrons)
    # The last of the choices, so that one lane alone is not always the tamest.
    chosen = dict(enumerate(CHOICES[-n_lanes:], start=20))
    for number, params in chosen.items():
        lanes.add(number, params)
    found = [lanes.train_pass() for _ in range(2)]
    for number, params in chosen.items():
        model, losses, accuracy = _plain(number, params, range(4, 6), last_batch)
        # 36 steps on numbers near 1 lose less than seven of 16 digits.
        assert _distance(model, _model(lanes, number)) < 1e-9
        assert [results[number].loss for results in found] == pytest.approx(losses, abs=1e-9)
        assert found[-1][number] == EpochResult(2, pytest.approx(losses[-1], abs=1e-9), accuracy)


def test_lanes_that_come_and_go_equal_torch_optimizer_alone() -> None:
    """Nothing is left of a trial in its lane, and a trial may begin in any pass."""
    lanes = _open(2)
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
        assert _distance(model, _model(lanes, number)) < 1e-9
        assert results[number].loss == pytest.approx(losses[-1], abs=1e-9)
        assert results[number].value == accuracy


def test_losses_of_lanes_are_summed_and_not_averaged() -> None:
    """A lane's step is that of its own learning rate, not of a K-th; K-fold λ would show too."""
    lanes = _open(4)
    for number in range(4):
        lanes.add(number, OTHER)
    lanes.train_pass()
    own, *_ = _plain(0, OTHER, range(1))
    other = {"weight_decay": 4 * OTHER["weight_decay"], "lr": OTHER["lr"] / 4}
    averaged, *_ = _plain(0, other, range(1))
    assert _distance(own, _model(lanes, 0)) < 1e-9
    assert _distance(averaged, _model(lanes, 0)) > 0.01


def test_lanes_in_single_precision_agree_with_training_one_after_another() -> None:
    """Rounding moves a loss by less than 1e-4 and at most one of 300 validation images."""
    n_lanes, problem = len(CHOICES), make_builtin(CONFIG)
    ours = open_problem_lanes(problem, CONFIG, n_lanes)
    theirs = _one_by_one(problem, n_lanes)
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
    lanes, reference = _open(1, config), _one_by_one(_double(config), 1, config)
    for each in (lanes, reference):
        each.add(0, OTHER)
    for _ in range(3):
        found, expected = lanes.train_pass()[0], reference.train_pass()[0]
    assert found.value == expected.value
    for name, tensor in _model(reference, 0).items():
        assert torch.allclose(tensor, _model(lanes, 0)[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("lane", range(3))
def test_lanes_beside_a_diverged_lane_stay_untouched_to_the_last_bit(lane: int) -> None:
    """What a neighbour's params do to it, infinities and all, stays in its lane."""

    def train(companion: Params) -> tuple[ProblemLanes, dict[int, EpochResult]]:
        lanes = open_problem_lanes(make_builtin(CONFIG), CONFIG, 3)
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
        for name, tensor in _model(beside_good, number).items():
            assert torch.equal(tensor, _model(beside_diverged, number)[name])


@pytest.mark.parametrize("last_batch", ["keep", "scale"])
def test_lanes_of_other_optimizers_and_losses_equal_plain_torch(last_batch: LastBatch) -> None:
    """By hand: weights, losses and accuracies of trials whose labels are smoothed, each its own."""
    config = replace(CONFIG, last_batch=last_batch)
    problem = replace(_double(config), optimizer="adamw", fast=None, metric="accuracy")
    trials = [
        {"lr": 1e-3 * (n + 1), "weight_decay": 0.1, "label_smoothing": 0.1 * n} for n in range(3)
    ]
    together = open_problem_lanes(problem, config, 3)
    alone = _one_by_one(problem, 3, config)
    assert together.choice.program is ByHand
    for number, params in enumerate(trials):
        together.add(number, params)
        alone.add(number, params)
    for _ in range(2):
        found, expected = together.train_pass(), alone.train_pass()
        for number in range(3):
            assert found[number].value == expected[number].value
            assert found[number].loss == pytest.approx(expected[number].loss, abs=1e-9)
    for number in range(3):
        other = _model(alone, number)
        for name, tensor in _model(together, number).items():
            assert torch.allclose(tensor, other[name], rtol=0, atol=1e-9)


def test_loss_over_the_validation_part_equals_plain_torch() -> None:
    """Without a metric a trial's value is that loss, by hand, too."""
    problem = replace(_double(CONFIG), momentum=0.9, fast=None, loss=None, metric=None)
    ready = make_ready(problem, CONFIG)[0]
    lanes = [ready.build(OTHER, seed) for seed in range(2)]
    groups = [Group(each, problem, lanes, ready.n_steps) for each in (OneByOne, ByHand)]
    alone, by_hand = (
        group.values(None, ready.scoring_batches(ready.parts.validation)) for group in groups
    )
    assert by_hand == pytest.approx(alone, abs=1e-12)


def test_gradient_by_hand_is_for_one_network_and_loss() -> None:
    """Other losses, and networks of trials' own sizes, are differentiated by torch."""
    problem = replace(_double(CONFIG), momentum=0.9, fast=None)
    own_loss = replace(problem, loss=nn.CrossEntropyLoss())
    sized = replace(make_builtin(CONFIG), momentum=0.9, fast=None, space={"width": [128, 64]})
    for each in (own_loss, sized):
        assert open_problem_lanes(each, CONFIG, 2).choice.program is not ByHand


class _WithoutRates(Perceptrons):
    """A program that forgets the learning rates, as a mistaken one might."""

    def train(self, models: Any, params: Any, order: torch.Tensor) -> list[tuple[float, float]]:
        """Train everybody with the same params."""
        return super().train(models, [OTHER] * len(params), order)


def test_program_that_differs_from_plain_torch_is_not_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fast way that would change results is not used, even though nothing is raised."""
    problem = replace(make_builtin(CONFIG), fast=partial(_WithoutRates, white=WHITE))
    with caplog.at_level(logging.WARNING):
        lanes = open_problem_lanes(problem, CONFIG, 1)
    assert lanes.choice.fast is None
    assert "The problem's own program is not used: hidden.weight came out otherwise" in caplog.text


def test_program_for_another_network_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    """Its gradient is worked out for one network; any other trains as anybody's does."""
    network = partial(nn.Linear, 64, 10)
    problem = replace(make_builtin(CONFIG), model=network)
    lanes = open_problem_lanes(problem, CONFIG, 2)
    assert lanes.choice.fast is None
    assert "is not used" in caplog.text
    lanes.add(0, GOOD)
    assert lanes.train_pass()[0].epoch == 1


def test_pass_without_trials_returns_nothing() -> None:
    """A pass over no trials is no error, and counts."""
    lanes = _open(2)
    assert lanes.train_pass() == {}
    assert lanes.next_pass == 1


def test_opening_and_training_imports_no_compiler() -> None:
    """``torch._dynamo`` takes more than a second to import: only the general way pays for it."""
    script = (
        "import sys; from objectives import TrainingConfig\n"
        "from objectives.opening import open_training\n"
        "lanes = open_training(TrainingConfig('simplenet', 'digits', seed=0, device='cpu'), 2)\n"
        "lanes.add(0, {'weight_decay': 1e-4, 'lr': 0.1}); lanes.train_pass()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=300).returncode == 0


def test_model_is_initialised_as_torch_does_by_its_seed() -> None:
    """A weight decay found here suits the network as any torch user would write it."""
    before = torch.get_rng_state()
    config = replace(CONFIG, dataset="digits")
    ready = make_ready(make_builtin(config), config)[0]
    built = {seed: ready.build({}, seed).model.model for seed in (5, 6)}
    assert _distance(_build(5), dict(built[5].named_parameters())) == 0
    assert _distance(_build(5), dict(built[6].named_parameters())) > 0
    assert torch.equal(torch.get_rng_state(), before)  # whoever draws beside us draws the same


@pytest.mark.parametrize(
    ("n_train", "expected"),
    [(640, "drop"), (650, "drop"), (639, "scale"), (65, "drop"), (63, "keep")],
)
def test_last_batch_is_dropped_where_it_costs_little(n_train: int, expected: LastBatch) -> None:
    """At most a tenth of the data, or one example; a data set of one small batch is kept."""
    assert choose_last_batch(n_train, 64) == expected


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
