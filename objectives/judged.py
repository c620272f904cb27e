"""A problem's model together with its loss, as one module: what is differentiated."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from objectives.draws import Site
from objectives.problem import Problem


class Judged(nn.Module):
    """A model and what is lost by it on a batch."""

    def __init__(self, model: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.model = model
        self._problem = problem
        self.sites: dict[Any, list[Site]] = {}  # of dropout, by the shapes of a batch

    def forward(self, batch: Any, smoothing: Any = 0.0) -> torch.Tensor:
        """Return the mean loss over a batch; ``smoothing`` is of the targets that are classes."""
        if self._problem.step is not None:
            loss: torch.Tensor = self._problem.step(self.model, batch)
            return loss
        inputs, target = split_batch(batch)
        output = predict(self.model, inputs)
        if self._problem.loss is not None:
            own: torch.Tensor = self._problem.loss(output, target)
            return own
        return _default_loss(output, target, smoothing)


class Asked(nn.Module):
    """A model that is asked for its output, its parameters named as those of ``Judged``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        """Return the model's output."""
        return predict(self.model, inputs)


def split_batch(batch: Any) -> tuple[Any, Any]:
    """Return the model's inputs and the target: the last of several, or the only one itself."""
    if isinstance(batch, Mapping):
        *names, last = batch
        return {name: batch[name] for name in names}, batch[last]
    if isinstance(batch, tuple | list) and len(batch) > 1:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return inputs, batch[-1]
    only = batch[0] if isinstance(batch, tuple | list) else batch
    return only, only


def predict(model: nn.Module, inputs: Any) -> Any:
    """Return a model's output: of several inputs by place, of a dictionary by name."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _default_loss(output: torch.Tensor, target: torch.Tensor, smoothing: Any) -> torch.Tensor:
    if target.is_floating_point():
        if output.dim() == target.dim() + 1 and output.shape[-1] == 1:
            output = output.squeeze(-1)  # or each would be compared with all
        squared: torch.Tensor = functional.mse_loss(output, target)
        return squared
    target = target.long() if target.dtype == torch.bool else target
    if isinstance(smoothing, float) and smoothing == 0:
        entropy: torch.Tensor = functional.cross_entropy(output, target)
        return entropy
    log_p = functional.log_softmax(output, dim=1)
    nll: torch.Tensor = functional.nll_loss(log_p, target)
    smoothed: torch.Tensor = nll * (1 - smoothing) - log_p.mean() * smoothing
    return smoothed
