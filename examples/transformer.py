"""A small Transformer over the patches of an image."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from tuner import Problem


class PatchReader(nn.Module):
    """Sixteen patches of 2 by 2 pixels attend to each other; their mean decides."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 32)
        self.place = nn.Parameter(torch.zeros(16, 32))
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout, batch_first=True)
        self.output = nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(batch, 8, 8)`` to logits ``(batch, 10)``."""
        patches = images.unfold(1, 2, 2).unfold(2, 2, 2).reshape(-1, 16, 4)
        return self.output(self.block(self.embed(patches) + self.place).mean(1))


def problem() -> Problem:
    """Handwritten digits of 8 by 8 pixels."""
    digits = load_digits()
    space = {"dropout": (0.0, 0.3)}
    return Problem(PatchReader, (digits.images / 16, digits.target), space=space, optimizer="adamw")
