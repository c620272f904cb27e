"""Tabular regression by its root mean squared error, with Adam on a cosine schedule."""

import torch
from torch import nn

from tuner import Problem


def problem() -> Problem:
    """A made-up surface with noise."""
    x = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0))
    y = torch.sin(6 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * torch.cos(99 * x[:, 3])
    model = lambda: nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))  # noqa: E731
    return Problem(model, (x, y), metric="rmse", optimizer="adam", schedule="cosine")
