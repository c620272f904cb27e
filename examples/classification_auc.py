"""Tabular classification with one output, by the area under its ROC curve."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from torch import nn

from tuner import Problem


def problem() -> Problem:
    """Thirty numbers of a tissue, and whether it is benign."""
    features, labels = load_breast_cancer(return_X_y=True)
    return Problem(
        model=lambda dropout: nn.Sequential(nn.Dropout(dropout), nn.Linear(30, 1), nn.Flatten(0)),
        data=(scale(features), labels.astype(np.float32)),
        loss=nn.functional.binary_cross_entropy_with_logits,
        metric="auc",
        space={"dropout": (0.0, 0.5)},
    )
