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
from objectives.kernels import EPSILON, step_adam, step_sgd
from objectives.penalties import DECAYS, Penalty, find_terms
from objectives.problem import Problem, Schedule


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
        self._all_decay = bool(self.decays.all())
        self._rates = self._numbers("lr", 0.0)
        self._kept = self._numbers("momentum", self.problem.momentum)
        self._momentum = self._as_column(self._kept)
        self._has_momentum = any(self._kept)
        own = zip(("beta1", "beta2"), self.problem.betas, strict=True)
        self._betas = [self._numbers(*each) for each in own]
        self._takes = [self._as_column([1 - beta for beta in each]) for each in self._betas]
        self._decay = self._mask(self._column("weight_decay", 0.0))
        self._share = DECAYS[self.problem.acting_decay]
        # A kernel lets all of a row decay, or nothing of it.
        self._whole_decays = [
            decay if self._all_decay else 0.0 for decay in self._numbers("weight_decay", 0.0)
        ]
        terms = find_terms({name: None for params in self.params for name in params})
        weights = [(each, self._weights(each)) for each in terms]
        in_steps = [each.proximal is not None and self.problem.proximal for each in terms]
        self._added = [each for each, whole in zip(weights, in_steps, strict=True) if not whole]
        self._whole = [each for each, whole in zip(weights, in_steps, strict=True) if whole]

    def _numbers(self, name: str, default: float) -> list[float]:
        return [float(params.get(name, default)) for params in self.params]

    def _column(self, name: str, default: float) -> torch.Tensor:
        return self._as_column(self._numbers(name, default))

    def _as_column(self, numbers: Sequence[float]) -> torch.Tensor:
        return self.decays.new_tensor(numbers).unsqueeze(1)

    def _weights(self, penalty: Penalty) -> list[torch.Tensor]:
        factor, *shapes = (self._column(*each) for each in penalty.weights.items())
        return [self._mask(factor), *shapes]

    def _mask(self, column: torch.Tensor) -> torch.Tensor:
        return column if self._all_decay else column * self.decays

    @property
    def _is_by_kernel(self) -> bool:
        """Whether torch has a kernel for such steps, one that costs less than operations on all."""
        is_adam = self.problem.optimizer != "sgd"
        known = ("coupled", "decoupled") if is_adam else ("coupled",)
        return bool(self.moments) and self.decays.is_cpu and self.problem.acting_decay in known

    def update(
        self,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        steps: Sequence[int],
        factors: Sequence[float],
    ) -> None:
        """Take a step: of each row its number, from 0, and what multiplies its rate.

        ``gradients`` are used up. What has the rows' size is changed in its place: to allocate it
        anew took as long as all the arithmetic.
        """
        for penalty, weights in self._added:
            gradients.add_(penalty.gradient(rows, *weights))
        if self.problem.clip_norm is not None:
            norms = gradients.norm(dim=1, keepdim=True)
            gradients.mul_((self.problem.clip_norm / (norms + 1e-6)).clamp(max=1))
        by_row = zip(self._rates, *self._betas, steps, factors, strict=True)
        numbers = [
            (rate * factor, factor, 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1))
            for rate, beta1, beta2, step, factor in by_row
        ]
        rates, peaks, *corrections = torch.split(rows.new_tensor(numbers), 1, dim=1)
        if self._is_by_kernel:
            self._take_by_kernel(rows, gradients, rates, steps)
        else:
            self._take(rows, gradients, rates, peaks, *corrections)
        for penalty, weights in self._whole:
            assert penalty.proximal is not None
            rows.copy_(penalty.proximal(rows, rates, *weights))

    def _take_by_kernel(
        self,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        rates: torch.Tensor,
        steps: Sequence[int],
    ) -> None:
        """Take the rows' steps one after another: 0.5 ms for Adam's of eight rows of SimpleNet,
        where ``_take`` took 1.1.
        """
        is_coupled = self._share is None
        if not self._all_decay:
            if is_coupled:
                gradients.addcmul_(rows, self._decay)
            else:
                rows.mul_(1 - rates * self._decay)
        parts = zip(rows, gradients, *(self.moments[n] for n in sorted(self.moments)), strict=True)
        numbers = zip(
            rates.flatten().tolist(),
            *(self._whole_decays, self._kept, *self._betas, steps),
            strict=True,
        )
        for own, (lr, decay, kept, beta1, beta2, step) in zip(parts, numbers, strict=True):
            common = {"lr": lr, "decay": decay}
            if self.problem.optimizer == "sgd":
                step_sgd(own, **common, momentum=kept, nesterov=self.problem.nesterov)
            else:
                betas = beta1, beta2
                step_adam(own, step, **common, betas=betas, is_coupled=is_coupled)

    def _take(
        self,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        rates: torch.Tensor,
        peaks: torch.Tensor,
        *corrections: torch.Tensor,
    ) -> None:
        if self._share is None:
            gradients.addcmul_(rows, self._decay)
        is_sgd = self.problem.optimizer == "sgd"
        updates = self._sgd(gradients) if is_sgd else self._adam(gradients, *corrections)
        if self._share is not None:
            rows.mul_(1 - rates * self._decay * self._share(rows, updates, peaks))
        rows.addcmul_(updates, rates, value=-1)

    def _sgd(self, gradients: torch.Tensor) -> torch.Tensor:
        if not self._has_momentum:
            return gradients
        buffer = self.moments["momentum"].mul_(self._momentum).add_(gradients)
        return gradients.addcmul_(buffer, self._momentum) if self.problem.nesterov else buffer

    def _adam(
        self, gradients: torch.Tensor, of_mean: torch.Tensor, of_square: torch.Tensor
    ) -> torch.Tensor:
        mean = self.moments["mean"].lerp_(gradients, self._takes[0])
        square = self.moments["square"].lerp_(gradients.square_(), self._takes[1])
        roots = torch.div(square, of_square, out=gradients).sqrt_().add_(EPSILON).mul_(of_mean)
        return torch.div(mean, roots, out=roots)
