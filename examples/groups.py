"""Examples of one person stay together, in training or outside."""

import torch
from sklearn.model_selection import GroupKFold
from torch import nn

from tuner import Problem


def problem() -> Problem:
    """Made-up measurements, ten of each of a hundred people, each with a bias of their own."""
    generator = torch.Generator().manual_seed(0)
    people = torch.arange(1000) // 10
    x = torch.randn(1000, 5, generator=generator) + torch.randn(100, 5, generator=generator)[people]
    y = (x.sum(1) > 0).long()
    model = lambda: nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))  # noqa: E731
    return Problem(model, (x, y), splitter=GroupKFold(8), groups=people.numpy())
