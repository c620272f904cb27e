"""The network of the first built-in problem."""

import torch
from torch import nn


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
