"""What there is to know of a problem before a study of it begins, found in a few seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from objectives.describing import Description, try_out
from objectives.gradients import OneByOne
from objectives.group import find_decays
from objectives.optimizers import find_moments
from objectives.problem import Problem
from objectives.program_choice import choose_program, time_fast


@dataclass(frozen=True)
class Check:
    """A problem's description, and what was seen when it was tried.

    ``scale_invariant`` names the tensors that may be scaled without a change of the output: there
    λ only sets the learning rate. ``program`` tells how trials are trained, ``seconds`` are those
    that an epoch of one of them takes; bytes are of what a lane keeps of its parameters, their
    gradients and moments.
    """

    description: Description
    n_parameters: int
    n_decaying: int
    scale_invariant: tuple[str, ...]
    program: str
    seconds: float
    bytes_a_lane: int


def check(problem: Problem, source: str | None, given: Mapping[str, Any], *, seed: int) -> Check:
    """Try a problem as ``try_out`` does, and time it; raises what it raises."""
    tried = try_out(problem, source, given, seed=seed)
    ready, params = tried.ready, tried.params
    lane = ready.build(params, seed=0)
    choice = choose_program(ready, tried.description.facts.space or {}, None)
    if choice.fast is not None:
        seconds: float | None = time_fast(ready, choice.fast, params, choice.n_lanes)
    else:
        seconds = choice.seconds_alone if choice.program is OneByOne else choice.seconds_beside
    decays = find_decays(ready.problem, lane.model)
    n_copies = 2 + len(find_moments(problem, params))
    return Check(
        tried.description,
        n_parameters=lane.row.numel(),
        n_decaying=int(decays.sum()),
        scale_invariant=tried.scale_invariant,
        program=choice.tell(),
        seconds=(seconds or 0.0) * ready.n_steps,
        bytes_a_lane=lane.row.numel() * lane.row.element_size() * n_copies,
    )
