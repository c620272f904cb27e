"""Pairs of images that are of one class or not: a step of one's own instead of a loss."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

from tuner import Problem


def step(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return the contrastive loss of pairs ``(batch, 64)`` twice, and whether they are alike."""
    left, right, alike = batch
    distance = nn.functional.pairwise_distance(model(left), model(right))
    return torch.where(alike, distance**2, (1 - distance).clamp(min=0) ** 2).mean()


def problem() -> Problem:
    """Each handwritten digit beside another one."""
    images, labels = load_digits(return_X_y=True)
    other = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).numpy()
    model = lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))  # noqa: E731
    return Problem(model, (images / 16, images[other] / 16, labels == labels[other]), step=step)
