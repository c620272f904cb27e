"""The network of the first built-in problem."""

import torch
from torch import nn

from objectives.catalog import DatasetFacts


class SimpleNet(nn.Module):
    """A perceptron with one hidden layer of 128 units: inputs-128-classes, ReLU.

    784-128-10 on MNIST. Initialisation is torch's default for ``nn.Linear``.
    """

    def __init__(self, n_inputs: int = 784, n_classes: int = 10) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_inputs, 128)
        self.output = nn.Linear(128, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(batch, n_inputs)`` to logits ``(batch, n_classes)``."""
        logits: torch.Tensor = self.output(torch.relu(self.hidden(images)))
        return logits


class DeepNet(nn.Module):
    """A perceptron of any depth and width, with dropout and batch norm where they are wanted."""

    def __init__(
        self, data: DatasetFacts, width: int, depth: int, dropout: float, *, batch_norm: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place in range(depth):
            layers.append(nn.Linear(width if place else data.n_inputs, width))
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers += [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(width if depth else data.n_inputs, data.n_classes or 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs ``(batch, n_inputs)`` to logits ``(batch, n_classes)``."""
        logits: torch.Tensor = self.output(self.layers(inputs))
        return logits


def make_simplenet(
    data: DatasetFacts,
    width: int = 128,
    depth: int = 1,
    dropout: float = 0.0,
    batch_norm: bool = False,  # noqa: FBT001, FBT002 (a trial gives it by name)
) -> nn.Module:
    """Return SimpleNet, or what it becomes with other sizes, dropout or batch norm."""
    if (width, depth, dropout, batch_norm) == (128, 1, 0.0, False):
        return SimpleNet(data.n_inputs, data.n_classes or 1)
    return DeepNet(data, width, depth, dropout, batch_norm=batch_norm)
