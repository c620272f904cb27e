"""A convolutional network with batch norm; nothing of one dimension decays."""

from sklearn.datasets import load_digits
from torch import nn

from tuner import Problem


def network() -> nn.Module:
    """Two convolutions and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


def problem() -> Problem:
    """Handwritten digits of 8 by 8 pixels."""
    digits = load_digits()
    return Problem(
        network, (digits.images[:, None] / 16, digits.target), momentum=0.9, decays="matrices"
    )
