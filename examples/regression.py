"""Tabular regression, chosen by the share of variance that it explains."""

from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale
from torch import nn

from tuner import Problem


def problem() -> Problem:
    """Ten numbers of a patient, and how a disease has gone on a year later."""
    features, targets = load_diabetes(return_X_y=True)
    model = lambda width: nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 1))  # noqa: E731
    return Problem(
        model,
        (features * 20, scale(targets)),
        metric="r2",
        space={"width": [16, 64]},
        batch_size=16,
    )
