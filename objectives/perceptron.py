"""Train many perceptrons with one hidden layer as one program, its gradient worked out by hand.

Each lane's weights are W = s·V and U = s·T with one scale s a lane, so that weight decay costs
nothing a step: with d = 1 - lr·weight_decay, the logits z = s²·T·relu(V·x) + b, their softmax p and
D = (p - y)·lr / (batch·d),

    T' = T - D·relu(V·x)ᵀ    V' = V - (Tᵀ·D where V·x > 0)·xᵀ    b' = d·(b - ΣD)    s' = d·s

is exactly ``torch.optim.SGD`` with this learning rate and weight decay. The hidden layers of all
lanes are the rows of one V. Its first column is the bias, for images get a white first pixel (1);
the other columns are the pixels, those dark in most images last: columns behind the last pixel that
is not dark in a batch have no gradient and add nothing to V·x, so only those before are touched,
and s decays the rest. On MNIST that leaves 619 of 784 columns, on Fashion-MNIST nearly all. What
this gains is measured by ``python -m benchmarks.lanes``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from objectives.facts import Params
from objectives.simplenet import SimpleNet

# Rows are padded to whole cache lines (of float32): unaligned rows took up to twice as long.
_ALIGNMENT = 16
# Bounds the memory that activations take while images are scored, and is enough for full speed.
_SCORING_BATCH_SIZE = 500
# Images that tell which pixels are dark in most.
_SAMPLE_SIZE = 2_000
# A lane's scale goes back into its weights before it is this small, far from float32's limits.
_MIN_SCALE = 2.0**-20

_Images = tuple[torch.Tensor, torch.Tensor]  # (n, inputs) uint8, and labels (n,) int64


@dataclass(frozen=True)
class _Pixels:
    """Images ``(n, width)`` uint8 with a white first pixel, and how far the others reach."""

    images: torch.Tensor
    labels: torch.Tensor  # (n,) int64
    widths: torch.Tensor  # (n,) int64 on the CPU: columns up to an image's last pixel not dark


@dataclass(frozen=True)
class _Schedule:
    """What a pass needs to know of its lanes' scales, as numbers known before it begins."""

    squares: Sequence[torch.Tensor]  # by step: s², (lanes, 1, 1)
    renewals: dict[int, list[tuple[int, float]]]  # by step: lanes to multiply by their s after it


class _Work:
    """Memory for what is computed on the way through a step, for one batch size.

    ``rates`` multiply the gradients' sums over the images.
    """

    def __init__(self, weights: "_Weights", rates: torch.Tensor, n_images: int) -> None:
        n_lanes, n_classes, n_hidden = weights.output.shape
        new = weights.output.new_empty
        self.rates = rates
        self.raw_images = new(n_images, weights.hidden.shape[1], dtype=torch.uint8)
        self.images = new(n_images, weights.hidden.shape[1])
        self.hidden = new(n_lanes * n_hidden, n_images)
        self.hidden_delta = torch.empty_like(self.hidden)
        self.logits = new(n_lanes, n_classes, n_images)
        self.log_probabilities = torch.empty_like(self.logits)
        self.losses = self.logits.new_zeros(n_lanes, n_images)  # summed over steps
        self.classes = torch.eye(n_classes, dtype=rates.dtype, device=rates.device)
        by_lane = (n_lanes, n_hidden, n_images)
        self.hidden_by_lane = self.hidden.view(by_lane)
        self.hidden_delta_by_lane = self.hidden_delta.view(by_lane)


class _Weights:
    """The parameters of all lanes; the order of pixels is ``columns``."""

    def __init__(self, models: Sequence[SimpleNet], columns: torch.Tensor, width: int) -> None:
        first = torch.stack([model.hidden.weight for model in models])  # (lanes, hidden, inputs)
        n_lanes, n_hidden, n_inputs = first.shape
        hidden = first.new_zeros(n_lanes, n_hidden, width)
        hidden[:, :, 0] = torch.stack([model.hidden.bias for model in models])
        hidden[:, :, 1 : n_inputs + 1] = first[:, :, columns]
        self.hidden = hidden.view(n_lanes * n_hidden, width)
        self.output = torch.stack([model.output.weight for model in models])
        self.bias = torch.stack([model.output.bias for model in models]).unsqueeze(2)
        self.hidden_by_lane = hidden
        self._columns = columns

    def store(self, models: Sequence[SimpleNet]) -> None:
        """Copy every lane's parameters into its model."""
        for lane, model in enumerate(models):
            hidden = self.hidden_by_lane[lane]
            model.hidden.bias.copy_(hidden[:, 0])
            model.hidden.weight[:, self._columns] = hidden[:, 1 : len(self._columns) + 1]
            model.output.weight.copy_(self.output[lane])
            model.output.bias.copy_(self.bias[lane, :, 0])

    def scale(self, lane: int, scale: float) -> None:
        """Multiply one lane's weights, but for the output's bias, which has no scale."""
        self.hidden_by_lane[lane].mul_(scale)
        self.output[lane].mul_(scale)


class Perceptrons:
    """Trains ``SimpleNet`` models side by side (see ``objectives.problem.FastProgram``)."""

    def __init__(
        self, train: _Images, validation: _Images, batch_size: int, *, scales: bool, white: int
    ) -> None:
        """Images are in 0..white; ``scales`` is whether small batches count by their size."""
        self._batch_size, self._scales, self._white = batch_size, scales, white
        columns = _order_columns(train[0])
        self._columns = torch.from_numpy(columns).to(train[0].device)
        self._train = _pack(*train, columns, white)
        # Sorted, so that the columns that few images need are left out for most.
        by_width = _pack(*validation, columns, white)
        order = by_width.widths.argsort()
        there = order.to(by_width.labels.device)
        self._validation = _Pixels(
            by_width.images[there], by_width.labels[there], by_width.widths[order]
        )

    @staticmethod
    def reason_against(model: nn.Module) -> str | None:
        """Tell why such a model cannot be trained here, or return None if it can."""
        if type(model) is SimpleNet:
            return None
        return f"its gradient is not worked out by hand for {type(model).__name__}"

    @property
    def n_together(self) -> int | None:
        """How many lanes are fastest at a time; None if the more the better.

        On a CPU 4 to 16 were equally fast (``python -m benchmarks.lanes``); the weights of more
        fit no cache.
        """
        return 8 if self._train.images.device.type == "cpu" else None

    @torch.no_grad()
    def train(
        self,
        models: Sequence[nn.Module],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> list[tuple[float, float]]:
        """Train for an epoch in place; return mean loss and validation accuracy by model."""
        perceptrons = [model for model in models if isinstance(model, SimpleNet)]
        weights = _Weights(perceptrons, self._columns, self._train.images.shape[1])
        losses = self._train_epoch(weights, params, order)
        correct = _count_correct(weights, self._validation, self._white)
        weights.store(perceptrons)
        accuracies = [n / len(self._validation.labels) for n in correct.tolist()]
        return list(zip(losses.tolist(), accuracies, strict=True))

    @torch.no_grad()
    def training_value(self, model: nn.Module) -> float:
        """Return the fraction of training images that a model classifies correctly."""
        assert isinstance(model, SimpleNet)
        weights = _Weights([model], self._columns, self._train.images.shape[1])
        return int(_count_correct(weights, self._train, self._white)) / len(self._train.labels)

    def _train_epoch(
        self,
        weights: _Weights,
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> torch.Tensor:
        """Train for an epoch and return the lanes' mean losses ``(lanes,)``."""
        data = self._train
        batches = torch.split(order.to(data.labels.device), self._batch_size)
        widths = _batch_widths(self._train, order, self._batch_size)
        factors = [_decay_factor(lane) for lane in params]
        rates = [lane["lr"] / d for lane, d in zip(params, factors, strict=True)]
        decay, rate = (
            weights.bias.new_tensor(numbers).view(-1, 1, 1) for numbers in (factors, rates)
        )
        schedule = _plan(factors, len(batches), like=weights.bias)
        sizes = {len(batch): self._batch_size if self._scales else len(batch) for batch in batches}
        work = {n: _Work(weights, rate / over, n) for n, over in sizes.items()}
        for step, (batch, width) in enumerate(zip(batches, widths, strict=True)):
            buffers = work[len(batch)]
            labels = data.labels.index_select(0, batch)
            torch.index_select(data.images, 0, batch, out=buffers.raw_images)
            buffers.images.copy_(buffers.raw_images).div_(self._white)
            square = schedule.squares[step]
            _take_step(weights, buffers, buffers.images[:, :width], labels, (square, decay))
            for lane, scale in schedule.renewals.get(step, ()):
                weights.scale(lane, scale)
        return torch.stack([buffers.losses.sum(1) for buffers in work.values()]).sum(0) / len(order)


def _count_correct(weights: _Weights, pixels: _Pixels, white: int) -> torch.Tensor:
    """Return how many images each lane classifies correctly, ``(lanes,)``."""
    n_lanes, _, n_hidden = weights.output.shape
    widths = _batch_widths(pixels, torch.arange(len(pixels.labels)), _SCORING_BATCH_SIZE)
    correct = torch.zeros(n_lanes, dtype=torch.int64, device=weights.output.device)
    for images, labels, width in zip(
        torch.split(pixels.images, _SCORING_BATCH_SIZE),
        torch.split(pixels.labels, _SCORING_BATCH_SIZE),
        widths,
        strict=True,
    ):
        scaled = images[:, :width].to(weights.output.dtype).div_(white)
        hidden = torch.mm(weights.hidden[:, :width], scaled.t()).relu_()
        hidden = hidden.view(n_lanes, n_hidden, len(images))
        logits = torch.baddbmm(weights.bias, weights.output, hidden)
        correct += (logits.argmax(1) == labels).sum(1)
    return correct


def _take_step(
    weights: _Weights,
    work: _Work,
    images: torch.Tensor,
    labels: torch.Tensor,
    scales: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Take the step of the module docstring; ``scales`` are s² and d, ``(lanes, 1, 1)`` each."""
    square, decay = scales
    hidden_weights = weights.hidden[:, : images.shape[1]]
    torch.mm(hidden_weights, images.t(), out=work.hidden).relu_()
    logits = torch.bmm(weights.output, work.hidden_by_lane, out=work.logits)
    torch.addcmul(weights.bias, logits, square, out=logits)

    log_p = torch.log_softmax(logits, 1, out=work.log_probabilities)
    n_lanes, _, n_images = logits.shape
    work.losses.sub_(log_p.gather(1, labels.expand(n_lanes, 1, n_images)).squeeze(1))
    delta = torch.exp(log_p, out=logits).sub_(work.classes.index_select(1, labels))
    delta.mul_(work.rates)

    # The hidden layer's part before the output weights move.
    torch.bmm(weights.output.transpose(1, 2), delta, out=work.hidden_delta_by_lane)
    torch.ops.aten.threshold_backward.grad_input(
        work.hidden_delta, work.hidden, 0, grad_input=work.hidden_delta
    )
    weights.output.baddbmm_(delta, work.hidden_by_lane.transpose(1, 2), alpha=-1)
    weights.bias.sub_(delta.sum(2, keepdim=True)).mul_(decay)
    hidden_weights.addmm_(work.hidden_delta, images, alpha=-1)


def _order_columns(images: torch.Tensor) -> NDArray[np.int64]:
    """Return the pixels, those dark in most images last; a sample of images will do."""
    sample = images[:_SAMPLE_SIZE].cpu().numpy()
    return np.argsort(-np.count_nonzero(sample, axis=0), kind="stable")


def _pack(
    images: torch.Tensor, labels: torch.Tensor, columns: NDArray[np.int64], white: int
) -> _Pixels:
    """Put the bias's white pixel first, the others in the order of ``columns``, zeros behind.

    By NumPy, which takes columns of bytes three times as fast as torch.
    """
    n_images, n_inputs = images.shape
    width = math.ceil((n_inputs + 1) / _ALIGNMENT) * _ALIGNMENT
    packed = np.zeros((n_images, width), dtype=np.uint8)
    packed[:, 0] = white
    packed[:, 1 : n_inputs + 1] = np.take(images.cpu().numpy(), columns, axis=1)
    widths = width - np.argmax(packed[:, ::-1] != 0, axis=1)
    return _Pixels(torch.from_numpy(packed).to(images.device), labels, torch.from_numpy(widths))


def _batch_widths(pixels: _Pixels, order: torch.Tensor, batch_size: int) -> list[int]:
    """Return how many columns each batch needs, rounded up to whole cache lines."""
    needed = [int(widths.max()) for widths in torch.split(pixels.widths[order], batch_size)]
    return [math.ceil(width / _ALIGNMENT) * _ALIGNMENT for width in needed]


def _decay_factor(params: Params) -> float:
    """Return 1 - lr·weight_decay, or next to nothing instead of 0: it divides."""
    return 1 - params["lr"] * params["weight_decay"] or 1e-20


def _plan(factors: Sequence[float], n_steps: int, *, like: torch.Tensor) -> _Schedule:
    """Plan the scales: each lane's depends on its own decay factor alone, not on its neighbours."""
    renewals: dict[int, list[tuple[int, float]]] = {}
    squares = torch.ones(n_steps, len(factors), dtype=torch.float64)
    for lane, factor in enumerate(factors):
        period = min(_renewal_period(factor), n_steps)
        scales = torch.tensor([factor**age for age in range(period)], dtype=torch.float64)
        ages = torch.arange(n_steps) % period
        squares[:, lane] = scales[ages] ** 2
        for step in {*range(period - 1, n_steps, period), n_steps - 1}:
            renewals.setdefault(step, []).append((lane, factor ** (step % period + 1)))
    return _Schedule(squares.to(like)[:, :, None, None].unbind(0), renewals)


def _renewal_period(factor: float) -> int:
    """Return after how many steps a scale becomes too small; 1 if it would change its sign."""
    if factor <= 0:
        return 1
    if factor >= 1:
        return 1 << 62
    return max(1, math.floor(math.log(_MIN_SCALE) / math.log(factor)))
