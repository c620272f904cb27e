"""A recurrent network that reads images row by row."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from tuner import Problem


class RowReader(nn.Module):
    """A GRU over the rows, and a linear layer on its last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rows = nn.GRU(8, width, batch_first=True)
        self.output = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(batch, 8, 8)`` to logits ``(batch, 10)``."""
        return self.output(self.rows(images)[0][:, -1])


def problem() -> Problem:
    """Handwritten digits of 8 by 8 pixels."""
    digits = load_digits()
    return Problem(
        RowReader, (digits.images / 16, digits.target), space={"width": (16, 48)}, clip_norm=1.0
    )
