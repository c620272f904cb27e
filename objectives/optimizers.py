"""Update rules for the parameters of many models at once: each model is a row of one matrix.

What torch's optimizers do with one model (``torch.optim.SGD``, ``Adam``, ``AdamW``, their defaults
otherwise), with a learning rate and penalties of each row's own, which torch's do not take; see
``objectives.penalties``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi

import torch

from objectives.facts import Params
from objectives.penalties import DECAYS, Decay, Penalty, find_terms
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
        """Lay out the rows' numbers, ``(rows, 1)``, or ``(rows, n)`` if some do not decay."""
        self._rates = self._column("lr", 0.0)
        self._momentum = self._column("momentum", self.problem.momentum)
        self._has_momentum = bool(self._momentum.any())
        self._decay = self._mask(self._column("weight_decay", 0.0))
        self._share = DECAYS[find_decay(self.problem)]
        terms = find_terms({name: None for params in self.params for name in params})
        weights = [(each, self._weights(each)) for each in terms]
        in_steps = [each.proximal is not None and self.problem.proximal for each in terms]
        self._added = [each for each, whole in zip(weights, in_steps, strict=True) if not whole]
        self._whole = [each for each, whole in zip(weights, in_steps, strict=True) if whole]

    def _column(self, name: str, default: float) -> torch.Tensor:
        values = [float(params.get(name, default)) for params in self.params]
        return self.decays.new_tensor(values).unsqueeze(1)

    def _weights(self, penalty: Penalty) -> list[torch.Tensor]:
        factor, *shapes = (self._column(*each) for each in penalty.weights.items())
        return [self._mask(factor), *shapes]

    def _mask(self, column: torch.Tensor) -> torch.Tensor:
        return column if bool(self.decays.all()) else column * self.decays

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
        for penalty, weights in self._added:
            gradients = gradients + penalty.gradient(rows, *weights)
        if self.problem.clip_norm is not None:
            norms = gradients.norm(dim=1, keepdim=True)
            gradients = gradients * (self.problem.clip_norm / (norms + 1e-6)).clamp(max=1)
        if self._share is None:
            gradients = gradients.addcmul(rows, self._decay)
        is_sgd = self.problem.optimizer == "sgd"
        updates = self._sgd(gradients) if is_sgd else self._adam(gradients, steps)
        rates = self._rates * factors
        if self._share is not None:
            rows.mul_(1 - rates * self._decay * self._share(rows, updates, factors))
        rows.addcmul_(updates, rates, value=-1)
        for penalty, weights in self._whole:
            assert penalty.proximal is not None
            rows.copy_(penalty.proximal(rows, rates, *weights))

    def _sgd(self, gradients: torch.Tensor) -> torch.Tensor:
        if not self._has_momentum:
            return gradients
        return self.moments["momentum"].mul_(self._momentum).add_(gradients)

    def _adam(self, gradients: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        mean, square = self.moments["mean"], self.moments["square"]
        mean.lerp_(gradients, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradients, gradients, value=1 - _BETAS[1])
        roots = (square / (1 - _BETAS[1] ** steps)).sqrt_().add_(_EPSILON)
        return mean / (1 - _BETAS[0] ** steps) / roots


def find_decay(problem: Problem) -> Decay:
    """Return how weight decay acts: as torch's optimizer of that name has it, unless it is said."""
    return problem.decay or ("decoupled" if problem.optimizer == "adamw" else "coupled")
