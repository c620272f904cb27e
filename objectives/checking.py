"""What there is to know of a problem before a study of it begins, found in a few seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from objectives.describing import Description, try_out
from objectives.gradients import Stacked
from objectives.group import Lane, find_decays
from objectives.judged import predict, split_batch
from objectives.optimizers import find_moments
from objectives.problem import Problem
from objectives.program_choice import choose_program
from objectives.ready import Ready
from objectives.seeds import derive_seed

_FACTOR = 2.0  # by which a tensor is scaled to see whether the output notices


@dataclass(frozen=True)
class Check:
    """A problem's description, and what was seen when it was tried.

    ``scale_invariant`` names the tensors that may be scaled without a change of the output: there
    λ only sets the learning rate. ``seconds_alone`` and ``seconds`` are those that an epoch of one
    trial takes to train by plain torch, and by the program that was chosen; bytes are of what a
    lane keeps of its parameters, their gradients and moments.
    """

    description: Description
    n_parameters: int
    n_decaying: int
    scale_invariant: tuple[str, ...]
    n_lanes: int
    side_by_side: bool
    reason: str | None
    seconds_alone: float
    seconds: float
    bytes_a_lane: int


def check(problem: Problem, source: str | None, given: Mapping[str, Any], *, seed: int) -> Check:
    """Try a problem as ``try_out`` does, and time it; raises what it raises."""
    tried = try_out(problem, source, given, seed=seed)
    ready, params = tried.ready, tried.params
    lane = ready.build(params, seed=0)
    choice = choose_program(ready, params, None)
    alone = (choice.seconds_alone or 0.0) * ready.n_steps
    beside = (choice.seconds_beside or 0.0) * ready.n_steps
    decays = find_decays(ready.problem, lane.model)
    n_copies = 2 + len(find_moments(problem, params))
    return Check(
        tried.description,
        n_parameters=lane.row.numel(),
        n_decaying=int(decays.sum()),
        scale_invariant=tuple(_find_scale_invariant(ready, lane)),
        n_lanes=choice.n_lanes,
        side_by_side=choice.program is Stacked,
        reason=choice.reason,
        seconds_alone=alone,
        seconds=beside if choice.program is Stacked else alone,
        bytes_a_lane=lane.row.numel() * lane.row.element_size() * n_copies,
    )


@torch.no_grad()
def _find_scale_invariant(ready: Ready, lane: Lane) -> list[str]:
    """Return the names of tensors whose scale the output does not show, in training mode."""
    if ready.problem.step is not None:
        return []
    ((batch, _),) = islice(ready.training_batches(0), 1)
    inputs, _ = split_batch(batch)
    model = lane.model.model.train()

    def ask() -> Any:
        torch.default_generator.manual_seed(derive_seed(0, "scale"))
        return predict(model, inputs)

    before = ask()
    if not isinstance(before, torch.Tensor):
        return []
    names = []
    with torch.random.fork_rng(devices=[]):
        for name, parameter in model.named_parameters():
            if not parameter.any():
                continue  # zeros are zeros at any scale
            parameter.mul_(_FACTOR)
            if torch.allclose(ask(), before, rtol=1e-3, atol=1e-4):
                names.append(name)
            parameter.div_(_FACTOR)
    return names
