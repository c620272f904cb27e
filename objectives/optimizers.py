"""Update rules for the parameters of many models at once: each model is a row of one matrix.

What torch's optimizers do with one model (``torch.optim.SGD``, ``Adam``, ``AdamW``, their defaults
otherwise), with rates, coefficients and penalties of each row's own, which torch's do not take; see
``objectives.penalties``. What depends on a step's number alone is computed as torch does, in double
precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi

import torch

from objectives.facts import Params
from objectives.penalties import DECAYS, Penalty, find_terms
from objectives.problem import Problem, Schedule

_EPSILON = 1e-8


def schedule_factor(schedule: Schedule, step: int, n_steps: int) -> float:
    """Return what multiplies the learning rate in a step, 0, 1, ..., of so many.

    ``cosine`` is torch's ``CosineAnnealingLR(optimizer, n_steps)``. ``onecycle`` rises for 0.3 of
    the steps from 1/25 and falls to 1/25e4, by half cosines, as ``OneCycleLR(optimizer, lr,
    total_steps=n_steps, cycle_momentum=False)``.
    """
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return _between(1.0, 0.0, step / n_steps)
        case "onecycle":
            peak = 0.3 * n_steps - 1
            if step <= peak:
                return _between(1 / 25, 1.0, step / peak)
            return _between(1.0, 1 / 25e4, (step - peak) / (n_steps - 1 - peak))


def find_moments(problem: Problem, params: Params) -> tuple[str, ...]:
    """Return the names of what a rule keeps by parameter from step to step."""
    if problem.optimizer != "sgd":
        return "mean", "square"
    return ("momentum",) if params.get("momentum", problem.momentum) else ()


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2


@dataclass
class Rule:
    """How rows ``(rows, n)`` are updated by their gradients; ``moments`` have the rows' shape.

    ``decays`` ``(n,)`` is 1 where a parameter decays, or 0.
    """

    problem: Problem
    params: Sequence[Params]
    decays: torch.Tensor
    moments: dict[str, torch.Tensor]

    def __post_init__(self) -> None:
        """Lay out the rows' numbers, ``(rows, 1)``, or ``(rows, n)`` if some do not decay."""
        self._rates = self._numbers("lr", 0.0)
        self._momentum = self._column("momentum", self.problem.momentum)
        self._has_momentum = bool(self._momentum.any())
        own = zip(("beta1", "beta2"), self.problem.betas, strict=True)
        self._betas = [self._numbers(*each) for each in own]
        self._keeps, self._takes = zip(*map(self._split, self._betas), strict=True)
        self._decay = self._mask(self._column("weight_decay", 0.0))
        self._share = DECAYS[self.problem.acting_decay]
        terms = find_terms({name: None for params in self.params for name in params})
        weights = [(each, self._weights(each)) for each in terms]
        in_steps = [each.proximal is not None and self.problem.proximal for each in terms]
        self._added = [each for each, whole in zip(weights, in_steps, strict=True) if not whole]
        self._whole = [each for each, whole in zip(weights, in_steps, strict=True) if whole]

    def _numbers(self, name: str, default: float) -> list[float]:
        return [float(params.get(name, default)) for params in self.params]

    def _column(self, name: str, default: float) -> torch.Tensor:
        return self.decays.new_tensor(self._numbers(name, default)).unsqueeze(1)

    def _split(self, betas: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which share of a moment is kept, and which is taken from what is new."""
        numbers = self.decays.new_tensor([betas, [1 - beta for beta in betas]])
        keeps, takes = numbers.unsqueeze(2).unbind(0)
        return keeps, takes

    def _weights(self, penalty: Penalty) -> list[torch.Tensor]:
        factor, *shapes = (self._column(*each) for each in penalty.weights.items())
        return [self._mask(factor), *shapes]

    def _mask(self, column: torch.Tensor) -> torch.Tensor:
        return column if bool(self.decays.all()) else column * self.decays

    def update(
        self,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        steps: Sequence[int],
        factors: Sequence[float],
    ) -> None:
        """Take a step: of each row its number, from 0, and what multiplies its rate."""
        by_row = zip(self._rates, *self._betas, steps, factors, strict=True)
        numbers = [
            (rate * factor, factor, 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1))
            for rate, beta1, beta2, step, factor in by_row
        ]
        rates, peaks, *corrections = torch.split(rows.new_tensor(numbers), 1, dim=1)
        for penalty, weights in self._added:
            gradients = gradients + penalty.gradient(rows, *weights)
        if self.problem.clip_norm is not None:
            norms = gradients.norm(dim=1, keepdim=True)
            gradients = gradients * (self.problem.clip_norm / (norms + 1e-6)).clamp(max=1)
        if self._share is None:
            gradients = gradients.addcmul(rows, self._decay)
        is_sgd = self.problem.optimizer == "sgd"
        updates = self._sgd(gradients) if is_sgd else self._adam(gradients, *corrections)
        if self._share is not None:
            rows.mul_(1 - rates * self._decay * self._share(rows, updates, peaks))
        rows.addcmul_(updates, rates, value=-1)
        for penalty, weights in self._whole:
            assert penalty.proximal is not None
            rows.copy_(penalty.proximal(rows, rates, *weights))

    def _sgd(self, gradients: torch.Tensor) -> torch.Tensor:
        if not self._has_momentum:
            return gradients
        buffer = self.moments["momentum"].mul_(self._momentum).add_(gradients)
        return gradients.addcmul(buffer, self._momentum) if self.problem.nesterov else buffer

    def _adam(
        self, gradients: torch.Tensor, of_mean: torch.Tensor, of_square: torch.Tensor
    ) -> torch.Tensor:
        mean, square = self.moments["mean"], self.moments["square"]
        mean.mul_(self._keeps[0]).addcmul_(gradients, self._takes[0])
        square.mul_(self._keeps[1]).addcmul_(gradients * self._takes[1], gradients)
        roots = (square / of_square).sqrt_().add_(_EPSILON)
        return mean / of_mean / roots
