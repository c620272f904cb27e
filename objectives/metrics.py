"""Metrics by name, over a whole part of the data: ``outputs`` and ``targets`` are on the CPU."""

from typing import TYPE_CHECKING

from objectives.problem import Metric

if TYPE_CHECKING:
    from torch import Tensor


def accuracy(outputs: "Tensor", targets: "Tensor") -> float:
    """Return the fraction of targets ``(n, ...)`` that are the largest of outputs
    ``(n, classes, ...)``; with one output for each, of those whose sign is right.
    """
    if outputs.dim() == targets.dim() + 1 and outputs.shape[1] > 1:
        guesses = outputs.argmax(dim=1)
    else:
        guesses = (outputs.reshape(targets.shape) > 0).to(targets.dtype)
    return float((guesses == targets).double().mean())


def rmse(outputs: "Tensor", targets: "Tensor") -> float:
    """Return the root of the mean squared error."""
    return float(
        (outputs.double().reshape(targets.shape) - targets.double()).square().mean().sqrt()
    )


def mae(outputs: "Tensor", targets: "Tensor") -> float:
    """Return the mean absolute error."""
    return float((outputs.double().reshape(targets.shape) - targets.double()).abs().mean())


def r2(outputs: "Tensor", targets: "Tensor") -> float:
    """Return the fraction of the targets' variance that outputs explain, the mean over columns."""
    truth = targets.double().reshape(len(targets), -1)
    residues = (truth - outputs.double().reshape(len(targets), -1)).square().sum(0)
    total = (truth - truth.mean(0)).square().sum(0)
    return float((1 - residues / total).mean())


def auc(outputs: "Tensor", targets: "Tensor") -> float:
    """Return how often a positive example's output is above a negative one's; ties count half.

    Outputs are ``(n,)``, ``(n, 1)``, or logits of two classes ``(n, 2)``. By ranks: Hanley and
    McNeil, 1982.
    """
    import torch

    scores = outputs.double().reshape(len(targets), -1)
    scores = scores[:, -1] - (scores[:, 0] if scores.shape[1] == 2 else 0)
    positive = targets.reshape(-1) > 0
    _, inverse, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse]
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    above = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative)) if n_positive and n_negative else float("nan")


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", accuracy, is_proportion=True),
    "auc": Metric("auc", auc),
    "mae": Metric("mae", mae, "minimize"),
    "r2": Metric("r2", r2),
    "rmse": Metric("rmse", rmse, "minimize"),
}
