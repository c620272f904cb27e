"""The limit of the arithmetic: what an epoch's matrix products alone would take on this machine.

Per image 2·784·128 operations each for the hidden layer's outputs and its gradient, and three
times 2·128·10 for the output layer, at the speed of a 1024x1024x1024 ``torch.mm`` with as many
threads as the loops have. More than 100 % of it is possible: ``objectives.perceptron`` leaves out
pixels that are dark in a whole batch.
"""

import time

import torch

from objectives.catalog import DatasetFacts

N_HIDDEN = 128

_MATRIX_SIZE = 1024
_N_PRODUCTS = 10


def matrix_speed() -> float:
    """Return the operations a second of a large matrix product: the best of ten."""
    left, right = torch.rand(_MATRIX_SIZE, _MATRIX_SIZE), torch.rand(_MATRIX_SIZE, _MATRIX_SIZE)
    product = torch.empty_like(left)
    seconds = []
    for _ in range(_N_PRODUCTS):
        started = time.perf_counter()
        torch.mm(left, right, out=product)
        seconds.append(time.perf_counter() - started)
    return 2 * _MATRIX_SIZE**3 / min(seconds)


def operations_an_epoch(facts: DatasetFacts) -> int:
    """Return how many operations an epoch's matrix products take for one model."""
    hidden, output = 2 * facts.n_inputs * N_HIDDEN, 2 * N_HIDDEN * facts.n_classes
    return facts.n_train * (2 * hidden + 3 * output)
