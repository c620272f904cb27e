"""Each penalty is the formula in its name, and each decay that of its paper, in float64."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.datasets import make_regression
from sklearn.linear_model import ElasticNet
from torch import nn

from objectives import ProblemError, TrainingConfig
from objectives.describing import describe
from objectives.gradients import OneByOne, Stacked
from objectives.group import Program
from objectives.optimizers import Rule, find_moments
from objectives.penalties import PENALTIES, Penalty
from objectives.problem import Problem
from objectives.problem_lanes import ProblemLanes
from objectives.program_choice import Choice
from objectives.ready import make_ready

_DRAWS = torch.Generator().manual_seed(0)
ROWS = torch.randn(3, 7, generator=_DRAWS, dtype=torch.float64)
FACTORS = torch.tensor([[0.3], [0.01], [2.0]], dtype=torch.float64)
RATIOS = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)

# The terms as textbooks write them, summed over the parameters of each row.
_FORMULAS: dict[str, Callable[..., torch.Tensor]] = {
    "l2_penalty": lambda w, c: c * w**2,
    "l1": lambda w, c: c * w.abs(),
    "alpha": lambda w, a, r: a * r * w.abs() + a * (1 - r) / 2 * w**2,
}


def _weights(penalty: Penalty) -> list[torch.Tensor]:
    return [FACTORS, RATIOS][: len(penalty.weights)]


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: each.factor)
def test_gradient_of_a_penalty_is_that_of_autograd(penalty: Penalty) -> None:
    """To the last bits; at 0 the subgradient is 0."""
    rows = ROWS.clone().requires_grad_()
    _FORMULAS[penalty.factor](rows, *_weights(penalty)).sum().backward()
    assert torch.allclose(rows.grad, penalty.gradient(ROWS, *_weights(penalty)), atol=1e-15)  # type: ignore[arg-type]
    assert not penalty.gradient(torch.zeros_like(ROWS), *_weights(penalty)).any()


@pytest.mark.parametrize(
    "penalty", [each for each in PENALTIES if each.proximal], ids=lambda each: each.factor
)
def test_proximal_step_is_the_minimum_that_defines_it(penalty: Penalty) -> None:
    """``argmin_x rate * penalty(x) + (x - w)^2 / 2``, by looking at a fine grid of x."""
    rates = torch.tensor([[0.5], [1.0], [0.2]], dtype=torch.float64)
    assert penalty.proximal is not None
    found = penalty.proximal(ROWS, rates, *_weights(penalty))
    grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)[:, None, None]
    costs = rates * _FORMULAS[penalty.factor](grid, *_weights(penalty)) + (grid - ROWS) ** 2 / 2
    assert torch.allclose(grid[costs.argmin(0)].squeeze(), found, atol=1e-4)
    assert ((found == 0) == (costs.argmin(0) == 40_000)).all()


def _step(problem: Problem, params: Any, gradients: list[torch.Tensor], factor: float = 1.0) -> Any:
    """Return a row after a step for each of the gradients."""
    row = ROWS[:1].clone()
    moments = {name: torch.zeros_like(row) for name in find_moments(problem, params)}
    rule = Rule(problem, [params], torch.ones(7, dtype=torch.float64), moments)
    for step, gradient in enumerate(gradients):
        rule.update(row, gradient.clone(), [step], [factor])
    return row


class _OnOtherDevices(Rule):
    """A rule as where torch's kernels are not used."""

    @property
    def _is_by_kernel(self) -> bool:
        return False


@pytest.mark.parametrize(
    "fields",
    [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"optimizer": "adam"},
        {"optimizer": "adamw"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_decaying", [7, 4, 0])
def test_rule_on_all_rows_at_once_is_torchs_kernels_row_by_row(
    fields: dict[str, Any], n_decaying: int
) -> None:
    """Twenty steps of rows with rates, decays and coefficients of their own."""
    problem = replace(_PLAIN, **fields)
    own = {"momentum": (0.9, 0.0, 0.5), "beta1": (0.9, 0.0, 0.5), "beta2": (0.999, 0.9, 0.95)}
    trials = [
        {"lr": 0.1 / (n + 1), "weight_decay": 0.1 * n, **{name: own[name][n] for name in own}}
        for n in range(3)
    ]
    found = []
    for kind in (Rule, _OnOtherDevices):
        rows, decays = ROWS.clone(), (torch.arange(7) < n_decaying).double()
        moments = {name: torch.zeros_like(rows) for name in find_moments(problem, trials[0])}
        rule = kind(problem, trials, decays, moments)
        for step, gradient in enumerate(_GRADIENTS):
            rule.update(rows, gradient * torch.ones_like(rows), [step] * 3, [1.0, 0.5, 0.1])
        found.append(rows)
    assert torch.allclose(*found, rtol=0, atol=1e-12)


_PLAIN = Problem(lambda: nn.Linear(7, 1), data=())
_GRADIENTS = [torch.randn(1, 7, generator=_DRAWS, dtype=torch.float64) for _ in range(20)]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weight_decay_is_twice_the_l2_penalty_of_sgd(momentum: float) -> None:
    """The same weights after twenty steps, with momentum, too."""
    own = {"lr": 0.1, "momentum": momentum}
    by_decay = _step(_PLAIN, {**own, "weight_decay": 0.2}, _GRADIENTS)
    by_penalty = _step(_PLAIN, {**own, "l2_penalty": 0.1}, _GRADIENTS)
    assert torch.allclose(by_decay, by_penalty, rtol=0, atol=1e-14)


def test_adamw_decays_alike_where_adam_with_l2_spares_large_gradients() -> None:
    """Loshchilov and Hutter, section 3: L2 in Adam regularises weights of large gradients less."""
    signs = [1.0, -1.0] * 50
    sizes = torch.tensor([[1e-3, 1e3] + [1.0] * 5], dtype=torch.float64)
    gradients = [sign * sizes for sign in signs]
    lost = {}
    for optimizer, params in (("adamw", {"weight_decay": 0.5}), ("adam", {"l2_penalty": 0.25})):
        problem = replace(_PLAIN, optimizer=optimizer)  # type: ignore[arg-type]
        bare = _step(problem, {"lr": 1e-3}, gradients)
        lost[optimizer] = (bare - _step(problem, {"lr": 1e-3, **params}, gradients))[0] / bare[0]
    small, large, *_ = lost["adamw"].tolist()
    assert small == pytest.approx(1 - (1 - 5e-4) ** 100, rel=0.1)
    assert large == pytest.approx(small, rel=0.1)
    small, large, *_ = lost["adam"].tolist()
    assert abs(large) < 0.01 * abs(small)


def test_adam_with_l2_penalty_is_torch_with_coupled_decay() -> None:
    """Both go through the moments."""
    found = _step(replace(_PLAIN, optimizer="adam"), {"lr": 0.01, "l2_penalty": 0.25}, _GRADIENTS)
    row = ROWS[:1].clone().requires_grad_()
    optimizer = torch.optim.Adam([row], lr=0.01, weight_decay=0.5)
    for gradient in _GRADIENTS:
        row.grad = gradient.clone()
        optimizer.step()
    assert torch.allclose(found, row, rtol=0, atol=1e-12)


_DECAYS: dict[str, Callable[[Any, Any, float], Any]] = {
    "decoupled": lambda w, u, _factor: w - 0.1 * (u + 0.2 * w),
    "cautious": lambda w, u, _factor: w - 0.1 * (u + 0.2 * torch.where(u * w >= 0, w, 0)),
    "corrected": lambda w, u, factor: w - 0.1 * (u + 0.2 * factor * w),
}


@pytest.mark.parametrize("decay", list(_DECAYS))
def test_decay_is_that_of_its_paper(decay: Any) -> None:
    """As written there: x <- x - lr (u + lambda x), where and as far as each says."""
    problem = replace(_PLAIN, decay=decay)
    found = _step(problem, {"lr": 0.2, "weight_decay": 0.2}, _GRADIENTS[:1], factor=0.5)
    expected = _DECAYS[decay](ROWS[:1], _GRADIENTS[0], 0.5)
    assert torch.allclose(found, expected, rtol=0, atol=1e-15)


def _half_squared(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return scikit-learn's data term, 1 / (2 n) ||y - X w||^2."""
    return nn.functional.mse_loss(output.squeeze(-1), target) / 2


@pytest.mark.parametrize(("program", "every"), [(OneByOne, 4), (Stacked, 1)])
def test_proximal_lanes_find_the_coefficients_of_scikit_learn(program: Program, every: int) -> None:
    """Elastic nets of different weights side by side: to 1e-4, and the same exact zeros."""
    inputs, targets = make_regression(200, 20, n_informative=6, noise=5.0, random_state=0)
    # In numbers that float32 has, which data is kept in.
    data = torch.from_numpy(inputs).float(), torch.from_numpy(targets / 10).float()
    problem = Problem(
        lambda: nn.Linear(20, 1, bias=False).double(),
        train=data,
        validation=data,
        test=None,
        loss=_half_squared,
        prepare=lambda batch: [each.double() for each in batch],
        batch_size=200,
        proximal=True,
    )
    trials = [{"alpha": a, "l1_ratio": r} for a in (0.01, 0.3, 2.0) for r in (0.2, 0.7, 1.0)][
        ::every
    ]
    config = TrainingConfig("", "", 0, batch_size=200, epochs=600, device="cpu")
    lanes = ProblemLanes(make_ready(problem, config)[0], Choice(program, len(trials)))
    for number, weights in enumerate(trials):
        lanes.add(number, {"lr": 0.4, **weights})
    for _ in range(600):
        assert len(lanes.train_pass()) == len(trials)
    n_zeros = 0
    for number, weights in enumerate(trials):
        model = ElasticNet(**weights, fit_intercept=False, tol=1e-10, max_iter=100_000)
        expected = torch.from_numpy(model.fit(*(each.double().numpy() for each in data)).coef_)
        found = lanes.state(number)["model"]["weight"][0]
        assert torch.allclose(found, expected, rtol=0, atol=1e-4)
        assert torch.equal(found == 0, expected == 0)
        assert lanes.weights(number).zero_share == float((expected == 0).double().mean())
        n_zeros += int((expected == 0).sum())
    assert n_zeros > 4 * len(trials)


def test_proximal_step_leaves_alone_what_does_not_decay() -> None:
    """Biases keep their value under any l1 if matrices alone decay, and penalties may be fixed."""
    inputs = torch.randn(40, 4, generator=_DRAWS)
    fields = {"decays": "matrices", "fixed": {"l1": 100.0}, "proximal": True}
    problem = Problem(
        lambda: nn.Linear(4, 2),
        (inputs, (inputs[:, 0] > 0).long()),
        batch_size=8,
        **fields,  # type: ignore[arg-type]
    )
    config = TrainingConfig("", "", 0, batch_size=8, epochs=1, device="cpu")
    lanes = ProblemLanes(make_ready(problem, config)[0], Choice(OneByOne, 1))
    lanes.add(0, {"lr": 0.1})
    lanes.train_pass()
    state = lanes.state(0)["model"]
    assert not state["weight"].any()
    assert state["bias"].all()
    assert lanes.weights(0).zero_share == 1


_INPUTS = torch.randn(60, 4, generator=_DRAWS)
_CLASSES = Problem(lambda: nn.Linear(4, 2), (_INPUTS, (_INPUTS[:, 0] > 0).long()), batch_size=8)
_BAD: dict[str, tuple[dict[str, Any], str]] = {
    "negative range": ({"space": {"l1": (-1.0, 1.0)}}, "space 'l1': -1.0 is outside"),
    "negative choice": ({"space": {"l2_penalty": [0.0, -1e-3]}}, "-0.001 is outside"),
    "ratio": ({"space": {"alpha": (1e-4, 1.0), "l1_ratio": (0.0, 2.0)}}, "takes: 0 to 1"),
    "ratio alone": ({"space": {"l1_ratio": (0.1, 0.9)}}, "add alpha"),
    "proximal": ({"proximal": True}, "proximal=True: there is no L1"),
    "smoothing of numbers": (
        {"space": {"label_smoothing": (0.0, 0.2)}, "data": (_INPUTS, _INPUTS[:, :2])},
        "label_smoothing: the problem has a loss for targets that are no classes",
    ),
    "own loss": (
        {"fixed": {"label_smoothing": 0.1}, "loss": nn.functional.cross_entropy},
        "has a loss of its own",
    ),
    "nothing decays": ({"decays": lambda *_: False}, "leaves it no parameter"),
    "momentum of adam": (
        {"optimizer": "adam", "space": {"momentum": (0.0, 0.9)}},
        "which adam does not take: it takes beta1 and beta2",
    ),
    "betas of sgd": ({"space": {"beta1": (0.5, 0.9)}}, "it takes momentum"),
    "momentum of 1": (
        {"space": {"momentum": [0.9, 1.0]}},
        "1.0 is outside of what it takes: 0 or more, and less",
    ),
    "batch size": ({"space": {"batch_size": [8, 2.5]}}, "2.5 is outside of what it takes: whole"),
    "large batch": ({"space": {"batch_size": (8, 64)}}, "batch_size=64: train has 48 examples"),
    "nesterov": ({"nesterov": True}, "it is of sgd with momentum"),
    "fixed strength": ({"fixed": {"weight_decay": 0.1}}, "is the strength"),
    "two meanings": (
        {"model": lambda alpha: nn.Linear(4, 2), "space": {"alpha": (0.1, 0.2)}},  # noqa: ARG005
        "space names 'alpha', which is the training's",
    ),
}


@pytest.mark.parametrize("case", list(_BAD))
def test_penalty_that_cannot_act_is_told_in_one_line(case: str) -> None:
    """With its name and the remedy, before anything is stored."""
    fields, message = _BAD[case]
    with pytest.raises(ProblemError) as told:
        describe(replace(_CLASSES, **fields), None, {}, seed=0)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fixed": {"l1": -0.1}}, "l1=-0.1: it takes 0 or more"),
        ({"fixed": {"l1": 0.1}, "space": {"l1": (0.1, 0.2)}}, "is searched, too"),
        ({"optimizer": "adamw", "decay": "coupled"}, "choose optimizer='adam'"),
        ({"betas": (0.9, 1.0)}, "beta2=1.0: give 0 or more, and less than 1"),
        ({"clip_norm": 0.0}, "give more than 0"),
        ({"decay": "coupeld"}, "choose None, coupled"),
    ],
)
def test_problem_with_a_wrong_weight_is_none(fields: Any, message: str) -> None:
    """It is told where it is made."""
    with pytest.raises(ValueError, match=message):
        replace(_CLASSES, **fields)


def test_description_tells_the_penalties() -> None:
    """For exports: formula, how it acts, and weights that are the same for all trials."""
    problem = replace(
        _CLASSES,
        space={"l1": (1e-5, 1e-2)},
        strength="l1",
        fixed={"l2_penalty": 0.5},
        proximal=True,
        decay="cautious",
    )
    facts = describe(problem, None, {}, seed=0).facts
    assert facts.recipe is not None
    assert facts.with_zero
    assert facts.recipe.penalties == (
        "l2_penalty * ||w||^2, l2_penalty = 0.5; l1 * sum(|w|) by proximal steps"
    )
    assert facts.recipe.decay == "cautious"
