"""Losses and gradients of models that are rows of one matrix: one by one, or as one program.

Both give each row the gradient of its own loss on the same batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from objectives.data import leaves
from objectives.draws import draw_noise, dropping_by, find_sites
from objectives.judged import Asked, Judged, predict
from objectives.recurrent import as_loops
from objectives.seeds import derive_seed


class Gradients(Protocol):
    """How the rows of a matrix, each a model's parameters, are differentiated and asked."""

    def take(self, batch: Any, steps: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses ``(rows,)`` and gradients ``(rows, n)`` on a batch, in training mode.

        ``steps`` tells of each row how many steps it has taken before.
        """
        ...

    def outputs(self, inputs: Any) -> list[Any]:
        """Return the models' outputs, by row, in evaluation mode."""
        ...

    def losses(self, batch: Any) -> torch.Tensor:
        """Return losses ``(rows,)`` in evaluation mode."""
        ...

    def store(self) -> None:
        """Leave the models as the rows are: with their parameters, and buffers that are theirs."""
        ...


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name: those that are not frozen."""
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def _kept(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what else a model holds: buffers, and parameters that are frozen."""
    frozen = {name: each for name, each in model.named_parameters() if not each.requires_grad}
    return {**dict(model.named_buffers()), **frozen}


def bind(model: nn.Module, row: torch.Tensor) -> None:
    """Let a model's parameters that are trained be views of a row ``(n,)``."""
    parameters = trained(model).values()
    with torch.no_grad():
        pieces = torch.split(row, [parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.data = piece.view(parameter.shape)


def flatten(model: nn.Module) -> torch.Tensor:
    """Return a model's parameters that are trained as one row ``(n,)``, a copy."""
    return torch.cat([each.detach().reshape(-1) for each in trained(model).values()])


class OneByOne:
    """Each model by plain torch: right for every model.

    What a model draws, as for dropout, depends on its own seed and step alone.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        models: Sequence[Judged],
        smoothing: Sequence[float],
        seeds: Sequence[int],
    ) -> None:
        self._models, self._smoothing, self._seeds = models, smoothing, seeds
        self._parameters = [list(trained(model).values()) for model in models]
        for model, row in zip(models, rows, strict=True):
            bind(model, row)

    def take(self, batch: Any, steps: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses and gradients on a batch (see ``Gradients``)."""
        losses, gradients = [], []
        for model, parameters, smoothing, seed, step in zip(
            self._models, self._parameters, self._smoothing, self._seeds, steps, strict=True
        ):
            model.train()
            torch.default_generator.manual_seed(derive_seed(seed, "draws", step))
            loss = model(batch, smoothing)
            found = torch.autograd.grad(loss, parameters, materialize_grads=True)
            losses.append(loss.detach())
            gradients.append(torch.cat([each.reshape(-1) for each in found]))
        return torch.stack(losses), torch.stack(gradients)

    @torch.no_grad()
    def outputs(self, inputs: Any) -> list[Any]:
        """Return the models' outputs (see ``Gradients``)."""
        return [predict(model.eval().model, inputs) for model in self._models]

    @torch.no_grad()
    def losses(self, batch: Any) -> torch.Tensor:
        """Return losses in evaluation mode (see ``Gradients``)."""
        return torch.stack(
            [
                model.eval()(batch, each)
                for model, each in zip(self._models, self._smoothing, strict=True)
            ]
        )

    def store(self) -> None:
        """Do nothing: the models' parameters are the rows."""


class Stacked:
    """Equal models as one program: ``torch.func.vmap`` of the loss, differentiated outside.

    For what ``vmap`` takes. The sum over rows has for each the gradient of its own loss. Models may
    differ in their rates of dropout, which each draws for itself.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        models: Sequence[Judged],
        smoothing: Sequence[float],
        seeds: Sequence[int],
    ) -> None:
        self._rows, self._models, self._seeds = rows, models, seeds
        self._template: Judged = as_loops(models[0])
        named = trained(self._template)
        self._shapes = {name: tensor.shape for name, tensor in named.items()}
        self._sizes = [tensor.numel() for tensor in named.values()]
        stacks = [_kept(model) for model in models]
        self._buffers = {
            name: torch.stack([s[name].detach() for s in stacks]) for name in stacks[0]
        }
        self._smoothing: Any = rows.new_tensor(smoothing)
        self._smooths = any(smoothing)

    def take(self, batch: Any, steps: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses and gradients on a batch (see ``Gradients``)."""
        self._template.train()
        rows = self._rows.detach().requires_grad_()
        losses = self._judge(rows, batch, self._draw(batch, steps))
        (gradients,) = torch.autograd.grad(losses.sum(), rows)
        return losses.detach(), gradients

    def _draw(self, batch: Any, steps: Sequence[int]) -> list[torch.Tensor]:
        """Return what dropout multiplies by in a step, by site; nothing if models have none."""
        shapes = tuple(tensor.shape for tensor in leaves(batch))
        for index, model in enumerate(self._models):
            if shapes not in model.sites:
                model.sites[shapes] = find_sites(self._forward(index, batch))
        sites = [model.sites[shapes] for model in self._models]
        if not any(sites):
            return []
        pairs = zip(self._seeds, steps, strict=True)
        return draw_noise(sites, [derive_seed(seed, "draws", step) for seed, step in pairs])

    def _forward(self, index: int, batch: Any) -> Callable[[], Any]:
        """Return what calls a row's own model in training mode, and leaves its buffers alone."""
        from torch.func import functional_call

        model = as_loops(self._models[index]).train()
        kept = {name: each[index].clone() for name, each in self._buffers.items()}
        views = {name: each[index] for name, each in self._views(self._rows).items()}
        return lambda: functional_call(model, (views, kept), (batch, 0.0))

    @torch.no_grad()
    def outputs(self, inputs: Any) -> list[Any]:
        """Return the models' outputs (see ``Gradients``)."""
        self._template.eval()
        found = self._call(Asked(self._template.model), self._rows, inputs)
        return _unstack(found, len(self._models))

    @torch.no_grad()
    def losses(self, batch: Any) -> torch.Tensor:
        """Return losses in evaluation mode (see ``Gradients``)."""
        self._template.eval()
        return self._judge(self._rows, batch)

    def _judge(
        self, rows: torch.Tensor, batch: Any, noises: Sequence[torch.Tensor] = ()
    ) -> torch.Tensor:
        own = (self._smoothing,) if self._smooths else ()
        losses: torch.Tensor = self._call(self._template, rows, batch, *own, noises=noises)
        return losses

    def _call(
        self,
        module: nn.Module,
        rows: torch.Tensor,
        batch: Any,
        *by_row: Any,
        noises: Sequence[torch.Tensor] = (),
    ) -> Any:
        """Call a module that holds the model with each row, a batch, and what is each row's own."""
        from torch.func import functional_call, vmap

        def call(parameters: Any, kept: Any, drawn: Any, *own: Any) -> Any:
            with dropping_by(drawn) if drawn else nullcontext():
                return functional_call(module, (parameters, kept), (batch, *own))

        with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for lanes
            return vmap(call)(self._views(rows), self._buffers, list(noises), *by_row)

    def _views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the rows as each parameter's stack; backwards it is one concatenation."""
        pieces = torch.split(rows, self._sizes, dim=1)
        return {
            name: piece.view(len(rows), *shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }

    @torch.no_grad()
    def store(self) -> None:
        """Copy every row and its buffers into its model."""
        for index, model in enumerate(self._models):
            bind(model, self._rows[index])
            for name, buffer in model.named_buffers():
                buffer.copy_(self._buffers[name][index])


def _unstack(tree: Any, n: int) -> list[Any]:
    if isinstance(tree, torch.Tensor):
        return list(tree.unbind(0))
    if isinstance(tree, Mapping):
        columns = {name: _unstack(each, n) for name, each in tree.items()}
        return [{name: column[i] for name, column in columns.items()} for i in range(n)]
    columns_by_place = [_unstack(each, n) for each in tree]
    return [tuple(column[i] for column in columns_by_place) for i in range(n)]
