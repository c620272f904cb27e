"""Models, optimizers, penalties, each with each: lanes train as plain torch does each alone.

After twenty steps within 1e-9 in float64, where rounding is 1e-16 a number, and 1e-4 in float32.
The models have no parameter whose gradient is 0 but for rounding, as the bias before batch norm or
that of attention's keys: Adam and the sign of L1 make whole steps of such rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from objectives.by_hand import ByHand
from objectives.gradients import OneByOne, Stacked
from objectives.group import Group, Lane, Program
from objectives.judged import Judged
from objectives.problem import Problem
from objectives.simplenet import SimpleNet

STEPS, BATCH, CLASSES = 20, 12, 3
DTYPES = {torch.float64: 1e-9, torch.float32: 1e-4}
RATES = (0.05, 0.02, 0.01)


class _Rows(nn.Module):
    """A GRU over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.GRU(6, 5, batch_first=True)
        self.output = nn.Linear(5, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.output(self.rows(images.squeeze(1))[0][:, -1])
        return result


class _Attention(nn.Module):
    """Rows of an image that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True, bias=False)
        self.output = nn.Linear(6, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.output(self.block(images.squeeze(1)).mean(1))
        return result


# By name: how a model is made, and the programs that can train it.
_MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Program, ...]]] = {
    "linear": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)),
        (OneByOne, Stacked),
    ),
    "perceptron": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, CLASSES)),
        (OneByOne, Stacked),
    ),
    "simplenet": (lambda: SimpleNet(36, CLASSES), (OneByOne, Stacked, ByHand)),
    "batch norm": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(36, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)
        ),
        (OneByOne, Stacked),
    ),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, CLASSES)),
        (OneByOne, Stacked),
    ),
    "gru": (_Rows, (OneByOne,)),
    "transformer": (_Attention, (OneByOne, Stacked)),
}


@dataclass(frozen=True)
class _Optimizer:
    """Fields of a problem, and the optimizer of torch that is the same."""

    fields: dict[str, Any]
    make: Callable[..., torch.optim.Optimizer]
    rate: float
    names: tuple[str, ...]  # of what lanes choose for themselves


def _nesterov(parameters: Any, momentum: float, **others: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, momentum=momentum, nesterov=momentum > 0, **others)


def _adam(kind: Any) -> Callable[..., torch.optim.Optimizer]:
    def make(parameters: Any, beta1: float, beta2: float, **others: Any) -> torch.optim.Optimizer:
        return kind(parameters, betas=(beta1, beta2), **others)  # type: ignore[no-any-return]

    return make


_OPTIMIZERS = {
    "sgd": _Optimizer({}, torch.optim.SGD, 0.05, ("momentum",)),
    "nesterov": _Optimizer(
        {"nesterov": True, "momentum": 0.9},
        _nesterov,
        0.02,
        ("momentum",),
    ),
    "adam": _Optimizer({"optimizer": "adam"}, _adam(torch.optim.Adam), 0.005, ("beta1", "beta2")),
    "adamw": _Optimizer(
        {"optimizer": "adamw"}, _adam(torch.optim.AdamW), 0.005, ("beta1", "beta2")
    ),
}
# By lane; the first is SGD without momentum, and Adam as torch has it.
_OWN = {
    "momentum": (0.0, 0.9, 0.5, 0.99, 0.8),
    "beta1": (0.9, 0.8, 0.5, 0.99, 0.0),
    "beta2": (0.999, 0.99, 0.9, 0.9999, 0.95),
}


@dataclass(frozen=True, eq=False)
class _Penalty:
    """What a trial chooses; the term of the loss, and what is done after a step."""

    weights: dict[str, float]
    term: Callable[[torch.Tensor], Any] = lambda w: 0 * w.sum()
    after: Callable[[torch.Tensor, float], Any] = lambda w, _rate: w


# Lanes that train side by side, those of proximal steps apart.
_PENALTIES = {
    "in the loss": (
        _Penalty({}),
        _Penalty({"weight_decay": 0.1}),
        _Penalty({"l2_penalty": 0.05, "weight_decay": 0.01}, lambda w: 0.05 * w.square().sum()),
        _Penalty({"l1": 0.01}, lambda w: 0.01 * w.abs().sum()),
        _Penalty(
            {"alpha": 0.05, "l1_ratio": 0.3},
            lambda w: 0.015 * w.abs().sum() + 0.0175 * w.square().sum(),
        ),
    ),
    "proximal": (
        _Penalty({"l1": 0.01}, after=lambda w, rate: functional.softshrink(w, rate * 0.01)),
        _Penalty(
            {"alpha": 0.05, "l1_ratio": 0.3},
            after=lambda w, rate: functional.softshrink(w, rate * 0.015) / (1 + rate * 0.035),
        ),
        _Penalty(
            {"l1": 0.1, "weight_decay": 0.1},
            after=lambda w, rate: functional.softshrink(w, rate * 0.1),
        ),
    ),
}


@cache
def _batches(dtype: torch.dtype, model: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draws = torch.Generator().manual_seed(0)
    shape = (36,) if model == "simplenet" else (1, 6, 6)
    return [
        (
            torch.randn(BATCH, *shape, generator=draws, dtype=torch.float64).to(dtype),
            torch.randint(CLASSES, (BATCH,), generator=draws),
        )
        for _ in range(STEPS)
    ]


def _build(model: str, lane: int, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(lane)
    return _MODELS[model][0]().to(dtype)


def _choose(optimizer: str, lane: int) -> dict[str, float]:
    """Return a lane's own rate and coefficients."""
    rule = _OPTIMIZERS[optimizer]
    return {"lr": rule.rate / (lane + 1), **{name: _OWN[name][lane] for name in rule.names}}


@cache
def _train_plainly(
    model: str, optimizer: str, penalty: _Penalty, lane: int, dtype: torch.dtype
) -> nn.Module:
    """Train as everybody does: an optimizer, a loop, a term added to the loss."""
    plain, own = _build(model, lane, dtype), _choose(optimizer, lane)
    decay = penalty.weights.get("weight_decay", 0.0)
    rule = _OPTIMIZERS[optimizer].make(plain.parameters(), weight_decay=decay, **own)
    for images, labels in _batches(dtype, model):
        rule.zero_grad()
        loss = functional.cross_entropy(plain(images), labels)
        (loss + sum(penalty.term(w) for w in plain.parameters())).backward()
        rule.step()
        with torch.no_grad():
            for w in plain.parameters():
                w.copy_(penalty.after(w, own["lr"]))
    return plain


def _case(model: str, program: Program) -> Any:
    return pytest.param(model, program, id=f"{model} {program.__name__}")


@pytest.mark.parametrize(
    ("model", "program"),
    [_case(name, program) for name, (_, programs) in _MODELS.items() for program in programs],
)
@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.long)], ids=str
)
@pytest.mark.parametrize("penalties", _PENALTIES)
@pytest.mark.parametrize("optimizer", _OPTIMIZERS)
def test_lanes_equal_plain_torch(
    optimizer: str, penalties: str, dtype: torch.dtype, model: str, program: Program
) -> None:
    """Lanes of different rates, coefficients and penalties, after twenty steps."""
    fields = {**_OPTIMIZERS[optimizer].fields, "proximal": penalties == "proximal"}
    problem = Problem(_MODELS[model][0], data=(), **fields)
    lanes = [
        Lane(
            Judged(_build(model, lane, dtype), problem),
            {**_choose(optimizer, lane), **penalty.weights},
            seed=lane,
        )
        for lane, penalty in enumerate(_PENALTIES[penalties])
    ]
    group = Group(program, problem, lanes, STEPS)
    for batch in _batches(dtype, model):
        group.take(batch)
    group.store()
    for lane, (found, penalty) in enumerate(zip(lanes, _PENALTIES[penalties], strict=True)):
        theirs = _train_plainly(model, optimizer, penalty, lane, dtype).state_dict()
        for name, tensor in found.model.model.state_dict().items():
            assert torch.allclose(tensor, theirs[name], rtol=0, atol=DTYPES[dtype]), name


_SCHEDULES: dict[str, Callable[..., Any]] = {
    "cosine": torch.optim.lr_scheduler.CosineAnnealingLR,
    "onecycle": lambda optimizer, n: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, optimizer.param_groups[0]["lr"], total_steps=n, cycle_momentum=False
    ),
}
_KINDS: dict[str, Any] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("schedule", _SCHEDULES)
def test_schedules_and_clipping_equal_torch_step_by_step(
    schedule: str, kind: str, clip_norm: float | None
) -> None:
    """After each of twenty steps, for each lane's own learning rate."""
    draws = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.randn(BATCH, 5, generator=draws, dtype=torch.float64),
            torch.randint(CLASSES, (BATCH,), generator=draws),
        )
        for _ in range(STEPS)
    ]
    fields: dict[str, Any] = {"schedule": schedule, "clip_norm": clip_norm, "optimizer": kind}
    problem = Problem(lambda: nn.Linear(5, CLASSES).double(), data=(), epochs=1, **fields)
    lanes, alone = [], []
    for lane, rate in enumerate(RATES):
        torch.manual_seed(lane)
        params = {"lr": rate, "weight_decay": 0.1}
        lanes.append(Lane(Judged(problem.model(), problem), params, seed=lane))
        torch.manual_seed(lane)
        plain = problem.model()
        optimizer = _KINDS[kind](plain.parameters(), lr=rate, weight_decay=0.1)
        alone.append((plain, optimizer, _SCHEDULES[schedule](optimizer, STEPS)))
    for images, labels in batches:
        group = Group(Stacked, problem, lanes, STEPS)
        group.take((images, labels))
        group.store()
        for lane, (plain, optimizer, scheduler) in zip(lanes, alone, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(plain(images), labels).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), clip_norm or 1e9)
            optimizer.step()
            scheduler.step()
            for name, tensor in lane.model.model.state_dict().items():
                theirs = plain.state_dict()[name]
                assert torch.allclose(tensor, theirs, rtol=0, atol=1e-12)
