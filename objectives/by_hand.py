"""Losses and gradients of ``SimpleNet`` models side by side, worked out by hand.

For what ``objectives.perceptron`` does not train: every optimizer, schedule and penalty acts on the
gradient alone. With hidden units h = relu(V·x + a), logits z = T·h + b, their softmax p, targets y
(smoothed, if they are), D = (p - y) / batch and E = Tᵀ·D where h > 0, they are D·hᵀ for T, ΣD for
b, E·xᵀ for V and ΣE for a. All that a step computes has its place in memory from the step before.
"""

from collections.abc import Sequence
from typing import Any

import torch

from objectives.gradients import bind, trained
from objectives.judged import Judged, split_batch
from objectives.problem import Problem
from objectives.simplenet import SimpleNet


def suits(problem: Problem, model: Judged) -> bool:
    """Tell whether a model is one, and its loss the cross-entropy of classes."""
    has_own_loss = problem.loss is not None or problem.step is not None
    return (
        type(model.model) is SimpleNet and model.model.output.out_features > 1 and not has_own_loss
    )


class _Layers:
    """Rows ``(K, n)`` as the parameters of models: ``(K, 128, inputs)``, ``(K, 128, 1)``, ..."""

    def __init__(self, rows: torch.Tensor, model: Judged) -> None:
        shapes = [parameter.shape for parameter in trained(model).values()]
        pieces = torch.split(rows, [shape.numel() for shape in shapes], dim=1)
        self.hidden, self.hidden_bias, self.output, self.output_bias = (
            piece.view(len(rows), shape[0], -1) for piece, shape in zip(pieces, shapes, strict=True)
        )


class _Work:
    """Memory for what is computed on the way, for one batch size."""

    def __init__(self, layers: _Layers, n: int) -> None:
        n_lanes, n_classes, n_hidden = layers.output.shape
        self.hidden = layers.output.new_empty(n_lanes, n_hidden, n)
        self.hidden_delta = torch.empty_like(self.hidden)
        self.logits = layers.output.new_empty(n_lanes, n_classes, n)
        self.log_p = torch.empty_like(self.logits)


class ByHand:
    """Models whose gradients are worked out by hand (see ``objectives.gradients.Gradients``)."""

    def __init__(
        self,
        rows: torch.Tensor,
        models: Sequence[Judged],
        smoothing: Sequence[float],
        seeds: Sequence[int],  # noqa: ARG002 (nothing is drawn)
    ) -> None:
        self._rows, self._models = rows, models
        self._gradients = torch.empty_like(rows)
        self._weights, self._found = (_Layers(each, models[0]) for each in (rows, self._gradients))
        n_classes = self._weights.output.shape[1]
        share = rows.new_tensor(smoothing).view(-1, 1, 1)
        one_hot = torch.eye(n_classes, dtype=rows.dtype, device=rows.device)
        self._targets = one_hot * (1 - share) + share / n_classes  # (K, classes, classes)
        self._work: dict[int, _Work] = {}

    @torch.no_grad()
    def take(self, batch: Any, steps: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002
        """Return losses and gradients on a batch (see ``Gradients``)."""
        images, labels = split_batch(batch)
        work, losses, delta = self._judge(images, labels)
        weights, found = self._weights, self._found
        delta.div_(len(labels))
        torch.bmm(weights.output.transpose(1, 2), delta, out=work.hidden_delta)
        torch.ops.aten.threshold_backward.grad_input(
            work.hidden_delta, work.hidden, 0, grad_input=work.hidden_delta
        )
        torch.bmm(delta, work.hidden.transpose(1, 2), out=found.output)
        torch.sum(delta, 2, keepdim=True, out=found.output_bias)
        shared = images.expand(len(self._models), *images.shape)
        torch.bmm(work.hidden_delta, shared, out=found.hidden)
        torch.sum(work.hidden_delta, 2, keepdim=True, out=found.hidden_bias)
        return losses, self._gradients

    def _judge(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[_Work, torch.Tensor, torch.Tensor]:
        """Return losses ``(K,)`` and, in place of the logits, what probabilities are too much."""
        work = self._ask(images)
        targets = self._targets.index_select(2, labels.long())
        torch.log_softmax(work.logits, 1, out=work.log_p)
        losses = (work.log_p * targets).flatten(1).sum(1).neg_().div_(len(labels))
        return work, losses, torch.exp(work.log_p, out=work.logits).sub_(targets)

    def _ask(self, images: torch.Tensor) -> _Work:
        """Return the work of a batch, hidden units and logits in it."""
        weights = self._weights
        if len(images) not in self._work:
            self._work[len(images)] = _Work(weights, len(images))
        work = self._work[len(images)]
        shared = images.t().expand(len(self._models), *images.t().shape)
        torch.baddbmm(weights.hidden_bias, weights.hidden, shared, out=work.hidden).relu_()
        torch.baddbmm(weights.output_bias, weights.output, work.hidden, out=work.logits)
        return work

    @torch.no_grad()
    def outputs(self, inputs: Any) -> list[Any]:
        """Return the models' outputs (see ``Gradients``)."""
        return list(self._ask(inputs).logits.transpose(1, 2).clone().unbind(0))

    @torch.no_grad()
    def losses(self, batch: Any) -> torch.Tensor:
        """Return losses in evaluation mode (see ``Gradients``)."""
        return self._judge(*split_batch(batch))[1]

    def store(self) -> None:
        """Let every row be its model's parameters."""
        for model, row in zip(self._models, self._rows, strict=True):
            bind(model, row)
