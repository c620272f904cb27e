"""Which tensors may be scaled without a change of the output: there λ only sets their lr."""

import time
from collections.abc import Collection
from itertools import islice
from typing import Any

import torch

from objectives.gradients import trained
from objectives.group import Lane, find_decays
from objectives.judged import predict, split_batch
from objectives.ready import Ready
from objectives.seeds import derive_seed

_FACTOR = 2.0
_MOST_SECONDS = 2.0  # a large model has many tensors, and each takes a batch


@torch.no_grad()
def find_scale_invariant(ready: Ready, lane: Lane) -> tuple[str, ...] | None:
    """Return the names of those tensors, in training mode; None if it would take too long to tell.

    A problem with a step of its own has no output to look at: none.
    """
    if ready.problem.step is not None:
        return ()
    ((batch, _),) = islice(ready.training_batches(0), 1)
    inputs, _ = split_batch(batch)
    model = lane.model.model.train()

    def ask() -> Any:
        torch.default_generator.manual_seed(derive_seed(0, "scale"))
        return predict(model, inputs)

    names, ends = [], time.monotonic() + _MOST_SECONDS
    with torch.random.fork_rng(devices=[]):
        if not isinstance(before := ask(), torch.Tensor):
            return ()
        for name, parameter in model.named_parameters():
            if time.monotonic() > ends:
                return None
            if not parameter.any():
                continue  # zeros are zeros at any scale
            parameter.mul_(_FACTOR)
            if torch.allclose(ask(), before, rtol=1e-3, atol=1e-4):
                names.append(name)
            parameter.div_(_FACTOR)
    return tuple(names)


def find_share(ready: Ready, lane: Lane, names: Collection[str]) -> float:
    """Return which part of a model's decaying parameters is in tensors of these names."""
    decays = find_decays(ready.problem, lane.model)
    parameters = trained(lane.model.model)
    pieces = torch.split(decays, [parameter.numel() for parameter in parameters.values()])
    of_names = sum(
        float(d.sum()) for name, d in zip(parameters, pieces, strict=True) if name in names
    )
    return of_names / max(1.0, float(decays.sum()))
