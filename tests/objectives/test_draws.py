"""What draws at random, and what has a loop of its own, trains side by side as it does alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from objectives.gradients import OneByOne, Stacked
from objectives.problem import Problem
from objectives.problem_lanes import ProblemLanes
from objectives.program_choice import Choice, find_rates
from objectives.ready import make_ready
from objectives.recurrent import as_loops
from objectives.shorthand import read_range
from tests.objectives.test_problem import CONFIG, EPOCHS, PROBLEM, TRIALS, _open, _train, _weights

_GENERATOR = torch.Generator().manual_seed(1)
SEQUENCES = torch.randn(100, 7, 5, generator=_GENERATOR, dtype=torch.float64)
LABELS = (SEQUENCES.sum((1, 2)) > 0).long()
PLANES = torch.randn(100, 2, 5, 5, generator=_GENERATOR, dtype=torch.float64)


class _Recurrent(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear((2 if layer.bidirectional else 1) * 6, 2, dtype=torch.float64)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.layer(inputs.double())  # data are floats of 32 bits
        result: torch.Tensor = self.head(outputs[:, -1])
        return result


class _Dropping(nn.Module):
    """By the function, of modules, of channels; one of them after a part that is transposed."""

    def __init__(self, rate: float = 0.3) -> None:
        super().__init__()
        self.rate = rate
        self.body = nn.Conv2d(2, 4, 3, dtype=torch.float64)
        self.channels = nn.Dropout2d(0.4)
        self.head = nn.Linear(36, 2, dtype=torch.float64)
        self.last = nn.Dropout(rate, inplace=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = functional.dropout(inputs.double(), 0.1, self.training)
        hidden = self.channels(torch.relu(self.body(inputs)))
        hidden = functional.dropout(hidden.flatten(2).transpose(1, 2), self.rate, self.training)
        result: torch.Tensor = self.head(self.last(hidden.flatten(1)))
        return result


_LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "relu": {"nonlinearity": "relu"},
    "two layers, two directions": {"num_layers": 2, "bidirectional": True},
    "dropout": {"num_layers": 3, "dropout": 0.4},
    "projected": {"hidden_size": 9, "proj_size": 6},
    "no bias": {"bias": False},
}
_CASES = [
    (layer, form)
    for layer in _LAYERS
    for form in _FORMS
    if (form != "relu" or layer == "rnn") and (form != "projected" or layer == "lstm")
]


def _make_layer(layer: str, form: str) -> nn.RNNBase:
    options = {"hidden_size": 6, "batch_first": True, "dtype": torch.float64, **_FORMS[form]}
    return _LAYERS[layer](5, **options)


def _same_beside_as_alone(problem: Problem, n_lanes: int) -> None:
    trials = [{"lr": 0.05 + 0.03 * n, "weight_decay": 0.01 * n} for n in range(n_lanes)]
    _check_equal(_train(problem, OneByOne, trials), _train(problem, Stacked, trials), n_lanes)


def _check_equal(alone: ProblemLanes, beside: ProblemLanes, n_lanes: int) -> None:
    for number in range(n_lanes):
        for name, tensor in _weights(alone, number).items():
            found = _weights(beside, number)[name]
            assert torch.allclose(tensor, found, rtol=1e-9, atol=1e-9), (number, name)


@pytest.mark.parametrize(("layer", "form"), _CASES)
def test_recurrent_layer_side_by_side_is_that_of_torch(layer: str, form: str) -> None:
    """The weights after three epochs, in float64."""
    problem = replace(
        PROBLEM, model=lambda: _Recurrent(_make_layer(layer, form)), data=(SEQUENCES, LABELS)
    )
    _same_beside_as_alone(problem, 2)


@pytest.mark.parametrize("layer", list(_LAYERS))
def test_recurrent_layer_as_a_loop_returns_what_torch_returns(layer: str) -> None:
    """Outputs and last states, from states that are given, steps first."""
    module = _LAYERS[layer](5, 6, num_layers=2, bidirectional=True, dtype=torch.float64)
    steps = SEQUENCES[:4].transpose(0, 1)
    begin: Any = torch.randn(4, 4, 6, generator=_GENERATOR, dtype=torch.float64)
    begin = (begin, begin * 2) if layer == "lstm" else begin
    outputs, last = module(steps, begin)
    found, end = as_loops(module)(steps, begin)
    torch.testing.assert_close(found, outputs)
    torch.testing.assert_close(end, last)
    assert type(module) is _LAYERS[layer]


@pytest.mark.parametrize("n_lanes", [1, 3, 8])
def test_dropout_side_by_side_draws_what_it_draws_alone(n_lanes: int) -> None:
    """In whatever company: a trial replays exactly."""
    _same_beside_as_alone(replace(PROBLEM, model=_Dropping, data=(PLANES, LABELS)), n_lanes)


def test_models_that_drop_are_scored_whole_side_by_side() -> None:
    """Loss and metric of each epoch are those of the models alone."""
    problem = replace(PROBLEM, model=_Dropping, data=(PLANES, LABELS), metric=lambda o, _: o.sum())
    lanes = [_open(problem, program) for program in (OneByOne, Stacked)]
    for each in lanes:
        for number, params in enumerate(TRIALS):
            each.add(number, params)
    for _ in range(EPOCHS):
        alone, beside = (each.train_pass() for each in lanes)
        for number, result in alone.items():
            assert result.loss == pytest.approx(beside[number].loss, rel=1e-9)
            assert result.value == pytest.approx(beside[number].value, rel=1e-6)


class _Scaled(_Dropping):
    """What a rate also divides by is no rate alone."""

    def __init__(self, rate: float = 0.3, scaled: float = 1.0, width: int = 1) -> None:
        super().__init__(rate)
        self.scaled, self.wide = scaled, nn.Linear(1, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.dropout(super().forward(inputs), self.scaled / 9) / self.scaled


def test_trials_of_other_rates_of_dropout_train_as_one_program() -> None:
    """What else an argument does keeps them apart, as do other shapes."""
    problem = replace(PROBLEM, model=_Scaled, data=(PLANES, LABELS))
    space = {"rate": (0.0, 0.6), "scaled": (1.0, 3.0), "width": [1, 2]}
    ready = make_ready(problem, CONFIG)[0]
    batches = list(ready.training_batches(0))[:3]
    stated = {name: read_range(name, each) for name, each in space.items()}
    rates = find_rates(ready, stated, batches)
    assert rates == {"rate"}
    trials = [{**TRIALS[0], "rate": rate, "scaled": 2.0, "width": 2} for rate in (0.0, 0.2, 0.5)]
    assert len({ready.build(params, 0).signature(rates) for params in trials}) == 1
    beside = ProblemLanes(ready, Choice(Stacked, 4, rates=rates))
    for number, params in enumerate(trials):
        beside.add(number, params)
    for _ in range(EPOCHS):
        beside.train_pass()
    _check_equal(_train(problem, OneByOne, trials), beside, len(trials))
