"""Equal lanes in training together: their parameters are the rows of one matrix for a pass."""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from objectives.by_hand import ByHand
from objectives.data import batch_length, join, map_tensors
from objectives.errors import UnfitStateError
from objectives.facts import Params
from objectives.gradients import Gradients, OneByOne, Stacked, flatten, trained
from objectives.judged import Judged, split_batch
from objectives.optimizers import Rule, find_moments, schedule_factor
from objectives.problem import FastProgram, Metric, Problem
from objectives.shorthand import model_params

# How many numbers are updated at a time on a CPU: what a rule computes of them stays in its cache,
# and in memory that is there already. An elastic net of 16 rows of SimpleNet takes 0.8 ms a row so,
# and took 2.3 ms with all at once.
_IN_CACHE = 2**17

Program = type[OneByOne] | type[Stacked] | type[ByHand]


@dataclass
class Lane:
    """A model in training: its parameters as a row ``(n,)``, and what the update rule keeps."""

    model: Judged
    params: Params
    seed: int  # of its initialisation, and of what it draws
    epoch: int = 0
    step: int = 0
    row: torch.Tensor = field(init=False)
    moments: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lay out the parameters."""
        self.row = flatten(self.model)

    def go_on(self, n_steps: int) -> None:
        """Note that the model was trained for an epoch of so many steps, apart from the row."""
        self.row = flatten(self.model)
        self.step += n_steps
        self.epoch += 1

    def signature(self, rates: Collection[str]) -> Any:
        """Return what lanes have in common that train as one program; they may differ in those of
        the model's arguments that are ``rates`` of dropout.
        """
        shapes = tuple((name, tensor.shape) for name, tensor in self.model.named_parameters())
        own = {n: each for n, each in model_params(self.params).items() if n not in rates}
        return shapes, self.batch_size, repr(sorted(own.items()))

    @property
    def batch_size(self) -> int | None:
        """How many examples a step has, if that is the trial's own choice."""
        return self.params.get("batch_size")


class Group:
    """Lanes for one pass; nothing of them changes before ``store``, unless they go one by one."""

    def __init__(
        self, program: Program, problem: Problem, lanes: Sequence[Lane], n_steps: int
    ) -> None:
        """``n_steps`` is the number of steps an epoch."""
        self.lanes = lanes
        self._problem, self._n_steps = problem, n_steps
        self._rows = torch.stack([lane.row for lane in lanes])
        self._steps = [lane.step for lane in lanes]
        self._moments = {
            name: torch.stack(
                [lane.moments.get(name, torch.zeros_like(lane.row)) for lane in lanes]
            )
            for name in sorted({n for lane in lanes for n in find_moments(problem, lane.params)})
        }
        decays = find_decays(problem, lanes[0].model).to(self._rows)
        params = [lane.params for lane in lanes]
        n_together = max(1, _IN_CACHE // len(decays)) if decays.is_cpu else len(lanes)
        parts = [slice(at, at + n_together) for at in range(0, len(lanes), n_together)]
        self._rules = [
            (part, Rule(problem, params[part], decays, _slice(self._moments, part)))
            for part in parts
        ]
        smoothing = [float(lane.params.get("label_smoothing", 0.0)) for lane in lanes]
        models, seeds = [lane.model for lane in lanes], [lane.seed for lane in lanes]
        self._gradients: Gradients = program(self._rows, models, smoothing, seeds)
        self._total = self._rows.new_zeros(len(lanes), dtype=torch.float64)
        self._n_seen = 0

    def take(self, batch: Any, share: float = 1.0) -> None:
        """Take a step on a batch; the gradient of a smaller one may count by its ``share``."""
        losses, gradients = self._gradients.take(batch, self._steps)
        schedule, n_all = self._problem.schedule, self._problem.epochs * self._n_steps
        factors = [schedule_factor(schedule, step, n_all) for step in self._steps]
        with torch.no_grad():
            if share != 1:
                gradients.mul_(share)
            for part, rule in self._rules:
                rule.update(self._rows[part], gradients[part], self._steps[part], factors[part])
            n = batch_length(batch)
            self._total += losses.double() * n
        self._steps = [step + 1 for step in self._steps]
        self._n_seen += n

    def mean_losses(self) -> list[float]:
        """Return the mean loss over the examples of the pass, by lane."""
        return (self._total / max(1, self._n_seen)).tolist()

    def values(self, metric: Metric | None, batches: Any) -> list[float]:
        """Return the metric over a part that comes in batches, by lane; None: the mean loss."""
        if metric is None:
            return self._mean_losses_on(batches)
        found: list[list[Any]] = [[] for _ in self.lanes]
        targets = []
        for batch in batches:
            inputs, target = split_batch(batch)
            for own, output in zip(found, self._gradients.outputs(inputs), strict=True):
                own.append(_to_cpu(output))
            targets.append(_to_cpu(target))
        truth = join(targets)
        return [float(metric.score(join(own), truth)) for own in found]

    def _mean_losses_on(self, batches: Any) -> list[float]:
        total, n_seen = torch.zeros_like(self._total), 0
        for batch in batches:
            n = batch_length(batch)
            total += self._gradients.losses(batch).double() * n
            n_seen += n
        return (total / max(1, n_seen)).tolist()

    def store(self) -> None:
        """Leave the lanes as they are after this pass."""
        self._gradients.store()
        for index, lane in enumerate(self.lanes):
            lane.row = self._rows[index]
            lane.step = self._steps[index]
            lane.moments = {name: each[index] for name, each in self._moments.items()}
            lane.epoch += 1


def _slice(moments: Mapping[str, torch.Tensor], part: slice) -> dict[str, torch.Tensor]:
    return {name: each[part] for name, each in moments.items()}


def train_by(program: FastProgram, lanes: Sequence[Lane], order: NDArray[np.int64]) -> Any:
    """Train lanes for a pass by a problem's own program; return losses and metrics by lane."""
    models, params = [lane.model.model for lane in lanes], [lane.params for lane in lanes]
    return program.train(models, params, torch.from_numpy(order))


def find_decays(problem: Problem, model: Judged) -> torch.Tensor:
    """Return 1 where a parameter of the row decays, else 0, ``(n,)``."""
    pieces = [
        torch.full((parameter.numel(),), float(_decays(problem, name, parameter)))
        for name, parameter in trained(model.model).items()
    ]
    return torch.cat(pieces)


def _decays(problem: Problem, name: str, parameter: torch.Tensor) -> bool:
    if callable(problem.decays):
        return bool(problem.decays(name, parameter))
    return problem.decays == "all" or parameter.dim() > 1


def _to_cpu(tree: Any) -> Any:
    return map_tensors(lambda tensor: tensor.detach().cpu(), tree)


def state_of(lane: Lane) -> Mapping[str, Any]:
    """Return a copy of all that a lane consists of, on the CPU, as plain values and tensors."""
    copied = {
        name: each.detach().cpu().clone() for name, each in lane.model.model.state_dict().items()
    }
    moments = {name: each.cpu().clone() for name, each in lane.moments.items()}
    return {"model": copied, "moments": moments, "step": lane.step}


def go_on_from(lane: Lane, state: Mapping[str, Any], epoch: int) -> None:
    """Let a new lane be what ``state_of`` has returned after an epoch.

    Raises UnfitStateError if it is none of this model's; the lane is of no use then.
    """
    try:
        lane.model.model.load_state_dict(state["model"])
        lane.row = flatten(lane.model)
        lane.moments = {
            name: each.to(lane.row).reshape_as(lane.row) for name, each in state["moments"].items()
        }
        lane.step, lane.epoch = operator.index(state["step"]), epoch
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UnfitStateError(f"What was kept of a model does not fit it: {error}") from error
