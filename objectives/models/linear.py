"""A linear model: softmax regression, or ordinary least squares."""

import torch
from torch import nn

from objectives.catalog import DatasetFacts


class LinearNet(nn.Module):
    """One linear layer."""

    def __init__(self, data: DatasetFacts) -> None:
        super().__init__()
        self.output = nn.Linear(data.n_inputs, data.n_classes or 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs ``(batch, n_inputs)`` to logits ``(batch, n_classes)``."""
        logits: torch.Tensor = self.output(inputs)
        return logits
