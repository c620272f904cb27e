"""An autoencoder: its inputs are its targets."""

from sklearn.datasets import load_digits
from torch import nn

from tuner import Problem


def network(code: int) -> nn.Module:
    """Images to a few numbers, and back."""
    return nn.Sequential(nn.Linear(64, code), nn.ReLU(), nn.Linear(code, 64), nn.Sigmoid())


def problem() -> Problem:
    """Handwritten digits of 8 by 8 pixels."""
    return Problem(network, (load_digits().data / 16,), space={"code": [8, 16]}, optimizer="adam")
