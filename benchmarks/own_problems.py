"""Problems of one's own, to choose λ of: a tabular regression, and a small CNN with AdamW."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, from_numpy, nn

from objectives.datasets import Split, load_test_data, load_training_data
from tuner import Problem

_DATA = Path(__file__).parent.parent / "data"
_N_EXAMPLES = 2_000  # of images, in each part
_N_INPUTS, _MEAN, _DEVIATION = 10, 14.4, 5.0  # of Friedman's function, about


def regression() -> Problem:
    """Return 200 examples whose squared error is minimised, and enough others to know it well.

    The function is the first of Friedman 1991 (*Annals of Statistics* 19(1)); its noise is 0.04 of
    the targets' variance.
    """
    return Problem(
        lambda: nn.Sequential(nn.Linear(_N_INPUTS, 64), nn.ReLU(), nn.Linear(64, 1)),
        train=_draw(200, 0),
        validation=_draw(1_000, 1),
        test=_draw(2_000, 2),
        epochs=100,
        batch_size=20,
        space={"lr": (1e-3, 0.5)},  # beyond it diverges
    )


def _draw(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return inputs ``(n, 10)`` in -1..1 and targets ``(n, 1)``, float32."""
    rng = np.random.default_rng(seed)
    x: Any = rng.random((n, _N_INPUTS))
    smooth = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    targets = smooth + 10 * x[:, 3] + 5 * x[:, 4] + rng.standard_normal(n)
    scaled = (targets - _MEAN) / _DEVIATION
    return from_numpy((2 * x - 1).astype("float32")), from_numpy(scaled[:, None].astype("float32"))


def small_cnn() -> Problem:
    """Return 2,000 images of MNIST, as many to validate and to test, for 10,400 weights."""
    train, validation = load_training_data("mnist", seed=0, train_size=_N_EXAMPLES, data_dir=_DATA)
    return Problem(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(784, 10)),
        ),
        train=_as_images(train),
        validation=_as_images(validation),
        test=_as_images(load_test_data("mnist", data_dir=_DATA)),
        optimizer="adamw",
        epochs=10,
    )


def _as_images(split: Split) -> tuple[Tensor, Tensor]:
    """Return images ``(n, 1, 28, 28)`` float32 in 0..1 and labels ``(n,)``."""
    images = split.images[:_N_EXAMPLES].reshape(-1, 1, 28, 28) / np.float32(split.white)
    return from_numpy(images.astype("float32")), from_numpy(split.labels[:_N_EXAMPLES].copy())
