"""Update rules for the parameters of many models at once: each model is a row of one matrix.

What torch's optimizers do with one model (``torch.optim.SGD``, ``Adam``, ``AdamW``, their defaults
otherwise), with a learning rate and penalties of each row's own, which torch's do not take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi

import torch

from objectives.facts import Params
from objectives.problem import Problem, Schedule

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


def schedule_factor(schedule: Schedule, progress: float) -> float:
    """Return what multiplies the learning rate after a share of all steps, ``progress`` in 0..1.

    ``onecycle`` rises for 0.3 of the steps from 1/25 and falls to 1/25e4, by half cosines, as
    ``torch.optim.lr_scheduler.OneCycleLR`` does by default.
    """
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + cos(pi * progress)) / 2
        case "onecycle":
            if progress < 0.3:
                return _between(1 / 25, 1.0, progress / 0.3)
            return _between(1.0, 1 / 25e4, (progress - 0.3) / 0.7)


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
        """Lay out the rows' numbers, ``(rows, 1)``."""
        self._rates = self._column("lr", 0.0)
        self._momentum = self._column("momentum", self.problem.momentum)
        self._decay = self._column("weight_decay", 0.0) * self.decays
        self._l1 = self._column("l1", 0.0) * self.decays
        self._l2 = self._column("l2_penalty", 0.0) * self.decays
        self._has_l1, self._has_l2 = bool(self._l1.any()), bool(self._l2.any())
        self._has_momentum = bool(self._momentum.any())

    def _column(self, name: str, default: float) -> torch.Tensor:
        values = [float(params.get(name, default)) for params in self.params]
        return self.decays.new_tensor(values).unsqueeze(1)

    def update(
        self,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        factors: torch.Tensor,
        steps: torch.Tensor,
    ) -> None:
        """Take a step; the rates are multiplied by ``factors``, and ``steps`` counts from 1, both
        ``(rows, 1)``.
        """
        if self._has_l1:
            gradients = gradients + self._l1 * rows.sign()
        if self._has_l2:
            gradients = gradients + 2 * self._l2 * rows
        if self.problem.clip_norm is not None:
            norms = gradients.norm(dim=1, keepdim=True)
            gradients = gradients * (self.problem.clip_norm / (norms + 1e-6)).clamp(max=1)
        rates = self._rates * factors
        if self.problem.optimizer == "sgd":
            self._sgd(rows, gradients, rates)
        else:
            self._adam(rows, gradients, rates, steps)

    def _sgd(self, rows: torch.Tensor, gradients: torch.Tensor, rates: torch.Tensor) -> None:
        gradients = gradients.addcmul(rows, self._decay)
        if self._has_momentum:
            buffer = self.moments["momentum"].mul_(self._momentum).add_(gradients)
            gradients = buffer
        rows.addcmul_(gradients, rates, value=-1)

    def _adam(
        self,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        rates: torch.Tensor,
        steps: torch.Tensor,
    ) -> None:
        if self.problem.optimizer == "adamw":
            rows.mul_(1 - rates * self._decay)
        else:
            gradients = gradients.addcmul(rows, self._decay)
        mean, square = self.moments["mean"], self.moments["square"]
        mean.lerp_(gradients, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradients, gradients, value=1 - _BETAS[1])
        scale = rates / (1 - _BETAS[0] ** steps)
        roots = (square / (1 - _BETAS[1] ** steps)).sqrt_().add_(_EPSILON)
        rows.sub_(scale * mean / roots)
