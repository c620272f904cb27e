"""Three targets at once, and a learned l1 penalty in place of weight decay."""

import torch
from torch import nn

from tuner import Problem


def problem() -> Problem:
    """Made-up data in which most inputs mean nothing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(800, 40, generator=generator)
    y = x[:, :3] * torch.tensor([1.0, 2.0, -1.0]) + 0.3 * torch.randn(800, 3, generator=generator)
    space = {"l1": (1e-6, 1e-1), "lr": (1e-3, 1e-1)}
    return Problem(lambda: nn.Linear(40, 3), (x, y), metric="r2", space=space, strength="l1")
