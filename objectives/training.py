"""Train networks with plain torch: the reference that every faster way is tested against.

The data set is one tensor in memory and a batch is an index into it: no DataLoader, no transform
per image. Measured by ``python -m benchmarks.training``.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.sgd import sgd

from objectives.catalog import DATASETS
from objectives.datasets import Split
from objectives.errors import UnknownNameError
from objectives.facts import Params
from objectives.models import MODELS

# Bounds the memory that activations take while a whole split is scored.
_SCORING_BATCH_SIZE = 10_000


@dataclass(frozen=True)
class TensorSplit:
    """Images ``(n, inputs)`` in 0..white and labels ``(n,)`` int64 on the training device.

    Images stay uint8, which is a quarter of the memory to hold and to gather a batch from; a
    network gets them divided by ``white``, in 0..1, as numbers of type ``dtype``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    white: int = 255
    dtype: torch.dtype = torch.float32

    def scaled(self, images: torch.Tensor) -> torch.Tensor:
        """Return images of this split as a network takes them."""
        return images.to(self.dtype).div_(self.white)

    def take(self, indices: torch.Tensor) -> "TensorSplit":
        """Return the images and labels at these indices."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto`` (CUDA, else MPS, else CPU) or a torch device name.

    Raises UnknownNameError when torch does not know the name or this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0][:200]
        raise UnknownNameError(f"Device {name!r} cannot be used here: {reason}") from error
    if device.type == "meta":
        raise UnknownNameError("Device 'meta' holds no data, so nothing can be trained on it")
    return device


def to_device(
    split: Split, device: torch.device, dtype: torch.dtype = torch.float32
) -> TensorSplit:
    """Move a split to a device; on the CPU the memory of writable arrays is shared."""
    arrays = (np.require(array, requirements="W") for array in (split.images, split.labels))
    images, labels = (torch.from_numpy(array).to(device) for array in arrays)
    return TensorSplit(images, labels, split.white, dtype)


def build_model(objective: str, dataset: str, seed: int) -> nn.Module:
    """Return a freshly initialised model on the CPU; the same seed gives the same weights."""
    facts = DATASETS[dataset]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not `torch.manual_seed`: it seeds CUDA too
        return MODELS[objective](facts.n_inputs, facts.n_classes)


@torch.no_grad()
def sgd_step(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    params: Params,
) -> None:
    """Update in place as ``torch.optim.SGD(lr=..., weight_decay=...)``: by torch's own function.

    The optimizer object is not used: making one imports ``torch._dynamo``, which takes 1.6 s.
    """
    sgd(
        parameters,
        gradients,
        [None] * len(parameters),
        fused=True,  # one pass over the weights: 6 % of an epoch saved on the CPU
        foreach=False,
        lr=params["lr"],
        weight_decay=params["weight_decay"],
        momentum=0.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )


def train_epoch(
    model: nn.Module,
    params: Params,
    data: TensorSplit,
    order: torch.Tensor,
    batch_size: int,
) -> float:
    """Train one epoch in the given order ``(n,)`` int64; return the mean loss over its images.

    The last batch may be smaller, as with ``DataLoader``'s default.
    """
    model.train()
    parameters: list[torch.Tensor] = list(model.parameters())
    batches = torch.split(order, batch_size)
    losses = []  # they stay on the device: no round trip a step
    for batch in batches:
        # `index_select` takes a batch twice as fast as indexing by a tensor.
        images = data.scaled(data.images.index_select(0, batch))
        labels = data.labels.index_select(0, batch)
        loss = functional.cross_entropy(model(images), labels)
        sgd_step(parameters, list(torch.autograd.grad(loss, parameters)), params)
        losses.append(loss.detach())
    sizes = torch.tensor([len(batch) for batch in batches], device=order.device)
    return float((torch.stack(losses) * sizes).sum()) / len(order)


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorSplit) -> float:
    """Return the fraction of images classified correctly, in 0..1."""
    model.eval()
    n_correct = torch.zeros((), dtype=torch.int64, device=data.labels.device)
    for images, labels in zip(
        torch.split(data.images, _SCORING_BATCH_SIZE),
        torch.split(data.labels, _SCORING_BATCH_SIZE),
        strict=True,
    ):
        n_correct += (model(data.scaled(images)).argmax(dim=1) == labels).sum()
    return int(n_correct) / len(data.labels)
